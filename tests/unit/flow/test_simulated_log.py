import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.flow_models import START, five_units

from neva.census import census, of_movements, of_stays
from neva.errors import ConflictError, UsageError
from neva.events.hospital import open_hospital
from neva.events.synthetic import is_synthetic
from neva.flow.simulation.hospital_model import InitialPatient
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulated_log import event_log, write_hospital

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 20


@pytest.fixture(scope="module")
def run():
    model = replace(
        five_units(),
        initial=(
            InitialPatient("emergency", "ed", 2.5, is_female=True),
            InitialPatient("emergency", "medical", 50.0),
        ),
    )
    return simulate(model, start=START, days=DAYS, seed=5, replications=2, log=True)


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "hospital"
    summary = write_hospital(event_log(run, 1), path, zone="UTC", now=NOW)
    return path, summary


def test_nothing_is_refused_on_the_way_into_the_store(written):
    assert written[1].total("refused") == 0


def test_the_hospital_says_that_it_is_synthetic(written):
    assert is_synthetic(open_hospital(written[0]).snapshot())


def test_the_census_of_the_hospital_is_the_occupancy_of_the_run(run, written):
    end = START + timedelta(days=DAYS)
    snapshot = open_hospital(written[0]).snapshot(as_of=end)
    found = census(of_movements(snapshot), every="1h", first=START, last=end).frame
    hourly = run.replicates[1].hourly
    for number, unit in enumerate(run.model.units):
        mine = found.filter(pl.col("place") == unit.name, pl.col("time") < end)
        assert hourly[number].tolist() == mine["present"].to_list()
        inside = mine["bed_days"].sum() * 24
        assert run.replicates[1].occupied_hours[number].sum() == pytest.approx(inside, rel=1e-9)


def test_units_above_others_hold_what_is_below_them(tmp_path, run):
    model = run.model
    for name in ("medical", "surgical"):
        model = model.with_unit(name, parent="wards")
    again = simulate(model, start=START, days=DAYS, seed=5, replications=1, log=True)
    write_hospital(event_log(again), tmp_path / "hospital", zone="UTC", now=NOW)
    end = START + timedelta(days=DAYS)
    snapshot = open_hospital(tmp_path / "hospital").snapshot(as_of=end)
    frame = census(of_movements(snapshot), every="1h", first=START, last=end).frame
    by_place = frame.pivot("place", index="time", values="present")
    assert (by_place["wards"] == by_place["medical"] + by_place["surgical"]).all()


def test_stays_end_as_patients_leave(run, written):
    end = START + timedelta(days=DAYS)
    stays = open_hospital(written[0]).snapshot(as_of=end).stays().collect()
    assert run.replicates[1].exits.sum() == stays["end"].is_not_null().sum()
    assert set(stays["outcome"].drop_nulls()) <= {"discharged", "died"}
    there = stays["end"].is_null().sum()
    last = run.replicates[1].hourly[:, -1].sum()
    assert abs(int(there) - int(last)) < 10  # one hour later
    spans = of_stays(open_hospital(written[0]).snapshot(as_of=end)).frame
    assert spans.height == stays.height


def test_a_stay_that_is_open_at_the_time_asked_is_open(run, written):
    middle = START + timedelta(days=3)
    stays = open_hospital(written[0]).snapshot(as_of=middle).stays().collect()
    hour = 3 * 24
    assert run.replicates[1].hourly[:, hour].sum() == stays["end"].is_null().sum()


def test_who_is_there_at_the_start_came_before_it(run):
    log = event_log(run, 0)
    first = log.stays.filter(stay="V0")["start"][0]
    assert first == START - timedelta(hours=2.5)
    assert log.subjects.filter(subject="S0")["sex"][0] == "female"


def test_settings_are_json(run):
    assert json.loads(event_log(run).settings)["seed"] == 5


def test_beds_follow_the_schedule():
    model = five_units()
    ward = model.unit("icu")
    model = model.with_unit("icu", beds=ward.beds.plus(2, from_hour=24, until_hour=48))
    log = event_log(simulate(model, start=START, days=4, seed=1, replications=1, log=True))
    rows = log.beds.filter(unit="icu", bed="icu-07").select("start", "state").rows()
    day = timedelta(days=1)
    assert rows == [(START, "closed"), (START + day, "staffed"), (START + 2 * day, "closed")]


def test_a_run_without_log_says_so():
    run = simulate(five_units(), start=START, days=1, seed=1, replications=1)
    with pytest.raises(UsageError, match="log=True"):
        event_log(run)
    with pytest.raises(UsageError, match="0 to 0"):
        event_log(run, 1)


def test_simulated_patients_do_not_go_beside_others(run, tmp_path):
    (tmp_path / "something").write_text("here")
    with pytest.raises(ConflictError, match="of their own"):
        write_hospital(event_log(run), tmp_path, zone="UTC", now=NOW)


def test_littles_law_holds_on_the_log_of_a_run(run):
    """Patient-hours of the run are the sum of the sojourns of its log."""
    for number in range(2):
        log, one = event_log(run, number), run.replicates[number]
        spans = log.movements.sort("recorded").unique("row_id", keep="last")
        clipped = spans.select(
            "unit",
            hours=(pl.col("end").fill_null(log.end) - pl.max_horizontal("start", pl.lit(log.start)))
            .dt.total_microseconds()
            .cast(pl.Float64)
            / 3.6e9,
        )
        total = dict(clipped.group_by("unit").agg(pl.col("hours").sum()).iter_rows())
        for unit, hours in zip(run.model.units, one.occupied_hours.sum(axis=1), strict=True):
            assert total[unit.name] == pytest.approx(hours, rel=1e-9)
        assert np.isfinite(one.occupied_hours).all()
