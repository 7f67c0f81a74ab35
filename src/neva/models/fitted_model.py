"""A fitted model with all that must be known to use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from neva.definitions.documents import Feature
from neva.models.cases import matrix
from neva.models.explanations import Predictions, predict
from neva.models.training import Ensemble

__all__ = ["Model", "Variant"]


@dataclass(frozen=True, eq=False)
class Variant:
    """The model for sites that have few of its features.

    Attributes
    ----------
    ensemble : Ensemble
        With its features.
    candidate : str
    figures : dict
        From resampling: ``auroc`` and ``brier``, with value, lower and upper.
    """

    ensemble: Ensemble
    candidate: str
    figures: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model with all that must be known to use it.

    Attributes
    ----------
    id, version, title : str
    features : tuple of Feature
        In the order of the model's columns.
    outcome : Feature
    outcome_words : str
    horizon_hours : float or None
        None: until the end of the stay.
    landmark : dict
        ``name``, ``title``, ``hours``, ``values``.
    ensemble : Ensemble
    units : dict of str to str
        Units of the features as they were learnt.
    data : dict
        ``identity`` (hospital and version of the data), ``hospital``, ``first`` and
        ``last`` (training window, ISO times), ``cases``, ``outcomes``, ``patients``,
        ``left_out``, ``assumed_share``.
    candidate : str
        What inner resampling chose.
    figures : dict
        From resampling; by predictor and figure: value, lower, upper.
    threshold : float
    demonstration_only : bool
        It must not become live: other code checks this.
    lock_reason : str
    history : tuple of dict
        What was done to it after training: recalibrations.
    without : tuple of str
        Features that it was made without.
    seed : int
    notes : dict
        ``intended_use``, ``patients``, ``limits``, ``sources``: for the model card.
    variants : tuple of Variant
    """

    id: str
    version: str
    title: str
    features: tuple[Feature, ...]
    outcome: Feature
    outcome_words: str
    horizon_hours: float | None
    landmark: dict[str, Any]
    ensemble: Ensemble
    units: dict[str, str]
    data: dict[str, Any]
    candidate: str
    figures: dict[str, Any]
    threshold: float
    demonstration_only: bool
    lock_reason: str
    history: tuple[dict[str, Any], ...] = ()
    without: tuple[str, ...] = ()
    seed: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()

    def at_site(self, absent: Iterable[str]) -> Model:
        """Return the model for a site where some features are never recorded.

        Where more than half of the features are absent, and a variant needs
        none of them, the largest such variant speaks. Else the model itself,
        which takes them as missing.
        """
        gone = set(absent) & set(self.ensemble.features)
        if 2 * len(gone) <= len(self.features):
            return self
        fitting = [one for one in self.variants if not gone & set(one.ensemble.features)]
        if not fitting:
            return self
        best = max(fitting, key=lambda one: len(one.ensemble.features))
        kept = best.ensemble.features
        return replace(
            self,
            features=tuple(one for one in self.features if one.id in kept),
            ensemble=best.ensemble,
            units={name: unit for name, unit in self.units.items() if name in kept},
            candidate=best.candidate,
            without=tuple(sorted({*self.without, *(set(self.ensemble.features) - set(kept))})),
            variants=(),
        )

    @property
    def outputs(self) -> dict[str, Any]:
        """What must be answered at a point: expressions by feature id."""
        return {one.id: one.value for one in self.features}

    def predict(self, frame: pl.DataFrame) -> Predictions:
        """Predict and explain rows of answers.

        Parameters
        ----------
        frame : polars.DataFrame
            As :func:`neva.definitions.run.answer` gives it for ``outputs``; a column
            that is all missing is fine, one that is absent is refused.

        Raises
        ------
        BadInputError
            A feature has no column.
        """
        X = matrix(frame, self.ensemble.features)  # noqa: N806
        return predict(self.ensemble, self.features, self.units, frame, X)
