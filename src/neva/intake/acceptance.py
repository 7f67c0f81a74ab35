"""Which delivered rows the store accepts: the checks of one row at a time.

A row that fails goes to quarantine with the first reason that applies. What
needs more than one row (duplicate ids, revisions) is in ``intake``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl

from neva.events.measurement_units import conversion, converted, ucum_of
from neva.events.schema import ATTRIBUTES, PRECISIONS, ROWS, STATUSES, TIME
from neva.sources.rows import refused_rows

__all__ = ["Accepted", "CanonicalUnit", "TimeLimits", "accept"]


@dataclass(frozen=True, slots=True)
class CanonicalUnit:
    """The unit that a code's values are kept in, and its molar mass (g/mol)."""

    value_unit: str
    molar_mass: float | None = None


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Between which times what is told can be true: who writes 2202 means 2020.

    Attributes
    ----------
    first, last : datetime
        Aware. What has happened lies between them, both included.
    last_ahead : datetime
        Aware. So far ahead reaches a plan, or the end of what goes on.
    """

    first: datetime
    last: datetime
    last_ahead: datetime

    @classmethod
    def of_import(cls, now: datetime) -> TimeLimits:
        """Return those of an import at `now`: from 1900 to a day after it; plans 20 years."""
        return cls(_EARLIEST, now + timedelta(days=1), now + timedelta(days=20 * 365.25))


#: Before it lies what a spreadsheet makes of nothing (1899-12-30), and no record of a hospital.
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
#: The oldest that a patient can be; a date of birth before it is a mistyped year.
_OLDEST_YEARS: Final = 130


@dataclass(frozen=True, slots=True)
class Accepted:
    """Delivered rows, parted.

    Attributes
    ----------
    taken : polars.DataFrame
        All columns of the delivered rows, defaults filled in, units converted.
    refused : polars.DataFrame
        Columns ``file``, ``row``, ``table``, ``field``, ``reason``.
    warned : polars.DataFrame
        The same columns, of rows that were taken though something is in doubt.
    """

    taken: pl.DataFrame
    refused: pl.DataFrame
    warned: pl.DataFrame


@dataclass
class _Reasons:
    """Collects, per row, the first reason and field that applies."""

    found: list[tuple[str, str, pl.Expr]] = field(default_factory=list)

    def when(self, condition: pl.Expr, reason: str, name: str) -> None:
        self.found.append((reason, name, condition))

    def columns(self) -> list[pl.Expr]:
        # Built from the last to the first, so that the first one wins.
        why: pl.Expr = pl.lit(None, dtype=pl.String)
        where: pl.Expr = pl.lit(None, dtype=pl.String)
        for reason, name, condition in reversed(self.found):
            why = pl.when(condition).then(pl.lit(reason)).otherwise(why)
            where = pl.when(condition).then(pl.lit(name)).otherwise(where)
        return [why.alias("_reason"), where.alias("_field")]


def _blank(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).str.len_bytes() == 0)


#: Times of each table: what has happened, and what may lie ahead.
_HAPPENED: Final = {
    "events": ("time",),
    "subjects": ("death",),
    "stays": ("start", "end"),
    "movements": ("start", "end"),
    "beds": ("start",),
}
_AHEAD: Final = {"events": ("end_time",), "beds": ("end",)}


def _time_reasons(reasons: _Reasons, table: str, limits: TimeLimits) -> None:
    first, last, ahead = (
        pl.lit(time, dtype=TIME) for time in (limits.first, limits.last, limits.last_ahead)
    )
    happened = _HAPPENED.get(table, ())
    for name in happened:
        limit = last
        if table == "events":
            limit = pl.when(pl.col("status") == "planned").then(ahead).otherwise(last)
        reasons.when(pl.col(name) > limit, "time-beyond-import", name)
    for name in _AHEAD.get(table, ()):
        reasons.when(pl.col(name) > ahead, "time-beyond-import", name)
    for name in (*happened, *_AHEAD.get(table, ())):
        reasons.when(pl.col(name) < first, "time-too-early", name)
    if table == "subjects":
        oldest = date(limits.last.year - _OLDEST_YEARS, 1, 1)
        reasons.when(pl.col("birth_date") > limits.last.date(), "time-beyond-import", "birth_date")
        reasons.when(pl.col("birth_date") < oldest, "time-too-early", "birth_date")
    if table in ROWS and "recorded" in ROWS[table]:
        for name in ("recorded", "retracted"):
            reasons.when(pl.col(name) > last, "time-beyond-import", name)
            reasons.when(pl.col(name) < first, "time-too-early", name)


def _reasons(table: str, limits: TimeLimits | None) -> _Reasons:
    reasons = _Reasons()
    if limits is not None:
        _time_reasons(reasons, table, limits)
    if table in ("events", "subjects", "stays", "movements"):
        reasons.when(_blank("subject"), "subject-missing", "subject")
    if table == "events":
        reasons.when(_blank("code"), "code-missing", "code")
        reasons.when(
            pl.col("time").is_null() & (pl.col("precision") != "none"), "time-missing", "time"
        )
        reasons.when(pl.col("end_time") < pl.col("time"), "end-before-start", "end_time")
        reasons.when(~pl.col("value").is_finite(), "value-not-finite", "value")
        reasons.when(~pl.col("status").is_in(STATUSES), "status-unknown", "status")
    if table in ("stays", "movements"):
        if table == "stays":
            reasons.when(_blank("stay"), "stay-missing", "stay")
        reasons.when(pl.col("start").is_null(), "time-missing", "start")
        reasons.when(pl.col("end") < pl.col("start"), "end-before-start", "end")
    if table == "units":
        reasons.when(_blank("unit"), "code-missing", "unit")
    if table == "beds":
        reasons.when(_blank("unit") | _blank("bed"), "code-missing", "bed")
        reasons.when(pl.col("start").is_null(), "time-missing", "start")
    if table == "codes":
        reasons.when(_blank("code"), "code-missing", "code")
    return reasons


def _fate_of(
    code: str, unit: str, canonical: Mapping[str, CanonicalUnit], own: Mapping[str, str]
) -> tuple[str | None, str | None, float | None, float | None]:
    """Return the doubt about a unit of a code, or the unit kept with factor and offset."""
    ucum = ucum_of(unit, own)
    if ucum is None:
        return "unit-unknown", None, None, None
    wanted = canonical.get(code)
    if wanted is None:
        return None, ucum, 1.0, 0.0
    found = conversion(ucum, wanted.value_unit, wanted.molar_mass)
    if found is None:
        return "unit-not-convertible", None, None, None
    return None, wanted.value_unit, *found


def _units_checked(
    rows: pl.DataFrame, canonical: Mapping[str, CanonicalUnit], own: Mapping[str, str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Convert values to their code's canonical unit; keep as text what has no known unit.

    Works on the distinct pairs of code and unit, of which there are few.
    Returns the rows, and warnings.
    """
    none = pl.DataFrame(schema=ROWS["warnings"])
    if rows["value_unit"].null_count() == rows.height:
        return rows, none
    pairs = rows.select("code", "value_unit").unique().drop_nulls("value_unit")
    fate = pl.DataFrame(
        [(code, unit, *_fate_of(code, unit, canonical, own)) for code, unit in pairs.iter_rows()],
        schema={
            "code": pl.String,
            "value_unit": pl.String,
            "_doubt": pl.String,
            "_unit": pl.String,
            "_factor": pl.Float64,
            "_offset": pl.Float64,
        },
        orient="row",
    )
    if fate.filter(
        (pl.col("_unit") != pl.col("value_unit"))
        | pl.col("_unit").is_null()
        | (pl.col("_factor") != 1.0)
    ).is_empty():
        return rows, none
    joined = rows.join(fate, on=["code", "value_unit"], how="left", maintain_order="left")
    valued = pl.col("value").is_not_null()
    doubtful = pl.col("_doubt").is_not_null()
    changed = (pl.col("_factor") != 1.0) | (pl.col("_offset") != 0.0)
    original = pl.concat_list(
        pl.struct(
            pl.lit("original_value").alias("key"), pl.col("value").cast(pl.String).alias("value")
        ),
        pl.struct(pl.lit("original_unit").alias("key"), pl.col("value_unit").alias("value")),
    )
    # As it was written: <5 furlongs. What was said in words stays beside it.
    written = pl.concat_str(
        pl.col("comparator").fill_null(""),
        pl.col("value").cast(pl.String).str.strip_suffix(".0"),
        pl.lit(" "),
        pl.col("value_unit"),
    )
    warned = refused_rows("events", joined.filter(doubtful), "", "value_unit").with_columns(
        joined.filter(doubtful)["_doubt"].alias("reason")
    )
    kept = joined.with_columns(
        attributes=pl.when(valued & (doubtful | changed).fill_null(value=False))
        .then(
            pl.concat_list(pl.col("attributes").fill_null(pl.lit([], dtype=ATTRIBUTES)), original)
        )
        .otherwise(pl.col("attributes")),
        text=pl.when(valued & doubtful)
        .then(pl.coalesce("text", written))
        .otherwise(pl.col("text")),
        comparator=pl.when(~doubtful).then("comparator"),
        value=pl.when(doubtful)
        .then(None)
        .when(pl.col("_unit").is_null())
        .then("value")
        .otherwise(converted(pl.col("value"), pl.col("_factor"), pl.col("_offset"))),
        value_unit=pl.when(~doubtful).then(pl.coalesce("_unit", "value_unit")),
    )
    return kept.select(rows.columns), warned


def _unique_keys(entries: Iterable[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Number keys that repeat; an entry without a key says nothing that can be found."""
    taken: dict[str, str | None] = {}
    for entry in entries:
        key, number = entry["key"], 1
        if key is None:
            continue
        name = key
        while name in taken:
            number += 1
            name = f"{key} {number}"
        taken[name] = entry["value"]
    return [{"key": key, "value": value} for key, value in taken.items()]


def _as_maps(rows: pl.DataFrame) -> pl.DataFrame:
    """Make every row's attributes a map: engines refuse a file with a key twice."""
    keys = pl.col("attributes").list.eval(pl.element().struct.field("key"))
    wrong = (keys.list.n_unique() < keys.list.len()) | keys.list.contains(None, nulls_equal=True)
    at = rows.select(wrong.fill_null(value=False).arg_true()).to_series()
    if not len(at):
        return rows
    mended = [_unique_keys(entries) for entries in rows["attributes"][at].to_list()]
    return rows.with_columns(
        rows["attributes"]
        .to_frame()
        .with_row_index("at")
        .join(
            pl.DataFrame(
                {"at": at, "mended": mended}, schema={"at": pl.UInt32, "mended": ATTRIBUTES}
            ),
            on="at",
            how="left",
            maintain_order="left",
        )
        .select(attributes=pl.coalesce("mended", "attributes"))
        .to_series()
    )


def accept(
    table: str,
    rows: pl.DataFrame,
    canonical: Mapping[str, CanonicalUnit],
    *,
    limits: TimeLimits | None = None,
    own_units: Mapping[str, str] | None = None,
) -> Accepted:
    """Part delivered rows into those taken and those refused.

    Parameters
    ----------
    table : str
        A key of ``ROWS``.
    rows : polars.DataFrame
        All columns of ``ROWS[table]``.
    canonical : mapping of str to CanonicalUnit
        Canonical unit of each code that has one.
    limits : TimeLimits, optional
        Times beyond are refused. None: dates are shifted on purpose.
    own_units : mapping of str to str, optional
        The hospital's own spellings of units, with the UCUM units they mean.

    Returns
    -------
    Accepted
    """
    defaults = {"events": {"precision": "instant", "status": "done", "sequence": 0}}
    timed = {"stays": {"precision": "instant"}, "movements": {"precision": "instant"}}
    rows = rows.with_columns(
        pl.col(name).fill_null(value)
        for name, value in {**defaults.get(table, {}), **timed.get(table, {})}.items()
    )
    judged = rows.with_columns(_reasons(table, limits).columns())
    bad = judged["_reason"].is_not_null()
    refused = warned = pl.DataFrame(schema=ROWS["quarantine"])
    if bad.any():
        refused = judged.filter(bad).select(
            "file",
            "row",
            table=pl.lit(table),
            field=pl.col("_field"),
            reason=pl.col("_reason"),
        )
        rows = rows.filter(~bad)
    if table == "events":
        unknown = [value for value in rows["precision"].unique() if value not in PRECISIONS]
        if unknown:
            message = f"a source delivered unknown precisions: {unknown}"
            raise ValueError(message)
        rows, warned = _units_checked(rows, canonical, own_units or {})
        rows = _as_maps(rows)
    return Accepted(rows, refused, warned)
