"""Two answers to one question: do they agree, and if not, which part makes the difference?"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.flows import BEGIN, invented, sojourns_from

from neva.errors import UsageError
from neva.flow.forecast.forecast import fit_flow, forecast_flow
from neva.flow.simulation._expected import expected_numbers, incoming_of
from neva.flow.simulation.agreement import HORIZONS, PARTS, _reasons, agreement
from neva.flow.simulation.hospital_fit import FittedHospital, fit_hospital
from neva.flow.simulation.hospital_model import (
    Beds,
    Exit,
    HospitalModel,
    Incoming,
    InitialPatient,
    Next,
    PatientClass,
    Route,
    Unit,
)
from neva.flow.stays.stay_length import StayLength

PER_DAY, STAY, DAYS = 24.0, 96.0, 80


@pytest.fixture(scope="module")
def seen():
    """One ward of a hospital without beds: Poisson arrivals, exponential stays."""
    rng = np.random.default_rng(4)
    now = 24.0 * DAYS
    starts = np.sort(rng.uniform(0, now, rng.poisson(PER_DAY * DAYS)))
    ends = starts + rng.exponential(STAY, len(starts))
    return sojourns_from(
        [
            (k, "inpatient", "ward", a, min(b, now), "discharged" if b < now else None)
            for k, (a, b) in enumerate(zip(starts, ends, strict=True))
        ],
        now=now,
    )


@pytest.fixture(scope="module")
def flow(seen):
    """The forecast's own parts, with the rates that are known to be true."""
    made = fit_flow(seen)
    leads = (made.lengths.rates > 0).any(axis=1)[:, None]
    lengths = replace(
        made.lengths,
        rates=np.full_like(made.lengths.rates, 1 / STAY) * leads,
        clock=np.ones_like(made.lengths.clock),
        week=np.ones_like(made.lengths.week),
        pace=np.ones_like(made.lengths.pace),
    )  # fmt: skip
    (group,) = made.groups
    return replace(made, lengths=lengths, groups=(replace(group, model=None, per_day=PER_DAY),))


def ward(seen, *, beds=None, per_day=PER_DAY, stay=STAY, patients=None):
    """The same hospital by hand."""
    here = seen.present().height if patients is None else patients
    model = HospitalModel(
        units=(Unit("ward", None if beds is None else Beds.always(beds)),),
        exits=(Exit("discharged"),),
        classes=(PatientClass("all", (("ward", 1.0),), arrivals=Incoming((per_day / 24,))),),
        routes=(
            Route("all", "ward", (Next("discharged", 1.0, StayLength.exponential(stay)),)),
        ),
        initial=(InitialPatient("all", "ward", 0.0),) * here,
    )  # fmt: skip
    return FittedHospital(model, seen, ("made by hand",))


@pytest.fixture(scope="module")
def forecast(flow, seen):
    return forecast_flow(flow, seen, steps=168, rng=np.random.default_rng(1))


def transient(here, hours):
    """M/G/infinity with exponential stays: those left of now, and those who came."""
    left = np.exp(-np.asarray(hours) / STAY)
    return here * left + PER_DAY / 24 * STAY * (1 - left)


def test_both_are_the_transient_mean_of_the_queue_with_beds_for_all(seen, flow, forecast):
    made = agreement(ward(seen), forecast, flow=flow)
    rows = made.frame.filter(place="ward").sort("hours")
    assert rows["hours"].to_list() == list(HORIZONS)
    expected = transient(seen.present().height, rows["hours"].to_numpy())
    error = (rows["simulated_upper"] - rows["simulated"]).to_numpy() / 1.96
    assert (np.abs(rows["simulated"].to_numpy() - expected) < 4 * error + 0.1).all()
    # Discrete hours: nobody leaves within the half hour after coming.
    assert rows["forecast"].to_numpy() == pytest.approx(expected, rel=0.51 / STAY)
    assert set(made.frame["verdict"]) == {"agrees"}
    assert made.precise
    halves = made.frame["simulated_upper"] - made.frame["simulated"]
    assert (halves <= made.frame["margin"] / 4).all()
    # The counts are Poisson plus binomial: both ranges are about as wide.
    wide = rows["simulated_q95"] - rows["simulated_q05"]
    assert (wide / (rows["forecast_q95"] - rows["forecast_q05"])).to_numpy() == pytest.approx(
        1.0, abs=0.25
    )


def test_the_parts_add_up_to_the_difference(seen, flow, forecast):
    made = agreement(ward(seen, beds=90, per_day=30, stay=80), forecast, flow=flow).frame
    total = sum(made[name] for name in PARTS)
    assert total.to_numpy() == pytest.approx(made["difference"].to_numpy(), abs=1e-9)
    assert made["difference"].to_numpy() == pytest.approx(
        (made["simulated"] - made["forecast"]).to_numpy()
    )


def test_few_beds_are_the_reason_where_beds_are_few(seen, flow, forecast):
    """A ward as full as it may be: nobody more finds a bed."""
    beds = seen.present().height - 30
    made = agreement(ward(seen, beds=beds, patients=beds), forecast, flow=flow)
    late = made.frame.filter(hours=168, place="ward").row(0, named=True)
    assert late["verdict"] == "differs"
    assert late["reasons"] == ["beds"]
    assert late["simulated"] <= beds
    assert late["unlimited"] == pytest.approx(transient(beds, 168), rel=0.03)
    assert late["beds"] == pytest.approx(late["simulated"] - late["unlimited"])
    assert made.differing().height == made.count("differs") > 0


def test_arrivals_are_the_reason_where_they_were_doubled_by_hand(seen, flow, forecast):
    made = agreement(ward(seen, per_day=2 * PER_DAY), forecast, flow=flow)
    late = made.frame.filter(hours=72, place="ward").row(0, named=True)
    assert late["verdict"] == "differs"
    assert late["reasons"] == ["arrivals"]
    assert late["come_forecast"] == pytest.approx(3 * PER_DAY)
    assert late["come_simulated"] == pytest.approx(6 * PER_DAY)
    assert late["arrivals"] == pytest.approx(
        PER_DAY / 24 * STAY * (1 - np.exp(-72 / STAY)), rel=0.01
    )
    assert abs(late["stays_here"]) + abs(late["beds"]) < 0.1 * late["difference"]


def test_lengths_of_stay_are_the_reason_where_they_were_halved_by_hand(seen, flow, forecast):
    made = agreement(ward(seen, stay=STAY / 2), forecast, flow=flow)
    late = made.frame.filter(hours=72, place="ward").row(0, named=True)
    assert late["verdict"] == "differs"
    assert set(late["reasons"]) == {"stays_here", "stays_to_come"}
    here = seen.present().height
    assert late["here_now"] == here
    assert late["here_forecast"] == pytest.approx(here * np.exp(-72 / STAY), rel=0.001)
    assert late["here_simulated"] == pytest.approx(here * np.exp(-144 / STAY), rel=0.05)


def test_what_the_forecast_says_beyond_its_parts_is_not_explained(seen, flow, forecast):
    """A forecast shifted by twenty patients: none of the swaps makes that difference."""
    shifted = replace(
        forecast,
        distribution=np.concatenate(
            [np.zeros((*forecast.distribution.shape[:2], 20)), forecast.distribution], axis=2
        ),
    )
    made = agreement(ward(seen), shifted, flow=flow)
    assert {tuple(one) for one in made.differing()["reasons"]} == {("other",)}
    assert made.frame["other"].to_numpy() == pytest.approx(-20.0, abs=0.05)


def test_reasons_go_the_way_of_the_difference_and_the_largest_comes_first():
    parts = {"arrivals": -3.0, "stays_here": 5.0, "stays_to_come": 1.0, "beds": 7.0, "other": 0.0}
    assert _reasons(10.0, parts) == ["beds", "stays_here"]
    assert _reasons(-10.0, {name: -value for name, value in parts.items()}) == [
        "beds",
        "stays_here",
    ]


def test_near_the_margin_more_replications_are_needed(seen, flow, forecast):
    """So many more patients at the start that the difference is the margin, about."""
    base = agreement(ward(seen), forecast, flow=flow).frame.filter(hours=12, place="ward")
    extra = round(float(base["margin"][0]) / np.exp(-12 / STAY))
    here = seen.present().height
    verdicts = [
        agreement(
            ward(seen, patients=here + extra + k), forecast, flow=flow, most_replications=100
        ).frame.filter(hours=12, place="ward")["verdict"][0]
        for k in (-4, 0, 4)
    ]
    assert verdicts[0] == "agrees"
    assert verdicts[2] == "differs"
    assert verdicts[1] in ("agrees", "undecided", "differs")


# a hospital that is learnt


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    from tests.hospitals import new_hospital

    seen = invented(70, per_day=30, seed=8)
    empty = new_hospital(tmp_path_factory.mktemp("empty"), zone="UTC").snapshot()
    return fit_hospital(empty, seen)


def test_a_hospital_without_beds_that_is_learnt_agrees(learnt):
    seen = learnt.sojourns
    flow = fit_flow(seen)
    made = agreement(
        learnt, forecast_flow(flow, seen, steps=168, rng=np.random.default_rng(1)), flow=flow
    )
    assert made.count("differs") == 0
    assert made.count("agrees") >= 0.9 * made.frame.height
    whole = made.frame.filter(place="all")
    assert set(whole["verdict"]) == {"agrees"}
    assert (whole["beds"] == 0).all()


def test_arrivals_that_are_learnt_are_those_of_the_forecast(learnt):
    """They came from a mean of eight weeks, whatever the day."""
    seen = learnt.sojourns
    flow = fit_flow(seen)
    ours = incoming_of(learnt.model, seen, 168).sum(axis=1).reshape(7, 24)
    theirs = expected_numbers(flow, seen, 168).incoming.sum(axis=1).reshape(7, 24)
    assert ours.sum(axis=1) == pytest.approx(theirs.sum(axis=1), rel=0.01)


# refusals


def test_a_forecast_of_another_time_or_of_other_data_is_refused(seen, flow, forecast):
    for other in (
        replace(forecast, issued=forecast.issued - timedelta(hours=1)),
        replace(forecast, identity="another@1/latest"),
    ):
        with pytest.raises(UsageError, match="of another time or of other data"):
            agreement(ward(seen), other, flow=flow)


def test_a_forecast_by_day_or_of_too_few_hours_is_refused(seen, flow, forecast):
    with pytest.raises(UsageError, match="by day"):
        agreement(ward(seen), replace(forecast, step_hours=24.0), flow=flow)
    short = forecast_flow(flow, seen, steps=6, rng=np.random.default_rng(1))
    with pytest.raises(UsageError, match="nothing to compare"):
        agreement(ward(seen), short, flow=flow)


def test_horizons_beyond_the_forecast_are_left_out(seen, flow):
    short = forecast_flow(flow, seen, steps=30, rng=np.random.default_rng(1))
    made = agreement(ward(seen), short, flow=flow)
    assert made.frame["hours"].unique().sort().to_list() == [12, 24]
    assert made.frame["time"].to_list()[:2] == [
        seen.now + timedelta(hours=12),
        seen.now + timedelta(hours=24),
    ]
    assert made.issued == seen.now == BEGIN + timedelta(days=DAYS)
    assert made.frame.filter(pl.col("verdict").is_null()).is_empty()
