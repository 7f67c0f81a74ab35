"""The checks themselves: which rows each looks at, and which of them fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from neva.events.ends import ends_unknown
from neva.events.schema import attribute
from neva.events.snapshot import Snapshot

__all__ = ["CATALOGUE", "Check"]

Category = Literal["conformance", "completeness", "plausibility"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes
    ----------
    id : str
        Names it in threshold files.
    category : str
        Kahn's kind.
    description : str
        What a failing row is, in words.
    rows : callable
        Snapshot to lazy frame of the rows looked at, with a boolean ``fails``.
    """

    id: str
    category: Category
    description: str
    rows: Callable[[Snapshot], pl.LazyFrame]


CATALOGUE: Final[list[Check]] = []


def _check(
    name: str, category: Category, description: str
) -> Callable[[Callable[[Snapshot], pl.LazyFrame]], Callable[[Snapshot], pl.LazyFrame]]:
    def add(rows: Callable[[Snapshot], pl.LazyFrame]) -> Callable[[Snapshot], pl.LazyFrame]:
        CATALOGUE.append(Check(name, category, description, rows))
        return rows

    return add


def _empty(frame: pl.LazyFrame) -> bool:
    return frame.head(1).collect().height == 0


_NOTHING: Final = pl.LazyFrame(schema={"fails": pl.Boolean})


# Conformance: is it in the agreed form?


@_check("refused-rows", "conformance", "rows that were refused at import")
def _refused_rows(snapshot: Snapshot) -> pl.LazyFrame:
    refused = snapshot.quarantine().select(fails=pl.col("reason").is_not_null())
    imported = snapshot.batches_by_now().select("batch")
    taken = [
        snapshot.stored(table)
        .join(imported, on="batch", how="semi")
        .select(fails=pl.col("batch").is_null())
        for table in ("events", "stays", "movements", "subjects")
    ]
    return pl.concat([refused, *taken])


@_check("code-form", "conformance", "events whose code is not SYSTEM//code")
def _code_form(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.events().select(fails=~pl.col("code").str.contains("^[^/]+//.+"))


@_check("code-described", "conformance", "events whose code has no description")
def _code_described(snapshot: Snapshot) -> pl.LazyFrame:
    known = snapshot.codes().filter(pl.col("description").is_not_null()).select("code")
    if _empty(known):
        return _NOTHING
    known = known.with_columns(_known=pl.lit(value=True))
    return (
        snapshot.events()
        .select("code")
        .join(known, on="code", how="left")
        .select(fails=pl.col("_known").is_null())
    )


@_check("one-unit-per-code", "conformance", "values in another unit than most values of their code")
def _one_unit(snapshot: Snapshot) -> pl.LazyFrame:
    valued = snapshot.events().filter(
        pl.col("value").is_not_null(), pl.col("value_unit").is_not_null()
    )
    usual = (
        valued.group_by("code", "value_unit")
        .len()
        .sort("len", "value_unit", descending=[True, False])
        .group_by("code", maintain_order=True)
        .agg(usual=pl.col("value_unit").first())
    )
    return (
        valued.select("code", "value_unit")
        .join(usual, on="code", how="left")
        .select(fails=pl.col("value_unit") != pl.col("usual"))
    )


@_check(
    "unit-understood", "conformance", "values kept as text because their unit is not understood"
)
def _unit_understood(snapshot: Snapshot) -> pl.LazyFrame:
    written = attribute("original_unit")
    return (
        snapshot.events()
        .filter(pl.col("value_unit").is_not_null() | written.is_not_null())
        .select(fails=pl.col("value").is_null() & written.is_not_null())
    )


@_check("clock-changes", "conformance", "rows at local times that the clock showed twice or never")
def _clock_changes(snapshot: Snapshot) -> pl.LazyFrame:
    return _warned(snapshot, "time-repeated", "time-skipped")


def _warned(snapshot: Snapshot, *reasons: str) -> pl.LazyFrame:
    """Rows taken with such a warning (each once), among all rows taken."""
    warned = snapshot.warnings().filter(pl.col("reason").is_in(reasons))
    failing = (
        warned.select("batch", "file", "row", "table")
        .unique()
        .select(fails=pl.col("batch").is_not_null())
    )
    number = failing.select(pl.len()).collect().item()
    taken = snapshot.batches_by_now().select(
        pl.sum_horizontal("rows_added", "rows_known", "rows_revised").sum()
    )
    others = max((taken.collect().item() or 0) - number, 0)
    return pl.concat([failing, pl.LazyFrame({"fails": pl.repeat(False, others, eager=True)})])


@_check("event-stay-exists", "conformance", "events of a stay that is not in the stays table")
def _event_stay(snapshot: Snapshot) -> pl.LazyFrame:
    stays = snapshot.stays().select("stay_id", _there=pl.lit(value=True))
    if _empty(stays):
        return _NOTHING
    return (
        snapshot.events()
        .filter(pl.col("stay_id").is_not_null())
        .select("stay_id")
        .join(stays, on="stay_id", how="left")
        .select(fails=pl.col("_there").is_null())
    )


@_check("movement-stay-exists", "conformance", "movements of a stay that is not in the stays table")
def _movement_stay(snapshot: Snapshot) -> pl.LazyFrame:
    stays = snapshot.stays().select("stay_id", _there=pl.lit(value=True))
    if _empty(stays):
        return _NOTHING
    return (
        snapshot.movements()
        .filter(pl.col("stay_id").is_not_null())
        .join(stays, on="stay_id", how="left")
        .select(fails=pl.col("_there").is_null())
    )


@_check("event-stay-subject", "conformance", "events of a stay that belongs to another subject")
def _event_stay_subject(snapshot: Snapshot) -> pl.LazyFrame:
    stays = snapshot.stays().select("stay_id", _whose="subject_id")
    return (
        snapshot.events()
        .filter(pl.col("stay_id").is_not_null())
        .select("stay_id", "subject_id")
        .join(stays, on="stay_id", how="inner")
        .select(fails=pl.col("_whose") != pl.col("subject_id"))
    )


@_check(
    "event-subject-exists", "conformance", "events of a subject that is not in the subjects table"
)
def _event_subject(snapshot: Snapshot) -> pl.LazyFrame:
    subjects = snapshot.subjects().select("subject_id", _there=pl.lit(value=True))
    if _empty(subjects):
        return _NOTHING
    return (
        snapshot.events()
        .select("subject_id")
        .join(subjects, on="subject_id", how="left")
        .select(fails=pl.col("_there").is_null())
    )


@_check("movement-unit-exists", "conformance", "movements in a unit that is not in the units table")
def _movement_unit(snapshot: Snapshot) -> pl.LazyFrame:
    units = snapshot.units().select("unit", _there=pl.lit(value=True))
    if _empty(units):
        return _NOTHING
    return (
        snapshot.movements()
        .filter(pl.col("unit").is_not_null())
        .join(units, on="unit", how="left")
        .select(fails=pl.col("_there").is_null())
    )


# Completeness: is it there?


@_check("subject-sex", "completeness", "subjects without sex")
def _subject_sex(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.subjects().select(fails=pl.col("sex").is_null() | (pl.col("sex") == "unknown"))


@_check("subject-birth-date", "completeness", "subjects without date of birth")
def _subject_birth(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.subjects().select(fails=pl.col("birth_date").is_null())


@_check("stay-outcome", "completeness", "ended stays without outcome")
def _stay_outcome(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.stays()
        .filter(pl.col("end").is_not_null())
        .select(fails=pl.col("outcome").is_null())
    )


@_check("stay-end", "completeness", "stays that are over without a known end")
def _stay_end(snapshot: Snapshot) -> pl.LazyFrame:
    unknown = ends_unknown(snapshot).lazy().select("stay_id", _there=pl.lit(value=True))
    return (
        snapshot.stays()
        .join(unknown, on="stay_id", how="left")
        .select(fails=pl.col("_there").is_not_null())
    )


@_check("stay-kind", "completeness", "stays without kind")
def _stay_kind(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.stays().select(fails=pl.col("kind").is_null())


@_check("stay-events", "completeness", "stays without any event")
def _stay_events(snapshot: Snapshot) -> pl.LazyFrame:
    if _empty(snapshot.events().filter(pl.col("stay_id").is_not_null())):
        return _NOTHING
    active = snapshot.events().select("stay_id").unique().with_columns(_has=pl.lit(value=True))
    return (
        snapshot.stays()
        .join(active, on="stay_id", how="left")
        .select(fails=pl.col("_has").is_null())
    )


@_check("movement-unit", "completeness", "movements without unit")
def _movement_has_unit(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.movements().select(fails=pl.col("unit").is_null())


@_check("value-unit", "completeness", "values without unit of measurement")
def _value_unit(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.events()
        .filter(pl.col("value").is_not_null())
        .select(fails=pl.col("value_unit").is_null())
    )


@_check("time-of-day", "completeness", "events known only to the day, or without time")
def _time_of_day(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.events().select(fails=pl.col("precision").is_in(["day", "none"]))


@_check("recorded", "completeness", "events for which it is assumed when they were known")
def _recorded(snapshot: Snapshot) -> pl.LazyFrame:
    return snapshot.events().select(fails=pl.col("recorded_assumed"))


@_check("order", "completeness", "events of one time whose order the source does not give")
def _order(snapshot: Snapshot) -> pl.LazyFrame:
    by = ["subject_id", "time", "sequence"]
    return (
        snapshot.events()
        .group_by(by)
        .agg(pl.len(), codes=pl.col("code").n_unique())
        .select(fails=pl.col("codes") > 1, len="len")
        .select(
            fails=pl.col("fails")
            .repeat_by("len")
            .list.explode(keep_nulls=False, empty_as_null=False)
        )
    )


# Plausibility: can it be believed?


@_check("duplicate-events", "plausibility", "events that repeat another one in everything")
def _duplicates(snapshot: Snapshot) -> pl.LazyFrame:
    by = ["subject_id", "time", "end_time", "code", "value", "text", "status"]
    return (
        snapshot.events()
        .group_by(by)
        .len()
        .select(
            fails=pl.int_ranges(0, "len").list.explode(keep_nulls=False, empty_as_null=False) > 0
        )
    )


@_check("before-birth", "plausibility", "events before the subject's birth")
def _before_birth(snapshot: Snapshot) -> pl.LazyFrame:
    born = snapshot.subjects().filter(pl.col("birth_date").is_not_null())
    return (
        snapshot.events()
        .select("subject_id", "time")
        .join(born.select("subject_id", "birth_date"), on="subject_id", how="inner")
        .select(
            fails=pl.col("time").dt.convert_time_zone(snapshot.zone).dt.date()
            < pl.col("birth_date")
        )
    )


@_check("after-death", "plausibility", "events more than a day after the subject's death")
def _after_death(snapshot: Snapshot) -> pl.LazyFrame:
    died = snapshot.subjects().filter(pl.col("death").is_not_null())
    return (
        snapshot.events()
        .filter(pl.col("status") == "done")
        .select("subject_id", "time")
        .join(died.select("subject_id", "death"), on="subject_id", how="inner")
        .select(fails=pl.col("time") > pl.col("death") + pl.duration(days=1))
    )


@_check("known-before-happened", "plausibility", "done events known before they happened")
def _early(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.events()
        .filter(pl.col("status") == "done", pl.col("time").is_not_null())
        .filter(~pl.col("recorded_assumed"))
        .select(fails=pl.col("recorded") < pl.col("time"))
    )


@_check("within-stay", "plausibility", "events of a stay before its start or after its end")
def _within_stay(snapshot: Snapshot) -> pl.LazyFrame:
    stays = snapshot.stays().select("stay_id", "start", "end")
    return (
        snapshot.events()
        .filter(pl.col("stay_id").is_not_null(), pl.col("time").is_not_null())
        .select("stay_id", "time")
        .join(stays, on="stay_id", how="inner")
        .select(fails=(pl.col("time") < pl.col("start")) | (pl.col("time") > pl.col("end")))
    )


@_check(
    "movement-within-stay",
    "plausibility",
    "movements that begin before their stay or end after it",
)
def _movement_within_stay(snapshot: Snapshot) -> pl.LazyFrame:
    stays = snapshot.stays().select("stay_id", _from="start", _to="end")
    return (
        snapshot.movements()
        .join(stays, on="stay_id", how="inner")
        .select(
            fails=(pl.col("start") < pl.col("_from"))
            | (pl.coalesce("end", "start") > pl.col("_to"))
        )
    )


@_check(
    "overlapping-stays", "plausibility", "in-patient stays that begin before the last one ended"
)
def _overlapping_stays(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.stays()
        .filter(pl.col("kind") == "inpatient")
        .sort("subject_id", "start", "end", "stay_id")
        .select(
            fails=pl.col("start")
            < pl.col("end").fill_null(pl.col("end").max()).cum_max().shift(1).over("subject_id")
        )
    )


@_check(
    "overlapping-movements",
    "plausibility",
    "movements that begin before the last one of the stay ended",
)
def _overlapping_movements(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.movements()
        .sort("stay_id", "start", "end", "movement_id")
        .select(fails=pl.col("start") < pl.col("end").cum_max().shift(1).over("stay_id"))
    )


@_check("long-stays", "plausibility", "stays longer than a year")
def _long_stays(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.stays()
        .filter(pl.col("end").is_not_null())
        .select(fails=pl.col("end") - pl.col("start") > pl.duration(days=365))
    )


@_check("zero-length-stays", "plausibility", "in-patient stays that end as they begin")
def _zero_stays(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.stays()
        .filter(pl.col("end").is_not_null(), pl.col("kind") == "inpatient")
        .select(fails=pl.col("end") == pl.col("start"))
    )


@_check("midnight", "plausibility", "events at exactly midnight though a time of day is claimed")
def _midnight(snapshot: Snapshot) -> pl.LazyFrame:
    local = pl.col("time").dt.convert_time_zone(snapshot.zone)
    return (
        snapshot.events()
        .filter(pl.col("precision").is_in(["instant", "minute"]))
        .select(fails=local.dt.time() == pl.time(0, 0, 0))
    )


@_check("percentages", "plausibility", "percentages below 0 or above 100")
def _percentages(snapshot: Snapshot) -> pl.LazyFrame:
    return (
        snapshot.events()
        .filter(pl.col("value_unit") == "%", pl.col("value").is_not_null())
        .select(fails=~pl.col("value").is_between(0, 100))
    )


@_check("negative-amounts", "plausibility", "negative values in units that cannot be negative")
def _negative(snapshot: Snapshot) -> pl.LazyFrame:
    # Concentrations, counts, volumes and rates; not temperatures, base excess
    # (mmol/L) or differences.
    never = ["g/L", "g/dL", "mg/L", "mg/dL", "ug/L", "ng/mL", "pg/mL", "U/L", "10*9/L", "10*12/L",
             "/min", "mm[Hg]", "kg", "cm", "mL", "L"]  # fmt: skip
    return (
        snapshot.events()
        .filter(pl.col("value_unit").is_in(never), pl.col("value").is_not_null())
        .select(fails=pl.col("value") < 0)
    )
