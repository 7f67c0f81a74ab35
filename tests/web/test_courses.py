"""Courses of values: axes that enclose what is drawn, on any values and times."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.languages.language import Language
from neva.web.courses import Point, course, small_course, steps_of_time, steps_of_values

_WORDS = Language("en", "Europe/Berlin")
_VALUES = st.floats(-1e6, 1e6, allow_nan=False).map(lambda one: round(one, 3))
_ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"])
_TIMES = st.integers(1_420_000_000, 1_890_000_000).map(lambda one: datetime.fromtimestamp(one, UTC))


@given(_VALUES, _VALUES)
def test_round_values_enclose_the_range_and_are_few(one, other):
    low, high = sorted((one, other))
    assert len(steps_of_values(low, low + 1e-13)) >= 2
    rungs = steps_of_values(low, high)
    size = rungs[1] - rungs[0]
    assert rungs[0] <= low + 1e-6 * size
    assert rungs[-1] >= high - 1e-6 * size
    assert 2 <= len(rungs) <= 6
    assert all(abs((b - a) - size) < 1e-6 * size for a, b in pairwise(rungs))


@given(_TIMES, st.timedeltas(timedelta(0), timedelta(days=40 * 365)), _ZONES)
def test_round_times_lie_within_and_days_begin_at_local_midnight(first, span, zone):
    found, are_hours = steps_of_time(first, first + span, zone)
    assert len(found) <= 6
    assert all(first <= one <= first + span for one in found)
    assert sorted(found) == found
    for one in found:
        local = one.astimezone(ZoneInfo(zone))
        assert local.minute == 0
        assert are_hours or local.hour in (0, 1)  # 1: where midnight was skipped by the clock


@given(
    st.lists(st.tuples(_TIMES, _VALUES, st.booleans()), min_size=1, max_size=30),
    st.tuples(st.none() | _VALUES, st.none() | _VALUES),
    st.booleans(),
)
def test_all_that_is_drawn_lies_inside_the_picture(rows, band, is_stepped):
    rows.sort(key=lambda row: row[0])
    points = [Point(time, value, "<b>&", is_full) for time, value, is_full in rows]
    drawing = course(points, _WORDS, band=band, is_stepped=is_stepped, lines=(5.0,))
    picture = ElementTree.fromstring(drawing)
    width, height = float(picture.get("width")), float(picture.get("height"))
    circles = picture.findall("circle")
    assert len(circles) == len(points)
    for circle, point in zip(circles, points, strict=True):
        assert 0 <= float(circle.get("cx")) <= width
        assert 0 <= float(circle.get("cy")) <= height - 38 + 0.1
        assert circle.find("title").text == "<b>&"
        assert circle.get("class") == ("full" if point.is_full else "hollow")
    for corner in picture.find("polyline").get("points").split():
        x, y = map(float, corner.split(","))
        assert 0 <= x <= width
        assert 0 <= y <= height


@pytest.mark.parametrize("day", [(2026, 3, 29), (2026, 10, 25)])
@pytest.mark.parametrize("minutes", range(0, 240, 30))
def test_the_hours_in_which_the_clocks_change(day, minutes):
    first = datetime(*day, tzinfo=UTC) + timedelta(minutes=minutes)
    last = first + timedelta(hours=4)
    found, are_hours = steps_of_time(first, last, "Europe/Berlin")
    moments = [one.astimezone(UTC) for one in found]
    assert are_hours
    assert all(first <= one <= last for one in moments)
    assert all(b - a >= timedelta(hours=1) for a, b in pairwise(moments))


def test_higher_values_lie_higher_and_the_band_between_its_limits():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    points = [Point(start + timedelta(hours=k), v, "") for k, v in enumerate([4.0, 9.0, 2.0])]
    picture = ElementTree.fromstring(course(points, _WORDS, band=(3.0, 5.0)))
    heights = [float(one.get("cy")) for one in picture.findall("circle")]
    assert heights[1] < heights[0] < heights[2]
    band = picture.find("rect")
    top = float(band.get("y"))
    assert top < heights[0] < top + float(band.get("height")) < heights[2]
    assert heights[1] < top


def test_a_small_course_says_nothing_of_one_value():
    assert small_course([1.0], None, None, "x") is None
    picture = ElementTree.fromstring(small_course([1.0, 1.0], None, 2.0, 'a "b" <c>'))
    assert picture.get("aria-label") == 'a "b" <c>'
