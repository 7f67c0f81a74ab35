"""Real multi-state sets as transitions, and the numbers that R makes of them."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from tests.shared_data import shared

ORACLES = Path(__file__).with_name("oracles")


def numbers(file):
    """Numbers of R by name: arrays of float, to be reshaped by the test."""

    def arrays(found):
        if isinstance(found, dict):
            return {key: arrays(value) for key, value in found.items()}
        return np.array(found, dtype=np.float64)

    return arrays(json.loads((ORACLES / file).read_text()))


def intensive_care():
    """Ventilation in intensive care; a change on the day of leaving comes half a day before it."""
    file = shared("data", "icu-hospital-multistate", "sir_cont.csv")
    rows = pl.read_csv(file, schema_overrides={"to": pl.String}).sort(
        "id", "time", maintain_order=True
    )
    same = (pl.col("time") == pl.col("time").shift(-1)).over("id").fill_null(value=False)
    return rows.with_columns(
        exit=pl.when(same).then(pl.col("time") - 0.5).otherwise("time"),
    ).with_columns(
        entry=pl.col("exit").shift(1).over("id").fill_null(0.0),
        origin=pl.col("from").cast(pl.String),
        target=pl.when(pl.col("to") != "cens").then("to"),
    )


def infections():
    """Patients with and without a hospital infection (1), their discharge (2) or death (3)."""
    rows = pl.read_csv(
        shared("data", "icu-hospital-multistate", "los_data.csv"), infer_schema=False
    ).cast(pl.Float64)
    ways = {"j.01": ("0", "1"), "j.02": ("0", "2"), "j.03": ("0", "3"), "cens": ("0", None)}
    first = rows.select(exit=pl.min_horizontal(*ways), which=pl.concat_list(*ways).list.arg_min())
    later = {"j.12": ("1", "2"), "j.13": ("1", "3"), "cens": ("1", None)}
    ill = rows.filter(pl.col("j.01").is_finite())
    second = ill.select(
        entry="j.01",
        exit=pl.min_horizontal(*later),
        which=pl.concat_list(*later).list.arg_min(),
    )

    def named(frame, table):
        states = list(table.values())
        return frame.with_columns(
            origin=pl.Series([states[k][0] for k in frame["which"]]),
            target=pl.Series([states[k][1] for k in frame["which"]], dtype=pl.String),
        ).select("entry", "exit", "origin", "target")

    return pl.concat([named(first.with_columns(entry=pl.lit(0.0)), ways), named(second, later)])


def transplants():
    """Bone-marrow transplant, one row a possible transition of an interval."""
    return pl.read_csv(
        shared("data", "ebmt-multistate", "ebmt_long.csv"), schema_overrides={"": pl.String}
    )


def intervals(frame):
    """Intervals of the transplants: one row each, with where it led to."""
    covariates = ["agecl", "year", "proph", "match"]
    return frame.group_by("id", "from", maintain_order=True).agg(
        pl.col(covariates).first(),
        entry=pl.col("Tstart").first().cast(pl.Float64),
        exit=pl.col("Tstop").first().cast(pl.Float64),
        origin=pl.col("from").first().cast(pl.String).alias("origin"),
        target=pl.col("to").filter(pl.col("status") == 1).first().cast(pl.String),
    )


def transplant_covariates(frame):
    """Age, calendar year (large means), prophylaxis and mismatch: shape (n, 4)."""
    ages = {"<=20": 15.0, "20-40": 30.0, ">40": 45.0}
    years = {"1985-1989": 1987.0, "1990-1994": 1992.0, "1995-1998": 1996.5}
    return frame.select(
        pl.col("agecl").replace_strict(ages),
        pl.col("year").replace_strict(years),
        (pl.col("proph") == "yes").cast(pl.Float64),
        (pl.col("match") == "gender mismatch").cast(pl.Float64),
    ).to_numpy()
