"""What messages would become, before any of it is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from neva.feeds.applier import read_batch
from neva.feeds.inbox import Record
from neva.sources.hl7v2.files import cut_file
from neva.sources.hl7v2.profile import Profile

__all__ = ["Check", "check_messages"]


@dataclass(frozen=True, slots=True)
class Check:
    """What messages would become.

    Attributes
    ----------
    messages : int
    incomplete : str or None
        What the file itself says is missing.
    outcomes : polars.DataFrame
        ``type``, ``outcome``, ``reason``, ``field``, ``messages``.
    rows : polars.DataFrame
        ``type``, ``becomes`` (the event of a statement, or a code), ``rows``.
    doubts : polars.DataFrame
        ``type``, ``reason``, ``about``, ``rows``.
    """

    messages: int
    incomplete: str | None
    outcomes: pl.DataFrame
    rows: pl.DataFrame
    doubts: pl.DataFrame


def _counted(counts: Counter[tuple[str | None, ...]], names: tuple[str, ...]) -> pl.DataFrame:
    schema = {**dict.fromkeys(names[:-1], pl.String), names[-1]: pl.Int64}
    rows = [(*key, number) for key, number in counts.items()]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.sort(names[0], names[-1], descending=[False, True], maintain_order=True)


def check_messages(content: bytes, profile: Profile, *, zone: str, now: datetime) -> Check:
    """Say what the messages of a file would become.

    Parameters
    ----------
    content : bytes
        As :func:`neva.sources.hl7v2.files.cut_file` reads it.
    profile : Profile
    zone : str
        Of times without an offset, where the profile names none.
    now : datetime
        Aware: as if they arrived now.

    Returns
    -------
    Check
        Without any value of a patient.
    """
    cut = cut_file(content)
    records = [Record(number, now, one) for number, one in enumerate(cut.messages, 1)]
    reads = read_batch(records, profile, zone=profile.zone or zone)
    outcomes: Counter[tuple[str | None, ...]] = Counter()
    rows: Counter[tuple[str | None, ...]] = Counter()
    doubts: Counter[tuple[str | None, ...]] = Counter()
    for one in reads:
        kind = one.header.type if one.header else "?"
        outcomes[kind, one.outcome, one.reason, one.field] += 1
        if one.interpreted is None:
            continue
        for statement in one.interpreted.statements:
            about = "stay" if statement.get("stay") else "person"
            rows[kind, f"statement of a {about} ({statement['event']})"] += 1
        for event in one.interpreted.events:
            withdrawn = " withdrawn" if event.get("retracted") else ""
            rows[kind, f"{event['code']} {event.get('status', 'done')}{withdrawn}"] += 1
        for (reason, what), number in one.interpreted.doubts.items():
            doubts[kind, reason, what] += number
    incomplete = None
    if cut.promised is not None and cut.promised != len(cut.messages):
        incomplete = (
            f"incomplete: {len(cut.messages)} messages are there, the trailer says {cut.promised}"
        )
    elif cut.incomplete:
        incomplete = f"incomplete: {cut.incomplete} messages were begun and never ended"
    return Check(
        messages=len(cut.messages),
        incomplete=incomplete,
        outcomes=_counted(outcomes, ("type", "outcome", "reason", "field", "messages")),
        rows=_counted(rows, ("type", "becomes", "rows")),
        doubts=_counted(doubts, ("type", "reason", "about", "rows")),
    )
