"""Disclosure control: what roles that see no patients are shown of a measure.

Every breakdown that is shown beside the measure's own counts (statuses,
periods, units, groups) is a partition of the same cases, and is shown as far
as :func:`neva.statistics.disclosure.withheld_parts` allows. Limits, centres and
funnels are made of the parts that are shown only: else they would give away
the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import polars as pl

from neva.definitions.documents import Measure
from neva.quality.fhir.counts import component_counts
from neva.quality.figures import exclusion_counts, figures, period_of_case
from neva.quality.measuring import MeasureRun
from neva.statistics.disclosure import (
    FEWEST,
    FEWEST_FOR_QUANTILES,
    WITHHELD,
    is_small,
    withheld_parts,
)

__all__ = [
    "SharedPart",
    "shared_components",
    "shared_exclusions",
    "shared_figure",
    "shared_periods",
    "shared_strata",
    "shared_units",
]

_STATUSES: Final = ("met", "failed", "measured", "pending", "excluded", "unknown")
_CLOSED: Final = ("met", "failed", "measured")
_RATE: Final = ("rate", "low", "high")
_TREATED: Final = ("treated", "treated_met", "treated_rate")
_INTERVAL: Final = ("interval_n", "before_clock", "interval_median")
_QUANTILES: Final = ("median", "lower_quartile", "upper_quartile", "low", "high")
_VALUES: Final = (*_QUANTILES, "mean", "ratio")

Spacing = Literal["week", "month", "quarter", "year"]

_SPACINGS: Final[tuple[Spacing, ...]] = ("week", "month", "quarter", "year")


@dataclass(frozen=True)
class SharedPart:
    """The parts of a breakdown that are shown.

    Attributes
    ----------
    run : MeasureRun
        The closed cases of these parts alone.
    is_whole : bool
        Nothing is withheld.
    """

    run: MeasureRun
    is_whole: bool


def shared_figure(run: MeasureRun, measure: Measure) -> dict[str, Any]:
    """Return the figures of all time of a measure, small counts withheld.

    Parameters
    ----------
    run : MeasureRun
    measure : Measure

    Returns
    -------
    dict
        A row of :class:`neva.quality.figures.Figures`, with ``outside``;
        :data:`neva.statistics.disclosure.WITHHELD` for what is not shown.
    """
    found = figures(run, measures=[measure.id]).frame
    row: dict[str, Any] = {**found.row(0, named=True), "outside": run.outside[measure.id]}
    parts = (*_STATUSES, "outside")
    withheld = withheld_parts([row[name] for name in parts])
    hidden = {name for name, is_hidden in zip(parts, withheld.parts, strict=True) if is_hidden}
    if withheld.total:
        hidden |= set(parts)
    if hidden:
        hidden.add("population")
    if hidden & set(_CLOSED):
        hidden |= {*_CLOSED, "denominator", *_RATE, *_TREATED, *_INTERVAL, *_VALUES}
    else:
        hidden |= _hidden_of_closed(row)
    return {name: WITHHELD if name in hidden else value for name, value in row.items()}


def _hidden_of_closed(row: Mapping[str, Any]) -> set[str]:
    hidden: set[str] = set()
    not_met = row["treated"] - row["treated_met"]
    treated = (row["treated_met"], not_met, row["met"] - row["treated_met"],
               row["failed"] - not_met)  # fmt: skip
    if any(is_small(count) for count in treated):
        hidden |= set(_TREATED)
    timed = (row["interval_n"], row["denominator"] - row["interval_n"], row["before_clock"],
             row["interval_n"] - row["before_clock"])  # fmt: skip
    if any(is_small(count) for count in timed):
        hidden |= set(_INTERVAL)
    if row["interval_n"] < FEWEST_FOR_QUANTILES:
        hidden.add("interval_median")
    if row["measured"] and row["denominator"] < FEWEST_FOR_QUANTILES:
        hidden |= set(_QUANTILES)
    return hidden


def _closed(run: MeasureRun, measure: Measure) -> pl.DataFrame:
    return run.of(measure.id).filter(pl.col("status").is_in(_CLOSED))


def _status_counts(frame: pl.DataFrame) -> pl.DataFrame:
    """Closed, met and not met, whose sums are known from the measure's own row."""
    return frame.select("denominator", "met", "failed")


def shared_periods(
    run: MeasureRun, measure: Measure, *, finest: Spacing
) -> tuple[SharedPart, Spacing]:
    """Choose the periods that are shown: the finest of which none must be withheld.

    If there is no such spacing, the one of which most cases can be shown. Only
    one is shown: nested periods would be revealed by subtraction.

    Parameters
    ----------
    run : MeasureRun
    measure : Measure
    finest : str
        The periods that those who see patients are shown.
    """
    best: tuple[int, SharedPart, Spacing] | None = None
    closed = _closed(run, measure)
    for every in _SPACINGS[_SPACINGS.index(finest) :]:
        frame = figures(run, measures=[measure.id], every=every).frame.filter(
            pl.col("denominator") > 0
        )
        withheld = withheld_parts(_status_counts(frame).to_numpy())
        shown = frame.filter(pl.Series(~withheld.parts), pl.col("period").is_not_null())
        if withheld.total:
            shown = shown.clear()
        is_shown = period_of_case(every, run.zone).is_in(shown["period"].implode())
        part = SharedPart(
            replace(run, cases=closed.filter(is_shown.fill_null(value=False))),
            is_whole=not withheld.parts.any() and not withheld.total,
        )
        if best is None or part.run.cases.height > best[0]:
            best = (part.run.cases.height, part, every)
        if part.is_whole:
            break
    assert best is not None
    return best[1], best[2]


def shared_units(run: MeasureRun, measure: Measure) -> SharedPart:
    """Choose the units that are shown."""
    closed = _closed(run, measure)
    frame = figures(run, measures=[measure.id], by=["unit"]).frame.filter(pl.col("denominator") > 0)
    withheld = withheld_parts(_status_counts(frame).to_numpy())
    shown = frame.filter(pl.Series(~withheld.parts))
    if withheld.total:
        shown = shown.clear()
    cases = closed.join(shown.select("unit"), on="unit", how="semi", nulls_equal=True)
    return SharedPart(
        replace(run, cases=cases), is_whole=not withheld.parts.any() and not withheld.total
    )


def shared_strata(rows: Sequence[Mapping[str, Any]], closed: int, met: int) -> list[dict[str, Any]]:
    """Withhold groups; those of one stratifier stand in one row without a name.

    Parameters
    ----------
    rows : sequence of mapping
        ``name`` of the stratifier, ``value``, ``n`` (closed), ``met``.
    closed, met : int
        Of all; some may be in no group.
    """
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [dict(row) for row in rows if row["name"] == name]
        rest, rest_met = (
            closed - sum(row["n"] for row in mine),
            met - sum(row["met"] for row in mine),
        )
        counts = [(row["n"], row["met"], row["n"] - row["met"]) for row in mine]
        withheld = withheld_parts([*counts, (rest, rest_met, rest - rest_met)])
        hidden = withheld.parts[:-1] if not withheld.total else [True] * len(mine)
        found += [row for row, is_hidden in zip(mine, hidden, strict=True) if not is_hidden]
        if any(hidden):
            found.append({"name": name, "value": WITHHELD, "n": WITHHELD, "met": WITHHELD})
    return found


def shared_exclusions(run: MeasureRun, measure: Measure) -> list[dict[str, Any]]:
    """Count exclusions; all or none, since one patient may have several."""
    rows = exclusion_counts(run, measure.id).to_dicts()
    excluded = run.of(measure.id).filter(pl.col("status") == "excluded")
    several = excluded.filter(pl.col("excluded_by").list.len() > 1).height
    counts = [several]
    for row in rows:
        both = row["cases"] - row["only"]
        counts += [row["cases"], row["only"], both, several - both, excluded.height - row["cases"]]
    pairs = excluded.group_by(pl.col("excluded_by").list.sort()).len()["len"].to_list()
    if rows and any(is_small(count) for count in (*counts, *pairs)):
        return [{"exclusion": WITHHELD, "title": WITHHELD, "cases": WITHHELD, "only": WITHHELD}]
    return rows


def shared_components(run: MeasureRun, measure: Measure) -> list[dict[str, Any]]:
    """Count the components of a measure among its closed cases."""
    cases = run.of(measure.id)
    counts = component_counts(measure, cases, below=FEWEST)
    of = _closed(run, measure).height
    return [
        {
            "title": one.title or one.name,
            "met": WITHHELD if counts[one.name] is None else counts[one.name],
            "of": of,
        }
        for one in measure.components
    ]
