"""Sojourns of invented hospitals, for tests: known rates, no store."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from neva.events.schema import TIME
from neva.flow.stays.sojourns import Sojourns

BEGIN = datetime(2021, 1, 4, tzinfo=UTC)  # a Monday


def sojourns_from(rows, *, now, precision="instant", zone="UTC"):
    """Rows: (case, class, state, start hour, end hour, next or None), hours since BEGIN."""
    frame = pl.DataFrame(
        [
            (case, case, kind, state, BEGIN + timedelta(hours=float(a)),
             BEGIN + timedelta(hours=float(b)), to, BEGIN + timedelta(hours=float(a)), False)
            for case, kind, state, a, b, to in rows
        ],
        schema={
            "case": pl.Int64, "subject_id": pl.Int64, "class": pl.String, "state": pl.String,
            "start": TIME, "end": TIME, "next": pl.String, "entered": TIME, "lost": pl.Boolean,
        },
        orient="row",
    ).sort("case", "start")  # fmt: skip
    states = tuple(sorted(frame["state"].unique()))
    exits = tuple(sorted(set(frame["next"].drop_nulls()) - set(states)))
    return Sojourns(
        frame=frame, states=states, exits=exits, now=BEGIN + timedelta(hours=float(now)),
        zone=zone, identity="invented", what="patients by unit", precision=precision,
    )  # fmt: skip


def invented(
    days, *, seed=1, per_day=20.0, icu_share=0.2, ward_days=3.0, icu_days=2.0, ed_hours=4.0
):
    """A hospital without capacity: ed -> ward or icu or home, icu -> ward or death."""
    rng = np.random.default_rng(seed)
    hours = 24.0 * days
    rows = []
    starts = np.sort(rng.uniform(0, hours, rng.poisson(per_day * days)))
    for case, start in enumerate(starts):
        at, state = start, "ed"
        while True:
            if state == "ed":
                stay = rng.gamma(4, ed_hours / 4)
                to = rng.choice(
                    ["ward", "icu", "discharged"],
                    p=[0.5 - icu_share / 2, icu_share, 0.5 - icu_share / 2],
                )
            elif state == "icu":
                stay, to = (
                    rng.exponential(24 * icu_days),
                    rng.choice(["ward", "died"], p=[0.8, 0.2]),
                )
            else:
                stay, to = rng.exponential(24 * ward_days), "discharged"
            end = at + stay
            rows.append(
                (case, "inpatient", state, at, min(end, hours), str(to) if end < hours else None)
            )
            if end >= hours or to in ("discharged", "died"):
                break
            at, state = end, str(to)
    return sojourns_from(rows, now=hours)
