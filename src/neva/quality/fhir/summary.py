"""The summary of a measure as an R4 MeasureReport: counts and no patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from neva.definitions.documents import Measure
from neva.errors import UsageError
from neva.quality.fhir.counts import (
    Breakdown,
    Stratum,
    breakdown,
    in_period,
    population_counts,
    strata,
)
from neva.quality.fhir.report_parts import (
    BESIDE,
    Period,
    case_count,
    header,
    population,
    quantity,
    score_unit,
)
from neva.quality.fhir.words import (
    BASE_URL,
    Resource,
    extension,
    masked,
    own_concept,
    scoring_of,
    terminology,
)
from neva.quality.measuring import MeasureRun

__all__ = ["BELOW", "summary_report"]

#: The smallest count that a summary shows, unless the hospital says another.
BELOW: Final = 5


def summary_report(
    run: MeasureRun,
    measure: str,
    *,
    synthetic: bool,
    period: Period | None = None,
    by: Sequence[str] | None = None,
    below: int = BELOW,
    base_url: str = BASE_URL,
    made: datetime | None = None,
) -> Resource:
    """Report the counts of a measure, without patients, for outside the hospital.

    Parameters
    ----------
    run : MeasureRun
    measure : str
        Id.
    synthetic : bool
        Whether the hospital's patients are synthetic
        (:func:`neva.events.synthetic.is_synthetic`); the report is tagged.
    period : (date, date), optional
        Days [start, end) of the hospital's calendar, by the ``placed`` time of
        the cases; all cases by default.
    by : sequence of str, optional
        Stratifiers of the measure, or ``unit``; by default all of the measure.
    below : int
        The smallest count that may be shown; smaller ones, and what would give
        them away, are absent with the reason ``masked``.
    base_url : str
        As for the measure.
    made : datetime, optional
        When the report is made, with a zone.

    Returns
    -------
    dict
        A ``MeasureReport`` of type ``summary``.

    Raises
    ------
    UsageError
        The run has no such measure, the measure no such stratifier, or the
        period is empty.

    Notes
    -----
    What is withheld is safe within one report. Two reports on periods or
    hospitals that overlap can be subtracted from each other; nothing here
    knows what was published before.
    """
    one = run.measure(measure)
    chosen = in_period(run, measure, period)
    names = [part.name for part in one.stratifiers] if by is None else list(by)
    for name in names:
        if name not in {"unit", *(part.name for part in one.stratifiers)}:
            message = (
                f"measure {one.id}: it has no stratifier of this name; found {name!r}; there are "
                f"{', '.join(['unit', *(part.name for part in one.stratifiers)])}"
            )
            raise UsageError(message)
    report = header(
        run, one, "summary", synthetic=synthetic, period=period, base_url=base_url, made=made
    )
    found = breakdown(chosen, below=below)
    errors = run.errors.height
    report["extension"] += [
        case_count("errors", None if 0 < errors < below else errors),
        case_count("missing", found.missing),
        *_quality(run, one),
    ]
    if period is None:
        outside = run.outside[one.id]
        report["extension"].append(case_count("outside", None if 0 < outside < below else outside))
    main = _summary_group(one, found)
    main["stratifier"] = [
        {
            "code": [own_concept("stratifier", name)],
            "stratum": [_stratum(one, part) for part in strata(chosen, name, below=below)],
        }
        for name in names
    ]
    main["stratifier"] = [part for part in main["stratifier"] if part["stratum"]]
    if not main["stratifier"]:
        del main["stratifier"]
    report["group"] = [main, *_further_groups(one, found)]
    return report


def _quality(run: MeasureRun, measure: Measure) -> list[Resource]:
    """Shares, 0-1, of the events that the measure rests on; two digits tell no single event."""
    sources = run.sources[measure.id]
    return [
        extension(name, valueDecimal=round(share, 2))
        for name, share in (
            ("recorded-assumed", sources.assumed),
            ("dates-only", sources.dates_only),
        )
        if share is not None
    ]


def _summary_group(measure: Measure, found: Breakdown) -> Resource:
    row = found.total.figures
    group: Resource = {
        "id": "measure",
        "extension": [case_count(name, None if row is None else row[name]) for name in BESIDE],
        "code": own_concept("group", "measure"),
        "population": [population(*pair) for pair in population_counts(measure, row)],
    }
    for counted in group["population"]:
        code = counted["code"]["coding"][0]["code"]
        if code in ("denominator-exclusion", "measure-population-exclusion"):
            counted["extension"] = [
                case_count(
                    "first-exclusion",
                    None if found.exclusions is None else found.exclusions[one.name],
                    exclusion={"valueString": one.name},
                )
                for one in measure.exclusions
            ]
    score = _score(measure, row)
    if score is not None:
        group["measureScore"] = score
    return group


def _stratum(measure: Measure, part: Stratum) -> Resource:
    if part.figures is None:
        value: Resource = {
            "coding": [{"system": terminology("data-absent-reason"), "code": "masked"}],
            "text": "withheld: few cases",
        }
    elif part.value is None:
        value = {"coding": [{"system": terminology("data-absent-reason"), "code": "unknown"}]}
    else:
        value = {"text": part.value if part.value.strip() else "(empty)"}
    made: Resource = {
        "extension": [
            case_count(name, None if part.figures is None else part.figures[name])
            for name in BESIDE
        ],
        "value": value,
        "population": [population(*pair) for pair in population_counts(measure, part.figures)],
    }
    # Bounds of a stratum's median may be single patients' values.
    row = part.figures
    if row is not None and measure.numerator is None:
        row = {**row, "low": None, "high": None}
    score = _score(measure, row)
    if score is not None:
        made["measureScore"] = score
    return made


def _score(measure: Measure, row: Mapping[str, Any] | None) -> Resource | None:
    """The score with its interval; None where there is nothing to score."""
    if row is None:
        return masked()
    scoring = scoring_of(measure)
    value = row[{"proportion": "rate", "ratio": "ratio"}.get(scoring, "median")]
    # The interval of a ratio is not estimated.
    bounds = () if scoring == "ratio" else ("low", "high")
    return quantity(value, score_unit(measure), {name: row[name] for name in bounds})


def _further_groups(measure: Measure, found: Breakdown) -> Iterator[Resource]:
    if measure.numerator is None:
        return
    if measure.treated is not None:
        yield _part_group(measure, "treated", found.treated)
    row = found.total.figures
    for one in measure.components:
        met = found.components[one.name]
        counts = None
        if row is not None and met is not None:
            closed = row["met"] + row["failed"]
            counts = {**row, "met": met, "failed": closed - met}
        yield _part_group(measure, f"component-{one.name}", counts)


def _part_group(measure: Measure, name: str, counts: Mapping[str, int] | None) -> Resource:
    group: Resource = {
        "id": name,
        "code": own_concept("group", name),
        "population": [population(*pair) for pair in population_counts(measure, counts)],
    }
    if counts is None:
        group["measureScore"] = masked()
    elif counts["met"] + counts["failed"]:
        rate = counts["met"] / (counts["met"] + counts["failed"])
        group["measureScore"] = quantity(rate, "1", {})
    return group
