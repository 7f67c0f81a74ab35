"""Order between events of one time, and clocks."""

import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from tests.hospitals import new_hospital, take_csv
from tests.shared_data import shared

from neva.pathways import activity_log, discover_map, find_variants

WITH_ORDER = """
neva: 1
name: sepsis-ordered
zone: Europe/Amsterdam
tables:
  - files: ["*.csv"]
    subject: Case ID
    stay: Case ID
    order: {column: place}
    recorded: {after: time}
    events:
      - code: {system: SEPSIS, column: Activity}
        time: {column: Complete Timestamp, formats: ["%Y/%m/%d %H:%M:%S%.f"]}
"""


def sepsis_rows() -> pl.DataFrame:
    """The sepsis log with an order column, as text."""
    log = pl.read_csv(
        shared("data", "sepsis-eventlog", "sepsis.csv"), separator=";", infer_schema=False
    ).select("Case ID", "Activity", "Complete Timestamp")
    return log.with_row_index("place")


def pathways_of(folder: Path, files: dict[str, pl.DataFrame], mapping: str):
    folder.mkdir(parents=True)
    (folder / "mapping.yaml").write_text(mapping)
    hospital = new_hospital(folder, zone="Europe/Amsterdam")
    for name, frame in files.items():
        frame.write_csv(folder / name)
        take_csv(hospital, folder / name, folder / "mapping.yaml")
    return hospital, activity_log(hospital.snapshot())


def test_half_of_the_rows_of_the_sepsis_log_share_case_and_time():
    rows = sepsis_rows()
    shared_times = rows.filter(pl.struct("Case ID", "Complete Timestamp").is_duplicated()).height
    assert 0.4 < shared_times / rows.height < 0.6


def test_with_an_order_column_shuffling_and_splitting_change_nothing(tmp_path):
    rows = sepsis_rows()
    shuffled = rows.sample(fraction=1, shuffle=True, seed=7)
    variants = {
        "whole": {"a.csv": rows},
        "shuffled": {"a.csv": shuffled},
        "split": {"a.csv": shuffled[:4000], "b.csv": shuffled[4000:]},
    }
    found = {}
    for name, files in variants.items():
        hospital, log = pathways_of(tmp_path / name, files, WITH_ORDER)
        variants_found = find_variants(log)
        paths = sorted(
            (variants_found.pathway(k), int(n)) for k, n in enumerate(variants_found.count)
        )
        edges = discover_map(log).edges.sort("source", "target").rows()
        found[name] = (paths, edges, log.ties)
        assert hospital.snapshot().events().collect().height == 15_214
    assert len(found["whole"][0]) == 846
    assert found["whole"] == found["shuffled"] == found["split"]
    assert found["whole"][2] == 0


def test_without_any_order_the_fallback_is_stable_and_said(tmp_path):
    rows = sepsis_rows()
    mapping = WITH_ORDER.replace("order: {column: place}", "order: none")
    counts = set()
    for seed in (1, 2):
        shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
        hospital, log = pathways_of(tmp_path / str(seed), {"a.csv": shuffled}, mapping)
        counts.add(len(find_variants(log).count))
        assert log.ties > 5_000
        assert hospital.snapshot().batches().collect()["order"].to_list() == ["none"]
    assert len(counts) == 1


def test_by_position_a_shuffled_file_gives_other_paths(tmp_path):
    """Why the source's order is kept: shuffled, the log has 840 to 851 variants."""
    mapping = WITH_ORDER.replace("order: {column: place}", "order: position")
    counts = []
    for seed in (1, 2, 3):
        rows = sepsis_rows().sample(fraction=1, shuffle=True, seed=seed)
        _, log = pathways_of(tmp_path / str(seed), {"a.csv": rows}, mapping)
        counts.append(len(find_variants(log).count))
    assert all(830 <= count <= 860 for count in counts)
    assert len(set(counts)) > 1


PRINT_EVENTS = """
import sys
from pathlib import Path
from tests.hospitals import new_hospital, take_csv
folder = Path(sys.argv[1])
folder.mkdir()
hospital = new_hospital(folder, zone="Europe/Berlin")
take_csv(hospital, Path(sys.argv[2]), sys.argv[3])
events = hospital.snapshot().events().select("time", "code", "sequence").collect()
print(events.sort("sequence").hash_rows(seed=1).sum(), events["time"].to_physical().sum())
"""


def test_the_time_zone_of_the_machine_changes_nothing(tmp_path):
    said = set()
    for k, zone in enumerate(("UTC", "Asia/Kathmandu", "America/St_Johns")):
        done = subprocess.run(
            [sys.executable, "-c", PRINT_EVENTS, str(tmp_path / str(k)),
             str(shared("data", "xes-logs", "receipt.csv.gz")), "event-log"],
            capture_output=True, text=True, check=True,
            env={"TZ": zone, "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        said.add(done.stdout)
    assert len(said) == 1


YEAR = """
neva: 1
name: year
tables:
  - subject: case
    recorded: {after: time}
    events:
      - {code: {system: T, column: act}, time: time}
"""


def test_a_log_across_both_clock_changes_keeps_its_durations(tmp_path):
    """Local times across a spring and an autumn change; elapsed time is right."""
    file = tmp_path / "year.csv"
    file.write_text(
        "case,act,time\n"
        "spring,a,2021-03-28 01:30\nspring,b,2021-03-28 03:30\n"
        "autumn,a,2021-10-31 01:30\nautumn,b,2021-10-31 03:30\n"
        "summer,a,2021-07-15 01:30\nsummer,b,2021-07-15 03:30\n"
    )
    (tmp_path / "m.yaml").write_text(YEAR)
    hospital = new_hospital(tmp_path, zone="Europe/Berlin")
    take_csv(hospital, file, tmp_path / "m.yaml")
    events = hospital.snapshot().events().collect().sort("time")
    spans = events.group_by("subject_id").agg(
        pl.col("time").min().alias("start"),
        hours=(pl.col("time").max() - pl.col("time").min()).dt.total_minutes() / 60,
    )
    by_month = {row["start"].month: row["hours"] for row in spans.iter_rows(named=True)}
    assert by_month == {3: 1.0, 7: 2.0, 10: 3.0}


def test_the_receipt_log_keeps_its_durations_across_clock_changes(tmp_path):
    """Offsets in the file on both sides of the changes: durations are elapsed time."""
    hospital = new_hospital(tmp_path, zone="Europe/Amsterdam")
    take_csv(hospital, shared("data", "xes-logs", "receipt.csv.gz"), "event-log")
    log = activity_log(hospital.snapshot())
    rows = pl.read_csv(shared("data", "xes-logs", "receipt.csv.gz"), infer_schema=False)
    expected = (
        rows.with_columns(
            time=pl.col("time:timestamp").map_elements(
                lambda t: datetime.fromisoformat(t).astimezone(UTC),
                return_dtype=pl.Datetime("us", "UTC"),
            )
        )
        .group_by("case:concept:name")
        .agg(span=pl.col("time").max() - pl.col("time").min())["span"]
        .dt.total_microseconds()
        .sort()
    )
    first, last = log.spans
    assert sorted((last - first).tolist()) == expected.to_list()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_in_the_table_is_total(tmp_path, seed):
    """The same events in any order of delivery are stored in the same order."""
    chance = random.Random(seed)
    lines = [f"{k % 3},c{k % 2},2021-01-01 10:0{k % 2},{k}" for k in range(40)]
    mapping = YEAR.replace("case\n", "case\n    order: {column: n}\n")
    stored = []
    for k in range(2):
        folder = tmp_path / str(k)
        folder.mkdir()
        chance.shuffle(lines)
        (folder / "m.yaml").write_text(mapping)
        (folder / "f.csv").write_text("\n".join(["case,act,time,n", *lines]))
        hospital = new_hospital(folder, zone="UTC")
        take_csv(hospital, folder / "f.csv", folder / "m.yaml")
        events = hospital.snapshot().stored("events").collect()
        by_subject = events.group_by("subject_id", maintain_order=True).agg("code", "sequence")
        stored.append(
            sorted(zip(by_subject["code"].to_list(), by_subject["sequence"].to_list(), strict=True))
        )
    assert stored[0] == stored[1]


TWICE = """
neva: 1
name: twice
tables:
  - subject: case
    order: position
    recorded: {after: time}
    events:
      - {code: {system: T, column: act}, time: time}
"""


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        # The clock of Amsterdam showed 02:00 to 03:00 twice on 27 October 2013.
        (["02:31", "02:33", "02:16"], ["00:31", "00:33", "01:16"]),
        (["02:31", "02:16", "02:20", "02:40"], ["00:31", "01:16", "01:20", "01:40"]),
        (["01:59", "02:16", "02:31", "03:05"], ["23:59", "00:16", "00:31", "02:05"]),
        # With its offset written there is nothing to tell.
        (["02:31+02:00", "02:16+02:00"], ["00:31", "00:16"]),
    ],
)
def test_the_order_of_rows_tells_which_of_two_equal_local_times_was_meant(
    tmp_path, times, expected
):
    rows = [f"1,a{k},2013-10-27 {time}" for k, time in enumerate(times)]
    (tmp_path / "f.csv").write_text("\n".join(["case,act,time", *rows]) + "\n")
    (tmp_path / "m.yaml").write_text(TWICE)
    hospital = new_hospital(tmp_path, zone="Europe/Amsterdam")
    take_csv(hospital, tmp_path / "f.csv", tmp_path / "m.yaml")
    events = hospital.snapshot().events().collect().sort("sequence")
    assert events["time"].dt.to_string("%H:%M").to_list() == expected
