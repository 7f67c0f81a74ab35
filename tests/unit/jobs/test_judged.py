"""Forecasts that were issued are set beside what came, and nothing later is used."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from neva.census.intervals import units_above
from neva.events.hospital import create_hospital
from neva.jobs.flow import forecast
from neva.jobs.judged import judged_forecasts
from neva.synthesis import Plan, synthesise

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(stays=150, seed=3, operations=True)
AT = PLAN.cut.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    made = create_hospital(tmp_path_factory.mktemp("judged") / "h", zone=PLAN.zone, now=NOW)
    synthesise(made, PLAN, now=NOW)
    return made


@pytest.fixture(scope="module")
def issued(hospital):
    return [forecast(hospital, AT - timedelta(hours=back))[0] for back in (9, 2)]


def there(hospital, time):
    """By unit, who was there at a time, as known at `AT`: counted one by one."""
    counts, above = {}, units_above(hospital.snapshot(as_of=AT))
    rows = hospital.snapshot(as_of=AT).movements().collect()
    for start, end, unit in rows.select("start", "end", "unit").iter_rows():
        if start is not None and start <= time and (end is None or end > time):
            for place in (unit, *above.get(unit, ())):
                counts[place] = counts.get(place, 0) + 1
    return counts


def test_what_came_is_who_was_there(hospital, issued):
    rows = judged_forecasts(hospital, issued, AT)
    by_issue = pl.DataFrame(rows).group_by("issued").agg(pl.col("hours").unique().sort())
    hours = {datetime.fromisoformat(one): two for one, two in by_issue.iter_rows()}
    assert hours == {
        datetime.fromisoformat(issued[0]["issued"]): [4, 8],
    }
    compared = 0
    for one in rows:
        begun, time = (datetime.fromisoformat(one[name]) for name in ("issued", "time"))
        assert time == begun + timedelta(hours=one["hours"])
        assert one["low"] <= one["median"] <= one["high"]
        assert one["inside"] == (one["low"] <= one["observed"] <= one["high"])
        expected = there(hospital, time)
        if one["place"] != "all":
            assert one["observed"] == expected.get(one["place"], 0)
            compared += expected.get(one["place"], 0)
    assert compared > 20


def test_the_same_forecast_twice_is_judged_once(hospital, issued):
    once = judged_forecasts(hospital, issued, AT)
    assert judged_forecasts(hospital, [*issued, *issued], AT) == once


def test_nothing_is_judged_before_its_time(hospital, issued):
    assert judged_forecasts(hospital, issued[1:], AT) == []
    assert judged_forecasts(hospital, [], AT) == []
