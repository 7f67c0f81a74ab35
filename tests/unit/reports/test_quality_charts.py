"""Charts of quality: they say what they must, and render."""

import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest

from neva.languages.language import LANGUAGES, language_of
from neva.quality.charts.control_charts import g_chart, measure_chart, t_chart
from neva.quality.charts.icons import ASSURANCE_ICONS, VARIATION_ICONS
from neva.quality.charts.spc import xmr
from neva.quality.comparison.funnel import funnel_proportions, funnel_ratios
from neva.quality.comparison.sequential import risk_adjusted_cusum, vlad
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.quality import (
    About,
    calibration_chart,
    control_chart,
    funnel_chart,
    interval_chart,
    sequential_chart,
)
from neva.reports.charts.quality_drawing import kept_apart
from neva.reports.charts.quality_icons import icon_svg
from neva.reports.charts.quality_words import TEXTS
from neva.statistics.calibration import calibration
from neva.statistics.intervals import proportion_interval

ABOUT = About("Steroid within 24 h", "stays with oxygen", "2022–2023", synthetic=True, percent=True)
MONTHS = [date(2022 + m // 12, m % 12 + 1, 1) for m in range(24)]


def table():
    rng = np.random.default_rng(1)
    sizes = rng.integers(10, 60, 24)
    sizes[7] = 0
    shares = np.where(np.arange(24) < 12, 0.6, 0.9)
    return pl.DataFrame(
        {"period": MONTHS, "numerator": rng.binomial(sizes, shares), "denominator": sizes}
    )


def an_spc_chart(about=ABOUT, **settings):
    chart = measure_chart(
        table(), measured="proportion", direction="higher", target=0.75, **settings
    )
    return control_chart(chart, about)


def a_funnel(about=ABOUT):
    units = pl.DataFrame(
        {"unit": ["A", "B", "C", "D"], "numerator": [5, 40, 12, 0], "denominator": [50, 60, 80, 0]}
    )
    return funnel_chart(funnel_proportions(units), about)


def a_ratio_funnel(about=ABOUT):
    units = pl.DataFrame(
        {"unit": ["A", "B", "C"], "observed": [5, 40, 12], "expected": [8.0, 20.0, 12.5]}
    )
    return funnel_chart(funnel_ratios(units, method="log"), replace(about, percent=False))


def a_sequence(about=ABOUT, n=300):
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.4, n)
    cases = pl.DataFrame({"outcome": (rng.random(n) < 1.8 * risk).astype(int), "expected": risk})
    cases = pl.concat(
        [cases, pl.DataFrame({"outcome": [0], "expected": [None]})], how="vertical_relaxed"
    )
    return sequential_chart(
        vlad(cases), risk_adjusted_cusum(cases, limit_worse=3, limit_better=3), about
    )


def a_calibration(about=ABOUT):
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.4, 400)
    return calibration_chart(calibration(rng.random(400) < risk, risk), about)


def an_interval_chart(about=ABOUT):
    found = proportion_interval([3, 0, 9], [12, 0, 9]).to_frame()
    units = pl.DataFrame({"unit": ["ICU", "ED", "Ward 7"], "n": [12, 0, 9]})
    return interval_chart(units.hstack(found), about, reference=0.5)


CHARTS = [an_spc_chart, a_funnel, a_ratio_funnel, a_sequence, a_calibration, an_interval_chart]


def words(svg):
    return " ".join(ET.fromstring(svg).itertext())


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_says_what_when_of_whom_and_that_data_are_synthetic(chart):
    read = words(to_svg(chart()))
    for said in ("Steroid within 24 h", "stays with oxygen", "2022–2023", "SYNTHETIC DATA"):
        assert said in read
    assert "SYNTHETIC" not in words(to_svg(chart(replace(ABOUT, synthetic=False))))


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_there_in_russian(chart):
    read = words(to_svg(chart(replace(ABOUT, language="ru"))))
    assert "СИНТЕТИЧЕСКИЕ ДАННЫЕ" in read
    ours = read.replace("Steroid within 24 h", "").replace("stays with oxygen", "")
    left = set(re.findall(r"[A-Za-z]{3,}", ours)) - {"CUSUM", "Ward", "ICU", "tau", "phi"}
    assert not left


@pytest.mark.parametrize("chart", CHARTS)
def test_no_chart_draws_what_is_no_number(chart):
    svg = to_svg(chart())
    assert "NaN" not in svg
    assert "Infinity" not in svg
    assert "undefined" not in svg


@pytest.mark.parametrize("chart", CHARTS)
def test_labels_stay_inside_of_the_picture(chart):
    svg = ET.fromstring(to_svg(chart()))
    width = float(svg.get("width"))
    assert 300 < width < 1000


def test_a_control_chart_shows_lines_target_gap_and_denominators():
    read = words(to_svg(an_spc_chart()))
    for said in ("mean", "upper limit", "lower limit", "target 75.0\u00a0%", "×", "improvement"):
        assert said in read
    sizes = table()["denominator"].to_list()
    assert read.count(str(sizes[0])) >= 1


def test_a_chart_without_limits_gives_no_verdict_and_names_its_line():
    """Its points were called common cause, its median mean, and one month five times."""
    few = measure_chart(table().head(6), measured="proportion", direction="higher")
    read = words(to_svg(control_chart(few, ABOUT)))
    assert "too few points for limits" in read
    assert "no verdict" in read
    assert "median" in read
    assert "common cause" not in read
    assert "mean" not in read
    assert all(read.count(f"{month} 2022") == 1 for month in ("Jan", "Feb", "Mar", "Jun"))


def test_the_line_stops_at_a_gap():
    chart = an_spc_chart()
    frame = measure_chart(table(), measured="proportion").frame
    assert frame["value"].null_count() == 1
    first_panel = chart["vconcat"][0]["layer"]
    lines = [
        layer
        for layer in first_panel
        if layer["encoding"].get("detail", {}).get("field") == "value_run"
    ]
    runs = [row["value_run"] for row in lines[0]["data"]["values"]]
    assert len(set(runs)) == 2
    assert runs == sorted(runs)


def test_rebasing_is_marked():
    assert "lines rebased" in words(to_svg(an_spc_chart(rebase_at=[MONTHS[12]])))
    assert "lines rebased" not in words(to_svg(an_spc_chart()))


def test_charts_of_rare_events_of_nothing_and_of_one_point():
    rng = np.random.default_rng(2)
    start = datetime(2023, 1, 1)  # noqa: DTZ001
    times = [start + timedelta(days=float(d)) for d in np.cumsum(rng.exponential(9, 20))]
    about = replace(ABOUT, percent=False)
    assert "event, in order of time" in words(to_svg(control_chart(t_chart(times), about)))
    assert "median" in words(to_svg(control_chart(g_chart(rng.geometric(0.03, 20)), about)))
    for values in ([], [None, None], [0.5], [0.0] * 15, [1, 2, 3]):
        svg = to_svg(control_chart(xmr(values), about))
        assert "NaN" not in svg


def test_many_periods_leave_the_denominators_to_the_tooltips():
    values = np.random.default_rng(1).normal(10, 1, 60)
    made = control_chart(xmr(values, denominator=[9] * 60), replace(ABOUT, percent=False))
    assert "vconcat" not in made
    assert "9" in str(made["layer"][-2]["data"])


def test_units_outside_of_the_funnel_are_named():
    read = words(to_svg(a_funnel()))
    assert re.search(r"\bB\b", read)
    assert not re.search(r"\bD\b", read)
    assert "exact limits" in read
    assert "phi" in words(to_svg(a_ratio_funnel()))


def test_empty_results_have_empty_charts():
    none = pl.DataFrame(schema={"outcome": pl.Int64, "expected": pl.Float64})
    both = vlad(none), risk_adjusted_cusum(none, limit_worse=3, limit_better=3)
    assert "NaN" not in to_svg(sequential_chart(*both, ABOUT))
    assert "NaN" not in to_svg(calibration_chart(calibration([], []), ABOUT))


def test_a_long_sequence_is_thinned_but_keeps_its_signals():
    made = a_sequence(n=4000)
    assert "left out" in words(to_svg(made))
    values = [
        len(layer["data"]["values"])
        for panel in made["vconcat"]
        for layer in panel["layer"]
        if layer["mark"]["type"] == "line"
    ]
    assert max(values) <= 2 * 1600


def test_units_without_cases_say_so_and_n_is_in_the_label():
    read = words(to_svg(an_interval_chart()))
    for said in ("(n = 12)", "(n = 0)", "no cases", "25.0\u00a0%", "reference 50.0\u00a0%"):
        assert said in read


def test_labels_are_kept_apart_in_order_and_below_the_top():
    domain = [0.0, 100.0]
    moved = kept_apart([98.0, 99.0, 97.0, 10.0], domain, 260)
    assert sorted(range(4), key=lambda k: moved[k]) == [3, 2, 0, 1]
    ordered = sorted(moved)
    assert all(b - a >= 13 * 100 / 260 - 1e-9 for a, b in pairwise(ordered))
    assert max(moved) <= 100
    assert moved[3] == 10


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("icon", [*VARIATION_ICONS, *ASSURANCE_ICONS])
def test_an_icon_is_a_picture_with_a_title(icon, language):
    drawn = ET.fromstring(icon_svg(icon, language=language, size=32))
    title = drawn.find("{http://www.w3.org/2000/svg}title")
    assert title.text == language_of(language, "UTC")(TEXTS[icon])
    assert drawn.get("role") == "img"
    assert drawn.get("aria-label") == title.text
    assert " id=" not in icon_svg(icon)  # it may stand on a page twice
    assert drawn.get("width") == "32"
    assert "{" not in icon_svg(icon)


def test_icons_differ_without_their_colours():
    drawings = {
        re.sub(r"#[0-9A-Fa-f]{6}|<title.*?</title>|aria-label=\"[^\"]*\"", "", icon_svg(icon))
        for icon in [*VARIATION_ICONS, *ASSURANCE_ICONS]
    }
    assert len(drawings) == len(VARIATION_ICONS) + len(ASSURANCE_ICONS)


def test_an_unknown_icon_is_refused():
    with pytest.raises(ValueError, match="smile"):
        icon_svg("smile")
