"""Forecasts against slow ways and closed forms."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.flows import BEGIN, invented, sojourns_from

from neva.errors import UsageError
from neva.flow.forecast.coming import ArrivalGroup, expected_arrivals, hours_of_week
from neva.flow.forecast.entry_effects import EntryOdds
from neva.flow.forecast.evaluation import counts_at
from neva.flow.forecast.forecast import FlowModel, fit_flow, forecast_flow
from neva.flow.forecast.present import Present, follow_each, present_of, tables
from neva.flow.forecast.rolling import evaluate_flow
from neva.flow.forecast.widening import Widening, learn_widening, widened
from neva.flow.stays import _walking
from neva.flow.stays.lengths import fit_lengths
from neva.statistics.distributions import sum_of_bernoullis


@pytest.fixture(scope="module")
def past():
    return invented(60, seed=3)


@pytest.fixture(scope="module")
def model(past):
    return fit_flow(past)


def rng():
    return np.random.default_rng(1)


def test_lengths_of_stay_are_those_of_the_hospital(past):
    lengths = fit_lengths(past, half_life_days=np.inf)
    ward = lengths.states.index("ward")
    rate = (
        lengths.ends[ward].sum()
        / (1 / lengths.rates[ward].sum(axis=1) * lengths.ends[ward].sum(axis=1)).sum()
    )
    assert 1 / rate / 24 == pytest.approx(3.0, rel=0.08)
    assert lengths.week == pytest.approx(1.0, abs=0.2)
    assert lengths.borrowed == ()
    died = lengths.ends[
        lengths.states.index("icu"), :, len(lengths.states) + lengths.exits.index("died")
    ]
    assert died.sum() / lengths.ends[lengths.states.index("icu")].sum() == pytest.approx(
        0.2, abs=0.08
    )


def slow_walk(lengths, phase, age, clock, steps, entered=None):
    """Probabilities by state and step by pushing every bit of mass forward, step by step.

    `entered`: of their own first state the factors of the odds to leave, the
    state that is wanted, and the factors of the odds to go there and elsewhere.
    """
    chance, moving, share = lengths.leaving()
    states = len(lengths.states)
    last = lengths.band_of.shape[1] - 1
    mass = {(phase, age): 1.0}
    result = np.zeros((states, steps))
    for t in range(steps):
        new = {}
        for (p, a), weight in mass.items():
            band = lengths.band_of[p, min(int(2 * a + 1 + 1e-9), last)]
            both = chance[p, band, clock[t]]
            moves = both * moving[p, band, clock[t]] * share[p, band]
            leave, stay = both - moves.sum(), 1 - both
            if entered is not None and (p, a) == (phase, age + t):
                leaving, wanted, there, elsewhere = entered
                leave = max(leave, _walking.LEAST_LEAVING)
                moves[wanted] = max(moves[wanted], _walking.LEAST_WANTED)
                stay = 1 - leave - moves.sum()
                leave *= leaving[t]
                moves *= np.where(np.arange(states) == wanted, there[t], elsewhere[t])
                total = leave + stay + moves.sum()
                leave, stay, moves = leave / total, stay / total, moves / total
            new[p, a + 1] = new.get((p, a + 1), 0.0) + weight * stay
            for s in range(states):
                part = weight * moves[s]
                if part > 0:
                    key = lengths.phase_of[lengths.state_of[p] + 1, s], lengths.first_age
                    new[key] = new.get(key, 0.0) + part
        mass = new
        for (p, _), weight in mass.items():
            result[lengths.state_of[p], t] += weight
    return result


@pytest.mark.parametrize("entered", [False, True])
def test_a_patient_walks_as_if_every_step_was_written_out(model, entered):
    lengths = model.lengths
    steps = 20  # blocks of one step each
    clock = (np.arange(steps) + 30) % 168
    blocks = np.arange(steps), np.arange(1, steps + 1)
    phase, age = np.array([0, 1, 2]), np.array([0.5, 7.25, 30.0])
    if entered:
        generator = np.random.default_rng(5)
        wanted = np.array([2, 0, 1])
        odds = EntryOdds(
            generator.uniform(1.1, 40, (3, steps)), wanted,
            generator.uniform(1.1, 40, (3, steps)), generator.uniform(0.1, 0.9, (3, steps)),
        )  # fmt: skip
        factors = [(odds.leaving[k], wanted[k], odds.there[k], odds.elsewhere[k]) for k in range(3)]
    else:
        odds, factors = EntryOdds.none(3, steps), [None] * 3
    fixed = (
        lengths.band_of, *tables(lengths, phase, odds.wanted), lengths.state_of,
        lengths.phase_of, clock,
    )  # fmt: skip
    used = np.ones(len(lengths.state_of), dtype=bool)
    onward = _walking.onward_of(*fixed, *blocks, lengths.first_age, used)
    here = Present(phase, phase, age, 0)
    each = follow_each(here, odds, fixed, *blocks, onward)
    together = _walking.follow_all(
        phase, age, odds.leaving, odds.wanted, odds.there, odds.elsewhere, *fixed,
        np.zeros((steps, len(lengths.states))), lengths.first_age, steps,
    )[0]  # fmt: skip
    slow = [
        slow_walk(lengths, p, a, clock, steps, one)
        for p, a, one in zip(phase, age, factors, strict=True)
    ]
    assert each == pytest.approx(np.array(slow), abs=1e-10)
    assert together == pytest.approx(np.sum(slow, axis=0), abs=1e-10)


def test_later_moves_in_blocks_are_nearly_those_of_single_steps(model, past):
    """And the mean of the forecast is that of single steps, exactly."""
    forecast = forecast_flow(model, past, steps=96, draws=0, rng=rng())
    lengths = model.lengths
    clock = hours_of_week(past.now, 96, "UTC", daily=False)
    here = present_of(lengths, past)
    parts, _, _ = expected_arrivals(model.groups, past.now, 96, "UTC", daily=False)
    none = EntryOdds.none(len(here.phase), 96)
    exact = _walking.follow_all(
        here.phase, here.age, none.leaving, none.wanted, none.there, none.elsewhere,
        lengths.band_of, *tables(lengths, here.phase, none.wanted), lengths.state_of,
        lengths.phase_of, clock, np.sum(parts, axis=0), lengths.first_age, 96,
    ).sum(axis=0)  # fmt: skip
    states = len(lengths.states)
    assert forecast.mean[:states] == pytest.approx(exact, rel=1e-6)


def constant(lengths, per_day, now):
    """Poisson arrivals of a known rate, all to the first unit."""
    entry = np.eye(len(lengths.states))[lengths.states.index("ed")]
    group = ArrivalGroup("unscheduled", None, per_day, 10**9, entry, 0)
    return FlowModel(lengths, (group,), now, ())


def test_with_poisson_arrivals_and_nobody_here_it_is_an_infinite_server_queue(model, past):
    """Poisson with the mean sum over u of rate(t - u) times the chance to be there after u."""
    lengths = model.lengths
    empty = replace(past, frame=past.frame.filter(pl.col("next").is_not_null()))
    steps = 24
    forecast = forecast_flow(
        constant(lengths, 48.0, past.now), empty, steps=steps, draws=0, rng=rng()
    )
    clock = [(past.now + timedelta(minutes=60 * k + 30)) for k in range(steps)]
    hours = np.array([24 * t.weekday() + t.hour for t in clock])
    ed = lengths.phase_of[0, lengths.states.index("ed")]
    expected = np.zeros((len(lengths.states), steps))
    for start in range(steps):
        expected[lengths.states.index("ed"), start] += 2.0
        if start + 1 < steps:
            later = slow_walk(lengths, ed, lengths.first_age, hours[start + 1 :], steps - start - 1)
            expected[:, start + 1 :] += 2.0 * later
    assert forecast.mean[: len(lengths.states)] == pytest.approx(expected, rel=1e-6)
    at = np.arange(forecast.distribution.shape[2])
    variance = forecast.distribution @ at**2 - forecast.mean**2
    assert variance == pytest.approx(forecast.mean, rel=1e-3)  # as Poisson has


def test_the_patients_here_are_a_sum_of_their_own_chances(model, past):
    nobody = FlowModel(model.lengths, (), past.now, ())
    forecast = forecast_flow(nobody, past, steps=12, draws=0, rng=rng())
    lengths = model.lengths
    here = present_of(lengths, past)
    clock = hours_of_week(past.now, 12, "UTC", daily=False)
    chances = [
        slow_walk(lengths, p, a, clock, 12)[2, 11]
        for p, a in zip(here.phase, here.age, strict=True)
    ]
    slow = sum_of_bernoullis(np.clip(chances, 0, 1))
    found = forecast.of(lengths.states[2], 12)
    size = min(len(slow), len(found))
    assert found[:size] == pytest.approx(slow[:size], abs=1e-9)


def test_units_above_are_sums_by_patient(model, past):
    above = {"icu": ("medicine",), "ward": ("medicine",), "ed": ()}
    forecast = forecast_flow(model, past, steps=30, above=above, rng=rng())
    at = {place: k for k, place in enumerate(forecast.places)}
    assert set(at) == {"ed", "icu", "ward", "medicine", "all"}
    mean = forecast.mean
    assert mean[at["medicine"]] == pytest.approx(mean[at["ward"]] + mean[at["icu"]], rel=1e-6)
    cumulative = forecast.distribution.cumsum(axis=2)
    # The ward is part of medicine: it is never likelier to hold more than n.
    assert (cumulative[at["medicine"]] <= cumulative[at["ward"]] + 1e-9).all()
    assert forecast.distribution.sum(axis=2) == pytest.approx(1.0)
    assert forecast.present[at["all"]] == past.present().height


def test_what_is_not_known_of_rates_widens_and_does_not_shift(model, past):
    sure = forecast_flow(model, past, steps=72, draws=0, rng=rng())
    unsure = forecast_flow(model, past, steps=72, draws=40, rng=rng())
    assert unsure.mean == pytest.approx(sure.mean, rel=0.01, abs=0.02)
    at = np.arange(unsure.distribution.shape[2])
    wide = unsure.distribution @ at**2 - unsure.mean**2
    at = np.arange(sure.distribution.shape[2])
    narrow = sure.distribution @ at**2 - sure.mean**2
    assert (wide[:, -1] > narrow[:, -1]).all()


def test_forecasts_of_a_steady_hospital_are_calibrated():
    whole = invented(140, seed=11, per_day=25)
    begin = whole.frame["start"].min()
    origins = [BEGIN + timedelta(days=60 + 2 * k) for k in range(38)]
    judged = evaluate_flow(
        lambda at: whole.between(begin, at),
        whole,
        origins=origins,
        horizons=(4, 24, 72),
        refit_days=14,
    )
    for row in judged.summary().filter(model="forecast").iter_rows(named=True):
        assert row["coverage90_low"] <= 0.93
        assert row["coverage90_high"] >= 0.90
    far = judged.skills().filter(pl.col("horizon_hours") >= 24, pl.col("place") == "all")
    assert not far["worse"].any()
    with pytest.raises(UsageError, match="must not know what comes"):
        evaluate_flow(lambda at: whole, whole, origins=origins[:1], horizons=(4,))


def test_widening_learns_from_errors_that_had_come_and_from_no_later_ones(model, past):
    forecast = forecast_flow(model, past, steps=48, draws=0, rng=rng())
    truth = {
        place: np.rint(1.5 * forecast.mean[k]).astype(int)
        for k, place in enumerate(forecast.places)
    }
    right = {
        place: np.rint(forecast.mean[k]).astype(int) for k, place in enumerate(forecast.places)
    }
    off = learn_widening([(forecast, truth)] * 10, before=forecast.times[-1])
    assert 0.2 < off.spread["all"][-1] < 0.6
    assert (
        learn_widening([(forecast, right)] * 10, before=forecast.times[-1]).spread["all"].max()
        < 0.1
    )
    assert learn_widening([(forecast, truth)], before=past.now) == Widening.none()
    wide = widened(forecast, off)
    assert wide.mean == pytest.approx(forecast.mean, rel=1e-6)
    assert (np.diff(off.spread["all"]) >= 0).all()


def test_the_census_of_sojourns_counts_open_ones_until_now(past):
    counted = counts_at(past, {"all": past.states}, [past.now])["all"][0]
    assert counted == past.present().height


def test_too_little_to_learn_from_is_refused_with_the_floor():
    one = sojourns_from([(0, "inpatient", "ward", 0, 30, None)], now=30)
    with pytest.raises(UsageError, match="floor is 30"):
        fit_flow(one)
    nobody_left = sojourns_from(
        [(k, "inpatient", "ward", k, 500, None) for k in range(200)], now=500
    )
    with pytest.raises(UsageError, match="found 0 of 200"):
        fit_flow(nobody_left)


def test_a_unit_that_is_never_left_borrows_and_says_so(past):
    kept = [(10_000 + k, "inpatient", "attic", 30 * k, 24 * 60, None) for k in range(5)]
    extra = sojourns_from(kept, now=24 * 60)
    both = replace(
        past,
        frame=pl.concat([past.frame, extra.frame]),
        states=tuple(sorted({*past.states, "attic"})),
    )
    model = fit_flow(both)
    assert model.lengths.borrowed == ("attic",)
    assert "too few left attic" in model.notes[0]
    forecast = forecast_flow(model, both, steps=48, rng=rng())
    mean = forecast.mean[forecast.places.index("attic")]
    assert 0 < mean[-1] < 5


def test_no_arrivals_are_stated_and_a_model_of_the_future_is_refused(past, model):
    late = past.between(past.frame["start"].min(), BEGIN + timedelta(days=30))
    with pytest.raises(UsageError, match="knows what came later"):
        forecast_flow(model, late, steps=5, rng=rng())
    with pytest.raises(UsageError, match="steps"):
        forecast_flow(model, past, steps=0, rng=rng())
    few = past.between(past.now - timedelta(days=3), past.now)
    assert any("constant rate" in note for note in fit_flow(few).notes)


def test_forecasts_do_not_depend_on_what_came_later(past):
    """Whatever follows the origin may be anything."""
    at = BEGIN + timedelta(days=40)
    begin = past.frame["start"].min()
    other = replace(past, frame=past.frame.filter(pl.col("start") < at))
    first, second = (
        forecast_flow(fit_flow(s.between(begin, at)), s.between(begin, at), steps=24, rng=rng())
        for s in (past, other)
    )
    assert first.distribution == pytest.approx(second.distribution)


def test_where_few_were_discharged_the_hour_is_that_of_the_whole_hospital():
    """Ten wards, all left between two and three in the afternoon, each by 25: not at any hour."""
    rng = np.random.default_rng(7)
    rows = []
    for case in range(250):
        day = int(rng.integers(0, 50))
        begin = 24.0 * day + rng.uniform(0, 24)
        end = 24.0 * (day + int(rng.integers(2, 6))) + 14 + rng.uniform(0, 1)
        rows.append((case, "inpatient", f"ward-{case % 10}", begin, end, "discharged"))
    lengths = fit_lengths(sojourns_from(rows, now=24 * 60))
    exits = lengths.clock[: len(lengths.states), 1]
    # By itself each ward would have about twice its mean rate at that hour.
    assert (exits[:, 14] > 10).all()
    assert (exits[:, 20] < 0.7).all()
