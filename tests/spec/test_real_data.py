"""The published numbers of the real data sets, through the store."""

import polars as pl
import pytest
from tests.hospitals import new_hospital, take_csv
from tests.shared_data import shared

from neva.census import census, of_events
from neva.pathways import activity_log, discover_map, find_variants, throughput, time_between


def loaded(folder, mapping, *path, zone="UTC"):
    hospital = new_hospital(folder, zone=zone)
    summary = take_csv(hospital, shared("data", *path), mapping)
    return hospital, summary


def shape(hospital):
    """Cases, events, activities, variants."""
    log = activity_log(hospital.snapshot())
    return (
        log.case_count,
        log.event_count,
        len(log.labels),
        len(find_variants(log).count),
    )


@pytest.fixture
def sepsis(tmp_path):
    return loaded(tmp_path, "sepsis", "sepsis-eventlog", "sepsis.csv", zone="Europe/Amsterdam")[0]


def test_sepsis_has_1050_cases_and_846_variants(sepsis):
    assert shape(sepsis) == (1050, 15_214, 16, 846)


def test_the_case_called_na_keeps_its_events(sepsis):
    named = sepsis.identities().filter(pl.col("local_id") == "NA").collect()
    subject = named.filter(pl.col("kind") == "subject")["pseudonym"][0]
    events = sepsis.snapshot().events().filter(pl.col("subject_id") == subject).collect()
    assert events.height == 24


@pytest.mark.parametrize(
    ("start", "within", "both", "median_hours"),
    [
        ("ER Sepsis Triage", 342, 823, 1.53),
        ("ER Triage", 304, 823, 1.73),
        ("ER Registration", 284, 823, 1.88),
    ],
)
def test_sepsis_antibiotics_within_an_hour_of_each_clock(sepsis, start, within, both, median_hours):
    """facts/sepsis_log_answers.md: 41.6 %, 36.9 % and 34.5 % of 823."""
    times = time_between(activity_log(sepsis.snapshot()), start, "IV Antibiotics")
    assert (len(times.known), times.within(3600)) == (both, within)
    assert times.summary["median"] / 3600 == pytest.approx(median_hours, abs=0.005)


def test_billing_has_its_cases_and_the_nameless_event_is_refused(tmp_path):
    hospital, summary = loaded(
        tmp_path, "hospital-billing", "hospital-billing-eventlog", "hospital_billing.csv.gz"
    )
    assert summary.counts["events"]["read"] == 49_951
    assert summary.refusals == {"events: subject-missing": 1}
    assert shape(hospital) == (9_999, 49_950, 16, 287)


def test_almazov_monitoring(tmp_path):
    hospital, _ = loaded(
        tmp_path, "almazov-monitoring", "almazov-workflows", "remote_monitoring.csv"
    )
    assert shape(hospital) == (272, 35_611, 18, 272)
    labels = activity_log(hospital.snapshot()).labels
    assert "КЗ_оператор" in labels


def test_almazov_nurses(tmp_path):
    hospital, _ = loaded(tmp_path, "almazov-nurses", "almazov-workflows", "nurse_workflow.csv")
    assert shape(hospital) == (187, 13_644, 286, 187)


def test_tongji_ids_are_filled_down(tmp_path):
    hospital, summary = loaded(
        tmp_path, "tongji-covid", "tongji-covid", "time_series_375_prerpocess_en.xlsx"
    )
    subjects = hospital.snapshot().subjects().collect()
    stays = hospital.snapshot().stays().collect()
    assert (subjects.height, subjects["death"].count(), stays.height) == (375, 174, 375)
    assert stays["outcome"].value_counts().sort("outcome").rows() == [
        ("died", 174), ("survived", 201),
    ]  # fmt: skip
    cells = pl.read_excel(shared("data", "tongji-covid", "time_series_375_prerpocess_en.xlsx"))
    values = sum(cells[name].count() for name in cells.columns[7:])
    events = hospital.snapshot().events().collect()
    assert events.filter(pl.col("code") != "TONGJI//age").height == values
    assert summary.total("refused") == 0


def test_iowa_has_every_hour_that_the_clock_showed(tmp_path):
    hospital, summary = loaded(
        tmp_path, "iowa-ed", "uihc-ed-hourly", "uihc_ed_arrivals_2013-07_2017-06.csv"
    )
    assert summary.refusals == {"events: time-nonexistent": 4}
    assert hospital.snapshot().events().collect().height == 35_064 - 4


def test_mimic_transfers_keep_every_digit(tmp_path):
    hospital, _ = loaded(
        tmp_path, "mimic-transfers", "mimic-iv-demo-omop", "derived", "transfers.csv"
    )
    movements = hospital.snapshot().movements().collect()
    assert (movements.height, movements["unit"].drop_nulls().n_unique()) == (905, 31)
    raw = pl.read_csv(
        shared("data", "mimic-iv-demo-omop", "derived", "transfers.csv"), infer_schema=False
    )
    held = hospital.identities().collect()
    assert set(held.filter(pl.col("kind") == "subject")["local_id"]) == set(raw["subject_id"])
    assert set(held.filter(pl.col("kind") == "stay")["local_id"]) == set(
        raw["hadm_id"].drop_nulls()
    )


@pytest.mark.parametrize(
    ("file", "cases", "events", "activities", "variants", "edges", "steps", "mean", "median"),
    [
        ("running-example.csv", 6, 42, 8, 6, 16, 36, 966_890, 815_940),
        ("receipt.csv.gz", 1434, 8577, 27, 116, 99, 7143, 467_263.9, 2_868.6),
    ],
)
def test_event_logs_in_csv(
    tmp_path, file, cases, events, activities, variants, edges, steps, mean, median
):
    hospital, _ = loaded(tmp_path, "event-log", "xes-logs", file, zone="Europe/Amsterdam")
    log = activity_log(hospital.snapshot())
    found = discover_map(log)
    assert shape(hospital) == (cases, events, activities, variants)
    assert (found.edges.height, found.steps) == (edges, steps)
    summary = throughput(log).summary
    assert summary["mean"] == pytest.approx(mean, abs=0.5)
    assert summary["median"] == pytest.approx(median, abs=0.5)


def test_the_interval_log_has_start_and_end(tmp_path):
    hospital, _ = loaded(tmp_path, "event-log", "xes-logs", "interval_event_log.csv.gz")
    events = hospital.snapshot().events().collect()
    assert (events.height, events["end_time"].null_count()) == (8109, 8109)


@pytest.fixture(scope="module")
def israel(tmp_path_factory):
    """The cohort that ships with the package: no shared data needed."""
    from importlib import resources
    from pathlib import Path

    hospital = new_hospital(tmp_path_factory.mktemp("israel"), zone="Asia/Jerusalem")
    data = Path(str(resources.files("neva.sources"))) / "data" / "israel-covid"
    take_csv(hospital, data / "covid_hosp_data.csv", "israel-covid")
    return hospital


def test_israel_has_its_deaths_returns_and_open_stays(israel):
    """SOURCE.md: 2,675 patients, 200 deaths, 103 return, 311 still open."""
    snapshot = israel.snapshot()
    subjects = snapshot.subjects().collect()
    stays = snapshot.stays().collect()
    per_subject = stays.group_by("subject_id").len()
    assert (subjects.height, subjects["death"].count()) == (2675, 200)
    assert stays["end"].null_count() == 311
    assert per_subject.filter(pl.col("len") > 1).height == 103


def test_israel_states_agree_with_the_cumulative_days_of_the_file(israel):
    """The file's new_time columns count days since the start, and agree with its time columns.

    (They are often read as days in each state; then states would outlast the follow-up.)
    """
    from importlib import resources
    from pathlib import Path

    file = Path(str(resources.files("neva.sources"))) / "data/israel-covid/covid_hosp_data.csv"
    raw = pl.read_csv(file, infer_schema=False)
    ids = israel.identities().filter(pl.col("kind") == "subject").collect()
    events = (
        israel.snapshot()
        .events()
        .filter(pl.col("code").str.starts_with("COVID-STATE"))
        .sort("subject_id", "time", "sequence")
        .collect()
        .join(ids, left_on="subject_id", right_on="pseudonym")
        .with_columns(day=pl.col("time").dt.convert_time_zone("Asia/Jerusalem").dt.date())
        .with_columns(
            days=(pl.col("day") - pl.col("day").first().over("subject_id")).dt.total_days()
        )
    )
    ours = dict(events.group_by("local_id", maintain_order=True).agg("days").iter_rows())
    agreeing = 0
    for row in raw.iter_rows(named=True):
        told = [row[f"new_time{k}"] for k in range(1, len(ours[row["id"]]))]
        agreeing += all(
            said is None or float(said) == day
            for said, day in zip(told, ours[row["id"]][1:], strict=True)
        )
    assert agreeing >= 2674


def test_israel_census_is_greyed_when_follow_up_ends(israel):
    spent = of_events(israel.snapshot(), ["COVID-STATE//moderate", "COVID-STATE//severe"])
    counted = census(spent, every="1d").frame
    days = counted.with_columns(day=pl.col("time").dt.convert_time_zone("Asia/Jerusalem").dt.date())
    greyed = days.filter(~pl.col("complete"))["day"]
    assert str(greyed.min()) == "2020-04-30"
    assert days.filter(pl.col("day") < greyed.min())["complete"].all()


def test_israel_census_by_hand(israel):
    """On 1 April: every state that began by that day and ended after it."""
    spent = of_events(israel.snapshot(), ["COVID-STATE//severe"])
    counted = census(spent, every="1d").frame
    day = pl.col("time").dt.convert_time_zone("Asia/Jerusalem").dt.date()
    row = counted.filter(day == pl.date(2020, 4, 1)).row(0, named=True)
    by_hand = sum(
        spell["start"] <= row["time"] < spell["end"] for spell in spent.frame.iter_rows(named=True)
    )
    assert row["present"] == by_hand > 80
