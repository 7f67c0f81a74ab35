"""Replays of discharges and orders against loops over raw patients."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.people import People, hour

from neva.decisions.outcomes import Outcome
from neva.decisions.replay import replay
from neva.decisions.replay_figures import figures
from neva.decisions.rules import rule
from neva.definitions.language import events, hours, row, stay
from neva.programmes.acute_care.outcomes import return_after_discharge

SPO2, HEPARIN, OTHER = "LOINC//59408-5", "ATC//B01AB05", "ATC//N02BE01"
CUT = 60
WAIT = 20
words = {"version": "1.0.0", "summary": "x", "source": "test", "owner": "nurse", "quiet_hours": 0}
HOME = rule(
    "test.home",
    hooks=("encounter-discharge",),
    population=stay.end.is_missing(),
    condition=events(SPO2).within(hours(4)).last().value("%") < 90,
    warns_of=Outcome(of=return_after_discharge(), within_hours=WAIT, ends_with_stay=False),
    **words,
)
_drafted = events("ATC//B01AB05").status("planned").where(row.attribute("kind") == "order")
ORDER = rule(
    "test.order",
    hooks=("order-select", "order-sign"),
    population=stay.end.is_missing(),
    condition=_drafted.exists() & ~events("ATC//B01AB05").within(hours(48)).exists(),
    **words,
)
TOGETHER = rule(
    "test.together",
    hooks=("order-sign",),
    population=stay.end.is_missing(),
    condition=_drafted.count() >= 2,
    **words,
)
START = rule(
    "test.start",
    hooks=("encounter-start",),
    population=stay.end.is_missing(),
    condition=events(SPO2).within(hours(4)).exists(),
    **words,
)


@st.composite
def hospitals(draw):
    """Patients with stays one after the other, values, orders and doses."""
    patients = []
    for subject in range(1, draw(st.integers(1, 3)) + 1):
        stays, at = [], draw(st.integers(0, 10))
        for place in range(draw(st.integers(1, 3))):
            length = draw(st.sampled_from([1, 5, 12, None]))
            stays.append(
                {
                    "stay_id": subject * 10 + place,
                    "start": at,
                    "end": None if length is None else at + length,
                    "kind": draw(st.sampled_from(["inpatient", "emergency", "outpatient"])),
                    "source": draw(st.sampled_from(["elective", "ambulance", None])),
                    "outcome": draw(st.sampled_from(["home", "died", None])),
                }
            )
            if length is None:
                break
            at += length + draw(st.sampled_from([0, 3, WAIT, 30]))
        events_ = []
        ends = [each["end"] for each in stays if each["end"] is not None]
        near = st.sampled_from(ends or [5]).map(lambda end: max(end - 1, 0))
        for _ in range(draw(st.integers(0, 8))):
            time = draw(st.integers(0, CUT) | near)
            events_.append(
                {
                    "time": time,
                    "code": draw(st.sampled_from([SPO2, HEPARIN, OTHER])),
                    "value": draw(st.sampled_from([85.0, 95.0])),
                    "kind": draw(st.sampled_from(["order", "order", "administration"])),
                    "status": draw(st.sampled_from(["done", "done", "not-done"])),
                    "recorded": time + draw(st.sampled_from([0, 0, 2, -1])),
                    "retracted": draw(st.sampled_from([None, None, time + 4])),
                }
            )
        last = max([*ends, at])
        death = draw(st.sampled_from([None, None, None, last, last + 1, last + 2, CUT - 1]))
        patients.append({"subject": subject, "stays": stays, "events": events_, "death": death})
    return patients


def snapshot_of(patients):
    people = People()
    for one in patients:
        subject = one["subject"]
        begun = min(each["start"] for each in one["stays"])
        people.admit(subject, start=hour(begun), covid=False,
                     death=None if one["death"] is None else hour(one["death"]))  # fmt: skip
        people.tables["stays"] = [
            row_ for row_ in people.tables["stays"] if row_["subject_id"] != subject
        ]
        for each in one["stays"]:
            row_ = {
                **each,
                "subject_id": subject,
                "precision": "instant",
                "start": hour(each["start"]),
                "end": None,
                "outcome": None,
                **people._kept(hour(each["start"])),
            }
            people.tables["stays"].append(row_)
            if each["end"] is not None:
                over = {"end": hour(each["end"]), "outcome": each["outcome"], "batch": 2}
                kept = people._kept(hour(each["end"]))
                people.tables["stays"].append({**row_, **kept, **over})
        for event in one["events"]:
            stays = [
                each["stay_id"]
                for each in one["stays"]
                if each["start"] <= event["time"] and (each["end"] or 10**6) >= event["time"]
            ]
            drug = event["code"] != SPO2
            people.event(
                subject, event["time"], event["code"],
                None if drug else event["value"], None if drug else "%",
                recorded=event["recorded"], retracted=event["retracted"],
                status=event["status"] if drug else "done",
                stay_id=stays[0] if stays else None,
                attributes=[{"key": "kind", "value": event["kind"]}] if drug else None,
            )  # fmt: skip
            event["stay_id"] = stays[0] if stays else None
    return people.snapshot(hour(CUT))


def seen(event, moment):
    """Whether an event was known just before a moment, and lay before it."""
    return (
        event["time"] < moment
        and event["recorded"] < moment
        and (event["retracted"] is None or event["retracted"] >= moment)
    )


def lows(patient, moment):
    """Saturations of the four hours before a moment."""
    return [
        event
        for event in patient["events"]
        if event["code"] == SPO2 and seen(event, moment) and event["time"] >= moment - 4
    ]


def is_low(patient, moment):
    found = lows(patient, moment)
    last = max((event["time"] for event in found), default=None)
    # Of one time the order of rows decides: code, then value; the highest is last.
    return bool(found) and max(one["value"] for one in found if one["time"] == last) < 90


def discharges(patient):
    for each in patient["stays"]:
        end, death = each["end"], patient["death"]
        known_death = death is not None and death <= CUT
        if end is None or end > CUT or each["outcome"] == "died":
            continue
        if each["kind"] == "outpatient":
            continue
        if not (known_death and death <= end + 1):
            yield each


def returned(patient, each):
    """When somebody came back unplanned or died after a stay."""
    times = [
        other["start"]
        for other in patient["stays"]
        if other["kind"] in ("inpatient", "emergency")
        and other["source"] != "elective"
        and each["end"] < other["start"] <= CUT
    ]
    if patient["death"] is not None and each["end"] < patient["death"] <= CUT:
        times.append(patient["death"])
    return min(times, default=None)


@settings(max_examples=60, deadline=None)
@given(hospitals())
def test_discharges_are_asked_and_judged_as_a_loop_does_it(patients):
    snapshot = snapshot_of(patients)
    result = replay(snapshot, [HOME])
    cards = {
        (each["stay_id"], each["end"])
        for patient in patients
        for each in discharges(patient)
        if is_low(patient, each["end"])
    }
    almost = timedelta(microseconds=1)
    found = result.alerts.filter("shown").select("stay_id", "now").rows()
    assert sorted(found) == sorted((stay_, hour(end) - almost) for stay_, end in cards)
    asked = [(patient, each) for patient in patients for each in discharges(patient)]
    row_ = figures(result).rules.row(0, named=True)
    assert row_["recorded"] == len(asked)
    if not asked:
        assert row_["assessed"] is False
        return
    waited = [(patient, each) for patient, each in asked if each["end"] + WAIT <= CUT]
    came = {
        each["stay_id"]
        for patient, each in waited
        if (time := returned(patient, each)) is not None and time <= each["end"] + WAIT
    }
    judged = [stay_ for stay_, end in cards if end + WAIT <= CUT]
    assert row_["moments"] == len(asked)
    assert row_["cards"] == len(cards)
    assert row_["decided_stays"] == len(waited)
    assert row_["outcomes"] == len(came)
    assert row_["decided_cards"] == len(judged)
    assert row_["true_cards"] == len(came.intersection(judged))
    expected = len(came.intersection(judged)) / len(came) if came else None
    assert row_["sensitivity"] == expected
    assert row_["ppv"] == (len(came.intersection(judged)) / len(judged) if judged else None)


@settings(max_examples=60, deadline=None)
@given(hospitals())
def test_orders_are_asked_as_drafts_as_a_loop_does_it(patients):
    snapshot = snapshot_of(patients)
    result = replay(snapshot, [ORDER, TOGETHER])
    asked, cards, several = set(), set(), set()
    for patient in patients:
        drafts = [
            (event, min(event["time"], event["recorded"]))
            for event in patient["events"]
            if event["kind"] == "order" and event["status"] == "done"
            if event["code"] == HEPARIN and event["recorded"] <= CUT
        ]
        for event, moment in drafts:
            key = (patient["subject"], event["stay_id"], moment)
            asked.add(key)
            before = [
                other
                for other in patient["events"]
                if other["code"] == HEPARIN
                and other["status"] == "done"
                and seen(other, moment)
                and other["time"] >= moment - 48
            ]
            own = next(
                (each for each in patient["stays"] if each["stay_id"] == event["stay_id"]), None
            )
            if own is None or own["end"] is None or own["end"] >= moment:
                cards |= set() if before else {key}
                # A draft is one at its own moment and at no other.
                several |= {key} if sum(at == moment for _, at in drafts) >= 2 else set()
    almost = timedelta(microseconds=1)
    for one, expected in ((ORDER, cards), (TOGETHER, several)):
        shown = result.alerts.filter(pl.col("rule") == one.id, "shown")
        assert set(shown.select("subject_id", "stay_id", "now").rows()) == {
            (subject, stay_, hour(time) - almost) for subject, stay_, time in expected
        }
        row_ = figures(result).rules.filter(pl.col("rule") == one.id).row(0, named=True)
        assert (row_["recorded"], row_["assessed"]) == (len(asked), bool(asked))
        if asked:
            assert row_["cards"] == len(expected)


@settings(max_examples=30, deadline=None)
@given(hospitals())
def test_starts_are_asked_once_with_what_was_known_then(patients):
    result = replay(snapshot_of(patients), [START])
    begun = [
        (patient, each) for patient in patients for each in patient["stays"] if each["start"] <= CUT
    ]
    cards = set()
    for patient, each in begun:
        start = each["start"]
        known = [
            event
            for event in patient["events"]
            if event["code"] == SPO2
            and start - 4 < event["time"] <= start
            and event["recorded"] <= start
            and (event["retracted"] is None or event["retracted"] > start)
        ]
        over = each["end"] is not None and each["end"] <= start
        if known and not over:
            cards.add((each["stay_id"], hour(start)))
    assert set(result.alerts.select("stay_id", "now").rows()) == cards
    row_ = figures(result).rules.row(0, named=True)
    assert row_["recorded"] == len(begun)
