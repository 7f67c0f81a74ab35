"""The work list over the history of a synthetic hospital, and case by case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.charts import Charts
from tests.people import People, hour
from tests.rule_tables import record, rules

from neva.cds.hooks import Services
from neva.cds.prefetch import MOST_ENTRIES
from neva.cds.requests import read_request
from neva.decisions.tasks import Feed
from neva.decisions.work_list import ObservationPlan, feeds_work_list, work_list
from neva.definitions.binding import hierarchy_of
from neva.definitions.language import events, now
from neva.definitions.reference.engine import Place
from neva.events.hospital import create_hospital
from neva.programmes.acute_care.outcomes import HOURS_BY_SCORE, observation_plan
from neva.synthesis import Plan, synthesise

RULES = tuple(rules().values())
EMERGENCY = next(one for one in RULES if one.id == "acute-care.news2-emergency")
URGENT = next(one for one in RULES if one.id == "acute-care.news2-urgent")
RANKS = {"critical": 0, "warning": 1, "info": 2}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    made = create_hospital(
        tmp_path_factory.mktemp("work") / "hospital",
        zone="Europe/Moscow",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    synthesise(made, Plan(stays=300, seed=3), now=datetime(2026, 1, 1, tzinfo=UTC))
    return made


def at(hospital, minutes: float):
    """The hospital as it was known some days before the cut, and so many minutes later."""
    start = hospital.snapshot().now - timedelta(days=6)
    return hospital.snapshot(as_of=start + timedelta(minutes=minutes))


def listed(snapshot, chosen=RULES, **more):
    return work_list(snapshot, chosen, at=snapshot.now, **more)


def test_a_task_keeps_its_name_while_it_holds(hospital):
    minutes = [0, 1, 23, 59, 61, 240, 600, 1440]
    lists = [listed(at(hospital, one)) for one in minutes]
    assert sum(len(one.tasks) for one in lists) > 50
    kept = 0
    for before, after in pairwise(lists):
        earlier = {(task.rule, task.stay_id): task for task in before.tasks}
        for task in after.tasks:
            assert task.begun_after < task.since <= after.now
            old = earlier.get((task.rule, task.stay_id))
            if task.since <= before.now:
                # It held then and has held ever since.
                assert old is not None
                assert (old.begun_after, old.since) == (task.begun_after, task.since)
                kept += 1
            elif old is not None and task.begun_after <= before.now:
                # It began by the clock alone, between two full hours.
                assert old.begun_after == task.begun_after
    assert kept > 20


def test_a_task_of_a_stay_is_there_once(hospital):
    tasks = listed(at(hospital, 0)).tasks
    assert len({(task.rule, task.stay_id) for task in tasks}) == len(tasks)
    again = listed(at(hospital, 0)).tasks
    assert tasks == again


def test_the_list_is_what_the_bedside_would_raise_of_the_same_patients(hospital):
    snapshot = at(hospital, 17)
    found = listed(snapshot)
    services = Services(
        tuple((one, "live") for one in RULES),
        Place(snapshot.zone, *hierarchy_of(snapshot)),
    )
    service = services.service("neva-patient-view")
    stays = snapshot.stays().filter(pl.col("end").is_null()).collect()
    charts = Charts(snapshot, stays["subject_id"].to_list())
    raised, partly = {}, set()
    for subject, stay in stays.select("subject_id", "stay_id").iter_rows():
        body = {
            "hook": "patient-view",
            "hookInstance": "1",
            "context": {"userId": "u", "patientId": str(subject), "encounterId": str(stay)},
            "prefetch": charts.prefetch(subject, snapshot.now, service.needs),
        }
        answered = services.answer(
            service, read_request(body, "patient-view"), now=snapshot.now, last_raised={}
        )
        for one in answered.raised:
            card = one.card
            # A search that is full may lack what is older: unknown at the bedside only.
            if any(
                len(value.get("entry", ())) >= MOST_ENTRIES for value in body["prefetch"].values()
            ):
                partly.add(stay)
                continue
            raised[card.rule, stay] = (card.indicator, card.severity, card.summary, card.detail)
    assert len(raised) > 5
    assert found.patients == stays.height
    assert raised == {
        (task.rule, task.stay_id): (task.indicator, task.severity, task.summary, task.detail)
        for task in found.tasks
        if task.stay_id not in partly
    }


def test_the_most_urgent_comes_first(hospital):
    tasks = listed(at(hospital, 0)).tasks
    keys = [(RANKS[one.indicator], not one.is_overdue, -one.severity, one.since) for one in tasks]
    assert keys == sorted(keys)
    assert len({one.indicator for one in tasks}) > 1


def test_rules_of_orders_and_discharges_make_no_task(hospital):
    left_out = {one.id for one in RULES if not feeds_work_list(one)}
    assert left_out == {"acute-care.discharge-news2", "acute-care.anticoagulant-order"}
    assert not left_out & {task.rule for task in listed(at(hospital, 0)).tasks}


# ------------------------------------------------------------------ case by case

ILL = "2.25 rate 25; 2.25 spo2 91; 2.25 pulse 91"


def ill(more: str = "", *, until: float = 3.0, rules=(EMERGENCY,), **settings):
    people = People()
    people.admit(1)
    record(people, 1, ILL + "; " + more)
    return listed(people.snapshot(hour(until)), rules, **settings)


@dataclass
class Note:
    state: str
    owner: str | None = None
    deadline: datetime | None = None


def test_a_task_names_since_when_and_until_when():
    (task,) = ill().tasks
    assert (task.since, task.begun_after) == (hour(2.25), hour(2))
    assert task.deadline == hour(2.75)
    assert (task.is_overdue, task.acknowledged) == (True, False)


@pytest.mark.parametrize(
    ("until", "tier", "owner", "overdue"),
    [
        (2.25, 0, "ward doctor", False),
        (2.74, 0, "ward doctor", False),
        (2.75, 1, "critical care outreach", True),
        (3.24, 1, "critical care outreach", True),
        (3.25, 2, "consultant on call", True),
        (12.0, 2, "consultant on call", True),
    ],
)
def test_tiers_follow_the_clock(until, tier, owner, overdue):
    (task,) = ill(until=until).tasks
    assert (task.tier, task.owner, task.is_overdue) == (tier, owner, overdue)


def test_what_is_treated_or_limited_is_gone():
    assert ill("2.5 CARE//clinical-review").tasks == ()
    assert ill("2.5 CARE//ceiling-of-care").tasks == ()
    assert ill("2.5 rate 16; 2.5 spo2 97").tasks == ()
    # It comes back under a new name.
    (task,) = ill("2.5 CARE//clinical-review; 2.75 rate 30").tasks
    assert (task.begun_after, task.since) == (hour(2.5), hour(2.75))


def test_what_is_acknowledged_keeps_its_owner_and_what_is_cleared_is_gone():
    (task,) = ill().tasks
    key = (task.rule, str(task.stay_id), task.begun_after)
    (taken,) = ill(touched={key: Note("acknowledged", owner="Dr A")}).tasks
    assert (taken.owner, taken.acknowledged, taken.deadline) == ("Dr A", True, task.deadline)
    (later,) = ill(until=9.0, touched={key: Note("acknowledged", owner="Dr A")}).tasks
    assert (later.owner, later.tier) == ("Dr A", 2)
    (moved,) = ill(touched={key: Note("escalated", owner="B", deadline=hour(9))}).tasks
    assert (moved.owner, moved.acknowledged, moved.is_overdue) == ("B", False, False)
    assert ill(touched={key: Note("cleared")}).tasks == ()
    # Another episode is another task.
    again = "2.5 CARE//clinical-review; 2.75 rate 30"
    assert len(ill(again, touched={key: Note("cleared")}).tasks) == 1


def test_a_value_that_was_withdrawn_and_comes_again_is_another_task():
    people = People()
    people.admit(1)
    for at_hour, withdrawn in ((2.25, 2.5), (2.75, None)):
        people.event(1, at_hour, "LOINC//9279-1", 25, "/min", retracted=withdrawn)
        people.event(1, at_hour, "LOINC//59408-5", 91, "%", retracted=withdrawn)
        people.event(1, at_hour, "LOINC//8867-4", 91, "/min", retracted=withdrawn)
    names = [
        [task.begun_after for task in listed(people.snapshot(hour(one)), (EMERGENCY,)).tasks]
        for one in (2.3, 2.6, 2.8)
    ]
    assert names == [[hour(2)], [], [hour(2.5)]]


def test_a_rule_counts_on_the_days_it_is_in_force():
    day = hour(3).date()
    for first, last, tasks in (
        (day, day, 1),
        (day + timedelta(days=1), None, 0),
        (None, day - timedelta(days=1), 0),
    ):
        dated = EMERGENCY.model_copy(update={"valid_from": first, "valid_until": last})
        assert len(ill(rules=(dated,)).tasks) == tasks


def test_an_empty_hospital_has_an_empty_list_and_says_that_nothing_ever_came():
    found = listed(People().snapshot(hour(1)), RULES, observations=observation_plan())
    assert (found.tasks, found.patients, found.unobserved.height) == ((), 0, 0)
    assert found.to_frame().is_empty()
    assert "nothing has ever been recorded" in found.feed.banner


@pytest.mark.parametrize(
    ("minutes", "banner"),
    [
        (60, ""),
        (61, "for 1 hours"),
        (60 * 71, "for 71 hours"),
        (60 * 24 * 4, "for 4 days"),
    ],
)
def test_a_stale_feed_says_so(minutes, banner):
    feed = Feed(newest=hour(0), at=hour(minutes / 60), limit_minutes=60)
    assert feed.is_stale is bool(banner)
    assert banner in feed.banner
    if banner:
        assert "Do not rely on this list" in feed.banner


def test_the_feed_is_as_old_as_its_newest_record():
    people = People()
    people.admit(1)
    record(people, 1, ILL)
    found = work_list(people.snapshot(hour(3)), (EMERGENCY,), at=hour(5))
    assert found.feed.newest == hour(2.25)
    assert found.feed.is_stale
    assert len(found.tasks) == 1  # still there, below the banner


# -------------------------------------------------------------- not observed

PLAN = ObservationPlan(
    score=events("TEST//score").until(now).last().value("1").node,
    last=events("TEST//score").until(now).last().time.node,
    hours_by_score=HOURS_BY_SCORE,
)


@settings(max_examples=15)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 80), st.integers(0, 9)), max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_who_is_overdue_is_that_of_a_loop(drawn):
    people, asked_at = People(), 20.0
    expected = []
    for subject, observed in enumerate(drawn, start=1):
        start = subject * 1.0
        people.admit(subject, start=hour(start))
        score, last = None, None
        for quarter, points in sorted(dict(observed).items()):
            time = quarter / 4
            people.event(subject, time, "TEST//score", points, "1")
            if time <= asked_at:
                score, last = points, time
        allowed = 12.0
        if score is not None:
            for limit in (1, 5, 7):
                if score >= limit:
                    allowed = {1: 6.0, 5: 1.0, 7: 0.5}[limit]
        due = (start if last is None else last) + allowed
        if due < asked_at:
            expected.append((subject, hour(due), pytest.approx(asked_at - due)))
    found = listed(people.snapshot(hour(asked_at)), (), observations=PLAN).unobserved
    rows = found.select("subject_id", "due", "hours_overdue").rows()
    assert sorted(rows, key=lambda row: row[0]) == expected
    assert found["hours_overdue"].to_list() == sorted(found["hours_overdue"], reverse=True)
