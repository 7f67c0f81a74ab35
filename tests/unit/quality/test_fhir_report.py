"""Results of measures as FHIR R4 resources, from a small synthetic hospital."""

import copy
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import pytest
from tests.fhir_rules import nodes, validated
from tests.hospitals import NOW

from neva.definitions.programme import load_programme
from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.events.hospital import create_hospital
from neva.quality.fhir.report import (
    individual_reports,
    report_from_fhir,
    subject_list_report,
    summary_report,
    write_reports,
)
from neva.quality.figures import figures
from neva.quality.measuring import run_measures
from neva.synthesis import Plan, synthesise

STEROID = "covid19.steroid-when-on-oxygen"
MEASURES = ["steroid-when-on-oxygen", "baseline-set-24-hours", "length-of-stay", "progression"]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    plan = Plan(stays=300, seed=1)
    hospital = create_hospital(
        tmp_path_factory.mktemp("fhir") / "hospital", zone=plan.zone, now=NOW
    )
    synthesise(hospital, plan, now=NOW, after_cut=True)
    return hospital.snapshot(as_of=plan.cut)


@pytest.fixture(scope="module")
def run(snapshot):
    programme = load_programme("covid19")
    sepsis = load_programme("sepsis").document("lactate-3-hours")
    return run_measures(snapshot, [*map(programme.document, MEASURES), sepsis])


def counts(report, group=0):
    return {
        one["code"]["coding"][0]["code"]: one.get("count")
        for one in report["group"][group]["population"]
    }


def beside(of):
    """The counts that stand in extensions."""
    found = {}
    for one in of["extension"]:
        if one["url"].endswith("/case-count"):
            parts = {part["url"]: part for part in one["extension"]}
            found[parts["what"]["valueCode"]] = parts["count"].get("valueInteger")
    return found


def test_a_summary_counts_as_the_figures_do(run):
    for row in figures(run).frame.iter_rows(named=True):
        report = validated(summary_report(run, row["measure"], synthetic=True, below=1))
        found, also = counts(report), beside(report["group"][0])
        excluded = found.get("denominator-exclusion", 0)
        whole = found.get("denominator", found.get("measure-population"))
        assert found["initial-population"] == row["population"]
        assert found["initial-population"] == whole + also["pending"] + also["unknown"]
        assert whole - excluded == row["denominator"]
        assert report["group"][0]["measureScore"]["value"] == (
            row["median"] if row["measured"] else row["rate"]
        )
        if row["met"]:
            score = found["numerator"] / (whole - excluded)
            assert report["group"][0]["measureScore"]["value"] == pytest.approx(score)
        assert beside(report)["outside"] == run.outside[row["measure"]]
        assert beside(report)["errors"] == run.errors.height


def test_exclusions_are_split_by_the_first_that_applies(run):
    report = summary_report(run, STEROID, synthetic=True, below=1)
    exclusion = report["group"][0]["population"][2]
    parts = [{part["url"]: part for part in one["extension"]} for one in exclusion["extension"]]
    named = {part["exclusion"]["valueString"]: part["count"]["valueInteger"] for part in parts}
    assert list(named) == ["hypercapnic", "palliative", "contraindicated", "left-before"]
    assert sum(named.values()) == exclusion["count"]


def test_components_and_the_treated_are_groups_of_their_own(run):
    report = validated(
        summary_report(run, "covid19.baseline-set-24-hours", synthetic=True, below=1)
    )
    closed = run.of("covid19.baseline-set-24-hours").filter(
        pl.col("status").is_in(["met", "failed"])
    )
    ferritin = next(
        number for number, one in enumerate(report["group"]) if one["id"] == "component-ferritin"
    )
    met = closed.filter(pl.col("components_met").list.contains("ferritin")).height
    assert counts(report, ferritin)["numerator"] == met
    assert counts(report, ferritin)["denominator"] == closed.height
    row = figures(run, measures=["sepsis.lactate-3-hours"]).frame.row(0, named=True)
    report = validated(summary_report(run, "sepsis.lactate-3-hours", synthetic=True, below=1))
    assert report["group"][1]["id"] == "treated"
    assert counts(report, 1)["denominator"] == row["treated"]
    assert counts(report, 1)["numerator"] == row["treated_met"]


def test_strata_add_up_to_the_whole(run):
    report = validated(summary_report(run, STEROID, synthetic=True, by=["sex", "unit"], below=1))
    for stratifier in report["group"][0]["stratifier"]:
        for number, one in enumerate(report["group"][0]["population"]):
            several = [stratum["population"][number]["count"] for stratum in stratifier["stratum"]]
            assert sum(several) == one["count"]


def test_a_small_count_hides_its_row(run):
    report = validated(summary_report(run, STEROID, synthetic=True))
    assert set(counts(report).values()) == {None}
    assert beside(report["group"][0]) == {"pending": None, "unknown": None}
    (absent,) = report["group"][0]["population"][0]["_count"]["extension"]
    assert absent["valueCode"] == "masked"
    assert "value" not in report["group"][0]["measureScore"]


def test_a_summary_has_no_patient(run):
    people = set(run.cases["subject_id"].to_list()) | set(run.cases["stay_id"].to_list())
    for one in run.measures:
        report = summary_report(run, one.id, synthetic=True)
        assert not {"subject", "evaluatedResource", "contained"} & set(report)
        text = json.dumps(report)
        assert "Patient/" not in text
        assert "Encounter/" not in text
        assert not people & {int(number) for number in re.findall(r"\d{6,20}", text)}


def test_the_synthetic_are_tagged_and_the_real_are_not(run):
    report = summary_report(run, STEROID, synthetic=True)
    assert [one["code"] for one in report["meta"]["tag"]] == ["HTEST", "synthetic"]
    assert "meta" not in summary_report(run, STEROID, synthetic=False)


def test_a_report_names_definition_data_and_period(run):
    made = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    report = validated(
        summary_report(
            run, STEROID, synthetic=True, period=(date(2020, 3, 1), date(2020, 4, 1)), made=made
        )
    )
    values = {one["url"].rpartition("/")[2]: one.get("valueString") for one in report["extension"]}
    assert values["definition-hash"] == run.hashes[STEROID]
    assert values["hospital-version"] == run.identity
    assert report["measure"] == f"urn:neva:Measure:{STEROID}|1.0.0"
    assert report["period"] == {"start": "2020-03-01", "end": "2020-03-31"}
    assert report["date"] == "2026-01-02T03:04:00+00:00"
    again = summary_report(run, STEROID, synthetic=True)
    assert again["id"] != report["id"]
    assert again == summary_report(run, STEROID, synthetic=True)


def test_two_periods_have_the_cases_of_both(run):
    first, middle, last = date(2000, 1, 1), date(2020, 3, 10), date(2100, 1, 1)
    parts = [
        counts(summary_report(run, STEROID, synthetic=True, period=period, below=1))
        for period in ((first, middle), (middle, last))
    ]
    whole = counts(summary_report(run, STEROID, synthetic=True, below=1))
    placed = run.of(STEROID)["placed"].is_not_null().sum()
    assert sum(part["initial-population"] for part in parts) == placed
    assert sum(part["numerator"] for part in parts) == whole["numerator"]


def test_a_measure_without_cases_is_reported(run):
    none = replace(run, cases=run.cases.clear())
    for one in run.measures:
        for report in (
            summary_report(none, one.id, synthetic=True),
            subject_list_report(none, one.id, synthetic=True),
        ):
            assert set(counts(validated(report)).values()) == {0}
            assert "measureScore" not in report["group"][0]


def test_a_subject_list_names_everybody_once_per_case(run):
    for one in run.measures:
        report = validated(subject_list_report(run, one.id, synthetic=True))
        lists = {part["id"]: part.get("entry", []) for part in report["contained"]}
        cases = run.of(one.id)
        everybody = [
            (entry["item"]["reference"], entry["extension"][0]["valueReference"]["reference"])
            for entry in lists["initial-population"]
        ]
        assert sorted(everybody) == sorted(
            (f"Patient/{subject}", f"Encounter/{stay}")
            for subject, stay in cases.select("subject_id", "stay_id").iter_rows()
        )
        for code, count in counts(report).items():
            assert len(lists[code]) == count
        assert len(lists["pending"]) == (cases["status"] == "pending").sum()
        assert report_from_fhir(report).counts["count"].to_list() == list(counts(report).values())


def test_individual_reports_add_up_to_the_summary(snapshot, run):
    for name in (STEROID, "covid19.length-of-stay"):
        reports = [validated(one) for one in individual_reports(snapshot, run, name)]
        assert len({one["id"] for one in reports}) == len(reports) == run.of(name).height
        whole = counts(summary_report(run, name, synthetic=True, below=1))
        for code, count in whole.items():
            assert sum(counts(one)[code] for one in reports) == count
        assert all(one["meta"]["tag"] for one in reports)


def test_individual_reports_name_what_decided(snapshot, run):
    case = run.of(STEROID).filter(pl.col("status") == "met").row(0, named=True)
    reports = individual_reports(snapshot, run, STEROID, subjects=[case["subject_id"]])
    (report,) = (one for one in reports if counts(one)["numerator"])
    assert report["subject"]["reference"] == f"Patient/{case['subject_id']}"
    parts = {
        extension["valueString"]: one["reference"]
        for one in report["evaluatedResource"]
        for extension in one["extension"]
    }
    assert parts["numerator"].startswith("MedicationAdministration/")
    assert parts["population"].startswith("Observation/")
    assert {"clock-start"} <= set(parts)


def test_what_decided_stands_in_the_export(snapshot, run, tmp_path):
    from neva.exports.fhir import export_fhir

    export_fhir(snapshot, tmp_path / "out")
    known = set()
    for file in (tmp_path / "out").glob("*.ndjson"):
        for line in file.read_text(encoding="utf-8").splitlines():
            known.add(f"{file.stem}/{json.loads(line)['id']}")
    for name in (STEROID, "covid19.progression"):
        for report in individual_reports(snapshot, run, name):
            named = {
                one["reference"] for node in nodes(report) for one in [node] if "reference" in node
            }
            assert named <= known


def test_a_record_that_contradicts_itself_is_an_error(snapshot, run, monkeypatch):
    from neva.quality.fhir import patients as fhir_patients

    case = run.of(STEROID).row(0, named=True)
    real = fhir_patients.decisions

    def contradicting(*given, **words):
        return [
            replace(one, status="error", parts={"reason": "x"}) for one in real(*given, **words)
        ]

    monkeypatch.setattr(fhir_patients, "decisions", contradicting)
    for report in individual_reports(snapshot, run, STEROID, subjects=[case["subject_id"]]):
        assert validated(report)["status"] == "error"
        assert "group" not in report


def test_reports_are_written_whole_or_not(snapshot, run, tmp_path):
    folder = tmp_path / "reports"
    with pytest.raises(UsageError, match="not in this run"):
        write_reports(run, snapshot, folder, measures=["nonsense"])
    with pytest.raises(UsageError, match="no such report; found 'all'"):
        write_reports(run, snapshot, folder, kinds=["all"])
    with pytest.raises(UsageError, match="needs its zone"):
        write_reports(run, snapshot, folder, made=datetime(2026, 1, 1))  # noqa: DTZ001
    assert list(tmp_path.iterdir()) == []
    written = write_reports(run, snapshot, folder, kinds=["summary", "subject-list"])
    assert written.rows == {
        "Measure": 5,
        "MeasureReport-summary": 5,
        "MeasureReport-subject-list": 5,
    }
    assert sorted(one.name for one in folder.iterdir()) == [
        "Measure.ndjson",
        "MeasureReport-subject-list.ndjson",
        "MeasureReport-summary.ndjson",
    ]
    for file in folder.iterdir():
        for line in file.read_text(encoding="utf-8").splitlines():
            validated(json.loads(line))
    with pytest.raises(ConflictError):
        write_reports(run, snapshot, folder)
    with pytest.raises(NotFoundError):
        write_reports(run, snapshot, tmp_path / "none" / "reports")


def test_by_default_only_summaries_leave(snapshot, run, tmp_path):
    write_reports(run, snapshot, tmp_path / "out", measures=[STEROID])
    names = sorted(one.name for one in (tmp_path / "out").iterdir())
    assert names == ["Measure.ndjson", "MeasureReport-summary.ndjson"]


def test_wrong_questions_are_refused(run):
    with pytest.raises(UsageError, match="no stratifier of this name; found 'age'"):
        summary_report(run, STEROID, synthetic=True, by=["age"])
    with pytest.raises(UsageError, match="period: it is empty"):
        summary_report(run, STEROID, synthetic=True, period=(date(2020, 3, 1), date(2020, 3, 1)))


# -------------------------------------------------------------------- other systems


def coded(code):
    return {"coding": [{"system": "http://x", "code": code}]}


FOREIGN = {
    "resourceType": "MeasureReport",
    "id": "r1",
    "status": "complete",
    "type": "summary",
    "measure": "http://other.example/Measure/vte|2.1.0",
    "period": {"start": "2024-01-01", "end": "2024-12-31T23:59:59Z"},
    "group": [
        {
            "code": {"text": "main"},
            "population": [
                {"code": coded("denominator"), "count": 90},
                {
                    "code": coded("numerator"),
                    "_count": {
                        "extension": [
                            {
                                "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
                                "valueCode": "masked",
                            }
                        ]
                    },
                },
            ],
            "measureScore": {"value": 0.5, "unit": "1"},
            "stratifier": [
                {
                    "code": [coded("sex")],
                    "stratum": [
                        {
                            "value": coded("F"),
                            "population": [{"code": coded("numerator"), "count": 9}],
                        },
                        {"component": [{"code": coded("age"), "value": coded("old")}]},
                    ],
                }
            ],
        }
    ],
}


def test_a_report_of_another_system_is_read():
    found = report_from_fhir(FOREIGN)
    assert (found.measure, found.version) == ("http://other.example/Measure/vte", "2.1.0")
    assert found.counts.rows() == [
        ("main", None, None, "denominator", 90, False),
        ("main", None, None, "numerator", None, True),
        ("main", "sex", "F", "numerator", 9, False),
    ]
    assert found.scores.rows() == [("main", None, None, 0.5, "1", False)]
    assert found.to_frame().columns[:4] == ["measure", "version", "period_start", "period_end"]


def test_own_reports_are_read_too(run):
    for one in run.measures:
        report = summary_report(run, one.id, synthetic=True, below=1)
        found = report_from_fhir(report)
        main = found.counts.filter(pl.col("stratifier").is_null(), pl.col("group") == "measure")
        assert dict(main.select("population", "count").iter_rows()) == counts(report)


def group(report):
    return report["group"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(resourceType="Measure"), "not a FHIR MeasureReport; found Measure"),
        (lambda r: r.update(type="data-collection"), "has no counts"),
        (lambda r: r.update(type="patient-list"), "no such type; found 'patient-list' at type"),
        (lambda r: r.pop("status"), "no such status; found None at status"),
        (lambda r: r.pop("measure"), "it names no measure; found nothing"),
        (lambda r: r.pop("period"), "it has no period"),
        (lambda r: r["period"].update(start="2024-01-01T10:00:00"), "a time without a zone"),
        (lambda r: r.update(group={}), "group must be a list; found a dict at group"),
        (lambda r: r.update(group=["x"]), "an object is needed; found a str at group[0]"),
        (
            lambda r: group(r)["population"][0].pop("code"),
            "found none at group[0].population[0].code",
        ),
        (
            lambda r: group(r)["population"][0].update(count=-1),
            "found -1 at group[0].population[0]",
        ),
        (lambda r: group(r)["population"][0].update(count=True), "found True"),
        (lambda r: group(r)["population"][0].update(count="9"), "found '9'"),
        (
            lambda r: group(r)["population"][0].update(subjectResults={"reference": "#a"}),
            "the list of a population is not in the report",
        ),
        (lambda r: group(r)["measureScore"].update(value="x"), "no number; found 'x'"),
        (lambda r: group(r).update(measureScore=1), "a score is a quantity"),
        (
            lambda r: group(r)["stratifier"][0]["stratum"][0].pop("value"),
            "found neither at group[0].stratifier[0].stratum[0]",
        ),
    ],
)
def test_a_report_that_is_not_valid_is_refused_by_its_place(change, message):
    report = copy.deepcopy(FOREIGN)
    change(report)
    with pytest.raises(BadInputError) as refused:
        report_from_fhir(report)
    assert message in str(refused.value)


def test_a_list_counts_where_no_count_stands():
    report = copy.deepcopy(FOREIGN)
    report["contained"] = [
        {"resourceType": "List", "id": "a", "entry": [{"item": {}}, {"item": {}, "deleted": True}]}
    ]
    population = group(report)["population"][0]
    population["subjectResults"] = {"reference": "#a"}
    with pytest.raises(BadInputError, match="found 90 and 1 entries"):
        report_from_fhir(report)
    del population["count"]
    assert report_from_fhir(report).counts["count"][0] == 1
