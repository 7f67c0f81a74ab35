"""Beds on the page of scenarios: beds for a level of service, and which occupancy is too high."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from neva.flow.simulation.compare import (
    Comparison,
    ServiceSearch,
    highest_occupancy,
    refusal_by_pool,
)
from neva.languages.english import number, part, share
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow import pool_chart, search_chart
from neva.reports.pages.page import Cell, Details, Figure, Panel, Table, Text

__all__ = ["mean_beds", "pool_blocks", "service_blocks"]

#: Shares of patients refused, for which the highest occupancy is shown.
REFUSED: Final = (0.01, 0.05)
#: Pools that the sentence on occupancy names.
SMALL_POOL, LARGE_POOL, RULE = 10, 100, 0.85


def mean_beds(comparison: Comparison, unit: str) -> list[float | None]:
    """Return the mean staffed beds of a unit in each scenario; missing where unlimited."""
    counts: list[float | None] = []
    for run in comparison.runs.values():
        found = run.by_replicate.filter(unit=unit, figure="staffed_beds")["value"].drop_nulls()
        counts.append(float(np.mean(found.to_numpy())) if found.len() else None)
    return counts


def service_blocks(
    search: ServiceSearch, days: float
) -> tuple[Text | Table | Figure | Details, ...]:
    """Say how many beds serve so many patients at once, with what was tried.

    Parameters
    ----------
    search : ServiceSearch
    days : float
        Simulated for each number of beds.
    """
    wanted = share(search.target, digits=0)
    answer = (
        f"No number of beds that was tried lets {wanted} of patients find one at once."
        if search.beds is None
        else f"{search.beds} beds of {search.unit} let {wanted} of patients find one at once: the "
        f"lower end of the 95 % interval reaches {wanted}, with one bed fewer it does not."
    )
    rows = tuple(
        (
            Cell(number(row["beds"]), is_text=True, is_strong=row["beds"] == search.beds),
            Cell(share(row["served"]), small=f"{share(row['lower'])} to {share(row['upper'])}"),
            Cell("yes" if row["enough"] else "no", is_text=True),
        )
        for row in search.tried.iter_rows(named=True)
    )
    return (
        Text(answer),
        Figure(
            (
                Panel(
                    to_svg(search_chart(search)),
                    f"Share of patients who find a bed of {search.unit} at once against its beds; "
                    f"the table has the numbers. {answer}",
                ),
            ),
            f"Simulated over {days:g} days; only numbers of beds that the search needed were "
            f"tried. Those placed elsewhere count as not served. Dotted: target {wanted}.",
            size="large",
        ),
        Table(
            "Numbers of beds tried",
            (
                Cell("beds", is_text=True),
                Cell("find a bed at once", small="95 % interval"),
                Cell("reaches the target", is_text=True),
            ),
            rows,
        ),
    )


def _at_rule(pools: pl.DataFrame, beds: int) -> str:
    found = pools.filter(pl.col("beds") == beds, pl.col("occupancy") == RULE)
    return share(found["refused"][0])


def pool_blocks(
    comparison: Comparison,
) -> tuple[Text | Table | Figure | Details, ...]:
    """Lay out refusal against beds, in place of one occupancy for all units.

    Parameters
    ----------
    comparison : Comparison
        Its first scenario has the units, their beds and how full they are.
    """
    pools = refusal_by_pool()
    name, base = next(iter(comparison.runs.items()))
    full = comparison.frame.filter(pl.col("scenario") == name, pl.col("figure") == "occupancy")
    occupancies = dict(full.select("unit", "mean").iter_rows())
    rows = []
    for unit, beds in zip(
        base.model.units,
        (mean_beds(comparison, unit.name)[0] for unit in base.model.units),
        strict=True,
    ):
        if beds is None or round(beds) < 1:
            continue
        count = round(beds)
        full_now = occupancies.get(unit.name)
        is_above = full_now is not None and full_now > highest_occupancy(count, REFUSED[-1])
        rows.append(
            (
                Cell(unit.name, is_text=True),
                Cell(number(count)),
                Cell(
                    f"{share(full_now)}{' ▲' if is_above else ''}",
                    is_strong=is_above,
                ),
                *(Cell(share(highest_occupancy(count, refused))) for refused in REFUSED),
                Cell(_at_rule(refusal_by_pool([count], [RULE]), count)),
            )
        )
    sentence = (
        f"There is no occupancy that is right for all: at {part(RULE)} full, a pool of "
        f"{SMALL_POOL} beds turns away {_at_rule(pools, SMALL_POOL)} of those who come, one of "
        f"{LARGE_POOL} beds {_at_rule(pools, LARGE_POOL)}, because in a large pool highs and lows "
        "even out."
    )
    blocks: list[Text | Table | Figure | Details] = [
        Text(sentence),
        Figure(
            (Panel(to_svg(pool_chart(pools)), f"Refusal against beds. {sentence}"),),
            "Erlang's loss formula (1917): patients come at random at an even rate, those who find "
            "no bed are lost. Arrivals that differ by hour and day make it worse; waiting makes it "
            "different. A way to think, not a forecast.",
            size="large",
        ),
    ]
    if rows:
        blocks.append(
            Table(
                "The units by the same formula: the highest mean occupancy if so few may be "
                f"refused. ▲: fuller than with {share(REFUSED[-1], digits=0)} refused",
                (
                    Cell("unit", is_text=True),
                    Cell("beds"),
                    Cell("occupancy", small=f"simulated, {name}"),
                    *(Cell(f"at most, {share(refused, digits=0)} refused") for refused in REFUSED),
                    Cell("refused", small="at 85 % full"),
                ),
                tuple(rows),
            )
        )
    return tuple(blocks)
