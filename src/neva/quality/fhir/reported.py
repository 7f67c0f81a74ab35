"""Results of other systems, read from FHIR R4 MeasureReport resources."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from neva.errors import BadInputError
from neva.quality.fhir.words import POPULATIONS, is_masked

__all__ = ["ReportedMeasure", "report_from_fhir"]

_TYPES: Final = ("individual", "subject-list", "summary")
_STATUSES: Final = ("complete", "pending", "error")
_DATE_TIME: Final = re.compile(
    r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])"
    r"(T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?"
)
_COUNTS: Final = {
    "group": pl.String,
    "stratifier": pl.String,
    "stratum": pl.String,
    "population": pl.String,
    "count": pl.Int64,
    "masked": pl.Boolean,
}
_SCORES: Final = {
    "group": pl.String,
    "stratifier": pl.String,
    "stratum": pl.String,
    "score": pl.Float64,
    "unit": pl.String,
    "masked": pl.Boolean,
}


@dataclass(frozen=True)
class ReportedMeasure:
    """The content of a MeasureReport, from any system.

    Attributes
    ----------
    measure : str
        Canonical URL, without version.
    version : str or None
        Of the measure.
    type : {"individual", "subject-list", "summary"}
    status : {"complete", "pending", "error"}
    period_start, period_end : str or None
        As written: a date or a time with its zone; the end is included.
    counts : polars.DataFrame
        One row for each population: ``group``, ``stratifier`` and ``stratum``
        (null: all), ``population`` (FHIR's code), ``count`` (null: not said),
        ``masked`` (withheld by the reporter).
    scores : polars.DataFrame
        ``group``, ``stratifier``, ``stratum``, ``score``, ``unit``, ``masked``.
    """

    measure: str
    version: str | None
    type: str
    status: str
    period_start: str | None
    period_end: str | None
    counts: pl.DataFrame
    scores: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return the counts, with the measure, its version and the period before them."""
        return self.counts.select(
            pl.lit(self.measure).alias("measure"),
            pl.lit(self.version, dtype=pl.String).alias("version"),
            pl.lit(self.period_start, dtype=pl.String).alias("period_start"),
            pl.lit(self.period_end, dtype=pl.String).alias("period_end"),
            pl.all(),
        )


class _Reader:
    """Reads one report; every message names it and the place."""

    def __init__(self, name: str, contained: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = name
        self.contained = contained
        self.counts: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []

    def wrong(self, what: str, place: str, found: object, do: str) -> BadInputError:
        return BadInputError(f"{self.name}: {what}; found {found} at {place}; {do}")

    def items(self, of: Mapping[str, Any], key: str, place: str) -> Iterator[tuple[str, Any]]:
        found = of.get(key, [])
        where = f"{place}.{key}" if place else key
        if not isinstance(found, list):
            raise self.wrong(f"{key} must be a list", where, _kind(found), "put it in a list")
        for number, one in enumerate(found):
            if not isinstance(one, Mapping):
                raise self.wrong(
                    "an object is needed", f"{where}[{number}]", _kind(one), "correct it there"
                )
            yield f"{where}[{number}]", one

    def group(self, group: Mapping[str, Any], place: str, number: int) -> None:
        name = _concept_text(group.get("code")) or group.get("id") or f"group {number + 1}"
        self.populations(group, place, {"group": name, "stratifier": None, "stratum": None})
        for where, stratifier in self.items(group, "stratifier", place):
            codes = [_concept_text(one) for _, one in self.items(stratifier, "code", where)]
            called = " and ".join(one for one in codes if one) or where.rpartition(".")[2]
            for at, stratum in self.items(stratifier, "stratum", where):
                value = _concept_text(stratum.get("value"))
                parts = [
                    f"{_concept_text(one.get('code'))}={_concept_text(one.get('value'))}"
                    for _, one in self.items(stratum, "component", at)
                ]
                if bool(parts) == (value is not None):
                    raise self.wrong(
                        "a stratum has either a value or components",
                        at,
                        "both" if parts else "neither",
                        "correct it there",
                    )
                keys = {"group": name, "stratifier": called, "stratum": value or ", ".join(parts)}
                self.populations(stratum, at, keys)

    def populations(self, of: Mapping[str, Any], place: str, keys: dict[str, Any]) -> None:
        for where, one in self.items(of, "population", place):
            code = _code(one.get("code"))
            if code is None:
                raise self.wrong(
                    "a population has no code",
                    f"{where}.code",
                    "none",
                    f"give one of {', '.join(POPULATIONS)}",
                )
            self.counts.append(
                {
                    **keys,
                    "population": code,
                    "count": self.count(one, where),
                    "masked": is_masked(one.get("_count")),
                }
            )
        if "measureScore" in of:
            score = of["measureScore"]
            where = f"{place}.measureScore"
            if not isinstance(score, Mapping):
                raise self.wrong("a score is a quantity", where, _kind(score), "correct it there")
            value = score.get("value")
            if value is not None and (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not math.isfinite(value)
            ):
                raise self.wrong("no number", f"{where}.value", repr(value), "correct it there")
            self.scores.append(
                {
                    **keys,
                    "score": value,
                    "unit": score.get("code") or score.get("unit"),
                    "masked": is_masked(score),
                }
            )

    def count(self, population: Mapping[str, Any], place: str) -> int | None:
        listed = self.listed(population, place)
        if "count" not in population:
            return listed
        count = population["count"]
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise self.wrong(
                "a count is a whole number from 0", f"{place}.count", repr(count), "correct it"
            )
        if listed is not None and listed != count:
            raise self.wrong(
                "the count is not that of the list",
                f"{place}.count",
                f"{count} and {listed} entries",
                "ask who made the report",
            )
        return count

    def listed(self, population: Mapping[str, Any], place: str) -> int | None:
        """How many entries the list of a population has, if it is in the report."""
        results = population.get("subjectResults")
        reference = results.get("reference") if isinstance(results, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found = self.contained.get(reference[1:])
        if found is None or found.get("resourceType") != "List":
            raise self.wrong(
                "the list of a population is not in the report",
                f"{place}.subjectResults",
                reference,
                "ask who made the report",
            )
        entries = [one for _, one in self.items(found, "entry", f"contained {reference}")]
        return sum(one.get("deleted") is not True for one in entries)


def _kind(found: object) -> str:
    return "nothing" if found is None else f"a {type(found).__name__}"


def _coding(concept: Any) -> Mapping[str, Any]:
    codings = concept.get("coding") if isinstance(concept, Mapping) else None
    first = codings[0] if isinstance(codings, list) and codings else {}
    return first if isinstance(first, Mapping) else {}


def _code(concept: Any) -> str | None:
    """The code of a population: FHIR's where there is one."""
    codings = concept.get("coding") if isinstance(concept, Mapping) else None
    codes = [
        one["code"]
        for one in (codings if isinstance(codings, list) else ())
        if isinstance(one, Mapping) and isinstance(one.get("code"), str)
    ]
    return next((one for one in codes if one in POPULATIONS), codes[0] if codes else None)


def _concept_text(concept: Any) -> str | None:
    """What a concept is called: its first code, else its text."""
    if not isinstance(concept, Mapping):
        return None
    coding = _coding(concept)
    found = coding.get("code") or concept.get("text") or coding.get("display")
    return found if isinstance(found, str) else None


def report_from_fhir(resource: Mapping[str, Any]) -> ReportedMeasure:
    """Read the counts of a MeasureReport, of Neva or of another system.

    Parameters
    ----------
    resource : mapping
        An R4 ``MeasureReport`` of type ``summary``, ``subject-list`` or
        ``individual``.

    Returns
    -------
    ReportedMeasure

    Raises
    ------
    BadInputError
        It is none, or not valid; the message names the place.

    Notes
    -----
    Read as written: whether a denominator counts the excluded, and whether the
    definitions are the same, is for the reader to find out. A population
    without a count whose list is contained counts its entries.

    Examples
    --------
    >>> coded = lambda code: {"coding": [{"code": code}]}
    >>> found = report_from_fhir({
    ...     "resourceType": "MeasureReport", "status": "complete", "type": "summary",
    ...     "measure": "http://other.example/Measure/vte|2.1.0",
    ...     "period": {"start": "2024-01-01", "end": "2024-12-31"},
    ...     "group": [{"population": [
    ...         {"code": coded("denominator"), "count": 90},
    ...         {"code": coded("numerator"), "count": 81}]}],
    ... })
    >>> found.version, found.counts["count"].to_list()
    ('2.1.0', [90, 81])
    """
    if not isinstance(resource, Mapping) or resource.get("resourceType") != "MeasureReport":
        found = resource.get("resourceType") if isinstance(resource, Mapping) else _kind(resource)
        message = f"report: not a FHIR MeasureReport; found {found}; give a resource of that type"
        raise BadInputError(message)
    contained = resource.get("contained")
    reader = _Reader(
        f"MeasureReport {resource.get('id') or 'without id'}",
        {
            str(one.get("id")): one
            for one in (contained if isinstance(contained, list) else ())
            if isinstance(one, Mapping)
        },
    )
    if resource.get("type") == "data-collection":
        raise reader.wrong(
            "a report for data collection has no counts",
            "type",
            "data-collection",
            "take the summary",
        )
    for key, allowed in (("type", _TYPES), ("status", _STATUSES)):
        if resource.get(key) not in allowed:
            raise reader.wrong(
                f"no such {key}", key, repr(resource.get(key)), f"give one of {', '.join(allowed)}"
            )
    canonical = resource.get("measure")
    if not isinstance(canonical, str) or not canonical:
        raise reader.wrong(
            "it names no measure", "measure", _kind(canonical), "give its canonical URL"
        )
    period = resource.get("period")
    if not isinstance(period, Mapping):
        raise reader.wrong("it has no period", "period", _kind(period), "give start and end")
    for key in ("start", "end"):
        time = period.get(key)
        if time is not None and not (isinstance(time, str) and _DATE_TIME.fullmatch(time)):
            raise reader.wrong(
                "no date, or a time without a zone", f"period.{key}", repr(time), "correct it there"
            )
    for number, (place, group) in enumerate(reader.items(resource, "group", "")):
        reader.group(group, place, number)
    url, _, version = canonical.partition("|")
    return ReportedMeasure(
        measure=url,
        version=version or None,
        type=resource["type"],
        status=resource["status"],
        period_start=period.get("start"),
        period_end=period.get("end"),
        counts=pl.DataFrame(reader.counts, schema=_COUNTS, orient="row"),
        scores=pl.DataFrame(reader.scores, schema=_SCORES, orient="row"),
    )
