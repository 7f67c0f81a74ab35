"""Current entries against a slow reading of the list of entries; an entered ceiling."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hospitals import event, new_hospital, take

from neva.census.current_entries import (
    current_entries,
    newest_recorded,
    open_stays,
    planned_admissions,
)
from neva.definitions.run import answer
from neva.events.codes import FOLLOW_UP_END
from neva.events.operational_codes import KINDS
from neva.events.schema import TIME
from neva.intake.entered import Entry, append_entries
from neva.programmes.acute_care import programme

NOW = datetime(2024, 3, 5, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
VALUES = {
    "expected-discharge": "no", "medically-fit": None, "delay": "DELAY//transport",
    "isolation": "ISOLATION//contact", "bed-request": "w", "handover-note": "n",
}  # fmt: skip


def hospital_of(folder, *, stays=("1", "2"), events=()):
    made = new_hospital(folder)
    rows = [
        {"stay": f"s{name}", "subject": name, "start": NOW - 100 * HOUR, "kind": "inpatient",
         "recorded": NOW - 100 * HOUR}
        for name in stays
    ]  # fmt: skip
    last = event(subject="1", time=NOW, recorded=NOW)
    take(made, folder / "stays.csv", [last, *events], stays=rows)
    pairs = made.snapshot().stays().select("stay_id", "subject_id").collect().rows()
    return made, sorted(pairs)


@st.composite
def lists(draw):
    entries = []
    for number in range(draw(st.integers(0, 8))):
        at = draw(st.integers(1, 60))
        gone = draw(st.none() | st.integers(0, at - 1))
        kind = draw(st.sampled_from(sorted(VALUES)))
        end = draw(st.none() | st.integers(0, at)) if KINDS[kind].lasts else None
        # Two entries of one kind are never entered in the same instant.
        entries.append((number, draw(st.integers(0, 1)), kind, at, gone, end))
    return entries


def slow(entries, ago):
    """Which entry holds, by stay and kind, so many hours ago."""
    found = {}
    for number, stay, kind, at, gone, _end in sorted(entries, key=lambda one: (-one[3], one[0])):
        if at >= ago and (gone is None or gone < ago):
            found[stay, kind] = number
    by = {one[0]: one for one in entries}
    return {
        key: number
        for key, number in found.items()
        # What has ended does not hold.
        if by[number][5] is None or by[number][5] < ago
    }


@settings(max_examples=10, deadline=None)
@given(lists(), st.integers(0, 70))
def test_the_last_one_that_was_not_withdrawn_holds(tmp_path_factory, drawn, ago):
    hospital, pairs = hospital_of(tmp_path_factory.mktemp("slow"))
    entries = [
        Entry(
            id=str(number), stay_id=pairs[stay][0], subject_id=pairs[stay][1], kind=kind,
            value=VALUES[kind], at=NOW - at * HOUR + number * timedelta(seconds=1),
            start=NOW - at * HOUR, end=None if end is None else NOW - end * HOUR,
            withdrawn_at=None if gone is None else NOW - gone * HOUR,
        )
        for number, stay, kind, at, gone, end in drawn
    ]  # fmt: skip
    append_entries(hospital, entries, now=NOW)
    view = hospital.snapshot(as_of=NOW - ago * HOUR + timedelta(minutes=1))
    found = current_entries(view)
    place = {stay: number for number, (stay, _) in enumerate(pairs)}
    held = {(place[row["stay_id"]], row["kind"]): int(row["entry"])
            for row in found.iter_rows(named=True)}  # fmt: skip
    # A minute later: what was withdrawn or ended at that very hour is gone.
    assert held == slow(drawn, ago)


def test_a_delivered_event_without_a_stay_belongs_to_the_stay_it_lies_in(tmp_path):
    fit = event(subject="2", code="NEVA//medically-fit", time=NOW - 2 * HOUR, recorded=NOW - HOUR)
    before = event(subject="1", code="NEVA//medically-fit", time=NOW - 200 * HOUR,
                   recorded=NOW - 199 * HOUR)  # fmt: skip
    hospital, _ = hospital_of(tmp_path, events=[fit, before])
    found = current_entries(hospital.snapshot(as_of=NOW))
    assert found.height == 1
    assert found["time"].to_list() == [NOW - 2 * HOUR]


def test_isolation_may_be_of_several_kinds(tmp_path):
    hospital, [(stay, subject), *_] = hospital_of(tmp_path)
    kinds = ("ISOLATION//contact", "ISOLATION//airborne")
    append_entries(
        hospital,
        [Entry(id=kind, subject_id=subject, stay_id=stay, kind="isolation", value=kind, at=NOW)
         for kind in kinds],
        now=NOW,
    )  # fmt: skip
    assert set(current_entries(hospital.snapshot())["reason"]) == set(kinds)


def test_whose_follow_up_ended_is_marked(tmp_path):
    end = event(subject="2", code=FOLLOW_UP_END, time=NOW - HOUR, recorded=NOW - HOUR)
    hospital, _ = hospital_of(tmp_path, events=[end])
    assert open_stays(hospital.snapshot(as_of=NOW))["lost"].sum() == 1


def test_who_is_here_is_no_longer_planned(tmp_path):
    planned = [
        event(subject=name, code="NEVA//admission-planned", time=NOW + hours * HOUR,
              status="planned", recorded=NOW - HOUR)
        for name, hours in (("1", 2), ("8", 3), ("9", -3), ("7", -13))
    ]  # fmt: skip
    hospital, _ = hospital_of(tmp_path, events=planned)
    found = planned_admissions(hospital.snapshot(as_of=NOW), hours=24)
    assert found["time"].to_list() == [NOW - 3 * HOUR, NOW + 3 * HOUR]


def test_the_newest_record_is_the_newest_known_then(tmp_path):
    late = event(subject="2", time=NOW - HOUR, recorded=NOW + HOUR)
    hospital, _ = hospital_of(tmp_path, events=[late])
    assert newest_recorded(hospital.snapshot(as_of=NOW)) == NOW
    assert newest_recorded(hospital.snapshot(as_of=NOW + 2 * HOUR)) == NOW + HOUR


def test_another_source_makes_old_movements_no_fresher(tmp_path):
    hospital, _ = hospital_of(tmp_path)
    begin = NOW - 5 * HOUR
    moved = [{"subject": "1", "stay": "s1", "start": begin, "unit": "w", "recorded": begin}]
    take(hospital, tmp_path / "moves.csv", movements=moved, name="beds")
    assert newest_recorded(hospital.snapshot(as_of=NOW)) == begin
    laboratory = [event(subject="1", time=NOW, recorded=NOW)]
    take(hospital, tmp_path / "laboratory.csv", laboratory, name="laboratory")
    assert newest_recorded(hospital.snapshot(as_of=NOW)) == begin
    # Whatever the source of the movements tells, it is alive.
    alive = [event(subject="2", time=NOW - HOUR, recorded=NOW - HOUR)]
    take(hospital, tmp_path / "observations.csv", alive, name="beds")
    assert newest_recorded(hospital.snapshot(as_of=NOW)) == NOW - HOUR
    assert newest_recorded(hospital.snapshot(as_of=NOW - 2 * HOUR)) == begin


@pytest.mark.parametrize(
    ("kind", "value", "limits"),
    [("ceiling", "ward-based-care", True), ("ceiling", "no-intensive-care", True),
     ("ceiling", "palliative-care", True), ("ceiling", "full-escalation", False),
     ("resuscitation", None, False)],
)  # fmt: skip
def test_an_entered_ceiling_silences_rules_as_a_delivered_one_does(tmp_path, kind, value, limits):
    hospital, [(stay, subject), *_] = hospital_of(tmp_path)
    entry = Entry(id="c", subject_id=subject, stay_id=stay, kind=kind, value=value, at=NOW)
    append_entries(hospital, [entry], now=NOW)
    snapshot = hospital.snapshot(as_of=NOW)
    points = pl.DataFrame(
        {"point_id": [0], "subject_id": [subject], "stay_id": [stay], "now": [NOW], "known": [NOW]},
        schema_overrides={"now": TIME, "known": TIME},
    )
    limited = next(one for one in programme().rules if "news2" in one.id).decides["limited"]
    found = answer(snapshot, {"limited": limited}, points=points, engine="columnar").frame
    assert found["limited"].to_list() == [limits]
