"""The hospital as it is made: decided whole, its rows written block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from neva.events.synthetic import SYNTHETIC_SOURCE
from neva.sources.rows import Delivery, Rows
from neva.synthesis import care, covid, tables
from neva.synthesis.drawing import NEVER, as_time, generator
from neva.synthesis.journeys import NUMBER, journeys
from neva.synthesis.known import Known
from neva.synthesis.ledger import Block, Ledger
from neva.synthesis.measurements import laboratory, vital_signs
from neva.synthesis.measures import Answers
from neva.synthesis.measures_acute import sepsis_measures, stroke_measures
from neva.synthesis.measures_covid import covid_measures
from neva.synthesis.movements import Movements, move
from neva.synthesis.operations import (
    closed_bed_rows,
    operation_code_rows,
    operation_rows,
    planned_rows,
)
from neva.synthesis.plan import Plan
from neva.synthesis.units import UNITS, bed_rows, unit_rows
from neva.synthesis.vocabulary import code_rows

__all__ = ["Generation"]

#: Subjects in a block. A block draws from its own stream, so this number is
#: part of the generator: another one makes another hospital.
_SUBJECTS_PER_BLOCK: Final = 500


@dataclass(frozen=True)
class Generation:
    """A synthetic hospital, decided but not yet written.

    Attributes
    ----------
    plan : Plan
        What it follows from.
    journeys : polars.DataFrame
        Every stay's decisions, and ``intensive_admitted``: when it first had a
        bed in intensive care.
    movements : Movements
        Where every stay lies, and the beds.
    """

    plan: Plan
    journeys: pl.DataFrame
    movements: Movements

    @classmethod
    def of(cls, plan: Plan) -> Generation:
        """Decide the hospital of a plan."""
        stays = journeys(plan)
        moved = move(plan, stays)
        intensive = [unit.name for unit in UNITS if unit.kind == "icu"]
        admitted = (
            moved.frame.filter(pl.col("unit").is_in(intensive))
            .group_by("number")
            .agg(intensive_admitted=pl.col("start").min())
        )
        stays = stays.join(admitted, on="number", how="left", maintain_order="left").with_columns(
            pl.col("intensive_admitted").fill_null(NEVER)
        )
        return cls(plan=plan, journeys=stays, movements=moved)

    def blocks(self) -> Iterator[tuple[Block, pl.DataFrame]]:
        """Yield blocks of whole subjects with their ledgers."""
        subjects = self.journeys["subject_number"].unique().sort().to_numpy()
        place = np.searchsorted(subjects, self.journeys["subject_number"].to_numpy())
        number = pl.Series(place // _SUBJECTS_PER_BLOCK)
        for index, frame in enumerate(
            self.journeys.with_columns(_block=number).partition_by(
                "_block", maintain_order=True, include_key=False
            )
        ):
            block = Block(index, frame)
            yield block, self._ledger(block)

    def _ledger(self, block: Block) -> pl.DataFrame:
        rng = generator(self.plan.seed, "block", block.number)
        ledger = Ledger(block, rng, cut=self.plan.microseconds()[1])
        care.emergency_and_sepsis(ledger)
        care.support_and_flags(ledger)
        first_alarm = vital_signs(ledger)
        laboratory(ledger, self.plan.zone)
        covid.tests_for_the_virus(ledger)
        covid.covid_care(ledger, first_alarm)
        care.vascular(ledger)
        care.surgery(ledger)
        care.diagnoses(ledger)
        return ledger.finish()

    def truth_of(self, block: Block, ledger: pl.DataFrame) -> pl.DataFrame:
        """Return the answers of every measure for the stays of a block."""
        _, cut = self.plan.microseconds()
        mine = self.movements.frame.join(block.journeys.select("number"), on="number", how="semi")
        known = Known(block, ledger, mine, cut=cut, zone=self.plan.zone)
        answers = Answers(known, block.journeys["stay"])
        covid_measures(known, answers)
        sepsis_measures(known, answers)
        stroke_measures(known, answers)
        return answers.frame()

    def deterioration(self) -> pl.DataFrame:
        """Return when each stay first needed advanced support, or ended in death.

        Returns
        -------
        polars.DataFrame
            ``stay``, ``time`` (UTC), ``kind`` (high-flow, non-invasive,
            invasive, death), ``by_cut`` (it lies before the data cut). Only
            stays with a need; it is what happened, whatever was recorded.
        """
        _, cut = self.plan.microseconds()
        needs = self.journeys.filter(pl.col("need") != NEVER)
        return needs.select(
            "stay",
            time=as_time(needs["need"].to_numpy()),
            kind="need_kind",
            by_cut=pl.col("need") <= cut,
        )

    def configuration(self) -> Iterator[Rows]:
        """Yield what a hospital knows before its first patient: codes, units and beds."""
        plan = self.plan
        yield Rows("codes", code_rows().with_columns(recorded=pl.lit(plan.begins)))
        yield Rows("units", unit_rows(plan))
        yield Rows("beds", bed_rows(plan, self.movements.beds))
        if plan.operations:
            yield Rows("codes", operation_code_rows(plan))
            yield Rows("beds", closed_bed_rows(plan, self.movements))

    def rows(self, *, after: bool, truth: list[pl.DataFrame] | None = None) -> Iterator[Rows]:
        """Yield the rows to import.

        Parameters
        ----------
        after : bool
            What became known after the data cut, instead of what was known at it.
        truth : list of polars.DataFrame, optional
            Gets the answers of each block as it is made.
        """
        plan = self.plan
        _, cut = plan.microseconds()
        electives = self.journeys.filter(pl.col("category") == NUMBER["elective"]).height
        booked, bookings = tables.booking_rows(plan, electives)
        if not after:
            yield from self.configuration()
            yield Rows("subjects", tables.timed(booked))
        for table, rows in (
            ("subjects", tables.subject_rows(self.journeys)),
            ("stays", tables.stay_rows(self.journeys)),
            ("movements", tables.movement_rows(self.journeys, self.movements.frame)),
        ):
            yield Rows(table, tables.timed(tables.split(rows, cut, after=after)))
        for block, ledger in self.blocks():
            if truth is not None:
                truth.append(self.truth_of(block, ledger))
            yield Rows("events", tables.event_rows(block, ledger, cut, after=after))
        if not after:
            yield Rows("events", bookings)
            if plan.operations:
                yield Rows("events", operation_rows(plan, self.journeys, self.movements))
                yield Rows("events", planned_rows(bookings))
            yield Rows("events", tables.last_row(plan, self.journeys))

    def delivery(
        self, file: Path, *, after: bool = False, truth: list[pl.DataFrame] | None = None
    ) -> Delivery:
        """Return the delivery of this hospital; `file` holds its plan."""
        return _delivered(file, self.rows(after=after, truth=truth))

    def configuration_delivery(self, file: Path) -> Delivery:
        """Return the delivery of codes, units and beds alone; `file` holds the plan."""
        return _delivered(file, self.configuration())


def _delivered(file: Path, rows: Iterator[Rows]) -> Delivery:
    return Delivery(
        name=SYNTHETIC_SOURCE,
        assigner=SYNTHETIC_SOURCE,
        kind=SYNTHETIC_SOURCE,
        files=(file,),
        rows=rows,
        order="column",
    )
