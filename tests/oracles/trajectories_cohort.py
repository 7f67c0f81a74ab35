"""Write the sojourns of the embedded cohort for trajectories_numbers.R."""

import sys
import tempfile
from pathlib import Path

import polars as pl
from tests.hospitals import new_hospital, take_csv

from neva.flow.stays.sojourns import sojourns_of

COHORT = Path(__file__).parents[2] / "src/neva/sources/data/israel-covid/covid_hosp_data.csv"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        hospital = new_hospital(Path(folder), zone="Asia/Jerusalem")
        take_csv(hospital, COHORT, "israel-covid")
        timed = sojourns_of(hospital.snapshot()).timed()
    timed.select(
        "case",
        "state",
        entry="before_days",
        exit=pl.col("before_days") + pl.col("exit_days"),
        **{"next.": pl.col("next")},
    ).write_csv(sys.argv[1])
