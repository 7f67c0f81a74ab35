"""XmR charts: the rules and their precedence in tables that can be read."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from neva.errors import UsageError
from neva.quality.charts.control_charts import count_chart, g_chart, measure_chart, t_chart
from neva.quality.charts.icons import VARIATION_ICONS, assurance_icon, variation_icon
from neva.quality.charts.run_charts import run_chart
from neva.quality.charts.spc import Limits, special_causes, xmr

LETTERS = {"outside": "o", "trend": "t", "two-of-three": "n", "shift": "s", "none": "."}


def letters(values):
    """Signals on centre 0, near limits ±2, limits ±3: small letter low, capital high."""
    n = len(values)
    limits = Limits(*(np.full(n, line) for line in (0.0, -2.0, 2.0, -3.0, 3.0)))
    signals, sides = special_causes(values, limits)
    return "".join(
        LETTERS[s].upper() if side > 0 else LETTERS[s]
        for s, side in zip(signals, sides, strict=True)
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # outside is strict
        ([3, -3, 3.1, -3.1], "..Oo"),
        # seven rising points, all of them; six are not enough
        ([-1.5, -1, -0.5, 0, 0.5, 1, 1.5], "TTTTTTT"),
        ([-1.5, -1, -0.5, 0, 0.5, 1], "......"),
        # equal neighbours break a trend
        ([-1.5, -1, -0.5, -0.5, 0.5, 1, 1.5], "......."),
        # falling
        ([1.5, 1, 0.5, 0, -0.5, -1, -1.5], "ttttttt"),
        # seven on one side; one on the centre breaks it
        ([1, 0.5, 1, 0.5, 1, 0.5, 1], "SSSSSSS"),
        ([1, 0.5, 1, 0, 1, 0.5, 1], "......."),
        ([1, 0.5, 1, 0.5, 1, 0.5, -1], "......."),
        # two of three beyond the near limit, only those two
        ([2.5, 1, 2.5, -1], "N.N."),
        ([2.5, 2.5, 1], "NN."),
        ([1, 2.5, 2.5], ".NN"),
        # the third must be on the same side
        ([2.5, -1, 2.5], "..."),
        ([2.5, 0, 2.5], "..."),
        ([2.5, 2.5], ".."),
        # on the near limit is not beyond it
        ([2, 2.5, 2], "..."),
        # on the limit is near, beyond it is outside and no longer near
        ([3, 1, 3], "N.N"),
        ([3.1, 1, 2.5], "O.."),
        ([3.1, 2.5, 2.5], "ONN"),
        # outside before trend: the last point of a rise
        ([-1.5, -1, -0.5, 0, 0.5, 1, 3.5], "TTTTTTO"),
        # trend before two of three
        ([0.5, 1, 1.5, 1.8, 2.2, 2.5, 2.8], "TTTTTTT"),
        # two of three before shift
        ([1, 0.5, 2.5, 2.5, 1, 0.5, 1], "SSNNSSS"),
        # a rise through the centre, then one side: trend before shift
        ([-1.5, -1, -0.5, 0.1, 0.5, 1, 1.5, 1, 0.5, 1], "TTTTTTTSSS"),
        # the peak of a rise and a fall belongs to the later trend
        ([-3, -2, -1, 0, 1, 2, 3, 2, 1, 0, -1, -2, -3], "TTTTTTttttttt"),
        # a gap breaks every rule
        ([1, 0.5, 1, None, 0.5, 1, 0.5, 1], "........"),
        ([2.5, None, 2.5, 1], "...."),
    ],
)
def test_rules_and_their_precedence(values, expected):
    assert letters([np.nan if v is None else v for v in values]) == expected


def test_centre_and_limits_of_a_small_table_computed_by_hand():
    """Mean 5.2; moving ranges 2, 1, 3, 2 with mean 2; half width 5.32, near 3.5467."""
    row = xmr([5, 7, 6, 3, 5], screen=False).frame.row(0, named=True)
    assert row["centre"] == pytest.approx(5.2)
    assert (row["lower"], row["upper"]) == pytest.approx((5.2 - 5.32, 5.2 + 5.32))
    assert (row["near_lower"], row["near_upper"]) == pytest.approx(
        (5.2 - 5.32 / 1.5, 5.2 + 5.32 / 1.5)
    )


def test_one_jump_does_not_widen_the_limits():
    """Ranges 1 nine times and 19 twice: both 19 are above 3.267 * 4.27 and are dropped."""
    values = [10, 11, 10, 11, 10, 30, 11, 10, 11, 10, 11, 10]
    assert xmr(values).frame["upper"][0] == pytest.approx(np.mean(values) + 2.66)
    unscreened = xmr(values, screen=False).frame["upper"][0]
    assert unscreened == pytest.approx(np.mean(values) + 2.66 * (9 + 20 + 19) / 11)


def test_the_baseline_sets_the_lines_of_all_points():
    chart = xmr([1, 3, 1, 3, 9, 9, 9], baseline=4)
    assert chart.frame["centre"].to_list() == [2.0] * 7
    assert chart.frame["baseline"].to_list() == [True] * 4 + [False] * 3
    assert chart.frame["signal"].to_list()[4:] == ["outside"] * 3


def test_gaps_do_not_use_up_the_baseline():
    chart = xmr([1, None, 3, 1, 9], baseline=3)
    assert chart.frame["baseline"].to_list() == [True, False, True, True, False]
    assert chart.frame["centre"][0] == pytest.approx(5 / 3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e9])
def test_a_constant_series_has_no_special_cause(value):
    """The mean of tenths is not a tenth in floating point."""
    chart = xmr([value] * 30)
    assert chart.signals.height == 0
    # Nor limits: those of no width would call the next point unusual, whatever it is.
    assert chart.frame["upper"].null_count() == 30
    assert (chart.variation, chart.warnings) == (None, ("no-width",))


@pytest.mark.parametrize(
    ("side", "direction", "icon"),
    [
        (0, "higher", "common-cause"),
        (1, "higher", "improvement-high"),
        (-1, "higher", "concern-low"),
        (1, "lower", "concern-high"),
        (-1, "lower", "improvement-low"),
        (1, "neutral", "neutral-high"),
        (-1, "neutral", "neutral-low"),
    ],
)
def test_the_variation_icon_follows_side_and_direction(side, direction, icon):
    assert variation_icon(side, direction) == icon
    assert icon in VARIATION_ICONS


@pytest.mark.parametrize(
    ("target", "direction", "icon"),
    [
        (1, "higher", "pass"),
        (9, "higher", "fail"),
        (1, "lower", "fail"),
        (9, "lower", "pass"),
        (2, "higher", "hit-or-miss"),
        (8, "lower", "hit-or-miss"),
        (5, "neutral", None),
        (None, "higher", None),
    ],
)
def test_the_assurance_icon_compares_the_target_with_limits_from_2_to_8(target, direction, icon):
    assert assurance_icon(2, 8, target, direction) == icon


def test_the_variation_icon_is_that_of_the_last_point_that_is_no_gap():
    chart = xmr([5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 20, None], direction="lower")
    assert chart.variation == "concern-high"
    assert set(chart.warnings) == {"gaps", "last-period-is-a-gap"}


def test_few_points_nothing_and_gaps_alone_make_no_limits():
    assert "few-points" in xmr([1, 2, 3]).warnings
    assert xmr([]).variation is None
    assert xmr([4]).warnings == ("few-points", "no-limits")
    assert xmr([None, None]).assurance is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: xmr([1, 2], periods=[1]),
        lambda: xmr([1, 2], periods=[2, 1]),
        lambda: xmr([1, 2], periods=[1, 1]),
        lambda: xmr([1, 2], rebase_at=[7]),
        lambda: xmr([1, 2], baseline=1),
        lambda: xmr([1, float("inf")]),
        lambda: count_chart([1], kind="p"),
        lambda: count_chart([1], [2], kind="c"),
        lambda: count_chart([3], [2], kind="p"),
        lambda: count_chart([3, 4], [2], kind="u"),
        lambda: count_chart([1], [2], kind="p", per=100),
        lambda: g_chart([1.5]),
        lambda: run_chart([1], periods=[]),
    ],
)
def test_what_cannot_be_charted_is_refused(wrong):
    with pytest.raises(UsageError):
        wrong()


def test_p_limits_follow_the_denominators():
    chart = count_chart([10, 10, 40], [100, 100, 400], kind="p")
    assert chart.frame["centre"].to_list() == pytest.approx([0.1] * 3)
    assert chart.frame["upper"].to_list() == pytest.approx(
        [0.1 + 3 * np.sqrt(0.09 / n) for n in (100, 100, 400)]
    )
    assert chart.frame["near_upper"][2] == pytest.approx(0.1 + 2 * np.sqrt(0.09 / 400))


def test_u_and_c_limits_are_those_of_poisson_counts():
    rate = count_chart([4, 6, 8], [1000, 1000, 2000], kind="u", per=1000)
    assert rate.frame["value"].to_list() == pytest.approx([4, 6, 4])
    assert rate.frame["upper"].to_list() == pytest.approx(
        [4.5 + 3 * np.sqrt(4.5 / n) for n in (1, 1, 2)]
    )
    bare = count_chart([9, 16, 11], kind="c")
    assert bare.frame["lower"][0] == pytest.approx(12 - 3 * np.sqrt(12))


def test_p_prime_with_equal_denominators_is_the_xmr_chart():
    """All sigmas are then the same, and cancel; 3/1.128 instead of 2.66 differs by 0.02 %."""
    events = [12, 18, 11, 15, 16, 9, 14, 17]
    # Of a period after the baseline: in the baseline none is judged by its own ranges.
    events.append(20)
    prime = count_chart(events, [50] * 9, kind="p-prime", baseline=8).frame.row(8, named=True)
    plain = xmr([e / 50 for e in events], screen=False, baseline=8).frame.row(8, named=True)
    assert prime["centre"] == pytest.approx(plain["centre"])
    assert prime["upper"] == pytest.approx(plain["upper"], rel=1e-3)


def test_an_empty_month_is_a_gap_and_no_rule_reaches_across_it():
    chart = count_chart([1, 1, 1, 0, 1, 1, 1, 9], [9, 9, 9, 0, 9, 9, 9, 9], kind="p")
    assert chart.frame["point"][3] == "gap"
    assert chart.frame["denominator"][3] == 0
    assert chart.frame["lower"][3] is None
    assert "shift" not in chart.frame["signal"].to_list()


def test_nothing_or_everything_has_limits_of_no_width_and_no_alarm():
    for events in ([0] * 8, [5] * 8):
        for kind in ("p", "p-prime"):
            chart = count_chart(events, [5] * 8, kind=kind)
            assert chart.signals.height == 0
            assert "rare-events" in chart.warnings


def test_the_t_chart_is_the_xmr_chart_of_the_transformed_days():
    start = datetime(2024, 1, 1)  # noqa: DTZ001
    days = [3, 40, 12, 25, 8, 60, 19, 33]
    times = [start + timedelta(days=int(d)) for d in np.cumsum([0, *days])]
    chart = t_chart(times[::-1], target=20)
    inner = xmr(np.array(days) ** (1 / 3.6)).frame.row(0, named=True)
    row = chart.frame.row(0, named=True)
    assert chart.frame["value"].to_list() == days
    assert row["centre"] == pytest.approx(inner["centre"] ** 3.6)
    assert row["upper"] == pytest.approx(inner["upper"] ** 3.6)
    assert row["lower"] == pytest.approx(max(inner["lower"], 0) ** 3.6)
    assert chart.assurance == "hit-or-miss"
    assert chart.frame["time"].to_list() == times[1:]


def test_events_at_one_time_are_told():
    start = datetime(2024, 1, 1)  # noqa: DTZ001
    assert "zero-times" in t_chart([start, start, start + timedelta(days=3)]).warnings
    assert t_chart([start]).frame.height == 0
    assert g_chart([0, 0, 0]).signals.height == 0


def test_a_period_without_a_numerator_is_a_gap_on_a_count_chart_too():
    table = pl.DataFrame(
        {
            "period": [date(2024, 4, 1), date(2024, 1, 1), date(2024, 2, 1)],
            "numerator": [4, 1, 2],
            "denominator": [8, 10, 10],
        }
    )
    shares = measure_chart(table, measured="proportion")
    assert shares.kind == "p"
    assert (shares.variation, shares.warnings[-1]) == (None, "no-limits")
    assert shares.frame["upper"].to_list() == [None] * 4
    assert shares.frame["value"].to_list() == [0.1, 0.2, None, 0.5]
    counted = measure_chart(table, measured="count")
    assert counted.kind == "c"
    assert counted.frame["value"].to_list() == [1, 2, None, 4]
    told = table.with_columns(numerator=pl.when(pl.col("numerator") != 2).then("numerator"))
    assert measure_chart(told, measured="count").frame["value"].to_list() == [1, None, None, 4]
    assert measure_chart(table, measured="rate", per=100).frame["value"][0] == pytest.approx(10)
    assert measure_chart(table, measured="value").kind == "xmr"
    assert measure_chart(table, measured="count", kind="xmr").frame["value"][2] is None


def test_tables_that_are_no_series_of_periods_are_refused():
    twice = pl.DataFrame(
        {"period": [date(2024, 1, 1)] * 2, "numerator": [1, 1], "denominator": [2, 2]}
    )
    with pytest.raises(UsageError, match="more than one row"):
        measure_chart(twice, measured="proportion")
    uneven = pl.DataFrame(
        {
            "period": [date(2024, 1, 1), date(2024, 1, 20)],
            "numerator": [1, 1],
            "denominator": [2, 2],
        }
    )
    with pytest.raises(UsageError, match="apart"):
        measure_chart(uneven, measured="proportion")
    with pytest.raises(UsageError, match="does not draw"):
        measure_chart(uneven, measured="value", kind="p", every=None)


def test_a_run_chart_of_random_order_is_quiet_and_a_step_is_not():
    assert not run_chart([1, 2, 2, 1, 1, 2, 1, 2, 2, 1, 1, 2, 1, 2]).signal
    found = run_chart([1, 2, 1, 2, None, 1, 2, 1, 8, 9, 8, 9, 8, 9, 8])
    assert found.gaps == 1
    assert found.signal
    assert found.to_frame()["side"][4] == 0
    assert not run_chart([5, 5, 5]).signal


def weeks(numerator, denominator):
    start = date(2024, 1, 1)
    return pl.DataFrame(
        {
            "period": [start + timedelta(weeks=k) for k in range(len(numerator))],
            "numerator": numerator,
            "denominator": denominator,
        }
    )


def default_chart(numerator, denominator, **more):
    table = weeks(numerator, denominator)
    return measure_chart(table, measured="proportion", every="1w", direction="higher", **more)


def test_under_twelve_points_no_verdict_is_given_and_the_reason_is_said():
    """3 of 13 after 76 % in seven weeks: once called common cause."""
    chart = default_chart([10, 11, 9, 10, 11, 10, 3], [13] * 7)
    assert (chart.variation, chart.assurance) == (None, None)
    assert "no-limits" in chart.warnings
    assert chart.frame["centre"].to_list() == [pytest.approx(10 / 13)] * 7


def test_a_fall_to_3_of_13_is_a_special_cause_and_does_not_widen_its_own_limits():
    numerator = [10, 11, 9, 10, 11, 10, 9, 10, 11, 10, 10, 9, 3]
    chart = default_chart(numerator, [13] * 13)
    assert chart.kind == "p"
    assert chart.variation == "concern-low"
    primed = default_chart(numerator, [13] * 13, kind="p-prime")
    assert primed.variation == "concern-low"


def test_sigma_z_below_one_never_narrows_limits_below_chance():
    """One of two patients is nothing unusual, however even the weeks before were."""
    numerator, denominator = [15] * 19 + [1], [20] * 19 + [2]
    plain = default_chart(numerator, denominator, kind="p").frame
    prime = default_chart(numerator, denominator, kind="p-prime").frame
    assert prime["upper"].to_list() == plain["upper"].to_list()
    assert default_chart(numerator, denominator).frame["signal"][-1] == "none"


def test_a_prime_chart_is_chosen_only_for_large_over_dispersed_series():
    rng = np.random.default_rng(3)
    sizes = [400] * 24
    spread = rng.binomial(sizes, np.clip(rng.normal(0.5, 0.08, 24), 0, 1)).tolist()
    alike = rng.binomial(sizes, 0.5).tolist()
    assert default_chart(spread, sizes).kind == "p-prime"
    assert default_chart(alike, sizes).kind == "p"
    assert default_chart(spread[:19], sizes[:19]).kind == "p"
    assert default_chart([n // 40 for n in spread], [10] * 24).kind == "p"


#: What each chart counts in a period when nothing changes, and how many points beyond
#: a limit its limits promise at most: three sigma of a normal variable is 0.27 %;
#: counts are skew, and the lines are estimated from the points themselves.
IN_CONTROL = {
    "p, 40 cases": ("proportion", lambda rng: rng.binomial(40, 0.3, 24), 40, 0.006),
    "p, 200 cases": ("proportion", lambda rng: rng.binomial(200, 0.5, 24), 200, 0.006),
    "p, 13 cases": ("proportion", lambda rng: rng.binomial(13, 0.76, 24), 13, 0.006),
    "u, 300 days": ("rate", lambda rng: rng.poisson(9, 24), 300, 0.008),
    "c": ("count", lambda rng: rng.poisson(16, 24), 1, 0.008),
    "xmr": ("value", lambda rng: rng.normal(50, 5, 24), 1, 0.012),
}


@pytest.mark.parametrize("what", IN_CONTROL)
def test_false_alarms_of_each_shipped_chart_are_as_rare_as_it_promises(what):
    """Points beyond a limit on 400 series in control: simulated, with the binomial error."""
    measured, draw, size, promised = IN_CONTROL[what]
    rng = np.random.default_rng(20)
    outside = points = 0
    for _ in range(400):
        counted = draw(rng).tolist()
        table = pl.DataFrame(
            {
                "period": [date(2020 + k // 12, k % 12 + 1, 1) for k in range(24)],
                "numerator": counted,
                "denominator": [size] * 24,
            }
        )
        frame = measure_chart(table, measured=measured).frame
        outside += frame.filter(
            (pl.col("value") > pl.col("upper")) | (pl.col("value") < pl.col("lower"))
        ).height
        points += 24
    error = 4 * (promised * (1 - promised) / points) ** 0.5
    assert outside / points < promised + error


@pytest.mark.parametrize(("chart", "promised"), [("t", 0.012), ("g", 0.004)])
def test_false_alarms_of_charts_of_rare_events(chart, promised):
    rng = np.random.default_rng(21)
    outside = points = 0
    for _ in range(400):
        if chart == "t":
            days = np.cumsum(rng.exponential(20, 25))
            start = datetime(2020, 1, 1, tzinfo=UTC)
            made = t_chart([start + timedelta(days=float(d)) for d in days])
        else:
            made = g_chart((rng.geometric(0.02, 24) - 1).tolist())
        frame = made.frame
        outside += frame.filter(
            (pl.col("value") > pl.col("upper")) | (pl.col("value") < pl.col("lower"))
        ).height
        points += frame.height
    error = 4 * (promised * (1 - promised) / points) ** 0.5
    assert outside / points < promised + error


def test_a_period_is_not_in_the_limits_that_judge_it():
    """A month far out moved the centre, and its own limits with it."""
    events, cases = [8] * 12 + [1], [10] * 13
    frame = default_chart(events, cases).frame
    others = 96 / 120
    spread = (others * (1 - others) / 10 * (1 + 10 / 120)) ** 0.5
    assert frame["lower"][-1] == pytest.approx(others - 3 * spread)
    assert frame["centre"][-1] == pytest.approx(97 / 130)
    assert frame["signal"][-1] == "outside"
    # The lines of a period do not depend on what it is itself.
    for last in range(11):
        again = default_chart([*events[:-1], last], cases).frame
        assert again["lower"][-1] == pytest.approx(frame["lower"][-1])
    # Where the others have no event at all, they do not say how widely chance scatters.
    rare = default_chart([0] * 12 + [1], [50] * 13)
    mean = 1 / 650
    assert rare.frame["upper"][-1] == pytest.approx(mean + 3 * (mean * (1 - mean) / 50) ** 0.5)
    assert "rare-events" in rare.warnings
