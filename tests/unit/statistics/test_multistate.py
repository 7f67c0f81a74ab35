"""Multi-state estimates: cases small enough to be reckoned by hand, and what is refused."""

import numpy as np
import polars as pl
import pytest

from neva.census.length_of_stay import kaplan_meier
from neva.errors import UsageError
from neva.statistics._curves import log_log_limits
from neva.statistics.extra_stay import extra_stay
from neva.statistics.multistate import (
    aalen_johansen,
    cumulative_incidence,
    nelson_aalen,
    transition_probabilities,
)
from neva.statistics.paths import draw_paths
from neva.statistics.transitions import Transitions

WARDS = ("ward", "icu", "home")


@pytest.fixture
def four():
    """Four patients of a ward: to intensive care on day 2, home on 3 and 5, still there on 4.

    The one in intensive care goes back on day 4, and home on day 6.
    """
    return Transitions(
        entry=[0, 0, 0, 0, 2, 4], exit=[2, 3, 5, 4, 4, 6],
        origin=[0, 0, 0, 0, 1, 0], target=[1, 2, 2, -1, 0, 2], state_names=WARDS,
    )  # fmt: skip


def test_at_risk_are_those_who_entered_before_and_had_not_left(four):
    table = four.risk_table
    assert table.times.tolist() == [2, 3, 4, 5, 6]
    # On day 4 the censored one is still at risk; the one who comes back is not yet.
    assert table.at_risk[:, 0].tolist() == [4, 3, 2, 2, 1]
    assert table.at_risk[:, 1].tolist() == [0, 1, 1, 0, 0]


def test_occupation_by_hand(four):
    found = aalen_johansen(four, initial=[1, 0, 0])
    by_hand = [
        [3 / 4, 1 / 4, 0], [1 / 2, 1 / 4, 1 / 4], [3 / 4, 0, 1 / 4],
        [3 / 8, 0, 5 / 8], [0, 0, 1],
    ]  # fmt: skip
    np.testing.assert_allclose(found.occupation, by_hand, atol=1e-15)
    # The first step is a proportion of four, the second adds one of three.
    assert found.variance[0].tolist() == pytest.approx([3 / 64, 3 / 64, 0])
    second = (2 / 3) ** 2 * 3 / 64 + (3 / 4) ** 2 * (2 / 9) / 3
    assert found.variance[1, 0] == pytest.approx(second)
    assert found.covariance[0, 0, 1] == pytest.approx(-3 / 64)


def test_the_first_states_are_counted_and_their_chance_is_part_of_the_variance(four):
    found = aalen_johansen(four, start=2.5)
    assert found.initial.tolist() == [0.75, 0.25, 0]
    before = aalen_johansen(four, start=2.5, times=[2.5])
    assert before.variance[0].tolist() == pytest.approx([3 / 64, 3 / 64, 0])


def test_probabilities_from_a_later_start_forget_what_was_before(four):
    found = transition_probabilities(four, start=3, times=[4, 5])
    assert found.probability[0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert found.probability[1, 0].tolist() == [0.5, 0, 0.5]


def test_kept_times_are_a_choice_of_all_times(four):
    every = aalen_johansen(four, initial=[1, 0, 0])
    some = aalen_johansen(four, initial=[1, 0, 0], times=[0, 2.5, 4, 9])
    assert some.occupation.tolist() == every.at([0, 2.5, 4, 9]).tolist()
    np.testing.assert_allclose(some.variance[2], every.variance[2])


def test_expected_time_is_the_area_under_the_curve(four):
    found = aalen_johansen(four, initial=[1, 0, 0], covariance=False)
    by_hand = [2 + 0.75 + 0.5 + 0.75 + 0.375, 0.25 + 0.25, 0.25 + 0.25 + 0.625]
    assert found.expected_time(6).tolist() == pytest.approx(by_hand)
    assert found.expected_time(6).sum() == pytest.approx(6)
    assert found.expected_time(2.5).tolist() == pytest.approx([2.375, 0.125, 0])


def test_nelson_aalen_by_hand(four):
    found = nelson_aalen(four).to_frame().filter(origin="ward", target="home")
    assert found["hazard"].to_list() == pytest.approx(
        [0, 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 3 + 1 / 2 + 1]
    )
    assert found["variance"].to_list() == pytest.approx(
        [0, 1 / 9, 1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1]
    )


def test_ways_of_leaving_and_remaining_sum_to_one_and_kaplan_meier_says_too_much():
    rng = np.random.default_rng(5)
    time = rng.integers(1, 20, 60).astype(float)
    cause = rng.choice([-1, 1, 2], 60)
    seen = Transitions(np.zeros(60), time, np.zeros(60, int), cause, WARDS)
    found = cumulative_incidence(seen)
    np.testing.assert_allclose(found.incidence.sum(axis=1) + found.remaining, 1, atol=1e-14)
    for k, way in enumerate((1, 2)):
        times, survival = kaplan_meier(time, cause == way)
        naive = 1 - survival
        proper = found.at(times)[:, k]
        assert (naive >= proper - 1e-14).all()
        assert naive[-1] > proper[-1] + 0.01


def test_incidence_with_two_causes_is_the_occupation_of_their_states():
    seen = Transitions([0, 0, 0, 1], [2, 3, 4, 5], [0] * 4, [1, 2, -1, 1], WARDS)
    found, occupied = cumulative_incidence(seen), aalen_johansen(seen, initial=[1, 0, 0])
    np.testing.assert_allclose(found.incidence, occupied.at(found.times)[:, 1:], atol=1e-15)


def test_limits_of_zero_and_one_are_plain_and_others_hold_the_estimate():
    lower, upper = log_log_limits([0, 1, 0.3], [0, 0, 0.01])
    assert (lower[:2].tolist(), upper[:2].tolist()) == ([0, 1], [0, 1])
    assert 0 < lower[2] < 0.3 < upper[2] < 1


def test_nobody_at_risk_any_more_stays_for_ever():
    seen = Transitions([0, 0], [1, 2], [0, 0], [1, 1], WARDS)
    found = aalen_johansen(seen, initial=[1, 0, 0], times=[2, 100])
    assert found.occupation.tolist() == [[0, 1, 0]] * 2
    assert found.at_risk[1, 1] == 0


def test_no_transition_at_all_keeps_the_initial_distribution():
    seen = Transitions([0.0], [4.0], [0], [-1], WARDS)
    assert aalen_johansen(seen, times=[1, 9]).occupation.tolist() == [[1, 0, 0]] * 2
    assert aalen_johansen(seen).occupation.shape == (0, 3)
    with pytest.raises(UsageError, match="nobody left ward"):
        cumulative_incidence(seen)


def test_frames_lead_there_and_back(four):
    again = Transitions.from_frame(four.to_frame(), WARDS)
    assert again.to_frame().equals(four.to_frame())
    assert again.counts.tolist() == [[0, 1, 3], [1, 0, 0], [0, 0, 0]]
    assert aalen_johansen(four).to_frame().columns == [
        "time", "state", "probability", "at_risk", "lower", "upper",
    ]  # fmt: skip
    assert transition_probabilities(four).to_frame().height == 5 * 9
    assert cumulative_incidence(four).to_frame()["cause"].unique().sort().to_list() == [
        "home", "icu",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exit": [0.0, 3.0]}, "interval 0 of 2.*no length"),
        ({"exit": [float("nan"), 3.0]}, "not finite"),
        ({"origin": [0, 7]}, "name all states"),
        ({"target": [1, 0]}, "leads to where it was"),
        ({"target": [1]}, "target has shape"),
        ({"weights": [1.0, 0.0]}, "weight is not above 0"),
        ({"state_names": ("a", "a", "b")}, "repeat"),
    ],
)
def test_intervals_that_cannot_be_are_refused(changed, said):
    good = {
        "entry": [0.0, 0.0], "exit": [2.0, 3.0], "origin": [0, 0], "target": [1, 2],
        "state_names": WARDS,
    }  # fmt: skip
    with pytest.raises(UsageError, match=said):
        Transitions(**{**good, **changed})


def test_what_cannot_be_asked_is_refused(four):
    for initial in ([1, 0], [0.5, 0, 0], [-1, 1, 1]):
        with pytest.raises(UsageError, match="no distribution over 3 states"):
            aalen_johansen(four, initial=initial)
    with pytest.raises(UsageError, match="nobody is observed at the start"):
        aalen_johansen(four, start=50)
    with pytest.raises(UsageError, match="before the start"):
        aalen_johansen(four, start=3, times=[2])
    with pytest.raises(UsageError, match="not in order"):
        aalen_johansen(four, times=[3, 2])
    with pytest.raises(UsageError, match="not asked for"):
        _ = aalen_johansen(four, covariance=False).variance
    with pytest.raises(UsageError, match="above the limit"):
        transition_probabilities(four, times=np.linspace(0, 6, 2_000_000))
    with pytest.raises(UsageError, match="no such state"):
        cumulative_incidence(four, origin=3)
    with pytest.raises(UsageError, match="undone"):
        extra_stay(four)
    frame = pl.DataFrame({"entry": [0.0], "exit": [1.0], "origin": ["x"], "target": ["y"]})
    with pytest.raises(UsageError, match="the frame has others; found y"):
        Transitions.from_frame(frame, ["x"])


def test_paths_end_with_the_period_or_stay_where_nobody_leaves(four):
    drawn = draw_paths(four, initial=[0] * 50, until=4.5, rng=np.random.default_rng(3))
    frame = drawn.to_frame()
    last = frame.group_by("case").last()
    assert last["exit"].unique().to_list() == [4.5]
    assert last["target"].null_count() == 50
    joined = frame.with_columns(_next=pl.col("entry").shift(-1).over("case")).drop_nulls("_next")
    assert (joined["_next"] == joined["exit"]).all()
    # All who are in intensive care on day 4 go back to the ward then.
    assert drawn.occupation([4.2])[0, 1] == 0
    with pytest.raises(UsageError, match="not states of cases"):
        draw_paths(four, initial=[9], until=4, rng=np.random.default_rng(3))
    with pytest.raises(UsageError, match="not after the start"):
        draw_paths(four, initial=[0], until=0, rng=np.random.default_rng(3))


def test_the_same_seed_draws_the_same_paths(four):
    one, two = (
        draw_paths(four, initial=[0, 1] * 20, until=9, rng=np.random.default_rng(8)).to_frame()
        for _ in range(2)
    )
    assert one.equals(two)
