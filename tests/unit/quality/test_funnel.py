"""Funnel plots: published formulas term by term."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from tests.shared_data import shared

from neva.errors import UsageError
from neva.quality.comparison.funnel import (
    binomial_limits,
    funnel_proportions,
    funnel_ratios,
    over_dispersion,
    poisson_limits,
)


def ratios(observed, expected):
    names = [f"U{k:02}" for k in range(len(observed))]
    return pl.DataFrame({"unit": names, "observed": observed, "expected": expected})


def proportions(numerator, denominator):
    names = [f"U{k:02}" for k in range(len(numerator))]
    return pl.DataFrame({"unit": names, "numerator": numerator, "denominator": denominator})


@pytest.fixture
def dispersed():
    """Thirty units of which true ratios vary by a tenth and more."""
    rng = np.random.default_rng(12)
    expected = rng.uniform(20, 300, 30)
    return ratios(rng.poisson(expected * np.exp(rng.normal(0, 0.2, 30))), expected)


def test_exact_ratio_limits_lie_between_the_counts_on_both_sides_of_the_tail():
    expected = np.array([0.01, 0.3, 1, 10, 250])
    for tail in (0.001, 0.025):
        low, high = poisson_limits(expected, tail)
        for e, below, above in zip(expected, low * expected, high * expected, strict=True):
            # Slowly: the counts that are too few, and those that are too many.
            few = [k for k in range(800) if stats.poisson.cdf(k, e) < tail]
            many = [k for k in range(800) if stats.poisson.sf(k - 1, e) < tail]
            assert all(k < below or below == 0 for k in few)
            assert below <= len(few)
            assert all(k > above for k in many)
            assert above >= many[0] - 1


def test_a_small_unit_without_deaths_is_no_outlier_by_a_confidence_limit():
    """The tails of a Poisson count when the expectation is true."""
    units = pl.read_csv(shared("cases", "funnel-ratio-few-expected", "units.csv"))
    assert dict(funnel_ratios(units).frame.select("unit", "flag").rows()) == {
        "A": "low-95", "B": "low-95", "C": "low-998", "D": "high-95", "E": "high-998", "F": "in",
    }  # fmt: skip


@pytest.mark.parametrize("reference", [0.02, 0.3])
def test_exact_flags_are_the_tails_of_the_counts(reference):
    """Every count of every small unit, of proportions and of ratios."""
    pairs = [(k, n) for n in (1, 2, 7, 40) for k in range(n + 1)]
    k, n = (np.array(one) for one in zip(*pairs, strict=True))

    def flags(below, above):
        return [
            "low-998" if b < 0.001 else "high-998" if a < 0.001
            else "low-95" if b < 0.025 else "high-95" if a < 0.025 else "in"
            for b, a in zip(below, above, strict=True)
        ]  # fmt: skip

    found = funnel_proportions(proportions(k, n), reference=reference)
    assert found.frame["flag"].to_list() == flags(
        stats.binom.cdf(k, n, reference), stats.binom.sf(k - 1, n, reference)
    )
    found = funnel_ratios(ratios(k, n * reference))
    assert found.frame["flag"].to_list() == flags(
        stats.poisson.cdf(k, n * reference), stats.poisson.sf(k - 1, n * reference)
    )


@pytest.mark.parametrize("n", [5, 40, 333])
@pytest.mark.parametrize("reference", [0.02, 0.3, 0.9])
def test_beyond_either_exact_limit_lies_less_than_the_tail_and_one_count_more_would_be_too_much(
    n, reference
):
    (low,), (high,) = binomial_limits([n], reference, 0.025)
    counts = np.arange(n + 1)
    mass = stats.binom.pmf(counts, n, reference)
    below, above = mass[counts / n < low - 1e-12].sum(), mass[counts / n > high + 1e-12].sum()
    assert below <= 0.025 + 1e-12
    assert above <= 0.025 + 1e-12
    assert below + mass[round(np.ceil(low * n - 1e-9))] >= 0.025 or low == 0
    assert above + mass[round(np.floor(high * n + 1e-9))] >= 0.025 or high == 1


def test_one_event_in_one_case_is_outside_of_nothing():
    small = pl.DataFrame({"unit": list("abc"), "numerator": [1, 2, 3], "denominator": [1, 2, 3]})
    flags = funnel_proportions(small, reference=0.8).frame["flag"].to_list()
    assert flags == ["in", "in", "in"]


def test_a_proportion_of_none_or_all_has_limits():
    low, high = binomial_limits([10], 0.0, 0.025)
    assert (low[0], high[0]) == (0, 0)
    low, high = binomial_limits([10], 1.0, 0.025)
    assert (low[0], high[0]) == (1, 1)


def test_the_log_method_is_that_of_the_shmi(dispersed):
    """Written out: truncation at the 10 % and 90 % quantiles of z, then tau squared."""
    found = funnel_ratios(dispersed, method="log")
    o, e = dispersed["observed"].to_numpy(), dispersed["expected"].to_numpy()
    z = np.sqrt(e) * np.log(o / e)
    low, high = np.quantile(z, [0.1, 0.9])
    kept = (z >= low) & (z <= high)
    phi = np.mean(z[kept] ** 2)
    w, n = e[kept], kept.sum()
    tau2 = (n * phi - (n - 1)) / (w.sum() - (w**2).sum() / w.sum())
    assert found.phi == pytest.approx(phi)
    assert found.tau2 == pytest.approx(tau2)
    assert tau2 > 0
    assert found.frame["z"].to_list() == pytest.approx(z.tolist())
    assert found.frame["upper_998"].to_list() == pytest.approx(
        np.exp(3.090232 * np.sqrt(1 / e + tau2)).tolist(), rel=1e-6
    )


def test_the_square_root_method_is_that_of_the_cqc(dispersed):
    found = funnel_ratios(dispersed, method="square-root")
    o, e = dispersed["observed"].to_numpy(), dispersed["expected"].to_numpy()
    z = (np.sqrt(o / e) - 1) * 2 * np.sqrt(e)
    clipped = np.clip(z, *np.quantile(z, [0.1, 0.9]))
    phi, w, n = np.mean(clipped**2), 4 * e, len(e)
    tau2 = (n * phi - (n - 1)) / (w.sum() - (w**2).sum() / w.sum())
    assert (found.phi, found.tau2) == pytest.approx((phi, tau2))
    assert found.frame["lower_95"].to_list() == pytest.approx(
        ((1 - 1.959964 * np.sqrt(1 / (4 * e) + tau2)) ** 2).tolist(), rel=1e-6
    )


def test_the_arcsine_method_is_written_out():
    rng = np.random.default_rng(5)
    n = rng.integers(30, 400, 25)
    x = rng.binomial(n, rng.beta(20, 60, 25))
    found = funnel_proportions(proportions(x, n), method="arcsine")
    p0 = x.sum() / n.sum()
    z = (np.arcsin(np.sqrt(x / n)) - np.arcsin(np.sqrt(p0))) * 2 * np.sqrt(n)
    clipped = np.clip(z, *np.quantile(z, [0.1, 0.9]))
    w = 4.0 * n
    phi = np.mean(clipped**2)
    tau2 = max(0, (25 * phi - 24) / (w.sum() - (w**2).sum() / w.sum()))
    assert (found.reference, found.phi, found.tau2) == pytest.approx((p0, phi, tau2))
    assert tau2 > 0
    expected = np.sin(np.arcsin(np.sqrt(p0)) + 3.090232 * np.sqrt(1 / (4 * n) + tau2)) ** 2
    assert found.frame["upper_998"].to_list() == pytest.approx(expected.tolist(), rel=1e-6)


def test_units_that_differ_less_than_chance_get_no_over_dispersion():
    even = ratios([100] * 12, [100.0] * 12)
    for method in ("log", "square-root"):
        found = funnel_ratios(even, method=method)
        assert found.tau2 == 0
        assert found.phi < 1
        assert found.outside.height == 0


def test_over_dispersion_counts_the_units_that_were_kept():
    assert over_dispersion([], [], trim="truncate") == (1.0, 0.0)
    assert over_dispersion([5.0], [0.1], trim="winsorise")[1] == 0
    phi, tau2 = over_dispersion([-9] + [-2, 2] * 4 + [9], [0.5] * 10, trim="truncate")
    assert phi == 4
    assert tau2 == pytest.approx((8 * 4 - 7) / (8 * 4 - 4))


def test_no_deaths_have_no_logarithm_and_are_counted():
    found = funnel_ratios(ratios([0, 9, 12, 10], [8.0, 10.0, 10.0, 10.0]), method="log")
    assert found.left_out == 1
    assert found.frame["z"][0] is None
    assert found.frame["flag"][0] == "low-998"


def test_units_without_cases_are_shown_as_without_data():
    found = funnel_proportions(proportions([0, 5], [0, 10]))
    assert found.frame["flag"].to_list() == ["no-data", "in"]
    assert found.frame["value"][0] is None
    assert funnel_ratios(ratios([0], [0.0])).frame["flag"].to_list() == ["no-data"]
    assert funnel_proportions(proportions([], []).cast({"numerator": pl.Int64})).curve.height > 0


def test_on_a_limit_is_inside():
    # Poisson(10): P(X <= 4) = 0.029, P(X <= 3) = 0.010, P(X >= 17) = 0.027, P(X >= 18) = 0.014.
    flags = funnel_ratios(ratios([10, 17, 18, 4, 3], [10.0] * 5)).frame["flag"].to_list()
    assert flags == ["in", "in", "high-95", "in", "low-95"]


def test_about_one_unit_in_500_of_a_common_process_is_outside():
    """20,000 units; the count outside is within 3.9 standard deviations of the exact sum."""
    rng = np.random.default_rng(6)
    expected = rng.uniform(15, 200, 20_000)
    found = funnel_ratios(ratios(rng.poisson(expected), expected))
    low, high = poisson_limits(expected, 0.001)
    exact = stats.poisson.cdf(np.ceil(low * expected) - 1, expected) + stats.poisson.sf(
        np.floor(high * expected), expected
    )
    assert exact.mean() == pytest.approx(0.002, abs=0.0005)
    assert abs(found.outside.height - exact.sum()) < 3.9 * np.sqrt(exact.sum())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: funnel_proportions(proportions([3], [2])),
        lambda: funnel_proportions(proportions([-1], [2])),
        lambda: funnel_proportions(proportions([1, None], [2, 2])),
        lambda: funnel_proportions(proportions([1], [2]), reference=20),
        lambda: funnel_ratios(ratios([1], [0.0])),
        lambda: funnel_ratios(ratios([1.5], [1.0])),
        lambda: funnel_ratios(pl.concat([ratios([1], [1.0])] * 2)),
    ],
)
def test_impossible_units_are_refused(wrong):
    with pytest.raises(UsageError):
        wrong()
