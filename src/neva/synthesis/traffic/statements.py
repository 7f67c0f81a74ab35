"""What the systems of a hospital tell, and when each thing is told.

A delivery holds rows with the time at which each was recorded; systems tell the
same one by one. Three things are told otherwise than the tables have them:

- The admission tells the first place, and each transfer the end of the place
  before, as such messages do; in the tables each movement has times of its own
  at which its start and its end were recorded, minutes apart from those.
- The end of what lasts is told when it ends. The tables hold it from the start on;
  told so, it would show what is to come, and move the hospital's clock ahead.
- A death in the hospital is told with the discharge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import polars as pl

from neva.events.schema import ATTRIBUTES, TIME, Columns
from neva.sources.rows import conform
from neva.synthesis.generation import Generation

__all__ = ["ORDER", "VISITS", "Statements", "visits"]

#: Messages of one instant and stay stand in this order.
ORDER: Final = (
    "A28", "A40", "A31", "A01", "A04", "A02", "A08", "ORU", "RAS", "A03", "A11", "A12", "A13",
)  # fmt: skip
#: What an ADT message says. A missing value says nothing.
VISITS: Final[Columns] = {
    "trigger": pl.String,
    "sent": TIME,
    "occurred": TIME,
    "subject": pl.String,
    "stay": pl.String,
    "kind": pl.String,
    "unit": pl.String,
    "bed": pl.String,
    "former_unit": pl.String,
    "former_bed": pl.String,
    "source": pl.String,
    "outcome": pl.String,
    "start": TIME,
    "end": TIME,
    "death": TIME,
    "merged": pl.String,
}


@dataclass(frozen=True)
class Statements:
    """Everything that is told.

    Attributes
    ----------
    persons : polars.DataFrame
        ``subject``, ``birth_date``, ``sex``, ``known`` (from when on they are told).
    stays : polars.DataFrame
        ``stay``, ``subject``, ``kind``, ``source``, ``start``, ``end``, ``end_known``,
        ``outcome``.
    movements : polars.DataFrame
        ``stay``, ``subject``, ``start``, ``end``, ``unit``, ``bed``.
    visits : polars.DataFrame
        Columns of :data:`VISITS`: one row an ADT message, without diagnoses.
    events : polars.DataFrame
        One row for each state of an event that is told: ``subject``, ``stay``, ``id``,
        ``named`` (the source had an id of its own for it), content, ``sent``,
        ``segment`` (OBX, DG1, RXA, ZEV), ``state`` (F, C for a later state, W for a
        withdrawal).
    """

    persons: pl.DataFrame
    stays: pl.DataFrame
    movements: pl.DataFrame
    visits: pl.DataFrame
    events: pl.DataFrame

    @classmethod
    def of(cls, generation: Generation) -> Self:
        """Take them from a hospital: what was known at the data cut and what came after."""
        tables: dict[str, list[pl.DataFrame]] = {}
        for after in (False, True):
            for rows in generation.rows(after=after):
                tables.setdefault(rows.table, []).append(conform(rows.table, rows.frame))
        stays = _whole_stays(pl.concat(tables["stays"]))
        subjects = pl.concat(tables["subjects"])
        persons = subjects.filter(pl.col("death").is_null()).select(
            "subject", "birth_date", "sex", known="recorded"
        )
        movements = pl.concat(tables["movements"])
        ends = movements.filter(pl.col("end").is_not_null()).select("row_id", "end")
        begun = (
            movements.filter(pl.col("end").is_null())
            .drop("end")
            .join(ends, on="row_id", how="left", maintain_order="left")
            .sort("stay", "start", maintain_order=True)
        )
        return cls(
            persons=persons,
            stays=stays,
            movements=begun.select("stay", "subject", "start", "end", "unit", "bed", "recorded"),
            visits=pl.concat(
                [_admissions(stays, begun), _transfers(stays, begun), *_ends(stays, subjects)]
            ),
            events=_events(pl.concat(tables["events"])),
        )

    def with_persons_told(self) -> Self:
        """Add the messages that tell of persons alone: new ones, and what is added later."""
        first = self.visits.group_by("subject").agg(first=pl.col("sent").min())
        persons = self.persons.join(first, on="subject", how="left", maintain_order="left")
        is_new = pl.col("first").is_null() | (pl.col("known") <= pl.col("first"))
        persons = persons.select(
            "subject",
            trigger=pl.when(is_new).then(pl.lit("A28")).otherwise(pl.lit("A31")),
            sent="known",
            occurred="known",
        )
        return replace(self, visits=pl.concat([visits(persons), self.visits]))


def visits(rows: pl.DataFrame) -> pl.DataFrame:
    """Give rows the columns of :data:`VISITS`; what they do not have is missing."""
    return rows.select(
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in VISITS.items()
    )


def _whole_stays(rows: pl.DataFrame) -> pl.DataFrame:
    begun = rows.filter(pl.col("end").is_null())
    ended = rows.filter(pl.col("end").is_not_null())
    return begun.select("stay", "subject", "start", "kind", "source", known="recorded").join(
        ended.select("stay", "end", "outcome", end_known="recorded"),
        on="stay",
        how="left",
        maintain_order="left",
    )


def _admissions(stays: pl.DataFrame, movements: pl.DataFrame) -> pl.DataFrame:
    first = movements.unique("stay", keep="first", maintain_order=True)
    placed = stays.join(
        first.select("stay", "unit", "bed"), on="stay", how="left", maintain_order="left"
    )
    is_admitted = pl.col("kind") == "inpatient"
    return visits(
        placed.select(
            "subject",
            "stay",
            "kind",
            "source",
            "start",
            "unit",
            "bed",
            trigger=pl.when(is_admitted).then(pl.lit("A01")).otherwise(pl.lit("A04")),
            sent="known",
            occurred="start",
        )
    )


def _transfers(stays: pl.DataFrame, movements: pl.DataFrame) -> pl.DataFrame:
    moved = movements.with_columns(
        former_unit=pl.col("unit").shift(1).over("stay"),
        former_bed=pl.col("bed").shift(1).over("stay"),
        is_first=pl.int_range(pl.len()).over("stay") == 0,
    ).filter(~pl.col("is_first"))
    return visits(
        moved.join(stays.select("stay", "kind"), on="stay", maintain_order="left").select(
            "subject", "stay", "kind", "unit", "bed", "former_unit", "former_bed",
            trigger=pl.lit("A02"), sent="recorded", occurred="start",
        )
    )  # fmt: skip


def _ends(stays: pl.DataFrame, subjects: pl.DataFrame) -> list[pl.DataFrame]:
    """Discharges, with the deaths that are told with them; then the other deaths."""
    deaths = subjects.filter(pl.col("death").is_not_null()).select(
        "subject", "death", sent="recorded"
    )
    ended = stays.filter(pl.col("end").is_not_null()).select(
        "subject", "stay", "kind", "start", "end", "outcome",
        trigger=pl.lit("A03"), sent="end_known", occurred="end",
    )  # fmt: skip
    discharges = ended.join(deaths, on=["subject", "sent"], how="left", maintain_order="left")
    others = deaths.join(ended, on=["subject", "sent"], how="anti", maintain_order="left")
    return [
        visits(discharges),
        visits(others.with_columns(trigger=pl.lit("A31"), occurred=pl.col("death"))),
    ]


_STATE: Final = ("id", "sent")


def _events(rows: pl.DataFrame) -> pl.DataFrame:
    """Take apart what rows of events say: each state when it was recorded, each withdrawal.

    A row that stands in both deliveries tells its state once.
    """
    rows = rows.with_columns(
        pl.col("status").fill_null("done"),
        pl.col("precision").fill_null("instant"),
        named=pl.col("row_id").is_not_null(),
        id=pl.coalesce(
            "row_id",
            pl.concat_str(pl.lit("E"), pl.int_range(pl.len()).cast(pl.String).str.zfill(9)),
        ),
        sent="recorded",
    ).with_columns(segment=_segment())
    named = rows.filter("named")
    # All states of an event stand in segments of one kind.
    kinds = named.group_by("id").agg(
        segment=pl.when((pl.col("segment") == "ZEV").any())
        .then(pl.lit("ZEV"))
        .otherwise(pl.col("segment").first())
    )
    named = named.drop("segment").join(kinds, on="id", maintain_order="left").select(rows.columns)
    withdrawn = (
        named.filter(pl.col("retracted").is_not_null())
        .unique("id", keep="first", maintain_order=True)
        .with_columns(sent="retracted", state=pl.lit("W"))
    )
    named = named.unique(_STATE, keep="first", maintain_order=True)
    states = pl.concat([rows.filter(~pl.col("named")), named])
    lasts = (pl.col("end_time") > pl.col("sent")) & (pl.col("status") != "planned")
    lasting = states.filter(lasts)
    gone = withdrawn.select("id", gone="retracted")
    ended = (
        lasting.join(gone, on="id", how="left", maintain_order="left")
        .filter(pl.col("gone").is_null() | (pl.col("gone") > pl.col("end_time")))
        .drop("gone")
        .with_columns(sent="end_time")
    )
    begun = states.with_columns(end_time=pl.when(~lasts.fill_null(value=False)).then("end_time"))
    told_states = pl.concat([begun, ended]).sort(_STATE, maintain_order=True)
    is_first = pl.int_range(pl.len()).over("id") == 0
    told_states = told_states.with_columns(
        state=pl.when(is_first | ~pl.col("segment").is_in(["OBX"]))
        .then(pl.lit("F"))
        .otherwise(pl.lit("C"))
    )
    return pl.concat([told_states, withdrawn]).select(
        "subject", "stay", "id", "named", "code", "time", "end_time", "value", "value_unit",
        "text", "status", "reason", "rank", "attributes", "precision", "sequence", "sent",
        "segment", "state",
    )  # fmt: skip


def _segment() -> pl.Expr:
    """Choose the segment that can hold a row whole; ZEV holds what no other can.

    Administrations and diagnoses have no withdrawal that all receivers know, so
    the named ones, which may be spoken of again, are told as ZEV.
    """
    system = pl.col("code").str.extract(r"^(.*?)//", 1)
    is_plain = (
        (pl.col("status") == "done")
        & pl.col("reason").is_null()
        & pl.col("end_time").is_null()
        & (pl.col("precision") == "instant")
        & (pl.col("attributes").fill_null(pl.lit([], dtype=ATTRIBUTES)).list.len() == 0)
    )
    has_value, has_text = pl.col("value").is_not_null(), pl.col("text").is_not_null()
    is_new = ~pl.col("named") & ~has_text
    is_result = ~system.is_in(["ATC", "ICD10"]) & (has_value ^ has_text)
    return (
        pl.when(~is_plain)
        .then(pl.lit("ZEV"))
        .when(is_result & pl.col("rank").is_null())
        .then(pl.lit("OBX"))
        .when((system == "ATC") & is_new & has_value & pl.col("rank").is_null())
        .then(pl.lit("RXA"))
        .when((system == "ICD10") & is_new & ~has_value & pl.col("stay").is_not_null())
        .then(pl.lit("DG1"))
        .otherwise(pl.lit("ZEV"))
    )
