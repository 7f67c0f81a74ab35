"""What a model is made of: features, an outcome, a horizon, candidates, comparators.

Features and outcome are definitions; this module says nothing of how a model
is fitted (:mod:`neva.models.training`) or judged
(:mod:`neva.models.evaluation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from neva.definitions.documents import Feature
from neva.errors import UsageError
from neva.models.landmarks import Landmark

__all__ = ["Candidate", "Comparator", "MemberPlan", "ModelPlan"]


@dataclass(frozen=True)
class MemberPlan:
    """One member of a candidate.

    Attributes
    ----------
    model : str
        Name in ``neva.models``.
    settings : mapping
        See :func:`neva.models.members.fitted_member`.
    features : tuple of str, optional
        Ids of the features that it uses; all if None.
    """

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Candidate:
    """A way to make the model; several members are averaged in log-odds."""

    name: str
    members: tuple[MemberPlan, ...]


@dataclass(frozen=True)
class Comparator:
    """A model or rule that the model is compared with.

    Attributes
    ----------
    name : str
    kind : {"yes-no", "classes", "candidate"}
        yes-no: a rule whose answer counts as probability 0 or 1. classes: the
        classes of a rule, each with the share of outcomes among the patients
        of the training folds. candidate: a model with fixed settings.
    rule : Feature, optional
        Answers a boolean (yes-no) or a number that names the class.
    candidate : Candidate, optional
    """

    name: str
    kind: Literal["yes-no", "classes", "candidate"]
    rule: Feature | None = None
    candidate: Candidate | None = None

    def __post_init__(self) -> None:
        if (self.candidate is None) != (self.kind != "candidate") or (
            (self.rule is None) != (self.kind == "candidate")
        ):
            message = f"comparator {self.name}: a rule, or a candidate where kind is candidate"
            raise UsageError(message)


@dataclass(frozen=True)
class ModelPlan:
    """Everything that must be known before a model is fitted.

    Attributes
    ----------
    id, version, title : str
    outcome : Feature
        The time of the outcome, answered with hindsight (at the data cut).
    outcome_words : str
        The outcome in a few words, such as "death in hospital".
    horizon_hours : float or None
        The outcome counts in (now, now + horizon]; None: until the end of the
        stay.
    landmark : Landmark
    features : tuple of Feature
        Booleans or numbers. Text is refused: make it a condition.
    rises : mapping of str to int
        By feature id: 1 where the risk may only rise with it, -1 only fall.
        Trees are held to it; a linear member is not.
    candidates : tuple of Candidate
        Among these inner resampling chooses, in this order where equal.
    comparators : tuple of Comparator
    threshold : float
        At which alerts, sensitivity and predictive value are shown.
    intended_use, patients : str
    limits, sources : tuple of str
    demonstration_only : bool
        Locked until it is recalibrated on the hospital's own data.
    lock_reason : str
    without : tuple of str
        Features that were taken out.
    reduced : tuple of tuple of str
        Sets of features for sites that have few: a variant is fitted to each.
    """

    id: str
    version: str
    title: str
    outcome: Feature
    outcome_words: str
    landmark: Landmark
    features: tuple[Feature, ...]
    candidates: tuple[Candidate, ...]
    horizon_hours: float | None = None
    rises: Mapping[str, int] = field(default_factory=dict)
    comparators: tuple[Comparator, ...] = ()
    threshold: float = 0.5
    intended_use: str = ""
    patients: str = ""
    limits: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    demonstration_only: bool = True
    lock_reason: str = "not validated at this hospital"
    without: tuple[str, ...] = ()
    reduced: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        ids = [one.id for one in self.features]
        if len(set(ids)) != len(ids) or not ids:
            message = f"model {self.id}: features must be there, each once; found {len(ids)}"
            raise UsageError(message)
        for one in self.features:
            if one.value.type.name not in ("boolean", "number"):
                message = (
                    f"model {self.id}: a feature must be a boolean or a number; found {one.id}, a "
                    f"{one.value.type}; make it a condition, such as ... == 'male'"
                )
                raise UsageError(message)
        if self.outcome.value.type.name != "time":
            message = (
                f"model {self.id}: the outcome must be a time; found a {self.outcome.value.type}; "
                "define when it happened"
            )
            raise UsageError(message)
        if not self.candidates:
            raise UsageError(f"model {self.id}: it has no candidate; give at least one")
        used = {name for one in self.candidates for m in one.members for name in m.features or ()}
        unknown = sorted(used - set(ids))
        if unknown:
            message = f"model {self.id}: a member uses a feature that is not there: {unknown[0]}"
            raise UsageError(message)

    @property
    def feature_ids(self) -> tuple[str, ...]:
        """Ids of the features, in the order of the model's columns."""
        return tuple(one.id for one in self.features)

    def reduced_to(self, names: tuple[str, ...]) -> ModelPlan:
        """Return the plan with these features only, without comparators."""
        gone = tuple(one for one in self.feature_ids if one not in names)
        made = self.without_features(gone)
        return replace(made, comparators=(), reduced=())

    def without_features(self, names: tuple[str, ...]) -> ModelPlan:
        """Return the plan for a site that lacks some features.

        Parameters
        ----------
        names : tuple of str
            Ids of features, or what follows their last dot.

        Raises
        ------
        UsageError
            There is no such feature, or none would be left.
        """
        gone = set()
        for name in names:
            found = [one for one in self.feature_ids if name in (one, one.rsplit(".", 1)[-1])]
            if not found:
                short = ", ".join(one.rsplit(".", 1)[-1] for one in self.feature_ids)
                message = f"--without: no such feature; found {name!r}; the model has {short}"
                raise UsageError(message)
            gone |= set(found)
        left = tuple(one for one in self.features if one.id not in gone)
        if not left:
            raise UsageError(f"--without: no feature of {self.id} would be left; keep at least one")
        return replace(
            self,
            features=left,
            candidates=tuple(
                made for one in self.candidates if (made := _without(one, gone)) is not None
            ),
            comparators=tuple(
                replace(one, candidate=made)
                if one.candidate is not None and (made := _without(one.candidate, gone))
                else one
                for one in self.comparators
            ),
            without=tuple(sorted({*self.without, *gone})),
            reduced=tuple(
                dict.fromkeys(
                    kept
                    for one in self.reduced
                    if (kept := tuple(name for name in one if name not in gone))
                    and len(kept) < len(left)
                )
            ),
        )


def _without(candidate: Candidate, gone: set[str]) -> Candidate | None:
    members = []
    for member in candidate.members:
        if member.features is None:
            members.append(member)
            continue
        left = tuple(one for one in member.features if one not in gone)
        if left:
            members.append(replace(member, features=left))
    return replace(candidate, members=tuple(members)) if members else None
