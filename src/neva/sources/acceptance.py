"""Which delivered rows the store takes: the checks of one row at a time.

A row that fails goes to quarantine with the first reason that applies. What
needs more than one row (duplicate ids, revisions) is in ``intake``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from neva.events.measurement_units import conversion, ucum_of
from neva.events.schema import ATTRIBUTES, PRECISIONS, ROWS, STATUSES

__all__ = ["CanonicalUnit", "accept", "refused_rows"]


@dataclass(frozen=True, slots=True)
class CanonicalUnit:
    """The unit that a code's values are kept in, and its molar mass (g/mol)."""

    value_unit: str
    molar_mass: float | None = None


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


def _reasons(table: str) -> _Reasons:
    reasons = _Reasons()
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


def _units_checked(
    rows: pl.DataFrame, canonical: Mapping[str, CanonicalUnit]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Refuse unknown units; convert values to their code's canonical unit.

    Works on the distinct pairs of code and unit, of which there are few.
    """
    if rows["value_unit"].null_count() == rows.height:
        return rows, rows.clear()
    pairs = rows.select("code", "value_unit").unique().drop_nulls("value_unit")
    fates: list[tuple[str, str, str | None, float | None, float | None]] = []
    for code, unit in pairs.iter_rows():
        ucum = ucum_of(unit)
        wanted = canonical.get(code)
        if ucum is None:
            fates.append((code, unit, None, None, None))
        elif wanted is None:
            fates.append((code, unit, ucum, 1.0, 0.0))
        else:
            found = conversion(ucum, wanted.value_unit, wanted.molar_mass)
            if found is None:
                fates.append((code, unit, None, None, None))
            else:
                fates.append((code, unit, wanted.value_unit, *found))
    fate = pl.DataFrame(
        fates,
        schema={
            "code": pl.String,
            "value_unit": pl.String,
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
        return rows, rows.clear()
    joined = rows.join(fate, on=["code", "value_unit"], how="left", maintain_order="left")
    unknown = pl.col("value_unit").is_not_null() & pl.col("_unit").is_null()
    converted = (
        pl.col("_factor").is_not_null() & ((pl.col("_factor") != 1.0) | (pl.col("_offset") != 0.0))
    ) & pl.col("value").is_not_null()
    original = pl.concat_list(
        pl.struct(
            pl.lit("original_value").alias("key"), pl.col("value").cast(pl.String).alias("value")
        ),
        pl.struct(pl.lit("original_unit").alias("key"), pl.col("value_unit").alias("value")),
    )
    kept = joined.filter(~unknown).with_columns(
        attributes=pl.when(converted)
        .then(
            pl.concat_list(pl.col("attributes").fill_null(pl.lit([], dtype=ATTRIBUTES)), original)
        )
        .otherwise(pl.col("attributes")),
        value=pl.when(converted)
        .then(pl.col("value") * pl.col("_factor") + pl.col("_offset"))
        .otherwise(pl.col("value")),
        value_unit=pl.coalesce("_unit", "value_unit"),
    )
    return kept.select(rows.columns), joined.filter(unknown).select(rows.columns)


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


def refused_rows(table: str, rows: pl.DataFrame, reason: str, name: str) -> pl.DataFrame:
    """Give the quarantine rows for delivered rows that are refused for one reason."""
    return rows.select(
        "file",
        "row",
        table=pl.lit(table),
        field=pl.lit(name),
        reason=pl.lit(reason),
    )


def accept(
    table: str, rows: pl.DataFrame, canonical: Mapping[str, CanonicalUnit]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part delivered rows into those taken and those refused.

    Parameters
    ----------
    table : str
        A key of ``ROWS``.
    rows : polars.DataFrame
        All columns of ``ROWS[table]``.
    canonical : mapping of str to CanonicalUnit
        Canonical unit of each code that has one.

    Returns
    -------
    taken : polars.DataFrame
        The same columns, defaults filled in, units converted.
    refused : polars.DataFrame
        Columns ``file``, ``row``, ``table``, ``field``, ``reason``.
    """
    defaults = {"events": {"precision": "instant", "status": "done", "sequence": 0}}
    timed = {"stays": {"precision": "instant"}, "movements": {"precision": "instant"}}
    rows = rows.with_columns(
        pl.col(name).fill_null(value)
        for name, value in {**defaults.get(table, {}), **timed.get(table, {})}.items()
    )
    judged = rows.with_columns(_reasons(table).columns())
    bad = judged["_reason"].is_not_null()
    if bad.any():
        refused = judged.filter(bad).select(
            "file",
            "row",
            table=pl.lit(table),
            field=pl.col("_field"),
            reason=pl.col("_reason"),
        )
        rows = rows.filter(~bad)
    else:
        refused = pl.DataFrame(schema=ROWS["quarantine"])
    if table == "events":
        unknown = [value for value in rows["precision"].unique() if value not in PRECISIONS]
        if unknown:
            message = f"a source delivered unknown precisions: {unknown}"
            raise ValueError(message)
        rows, strange = _units_checked(rows, canonical)
        if strange.height:
            refused = pl.concat(
                [refused, refused_rows(table, strange, "unit-unknown", "value_unit")]
            )
        rows = _as_maps(rows)
    return rows, refused
