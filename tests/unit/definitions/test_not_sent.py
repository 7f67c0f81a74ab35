"""What was not sent is unknown, and unknown is not missing: nothing stands in for it."""

import pytest

from neva.definitions.language import (
    case,
    events,
    first_known,
    greatest,
    hours,
    least,
    now,
    number,
    row,
    stay,
    true_or_unknown,
)
from neva.definitions.local_time import HOUR
from neva.definitions.reference.engine import Place, Point, evaluate
from neva.definitions.reference.timeline import Row, Timeline

NOW = 400_000 * HOUR
PLACE = Place("Europe/Moscow")
POINT = Point(NOW, NOW, None)

unsent = events("LOINC//1").until(now)
sent = events("ICD10//A").until(now)
value = unsent.last().value("%")
time = unsent.last().time


def _timeline(*codes):
    rows = [
        Row(
            source="events",
            event_id=number_,
            stay_id=None,
            time=NOW - (number_ + 1) * HOUR,
            end_time=None,
            recorded=NOW - (number_ + 1) * HOUR,
            known_until=2 * NOW,
            code=code,
            value=50.0,
            value_unit="%",
        )
        for number_, code in enumerate(codes)
    ]
    made = Timeline(1, rows)
    made.sort()
    return made


def _lacks(frame, since):
    return frame.source == "stays" or "LOINC//1" in frame.codes


def _answer(expression, timeline, *, lacks=None):
    return evaluate({"x": expression.node}, timeline, POINT, PLACE, unsent=lacks)["x"]


UNKNOWN = {
    "stand-in": first_known(value, number(7, "%")),
    "is missing": value.is_missing(),
    "is known": value.is_known(),
    "least": least(value, number(7, "%")),
    "greatest": greatest(value, number(7, "%")),
    "not known to be false": true_or_unknown(value < number(7, "%")),
    "stand-in for a choice": first_known(
        case((value > number(1, "%"), number(1)), otherwise=number(0)), number(2)
    ),
    "rows by what was not sent": sent.where(row.time > time).exists(),
    "how many rows": sent.where(row.time > time).count(),
    "window": sent.since(first_known(time, now - hours(1))).exists(),
    "stay": stay.end.is_missing(),
    "rows of the stay": sent.during(stay).exists(),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_it_is_unknown_where_a_whole_record_gives_an_answer(name):
    assert _answer(UNKNOWN[name], _timeline("ICD10//A"), lacks=_lacks) is None


KNOWN = {
    "stand-in not needed": (first_known(number(7, "%"), value), 7.0),
    "truth decides": (sent.exists() | unsent.exists(), True),
    "falsehood decides": (~sent.exists() & unsent.exists(), False),
    "missing as a fact": (first_known(events("ICD10//B").last().time, now) == now, True),
    "other rows": (sent.count(), 1.0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_known_where_it_does_not_matter(name):
    expression, expected = KNOWN[name]
    assert _answer(expression, _timeline("ICD10//A"), lacks=_lacks) == expected


def test_one_that_was_sent_is_there():
    timeline = _timeline("ICD10//A", "LOINC//1")
    assert _answer(unsent.exists(), timeline, lacks=_lacks) is True
    assert _answer(unsent.count(), timeline, lacks=_lacks) is None


def test_nothing_changes_where_everything_was_sent():
    for expression in (*UNKNOWN.values(), *(one for one, _ in KNOWN.values())):
        for timeline in (_timeline(), _timeline("ICD10//A"), _timeline("ICD10//A", "LOINC//1")):
            whole = _answer(expression, timeline)
            assert _answer(expression, timeline, lacks=lambda frame, since: False) == whole
