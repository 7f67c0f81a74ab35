"""Entries of people become ordinary events: known from when they were entered, withdrawn, once."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.hospitals import event, new_hospital, take

from neva.errors import BadInputError
from neva.events.operational_codes import KINDS
from neva.events.schema import OPEN_END
from neva.intake.entered import Entry, append_entries, entries_to_events

AT = datetime(2020, 5, 3, 9, 30, tzinfo=UTC)
LATER = AT + timedelta(hours=5)
CANARY = "CANARY-do-not-repeat"


def entry(id_="e1", *, kind="delay", value="DELAY//transport", **more):
    return Entry(
        **({"id": id_, "subject_id": 11, "stay_id": 101, "kind": kind, "value": value, "at": AT}
           | more)
    )  # fmt: skip


@pytest.fixture
def hospital(tmp_path):
    made = new_hospital(tmp_path)
    take(made, tmp_path / "first.csv", [event(subject="1")])
    return made


def read(hospital, code_start="NEVA//", as_of=None):
    events = hospital.snapshot(as_of=as_of).events()
    return events.filter(pl.col("code").str.starts_with(code_start)).collect()


def test_an_entry_is_an_event_known_from_when_it_was_entered(hospital):
    start = AT - timedelta(days=2)
    done = append_entries(hospital, [entry(start=start, actor="a7")], now=LATER)
    row = read(hospital).row(0, named=True)
    assert (done.added, done.known, done.retracted) == (1, 0, 0)
    assert (row["code"], row["reason"]) == ("NEVA//discharge-delayed", "DELAY//transport")
    assert (row["subject_id"], row["stay_id"]) == (11, 101)
    assert (row["time"], row["end_time"], row["recorded"]) == (start, OPEN_END, AT)
    assert {"key": "actor", "value": "a7"} in row["attributes"]
    assert read(hospital, as_of=AT - timedelta(seconds=1)).is_empty()
    assert read(hospital, as_of=AT).height == 1


def test_the_same_entries_again_add_nothing(hospital):
    entries = [entry(), entry("e2", kind="medically-fit", value=None)]
    first = append_entries(hospital, entries, now=LATER)
    again = append_entries(hospital, entries, now=LATER + timedelta(hours=1))
    assert (first.added, again.added, again.known) == (2, 0, 2)
    assert again.version == first.version == hospital.snapshot().version


def test_a_withdrawn_entry_is_a_retraction(hospital):
    append_entries(hospital, [entry()], now=AT)
    gone = entry(withdrawn_at=LATER)
    assert append_entries(hospital, [gone], now=LATER).retracted == 1
    assert append_entries(hospital, [gone, entry()], now=LATER).known == 2
    assert read(hospital).is_empty()
    assert read(hospital, as_of=LATER - timedelta(seconds=1)).height == 1


def test_an_entry_entered_and_withdrawn_between_two_batches_is_seen_only_then(hospital):
    append_entries(hospital, [entry(withdrawn_at=AT + timedelta(hours=1))], now=LATER)
    assert read(hospital, as_of=AT + timedelta(minutes=5)).height == 1
    assert read(hospital).is_empty()


def test_what_is_planned_lies_in_the_future_and_moves_no_data_cut(hospital):
    before = hospital.snapshot().now
    when = AT + timedelta(days=2)
    append_entries(hospital, [entry(kind="expected-discharge", value="yes", start=when)], now=LATER)
    row = read(hospital, as_of=LATER).row(0, named=True)
    assert (row["time"], row["status"]) == (when, "planned")
    assert {"key": "confirmed", "value": "yes"} in row["attributes"]
    assert before < hospital.snapshot().now == AT


def ceiling(id_, value, at, **more):
    return entry(id_, kind="ceiling", value=value, at=at, **more)


def test_full_escalation_ends_the_ceiling_that_was_entered_before(hospital):
    first, second = ceiling("c1", "ward-based-care", AT), ceiling("c2", "full-escalation", LATER)
    append_entries(hospital, [first], now=AT)
    assert read(hospital, "CARE//")["code"].to_list() == ["CARE//ceiling-of-care"]
    append_entries(hospital, [first, second], now=LATER)
    assert read(hospital, "CARE//")["code"].to_list() == ["CARE//full-escalation"]
    assert read(hospital, "CARE//", as_of=AT)["code"].to_list() == ["CARE//ceiling-of-care"]
    assert append_entries(hospital, [first, second], now=LATER).known == 2
    # The second was a mistake: the first stands again.
    wrong = ceiling("c2", "full-escalation", LATER, withdrawn_at=LATER + timedelta(hours=1))
    end = LATER + timedelta(hours=1)
    append_entries(hospital, [first, wrong], now=end)
    assert read(hospital, "CARE//")["code"].to_list() == ["CARE//ceiling-of-care"]
    assert read(hospital, "CARE//")["recorded"].to_list() == [end]


def test_of_two_ceilings_in_one_batch_the_later_stands(hospital):
    both = [ceiling("c2", "palliative-care", LATER), ceiling("c1", "ward-based-care", AT)]
    append_entries(hospital, both, now=LATER)
    assert read(hospital, "CARE//")["code"].to_list() == ["CARE//palliative-care"]
    assert read(hospital, "CARE//", as_of=AT)["code"].to_list() == ["CARE//ceiling-of-care"]


def test_the_codes_are_described_once(hospital):
    append_entries(hospital, [entry()], now=AT)
    append_entries(hospital, [entry("e2")], now=LATER)
    codes = hospital.snapshot().stored("codes").collect()
    assert codes["code"].is_unique().all()
    described = dict(codes.select("code", "description").iter_rows())
    assert all(described[kind.code] for kind in KINDS.values())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "nothing"},
        {"kind": "isolation", "value": CANARY},
        {"kind": "ceiling", "value": CANARY},
        {"kind": "delay", "value": CANARY},
        {"kind": "bed-request", "value": "w", "details": {"priority": CANARY}},
        {"kind": "handover-note", "value": ""},
        {"end": AT - timedelta(hours=1)},
        {"start": datetime(2020, 5, 1)},  # noqa: DTZ001
    ],
)
def test_what_cannot_be_stored_is_refused_without_its_value(hospital, change):
    before = hospital.snapshot().version
    with pytest.raises(BadInputError) as refused:
        append_entries(hospital, [entry(**change)], now=AT)
    assert CANARY not in str(refused.value)
    assert hospital.snapshot().version == before


def test_no_entries_are_no_batch(hospital):
    before = hospital.snapshot().version
    assert append_entries(hospital, [], now=AT).version == before
    assert entries_to_events([]).height == 0


def test_an_entry_is_made_of_a_mapping():
    made = Entry.of({"id": "p", "subject_id": 1, "kind": "planned-admission", "at": AT, "x": 1})
    assert made.stay_id is None
