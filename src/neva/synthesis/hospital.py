"""Write a synthetic hospital, and read back what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from neva.errors import ConflictError, NotFoundError
from neva.events.hospital import Hospital, open_hospital
from neva.events.synthetic import SYNTHETIC_SOURCE
from neva.files.whole import whole_file, write_whole
from neva.intake.entered import ENTERED
from neva.intake.importing import ImportSummary, import_delivery
from neva.synthesis.generation import Generation
from neva.synthesis.measures import as_text
from neva.synthesis.plan import Plan

__all__ = ["TRUTH", "Synthesis", "deterioration", "plan_of", "prepare", "synthesise", "truth"]

#: Folder of the planted truth, inside the hospital's. No analysis reads it.
TRUTH: Final = "truth"
_PLAN: Final = "plan.json"
_AFTER: Final = "after-cut.json"
#: The plan of a hospital whose patients come as messages.
_LIVE: Final = "live.json"
_MEASURES: Final = "measures.parquet"
_DETERIORATION: Final = "deterioration.parquet"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What was made.

    Attributes
    ----------
    plan : Plan
        What the hospital follows from; its ``cut`` is the data cut.
    summary : ImportSummary
        The import of what was known at the data cut.
    after : ImportSummary or None
        The import of what became known after it, if requested.
    truth : Path
        Folder of the planted truth.
    """

    plan: Plan
    summary: ImportSummary
    after: ImportSummary | None
    truth: Path

    def to_frame(self) -> pl.DataFrame:
        """Return the counts of rows by table, as :class:`ImportSummary` does."""
        return self.summary.to_frame()


def synthesise(
    hospital: Hospital,
    plan: Plan,
    *,
    now: datetime,
    after_cut: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Synthesis:
    """Fill a hospital with synthetic patients, and write down what is true of them.

    The same plan again adds nothing.

    Parameters
    ----------
    hospital : Hospital
        Empty, or made by the same plan before.
    plan : Plan
        Size, seed, zone (the hospital's) and first day.
    now : datetime
        Aware: the import time.
    after_cut : bool
        Import also what became known after the data cut: late results, ends,
        outcomes, withdrawals. Whoever asks as of the data cut must not see it.
    progress : callable, optional
        Called with the number of rows written so far.

    Returns
    -------
    Synthesis

    Raises
    ------
    ConflictError
        The hospital has another zone, was made by another plan, or holds
        patients who are not synthetic.
    """
    _check(hospital, plan)
    folder = hospital.path / TRUTH
    folder.mkdir(exist_ok=True)
    file = folder / _PLAN
    write_whole(file, plan.to_json())
    generation = Generation.of(plan)
    answers: list[pl.DataFrame] = []
    summary = import_delivery(
        hospital,
        generation.delivery(file, truth=answers),
        label="synthetic-hospital",
        now=now,
        progress=progress,
    )
    if not (folder / _MEASURES).exists() or answers:
        answers = answers or [generation.truth_of(*block) for block in generation.blocks()]
        _write(as_text(pl.concat(answers).lazy()), folder / _MEASURES)
        _write(generation.deterioration().lazy(), folder / _DETERIORATION)
    later = None
    if after_cut:
        file = folder / _AFTER
        write_whole(file, plan.to_json())
        later = import_delivery(
            hospital,
            generation.delivery(file, after=True),
            label="synthetic-hospital-after-cut",
            now=now,
            progress=progress,
        )
    return Synthesis(plan=plan, summary=summary, after=later, truth=folder)


def prepare(hospital: Hospital, plan: Plan, *, now: datetime) -> ImportSummary:
    """Fill a hospital with codes, units and beds, and no patient: those come as messages.

    The same plan again adds nothing.

    Parameters
    ----------
    hospital : Hospital
        Empty, or prepared for the same plan before.
    plan : Plan
        Of the messages (:class:`neva.synthesis.messages.Traffic`).
    now : datetime
        Aware: the import time.

    Raises
    ------
    ConflictError
        The hospital has another zone, or holds anything else.
    """
    _check_zone(hospital, plan)
    file = hospital.path / TRUTH / _LIVE
    is_same = file.exists() and Plan.from_json(file.read_text(encoding="utf-8")) == plan
    if not is_same and (file.exists() or hospital.snapshot().batches().head(1).collect().height):
        message = (
            f"{hospital.path}: messages of a synthetic hospital need an empty one, or one that was "
            "prepared by the same plan; found another content; give a new folder"
        )
        raise ConflictError(message)
    file.parent.mkdir(exist_ok=True)
    write_whole(file, plan.to_json())
    return import_delivery(
        hospital,
        Generation.of(plan).configuration_delivery(file),
        label="synthetic-hospital-configuration",
        now=now,
    )


def _write(rows: pl.LazyFrame, path: Path) -> None:
    with whole_file(path) as draft:
        rows.sink_parquet(draft)


def _check_zone(hospital: Hospital, plan: Plan) -> None:
    if hospital.settings.zone != plan.zone:
        message = (
            f"{hospital.path}: the hospital has another zone; found {hospital.settings.zone}, the "
            f"plan says {plan.zone}; give the hospital's, or a new folder"
        )
        raise ConflictError(message)


def _check(hospital: Hospital, plan: Plan) -> None:
    """Refuse to mix synthetic patients with others."""
    _check_zone(hospital, plan)
    if (hospital.path / TRUTH / _LIVE).exists():
        message = (
            f"{hospital.path}: its patients come as messages; found that it was prepared for neva "
            "synthesise live; give a new folder"
        )
        raise ConflictError(message)
    sources = hospital.snapshot().batches().select("source").unique().collect()["source"]
    real = sorted(set(sources.to_list()) - {SYNTHETIC_SOURCE, ENTERED})
    if real:
        message = (
            f"{hospital.path}: synthetic patients must not stand beside others; found rows from "
            f"{', '.join(real)}; give a new folder"
        )
        raise ConflictError(message)
    if len(sources) and plan_of(hospital.path) != plan:
        message = (
            f"{hospital.path}: another synthetic hospital is there already; found stays "
            f"{plan_of(hospital.path).stays}, seed {plan_of(hospital.path).seed}; "
            "give a new folder"
        )
        raise ConflictError(message)


def _truth_file(path: Path | str, name: str) -> Path:
    file = Path(path) / TRUTH / name
    if not file.exists():
        message = (
            f"{file}: no planted truth; found no such file; only what neva synthesise made has one"
        )
        raise NotFoundError(message)
    return file


def plan_of(path: Path | str) -> Plan:
    """Read the plan by which a synthetic hospital was made.

    Raises
    ------
    NotFoundError
        The hospital is not synthetic.
    """
    return Plan.from_json(_truth_file(path, _PLAN).read_text(encoding="utf-8"))


def _with_stay_ids(frame: pl.DataFrame, path: Path | str) -> pl.DataFrame:
    pairs = (
        open_hospital(path)
        .identities()
        .filter(pl.col("kind") == "stay", pl.col("assigner") == SYNTHETIC_SOURCE)
        .select(stay="local_id", stay_id="pseudonym")
        .collect()
    )
    return frame.join(pairs, on="stay", how="left", maintain_order="left")


def truth(path: Path | str) -> pl.DataFrame:
    """Read the planted answers of every measure, with the hospital's stay ids.

    Parameters
    ----------
    path : Path or str
        Folder of a synthetic hospital.

    Returns
    -------
    polars.DataFrame
        One row for each stay and measure: ``stay`` (local id), ``measure``,
        ``status``, ``due`` (UTC; missing where no clock runs), ``value`` (of
        continuous measures; their status is ``met`` where there is a value),
        ``stay_id``. At the data cut of :func:`plan_of`.

    Raises
    ------
    NotFoundError
        The hospital is not synthetic.
    """
    return _with_stay_ids(pl.read_parquet(_truth_file(path, _MEASURES)), path)


def deterioration(path: Path | str) -> pl.DataFrame:
    """Read when stays first needed advanced support or ended in death.

    Parameters
    ----------
    path : Path or str
        Folder of a synthetic hospital.

    Returns
    -------
    polars.DataFrame
        ``stay`` (local id), ``time`` (UTC), ``kind`` (high-flow, non-invasive,
        invasive, death), ``by_cut``, ``stay_id``. It is what happened, also
        after the data cut, whatever was recorded.

    Raises
    ------
    NotFoundError
        The hospital is not synthetic.
    """
    return _with_stay_ids(pl.read_parquet(_truth_file(path, _DETERIORATION)), path)
