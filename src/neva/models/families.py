"""Families of models: one outcome, a model for each landmark; found by entry point.

A programme adds one through the entry point ``neva.models``, under a name with
a dot such as ``covid19.mortality``: a function without arguments that returns a
:class:`ModelFamily`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from neva.errors import NotFoundError, UsageError
from neva.models.artefact import load_artefact
from neva.models.declaration import Comparator, ModelPlan
from neva.models.fitted_model import Model
from neva.models.landmarks import Landmark

__all__ = ["FirstAndLastSample", "ModelFamily", "family_names", "load_family", "load_for_use"]


@dataclass(frozen=True)
class FirstAndLastSample:
    """One rule evaluated twice on the same stays: with last values, and with first ones.

    The rule with the last value before the outcome looks right and predicts
    nothing: that value is known only when the outcome is near.

    Attributes
    ----------
    first, last : Comparator
        The rule over the first and over the last value, whenever they were taken.
    complete : Comparator
        Whether all inputs were ever measured: the figures are about those stays.
    values_first, values_last : Comparator or None
        One input alone, for its AUROC.
    why : str
        The sentence why the last is no prediction.
    """

    first: Comparator
    last: Comparator
    complete: Comparator
    value_first: Comparator | None
    value_last: Comparator | None
    value_title: str
    why: str


@dataclass(frozen=True)
class ModelFamily:
    """Models of one outcome.

    Attributes
    ----------
    id, title : str
    landmarks : tuple of Landmark
        The first one is the model's own unless another is requested.
    plan : callable
        Makes the plan for a landmark.
    shown_hours : mapping of str to tuple of float
        Of a landmark with many times: those that reports show one by one.
    first_and_last : FirstAndLastSample or None
        Of the published rule that the model is compared with.
    """

    id: str
    title: str
    landmarks: tuple[Landmark, ...]
    plan: Callable[[Landmark], ModelPlan]
    shown_hours: tuple[float, ...] = ()
    first_and_last: FirstAndLastSample | None = None

    def at(self, name: str | None) -> ModelPlan:
        """Return the plan for a landmark by its name; of the first if None.

        Raises
        ------
        UsageError
            There is no such landmark.
        """
        if name is None:
            return self.plan(self.landmarks[0])
        for one in self.landmarks:
            if one.name == name:
                return self.plan(one)
        known = ", ".join(one.name for one in self.landmarks)
        message = f"--at: {self.id} has no such landmark; found {name!r}; give one of {known}"
        raise UsageError(message)


def family_names() -> list[str]:
    """Names of the families that are installed."""
    return sorted(one.name for one in entry_points(group="neva.models") if "." in one.name)


def load_family(name: str) -> ModelFamily:
    """Return an installed family by its name.

    Raises
    ------
    NotFoundError
        None is installed under this name.
    """
    for point in entry_points(group="neva.models"):
        if point.name == name and "." in name:
            made: ModelFamily = point.load()()
            return made
    message = (
        f"model: not installed; found {name!r}; give the folder of a saved model or one of "
        f"{', '.join(family_names()) or 'none'}"
    )
    raise NotFoundError(message)


def load_for_use(folder: Path) -> Model:
    """Read a saved model; refuse it if the programme's definitions are others now.

    A model whose family is not installed here brings its definitions with it.

    Raises
    ------
    NotFoundError, BadInputError, ConflictError
        See :func:`neva.models.artefact.load_artefact`.
    """
    model = load_artefact(folder)
    if model.id in family_names():
        plan = load_family(model.id).at(str(model.landmark["name"]))
        load_artefact(folder, {one.id: one for one in plan.features})
    return model
