"""A replay asks at each moment with what had been recorded by then and was still believed."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from tests.people import ADMITTED, People, hour

from neva.decisions.replay import ALERTS, LOOKED, cards_of, replay
from neva.decisions.replay_figures import figures, overlap
from neva.decisions.rules import read, rule
from neva.definitions.language import events, hours, now, row, subject
from neva.definitions.points import AtEach, EveryHours
from neva.definitions.programme import load_programme
from neva.definitions.run import points_of
from neva.errors import UsageError

SPO2, LACTATE = "LOINC//59408-5", "LOINC//2524-7"
adult = subject.sex.is_known()
_last = events(SPO2).within(hours(4)).last()
LOW = rule(
    "test.low",
    version="1.0.0",
    title="Low",
    population=adult,
    condition=_last.value("%") < 90,
    summary="Saturation is {spo2}",
    inputs=(read("spo2", "Saturation", _last, "%"),),
    source="test",
    owner="nurse",
    quiet_hours=0,
)
OUTCOME = load_programme("acute-care").document("acute-care.deterioration")


def raised(people: People, *, until: float = 12, **settings) -> list[float]:
    """Hours after admission at which the rule raised a card."""
    result = replay(people.snapshot(hour(until)), [LOW], **settings)
    return [(time - ADMITTED) / timedelta(hours=1) for time in result.alerts["now"]]


def one_low(**more) -> People:
    people = People()
    people.admit(1)
    people.event(1, 1.5, SPO2, 85, "%", **more)
    return people


def test_a_value_raises_from_the_next_hour_as_long_as_it_counts():
    # Every hour from admission on; the look-back is four hours.
    assert raised(one_low()) == [2, 3, 4, 5]


def test_a_value_recorded_late_raises_nothing_before_it_was_recorded():
    assert raised(one_low(recorded=3.5)) == [4, 5]
    assert raised(one_low(recorded=4.0)) == [4, 5]  # at the hour itself it is known
    assert raised(one_low(recorded=6.0)) == []


def test_a_withdrawn_value_raises_while_it_was_believed_and_not_after():
    assert raised(one_low(retracted=3.5)) == [2, 3]
    assert raised(one_low(retracted=4.0)) == [2, 3]  # at the hour itself it is withdrawn
    assert raised(one_low(recorded=2.5, retracted=3.5)) == [3]


def test_a_card_says_what_was_believed_then():
    people = one_low(retracted=3.5)
    snapshot = people.snapshot(hour(12))
    result = replay(snapshot, [LOW])
    assert [card.summary for card in cards_of(snapshot, result)] == ["Saturation is 85 %"] * 2


def test_points_at_each_event_miss_what_was_withdrawn_and_hourly_points_do_not():
    people = one_low(retracted=3.5)
    snapshot = people.snapshot(hour(12))
    # The population is built with what is known at the data cut: the event is gone.
    at_events = points_of(snapshot, AtEach.of(events(SPO2)))
    assert at_events.is_empty()
    assert replay(snapshot, [LOW], points=at_events).alerts.is_empty()
    assert raised(people) == [2, 3]


def test_a_delay_is_added_where_the_time_of_recording_is_assumed():
    assumed = one_low(recorded_assumed=True)
    assert raised(assumed) == [2, 3, 4, 5]
    assert raised(assumed, delays={"LOINC//*": 2.0}) == [4, 5]
    assert raised(assumed, delays={SPO2: 2.0, "LOINC//*": 0.0}) == [4, 5]  # the first that fits
    assert raised(assumed, delays={"LOINC//*": 0.0, SPO2: 2.0}) == [2, 3, 4, 5]
    assert raised(assumed, delays={"ATC//*": 2.0}) == [2, 3, 4, 5]
    # Who says when it was recorded is believed.
    assert raised(one_low(), delays={"LOINC//*": 2.0}) == [2, 3, 4, 5]


def test_the_share_of_assumed_times_is_told_and_is_optimistic_without_delays():
    people = one_low(recorded_assumed=True)
    for number in range(3):
        people.event(1, 2 + number, SPO2, 95, "%")
    people.event(1, 2, LACTATE, 1, "mmol/L", recorded_assumed=True)  # no rule asks for it
    people.event(1, 20, SPO2, 95, "%", recorded_assumed=True)  # after the cut
    snapshot = people.snapshot(hour(12))
    told = replay(snapshot, [LOW])
    assert (told.assumed_share, told.is_optimistic) == (0.25, True)
    assert figures(told).optimistic
    delayed = replay(snapshot, [LOW], delays={"LOINC//*": 1.0})
    assert (delayed.assumed_share, delayed.is_optimistic) == (0.25, False)
    assert not replay(one_low().snapshot(hour(12)), [LOW]).is_optimistic


def test_delays_with_words_that_only_the_database_knows_are_refused():
    lately = events(SPO2).within(hours(4)).where(row.time > now - hours(2)).exists()
    moving = rule(
        "test.moving", version="1.0.0", population=adult, condition=lately,
        summary="x", source="test", owner="nurse",
    )  # fmt: skip
    with pytest.raises(UsageError, match="delays"):
        replay(one_low().snapshot(hour(12)), [moving], delays={"LOINC//*": 1.0})


def several_patients() -> People:
    people = People()
    for number in range(1, 8):
        people.admit(number, start=hour(number / 3), end=hour(9 + number) if number % 2 else None)
        for step in range(6):
            value = 80 + (number * step * 7) % 17
            people.event(number, number / 3 + step * 1.3, SPO2, value, "%")
    return people


@pytest.mark.parametrize("chunk_points", [1, 7, 20, 10_000])
def test_how_many_points_are_answered_at_once_changes_nothing(chunk_points):
    snapshot = several_patients().snapshot(hour(20))
    whole = replay(snapshot, [LOW], outcome=OUTCOME)
    part = replay(snapshot, [LOW], outcome=OUTCOME, chunk_points=chunk_points)
    assert whole.alerts.height > 20
    assert whole.alerts.equals(part.alerts)
    assert whole.looked.equals(part.looked)
    assert whole.stays.equals(part.stays)
    assert whole.outcomes.equals(part.outcomes)


def test_the_order_of_rows_and_points_changes_nothing():
    people = several_patients()
    snapshot = people.snapshot(hour(20))
    whole = replay(snapshot, [LOW])
    for rows in people.tables.values():
        rows.reverse()
    turned = replay(people.snapshot(hour(20)), [LOW])
    assert whole.alerts.equals(turned.alerts)
    points = points_of(snapshot, EveryHours(hours=1)).sample(fraction=1, shuffle=True, seed=1)
    assert whole.alerts.equals(replay(snapshot, [LOW], points=points).alerts)


def test_an_empty_hospital_has_no_cards_and_figures_without_numbers():
    result = replay(People().snapshot(hour(12)), [LOW], outcome=OUTCOME)
    assert result.alerts.schema == ALERTS
    assert result.alerts.is_empty()
    assert result.looked.schema == LOOKED
    row_ = figures(result).rules.row(0, named=True)
    assert (row_["cards"], row_["patient_days"], row_["sensitivity"], row_["ppv"]) == (
        0,
        0,
        None,
        None,
    )
    assert overlap(result).is_empty()


def test_a_rule_that_never_holds_has_days_and_no_cards():
    people = People()
    people.admit(1, end=hour(5))
    people.event(1, 1, SPO2, 97, "%")
    result = replay(people.snapshot(hour(12)), [LOW], outcome=OUTCOME)
    row_ = figures(result).rules.row(0, named=True)
    assert (row_["stays"], row_["cards"], row_["stays_with_card"]) == (1, 0, 0)
    assert row_["patient_days"] == result.looked["points"].sum() / 24
    assert (row_["cards_per_100_days"], row_["cards_per_100_days_lower"]) == (0, 0)
    # Unknown before the first value and after the look-back of the last one.
    assert row_["unknown_share"] == result.looked["unknown"].sum() / result.looked["points"].sum()


def test_unknown_points_are_never_more_than_all_points():
    people = People()
    people.admit(1, sex=None)
    people.admit(2)
    strange = LOW.model_copy(update={"population": (subject.sex == "female").node})
    result = replay(people.snapshot(hour(12)), [strange])
    row_ = figures(result).rules.row(0, named=True)
    assert row_["stays"] == 1
    assert row_["unknown_share"] == 1.0


def test_patients_without_a_stay_do_not_quieten_each_other():
    people = People()
    for number in (1, 2):
        people.admit(number)
        people.event(number, 1.5, SPO2, 85, "%")
    snapshot = people.snapshot(hour(12))
    points = pl.DataFrame(
        {
            "point_id": [0, 1, 2],
            "subject_id": [1, 2, 2],
            "stay_id": [None, None, None],
            "now": [hour(2), hour(3), hour(4)],
            "known": [hour(2), hour(3), hour(4)],
        },
        schema_overrides={"stay_id": pl.Int64},
    ).with_columns(pl.col("now", "known").cast(pl.Datetime("us", "UTC")))
    daily = LOW.model_copy(update={"quiet_hours": 24.0})
    result = replay(snapshot, [daily], points=points)
    cards = result.alerts.filter("shown").select("subject_id", "now").rows()
    assert cards == [(1, hour(2)), (2, hour(3))]


def test_the_same_rule_twice_and_an_outcome_that_is_no_time_are_refused():
    snapshot = one_low().snapshot(hour(12))
    with pytest.raises(UsageError, match="twice"):
        replay(snapshot, [LOW, LOW])
    age = load_programme("covid19").document("covid19.4c-deterioration")
    with pytest.raises(UsageError, match="must be a time"):
        replay(snapshot, [LOW], outcome=age)


def test_an_outcome_is_asked_with_hindsight_and_a_card_after_it_is_late():
    people = one_low()
    people.event(1, 3.5, "CARE//intensive-care-admission", recorded=11)
    result = replay(people.snapshot(hour(12)), [LOW], outcome=OUTCOME)
    times: list[datetime | None] = result.outcomes["outcome_time"].to_list()
    assert times == [hour(3.5)]
    row_ = figures(result, horizon_hours=1).rules.row(0, named=True)
    # Cards at 2 (too early), 3 (true), 4 and 5 (late).
    assert (row_["cards"], row_["late_cards"], row_["decided_cards"], row_["true_cards"]) == (
        4,
        2,
        2,
        1,
    )
    assert (row_["sensitivity"], row_["lead_hours"]) == (1, 0.5)


HOME = LOW.model_copy(update={"id": "test.home", "hooks": ("encounter-discharge",)})
HEPARIN = "ATC//B01AB05"
ORDERED = [{"key": "kind", "value": "order"}]
_drafts = events(HEPARIN).status("planned").where(row.attribute("kind") == "order")
ORDER = rule(
    "test.order",
    version="1.0.0",
    title="Order",
    hooks=("order-sign",),
    population=adult,
    condition=_drafts.exists() & ~events(HEPARIN).within(hours(48)).exists(),
    summary="Saturation is {spo2}",
    inputs=(read("spo2", "Saturation", _last, "%"),),
    source="test",
    owner="nurse",
    quiet_hours=0,
)


def at_discharge(**value) -> int:
    """Cards at a discharge after 3 hours, of one low value."""
    people = People()
    people.admit(1, end=hour(3), outcome="home")
    people.event(1, value.pop("at", 1.5), SPO2, 85, "%", **value)
    return replay(people.snapshot(hour(12)), [HOME]).alerts.height


def test_a_discharge_is_asked_with_what_was_known_before_it():
    assert at_discharge() == 1
    assert at_discharge(recorded=2.9) == 1
    assert at_discharge(recorded=3.0) == 0  # at the discharge itself it is too late
    assert at_discharge(recorded=6.0) == 0
    assert at_discharge(at=3.5) == 0
    assert at_discharge(retracted=2.5) == 0
    assert at_discharge(retracted=3.5) == 1  # it was believed


def at_order(*, order=5.0, written=None, **dose) -> int:
    """Cards at one order of heparin, with a dose that was given before it."""
    people = People()
    people.admit(1)
    people.event(1, order, HEPARIN, attributes=ORDERED, recorded=written)
    if dose:
        people.event(1, dose.pop("at"), HEPARIN, **dose)
    return replay(people.snapshot(hour(12)), [ORDER]).alerts.height


def test_an_order_is_asked_with_what_was_known_before_it_and_does_not_see_itself():
    assert at_order() == 1
    assert at_order(written=7.0) == 1  # written down later: it was a draft before
    assert at_order(order=9.0, written=5.0) == 1  # for later: it was a draft when it was recorded
    assert at_order(at=3) == 0
    assert at_order(at=3, recorded=4.9) == 0
    assert at_order(at=3, recorded=5.0) == 1  # given, but nobody had recorded it
    assert at_order(at=6) == 1
    assert at_order(at=3, retracted=4) == 1
    assert at_order(at=3, retracted=6) == 0


def test_a_card_of_an_order_shows_what_was_known_of_the_draft():
    people = People()
    people.admit(1)
    people.event(1, 4, SPO2, 85, "%")
    people.event(1, 5, HEPARIN, attributes=ORDERED)
    people.event(1, 6, SPO2, 99, "%", recorded=6)
    snapshot = people.snapshot(hour(12))
    result = replay(snapshot, [ORDER])
    assert [card.summary for card in cards_of(snapshot, result)] == ["Saturation is 85 %"]
    by_patient = cards_of(snapshot, result, engine="reference")
    assert by_patient == cards_of(snapshot, result)
