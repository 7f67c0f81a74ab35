"""Cases: points with features as known then, and the outcome as known afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.definitions import model as m
from neva.definitions.documents import Feature
from neva.definitions.language import stay, subject
from neva.definitions.points import EachStay
from neva.definitions.run import answer
from neva.errors import BadInputError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.models.declaration import ModelPlan

__all__ = ["LEFT_OUT", "Cases", "cases_of", "matrix"]

Floats = npt.NDArray[np.float64]

_HOUR: Final = 3_600_000_000
#: Why a point is no case.
LEFT_OUT: Final = {
    "ended": "the stay had ended before, or was not so old at the data cut",
    "contradictory": "what is known of the patient contradicts itself",
    "happened": "the outcome had already happened",
    "censored": "the outcome within the horizon is not known yet",
    "between": "neither known before the split in time nor of a patient who came after it",
}


@dataclass(frozen=True, eq=False)
class Cases:
    """The cases that a model is fitted to and evaluated on.

    Attributes
    ----------
    frame : polars.DataFrame
        A row a case, patients in the order of their first case: ``point_id``,
        ``subject_id``, ``stay_id``,
        ``now``, ``outcome`` (0 or 1), ``event_hours`` (from now to the outcome;
        missing if it did not come), ``observed_hours`` (for how long the outcome
        was looked for; missing: to the end of the stay), ``known`` (when the outcome
        was known), ``patient_days`` (from now to the next case of the stay or
        its end), ``hours`` since admission, ``sex``, ``age`` (years), ``unit``;
        then a column for each feature and comparator rule, by its id.
    features : tuple of str
        Columns of the model, in order.
    units : dict of str to str
        Units of measurement of numbers.
    left_out : dict of str to int
        Points that are no cases, by reason (keys of ``LEFT_OUT``); ``ended`` counts
        stays without any point.
    points : int
        All points that were looked at.
    identity : str
        The view of the data, with the hospital's version.
    hospital : str
        Id of the hospital.
    assumed_share : float or None
        Of events: when they were known is an assumption.
    """

    frame: pl.DataFrame
    features: tuple[str, ...]
    units: dict[str, str]
    left_out: dict[str, int]
    points: int
    identity: str
    hospital: str
    assumed_share: float | None

    def to_frame(self) -> pl.DataFrame:
        """Return ``frame``."""
        return self.frame

    @property
    def outcome(self) -> Floats:
        """Outcomes, 0 or 1, shape (n,)."""
        return self.frame["outcome"].to_numpy().astype(np.float64)

    @property
    def patient(self) -> npt.NDArray[np.int64]:
        """Whose case it is, shape (n,)."""
        return self.frame["subject_id"].to_numpy()

    @property
    def matrix(self) -> Floats:
        """Features, shape (n, p); missing is NaN."""
        return matrix(self.frame, self.features)

    @property
    def event_hours(self) -> Floats:
        """Hours from now to the outcome; infinite if it did not come."""
        found = self.frame["event_hours"].to_numpy()
        return np.where(np.isnan(found), np.inf, found)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Cases:
        """Return some of the cases."""
        return replace(self, frame=self.frame.filter(pl.Series(chosen)))


def matrix(frame: pl.DataFrame, features: Iterable[str]) -> Floats:
    """Return columns as numbers, shape (n, p): true 1, false 0, missing NaN.

    Raises
    ------
    BadInputError
        A column is absent.
    """
    names = list(features)
    for name in names:
        if name not in frame.columns:
            message = (
                f"frame: a feature of the model has no column; found none for {name}; answer "
                "`model.outputs` at the points first"
            )
            raise BadInputError(message)
    numbers = frame.select(pl.col(name).cast(pl.Float64) for name in names)
    return numbers.to_numpy().astype(np.float64).reshape(frame.height, len(names))


def _context(features: Iterable[Feature]) -> dict[str, Any]:
    """Answer what subgroups are formed by; the age is a feature's where there is one."""
    ages = [one.value for one in features if one.id.rsplit(".", 1)[-1] == "age"]
    age = ages[0] if ages else subject.age_at(stay.start).node
    started = stay.start.node
    return {
        "_sex": subject.sex.node,
        "_age": age,
        "_start": started,
        "_hours": m.Elapsed(start=started, end=m.PointField(name="now")),
    }


def _unit_at(snapshot: Snapshot, points: pl.DataFrame) -> pl.DataFrame:
    """Where the patient was at each point: the movement begun last and not ended."""
    moves = snapshot.movements().select("stay_id", "unit", "start", "end").collect()
    if not moves.height:
        return points.select("point_id", unit=pl.lit(None, dtype=pl.String))
    there = (
        points.select("point_id", "stay_id", "now")
        .join(moves, on="stay_id")
        .filter(
            pl.col("start") <= pl.col("now"),
            pl.col("end").is_null() | (pl.col("end") > pl.col("now")),
        )
    )
    last = there.sort("point_id", "start").group_by("point_id").agg(pl.col("unit").last())
    return points.select("point_id").join(last, on="point_id", how="left")


def cases_of(snapshot: Snapshot, plan: ModelPlan, points: pl.DataFrame) -> Cases:
    """Answer features at points and the outcome with hindsight, and label the points.

    Parameters
    ----------
    snapshot : Snapshot
        All that is known so far: outcomes are taken from it.
    plan : ModelPlan
    points : polars.DataFrame
        Columns of ``neva.definitions.points.POINTS``; see
        :func:`neva.models.landmarks.landmark_points`.

    Returns
    -------
    Cases
        Left out and counted are points whose outcome had already happened, and
        those whose outcome within the horizon is not known: the stay is still
        open and the data end before. A stay that ended without the outcome
        is known not to have had it.

    Notes
    -----
    A feature sees only what was recorded at or before its *now*. Where the
    source does not say when that was, its mapping assumes it; the share of
    such events is in ``assumed_share``.
    """
    rules = [one.rule for one in plan.comparators if one.rule is not None]
    asked = {one.id: one.value for one in (*plan.features, *rules)}
    answers = answer(snapshot, {**_context(plan.features), **asked}, points=points)
    # Hindsight: the data cut, and everything recorded so far.
    after = answer(
        snapshot,
        {"_outcome": plan.outcome.value, "_end": stay.end.node},
        population=EachStay(at="cut"),
    ).frame.select("stay_id", "_outcome", "_end")
    cut = pl.lit(snapshot.now, dtype=TIME)
    joined = answers.frame.join(after, on="stay_id", how="left", maintain_order="left")
    until = pl.col("_end").fill_null(cut)
    if plan.horizon_hours is None:
        limit = pl.lit(None, dtype=TIME)
    else:
        limit = pl.col("now") + pl.duration(microseconds=round(plan.horizon_hours * _HOUR))
    comes = (pl.col("_outcome") > pl.col("now")).fill_null(value=False)
    if plan.horizon_hours is not None:
        comes = comes & (pl.col("_outcome") <= limit)
    # An outcome at the very end of a stay belongs to the stay.
    seen = pl.col("_end").is_not_null() | (limit <= cut).fill_null(value=False)
    labelled = joined.with_columns(
        outcome=comes.cast(pl.Int8),
        _reason=pl.when((pl.col("_outcome") <= pl.col("now")).fill_null(value=False))
        .then(pl.lit("happened"))
        .when(~comes & ~seen)
        .then(pl.lit("censored")),
        event_hours=pl.when(pl.col("_outcome") > pl.col("now")).then(
            (pl.col("_outcome") - pl.col("now")).dt.total_microseconds() / _HOUR
        ),
        observed_hours=pl.when(pl.col("_end").is_null()).then(
            (cut - pl.col("now")).dt.total_microseconds() / _HOUR
        ),
        known=pl.when(comes).then("_outcome").otherwise(pl.min_horizontal(limit, until)),
    )
    left = labelled["_reason"].drop_nulls().value_counts()
    kept = labelled.filter(pl.col("_reason").is_null()).join(
        _unit_at(snapshot, points), on="point_id", how="left", maintain_order="left"
    )
    following = pl.col("now").shift(-1).over("stay_id", order_by="now")
    # By time, not by pseudonym: another import of the same data gives the same folds.
    kept = kept.with_columns(
        _first=pl.col("now").min().over("subject_id"), _begun=pl.col("now").min().over("stay_id")
    )
    frame = kept.sort("_first", "subject_id", "_begun", "stay_id", "now").with_columns(
        patient_days=(following.fill_null(until) - pl.col("now")).dt.total_microseconds()
        / (24 * _HOUR),
    )
    return Cases(
        frame=frame.select(
            "point_id",
            "subject_id",
            "stay_id",
            "now",
            "outcome",
            "event_hours",
            "observed_hours",
            "known",
            "patient_days",
            pl.col("_hours").alias("hours"),
            pl.col("_sex").alias("sex"),
            pl.col("_age").alias("age"),
            "unit",
            *asked,
        ),
        features=plan.feature_ids,
        units={one: answers.units.get(one, "") for one in plan.feature_ids},
        left_out={
            "ended": after.filter(~pl.col("stay_id").is_in(points["stay_id"].implode())).height,
            "contradictory": answers.errors.height,
            "happened": 0,
            "censored": 0,
            **dict(left.iter_rows()),
        },
        points=points.height,
        identity=snapshot.identity,
        hospital=snapshot.hospital,
        assumed_share=_assumed(snapshot),
    )


def _assumed(snapshot: Snapshot) -> float | None:
    found = snapshot.events().select(pl.col("recorded_assumed").mean()).collect().item()
    return None if found is None else float(found)
