"""XES, OMOP and FHIR on real and published data, from the command line to the report."""

import json
import re

import polars as pl
import pytest
from tests.shared_data import shared

from neva.events.hospital import open_hospital


def imported(neva, kind, source, into, *more, zone="Europe/Berlin"):
    words = ["--zone", zone] if not into.exists() else []
    said = neva("import", kind, source, "--into", into, *words, *more, "--json")
    assert said.code == 0, said.err
    assert said.err == ""
    return said.json()


def answer(neva, *words):
    said = neva(*words, "--json")
    assert (said.code, said.err) == (0, "")
    return said.json()


def shape(neva, hospital):
    """Cases, events, activities, variants, edges, steps, starts, ends."""
    found = answer(neva, "pathways", "map", hospital)
    variants = answer(neva, "pathways", "variants", hospital)
    assert variants["cases"] == found["case_count"]
    return {
        "cases": found["case_count"],
        "events": found["event_count"],
        "activities": len(found["nodes"]),
        "variants": variants["variants"],
        "edges": len(found["edges"]),
    }


def report(neva, hospital, out):
    said = neva("report", hospital, "--out", out)
    assert (said.code, said.err) == (0, "")
    html = out.read_text(encoding="utf-8")
    assert "<script" not in html
    for link in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", html):
        assert link.startswith(("#", "data:")), link
    return said.out


LOGS = {
    "running-example.xes": (6, 42, 8, 6, 16),
    "a12f0n00.xes.gz": (1000, 6186, 12, 5, 18),
    "a12f0n10.xes.gz": (1000, 6055, 12, 45, 54),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_has_its_published_numbers(neva, tmp_path, name):
    """shared/data/xes-logs/SOURCE.md."""
    hospital = tmp_path / "hospital"
    summary = imported(neva, "xes", shared("data", "xes-logs", name), hospital)
    assert summary["refusals"] == {}
    assert tuple(shape(neva, hospital).values()) == LOGS[name]
    report(neva, hospital, tmp_path / "report.html")


def test_the_running_example_has_its_published_times(neva, tmp_path):
    hospital = tmp_path / "hospital"
    imported(neva, "xes", shared("data", "xes-logs", "running-example.xes"), hospital)
    found = answer(neva, "pathways", "map", hospital)
    assert sum(edge["frequency"] for edge in found["edges"]) == 36
    times = answer(neva, "pathways", "times", hospital)
    assert times["seconds"]["mean"] == pytest.approx(966_890)
    assert times["seconds"]["median"] == pytest.approx(815_940)


def test_a_log_without_times_has_paths_and_no_times(neva, tmp_path):
    hospital = tmp_path / "hospital"
    imported(neva, "xes", shared("data", "xes-logs", "a12f0n00.xes.gz"), hospital)
    times = answer(neva, "pathways", "times", hospital)
    assert (times["counts"]["cases"], times["counts"]["timed"]) == (1000, 0)
    info = answer(neva, "info", hospital)
    assert (info["first"], info["rows"]["stays"], info["rows"]["subjects"]) == (None, 0, 1000)


def test_a_log_gives_the_same_paths_from_xes_and_from_csv(neva, tmp_path):
    logs = shared("data", "xes-logs")
    mapping = tmp_path / "log.yaml"
    mapping.write_text(
        "neva: 1\nname: running-example\ntables:\n  - subject: 'case:concept:name'\n"
        "    stay: 'case:concept:name'\n    recorded: {after: time}\n    events:\n"
        "      - {code: {system: LOG, column: 'concept:name'}, time: 'time:timestamp'}\n"
    )
    imported(neva, "xes", logs / "running-example.xes", tmp_path / "xes")
    said = neva(
        "import", "csv", logs / "running-example.csv", "--mapping", mapping, "--into",
        tmp_path / "csv", "--zone", "Europe/Berlin",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert shape(neva, tmp_path / "xes") == shape(neva, tmp_path / "csv")


def test_offsets_and_intervals_of_logs_are_read(neva, tmp_path):
    logs = shared("data", "xes-logs")
    imported(neva, "xes", logs / "roadtraffic50traces.xes", tmp_path / "road")
    assert shape(neva, tmp_path / "road")["cases"] == 51
    imported(neva, "xes", logs / "interval_event_log.xes.gz", tmp_path / "interval")
    events = open_hospital(tmp_path / "interval").snapshot().events().collect()
    assert events.height == 8109
    assert events["end_time"].null_count() == 0
    assert (events["end_time"] >= events["time"]).all()


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    """The OMOP demo in a hospital in New York."""
    from datetime import UTC, datetime

    from neva.events.hospital import create_hospital
    from neva.intake.importing import import_delivery
    from neva.sources.omop.source import open_omop

    source = shared("data", "mimic-iv-demo-omop")
    folder = tmp_path_factory.mktemp("mimic") / "hospital"
    hospital = create_hospital(
        folder, zone="America/New_York", now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    import_delivery(
        hospital,
        open_omop(source, zone="America/New_York"),
        label=source.name,
        now=datetime(2026, 1, 1, tzinfo=UTC),
        dates="shifted",
    )
    return folder


def column(path, name):
    return set(pl.read_csv(path, infer_schema=False)[name].drop_nulls())


def test_omop_keeps_patients_stays_movements_and_units(neva, mimic):
    rows = answer(neva, "info", mimic)["rows"]
    assert {name: rows[name] for name in ("subjects", "stays", "movements", "units")} == {
        "subjects": 100,
        "stays": 852,
        "movements": 905,
        "units": 31,
    }
    # 9 local times that no clock in New York ever showed (times are shifted).
    assert (rows["events"], rows["refused rows"]) == (57_063, 9)


def test_omop_ids_keep_every_digit(mimic):
    source = shared("data", "mimic-iv-demo-omop")
    pairs = open_hospital(mimic).identities().collect()
    for kind, file, name in (
        ("subject", "person.csv", "person_id"),
        ("stay", "visit_occurrence.csv", "visit_occurrence_id"),
    ):
        ids = set(pairs.filter(pl.col("kind") == kind)["local_id"])
        assert ids == column(source / file, name)
        assert max(map(len, ids)) > 16


def test_omop_stays_have_plausible_lengths(neva, mimic):
    found = answer(neva, "flow", "stays", mimic)
    by_place = {row["place"]: row for row in found["frame"]}
    assert by_place["Emergency Department"]["intervals"] == 181
    assert 2 < by_place["Emergency Department"]["median_days"] * 24 < 12
    assert 0.5 < by_place["Medical Intensive Care Unit (MICU)"]["median_days"] < 4
    assert all(row["open"] == 0 for row in found["frame"])
    assert 500 < sum(row["intervals"] for row in found["frame"]) <= 905


def test_a_map_of_too_many_activities_is_reduced_and_shifted_dates_have_no_census(
    neva, mimic, tmp_path
):
    report(neva, mimic, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Drawn with the 30 most common of" in html
    assert "shifted patient by patient" in html


def test_omop_importing_the_same_again_adds_nothing(neva, mimic):
    before = open_hospital(mimic).manifest()
    summary = imported(neva, "omop", shared("data", "mimic-iv-demo-omop"), mimic)
    assert summary["already_imported"] is True
    assert open_hospital(mimic).manifest() == before


def test_omop_census_is_taken(neva, mimic):
    said = neva("flow", "census", mimic, "--every", "1d")
    assert (said.code, said.err) == (0, "")
    # Each patient's times are shifted by another amount: nobody meets anybody.
    assert "Cardiac Surgery" in said.out


def test_a_zipped_omop_of_version_5_4_is_read(neva, tmp_path):
    source = shared("data", "synthea27nj-omop", "Synthea27NjParquet_5.4.zip")
    hospital = tmp_path / "hospital"
    summary = imported(neva, "omop", source, hospital, zone="America/New_York")
    assert summary["refusals"] == {}
    counts = summary["counts"]
    assert (counts["subjects"]["added"], counts["stays"]["added"]) == (28, 1791)
    # Measurements, observations, procedures, drugs, conditions.
    assert counts["events"]["added"] >= 10_040 + 8_099 + 1_649 + 883 + 470
    report(neva, hospital, tmp_path / "report.html")


def test_fhir_bundles_have_their_published_numbers(neva, tmp_path):
    """shared/data/synthea-fhir-r4/SOURCE.md."""
    hospital = tmp_path / "hospital"
    source = shared("data", "synthea-fhir-r4")
    summary = imported(neva, "fhir", source, hospital, zone="America/New_York")
    assert summary["refusals"] == {}
    rows = answer(neva, "info", hospital)["rows"]
    assert (rows["subjects"], rows["stays"]) == (22, 146)
    counts = {}
    for path in source.glob("*.json"):
        for entry in json.loads(path.read_text())["entry"]:
            resource = entry["resource"]
            kind = resource["resourceType"]
            parts = len(resource.get("component", ()))
            counts[kind] = counts.get(kind, 0) + (parts or 1)
    kinds = ("Observation", "Condition", "Procedure", "MedicationRequest", "Immunization",
             "DiagnosticReport", "AllergyIntolerance")  # fmt: skip
    assert rows["events"] == sum(counts.get(kind, 0) for kind in kinds)
    kinds_of_stay = (
        open_hospital(hospital).snapshot().stays().group_by("kind").len().collect().rows()
    )
    assert dict(kinds_of_stay) == {"outpatient": 134, "emergency": 10, "inpatient": 2}
    report(neva, hospital, tmp_path / "report.html")
    assert imported(neva, "fhir", source, hospital)["already_imported"] is True


def observation(number, **fields):
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "effectiveDateTime": f"2020-05-{number:02}T08:00:00+02:00",
        "issued": f"2020-05-{number:02}T09:00:00+02:00",
        "valueQuantity": {"value": 10 + number, "code": "g/dL"},
    } | fields


PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1950-02-01"}


def ndjson(folder, *resources):
    folder.mkdir(parents=True)
    (folder / "all.ndjson").write_text("\n".join(map(json.dumps, resources)), encoding="utf-8")
    return folder


def events_as_of(neva, hospital, time=None):
    words = ["--as-of", time] if time else []
    return answer(neva, "info", hospital, *words)["rows"]["events"]


def test_an_overlapping_delivery_adds_only_what_is_new(neva, tmp_path):
    hospital = tmp_path / "hospital"
    may = ndjson(tmp_path / "may", PATIENT, *map(observation, (1, 2, 3)))
    june = ndjson(tmp_path / "june", PATIENT, *map(observation, (2, 3, 4)))
    imported(neva, "fhir", may, hospital)
    counts = imported(neva, "fhir", june, hospital)["counts"]
    assert (counts["events"]["added"], counts["events"]["known"]) == (1, 2)
    assert (counts["subjects"].get("added", 0), counts["subjects"]["known"]) == (0, 1)
    rows = answer(neva, "info", hospital)["rows"]
    assert (rows["subjects"], rows["events"]) == (1, 4)


def test_an_overlapping_delivery_of_real_bundles_adds_only_what_is_new(neva, tmp_path):
    source = sorted(shared("data", "synthea-fhir-r4").glob("*_*.json"))
    parts = {"first": source[:8], "second": source[4:12]}
    for name, files in parts.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file.name).symlink_to(file)
    both = tmp_path / "hospital"
    imported(neva, "fhir", tmp_path / "first", both)
    second = imported(neva, "fhir", tmp_path / "second", both)["counts"]
    assert (second["subjects"]["added"], second["subjects"]["known"]) == (4, 4)
    assert second["events"].get("revised", 0) == 0
    assert second["events"]["added"] + second["events"]["known"] == second["events"]["read"]


def test_entered_in_error_is_withdrawn_later_and_was_believed_before(neva, tmp_path):
    hospital = tmp_path / "hospital"
    imported(neva, "fhir", ndjson(tmp_path / "a", PATIENT, *map(observation, (1, 2))), hospital)
    wrong = observation(1, status="entered-in-error", meta={"lastUpdated": "2020-05-20T12:00:00Z"})
    summary = imported(neva, "fhir", ndjson(tmp_path / "b", PATIENT, wrong), hospital)
    assert summary["counts"]["events"]["retracted"] == 1
    assert events_as_of(neva, hospital) == 1
    assert events_as_of(neva, hospital, "2020-05-01T08:30+02:00") == 0  # not yet issued
    assert events_as_of(neva, hospital, "2020-05-01T09:00+02:00") == 1
    assert events_as_of(neva, hospital, "2020-05-20T11:59Z") == 2
    assert events_as_of(neva, hospital, "2020-05-20T12:00Z") == 1


def test_a_corrected_value_revises_and_the_old_one_was_believed_before(neva, tmp_path):
    hospital = tmp_path / "hospital"
    imported(neva, "fhir", ndjson(tmp_path / "a", PATIENT, observation(1)), hospital)
    mended = observation(
        1, status="corrected", valueQuantity={"value": 9.0, "code": "g/dL"},
        issued="2020-05-03T09:00:00+02:00",
    )  # fmt: skip
    counts = imported(neva, "fhir", ndjson(tmp_path / "b", PATIENT, mended), hospital)["counts"]
    assert counts["events"]["revised"] == 1
    store = open_hospital(hospital)
    from datetime import UTC, datetime

    def value(**at):
        return store.snapshot(**at).events().collect()["value"].to_list()

    assert value() == [9.0]
    assert value(as_of=datetime(2020, 5, 2, tzinfo=UTC)) == [11.0]


def test_what_was_not_done_keeps_its_reason(neva, tmp_path):
    hospital = tmp_path / "hospital"
    reason = {"coding": [{"system": "http://snomed.info/sct", "code": "183932001"}]}
    given = {
        "resourceType": "MedicationAdministration",
        "id": "m1",
        "status": "not-done",
        "statusReason": [reason],
        "subject": {"reference": "Patient/p1"},
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.whocc.no/atc", "code": "H02AB02"}]
        },
        "effectiveDateTime": "2020-05-01T08:00:00Z",
    }
    imported(neva, "fhir", ndjson(tmp_path / "a", PATIENT, given), hospital)
    event = open_hospital(hospital).snapshot().events().collect().row(0, named=True)
    assert (event["code"], event["status"]) == ("ATC//H02AB02", "not-done")
    assert event["reason"] == "SNOMED//183932001"


@pytest.mark.parametrize(
    ("zone", "utc"), [("Europe/Berlin", 6), ("Asia/Novosibirsk", 1), ("UTC", 8)]
)
def test_naive_times_are_read_in_the_zone_of_the_hospital(neva, tmp_path, zone, utc):
    log = tmp_path / "log.xes"
    log.write_text(
        '<log><trace><string key="concept:name" value="1"/><event>'
        '<string key="concept:name" value="a"/>'
        '<date key="time:timestamp" value="2020-07-01T08:00:00"/></event></trace></log>'
    )
    hospital = tmp_path / "hospital"
    imported(neva, "xes", log, hospital, zone=zone)
    assert open_hospital(hospital).snapshot().events().collect()["time"][0].hour == utc
    assert answer(neva, "info", hospital)["zone"] == zone


def test_a_new_hospital_needs_a_zone_and_an_old_one_keeps_its(neva, tmp_path):
    source = ndjson(tmp_path / "a", PATIENT)
    hospital = tmp_path / "hospital"
    assert neva("import", "fhir", source, "--into", hospital).code == 2
    imported(neva, "fhir", source, hospital)
    again = ("import", "fhir", source, "--into", hospital, "--zone")
    assert neva(*again, "Europe/Berlin").code == 0
    assert neva(*again, "UTC").code == 5


def test_the_order_of_a_trace_tells_which_hour_was_meant(neva, tmp_path):
    """The clock of Berlin showed 02:00 to 03:00 twice on 31 October 2021."""
    log = tmp_path / "log.xes"
    times = ["02:40:00", "02:10:00", "02:20:00", "03:00:00"]
    log.write_text(
        '<log><trace><string key="concept:name" value="1"/>'
        + "".join(
            f'<event><string key="concept:name" value="a"/>'
            f'<date key="time:timestamp" value="2021-10-31T{time}"/></event>'
            for time in times
        )
        + "</trace></log>"
    )
    imported(neva, "xes", log, tmp_path / "hospital")
    events = open_hospital(tmp_path / "hospital").snapshot().events().collect()
    found = events.sort("sequence")["time"].dt.strftime("%H:%M").to_list()
    assert found == ["00:40", "01:10", "01:20", "02:00"]
