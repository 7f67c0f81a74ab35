"""One rule asked twice of the same stays: with first values, and with last ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from neva.definitions.language import stay
from neva.definitions.points import EachStay
from neva.definitions.run import answer
from neva.events.snapshot import Snapshot
from neva.models import _resampled_figures as drawn_figures
from neva.models.declaration import Comparator
from neva.models.families import TwoFaces
from neva.statistics import prediction_figures as figures

__all__ = ["Faces", "two_faces"]


@dataclass(frozen=True, eq=False)
class Faces:
    """The published rule with the first and with the last values, on the same stays.

    Attributes
    ----------
    frame : polars.DataFrame
        ``face`` (``first``, ``last``), ``figure`` (accuracy, sensitivity, specificity, ppv,
        auroc of one input), ``value``, ``lower``, ``upper``, ``undefined``.
    n, events : int
        Stays in which all inputs were measured, and those with the outcome.
    stays : int
        All stays whose outcome is known.
    value_title : str
    why : str
        Why the last values predict nothing.
    resamples : int
    """

    frame: pl.DataFrame
    n: int
    events: int
    stays: int
    value_title: str
    why: str
    resamples: int

    def figure(self, face: str, figure: str) -> dict[str, Any]:
        """Return value, lower and upper."""
        found = self.frame.filter(face=face, figure=figure)
        if not found.height:
            return {"value": None, "lower": None, "upper": None}
        return found.select("value", "lower", "upper").row(0, named=True)


def two_faces(
    snapshot: Snapshot, faces: TwoFaces, outcome: Any, *, resamples: int = 1000, seed: int = 1
) -> Faces:
    """Ask the rule twice of every stay that has ended: first values, last values.

    Parameters
    ----------
    snapshot : Snapshot
    faces : TwoFaces
    outcome : Feature
        Time of the outcome.
    resamples, seed : int

    Returns
    -------
    Faces
        Over stays in which all inputs were ever measured: who these are is
        known afterwards only, which alone makes it no prediction.
    """
    asked: dict[str, Any] = {"_outcome": outcome.value, "_end": stay.end.node}
    parts: dict[str, Comparator] = {
        "first": faces.first,
        "last": faces.last,
        "complete": faces.complete,
    }
    if faces.value_first is not None and faces.value_last is not None:
        parts |= {"value_first": faces.value_first, "value_last": faces.value_last}
    asked |= {f"_{name}": one.rule.value for name, one in parts.items() if one.rule is not None}
    answers = answer(snapshot, asked, population=EachStay(at="cut")).frame
    ended = answers.filter(pl.col("_end").is_not_null())
    kept = ended.filter(pl.col("_complete").fill_null(value=False))
    y = kept["_outcome"].is_not_null().to_numpy().astype(np.float64)
    drawn = drawn_figures.Drawn(kept["subject_id"].to_numpy(), resamples, 0.95, seed)
    for face in ("first", "last"):
        predicted = kept[f"_{face}"].fill_null(value=False).to_numpy().astype(bool)
        right = (predicted == (y == 1)).astype(np.float64)
        one = np.ones_like(y, dtype=bool)
        drawn.ask(
            (face, "accuracy"),
            lambda w, right=right, one=one: figures.positive_predictive_value(right, one, w),  # type: ignore[misc]
        )
        drawn.ask(
            (face, "sensitivity"),
            lambda w, predicted=predicted: figures.sensitivity(y, predicted, w),  # type: ignore[misc]
        )
        drawn.ask(
            (face, "specificity"),
            lambda w, predicted=predicted: figures.specificity(y, predicted, w),  # type: ignore[misc]
        )
        drawn.ask(
            (face, "ppv"),
            lambda w, predicted=predicted: figures.positive_predictive_value(y, predicted, w),  # type: ignore[misc]
        )
        # A missing value among these stays cannot be: all inputs were measured.
        if f"_value_{face}" in kept.columns and kept.height:
            x = kept[f"_value_{face}"].to_numpy().astype(np.float64)
            drawn.ask((face, "auroc"), lambda w, x=x: figures.area_under_roc(y, x, w))  # type: ignore[misc]
    values, draws = drawn.done() if kept.height else ({}, {})
    rows = [
        {
            "face": key[0],
            "figure": key[1],
            **drawn_figures.interval(values[key], draws[key], 0.95),
        }
        for key in values
    ]
    return Faces(
        frame=pl.DataFrame(
            rows, schema={"face": pl.String, "figure": pl.String, **drawn_figures.SCHEMA}
        ),
        n=kept.height,
        events=int(y.sum()),
        stays=ended.height,
        value_title=faces.value_title,
        why=faces.why,
        resamples=resamples,
    )
