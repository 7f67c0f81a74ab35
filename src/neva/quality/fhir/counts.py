"""Counts of a measure in the form that a report has them, small ones withheld.

What stands in one summary must not give a small count away, neither by itself
nor by subtraction. So every breakdown is a partition (each case is in one part
of it), and a breakdown is shown only as far as what is withheld of it is, in
sum, nothing or not small either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import polars as pl

from neva.definitions.documents import Measure
from neva.quality.fhir.words import scoring_of
from neva.quality.figures import figures, suppressed
from neva.quality.measuring import MeasureRun
from neva.statistics.disclosure import is_small

__all__ = [
    "Breakdown",
    "Stratum",
    "breakdown",
    "component_counts",
    "in_period",
    "population_counts",
    "statuses_of",
    "strata",
]

_STATUSES: Final = ("met", "failed", "measured", "pending", "excluded", "unknown")
_CLOSED: Final = ("met", "failed", "measured")

Counts = Mapping[str, int | None]


@dataclass(frozen=True)
class Stratum:
    """Cases of one value of a stratifier, or all.

    Attributes
    ----------
    value : str or None
        None: the value is missing.
    figures : mapping or None
        A row of ``Figures.frame``; None: withheld.
    """

    value: str | None
    figures: Mapping[str, Any] | None


@dataclass(frozen=True)
class Breakdown:
    """Counts of all cases of a measure in a summary.

    Attributes
    ----------
    total : Stratum
    exclusions : dict of str to int, or None
        For each exclusion the cases of which it is the first that applies; the
        parts add up to the excluded. None: withheld.
    treated : dict of str to int, or None
        By status, the cases in the narrower denominator.
    components : dict of str to int or None
        For each component the closed cases in which it was met.
    missing : int or None
        Cases without a time that places them in a period.
    """

    total: Stratum
    exclusions: dict[str, int] | None
    treated: dict[str, int] | None
    components: dict[str, int | None]
    missing: int | None


def in_period(run: MeasureRun, measure: str, period: tuple[date, date] | None) -> MeasureRun:
    """Keep the cases of one measure that a period [start, end) holds, by the hospital's days."""
    one = run.measure(measure)
    cases = run.cases.filter(pl.col("measure") == one.id)
    if period is not None:
        days = pl.col("placed").dt.convert_time_zone(run.zone).dt.date()
        cases = cases.filter((days >= period[0]) & (days < period[1]))
    return replace(run, measures=(one,), cases=cases)


def statuses_of(cases: pl.DataFrame) -> dict[str, int]:
    """Count cases by status, zero counts included."""
    found = dict(cases.group_by("status").len().iter_rows())
    return {name: int(found.get(name, 0)) for name in _STATUSES}


def population_counts(measure: Measure, counts: Counts | None) -> list[tuple[str, int | None]]:
    """Turn counts by status into FHIR's populations, as its score formula needs them.

    Parameters
    ----------
    measure : Measure
    counts : mapping of str to int, or None
        Cases by status; None: withheld.

    Returns
    -------
    list of (str, int or None)
        Population code and count. Of a proportion: ``denominator`` counts the
        excluded too, so that the score is numerator / (denominator -
        denominator-exclusion); pending and unknown are in the initial
        population only.

    Examples
    --------
    >>> from neva.definitions.programme import load_programme
    >>> counts = dict(met=35, failed=24, measured=0, pending=1, excluded=14, unknown=2)
    >>> dict(population_counts(load_programme("stroke").measures[0], counts))
    {'initial-population': 76, 'denominator': 73, 'denominator-exclusion': 14, 'numerator': 35}
    """
    scoring = scoring_of(measure)
    of = "measure-population" if scoring == "continuous-variable" else "denominator"
    codes = ["initial-population", of]
    if measure.exclusions:
        codes.append(f"{of}-exclusion")
    codes.append("measure-observation" if scoring == "continuous-variable" else "numerator")
    if counts is None:
        return [(code, None) for code in codes]
    by_code = {
        "initial-population": sum(counts[name] or 0 for name in _STATUSES),
        of: sum(counts[name] or 0 for name in (*_CLOSED, "excluded")),
        f"{of}-exclusion": counts["excluded"],
        "numerator": counts["met"] if scoring == "proportion" else counts["measured"],
        "measure-observation": counts["measured"],
    }
    return [(code, by_code[code]) for code in codes]


# --------------------------------------------------------------------- withholding


def _split_is_safe(cases: pl.DataFrame, flag: pl.Expr, below: int) -> bool:
    """Say whether a yes-no question, put to the cases of each status, splits off no few."""
    cells = cases.group_by("status", flag.fill_null(value=False).alias("_flag")).len()
    return not any(is_small(count, below) for count in cells["len"])


def breakdown(run: MeasureRun, *, below: int) -> Breakdown:
    """Count all cases of a run of one measure for a summary.

    Parameters
    ----------
    run : MeasureRun
        As :func:`in_period` returns it.
    below : int
        The smallest count that may be shown.
    """
    (measure,) = run.measures
    (row,) = suppressed(figures(run), below=below).iter_rows(named=True)
    if row["suppressed"]:
        components = dict.fromkeys((one.name for one in measure.components), None)
        return Breakdown(Stratum(None, None), None, None, dict(components), None)
    cases = run.cases
    excluded = cases.filter(pl.col("status") == "excluded")
    first = dict(excluded.group_by(pl.col("excluded_by").list.first()).len().iter_rows())
    exclusions = {one.name: int(first.get(one.name, 0)) for one in measure.exclusions}
    is_shown = not any(is_small(count, below) for count in exclusions.values())
    treated = None
    if measure.treated is not None and _split_is_safe(cases, pl.col("treated"), below):
        treated = statuses_of(cases.filter(pl.col("treated")))
    missing = pl.col("placed").is_null()
    return Breakdown(
        total=Stratum(None, _guarded(row, run, below)),
        exclusions=exclusions if is_shown else None,
        treated=treated,
        components=component_counts(measure, cases, below=below),
        missing=int(cases.select(missing.sum()).item())
        if _split_is_safe(cases, missing, below)
        else None,
    )


def component_counts(measure: Measure, cases: pl.DataFrame, *, below: int) -> dict[str, int | None]:
    """Count the closed cases that have each component; None: withheld."""
    closed = cases.filter(pl.col("status").is_in(_CLOSED))
    names = [one.name for one in measure.components]
    # With two, what both have is known from the total if the numerator is "all of them".
    pairs = closed.group_by("status", pl.col("components_met").list.sort()).len()
    if len(names) == 2 and any(is_small(count, below) for count in pairs["len"]):
        return dict.fromkeys(names, None)
    found: dict[str, int | None] = {}
    for name in names:
        flag = pl.col("components_met").list.contains(name)
        is_safe = _split_is_safe(closed, flag, below)
        found[name] = closed.filter(flag).height if is_safe else None
    return found


def _guarded(row: dict[str, Any], run: MeasureRun, below: int) -> dict[str, Any]:
    """Leave out the bounds of a median beyond which there are few: they are patients' values."""
    if not row["measured"]:
        return row
    values = run.cases.filter(pl.col("status") == "measured")["value"].drop_nulls()
    kept = dict(row)
    if row["low"] is not None and (values <= row["low"]).sum() < below:
        kept["low"] = None
    if row["high"] is not None and (values >= row["high"]).sum() < below:
        kept["high"] = None
    return kept


def strata(run: MeasureRun, stratifier: str, *, below: int) -> list[Stratum]:
    """Count the cases of a run of one measure by a stratifier, for a summary.

    Parameters
    ----------
    run : MeasureRun
        As :func:`in_period` returns it.
    stratifier : str
        Its name, or ``unit``.
    below : int
        The smallest count that may be shown.

    Returns
    -------
    list of Stratum
        Those shown, by value; then, if any is withheld, one stratum for all of
        these, without a name and without counts: a rare value that is named
        tells that somebody has it.
    """
    found = figures(run, by=[stratifier])
    column = "unit" if stratifier == "unit" else "stratum"
    shown = suppressed(found, below=below)["suppressed"].not_()
    frame = found.frame.with_columns(_shown=shown).sort("population", column)
    rows = list(frame.iter_rows(named=True))

    def remainder_is_small() -> bool:
        hidden = [row for row in rows if not row["_shown"]]
        return any(
            is_small(sum(row[name] for row in hidden), below) for name in ("population", *_STATUSES)
        )

    while remainder_is_small() and any(row["_shown"] for row in rows):
        next(row for row in rows if row["_shown"])["_shown"] = False
    kept = [Stratum(row[column], row) for row in rows if row["_shown"]]
    kept.sort(key=lambda one: (one.value is None, one.value or ""))
    if len(kept) < len(rows):
        kept.append(Stratum(None, None))
    return kept
