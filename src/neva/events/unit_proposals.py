"""What unrecognised spellings of units may mean, guessed from the values beside them.

A value whose unit is not understood is kept as text. Where the same code has
values in a known unit too, their sizes say what the spelling may mean: white
cells of 7.1 "Gpt/l" beside 7.3 ``10*9/L``. It is a proposal for a person: what
is written into the hospital's ``units.yaml`` is what counts.
"""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from neva.events.measurement_units import EVERYDAY_UNITS, conversion, converted
from neva.events.schema import Columns, attribute
from neva.events.snapshot import Snapshot

__all__ = ["PROPOSALS", "propose_units"]

#: Fewer values on either side say nothing.
LEAST_VALUES: Final = 20
#: Medians may differ by this factor, and every other unit must fit worse by the second.
CLOSE: Final = 1.25
APART: Final = 2.0

PROPOSALS: Final[Columns] = {
    "written": pl.String,
    "code": pl.String,
    "values": pl.Int64,
    "compared": pl.Int64,
    "known_unit": pl.String,
    "proposed": pl.String,
    "ratio": pl.Float64,
    "reason": pl.String,
}


def propose_units(snapshot: Snapshot) -> pl.DataFrame:
    """Propose what spellings mean that were not understood.

    Parameters
    ----------
    snapshot : Snapshot

    Returns
    -------
    polars.DataFrame
        Columns of :data:`PROPOSALS`; a row a spelling (``written``) and code:
        ``values`` so written, ``compared`` values of the code in its
        ``known_unit``? (the most frequent understood one), the ``proposed``
        UCUM unit?, the ``ratio``? of the medians if that is what it means, and
        the ``reason``. Nothing is proposed under 20 values on either side,
        where medians differ by more than a quarter, where two units fit, or where
        a spelling seems to mean different things of different codes.

    Notes
    -----
    Only everyday units of the same dimension as the known one are tried, and
    equal ones (µg/mL, mg/L) are one.
    """
    unknown = (
        snapshot.events()
        .filter(pl.col("value").is_null(), attribute("original_unit").is_not_null())
        .select(
            "code",
            written=attribute("original_unit"),
            value=attribute("original_value").cast(pl.Float64, strict=False),
        )
        .group_by("written", "code")
        .agg(pl.col("value").count().alias("values"), pl.col("value").median().alias("median"))
        .collect()
        .sort("values", "written", "code", descending=[True, False, False])
    )
    if unknown.is_empty():
        return pl.DataFrame(schema=PROPOSALS)
    known = (
        snapshot.events()
        .filter(
            pl.col("value").is_not_null(),
            pl.col("value_unit").is_not_null(),
            pl.col("code").is_in(unknown["code"].unique().implode()),
        )
        .group_by("code", "value_unit")
        .agg(pl.len().alias("compared"), pl.col("value").median().alias("usual"))
        .collect()
        .sort("code", "compared", "value_unit", descending=[False, True, False])
        .unique("code", keep="first", maintain_order=True)
    )
    rows = [
        {
            "written": row["written"],
            "code": row["code"],
            "values": row["values"],
            "compared": row["compared"] or 0,
            "known_unit": row["value_unit"],
            **_proposed(row),
        }
        for row in unknown.join(known, on="code", how="left").iter_rows(named=True)
    ]
    found = pl.DataFrame(rows, schema=PROPOSALS)
    several = pl.col("proposed").drop_nulls().n_unique().over("written") > 1
    return found.with_columns(
        reason=pl.when(several & pl.col("proposed").is_not_null())
        .then(pl.lit("the spelling seems to mean another unit with another code"))
        .otherwise("reason"),
        proposed=pl.when(~several).then("proposed"),
    )


def _proposed(row: dict[str, object]) -> dict[str, object]:
    """The unit under which the medians meet, or why there is none."""

    def none(reason: str) -> dict[str, object]:
        return {"proposed": None, "ratio": None, "reason": reason}

    unit, usual, median = row["value_unit"], row["usual"], row["median"]
    if unit is None:
        return none("no value of this code has a unit that is understood")
    if int(str(row["values"])) < LEAST_VALUES or int(str(row["compared"])) < LEAST_VALUES:
        return none(f"fewer than {LEAST_VALUES} values to compare")
    assert isinstance(unit, str)
    assert isinstance(usual, float)
    if not isinstance(median, float) or median <= 0 or usual <= 0:
        return none("the usual value is not above zero: sizes say nothing")
    # By how much each unit would miss, as a factor; of equal ones the known one, then the first.
    tried: dict[tuple[float, float], tuple[float, str]] = {}
    for candidate in (unit, *sorted(EVERYDAY_UNITS)):
        way = conversion(candidate, unit)
        if way is None or way in tried:
            continue
        as_known = float(
            pl.select(converted(pl.lit(median), pl.lit(way[0]), pl.lit(way[1]))).item()
        )
        if as_known > 0:
            tried[way] = (as_known / usual, candidate)
    ranked = sorted(tried.values(), key=lambda one: abs(math.log(one[0])))
    ratio, best = ranked[0]
    missed = abs(math.log(ratio))
    if missed > math.log(CLOSE):
        return none("no everyday unit makes the values as large as usual")
    if len(ranked) > 1 and abs(math.log(ranked[1][0])) - missed < math.log(APART):
        return none(f"{best} and {ranked[1][1]} both fit")
    return {
        "proposed": best,
        "ratio": round(ratio, 3),
        "reason": "the values are as large as usual",
    }
