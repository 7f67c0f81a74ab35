"""A simulated replicate as a hospital's tables: events, stays, movements, units, beds.

Everything that is made here carries the mark of synthetic patients
(:mod:`neva.events.synthetic`): the batch comes from the source ``synthetic``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from neva.errors import ConflictError, UsageError
from neva.events.hospital import Hospital, create_hospital
from neva.events.schema import TIME, Columns
from neva.events.synthetic import SYNTHETIC_SOURCE
from neva.flow.simulation._model_arrays import UNLIMITED, bed_steps
from neva.flow.simulation.kernel import KINDS
from neva.flow.simulation.simulation_run import SimulationRun
from neva.intake.importing import ImportSummary, import_delivery
from neva.sources.rows import Delivery, Rows

__all__ = ["EVENT_CODES", "SimulatedLog", "event_log", "write_hospital"]

#: Codes of the events of a simulated hospital, by kind of row, and what they say.
EVENT_CODES: Final = {
    "arrives": ("FLOW//arrival", "arrival from outside; the unit wanted is the text"),
    "waits": ("FLOW//wait", "began to wait outside for a bed of the unit in the text"),
    "ready": ("FLOW//ready", "stay in the unit over; waits for what is in the text"),
    "refused": ("FLOW//refused", "lost, because the unit in the text was full"),
    "cancelled": ("FLOW//cancelled", "planned arrival cancelled, because no bed was free"),
}

_MODEL_FILE = "simulation.json"


@dataclass(frozen=True, slots=True)
class SimulatedLog:
    """The tables of one replicate, as a source delivers them (local ids as text).

    Attributes
    ----------
    rows : polars.DataFrame
        The log itself: ``time`` (UTC), ``case``, ``class``, ``kind`` (see
        :data:`neva.flow.simulation.kernel.KINDS`), ``origin`` and ``target`` (a unit or
        an exit, missing: outside).
    events, stays, movements, subjects, units, beds, codes : polars.DataFrame
        Columns of :data:`neva.events.schema.ROWS`. A stay begins with its
        first bed; who was refused or waits outside has events and no stay.
        Stays and movements that had not ended are open.
    start, end : datetime
        Of the simulation.
    settings : str
        The model, seed and replicate as JSON.
    """

    rows: pl.DataFrame
    events: pl.DataFrame
    stays: pl.DataFrame
    movements: pl.DataFrame
    subjects: pl.DataFrame
    units: pl.DataFrame
    beds: pl.DataFrame
    codes: pl.DataFrame
    start: datetime
    end: datetime
    settings: str

    def to_frame(self) -> pl.DataFrame:
        """Return the log."""
        return self.rows


def event_log(run: SimulationRun, replicate: int = 0) -> SimulatedLog:
    """Return the log of one replicate in the shape of a hospital's tables.

    Parameters
    ----------
    run : SimulationRun
        Made with ``log=True``.
    replicate : int
        From 0.

    Raises
    ------
    UsageError
        There is no such replicate, or no log was kept.
    """
    if not 0 <= replicate < run.replications:
        message = f"replicate: no such one; found {replicate}; give 0 to {run.replications - 1}"
        raise UsageError(message)
    one = run.replicates[replicate]
    if not one.cases.size:
        message = "event log: no log was kept; found log=False; simulate with log=True"
        raise UsageError(message)
    end = run.start + timedelta(days=run.warm_up_days + run.days)
    rows = _simulated_rows(run, replicate)
    cases = _cases(run, replicate, rows)
    movements = _movements(rows, cases, replicate)
    settings = {"seed": run.seed, "replicate": replicate, "start": str(run.start)}
    settings |= {"days": run.days, "warm_up_days": run.warm_up_days, "model": asdict(run.model)}
    return SimulatedLog(
        rows=rows.drop("row"),
        events=_events(rows, cases, replicate, end),
        stays=_simulated_stays(movements, rows, cases),
        movements=_both(movements.drop("start_of_stay"), "end"),
        subjects=cases.select("subject", "sex", recorded="first"),
        units=_units(run),
        beds=_beds(run),
        codes=pl.DataFrame(
            [(code, title, run.start) for code, title in EVENT_CODES.values()],
            schema={"code": pl.String, "description": pl.String, "recorded": TIME},
            orient="row",
        ),
        start=run.start,
        end=end,
        settings=json.dumps(settings, sort_keys=True),
    )


def _simulated_rows(run: SimulationRun, replicate: int) -> pl.DataFrame:
    one = run.replicates[replicate]
    names = pl.Series([*run.model.states], dtype=pl.String)
    origin = int(run.clock.origin.timestamp()) * 1_000_000
    classes = pl.Series([each.name for each in run.model.classes], dtype=pl.String)

    def named(states: np.ndarray) -> pl.Series:
        found = pl.Series(states.astype(np.int64))
        return names.gather(found.set(found < 0, None))

    times = origin + np.rint(one.log["time"] * 3.6e9).astype(np.int64)
    return pl.DataFrame(
        {
            "row": np.arange(times.size),
            "time": pl.Series(times).cast(TIME),
            "case": one.log["case"].astype(np.int64),
            "class": classes.gather(one.cases["group"][one.log["case"]].astype(np.int64)),
            "kind": pl.Series(KINDS).gather(one.log["kind"].astype(np.int64)),
            "origin": named(one.log["origin"]),
            "target": named(one.log["target"]),
        }
    )


def _cases(run: SimulationRun, replicate: int, rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each case: ids, sex, first moment."""
    first = (
        rows.group_by("case", maintain_order=True).agg(pl.col("time").first(), "class").sort("case")
    )
    simulated_cases = run.replicates[replicate].cases[first["case"].to_numpy()]
    return pl.DataFrame(
        {
            "case": first["case"],
            "subject": "S" + first["case"].cast(pl.String),
            "stay": "V" + first["case"].cast(pl.String),
            "sex": pl.Series(np.where(simulated_cases["female"] == 1, "female", "male")),
            "class": first["class"].list.first(),
            "elapsed": pl.Series((simulated_cases["elapsed"] * 3.6e9).astype(np.int64)).cast(
                pl.Duration("us")
            ),
            "first": first["time"],
        }
    ).with_columns(first=pl.col("first") - pl.col("elapsed"))


def _movements(rows: pl.DataFrame, cases: pl.DataFrame, replicate: int) -> pl.DataFrame:
    placed = rows.filter(pl.col("kind").is_in(["present", "starts", "leaves"])).sort("case", "row")
    spans = (
        placed.with_columns(end=pl.col("time").shift(-1).over("case"))
        .filter(pl.col("kind") != "leaves")
        .join(cases, on="case", maintain_order="left")
        .with_columns(
            start=pl.when(pl.col("kind") == "present")
            .then(pl.col("time") - pl.col("elapsed"))
            .otherwise("time"),
            place=pl.int_range(pl.len()).over("case"),
        )
    )
    return spans.select(
        "stay",
        "subject",
        "start",
        "end",
        unit="target",
        row_id=pl.concat_str(
            pl.lit(f"{replicate}-"), "stay", pl.lit("-"), pl.col("place").cast(pl.String)
        ),
        start_of_stay=pl.col("start").min().over("case"),
    )


def _both(spans: pl.DataFrame, end: str) -> pl.DataFrame:
    """Two rows for each that has ended: one known at the start, one at the end."""
    begun = spans.with_columns(pl.lit(None, dtype=TIME).alias(end), recorded="start")
    if "outcome" in spans.columns:
        begun = begun.with_columns(outcome=pl.lit(None, dtype=pl.String))
    ended = spans.filter(pl.col(end).is_not_null()).with_columns(recorded=end)
    return pl.concat([begun, ended]).with_columns(recorded_assumed=pl.lit(value=False))


def _simulated_stays(
    movements: pl.DataFrame, rows: pl.DataFrame, cases: pl.DataFrame
) -> pl.DataFrame:
    ends = rows.filter(pl.col("kind") == "leaves").select("case", end="time", outcome="target")
    begins = movements.group_by("stay", "subject", maintain_order=True).agg(
        start=pl.col("start").min()
    )
    stays = begins.join(
        cases.select("stay", "case", source="class"), on="stay", maintain_order="left"
    ).join(ends, on="case", how="left", maintain_order="left")
    return _both(stays.drop("case").with_columns(kind=pl.lit("inpatient")), "end")


def _events(rows: pl.DataFrame, cases: pl.DataFrame, replicate: int, end: datetime) -> pl.DataFrame:
    placed = rows.filter(pl.col("kind").is_in(["present", "starts"])).select("case").unique()
    kept = rows.filter(pl.col("kind").is_in(list(EVENT_CODES)), pl.col("time") < end)
    return (
        kept.join(cases.select("case", "subject", "stay"), on="case", maintain_order="left")
        .with_columns(
            has_stay=pl.col("case").is_in(placed["case"].implode()),
            code=pl.col("kind").replace_strict({k: code for k, (code, _) in EVENT_CODES.items()}),
        )
        .select(
            "subject",
            "time",
            "code",
            stay=pl.when("has_stay").then("stay"),
            text="target",
            recorded="time",
            recorded_assumed=pl.lit(value=False),
            sequence="row",
            row_id=pl.lit(f"{replicate}-") + pl.col("row").cast(pl.String),
        )
    )


def _units(run: SimulationRun) -> pl.DataFrame:
    known = {unit.name for unit in run.model.units}
    above = dict.fromkeys(u.parent for u in run.model.units if u.parent and u.parent not in known)
    rows: list[tuple[str, str | None, str | None, datetime]] = [
        (unit.name, unit.parent, unit.kind, run.start) for unit in run.model.units
    ]
    rows += [(name, None, None, run.start) for name in above]
    schema: Columns = {"unit": pl.String, "parent": pl.String, "kind": pl.String, "recorded": TIME}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _beds(run: SimulationRun) -> pl.DataFrame:
    """Every bed with the times in which it was staffed, and in which it was closed."""
    rows = []
    for unit in run.model.units:
        times, number = bed_steps(unit.beds, run.clock)
        if number == [UNLIMITED]:
            continue
        moments = [max(run.start, run.clock.origin + timedelta(hours=t)) for t in times]
        for bed in range(max(number)):
            states = ["staffed" if count > bed else "closed" for count in number]
            changes = [i for i in range(len(states)) if i == 0 or states[i] != states[i - 1]]
            for place, i in enumerate(changes):
                last = place + 1 == len(changes)
                until = None if last else moments[changes[place + 1]]
                side = bed >= max(number) - unit.side_rooms
                name = f"{unit.name}-{bed + 1:02}"
                rows.append((unit.name, name, moments[i], until, states[i], side, moments[i]))
    return pl.DataFrame(
        rows,
        schema={
            "unit": pl.String,
            "bed": pl.String,
            "start": TIME,
            "end": TIME,
            "state": pl.String,
            "side_room": pl.Boolean,
            "recorded": TIME,
        },
        orient="row",
    )


def write_hospital(log: SimulatedLog, path: Path, *, zone: str, now: datetime) -> ImportSummary:
    """Write a simulated replicate as a new hospital, marked as synthetic.

    Parameters
    ----------
    log : SimulatedLog
    path : Path
        A folder that does not exist or is empty.
    zone : str
        The hospital's time zone.
    now : datetime
        Aware: the import time.

    Raises
    ------
    ConflictError
        The folder holds something already: simulated patients never stand
        beside real ones.
    """
    try:
        hospital = create_hospital(path, zone=zone, now=now)
    except ConflictError as error:
        message = (
            f"{path}: simulated patients need a hospital of their own; found something in the "
            "folder; give a new one"
        )
        raise ConflictError(message) from error
    return _imported(log, hospital, now)


def _imported(log: SimulatedLog, hospital: Hospital, now: datetime) -> ImportSummary:
    file = hospital.path / _MODEL_FILE
    file.write_text(log.settings, encoding="utf-8")
    delivery = Delivery(
        name=SYNTHETIC_SOURCE,
        assigner=SYNTHETIC_SOURCE,
        kind=SYNTHETIC_SOURCE,
        files=(file,),
        rows=_delivered(log),
        order="column",
    )
    return import_delivery(hospital, delivery, label="simulation", now=now)


def _delivered(log: SimulatedLog) -> Iterator[Rows]:
    for table in ("codes", "units", "beds", "subjects", "stays", "movements", "events"):
        yield Rows(table, getattr(log, table))
