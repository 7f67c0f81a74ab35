"""The synthetic hospital as HL7 v2 messages, in the order in which they are sent."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl

from neva.files.whole import whole_file
from neva.synthesis.generation import Generation
from neva.synthesis.operations import operation_code_rows
from neva.synthesis.plan import Plan
from neva.synthesis.traffic.disorder import (
    Disorder,
    disordered,
    scheduled,
    temporary_numbers,
)
from neva.synthesis.traffic.segments import (
    control_id,
    event_segments,
    event_type,
    header,
    merge_segment,
    patient,
    visit,
)
from neva.synthesis.traffic.statements import ORDER, Statements, visits
from neva.synthesis.vocabulary import code_rows

__all__ = ["Disorder", "Message", "Traffic", "frame", "write_frames"]

#: So many messages are written as text at once.
_AT_ONCE: Final = 20_000
#: The messages in which the segments of events stand.
_CARRIERS: Final = {"OBX": "ORU", "ZEV": "ORU", "RXA": "RAS", "DG1": "A08"}
_MESSAGE: Final = ("subject", "stay", "sent", "trigger")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it is sent.

    Attributes
    ----------
    at : datetime
        Hospital time (UTC) at which it is sent: its MSH-7, or later where it is late.
    trigger : str
        ``A01``, ``A02``, ..., ``ORU`` or ``RAS``.
    control_id : str
        MSH-10; a repeated message has that of the first.
    repeated : bool
        The same bytes were sent before.
    lane : int
        Messages about one patient have the same; they keep their order.
    content : bytes
        UTF-8, segments ended by CR.
    """

    at: datetime
    trigger: str
    control_id: str
    repeated: bool
    lane: int
    content: bytes


def frame(content: bytes) -> bytes:
    r"""Put a message into the frame of MLLP.

    Examples
    --------
    >>> frame(b"MSH|...")
    b'\x0bMSH|...\x1c\r'
    """
    return b"\x0b" + content + b"\x1c\r"


@dataclass(frozen=True)
class Traffic:
    """Everything that the systems of a synthetic hospital tell.

    Attributes
    ----------
    plan : Plan
        The hospital.
    disorder : Disorder or None
        None: each message once, when it is told, nothing wrong.
    schedule : polars.DataFrame
        ``at``, ``number``, ``subject``, ``repeated``: one row a sending, in order.
    messages : polars.DataFrame
        One row a message, by ``number``: what it says of persons and visits.
    events : polars.DataFrame
        The events in the messages, by ``number``.
    """

    plan: Plan
    disorder: Disorder | None
    schedule: pl.DataFrame
    messages: pl.DataFrame
    events: pl.DataFrame

    @classmethod
    def of(cls, plan: Plan, disorder: Disorder | None = None) -> Self:
        """Make the messages of a hospital, not yet as text.

        Parameters
        ----------
        plan : Plan
            The hospital; the same patients as :func:`neva.synthesis.synthesise` writes,
            with what becomes known after the data cut.
        disorder : Disorder, optional
            What goes wrong on the way; the final state is the same.
        """
        statements = Statements.of(Generation.of(plan))
        numbers = None
        if disorder is not None:
            statements = disordered(statements, disorder)
            numbers = temporary_numbers(statements, disorder)
            statements = _known_later(statements, numbers)
        statements = statements.with_persons_told()
        events = _with_fillers(statements.events)
        messages = pl.concat(
            [
                statements.visits.with_columns(is_carrier=pl.lit(value=False)),
                _carriers(events, statements.stays).with_columns(is_carrier=pl.lit(value=True)),
            ]
        ).with_columns(person="subject")
        if numbers is not None:
            messages = _under_temporary_numbers(messages, numbers)
        rank = pl.col("trigger").replace_strict(
            {name: place for place, name in enumerate(ORDER)}, return_dtype=pl.Int8
        )
        messages = (
            messages.sort("sent", "subject", rank, "stay", "occurred", maintain_order=True)
            .with_row_index("number")
            .with_columns(pl.col("number").cast(pl.Int64))
        )
        carriers = messages.filter(pl.col("is_carrier")).select(*_MESSAGE, "number")
        events = (
            events.join(carriers, on=_MESSAGE, how="left", nulls_equal=True)
            .sort("number", "segment", "filler", "sequence", "id")
            .pipe(_with_places)
        )
        messages = messages.join(
            statements.persons, on="subject", how="left", maintain_order="left"
        )
        return cls(
            plan=plan,
            disorder=disorder,
            schedule=scheduled(messages.select("number", "sent", "subject"), disorder),
            messages=messages,
            events=events,
        )

    def __len__(self) -> int:
        return self.schedule.height

    def __iter__(self) -> Iterator[Message]:
        return self.between()

    def between(
        self, begin: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Message]:
        """Yield the messages that are sent from `begin` (included) until `until` (excluded)."""
        at = self.schedule["at"]
        first = 0 if begin is None else int((at < begin).sum())
        last = len(self) if until is None else int((at < until).sum())
        for start in range(first, last, _AT_ONCE):
            part = self.schedule.slice(start, min(_AT_ONCE, last - start))
            texts = self._texts(part["number"].unique().sort())
            sendings = part.select("at", "number", "subject", "repeated")
            for sent_at, number, subject, repeated in sendings.iter_rows():
                trigger, control_id, text = texts[number]
                yield Message(
                    at=sent_at,
                    trigger=trigger,
                    control_id=control_id,
                    repeated=repeated,
                    lane=zlib.crc32(subject.encode()),
                    content=text.encode(),
                )

    def _texts(self, numbers: pl.Series) -> dict[int, tuple[str, str, str]]:
        """Write messages: trigger, control id and text of each number."""
        zone = self.plan.zone
        low, high = (
            np.searchsorted(self.events["number"].to_numpy(), numbers.to_numpy(), side=side)
            for side in ("left", "right")
        )
        many = high - low
        before = np.repeat(low - (np.cumsum(many) - many), many)
        events = self.events[before + np.arange(many.sum())].join(
            _descriptions(self.plan), on="code", how="left", maintain_order="left"
        )
        bodies = (
            events.select("number")
            .with_columns(event_segments(events, zone).alias("segments"))
            .group_by("number", maintain_order=True)
            .agg(pl.col("segments").str.join("\r"))
        )
        written = (
            self.messages[numbers]
            .join(bodies, on="number", how="left", maintain_order="left")
            .select(
                "number",
                "trigger",
                control_id(),
                text=pl.concat_str(
                    header(zone), event_type(zone), patient(zone), merge_segment(), visit(zone),
                    "segments", pl.lit(""), separator="\r", ignore_nulls=True,
                ),
            )
        )  # fmt: skip
        return {number: (trigger, id_, text) for number, trigger, id_, text in written.iter_rows()}


def write_frames(
    traffic: Traffic, path: Path, *, begin: datetime | None = None, until: datetime | None = None
) -> Counter[str]:
    """Write messages to a file, each in the frame of MLLP; return how many of each trigger."""
    written: Counter[str] = Counter()
    with whole_file(path) as draft, draft.open("wb") as file:
        for message in traffic.between(begin, until):
            file.write(frame(message.content))
            written[message.trigger] += 1
    return written


def _descriptions(plan: Plan) -> pl.DataFrame:
    tables = (code_rows(), operation_code_rows(plan))
    return pl.concat(table.select("code", "description") for table in tables).unique(
        "code", keep="first", maintain_order=True
    )


def _known_later(statements: Statements, numbers: pl.DataFrame) -> Statements:
    """Tell of a person who came under another number only when that was merged."""
    arrived = statements.persons.join(
        numbers.select("subject", "start", "merged_at"), on="subject", maintain_order="left"
    ).filter((pl.col("known") >= pl.col("start")) & (pl.col("known") < pl.col("merged_at")))
    later = arrived.select("subject", later=pl.col("merged_at") + pl.duration(minutes=1))
    persons = statements.persons.join(
        later, on="subject", how="left", maintain_order="left"
    ).with_columns(known=pl.coalesce("later", "known"))
    return replace(statements, persons=persons.drop("later"))


def _under_temporary_numbers(messages: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """Give the first messages of some stays another record number, and merge it afterwards."""
    numbered = messages.join(
        numbers.select("stay", "temporary", "merged_at"),
        on="stay",
        how="left",
        maintain_order="left",
    ).with_columns(
        person=pl.when(pl.col("sent") < pl.col("merged_at")).then("temporary").otherwise("person")
    )
    merges = visits(
        numbers.select(
            "subject", trigger=pl.lit("A40"), sent="merged_at", occurred="merged_at",
            merged="temporary",
        )
    ).with_columns(is_carrier=pl.lit(value=False), person="subject")  # fmt: skip
    return pl.concat([numbered.select(merges.columns), merges])


def _carriers(events: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
    """Return the messages in which events stand."""
    carriers = events.unique(_MESSAGE, keep="first", maintain_order=True).select(_MESSAGE)
    whole = carriers.join(
        stays.select("stay", "kind", "start"), on="stay", how="left", maintain_order="left"
    )
    is_visit = pl.col("trigger") == "A08"
    return visits(
        whole.with_columns(
            start=pl.when(is_visit).then("start"), occurred=pl.when(is_visit).then("sent")
        )
    )


def _with_fillers(events: pl.DataFrame) -> pl.DataFrame:
    """Give each event its carrier, and the filler number of its order.

    Results that were told together share one; what is spoken of again, or is
    told twice over, has its own.
    """
    together = pl.col("segment").is_in(["OBX"]) & ~pl.col("named")
    events = events.with_columns(
        trigger=pl.col("segment").replace_strict(_CARRIERS, return_dtype=pl.String)
    )
    others, results = events.filter(~together), events.filter(together)
    same = ("subject", "stay", "sent")
    results = results.with_columns(
        filler=pl.col("id").first().over(same),
        repetition=pl.int_range(pl.len()).over(*same, "code", "time"),
    ).with_columns(filler=pl.when(pl.col("repetition") == 0).then("filler").otherwise("id"))
    return pl.concat([others.with_columns(filler="id"), results.drop("repetition")])


def _with_places(events: pl.DataFrame) -> pl.DataFrame:
    """Number the orders of each message, and the results of each order.

    A message of results has an order at least, also where no result is in it.
    """
    starts = pl.col("number") != pl.col("number").shift(1)
    changes = starts | (pl.col("filler") != pl.col("filler").shift(1))
    is_first = (
        pl.when(pl.col("segment") == "OBX")
        .then(changes)
        .otherwise(starts & (pl.col("segment") == "ZEV"))
    )
    return events.with_columns(is_first=is_first.fill_null(value=True)).with_columns(
        group=pl.col("is_first").cum_sum().over("number"),
        set=pl.int_range(1, pl.len() + 1).over("number", "filler"),
    )
