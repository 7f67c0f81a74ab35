"""Laws of multi-state estimates, and agreement with plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property import reference_multistate as plain

from neva.statistics.multistate import (
    aalen_johansen,
    cumulative_incidence,
    nelson_aalen,
    transition_probabilities,
)
from neva.statistics.paths import draw_paths
from neva.statistics.transitions import Transitions

STATES = 4
NAMES = tuple("abcd")


@st.composite
def rows(draw, weighted=True, least=1):
    """Intervals in three states that are left and one that is not, with many ties."""

    def row():
        entry = draw(st.integers(0, 8))
        origin = draw(st.integers(0, 2))
        other = st.sampled_from([k for k in range(-1, STATES) if k != origin])
        return {
            "entry": float(entry),
            "exit": float(entry + draw(st.integers(1, 6))),
            "origin": origin,
            "target": draw(other),
            "weight": float(draw(st.integers(1, 3))) if weighted else 1.0,
        }

    return [row() for _ in range(draw(st.integers(least, 14)))]


def made(given_rows):
    columns = {key: [row[key] for row in given_rows] for key in given_rows[0]}
    weights = columns.pop("weight")
    return Transitions(**columns, state_names=NAMES, weights=weights)


@given(rows(), st.integers(0, 8))
def test_probabilities_are_products_of_matrices(data, start):
    asked = [start, start + 1, start + 3, 20]
    found = transition_probabilities(made(data), start=start, times=asked)
    for k, until in enumerate(asked):
        expected = plain.probabilities(data, STATES, start, until)
        np.testing.assert_allclose(found.probability[k], expected, atol=1e-12)
    np.testing.assert_allclose(found.probability.sum(axis=2), 1, atol=1e-12)


@given(rows())
def test_covariance_is_the_sum_of_what_chance_did_at_each_time(data):
    initial = [0.5, 0.25, 0.25, 0]
    found = aalen_johansen(made(data), initial=initial, times=[4, 20])
    for k, until in enumerate((4, 20)):
        expected = plain.occupation_covariance(data, STATES, initial, until)
        np.testing.assert_allclose(found.covariance[k], expected, atol=1e-12)
    # Probabilities sum to one: their errors sum to nothing.
    np.testing.assert_allclose(found.covariance.sum(axis=2), 0, atol=1e-12)


@given(rows())
def test_occupation_is_the_initial_distribution_times_the_matrix(data):
    initial = np.array([0.2, 0.3, 0.5, 0])
    seen = made(data)
    both = aalen_johansen(seen, initial=initial, covariance=False)
    matrix = transition_probabilities(seen)
    np.testing.assert_allclose(both.occupation, initial @ matrix.probability, atol=1e-12)
    spread = np.einsum("a,kajbl,b->kjl", initial, matrix.covariance, initial)
    again = aalen_johansen(seen, initial=initial)
    np.testing.assert_allclose(again.covariance, spread, atol=1e-12)


@given(rows())
def test_incidence_and_its_variance_agree_with_plain_sums(data):
    seen = made(data)
    if not seen.counts[0].any():
        return
    found = cumulative_incidence(seen)
    for k, name in enumerate(found.causes):
        target = NAMES.index(name)
        for i, time in enumerate(found.times):
            expected = plain.incidence(data, 0, target, time)
            assert found.incidence[i, k] == pytest.approx(expected, abs=1e-12)
            if found.remaining[i] > 0:
                assert found.variance[i, k] == pytest.approx(
                    plain.incidence_variance(data, 0, target, time), abs=1e-10
                )
    np.testing.assert_allclose(found.incidence.sum(axis=1) + found.remaining, 1, atol=1e-12)


@given(rows())
def test_hazards_are_sums_of_shares(data):
    found = nelson_aalen(made(data), times=[3, 20])
    for way, (h, j) in enumerate(zip(found.origin, found.target, strict=True)):
        for k, until in enumerate((3, 20)):
            shares = [
                plain.moved(data, h, j, time) / plain.at_risk(data, h, time)
                for time in plain.event_times(data)
                if time <= until and plain.moved(data, h, j, time)
            ]
            assert found.hazard[k, way] == pytest.approx(sum(shares), abs=1e-12)


def same(one, two):
    np.testing.assert_allclose(one.times, two.times)
    np.testing.assert_allclose(one.occupation, two.occupation, atol=1e-12)
    np.testing.assert_allclose(one.covariance, two.covariance, atol=1e-12)


@given(rows())
def test_a_weight_is_so_many_equal_rows(data):
    copies = [{**row, "weight": 1.0} for row in data for _ in range(int(row["weight"]))]
    initial = [1, 0, 0, 0]
    same(aalen_johansen(made(data), initial=initial), aalen_johansen(made(copies), initial=initial))
    if made(data).counts[0].any():
        one, two = cumulative_incidence(made(data)), cumulative_incidence(made(copies))
        np.testing.assert_allclose(one.variance, two.variance, atol=1e-12)


@given(rows(), st.floats(0.1, 0.9))
def test_an_interval_cut_in_two_is_still_one(data, share):
    cut = []
    for row in data:
        middle = row["entry"] + share * (row["exit"] - row["entry"])
        cut += [{**row, "exit": middle, "target": -1}, {**row, "entry": middle}]
    initial = [0, 1, 0, 0]
    same(aalen_johansen(made(data), initial=initial), aalen_johansen(made(cut), initial=initial))


@given(rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(data, random):
    mixed = list(data)
    random.shuffle(mixed)
    initial = [0, 0, 1, 0]
    same(aalen_johansen(made(data), initial=initial), aalen_johansen(made(mixed), initial=initial))


@given(rows(least=6), st.integers(0, 10**6))
def test_drawn_paths_are_chains_of_seen_transitions(data, seed):
    seen = made(data)
    rng = np.random.default_rng(seed)
    drawn = draw_paths(seen, initial=rng.integers(0, STATES, 30), until=15, rng=rng)
    moves = drawn.target >= 0
    possible = {(r["origin"], r["target"], r["exit"]) for r in data}
    taken = zip(drawn.state[moves], drawn.target[moves], drawn.exit[moves], strict=True)
    assert {(int(h), int(j), float(t)) for h, j, t in taken} <= possible
    assert drawn.cases == 30
    assert (drawn.entry <= drawn.exit).all()
    np.testing.assert_allclose(drawn.occupation([0, 3, 15]).sum(axis=1), 1)


def test_paths_occupy_states_as_estimated():
    """200,000 paths, 5 times by 4 states: all within 4.5 standard errors (false alarm 1e-4)."""
    rng = np.random.default_rng(20240401)
    n = 400
    entry = rng.integers(0, 20, n).astype(float)
    origin = rng.integers(0, 3, n)
    target = (origin + rng.integers(1, 4, n)) % 4
    target[rng.random(n) < 0.2] = -1
    seen = Transitions(entry, entry + rng.integers(1, 15, n), origin, target, NAMES)
    size = 200_000
    asked = np.array([2.0, 5, 10, 18, 30])
    expected = aalen_johansen(seen, initial=[1, 0, 0, 0], covariance=False, times=asked).occupation
    drawn = draw_paths(seen, initial=np.zeros(size, int), until=40, rng=rng)
    error = np.sqrt(expected * (1 - expected) / size)
    assert (np.abs(drawn.occupation(asked) - expected) <= 4.5 * error + 1e-12).all()
