"""Patient lists of a measure, as R4 MeasureReports: for use inside the hospital."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from neva.definitions.documents import Measure
from neva.events.clock import zone_named
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.exports.fhir_events import resource_kind
from neva.quality.cases import Decision, decisions
from neva.quality.fhir.counts import in_period, population_counts, statuses_of
from neva.quality.fhir.report_parts import (
    BESIDE,
    Period,
    case_count,
    header,
    population,
    quantity,
    score_unit,
)
from neva.quality.fhir.words import BASE_URL, Resource, extension, own_concept
from neva.quality.measuring import MeasureRun

__all__ = ["individual_reports", "subject_list_report"]


def _where(measure: Measure, code: str) -> tuple[str, ...]:
    """The statuses of the cases in a population."""
    closed = ("met", "failed", "measured")
    return {
        "initial-population": (*closed, "excluded", *BESIDE),
        "denominator": (*closed, "excluded"),
        "measure-population": (*closed, "excluded"),
        "denominator-exclusion": ("excluded",),
        "measure-population-exclusion": ("excluded",),
        "measure-observation": ("measured",),
        "numerator": ("met",) if measure.numerator is not None else ("measured",),
    }[code]


def subject_list_report(
    run: MeasureRun,
    measure: str,
    *,
    synthetic: bool,
    period: Period | None = None,
    base_url: str = BASE_URL,
    made: datetime | None = None,
) -> Resource:
    """Report who is in each population of a measure, by pseudonym; for inside the hospital.

    Parameters
    ----------
    run, measure, synthetic, period, base_url, made
        As for :func:`summary_report`.

    Returns
    -------
    dict
        A ``MeasureReport`` of type ``subject-list`` with one contained ``List``
        for each population, and for the pending and the unknown. An entry is a
        case: a Patient, and in an extension the Encounter. Nothing is withheld.

    Raises
    ------
    UsageError
        The run has no such measure, or the period is empty.
    """
    one = run.measure(measure)
    cases = in_period(run, measure, period).cases
    report = header(
        run, one, "subject-list", synthetic=synthetic, period=period, base_url=base_url, made=made
    )
    lists: list[Resource] = []

    def listed(name: str, statuses: Sequence[str]) -> Resource:
        rows = cases.filter(pl.col("status").is_in(statuses))
        made_list: Resource = {
            "resourceType": "List",
            "id": name,
            "status": "current",
            "mode": "snapshot",
        }
        entries = [
            {"item": {"reference": f"Patient/{subject}"}}
            | (
                {}
                if stay is None
                else {"extension": [extension("stay", valueReference=_encounter(stay))]}
            )
            for subject, stay in rows.select("subject_id", "stay_id").iter_rows()
        ]
        if entries:
            made_list["entry"] = entries
        lists.append(made_list)
        return {"reference": f"#{name}"}

    counts = statuses_of(cases)
    group: Resource = {
        "id": "measure",
        "extension": [
            case_count(name, counts[name], subjects={"valueReference": listed(name, (name,))})
            for name in BESIDE
        ],
        "code": own_concept("group", "measure"),
        "population": [
            {
                **population(code, count),
                "subjectResults": listed(code, _where(one, code)),
            }
            for code, count in population_counts(one, counts)
        ],
    }
    report["extension"].append(case_count("errors", run.errors.height))
    report["contained"] = lists
    report["group"] = [group]
    return report


def _encounter(stay: int) -> Resource:
    return {"reference": f"Encounter/{stay}"}


def individual_reports(
    snapshot: Snapshot,
    run: MeasureRun,
    measure: str,
    *,
    subjects: Sequence[int] | None = None,
    base_url: str = BASE_URL,
    made: datetime | None = None,
) -> list[Resource]:
    """Report each case of a measure with the events that decided it; for inside the hospital.

    Parameters
    ----------
    snapshot : Snapshot
        The one that the run was made from.
    run : MeasureRun
    measure : str
        Id.
    subjects : sequence of int, optional
        Pseudonyms; everybody in the population by default.
    base_url, made
        As for :func:`summary_report`.

    Returns
    -------
    list of dict
        One ``MeasureReport`` of type ``individual`` for each case: counts are
        1 or 0, ``evaluatedResource`` names the resources as
        :func:`neva.exports.fhir.export_fhir` writes them, each with the
        part that it decided. A record that contradicts itself gives a report
        with the status ``error``.

    Raises
    ------
    UsageError
        The run has no such measure.
    neva.errors.NotFoundError
        None of the subjects has a case in the hospital.

    Notes
    -----
    Made by the reference engine, patient by patient. At most five rows of a
    series are named. A row that decided by being absent cannot be.
    """
    one = run.measure(measure)
    if subjects is None:
        wrong = run.errors["subject_id"].to_list()
        subjects = sorted({*run.of(measure)["subject_id"].to_list(), *wrong})
        if not subjects:
            return []
    synthetic = is_synthetic(snapshot)
    found = [
        one_case
        for one_case in decisions(snapshot, run, measure, subjects=subjects)
        if one_case.status != "outside"
    ]
    references = _references(snapshot, found)
    return [
        _individual(
            run,
            one,
            decision,
            references,
            synthetic=synthetic,
            base_url=base_url,
            made=made,
        )
        for decision in found
    ]


def _references(snapshot: Snapshot, found: Sequence[Decision]) -> dict[tuple[str, int], str]:
    """Where the rows stand that decided: by code and id of the row, the resource."""
    rows = {(row["code"], row["event_id"]) for one in found for row in one.events.to_dicts()}
    ids = sorted({number for _, number in rows})
    stay_of = dict(
        snapshot.movements()
        .filter(pl.col("movement_id").is_in(ids))
        .select("movement_id", "stay_id")
        .collect(engine="streaming")
        .iter_rows()
    )
    attributes = {
        row["event_id"]: {pair["key"]: pair["value"] for pair in row["attributes"] or ()}
        for row in snapshot.events()
        .filter(pl.col("event_id").is_in(ids))
        .select("event_id", "attributes")
        .collect(engine="streaming")
        .iter_rows(named=True)
    }
    references: dict[tuple[str, int], str] = {}
    for code, number in rows:
        if number in attributes:
            references[code, number] = f"{resource_kind(code, attributes[number])}/{number}"
        elif code.startswith("STAY//"):
            references[code, number] = f"Encounter/{number}"
        elif stay_of.get(number) is not None:
            references[code, number] = f"Encounter/{stay_of[number]}"
    return references


def _part_name(role: str) -> str:
    """The name of a part as the criteria of the Measure write it."""
    for begin, kind in (("excluded: ", "exclusion:"), ("component: ", "component:")):
        if role.startswith(begin):
            return kind + role.removeprefix(begin)
    return role.replace("_", "-")


def _individual(
    run: MeasureRun,
    measure: Measure,
    decision: Decision,
    references: Mapping[tuple[str, int], str],
    *,
    synthetic: bool,
    base_url: str,
    made: datetime | None,
) -> Resource:
    report = header(
        run,
        measure,
        "individual",
        synthetic=synthetic,
        period=None,
        base_url=base_url,
        made=made,
        case=f"{decision.subject_id}/{decision.stay_id}",
    )
    report["subject"] = {"reference": f"Patient/{decision.subject_id}"}
    if decision.stay_id is not None:
        report["extension"].append(extension("stay", valueReference=_encounter(decision.stay_id)))
    report["extension"].append(extension("case-status", valueCode=decision.status))
    if decision.status == "error":
        report["status"] = "error"
        return report
    due = decision.parts.get("due")
    if decision.status == "pending" and isinstance(due, datetime):
        local = due.astimezone(zone_named(run.zone))
        report["extension"].append(extension("due", valueDateTime=local.isoformat()))
    roles: dict[str, list[str]] = {}
    for row in decision.events.to_dicts():
        where = references.get((row["code"], row["event_id"]))
        if where is not None:
            several = roles.setdefault(where, [])
            if _part_name(row["role"]) not in several:
                several.append(_part_name(row["role"]))
    if roles:
        report["evaluatedResource"] = [
            {"extension": [extension("part", valueString=one) for one in parts], "reference": where}
            for where, parts in roles.items()
        ]
    counts = {name: int(name == decision.status) for name in _where(measure, "initial-population")}
    group: Resource = {
        "id": "measure",
        "code": own_concept("group", "measure"),
        "population": [population(*pair) for pair in population_counts(measure, counts)],
    }
    if decision.status == "measured" and measure.per is None:
        score = quantity(decision.parts["observation"], score_unit(measure), {})
        if score is not None:
            group["measureScore"] = score
    report["group"] = [group]
    return report
