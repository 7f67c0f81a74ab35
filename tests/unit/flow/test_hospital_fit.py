"""A hospital learnt from a simulated one is the one that was simulated."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow_models import START, five_units
from tests.flows import BEGIN, sojourns_from
from tests.hospitals import new_hospital

from neva.errors import UsageError
from neva.events.hospital import open_hospital
from neva.flow.forecast.forecast import fit_flow
from neva.flow.simulation._expected import expected_numbers, incoming_of
from neva.flow.simulation._incoming import incoming_week
from neva.flow.simulation._stay_tables import AT_ONCE, nexts_of, weights_of
from neva.flow.simulation.hospital_fit import fit_hospital
from neva.flow.simulation.hospital_model import OUTSIDE, Beds
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulated_log import event_log, write_hospital
from neva.flow.stays.sojourns import DISCHARGED, known_sojourns

DAYS = 240
NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Four standard errors: one false alarm in 16,000 comparisons.
FOUR = 4.0


def spacious():
    """Five units in which nobody waits."""
    model = five_units()
    for unit in model.units:
        model = model.with_unit(unit.name, beds=Beds.always(90))
    return model


@pytest.fixture(scope="module")
def truth():
    return spacious()


@pytest.fixture(scope="module")
def hospital(truth, tmp_path_factory):
    run = simulate(
        truth, start=START, days=DAYS, seed=5, replications=1, log=True, zone="Europe/Moscow"
    )
    path = tmp_path_factory.mktemp("known") / "hospital"
    write_hospital(event_log(run), path, zone="Europe/Moscow", now=NOW)
    return open_hospital(path)


@pytest.fixture(scope="module")
def past(hospital):
    return known_sojourns(hospital, by="unit")


@pytest.fixture(scope="module")
def fitted(hospital, past):
    return fit_hospital(hospital.snapshot(), past)


def nexts(model, group, unit, came_from=None):
    (route,) = (
        r
        for r in model.routes
        if (r.patient_class, r.unit, r.came_from) == (group, unit, came_from)
    )
    return route.nexts


def test_the_same_data_imported_again_give_the_same_hospital(truth, tmp_path):
    run = simulate(truth, start=START, days=40, seed=6, replications=1, log=True)
    models = []
    for name in ("one", "other"):
        write_hospital(event_log(run), tmp_path / name, zone="UTC", now=NOW)
        again = open_hospital(tmp_path / name)
        models.append(fit_hospital(again.snapshot(), known_sojourns(again, by="unit")).model)
    assert models[0] == models[1]


# what was simulated is found again


def test_units_and_beds_are_those_recorded(fitted, truth):
    assert {u.name: (u.beds, u.kind) for u in fitted.model.units} == {
        u.name: (u.beds, u.kind) for u in truth.units
    }
    assert fitted.notes == ()


def test_arrivals_are_as_many_and_begin_where_they_began(fitted, past):
    (group,) = fitted.model.classes
    counted = past.frame.group_by("case").agg(pl.col("start").min(), pl.col("state").first())
    recent = counted.filter(pl.col("start") >= past.now - timedelta(weeks=8))
    level = incoming_week(past, "unscheduled", since=past.now - timedelta(weeks=8)).level
    rate = np.mean(group.arrivals.per_hour) / level
    assert rate == pytest.approx(recent.height / (8 * 168), rel=0.03)
    error = np.sqrt(1.2 / (8 * 168))
    assert abs(rate - 1.2) < FOUR * error + 0.03 * 1.2
    assert 0.75 < level < 1.25
    share = dict(group.first)["ed"]
    assert abs(share - 1.1 / 1.2) < FOUR * np.sqrt(1.1 * 0.1 / 1.44 / recent.height)
    assert group.arrivals.dispersion < 0.02


@pytest.mark.parametrize(
    ("unit", "came_from"),
    [("ed", None), ("medical", "ed"), ("icu", "ed"), ("step-down", None)],
)
def test_moves_and_lengths_of_stay_are_those_of_the_model(fitted, truth, past, unit, came_from):
    found = nexts(fitted.model, "unscheduled", unit, came_from)
    rows = past.timed().with_columns(before=pl.col("state").shift(1).over("case"))
    mine = (
        rows.filter(state=unit) if came_from is None else rows.filter(state=unit, before=came_from)
    )
    # Half of the rows at the least: what is recent weighs more.
    size = mine["next"].is_not_null().sum() / 2
    told = {}
    for one in found:
        to = DISCHARGED if one.to == AT_ONCE else one.to
        told[to] = told.get(to, 0.0) + one.probability
    mean = 0.0
    for one in nexts(truth, "emergency", unit):
        error = np.sqrt(one.probability * (1 - one.probability) / size)
        assert abs(told[one.to] - one.probability) < FOUR * error, one.to
        mean += one.probability * one.stay.mean()
    # To be discharged is to be ready, half a day before leaving, on average.
    stay = sum(one.probability * (one.stay.mean() + 12.0 * (one.to == DISCHARGED)) for one in found)
    assert abs(stay - mean) < FOUR * 1.05 * mean / np.sqrt(size)


def test_the_hospital_that_was_learnt_is_as_full(fitted, truth):
    """Arrivals as learnt differ from those simulated: patients are compared per arrival."""
    settings = {"start": START, "days": 60, "warm_up_days": 30, "replications": 10, "seed": 8}
    ours, theirs = (
        simulate(model, hourly=False, **settings) for model in (fit_without_patients(fitted), truth)
    )
    for unit in ("ed", "medical", "surgical"):
        ratios = [
            run.values("occupied_beds", unit).mean() / run.values("arrivals_per_day").mean()
            for run in (ours, theirs)
        ]
        assert ratios[0] == pytest.approx(ratios[1], rel=0.15)


def fit_without_patients(fitted):
    return replace(fitted.model, initial=())


def test_those_who_are_there_are_there(fitted, past):
    here = past.present()
    assert len(fitted.model.initial) == here.height > 30
    hours = sorted(one.elapsed_hours for one in fitted.model.initial)
    elapsed = here.select((pl.lit(past.now) - pl.col("start")).dt.total_seconds() / 3600)
    assert hours == pytest.approx(sorted(elapsed.to_series()), abs=1e-3)
    by_unit = dict(here.group_by("state").len().iter_rows())
    for unit, count in by_unit.items():
        mine = [one for one in fitted.model.initial if one.unit == unit]
        assert len(mine) == count
        assert {one.is_female for one in mine} <= {True, False}
    assert all(one.came_from == OUTSIDE for one in fitted.model.initial if one.unit == "ed")


def test_beds_that_are_given_replace_those_recorded(hospital, past):
    given_ = fit_hospital(hospital.snapshot(), past, beds={"icu": 3})
    assert given_.model.unit("icu").beds == Beds.always(3)
    assert given_.model.unit("medical").beds is None
    assert "no beds are recorded of ed, medical, step-down, surgical" in given_.notes[0]


def test_first_units_are_those_of_arrivals_however_long_the_stay(empty):
    """Every day one comes to each of two wards: stays of a day, and of twenty."""
    now = 24 * 100
    rows = []
    for day in range(100):
        for number, (unit, stay) in enumerate((("short", 24), ("long", 480))):
            begin = 24 * day + 6
            end = begin + stay
            to = DISCHARGED if end < now else None
            rows.append((2 * day + number, "inpatient", unit, begin, min(end, now), to))
    found = fit_hospital(empty, sojourns_from(rows, now=now)).model.classes[0].first
    assert dict(found) == pytest.approx({"long": 0.5, "short": 0.5})


# weights of what was not seen to its end


@st.composite
def sojourns(draw):
    rows = draw(
        st.lists(
            st.tuples(st.integers(1, 12), st.integers(0, 6), st.booleans()), min_size=1, max_size=25
        )
    )
    hours = np.array([float(h + late) for h, late, _ in rows])
    late = np.array([float(late) for _, late, _ in rows])
    return hours, late, np.array([ended for *_, ended in rows])


@given(sojourns())
def test_weights_are_the_steps_of_kaplan_and_meier(given_):
    hours, late, ended = given_
    survival, expected = 1.0, {}
    for time in sorted(set(hours[ended])):
        at_risk = sum(1 for h, e in zip(hours, late, strict=True) if e < time <= h)
        leaving = sum(1 for h, d in zip(hours, ended, strict=True) if d and h == time)
        expected[time] = survival / at_risk
        survival *= 1 - leaving / at_risk
    found = weights_of(hours, late, ended)
    slow = [expected[h] if d else 0.0 for h, d in zip(hours, ended, strict=True)]
    assert found == pytest.approx(slow)
    assert found.sum() == pytest.approx(1 - survival)


def test_those_who_are_still_there_make_stays_longer():
    """Exponential stays, half of them cut: the mean of those ended would be far too short."""
    rng = np.random.default_rng(3)
    whole, cut = rng.exponential(100, 4000), rng.exponential(100, 4000)
    hours, ended = np.minimum(whole, cut), whole <= cut
    weights = weights_of(hours, np.zeros(4000), ended)
    median = np.interp(0.5, np.cumsum(weights[np.argsort(hours)]), np.sort(hours))
    assert median == pytest.approx(100 * np.log(2), rel=0.08)
    assert np.median(hours[ended]) < 0.6 * median


def rows_of(starts, stays, now, half_life=20 * 24.0):
    """Sojourns of a ward as they are known at a time, the late ones of more weight."""
    return pl.DataFrame(
        {
            "hours": np.minimum(stays, now - starts),
            "late": np.zeros(len(starts)),
            "to": ["died" if end < now else None for end in starts + stays],
            "weight": 0.5 ** ((now - starts) / half_life),
        },
        schema_overrides={"to": pl.String},
    )


def test_what_is_recent_weighs_more_but_long_stays_do_not():
    """Weighted by when they ended, stays of ten days would become ones of eleven."""
    rng = np.random.default_rng(5)
    now, mean = 24.0 * 60, 240.0
    starts = rng.uniform(0, now, 20_000)
    (found,) = nexts_of(rows_of(starts, rng.exponential(mean, len(starts)), now))
    assert found.stay.mean() == pytest.approx(mean, rel=0.03)
    assert found.stay.quantile(0.5) == pytest.approx(mean * np.log(2), rel=0.03)


def test_beyond_the_longest_stay_that_ended_the_rate_of_the_last_ends_goes_on():
    """A young ward: nobody was there for longer than eight days, and stays are of ten."""
    rng = np.random.default_rng(6)
    now, mean = 24.0 * 8, 240.0
    starts = rng.uniform(0, now, 4000)
    (found,) = nexts_of(rows_of(starts, rng.exponential(mean, len(starts)), now))
    assert found.stay.mean() == pytest.approx(mean, rel=0.2)
    assert found.stay.hours[-1] > 2 * now


def test_a_unit_has_rates_of_its_own_from_as_many_ends_on_as_in_a_forecast(empty):
    """Twelve left it, after three hundred hours; the forecast tells them apart, so do we."""
    rows = [(k, "inpatient", "a", 20 * k, 20 * k + 50, DISCHARGED) for k in range(60)]
    rows += [(100 + k, "inpatient", "b", 20 * k, 20 * k + 300, DISCHARGED) for k in range(12)]
    fitted = fit_hospital(empty, sojourns_from(rows, now=1300))
    assert not any("too few left" in note for note in fitted.notes)
    (one,) = nexts(fitted.model, "unscheduled", "b")
    assert one.stay.mean() == pytest.approx(300 - 12, rel=0.02)


def test_arrivals_are_those_forecast_of_each_day(past, fitted):
    """Day by day of the week to come, of all that is known and of today so far."""
    flow = fit_flow(past)
    ours = incoming_of(fitted.model, past, 168).sum(axis=1)
    theirs = expected_numbers(flow, past, 168).incoming.sum(axis=1)
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.01)
    for day in range(7):
        inside = slice(24 * day, 24 * day + 24)
        assert ours[inside].sum() == pytest.approx(theirs[inside].sum(), rel=0.02)


# the hospital's clocks


@pytest.fixture
def empty(tmp_path):
    return new_hospital(tmp_path, zone="Europe/Moscow").snapshot()


def test_hours_are_those_of_the_hospitals_clocks(empty):
    """Moscow is three hours ahead: in at 9, out at 14."""
    rows = []
    for day in range(70):
        for k in range(3):
            come, leave = 24 * day + 6.5, 24 * (day + 2) + 11.5
            now = 24 * 70
            rows.append(
                (3 * day + k, "inpatient", "ward", come, min(leave, now), DISCHARGED)
                if leave < now
                else (3 * day + k, "inpatient", "ward", come, now, None)
            )
    found = fit_hospital(empty, sojourns_from(rows, now=24 * 70, zone="Europe/Moscow")).model
    week = np.array(found.classes[0].arrivals.per_hour).reshape(7, 24)
    assert (week[:, 9] > 2).all()
    assert week.sum() == pytest.approx(week[:, 9].sum())
    (exit_,) = found.exits
    assert np.flatnonzero(exit_.hours).tolist() == [14]


def test_arrivals_of_the_first_day_are_per_hour_of_its_clock(empty):
    rows = [(k, "inpatient", "ward", 0.4 * k, 0.4 * k + 1, DISCHARGED) for k in range(40)]
    found = fit_hospital(empty, sojourns_from(rows, now=20, zone="Europe/Moscow")).model
    # Known from 3 to 23 o'clock; the day began at 0.
    assert found.classes[0].arrivals.per_hour == pytest.approx((40 / 23,))


# refusals


def test_times_by_day_are_refused(empty):
    rows = [(k, "inpatient", "ward", 24 * k, 24 * k + 72, DISCHARGED) for k in range(50)]
    with pytest.raises(UsageError, match="only known to the day; import movements"):
        fit_hospital(empty, sojourns_from(rows, now=24 * 60, precision="day"))


def test_too_few_who_left_are_refused_with_the_floor(empty):
    rows = [(k, "inpatient", "ward", k, k + 5, DISCHARGED) for k in range(29)]
    with pytest.raises(UsageError, match="found 29; the floor is 30"):
        fit_hospital(empty, sojourns_from(rows, now=100))


def test_a_unit_that_few_left_in_a_hospital_that_few_left_is_refused(empty):
    rows = []
    for k in range(40):
        rows.append((k, "inpatient", "a", 2 * k, 2 * k + 5, "b"))
        rows.append((k, "inpatient", "b", 2 * k + 5, 200, None if k > 4 else DISCHARGED))
    with pytest.raises(UsageError, match=r"too few left b to learn from.* found 5 .* floor is 20"):
        fit_hospital(empty, sojourns_from(rows, now=200))


def test_a_unit_that_few_left_has_the_stays_of_the_whole_hospital(empty):
    rows = [(k, "inpatient", "a", 3 * k, 3 * k + 50, DISCHARGED) for k in range(60)]
    rows += [(100 + k, "inpatient", "b", 20 * k, 300, None) for k in range(5)]
    fitted = fit_hospital(empty, sojourns_from(rows, now=300))
    assert "too few left b to learn from" in " ".join(fitted.notes)
    assert {one.to for one in nexts(fitted.model, "unscheduled", "b")} == {DISCHARGED}


def test_nobody_who_came_lately_is_said_and_nobody_to_simulate_refused(empty):
    rows = [(k, "inpatient", "ward", k, k + 30, DISCHARGED) for k in range(60)]
    late = sojourns_from(rows, now=24 * 90)
    with pytest.raises(UsageError, match="nobody to simulate"):
        fit_hospital(empty, late)
    staying = [*rows, (99, "inpatient", "ward", 10, 24 * 90, None)]
    fitted = fit_hospital(empty, sojourns_from(staying, now=24 * 90))
    assert "the hospital only empties" in fitted.notes[-1]
    assert fitted.sojourns.now == BEGIN + timedelta(days=90)
