"""What a simulation promises: on days it was not learnt from it is like what was recorded."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.flow_models import START, five_units

from neva.errors import UsageError
from neva.events.hospital import open_hospital
from neva.flow.forecast.evaluation import counts_at
from neva.flow.simulation.calibration import calibrate
from neva.flow.simulation.hospital_model import Beds
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulated_log import event_log, write_hospital
from neva.flow.stays.sojourns import known_sojourns

ZONE = "Europe/Berlin"
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
HELD = 14


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A steady hospital of 130 days, in which nobody waits; its clocks change on 31 March."""
    model = five_units()
    for unit in model.units:
        model = model.with_unit(unit.name, beds=Beds.always(90))
    run = simulate(model, start=START, days=130, seed=21, replications=1, log=True, zone=ZONE)
    path = tmp_path_factory.mktemp("steady") / "hospital"
    write_hospital(event_log(run), path, zone=ZONE, now=datetime(2026, 1, 1, tzinfo=UTC))
    return open_hospital(path)


@pytest.fixture(scope="module")
def calibrated(hospital):
    return calibrate(hospital, days=HELD, replications=30, seed=3)


def test_patients_at_noon_are_inside_on_most_days(calibrated):
    covered = calibrated.covered
    assert covered["unit"].to_list() == ["ed", "icu", "medical", "step-down", "surgical", "all"]
    assert set(covered["days"]) == {HELD}
    # Nine of ten are claimed; the days of a unit are alike.
    assert (covered["share"] >= 0.5).all()
    assert covered["share"].mean() > 0.8
    for row in covered.iter_rows(named=True):
        assert row["lower"] <= row["share"] <= row["upper"]
        inside = calibrated.by_day.filter(unit=row["unit"])["inside"]
        assert inside.mean() == row["share"]


def test_median_stays_are_inside(calibrated):
    stays = calibrated.stays
    assert stays["unit"].to_list() == ["ed", "icu", "medical", "step-down", "surgical"]
    assert stays["inside"].sum() >= 4
    assert (stays["low"] <= stays["median_hours"]).all()
    assert (stays["median_hours"] <= stays["high"]).all()


def test_moves_are_inside(calibrated):
    often = calibrated.paths.filter(pl.col("observed") >= 5)
    assert often["inside"].mean() > 0.7
    shares = calibrated.paths.group_by("state").agg(pl.col("share").sum())
    assert shares["share"].to_list() == pytest.approx([1.0] * shares.height)
    assert "discharged the same day" not in set(calibrated.paths["next"])


def test_what_is_called_observed_was(hospital, calibrated):
    truth = known_sojourns(hospital, by="unit")
    times = calibrated.by_day.filter(unit="icu")["time"].to_list()
    assert all(calibrated.start <= time <= calibrated.end for time in times)
    found = counts_at(truth, {"icu": ["icu"], "all": truth.states}, times)
    for place, counts in found.items():
        assert calibrated.by_day.filter(unit=place)["observed"].to_list() == counts.tolist()
    icu = truth.frame.filter(
        pl.col("start") >= calibrated.start, pl.col("next").is_not_null(), state="icu"
    )
    assert calibrated.stays.filter(unit="icu")["observed"].to_list() == [icu.height]


def test_noon_is_that_of_the_hospitals_clocks(calibrated):
    local = calibrated.by_day["time"].dt.convert_time_zone(ZONE)
    assert set(local.dt.hour()) == {12}
    hours = calibrated.by_hour.filter(unit="ed")["hour"].to_list()
    assert hours == list(range(24))


def test_patients_by_hour_are_means_of_the_days(hospital, calibrated):
    truth = known_sojourns(hospital, by="unit")
    first = calibrated.start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    marks = [first + timedelta(hours=k) for k in range(24 * HELD)]
    marks = [mark for mark in marks if mark <= calibrated.end]
    counts = counts_at(truth, {"ed": ["ed"]}, marks)["ed"]
    local = pl.Series(marks).dt.convert_time_zone(ZONE).dt.hour().to_numpy()
    observed = calibrated.by_hour.filter(unit="ed")["observed"].to_list()
    assert observed == pytest.approx([counts[local == hour].mean() for hour in range(24)])


def test_nothing_later_is_learnt_from(hospital, calibrated):
    """At an earlier time the answer is that of the hospital as known then."""
    at = BEGIN + timedelta(days=100)
    early = calibrate(hospital, days=7, at=at, replications=4, seed=3)
    assert (early.end, early.start) == (at, at - timedelta(days=7))
    assert early.by_day["time"].max() <= at


def test_the_same_seed_gives_the_same_answer(hospital):
    first, second = (calibrate(hospital, days=3, replications=4, seed=9) for _ in range(2))
    for table in ("stays", "by_hour", "by_day", "waits", "paths", "covered"):
        assert getattr(first, table).equals(getattr(second, table))


def test_intervals_are_wider_with_less_certainty(calibrated):
    width = calibrated.by_day["high"] - calibrated.by_day["low"]
    assert (width >= 0).all()
    # Later days are less certain than the first noon after the start.
    medical = calibrated.by_day.filter(unit="medical").with_columns(
        w=pl.col("high") - pl.col("low")
    )
    assert medical["w"][0] < medical["w"][5:].mean()


@pytest.mark.parametrize("days", [0, -3])
def test_no_days_are_refused(hospital, days):
    with pytest.raises(UsageError, match=f"days: must be 1 or more; found {days}"):
        calibrate(hospital, days=days)


def test_days_before_anything_is_known_are_refused(hospital):
    with pytest.raises(UsageError, match=r"found .*;"):
        calibrate(hospital, days=129)
    with pytest.raises(UsageError, match="found"):
        calibrate(hospital, days=500)
