"""Control charts against the plain reading of their rules, and laws they keep."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.property import reference_spc as reference

from neva.quality.charts.control_charts import count_chart, g_chart
from neva.quality.charts.run_charts import run_chart
from neva.quality.charts.run_length import _first_signals, false_alarm_share, in_control_run_length
from neva.quality.charts.spc import Limits, special_causes, xmr

# Steps of a few sizes make runs, trends and near points much more often than
# independent draws would.
walks = st.lists(st.integers(-3, 3), min_size=1, max_size=40).map(
    lambda steps: np.cumsum(steps).tolist()
)
noise = st.lists(st.integers(-20, 20), min_size=1, max_size=40)
series = st.one_of(walks, noise, st.lists(st.integers(0, 3), min_size=1, max_size=40))
with_gaps = st.one_of(
    series, st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=1, max_size=40)
)
LINES = ["centre", "near_lower", "near_upper", "lower", "upper"]


def found(chart):
    return list(zip(chart.frame["signal"], chart.frame["side"], strict=True))


@given(with_gaps, st.one_of(st.none(), st.integers(2, 15)), st.booleans())
@example([0, 0, 0, 0, 100, 0], None, True)
def test_xmr_is_the_plain_reading_of_the_rules(values, baseline, screen):
    chart = xmr(values, baseline=baseline, screen=screen)
    lines = reference.lines(values, baseline, screen)
    if lines is None:
        assert chart.frame["upper"].null_count() == len(values)
        assert not {"outside", "two-of-three"} & set(chart.frame["signal"])
        return
    if math.isclose(lines[-1], lines[-2], abs_tol=1e-9):
        # Limits of no width are none; runs on one side of the centre still count.
        assert chart.frame["upper"].null_count() == len(values)
        assert not {"outside", "two-of-three"} & set(chart.frame["signal"])
        return
    assert chart.frame.select(LINES).row(0) == pytest.approx(lines, abs=1e-9)
    # The same lines, so that rounding cannot decide a tie.
    exact = chart.frame.select(LINES).row(0)
    assert found(chart) == reference.special_causes(values, exact)


@given(st.data())
def test_rules_hold_for_limits_that_vary(data):
    """Points are placed around their own limits, on the lines too."""
    n = data.draw(st.integers(1, 30))
    places = data.draw(
        st.lists(
            st.sampled_from([-4, -3, -2.5, -2, -1, 0, 1, 2, 2.5, 3, 4]), min_size=n, max_size=n
        )
    )
    width = np.array(data.draw(st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=n, max_size=n)))
    values = np.array(places) * width
    limits = Limits(0 * width, -2 * width, 2 * width, -3 * width, 3 * width)
    signals, sides = special_causes(values, limits)
    # Measured in their own width, the limits are the same for all points …
    expected = reference.special_causes(places, (0, -2, 2, -3, 3))
    for at, (signal, side) in enumerate(expected):
        # … except for trends, which are of the values themselves.
        if signals[at] != "trend" and signal != "trend":
            assert (signals[at], sides[at]) == (signal, side)


@given(with_gaps, st.integers(-1000, 1000), st.sampled_from([0.25, 1, 2, 8]))
def test_shifting_and_scaling_move_nothing_but_the_lines(values, shift, scale):
    """Powers of two and whole numbers, so that arithmetic is exact but for the mean."""
    moved = [None if v is None else scale * v + shift for v in values]
    one, other = xmr(values), xmr(moved)
    if one.frame["centre"][0] is None:
        return
    lines = one.frame.select(LINES).row(0)
    # A point within rounding of a line may fall on either side of it.
    near = [abs(v - x) for v in values if v is not None for x in lines if x is not None]
    if all(d == 0 or d > 1e-6 for d in near):
        assert [s for s, _ in found(one)] == [s for s, _ in found(other)]


@given(with_gaps)
def test_turning_the_series_upside_down_turns_the_sides(values):
    turned = xmr([None if v is None else -v for v in values], direction="lower")
    chart = xmr(values, direction="higher")
    assert [(s, -side) for s, side in found(turned)] == found(chart)
    assert turned.frame["point"].to_list() == chart.frame["point"].to_list()


@given(with_gaps, with_gaps)
def test_a_rebased_chart_is_its_two_parts_side_by_side(first, second):
    whole = xmr(first + second, rebase_at=[len(first) + 1])
    parts = [xmr(first), xmr(second)]
    for name in [*LINES, "signal", "side", "point"]:
        both = [value for part in parts for value in part.frame[name]]
        assert whole.frame[name].to_list() == pytest.approx(both)
    ends_in_second = parts[1].frame["value"].is_not_null().any()
    assert whole.variation == parts[1 if ends_in_second else 0].variation


@given(with_gaps)
def test_a_gap_separates_as_two_groups_with_the_same_lines_would(values):
    """No rule reaches across a gap, and a trailing gap changes nothing before it."""
    chart = xmr(values)
    longer = xmr([*values, None])
    assert longer.frame["signal"].to_list() == [*chart.frame["signal"], "none"]
    assert longer.variation == chart.variation
    assert "last-period-is-a-gap" in longer.warnings


counts = st.lists(
    st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=24,
)


@given(counts, st.sampled_from(["p", "p-prime", "u", "u-prime"]))
def test_limits_of_counts_are_ordered_and_possible(pairs, kind):
    events, sizes = zip(*pairs, strict=True)
    chart = count_chart(events, sizes, kind=kind)
    for row in chart.frame.iter_rows(named=True):
        if row["denominator"] == 0:
            assert (row["value"], row["point"]) == (None, "gap")
        if row["upper"] is not None:
            ordered = [row[n] for n in ("lower", "near_lower", "centre", "near_upper", "upper")]
            assert ordered == sorted(ordered)
            assert ordered[0] >= 0
            assert kind.startswith("u") or ordered[-1] <= 1


@given(counts)
def test_laneys_charts_are_the_plain_ones_stretched_by_what_other_periods_vary(pairs):
    """Sigma z slowly: for each period the ranges that do not touch it, at least 1."""
    events, sizes = np.array(pairs).T
    plain, prime = (count_chart(events, sizes, kind=kind).frame for kind in ("u", "u-prime"))
    sigma = [None if a is None else (a - c) / 3 for a, c in plain.select("upper", "centre").rows()]
    z = [
        None if v is None else ((v - c) / s if s else 0.0)
        for v, c, s in zip(plain["value"], plain["centre"], sigma, strict=True)
    ]
    for at, (upper, centre) in enumerate(prime.select("upper", "centre").rows()):
        if upper is None:
            continue
        ranges = [
            abs(z[k + 1] - z[k])
            for k in range(len(z) - 1)
            if z[k] is not None and z[k + 1] is not None and at not in (k, k + 1)
        ]
        sigma_z = max(sum(ranges) / len(ranges) / 1.128 if ranges else 0.0, 1.0)
        assert upper - centre == pytest.approx(3 * sigma[at] * sigma_z, rel=1e-3)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=40))
def test_the_g_charts_limits_are_quantiles_of_a_geometric_distribution(values):
    chart = g_chart(values)
    if not any(values):
        return
    mean = np.mean(values)
    without = mean / (1 + mean)
    row = chart.frame.row(0, named=True)
    assert without ** (row["upper"] + 1) == pytest.approx(0.0013498980, rel=1e-6)
    if row["centre"] > 0:
        assert without ** (row["centre"] + 1) == pytest.approx(0.5)


@given(with_gaps)
def test_runs_around_the_median_are_counted_by_hand(values):
    chart = run_chart(values)
    known = [v for v in values if v is not None]
    middle = float(np.median(known)) if known else None
    word = "".join("a" if v > middle else "b" for v in known if v != middle)
    assert chart.useful == len(word)
    assert chart.crossings == word.count("ab") + word.count("ba")
    longest = max(
        (k for k in range(len(word) + 1) if "a" * k in word or "b" * k in word), default=0
    )
    assert chart.longest_run == longest
    # Mirrored in time or value nothing changes.
    assert run_chart(values[::-1]).signal == chart.signal


@given(st.integers(0, 2**32 - 1))
def test_the_first_signal_of_the_kernel_is_the_first_of_the_rules(seed):
    """A series ends at the first point that completes a rule on the points so far."""
    draws = np.random.default_rng(seed).normal(0.3, 1.1, 4_000)  # three signals at least
    lengths = np.zeros(3)
    assert _first_signals(draws, 3.0, 2.0, 7, lengths, 0, np.zeros(6)) == 3
    start = 0
    for length in lengths.astype(int):
        for points in range(1, 4_000):
            seen = draws[start : start + points].tolist()
            if any(s != "none" for s, _ in reference.special_causes(seen, (0, -2, 2, -3, 3))):
                break
        assert length == points
        start += length


def test_the_run_length_of_one_rule_alone_is_that_of_a_geometric_distribution():
    """Runs switched off and near limit at the limit; |z| < 3.9 fails once in 10,000."""
    draws = np.random.default_rng(8).normal(size=4_000_000)
    lengths = np.zeros(8000)
    assert _first_signals(draws, 3.0, 3.0, 10**6, lengths, 0, np.zeros(6)) == 8000
    truth = 1 / 0.0026997960632602
    assert abs(lengths.mean() - truth) < 3.9 * truth / np.sqrt(8000)


def test_published_false_alarm_figures_of_the_page_can_be_made_again():
    """docs/quality-charts.md states 86 points and 19 % of charts of 24."""
    known = in_control_run_length(rng=np.random.default_rng(1), replications=50_000)
    assert abs(known.mean - 86.1) < 4 * known.standard_error
    assert known.to_frame()["mean"].to_list() == [known.mean]
    share, error = false_alarm_share(24, rng=np.random.default_rng(2), replications=1000)
    assert abs(share - 0.187) < 4 * error
