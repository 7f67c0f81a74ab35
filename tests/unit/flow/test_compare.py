"""Scenarios beside each other, and Erlang's formula, against slow ways."""

import csv
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp
from tests.flow_models import START, five_units, one_ward
from tests.shared_data import shared

from neva.errors import UsageError
from neva.flow.simulation.compare import (
    BASE,
    beds_for_service,
    compare,
    erlang_loss,
    highest_occupancy,
    refusal_by_beds,
    refusal_by_pool,
)
from neva.flow.simulation.hospital_model import Beds, Unit
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulated_log import event_log
from neva.flow.stays.stay_length import StayLength

SETTINGS = {"start": START, "days": 30, "seed": 4, "replications": 12, "warm_up_days": 5}


@pytest.fixture(scope="module")
def compared():
    model = five_units()
    more = model.with_unit("icu", beds=model.unit("icu").beds.plus(2))
    return compare({BASE: model, "same": five_units(), "more": more}, **SETTINGS)


# paired differences


def test_the_same_scenario_differs_by_exactly_nothing(compared):
    same = compared.frame.filter(scenario="same")
    assert same["difference"].to_list() == [0.0] * same.height
    assert same["difference_lower"].to_list() == [0.0] * same.height
    assert not same["differs"].any()
    base = compared.frame.filter(scenario=BASE)
    assert base["difference"].null_count() == base.height
    for column in ("unit", "figure", "mean", "lower", "upper"):
        assert same[column].equals(base[column])


def test_intervals_are_those_of_t(compared):
    base, more = (compared.runs[name].by_replicate for name in (BASE, "more"))
    checked = 0
    for row in compared.frame.filter(scenario="more").iter_rows(named=True):
        mine, other = (
            each.filter(pl.col("unit").eq_missing(row["unit"]), figure=row["figure"])[
                "value"
            ].to_numpy()
            for each in (more, base)
        )
        for values, low, high in (
            (mine, row["lower"], row["upper"]),
            (mine - other, row["difference_lower"], row["difference_upper"]),
        ):
            if np.isnan(values).any() or np.ptp(values) == 0:
                continue
            expected = ttest_1samp(values, 0).confidence_interval(0.95)
            assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
            checked += 1
        excluded = not row["difference_lower"] <= 0 <= row["difference_upper"]
        assert row["differs"] == excluded
    assert checked > 40


def test_pairs_are_sharper_than_runs_of_their_own(compared):
    """The patients are the same: what is left of the difference is the scenario's."""
    values = {name: compared.runs[name].values("occupied_beds", "icu") for name in (BASE, "more")}
    row = compared.frame.filter(scenario="more", unit="icu", figure="occupied_beds").row(
        0, named=True
    )
    paired = row["difference_upper"] - row["difference_lower"]
    variances = sum(np.var(each, ddof=1) / each.size for each in values.values())
    assert paired < 0.6 * 2 * t.ppf(0.975, 22) * np.sqrt(variances)


def test_figures_stand_by_scenario_the_hospital_first(compared):
    assert compared.to_frame()["scenario"].unique(maintain_order=True).to_list() == [
        BASE, "same", "more",
    ]  # fmt: skip
    assert compared.frame["unit"][0] is None
    assert compared.frame.filter(figure="stay_hours")["unit"].null_count() == 3
    assert not compared.frame["meaning"].is_null().any()


def test_progress_counts_the_replications_of_all_scenarios():
    seen = []
    model = one_ward(5, 0.1, StayLength.exponential(24))
    compare(
        {"a": model, "b": model}, start=START, days=2, seed=1, replications=3, progress=seen.append
    )
    assert seen == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_compared_is_refused():
    model = {BASE: five_units()}
    with pytest.raises(UsageError, match="found happiness; give occupied_beds"):
        compare(model, start=START, days=1, seed=1, figures=["happiness"])
    with pytest.raises(UsageError, match=r"replications: .* found 1"):
        compare(model, start=START, days=1, seed=1, replications=1)


# beds for a level of service


@pytest.fixture(scope="module", params=["wait", "refuse", "divert"])
def ward(request):
    """A ward of mean load 4; where it diverts, the second one may be full too."""
    model = one_ward(4, 1 / 6, StayLength.exponential(24))
    if request.param != "divert":
        return model.with_unit("ward", when_full=request.param)
    other = Unit("other", Beds.always(2))
    onward = replace(model.routes[0], unit="other")
    model = replace(model, units=(*model.units, other), routes=(*model.routes, onward))
    return model.with_unit("ward", when_full="divert", divert=("other",))


SEARCH = {"start": START, "days": 40, "seed": 2, "replications": 10, "warm_up_days": 5}


def served(model, beds):
    """Share of requests served at once, from the log of every run."""
    changed = model.with_unit("ward", beds=Beds.always(beds))
    run = simulate(changed, log=True, **SEARCH)
    counted = START + timedelta(days=SEARCH["warm_up_days"])
    shares = []
    for number in range(run.replications):
        rows = event_log(run, number).rows.filter(pl.col("time") >= counted)
        asked = rows.filter(kind="arrives", target="ward").select("case", "time")
        at_once = rows.filter(kind="starts", target="ward").select("case", "time")
        shares.append(asked.join(at_once, on=["case", "time"]).height / asked.height)
    half = t.ppf(0.975, len(shares) - 1) * np.std(shares, ddof=1) / np.sqrt(len(shares))
    return np.mean(shares), np.mean(shares) - half


def test_the_search_finds_what_trying_one_after_the_other_finds(ward):
    found = beds_for_service(ward, "ward", target=0.9, **SEARCH)
    by_beds = {beds: served(ward, beds) for beds in range(1, 14)}
    assert found.beds == min(beds for beds, (_, low) in by_beds.items() if low >= 0.9)
    for beds, share, low, *_ in found.tried.iter_rows():
        if beds in by_beds:
            assert (share, low) == pytest.approx(by_beds[beds])
    assert found.tried["served"].is_sorted()
    assert found.tried["beds"].is_sorted()


def test_a_higher_service_needs_no_fewer_beds(ward):
    beds = [
        beds_for_service(ward, "ward", target=target, **SEARCH).beds for target in (0.5, 0.8, 0.95)
    ]
    assert beds == sorted(beds)


def test_a_service_that_no_number_of_beds_gives():
    model = one_ward(4, 1.0, StayLength.exponential(24))
    found = beds_for_service(model, "ward", target=0.9, most=6, **SEARCH)
    assert found.beds is None
    assert not found.tried["enough"].any()
    assert found.tried["beds"].max() == 6


def test_a_search_without_sense_is_refused(ward):
    for settings, said in (
        ({"target": 1.0}, "target: must lie between 0 and 1"),
        ({"replications": 1}, "replications: too few"),
    ):
        with pytest.raises(UsageError, match=said):
            beds_for_service(ward, "ward", **{**SEARCH, **settings})
    with pytest.raises(UsageError, match="no such unit"):
        beds_for_service(ward, "attic", **SEARCH)


# Erlang


def slow_loss(beds, load):
    terms = [load**k / math.factorial(k) for k in range(beds + 1)]
    return terms[-1] / math.fsum(terms)


@given(st.integers(0, 60), st.floats(0.0, 60.0))
def test_the_loss_formula_is_its_sum(beds, load):
    assert erlang_loss(beds, load) == pytest.approx(slow_loss(beds, load), rel=1e-9, abs=1e-300)


def test_pools_are_those_of_the_table_of_facts():
    rows = list(csv.DictReader(shared("facts", "erlang_bed_pools.csv").read_text().splitlines()))
    assert len(rows) == 8
    for row in rows:
        beds = int(row["beds"])
        # The beds are 85 % occupied by those who found one: more than that is offered.
        lost = float(row["p_all_beds_full_at_85pct_occupancy_erlang_loss"])
        assert refusal_by_pool([beds], [0.85])["refused"][0] == pytest.approx(lost, abs=6e-5)
        highest = float(row["max_mean_occupancy_for_1pct_blocking"])
        assert highest_occupancy(beds) == pytest.approx(highest, abs=6e-4)


def test_a_pool_has_the_occupancy_asked_for():
    for beds, occupancy, refused, load in refusal_by_pool((6, 50), (0.75, 0.95)).iter_rows():
        assert load * (1 - slow_loss(beds, load)) / beds == pytest.approx(occupancy)
        assert refused == pytest.approx(slow_loss(beds, load))


def test_the_highest_occupancy_refuses_exactly_so_many():
    for beds in (1, 10, 80):
        occupancy = highest_occupancy(beds, 0.05)
        load = occupancy * beds / 0.95
        assert slow_loss(beds, load) == pytest.approx(0.05)


def test_more_beds_refuse_fewer():
    found = refusal_by_beds(8.5, range(21))
    assert found["refused"].is_sorted(descending=True)
    assert found["refused"][0] == 1.0
    assert found["occupancy"][1:].is_sorted(descending=True)
    for beds, refused, occupancy in found.iter_rows():
        assert occupancy * max(beds, 1) == pytest.approx(8.5 * (1 - refused))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: erlang_loss(-1, 5.0),
        lambda: erlang_loss(5, -1.0),
        lambda: erlang_loss(5, math.nan),
        lambda: highest_occupancy(0),
        lambda: highest_occupancy(10, 1.0),
        lambda: highest_occupancy(10, 0.0),
        lambda: refusal_by_pool([10], [1.0]),
    ],
)
def test_pools_that_cannot_be_are_refused(ask):
    with pytest.raises(UsageError, match="no such pool; found"):
        ask()
