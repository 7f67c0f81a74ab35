"""Small inputs of FHIR that went wrong once, and the right value of each."""

from datetime import timedelta

import polars as pl
import pytest
from tests.fhir_files import Deliveries, at
from tests.shared_data import shared

from neva.census import intervals
from neva.definitions.language import codelist, events, now
from neva.definitions.points import POINTS
from neva.definitions.run import answer
from neva.errors import BadInputError
from neva.events.checks import check_hospital
from neva.events.ends import ends_unknown
from neva.intake.importing import import_delivery
from neva.sources.fhir.source import open_fhir


@pytest.fixture
def hospital(tmp_path):
    return Deliveries(tmp_path / "h", zone="Europe/Berlin")


def case(name, folder="input"):
    return shared("cases", f"fhir-{name}", folder)


def test_an_admission_told_as_a_tree_of_encounters_is_one_stay(hospital):
    hospital.take_files(case("encounter-tree"))
    (stay,) = hospital.rows("stays")
    assert (stay["start"], stay["end"]) == (
        at("2020-03-01T10:00:00+01:00"),
        at("2020-03-11T10:00:00+01:00"),
    )
    assert stay["kind"] == "inpatient"
    parts = hospital.rows("events")
    assert [one["code"] for one in parts] == ["FHIR//encounter"] * 3
    assert {one["stay_id"] for one in parts} == {stay["stay_id"]}


def test_a_finished_encounter_without_an_end_is_not_present_for_ever(hospital):
    summary = hospital.take_files(case("finished-without-end"))
    assert summary.warnings == {"stays: end-unknown": 1}
    snapshot = hospital.hospital.snapshot()
    over, goes_on = hospital.rows("stays")
    assert over["end"] == at("2020-05-01T10:00:00Z")
    assert goes_on["end"] is None
    assert ends_unknown(snapshot)["stay_id"].to_list() == [over["stay_id"]]
    checked = check_hospital(snapshot).to_frame().filter(check="stay-end")
    assert checked.select("numerator", "denominator").row(0) == (1, 2)
    frame = intervals.of_stays(snapshot).frame.sort("start")
    assert frame["lost"].to_list() == [True, False]
    assert frame["open"].to_list() == [False, True]
    assert frame["end"][1] == at("2020-09-01T10:00:00Z")


def test_a_deletion_of_a_bulk_export_withdraws_and_is_seen_before(hospital):
    hospital.take_files(case("bulk-deleted", "first"))
    before = hospital.received - timedelta(hours=1)
    summary = hospital.take_files(case("bulk-deleted", "second"))
    assert summary.total("retracted") == 1
    assert hospital.rows("events") == []
    assert len(hospital.rows("events", as_of=before)) == 1


def test_references_by_search_and_by_identifier_are_resolved_in_the_delivery(hospital):
    summary = hospital.take_files(case("conditional-reference"))
    assert summary.refusals == {}
    values = [row["value"] for row in hospital.rows("events") if row["value"] is not None]
    assert values == [4.1, 4.4, 4.5]
    last = next(row for row in hospital.rows("events") if row["value"] == 4.5)
    assert last["time"] == at("2020-03-02T09:30:00+01:00")
    assert len({row["subject_id"] for row in hospital.rows("events")}) == 1
    status = {row["code"]: row["status"] for row in hospital.rows("events")}
    assert status["RxNorm//1719"] == "not-done"
    assert "SNOMED//91302008" not in status


def test_a_resource_with_a_modifier_extension_is_set_aside(hospital):
    summary = hospital.take_files(case("modifier-extension"))
    assert [row["code"] for row in hospital.rows("events")] == ["LOINC//2823-3"]
    assert summary.refusals == {"events: modifier-unknown": 2}
    refused = hospital.hospital.snapshot().quarantine().sort("row").collect()
    assert refused["row"].to_list() == [2, 3]
    assert set(refused["field"]) == {"modifierExtension"}


def test_a_local_coding_that_stands_first_hides_no_standard_one(hospital):
    hospital.take_files(case("local-coding-first"))
    codes = [row["code"] for row in hospital.rows("events")]
    assert sorted(codes) == ["ICD10GM//A41.9", "LOINC//2823-3", "LOINC//2823-3"]


def test_a_resource_of_r5_is_refused_by_the_name_of_its_version(hospital):
    delivery = open_fhir(case("r5"), zone="UTC")
    with pytest.raises(BadInputError, match=r"actualPeriod \(a resource of FHIR R5; FHIR R4 and"):
        import_delivery(hospital.hospital, delivery, label="r5", now=hospital.received)


def test_units_as_people_write_them_lose_no_value(hospital):
    hospital.take_files(case("units-as-written"))
    events = hospital.rows("events")
    assert len(events) == 22
    wanted = {
        "00": "[lb_av]", "01": "[lb_av]", "02": "[degF]", "03": "Cel", "04": "ug", "05": "ug",
        "06": "/min", "07": "/min", "08": "mL/h", "12": "kg", "13": "g/dL", "14": "10*3/uL",
        "15": "10*3/uL", "16": "mosm/kg", "17": "mm[Hg]", "18": "mmol/L", "19": "/min",
    }  # fmt: skip
    found = {row["code"].rpartition(" ")[2]: row["value_unit"] for row in events}
    assert {number: found[number] for number in wanted} == wanted
    assert all(row["value"] == 8 for row in events)


@pytest.mark.parametrize("engine", ["relational", "columnar", "reference"])
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("LOINC//2823-3",), 2),
        (("1.2.840.99999.1//K-LOCAL",), 2),
        (("LOINC//2823-3", "1.2.840.99999.1//K-LOCAL"), 2),
        (("1.2.840.99999.1//K*",), 2),
        (("ICD10GM//A41*",), 1),
        (("1.2.840.99999.2//D77",), 1),
        (("LOINC//2951-2",), 0),
    ],
)
def test_a_definition_finds_an_event_by_any_of_its_codings_once(hospital, engine, asked, found):
    hospital.take_files(case("local-coding-first"))
    snapshot = hospital.hospital.snapshot()
    (subject,) = {row["subject_id"] for row in hospital.rows("events")}
    when = at("2020-04-01T00:00:00Z")
    points = pl.DataFrame([(0, subject, None, when, when)], schema=POINTS, orient="row")
    outputs = {"count": events(codelist("asked", *asked)).until(now).count().node}
    answers = answer(snapshot, outputs, points=points, engine=engine)
    assert answers.frame["count"].to_list() == [found]
