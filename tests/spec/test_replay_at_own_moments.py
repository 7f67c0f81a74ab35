"""Each rule is asked where its hooks are called, and judged by what it warns of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.people import People, hour
from tests.rule_tables import PROGRAMMES, rules

from neva.decisions.cards import hash_of
from neva.decisions.log_figures import replay_of_log
from neva.decisions.moments import moments_of
from neva.decisions.outcomes import Outcome
from neva.decisions.replay import cards_of, replay
from neva.decisions.replay_figures import figures, overlap
from neva.decisions.rules import from_json, rule
from neva.definitions.documents import to_json
from neva.definitions.language import hours, now, stay
from neva.definitions.points import EveryHours
from neva.definitions.programme import load_programme
from neva.definitions.run import points_of
from neva.errors import UsageError
from neva.events.hospital import create_hospital
from neva.synthesis import Plan, synthesise

RULES = rules()
HOME = RULES["acute-care.discharge-news2"]
URGENT = RULES["acute-care.news2-urgent"]
ORDER = RULES["acute-care.anticoagulant-order"]
LACTATE = RULES["sepsis.lactate"]
DETERIORATION = load_programme("acute-care").document("deterioration")
HEPARIN = "ATC//B01AB05"
ORDERED = [{"key": "kind", "value": "order"}]
DAY = 24


def unwell(people: People, subject: int, at: float) -> None:
    """Record observations that make 7 points of NEWS2."""
    for code, value, unit in (
        ("LOINC//9279-1", 26, "/min"),
        ("LOINC//59408-5", 90, "%"),
        ("LOINC//8310-5", 38.5, "Cel"),
    ):
        people.event(subject, at, code, value, unit)


def again(people: People, subject: int, start: float, **more) -> None:
    """Add a later stay of a patient."""
    stay_ = {
        "stay_id": subject * 10 + 1,
        "subject_id": subject,
        "start": hour(start),
        "end": None,
        "precision": "instant",
        "kind": "inpatient",
        "source": "ambulance",
        "outcome": None,
        **people._kept(hour(start)),
    }
    people.tables["stays"].append(stay_ | more)


def went_home(people: People, subject: int, *, end: float = 48, well: bool = False) -> None:
    people.admit(subject, end=hour(end), outcome="home")
    if not well:
        unwell(people, subject, end - 2)


def figure(result, name: str) -> dict:
    return next(row for row in figures(result).rows() if row["rule"] == name)


# ------------------------------------------------------------------ discharges


def test_a_rule_of_discharge_is_judged_by_returns_and_not_by_intensive_care():
    people = People()
    went_home(people, 1)
    # In intensive care for a day of the stay, from which the patient came back.
    people.event(1, 10, "CARE//intensive-care-admission", until=30)
    went_home(people, 2)
    again(people, 2, 48 + 10 * DAY)
    went_home(people, 3, well=True)
    found = figure(replay(people.snapshot(hour(60 * DAY)), [HOME]), HOME.id)
    assert found["asked_at"] == "discharges"
    assert "patient_days" not in found
    assert (found["moments"], found["cards"]) == (3, 2)
    assert found["outcome"] == "Unplanned return or death after discharge"
    assert (found["outcomes"], found["sensitivity"], found["ppv"]) == (1, 1.0, 0.5)
    assert found["lead_hours"] == pytest.approx(10 * DAY, abs=1e-6)


def test_a_return_that_may_still_come_is_undecided_and_not_negative():
    people = People()
    went_home(people, 1)
    went_home(people, 2, end=40 * DAY)
    went_home(people, 3, end=41 * DAY)
    again(people, 3, 42 * DAY)
    found = figure(replay(people.snapshot(hour(45 * DAY)), [HOME]), HOME.id)
    assert (found["moments"], found["cards"]) == (3, 3)
    # Only the first has had 30 days; that the third came back decides nothing either.
    assert (found["decided_stays"], found["decided_cards"], found["ppv"]) == (1, 1, 0.0)
    assert (found["outcomes"], found["sensitivity"]) == (0, None)


def test_planned_returns_are_none_and_deaths_at_home_are():
    people = People()
    for subject in (1, 2, 3):
        went_home(people, subject)
    again(people, 1, 48 + DAY, source="elective")
    people.tables["subjects"].append(
        {**people.tables["subjects"][1], "death": hour(48 + 2 * DAY), "batch": 2,
         "recorded": hour(48 + 2 * DAY)}
    )  # fmt: skip
    again(people, 3, 48 + 40 * DAY)
    result = replay(people.snapshot(hour(90 * DAY)), [HOME])
    found = figure(result, HOME.id)
    assert (found["decided_stays"], found["outcomes"], found["true_cards"]) == (3, 1, 1)


def test_who_died_or_only_visited_is_not_discharged():
    people = People()
    people.admit(1, end=hour(20), outcome="died")
    people.admit(2, end=hour(20), death=hour(20))
    people.admit(3, end=hour(2), kind="outpatient", outcome="home")
    people.admit(4)
    people.admit(5, end=hour(20), outcome="home")
    result = replay(people.snapshot(hour(40)), [HOME])
    assert result.placed == {(HOME.id, HOME.version): 1}
    assert result.looked["stay_id"].to_list() == [50]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay") / "hospital"
    made = create_hospital(folder, zone="Europe/Moscow", now=datetime.now(UTC))
    synthesise(made, Plan(stays=300, seed=11), now=datetime.now(UTC))
    return made


def test_the_rule_of_discharge_is_asked_exactly_once_per_discharge(hospital):
    snapshot = hospital.snapshot()
    everybody = HOME.model_copy(update={"condition": now.is_known().node, "limited": None})
    result = replay(snapshot, [everybody])
    deaths = dict(snapshot.subjects().select("subject_id", "death").collect().iter_rows())
    expected = set()
    for row in snapshot.stays().collect().iter_rows(named=True):
        death = deaths[row["subject_id"]]
        died = row["outcome"] == "died" or (
            death is not None and row["end"] is not None and death <= row["end"] + hours_(1)
        )
        if row["end"] is not None and not died:
            expected.add((row["stay_id"], row["end"] - timedelta(microseconds=1)))
    assert len(expected) > 100
    assert result.placed[HOME.id, HOME.version] == len(expected)
    assert set(result.looked["asked"]) == {1}
    raised = result.alerts.select("stay_id", "now").rows()
    assert len(raised) == len(set(raised)) > 100
    assert set(raised) <= expected


def hours_(number: float) -> timedelta:
    return timedelta(hours=number)


# ---------------------------------------------------------------------- orders


def ordering(**more) -> People:
    people = People()
    people.admit(1)
    people.event(1, 1, "LOINC//777-3", 30, "10*9/L")
    people.event(1, 1, "LOINC//14682-9", 80, "umol/L")
    people.event(1, 5, HEPARIN, attributes=ORDERED, **more)
    return people


def test_an_order_is_asked_about_as_a_draft_and_not_as_a_drug_in_use():
    snapshot = ordering().snapshot(hour(12))
    result = replay(snapshot, [ORDER])
    assert result.alerts["now"].to_list() == [hour(5) - timedelta(microseconds=1)]
    (card,) = cards_of(snapshot, result)
    assert "platelets 30" in card.summary
    assert "other recorded: no" in card.summary
    found = figure(result, ORDER.id)
    assert (found["asked_at"], found["moments"], found["cards_per_100_moments"]) == (
        "orders",
        1,
        100,
    )
    assert "sensitivity" not in found


def test_an_earlier_order_is_a_drug_in_use_for_a_later_one():
    people = ordering()
    people.event(1, 9, HEPARIN, attributes=ORDERED)
    snapshot = people.snapshot(hour(12))
    words = [card.summary for card in cards_of(snapshot, replay(snapshot, [ORDER]))]
    assert [one.rpartition(" ")[2] for one in words] == ["no", "yes"]


def test_an_order_that_was_cancelled_later_was_a_draft_all_the_same():
    people = ordering(retracted=8)
    first = people.tables["events"][-1]
    people.tables["events"].append(
        {**first, "status": "cancelled", "recorded": hour(8), "retracted": None, "batch": 2}
    )
    result = replay(people.snapshot(hour(12)), [ORDER])
    assert result.alerts["now"].to_list() == [hour(5) - timedelta(microseconds=1)]


def test_a_note_not_to_give_a_drug_and_other_orders_are_not_asked_about():
    people = ordering(status="not-done")
    people.event(1, 6, "ATC//N02BE01", attributes=ORDERED)
    people.event(1, 7, HEPARIN)  # given, nobody recorded an order
    result = replay(people.snapshot(hour(12)), [ORDER])
    assert result.placed == {(ORDER.id, ORDER.version): 0}


def test_without_orders_a_rule_of_orders_is_not_assessed_and_has_no_nought_of_cards():
    people = People()
    people.admit(1)
    result = replay(people.snapshot(hour(12)), [ORDER, URGENT])
    row = next(one for one in figures(result).rows() if one["rule"] == ORDER.id)
    assert row["assessed"] is False
    assert "cards" not in row
    assert figures(result).of("orders")["cards"].to_list() == [None]


# ------------------------------------------------- each rule's own, and others


def test_every_shipped_rule_has_its_outcome_or_none_and_its_moments():
    warned = {
        name: None if one.warns_of is None else (one.warns_of.of.id, one.warns_of.within_hours)
        for name, one in RULES.items()
    }
    assert warned == {
        "acute-care.news2-emergency": ("acute-care.deterioration", 24),
        "acute-care.news2-urgent": ("acute-care.deterioration", 24),
        "acute-care.discharge-news2": ("acute-care.return-after-discharge", 720),
        "acute-care.anticoagulant-order": None,
        "covid19.steroid-on-oxygen": None,
        "covid19.thromboprophylaxis": None,
        "covid19.deterioration": ("covid19.support-or-death", None),
        "sepsis.screen": None,
        "sepsis.lactate": None,
        "sepsis.antibiotics": None,
    }
    kinds = {name: moments_of(one) for name, one in RULES.items()}
    assert {name for name, kind in kinds.items() if kind != "hours"} == {HOME.id, ORDER.id}
    for one in RULES.values():
        title = one.warns_of
        assert title is None or (title.title, title.title_ru) != (title.title, title.title)


def test_what_a_rule_warns_of_does_not_change_what_was_approved():
    without = HOME.model_copy(update={"warns_of": None})
    assert hash_of(without) == hash_of(HOME)
    assert from_json(to_json(HOME)) == HOME
    assert hash_of(HOME.model_copy(update={"quiet_hours": 1.0})) != hash_of(HOME)


def test_rules_of_one_replay_are_judged_each_by_its_own():
    people = People()
    went_home(people, 1)
    people.event(1, 47, "CARE//intensive-care-admission")
    again(people, 1, 48 + 10 * DAY)
    result = replay(people.snapshot(hour(60 * DAY)), [URGENT, HOME])
    times = dict(
        result.outcomes.filter(pl.col("stay_id") == 10).select("rule", "outcome_time").rows()
    )
    assert times == {URGENT.id: hour(47), HOME.id: hour(48 + 10 * DAY)}
    assert result.is_own
    assert overlap(result).select("rule", "other").rows() == [(URGENT.id, HOME.id)]


def test_one_outcome_for_all_and_none_at_all_can_be_asked_for():
    people = People()
    went_home(people, 1)
    snapshot = people.snapshot(hour(60 * DAY))
    both = replay(snapshot, [URGENT, HOME], outcome=DETERIORATION)
    assert not both.is_own
    assert {row["outcome"] for row in figures(both).rows()} == {DETERIORATION.title}
    none = replay(snapshot, [URGENT, HOME], judge=False)
    assert not any("sensitivity" in row for row in figures(none).rows())
    longer = replay(snapshot, [HOME])
    assert figures(longer, horizon_hours=48).rules["within_hours"].to_list() == [48]


def test_a_rule_of_a_beginning_is_asked_once_and_of_a_chart_besides_by_the_hour():
    begins = rule(
        "test.begins", version="1.0.0", hooks=("encounter-start",), summary="x", source="test",
        owner="nurse", population=stay.end.is_missing(), condition=stay.start > now - hours(9),
    )  # fmt: skip
    people = People()
    people.admit(1, end=hour(9))
    people.admit(2)
    snapshot = people.snapshot(hour(12))
    once = replay(snapshot, [begins])
    assert once.alerts["now"].to_list() == [hour(0), hour(0)]
    assert figures(once).rules["moments"].to_list() == [2]
    often = begins.model_copy(update={"hooks": ("patient-view", "encounter-start")})
    assert replay(snapshot, [often]).looked["points"].to_list() == [9, 13]


def test_points_stand_for_the_hours_of_an_open_chart_only():
    people = People()
    people.admit(1)
    snapshot = people.snapshot(hour(12))
    points = points_of(snapshot, EveryHours(hours=6))
    assert replay(snapshot, [URGENT], points=points).placed[URGENT.id, URGENT.version] == 3
    with pytest.raises(UsageError, match="discharges"):
        replay(snapshot, [URGENT, HOME], points=points)


def test_an_outcome_is_a_time_and_one_after_the_stay_has_an_end():
    with pytest.raises(ValueError, match="must be a time"):
        Outcome(of=load_programme("covid19").document("4c-deterioration"))
    with pytest.raises(ValueError, match="within_hours"):
        Outcome(of=HOME.warns_of.of, ends_with_stay=False)


# --------------------------------------------------------- done after the card


def recognised(subject_events: dict[int, float | None], *, end: float | None = None) -> People:
    """Patients with possible sepsis at 2 h, and a lactate at some time or none."""
    people = People()
    for subject, at in subject_events.items():
        people.admit(subject, end=None if end is None else hour(end))
        people.event(subject, 2, "CARE//sepsis-triage")
        if at is not None:
            people.event(subject, at, "LOINC//2524-7", 1.0, "mmol/L", recorded=at + 3)
    return people


def test_done_after_the_card_is_within_its_own_time_and_known_by_hindsight():
    # A card at 2 h, due by 5 h; the results are recorded three hours after the sample.
    result = replay(recognised({1: 4.5, 2: 5.5, 3: None}).snapshot(hour(30)), [LACTATE])
    first = result.alerts.filter(pl.col("now") == hour(2)).sort("stay_id")
    assert first["done"].to_list() == [True, False, False]
    found = figure(result, LACTATE.id)
    assert found["done_within_hours"] == 3
    assert "sensitivity" not in found


def test_a_card_whose_time_is_not_over_is_neither_done_nor_not():
    told = replay(recognised({1: 3.5, 2: None}).snapshot(hour(4)), [LACTATE]).alerts
    assert told["done"].to_list() == [None] * told.height
    left = replay(recognised({1: None}, end=4).snapshot(hour(4.5)), [LACTATE]).alerts
    # The stay ended first: nobody did it.
    assert left.filter("shown")["done"].to_list() == [False]
    after = replay(recognised({1: 4.5}, end=4).snapshot(hour(30)), [LACTATE]).alerts
    assert after.filter("shown")["done"].to_list() == [False]  # elsewhere, or by somebody else


# --------------------------------------------------------------- the real log


def test_a_log_counts_the_discharges_of_its_time_and_judges_by_returns():
    people = People()
    went_home(people, 1)
    went_home(people, 2, end=50)
    again(people, 1, 48 + DAY)
    went_home(people, 3, end=500)
    snapshot = people.snapshot(hour(60 * DAY))
    log = pl.DataFrame(
        {
            "rule": [HOME.id],
            "version": [HOME.version],
            "subject": ["1"],
            "stay": ["10"],
            "now": [hour(48) - timedelta(minutes=5)],
            "severity": [7.0],
            "unit": [None],
            "suppressed_because": [None],
        },
        schema_overrides={"unit": pl.String, "suppressed_because": pl.String},
    )
    result = replay_of_log(log, snapshot, [HOME, ORDER], first=hour(0), last=hour(400))
    found = figure(result, HOME.id)
    assert (found["recorded"], found["moments"], found["cards"]) == (2, 2, 1)
    assert figure(result, ORDER.id)["assessed"] is False


def test_programmes_have_the_outcomes_of_their_rules_among_their_definitions():
    for name in PROGRAMMES:
        programme = load_programme(name)
        known = {one.id: one for other in PROGRAMMES for one in load_programme(other).documents}
        for one in programme.rules:
            if one.warns_of is not None:
                assert known[one.warns_of.of.id] == one.warns_of.of
