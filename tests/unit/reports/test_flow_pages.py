"""Pages of flow from small invented hospitals: what they say, and what they never say."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from tests.flows import BEGIN, invented, sojourns_from

from neva.events.schema import TIME
from neva.flow.forecast.bed_report import bed_report
from neva.flow.forecast.evaluation import ScoreCollection
from neva.flow.forecast.forecast import OccupancyForecast
from neva.flow.simulation.agreement import Agreement
from neva.flow.simulation.calibration import Calibrated
from neva.flow.simulation.compare import ServiceSearch, compare
from neva.flow.simulation.hospital_fit import FittedHospital
from neva.flow.simulation.hospital_model import (
    Beds,
    Exit,
    HospitalModel,
    Incoming,
    Next,
    PatientClass,
    Route,
    Unit,
)
from neva.flow.stays.stay_length import StayLength
from neva.flow.stays.trajectories import trajectories
from neva.reports.pages.flow import (
    comparison_page,
    evaluation_page,
    forecast_page,
    trajectories_page,
)
from neva.reports.pages.flow_agreement import agreement_words
from neva.reports.pages.page import Text

MADE = datetime(2021, 3, 1, 8, tzinfo=UTC)
BANNER = "Synthetic patients: no figure describes a real one"
#: A name that would do harm if it were not escaped.
EVIL = "<script>alert(1)</script>"


def plain(page):
    """Text of a page, as a reader finds it, without drawings and styles."""
    html = re.sub(r"(?s)<(svg|style|title).*?</\1>", " ", page.to_html())
    text = re.sub(r"<[^>]+>", " ", html).replace("\u00a0", " ")
    return re.sub(r"\s+", " ", text)


def forecast_of(means, *, present, what="patients by unit", steps=24, step_hours=1.0):
    """Poisson forecasts; a little lower after the first step."""
    counts = np.arange(80)
    logs = np.cumsum(np.log(np.maximum(counts, 1)))
    level = np.where(np.arange(steps) == 0, 1.0, 0.98)[:, None]
    rows = [np.exp(counts * np.log(mean * level) - mean * level - logs) for mean in means.values()]
    chances = np.stack([row / row.sum(axis=1, keepdims=True) for row in rows])
    return OccupancyForecast(
        places=tuple(means),
        times=tuple(BEGIN + timedelta(hours=step_hours * (k + 1)) for k in range(steps)),
        distribution=chances,
        present=np.array(present),
        issued=BEGIN,
        zone="Europe/Berlin",
        identity="data-7@3",
        what=what,
        notes=("too few left theatre to learn from",),
        step_hours=step_hours,
    )


def morning(*, beds=None, synthetic=True, **more):
    made = forecast_of({"ward": 10.0, EVIL: 3.0, "all": 13.0}, present=[9, 4, 13], **more)
    return forecast_page(
        bed_report(made, {"ward": 11, EVIL: 9} if beds is None else beds),
        made=MADE, synthetic=synthetic,
    )  # fmt: skip


def judged(refused=True):
    scores = ScoreCollection("Europe/Berlin", np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for day in range(30):
        origin = BEGIN + timedelta(days=day)
        for hours in (4, 24):
            observed = int(rng.poisson(6))
            for model, mean in (("forecast", 6.0), ("persistence", 15.0), ("better", 6.01)):
                row = forecast_of({"x": mean}, present=[1]).distribution[0, 0]
                scores.add(
                    row, observed, origin=origin, time=origin + timedelta(hours=hours),
                    place=EVIL, horizon_hours=hours, model=model,
                )  # fmt: skip
    for day in range(3 * refused):
        at = BEGIN + timedelta(days=40 + day)
        scores.refuse(origin=at, time=at, place="ward", reason="too many lost to follow-up")
    return scores.evaluation(ours="forecast", what="patients by unit", identity="data-7@3")


def hospital(beds):
    return HospitalModel(
        units=(Unit("ward", Beds.always(beds)), Unit(EVIL, None)),
        exits=(Exit("home"),),
        classes=(PatientClass("all", first=(("ward", 1.0),), arrivals=Incoming((0.2,))),),
        routes=(
            Route("all", "ward", (Next(EVIL, 1.0, StayLength((20.0, 30.0))),)),
            Route("all", EVIL, (Next("home", 1.0, StayLength((5.0, 9.0))),)),
        ),
    )


@pytest.fixture(scope="module")
def compared():
    return compare(
        {"as it is": hospital(4), "more beds": hospital(12)},
        start=BEGIN, days=3, seed=1, zone="UTC", replications=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    seen = sojourns_from([(1, "inpatient", "ward", 0, 5, "home")], now=24)
    return FittedHospital(hospital(4), replace(seen, identity="data-7@3"), ("routes are assumed",))


def check(share=1.0):
    units = ["ward", "all"]
    noons = [BEGIN + timedelta(hours=12 + 24 * k) for k in range(4)]
    inside = {"inside": share == 1.0}
    ends = {"low": 2.0, "median": 3.0, "high": 5.0}
    frame = pl.DataFrame
    return Calibrated(
        stays=frame([{"unit": "ward", "observed": 17, "observed_mean_hours": 20.0,
                      "observed_median_hours": 19.0, "mean_hours": 21.0, "median_hours": 20.0,
                      "low": 18.0, "high": 22.0, "inside": True}]),
        by_hour=frame([{"unit": unit, "hour": h, "observed": 3.0, **ends}
                       for unit in units for h in range(24)]),
        by_day=frame([{"unit": unit, "time": noon, "observed": 4.0, **ends, **inside}
                      for unit in units for noon in noons], schema_overrides={"time": TIME}),
        waits=frame([{"unit": "ward", "observed": 17, "observed_p50": 2.0, "observed_p90": 5.0,
                      "p50": 2.0, "p90": 4.0}]),
        paths=frame([{"state": "ward", "next": "home", "observed": 17, "share": 1.0, "low": 0.9,
                      "median": 1.0, "high": 1.0, "inside": True}]),
        covered=frame([{"unit": unit, "days": 14, "share": share, "lower": 0.0,
                        "upper": 1.0 if share == 1.0 else 0.23} for unit in units]),
        start=BEGIN, end=BEGIN + timedelta(days=14), replications=40, notes=(), identity="data-7@3",
    )  # fmt: skip


def whatif(
    compared, fitted, *, checked=None, note="not checked: too few days", search=None,
    agreement=None, agreement_note="too few left",
):  # fmt: skip
    return comparison_page(
        compared, checked=checked, check_note=note, search=search, fitted=fitted, made=MADE,
        synthetic=True, agreement=agreement, agreement_note=agreement_note,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(compared, fitted):
    tried = pl.DataFrame(
        {"beds": [4, 5], "served": [0.8, 0.99], "lower": [0.7, 0.97], "upper": [0.9, 1.0],
         "enough": [False, True]}
    )  # fmt: skip
    return {
        "forecast": morning(),
        "evaluation": evaluation_page(judged(), made=MADE, synthetic=True),
        "comparison": whatif(
            compared, fitted, checked=check(), search=ServiceSearch(EVIL, 0.95, 5, tried)
        ),
        "trajectories": trajectories_page(
            trajectories(replace(invented(30), identity="data-7@3"), horizon_days=10),
            made=MADE, synthetic=True,
        ),
    }  # fmt: skip


NAMES = ["forecast", "evaluation", "comparison", "trajectories"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_nothing_of_the_network(pages, name):
    html = pages[name].to_html()
    assert not re.search(r"(?:src|href|xlink:href)\s*=\s*[\"']?\s*(?:https?:)?//", html)
    assert not re.search(r"url\(\s*['\"]?https?:|@import|<script|<link", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("name", NAMES)
def test_a_page_names_the_version_of_its_data_and_when_it_was_made(pages, name):
    text = plain(pages[name])
    assert "data-7@3" in text
    assert "2021-03-01 08:00 UTC" in text


@pytest.mark.parametrize("name", NAMES)
def test_invented_patients_are_said_to_be_invented(pages, name):
    assert BANNER in plain(pages[name])
    assert BANNER not in plain(replace(pages[name], synthetic=False))


@pytest.mark.parametrize("name", ["forecast", "evaluation", "comparison"])
def test_names_of_units_are_escaped(pages, name):
    html = pages[name].to_html()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


class _Checker(HTMLParser):
    """Counts what a reader with a screen reader needs."""

    def __init__(self):
        super().__init__()
        self.open, self.tables, self.captions, self.bare, self.images = [], 0, 0, 0, 0
        self.ids, self.widths, self.row = [], [], None

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.bare += tag == "th" and "scope" not in found
        self.images += found.get("role") == "img" and bool(found.get("aria-label"))
        if "id" in found:
            self.ids.append(found["id"])


@pytest.mark.parametrize("name", NAMES)
def test_tables_have_captions_and_scopes_and_drawings_have_words(pages, name):
    html = pages[name].to_html()
    seen = _Checker()
    seen.feed(html)
    assert seen.tables == seen.captions > 0
    assert seen.bare == 0
    assert seen.images == html.count("<svg ") > 0
    assert len(seen.ids) == len(set(seen.ids))


def test_the_bed_report_says_where_when_and_with_which_chance():
    text = plain(morning())
    assert "Beds may run short in ward." in text
    # P(more than 11) of Poisson(10) is 0.303, in the first hour, in Berlin.
    assert "ward, 9 patients in 11 beds now: at most 30 % Mon 4 Jan 02:00." in text
    assert "In the other 1 of 2 places with beds" in text
    assert "13 patients, 3 places" in text


def test_the_bed_report_says_if_beds_run_short_nowhere():
    text = plain(morning(beds={"ward": 30}))
    assert "Beds run short nowhere: in none of 1 places" in text
    assert "may run short" not in text


def test_more_patients_than_beds_now_are_said_first():
    page = morning(beds={"ward": 7, EVIL: 9})
    assert page.lead[0].text == "ward has 9 patients in 7 beds now."
    assert page.lead[0].kind == "warning"


def test_without_beds_it_is_said_that_none_are_recorded():
    assert "No beds are recorded: a shortfall cannot be forecast." in plain(morning(beds={}))


def test_patients_by_state_are_never_called_beds():
    page = morning(what="patients by state", steps=7, step_hours=24.0)
    assert "beds" not in page.to_html().lower()
    assert "bed " not in plain(page).lower()
    assert "Total: 13 patients now" in plain(page)
    assert "capacity is not considered" in plain(page)


def test_an_evaluation_says_what_was_beaten_and_what_was_refused(pages):
    text = plain(pages["evaluation"])
    assert "better than a baseline in 2 of 4 comparisons" in text
    assert "Against persistence: better in 2 of 2, worse in 0." in text
    assert "30, from Mon 4 Jan 2021 01:00 to Tue 2 Feb 2021 01:00" in text
    assert "60 judged (place, horizon and origin), 3 refused" in text
    assert "too many lost to follow-up" in text
    assert "By hour of the day" in text


def test_an_evaluation_without_refusals_says_so():
    page = evaluation_page(judged(refused=False), made=MADE, synthetic=False)
    assert "Every occasion was judged; none was refused." in plain(page)


def test_a_baseline_that_made_no_error_is_told_apart_from_nothing():
    scores = ScoreCollection("UTC", np.random.default_rng(1))
    for day in range(5):
        at = BEGIN + timedelta(days=day)
        for model, row in (("forecast", [0.5, 0.5]), ("sure", [0.0, 1.0])):
            scores.add(row, 1, origin=at, time=at, place="a", horizon_hours=24, model=model)
    made = scores.evaluation(ours="forecast", what="patients by unit", identity="x")
    text = plain(evaluation_page(made, made=MADE, synthetic=False))
    assert "Worse than the baseline: a 24 h ahead (sure)." in text
    assert "1 of 1 comparisons are not drawn" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_only_differences_that_exclude_zero_are_marked(pages, compared):
    text = pages["comparison"].to_html()
    strong = len(re.findall(r"<strong>[^<]*●</strong>", text))
    marked = compared.frame.filter(pl.col("difference").is_not_null(), "differs")
    shown_twice = marked.filter(pl.col("unit").is_not_null()).height
    assert marked.height <= strong <= marked.height + shown_twice
    assert text.count("●") > strong  # the captions say what it means


def test_a_comparison_says_what_it_was_made_of(pages):
    text = plain(pages["comparison"])
    assert "4 replications of 3 days from Mon 4 Jan 2021 00:00" in text
    assert "1 cases known by" in text
    assert "routes are assumed" in text
    assert "5 beds of <" not in text
    assert "on 14 of 14 days" in text
    assert "There is no occupancy that is right for all" in text


def test_without_a_check_the_reason_stands_where_it_would_be(compared, fitted):
    page = whatif(compared, fitted, note="not checked: too few <b>days</b>")
    assert [one.text for one in page.lead if one.kind == "warning"] == [
        "Not checked: too few <b>days</b>."
    ]
    assert "Checked against the past?" in [section.title for section in page.sections]
    assert "<b>" not in page.to_html()


def test_a_simulation_that_missed_the_past_is_doubted_at_the_top(compared, fitted):
    page = whatif(compared, fitted, checked=check(share=0.0))
    warned = [one.text for one in page.lead if one.kind == "warning"]
    assert len(warned) == 1
    assert "on 0 of 14 days" in warned[0]
    assert "read with caution" in warned[0]


def test_trajectories_say_counts_and_what_is_left_open(pages):
    text = plain(pages["trajectories"])
    assert "sojourns ended" in text
    assert "discharged" in text
    assert "95 % limits" in text


def test_a_page_is_written_whole(tmp_path, pages):
    file = tmp_path / "new" / "page.html"
    pages["forecast"].write(file)
    assert file.read_text(encoding="utf-8") == pages["forecast"].to_html()
    assert [one.name for one in file.parent.iterdir()] == ["page.html"]


# beside the forecast


def agreeing(**changes):
    """A simulation beside a forecast: the whole hospital agrees, one ward differs."""
    row = {
        "place": "all", "hours": 24, "time": BEGIN + timedelta(hours=24), "simulated": 20.2,
        "simulated_lower": 20.0, "simulated_upper": 20.4, "simulated_q05": 14.0,
        "simulated_q95": 27.0, "forecast": 20.0, "forecast_q05": 13.0, "forecast_q95": 27.0,
        "margin": 3.5, "difference": 0.2, "verdict": "agrees", "arrivals": 0.1, "stays_here": 0.1,
        "stays_to_come": 0.0, "beds": 0.0, "entries": 0.0, "other": 0.0, "reasons": [],
        "here_now": 18,
        "here_forecast": 12.0, "here_simulated": 12.1, "come_forecast": 8.0, "come_simulated": 8.1,
        "unlimited": 20.2,
    }  # fmt: skip
    ward = {
        **row, "place": EVIL, "simulated": 4.0, "forecast": 9.0, "difference": -5.0, "beds": -5.0,
        "verdict": "differs", "reasons": ["beds"], "unlimited": 9.0, **changes,
    }  # fmt: skip
    return Agreement(pl.DataFrame([row, ward], strict=False), BEGIN, 100, 1, True, "data-7@3", ())


def section(page):
    (found,) = [one for one in page.sections if one.title == "Does the forecast say the same?"]
    return found


def test_a_what_if_says_whether_the_forecast_says_the_same(compared, fitted):
    page = whatif(compared, fitted, checked=check(), agreement=agreeing())
    text = plain(page)
    assert "1 of 2 numbers of patients agree and 1 differs (2 places, 24 h ahead" in text
    assert "beds: some find no bed here; with beds for all it would be 9.0: −5.00" in text
    assert any("1 of 2 numbers of patients agree" in one.text for one in page.lead)
    assert [one.kind for one in section(page).blocks if isinstance(one, Text)] == ["plain", "small"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("arrivals", "the forecast expects 8.0 by then, the simulation 8.1: −5.00"),
        ("stays_here", "the forecast expects 12.0 here then, the simulation 12.1: −5.00"),
        ("stays_to_come", "lengths of stay of those who arrive by then: −5.00"),
        ("entries", "entries, which the simulation does not use: −5.00"),
        ("other", "not explained: −5.00"),
    ],
)
def test_each_reason_of_a_difference_is_said_with_its_figures(part, said):
    words = agreement_words(agreeing(beds=0.0, reasons=[part], **{part: -5.0}), "")
    assert said in words[-1]


def test_nothing_compared_never_looks_like_agreement(compared, fitted):
    page = whatif(compared, fitted, checked=check(), agreement_note="too few left")
    assert any("Not compared with the forecast: too few left" in one.text for one in page.lead)
    (only,) = section(page).blocks
    assert only.kind == "warning"
    assert "agree" not in plain(page).replace("Does the forecast say the same?", "")
