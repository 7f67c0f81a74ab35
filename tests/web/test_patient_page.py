"""What a patient's page says of values: the last of each, its range, who entered what."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.doors import csrf_of, doors
from tests.hospitals import new_hospital, take

from neva.events.hospital import open_hospital
from neva.jobs.entered import flush

NOW = datetime(2026, 1, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def value(hours, number, code="LAB//k", **attributes):
    at = NOW - hours * HOUR
    return {
        "subject": "1", "stay": "s1", "time": at, "recorded": at, "code": code, "value": number,
        "value_unit": "mmol/L", "file": "a.csv", "row": 1,
        "attributes": [{"key": key, "value": text} for key, text in attributes.items()],
    }  # fmt: skip


@pytest.fixture
def made(tmp_path):
    hospital = new_hospital(tmp_path)
    stay = {"subject": "1", "stay": "s1", "start": NOW - 30 * HOUR, "recorded": NOW - 30 * HOUR,
            "file": "a.csv", "row": 1}  # fmt: skip
    rows = [
        *(value(9 - k, 4.0 + k / 2, range_low="3.5", range_high="5.1") for k in range(6)),
        value(2, 3.0, "LAB//glucose", range_high="5.6"),
        value(2, 9.9, "LAB//lactate"),
    ]
    units = [
        {"unit": name, "name": name.title(), "kind": "ward", "recorded": NOW - 400 * HOUR,
         "file": "a.csv", "row": 1}
        for name in ("alpha", "beta")
    ]  # fmt: skip
    take(
        hospital, tmp_path / "a.csv", rows, units=units,
        stays=[{**stay, "kind": "inpatient"}], movements=[{**stay, "unit": "alpha"}],
    )  # fmt: skip
    subject, stay_id = hospital.snapshot().stays().select("subject_id", "stay_id").collect().row(0)
    with doors(hospital.path, {"1": subject}, tmp_path / "state.sqlite") as found:
        client = found.signed_in("clinician", headers={"accept": "text/html"})
        token = csrf_of(client)
        client.post(f"/patient/{subject}/purpose", data={"csrf": token, "purpose": "treatment"})
        yield found, client, subject, stay_id


def enter(client, stay, kind, **fields):
    form = {"csrf": csrf_of(client), "stay": str(stay), "kind": kind, **fields}
    return client.post("/work-list/entries", data=form)


def write(made):
    """What the worker does with entries."""
    flush(open_hospital(made.settings.hospital), made.state)


def test_the_last_value_of_each_stands_against_its_range(made):
    _, client, subject, _ = made
    page = client.get(f"/patient/{subject}.json").json()
    rows = {row["code"]: row for row in page["tables"]["latest"]}
    assert (rows["LAB//k"]["value"], rows["LAB//k"]["before"]) == ("6.50 mmol/L", "6 mmol/L")
    assert (rows["LAB//k"]["range"], rows["LAB//k"]["flag"]) == ("3.5–5.1", "▲ above")
    assert (rows["LAB//glucose"]["range"], rows["LAB//glucose"]["flag"]) == ("≤ 5.6", "")
    assert (rows["LAB//lactate"]["range"], rows["LAB//lactate"]["flag"]) == (None, "")
    text = client.get(f"/patient/{subject}").text
    # Of potassium alone there are several: a chart, and a small course, each with its range.
    assert text.count("<rect") == 2
    assert "6 values" in text


def test_what_was_entered_stands_on_the_page_with_who_entered_it(made):
    found, client, subject, stay = made
    assert enter(client, stay, "ceiling", ceiling="palliative-care").status_code == 303
    assert enter(client, stay, "delay", reason="DELAY//transport").status_code == 303
    for _ in range(2):
        page = client.get(f"/patient/{subject}.json").json()
        rows = {row["kind"]: row for row in page["tables"]["entries"]}
        assert rows["ceiling of care"]["value"] == "palliative care"
        assert rows["reason for delay"]["value"] == "transport"
        assert {row["actor"] for row in rows.values()} == {"clinician"}
        assert "palliative care" in client.get(f"/patient/{subject}").text
        write(found)
        found.later(minutes=1)


def test_the_last_correction_counts_though_no_time_passed(made):
    found, client, subject, stay = made
    soon = (NOW + 5 * HOUR).isoformat()
    for date in ((NOW + 200 * HOUR).isoformat(), (NOW + 90 * HOUR).isoformat(), soon):
        answer = enter(client, stay, "expected-discharge", start=date, confirmed="yes")
        assert answer.status_code == 303
        write(found)
    for ceiling in ("no-intensive-care", "palliative-care", "ward-based-care"):
        assert enter(client, stay, "ceiling", ceiling=ceiling).status_code == 303
    write(found)
    found.later(minutes=1)
    page = client.get(f"/patient/{subject}.json").json()
    rows = {row["kind"]: row for row in page["tables"]["entries"]}
    assert rows["expected discharge"]["time"].startswith("2026-01-01T13:00")
    assert rows["ceiling of care"]["value"] == "ward-based care"


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("expected-discharge", {"confirmed": "yes"}, "needs its date"),
        ("expected-discharge", {"start": "2031-04-01T08:00", "confirmed": "yes"}, "within a year"),
        ("expected-discharge", {"start": "2020-04-01T08:00", "confirmed": "no"}, "lies ahead"),
        ("medically-fit", {"start": "2026-01-02T08:00"}, "a time ahead"),
        ("medically-fit", {"start": "2019-01-02T08:00"}, "before the stay"),
        ("bed-request", {"unit": "alpha"}, "in that unit"),
        ("bed-request", {"unit": "medicine"}, "choose one of those offered"),
    ],
)
def test_what_cannot_be_meant_is_refused(made, kind, fields, says):
    found, client, _, stay = made
    answer = enter(client, stay, kind, **fields)
    assert answer.status_code == 400
    assert says in answer.text
    assert found.state.entries.unflushed() == []
