"""When a replay evaluates a rule: where CDS clients would, by its hooks.

A rule for an open record is evaluated every so many hours, one of a discharge just
before the stay ends, one of an order just before the order is in force, with
the order as the draft that the client would send.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

import polars as pl

from neva.decisions.rules import Rule
from neva.definitions import model as m
from neva.definitions.binding import Binding, has_code
from neva.definitions.points import POINTS, EachStay, EveryHours
from neva.definitions.run import points_of
from neva.events.schema import TIME, attribute, other_codes
from neva.events.snapshot import Snapshot

__all__ = ["JUST_BEFORE", "MOMENTS", "Moments", "Placed", "moments_of", "placed"]

Moments = Literal["hours", "starts", "discharges", "orders"]
MOMENTS: Final[tuple[Moments, ...]] = ("hours", "starts", "discharges", "orders")
#: A discharge or an order is asked about so long before it takes effect: the
#: stay is still open then, and the order is nothing but a draft.
JUST_BEFORE: Final = timedelta(microseconds=1)
#: Who dies up to so long after the end of a stay did not go home.
_DEATH_AT_END: Final = timedelta(hours=1)
#: Visits that nobody is discharged from.
_VISITS: Final = ("outpatient", "virtual")
#: What a request in the record was when it was signed; "do not give" was no draft of it.
_WAS_DRAFT: Final = ("done", "planned", "cancelled")


def moments_of(rule: Rule) -> Moments:
    """Return when a replay evaluates a rule.

    Where a rule has ``patient-view`` the hours are enough: the beginning of the
    stay is the first of them. Of several other hooks the one of orders comes
    first, then the discharge.
    """
    hooks = set(rule.hooks)
    if "patient-view" in hooks:
        return "hours"
    if hooks & {"order-select", "order-sign"}:
        return "orders"
    return "discharges" if "encounter-discharge" in hooks else "starts"


@dataclass(frozen=True)
class _WithDrafts(Snapshot):
    """A snapshot with orders as drafts, each seen at its own moment only.

    The drafts are in memory: an engine that reads ``files`` does not see them.
    """

    drafts: pl.DataFrame = field(default_factory=pl.DataFrame)

    def stored(self, table: str) -> pl.LazyFrame:
        """Every row of a table, and the drafts among the events."""
        rows = super().stored(table)
        return pl.concat([rows, self.drafts.lazy()]) if table == "events" else rows


@dataclass(frozen=True)
class Placed:
    """Where a rule is evaluated.

    Attributes
    ----------
    moments : {"hours", "starts", "discharges", "orders"}
    points : polars.DataFrame
        Columns of ``neva.definitions.points.POINTS``.
    snapshot : Snapshot
        With the drafts, for orders.
    """

    moments: Moments
    points: pl.DataFrame
    snapshot: Snapshot


def placed(snapshot: Snapshot, rule: Rule, binding: Binding, *, every_hours: float = 1.0) -> Placed:
    """Find the points at which a replay evaluates a rule.

    Parameters
    ----------
    snapshot : Snapshot
    rule : Rule
    binding : Binding
        The hospital's codes.
    every_hours : float
        For rules of an open chart.
    """
    kind = moments_of(rule)
    if kind == "hours":
        return Placed(kind, points_of(snapshot, EveryHours(hours=every_hours)), snapshot)
    if kind == "starts":
        return Placed(kind, points_of(snapshot, EachStay(at="start")), snapshot)
    if kind == "discharges":
        return Placed(kind, _discharges(snapshot), snapshot)
    orders = _orders(snapshot)
    own = _of_rule(orders, rule, binding)
    points = _numbered(own.select("subject_id", "stay_id", pl.col("time").alias("now")))
    with_drafts = _WithDrafts(
        **{name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__},
        drafts=orders,
    )
    return Placed(kind, points, with_drafts)


def _numbered(points: pl.DataFrame) -> pl.DataFrame:
    return (
        points.unique()
        .sort("subject_id", "stay_id", "now")
        .with_row_index("point_id")
        .with_columns(pl.col("point_id").cast(pl.Int64), pl.col("now").alias("known"))
        .select(list(POINTS))
    )


def _discharges(snapshot: Snapshot) -> pl.DataFrame:
    """Every stay in hospital that somebody left alive, just before its end."""
    stays = snapshot.stays().select("stay_id", "kind", "outcome").collect()
    people = snapshot.subjects().select("subject_id", "death").collect()
    ended = (
        points_of(snapshot, EachStay(at="end"))
        .join(stays, on="stay_id", how="left")
        .join(people, on="subject_id", how="left")
    )
    died = (pl.col("outcome") == "died") | (pl.col("death") <= pl.col("now") + _DEATH_AT_END)
    alive = ended.filter(
        ~died.fill_null(value=False),
        ~pl.col("kind").is_in(list(_VISITS)).fill_null(value=False),
    )
    return _numbered(alive.select("subject_id", "stay_id", pl.col("now") - JUST_BEFORE))


def _orders(snapshot: Snapshot) -> pl.DataFrame:
    """Every order of the record as the draft it was, known at its own moment only."""
    cut = pl.lit(snapshot.now, dtype=TIME)
    first = (
        snapshot.stored("events")
        .filter(
            attribute("kind") == "order",
            pl.col("time").is_not_null(),
            pl.col("recorded") <= cut,
        )
        .sort("recorded", "batch", maintain_order=True)
        .unique("event_id", keep="first", maintain_order=True)
        .filter(pl.col("status").is_in(list(_WAS_DRAFT)))
    )
    moment = pl.min_horizontal("time", "recorded") - JUST_BEFORE
    return (
        first.with_columns(
            # No event of the record has a negative id.
            event_id=-pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
            time=moment,
            recorded=moment,
            recorded_assumed=pl.lit(value=False),
            retracted=moment + JUST_BEFORE,
            end_time=pl.lit(None, dtype=TIME),
            status=pl.lit("planned"),
        )
        .filter(pl.col("time") <= cut)
        .select(snapshot.stored("events").collect_schema().names())
        .collect()
    )


def _of_rule(orders: pl.DataFrame, rule: Rule, binding: Binding) -> pl.DataFrame:
    """Orders that a rule is about: those with the codes of its drafts, or all."""
    codes: set[str] = set()
    frames = [
        frame
        for node in rule.decides.values()
        for frame in m.walk(node)
        if isinstance(frame, m.Frame) and frame.source == "events" and "planned" in frame.statuses
    ]
    for frame in frames:
        own = binding.codes_of(frame)
        if own is None:
            return orders
        codes |= own
    if not frames:
        return orders
    return orders.with_columns(other_codes()).filter(has_code(codes)).drop("other_codes")
