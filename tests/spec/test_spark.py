"""Spark gives the same table as DuckDB, from the same plan in its own dialect."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.property.test_engines_agree import differences

from neva.definitions.language import (
    days,
    each,
    events,
    every,
    first_known,
    hours,
    movements,
    now,
    stay,
    subject,
    value,
)
from neva.definitions.programme import load_programme
from neva.definitions.relational.warehouse import SparkWarehouse
from neva.definitions.run import answer
from neva.events.hospital import create_hospital
from neva.events.snapshot import Snapshot
from neva.quality import run_measures
from neva.synthesis import Plan, synthesise


def absent(why: str) -> None:
    """Without Spark a user's tests skip; those of CI do not."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def warehouse() -> Iterator[SparkWarehouse]:
    if shutil.which("java") is None:
        absent("Spark needs Java")
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        absent("the extra 'spark' is not installed")
    # Spark 4.3 has yet to learn of pandas 3, which it does not need here.
    warnings.simplefilter("ignore")
    session: Any = (
        SparkSession.builder.master("local[1]")
        .appName("neva-tests")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield SparkWarehouse(session)
    session.stop()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    hospital = create_hospital(
        tmp_path_factory.mktemp("spark") / "hospital", zone="Europe/Berlin", now=moment
    )
    synthesise(hospital, Plan(stays=150, seed=2, zone="Europe/Berlin"), now=moment)
    return hospital.snapshot()


@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_question_has_the_same_answer(
    warehouse: SparkWarehouse, snapshot: Snapshot
) -> None:
    saturation = events("LOINC//59408-5").during(stay)
    oxygen = events("CARE//oxygen-nasal-or-mask").during(stay)
    asked: dict[str, Any] = {
        "count": saturation.count(),
        "lowest": saturation.lowest("%").time,
        "third": saturation.nth(3).value("%"),
        "mean": saturation.mean("1"),
        "slope": saturation.slope("%"),
        "low_hours": saturation.hours_where(value("%") < 95, carry=hours(4)),
        "oxygen_hours": oxygen.hours(),
        "active": oxygen.active_at(stay.start + hours(12)).exists(),
        "age": subject.age_at(stay.start),
        "discharged": stay.start + days(30),
        "weekday": stay.start.weekday(),
        "month": stay.start.month(),
        "intensive": movements(kind="icu").during(stay).exists(),
        "days_low": every(days(1), start=stay.start, end=first_known(stay.end, now))
        .each(saturation.between(each.time, each.end_time).minimum("%") < 92)
        .count(),
        "each_high": saturation.each(each.value("%") > 90).all(),
        "last_drug": events("ATC//H02AB02").last().value("mg"),
    }
    outputs = {name: one.node for name, one in asked.items()}
    spark = answer(snapshot, outputs, warehouse=warehouse)
    duck = answer(snapshot, outputs)
    assert differences(duck.frame, spark.frame) == []
    assert duck.frame.null_count().sum_horizontal()[0] < duck.frame.height * len(outputs)


@pytest.mark.filterwarnings("ignore")
def test_measures_have_the_same_cases(warehouse: SparkWarehouse, snapshot: Snapshot) -> None:
    programme = load_programme("sepsis")
    spark = run_measures(snapshot, programme, warehouse=warehouse)
    duck = run_measures(snapshot, programme)
    assert spark.cases.equals(duck.cases)
    assert duck.cases.height > 0
