"""The bed report against sums by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from neva.flow.forecast.bed_report import HORIZONS, bed_report
from neva.flow.forecast.forecast import OccupancyForecast

ISSUED = datetime(2024, 1, 1, 6, tzinfo=UTC)
PLACES = ("a", "b", "clinic", "house", "all")
ABOVE = {"a": ("clinic", "house"), "b": ("clinic", "house"), "clinic": ("house",)}


def forecast(*, steps=30, step_hours=1.0, counts=12):
    rng = np.random.default_rng(3)
    distribution = rng.dirichlet(np.ones(counts), size=(len(PLACES), steps))
    return OccupancyForecast(
        places=PLACES,
        times=tuple(ISSUED + timedelta(hours=step_hours * (k + 1)) for k in range(steps)),
        distribution=distribution,
        present=np.arange(len(PLACES)),
        issued=ISSUED,
        zone="UTC",
        identity="invented",
        what="patients by unit",
        notes=(),
        step_hours=step_hours,
    )


def test_a_row_is_the_forecast_of_its_place_and_hour():
    made = forecast()
    report = bed_report(made, {"a": 4}, horizons=(1, 24))
    at = np.arange(12)
    for place, number in zip(PLACES, range(5), strict=True):
        for hours in (1, 24):
            row = report.frame.filter(place=place, horizon_hours=hours).row(0, named=True)
            one = made.distribution[number, hours - 1]
            assert row["mean"] == pytest.approx(one @ at)
            assert row["time"] == ISSUED + timedelta(hours=hours)
            assert row["present"] == number
            cumulative = np.cumsum(one)
            for name, level in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
                assert row[name] == next(n for n in at if cumulative[n] >= level)
    beyond = report.frame.filter(place="a", horizon_hours=24)["beyond"][0]
    assert beyond == pytest.approx(made.distribution[0, 23, 5:].sum())


def test_beds_of_units_above_are_the_sums_of_those_below():
    report = bed_report(forecast(), {"a": 4, "b": 3}, above=ABOVE)
    assert report.beds == {"a": 4, "b": 3, "clinic": 7, "house": 7}
    assert report.frame.filter(place="all")["beds"].to_list() == [None] * 2


def test_a_unit_below_without_beds_leaves_those_above_without():
    report = bed_report(forecast(), {"a": 4}, above=ABOVE)
    assert report.beds == {"a": 4}
    assert report.frame.filter(place="clinic")["beyond"].to_list() == [None, None]


def test_beds_recorded_of_a_unit_above_stand():
    assert bed_report(forecast(), {"a": 4, "b": 3, "clinic": 6}, above=ABOVE).beds["clinic"] == 6


def test_units_that_are_not_forecast_are_not_missed():
    above = {**ABOVE, "attic": ("clinic", "house")}
    assert bed_report(forecast(), {"a": 4, "b": 3}, above=above).beds["clinic"] == 7


@pytest.mark.parametrize(
    ("steps", "step_hours", "kept"),
    [(3, 1.0, []), (24, 1.0, [4, 24]), (168, 1.0, list(HORIZONS)), (7, 24.0, [24, 72, 168])],
)
def test_horizons_beyond_the_forecast_or_between_its_steps_are_left_out(steps, step_hours, kept):
    report = bed_report(forecast(steps=steps, step_hours=step_hours), {})
    assert report.frame.filter(place="a")["horizon_hours"].to_list() == kept
    for row in report.frame.iter_rows(named=True):
        assert row["time"] == ISSUED + timedelta(hours=row["horizon_hours"])


def test_now_and_before_are_no_horizons():
    report = bed_report(forecast(), {}, horizons=(0, -1, 2))
    assert report.frame["horizon_hours"].unique().to_list() == [2]


def test_more_beds_than_any_count_are_never_short():
    report = bed_report(forecast(), {"a": 50}, horizons=(4,))
    assert report.frame.filter(place="a")["beyond"][0] == 0.0
    assert report.short(chance=1e-9).height == 0


def test_a_place_is_short_from_the_first_step_on_that_reaches_the_chance():
    made = forecast()
    report = bed_report(made, {"a": 4, "b": 8, "elsewhere": 1}, horizons=(4,))
    for chance in (0.05, 0.3, 0.5):
        short = report.short(chance=chance)
        expected = {}
        for place, beds in (("a", 4), ("b", 8)):
            beyond = [one[beds + 1 :].sum() for one in made.distribution[PLACES.index(place)]]
            over = [k for k, value in enumerate(beyond) if value >= chance]
            if over:
                worst = int(np.argmax(beyond))
                expected[place] = (made.times[over[0]], beyond[worst], made.times[worst])
        assert set(short["place"]) == set(expected)
        for place, time, worst, worst_time in short.iter_rows():
            assert (time, worst_time) == expected[place][::2]
            assert worst == pytest.approx(expected[place][1])
        assert short["worst"].is_sorted(descending=True)


def test_the_report_of_a_whole_day_is_by_days():
    report = bed_report(forecast(steps=7, step_hours=24.0), {"a": 4})
    assert report.to_frame()["horizon_hours"].unique().sort().to_list() == [24, 72, 168]
