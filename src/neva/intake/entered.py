"""What people enter in Neva itself, as events of the store.

Entries already carry the hospital's pseudonyms: they come from its own pages,
so they pass by the door of local ids. All else is as for any other source:
the same entry again adds nothing, a withdrawn one is a retraction (the record
still shows what was believed), and everything becomes visible at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from neva.errors import BadInputError
from neva.events.hospital import Hospital, Writer
from neva.events.operational_codes import (
    CEILING_CODES,
    CEILINGS,
    DELAY_REASONS,
    ISOLATION_KINDS,
    KINDS,
    PRIORITIES,
    Kind,
    descriptions,
)
from neva.events.schema import (
    EVENT_ROW,
    OPEN_END,
    RETRACTIONS,
    ROWS,
    TABLES,
    TIME,
    Columns,
    attribute,
)
from neva.intake import reconcile
from neva.intake.acceptance import accept
from neva.sources.rows import conform

__all__ = ["ENTERED", "Appended", "Entry", "append_entries", "entries_to_events"]

#: The logical source of entries (``batches.source``).
ENTERED: Final = "entered"
#: The entry that a row is of: names follow the order in which entries were made.
_ENTRY: Final = attribute("entry")
_KEYS: Final[Columns] = {"subject_id": pl.Int64, "stay_id": pl.Int64}


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement of a person about a stay.

    Attributes
    ----------
    id : str
        Unique for ever; an entry that was changed keeps it.
    subject_id, stay_id : int
        Pseudonyms. A planned admission has no stay yet.
    kind : str
        A key of :data:`neva.events.operational_codes.KINDS`.
    value : str or None
        As its kind says: ``yes`` or ``no`` (confirmed), a reason, a kind of
        isolation, a unit, a ceiling, a text.
    start, end : datetime or None
        Aware; from when until when it holds (an expected discharge and a
        planned admission: when). No start: since it was entered.
    actor : str
        Pseudonymous.
    at : datetime
        When it was entered: what the store calls ``recorded``.
    withdrawn_at : datetime or None
    details : mapping of str to str
        Of a bed request ``priority`` and ``side_room`` (yes or no); of others a
        ``note``.
    """

    id: str
    subject_id: int
    stay_id: int | None
    kind: str
    at: datetime
    actor: str = ""
    value: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    withdrawn_at: datetime | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Entry:
        """Make an entry of a mapping of its fields; others are left aside."""
        names = [name for name in cls.__slots__ if given.get(name) is not None]
        return cls(**{name: given[name] for name in names}, **_absent_stay(names))


def _absent_stay(names: Sequence[str]) -> dict[str, Any]:
    return {} if "stay_id" in names else {"stay_id": None}


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch of entries.

    Attributes
    ----------
    version : int
        The hospital version after it; the one before it where nothing was new.
    added, known, revised, retracted : int
        Counts of entries; ``retracted`` has those withdrawn and superseded.
    """

    version: int
    added: int
    known: int
    revised: int
    retracted: int


def _entry_error(entry: Entry, field_name: str, wanted: str) -> BadInputError:
    # The value itself may be a patient's: it is not repeated.
    return BadInputError(
        f"entry of kind {entry.kind}: its {field_name} cannot be stored; found another one than "
        f"{wanted}; correct the entry"
    )


def _kind_of_entry(entry: Entry) -> Kind:
    kind = KINDS.get(entry.kind)
    if kind is None:
        message = (
            f"entry: no such kind; found {entry.kind!r}; give one of {', '.join(sorted(KINDS))}"
        )
        raise BadInputError(message)
    allowed: Sequence[str] | None = {
        "confirmed": ("yes", "no"),
        "isolation": tuple(ISOLATION_KINDS),
        "ceiling": tuple(CEILINGS),
    }.get(kind.value)
    if allowed is not None and (entry.value or "no") not in allowed:
        raise _entry_error(entry, "value", " or ".join(allowed))
    # A hospital may have reasons of its own: only their form is checked.
    if kind.value == "reason" and "//" not in (entry.value or ""):
        raise _entry_error(entry, "value", f"a code such as {next(iter(DELAY_REASONS))}")
    if kind.value in ("isolation", "ceiling", "unit", "text") and not entry.value:
        raise _entry_error(entry, "value", "one that is not empty")
    if entry.details.get("priority", PRIORITIES[0]) not in PRIORITIES:
        raise _entry_error(entry, "priority", " or ".join(PRIORITIES))
    for name in ("at", "start", "end", "withdrawn_at"):
        time = getattr(entry, name)
        if time is not None and time.tzinfo is None:
            raise _entry_error(entry, name, "a time with a zone")
    if entry.end is not None and entry.end < (entry.start or entry.at):
        raise _entry_error(entry, "end", "one that is not before its start")
    return kind


def _row(entry: Entry, row: int) -> dict[str, Any]:
    kind = _kind_of_entry(entry)
    details = {"entry": entry.id, **dict(entry.details)}
    if entry.actor:
        details["actor"] = entry.actor
    if kind.value == "confirmed":
        details["confirmed"] = entry.value or "no"
    if kind.value == "unit":
        details["unit"] = entry.value or ""
    ceiling = CEILINGS.get(entry.value or "") if kind.value == "ceiling" else None
    return {
        "subject_id": entry.subject_id,
        "stay_id": entry.stay_id,
        "time": (entry.start or entry.at).astimezone(UTC),
        "end_time": (entry.end or OPEN_END).astimezone(UTC) if kind.lasts else None,
        "precision": "minute",
        "code": ceiling[0] if ceiling else kind.code,
        "text": entry.value if kind.value in ("text", "ceiling") else None,
        "reason": entry.value if kind.value in ("reason", "isolation") else None,
        "status": kind.status,
        "attributes": [{"key": key, "value": value} for key, value in sorted(details.items())],
        "row_id": entry.id,
        "recorded": entry.at.astimezone(UTC),
        "recorded_assumed": False,
        "retracted": None if entry.withdrawn_at is None else entry.withdrawn_at.astimezone(UTC),
        "file": ENTERED,
        "row": row,
        "origin": entry.kind,
    }


def entries_to_events(entries: Sequence[Entry]) -> pl.DataFrame:
    """Return entries as rows for the intake, with pseudonyms in place of local ids.

    Parameters
    ----------
    entries : sequence of Entry

    Returns
    -------
    polars.DataFrame
        The columns of ``ROWS["events"]`` without ``subject`` and ``stay``, with
        ``subject_id``, ``stay_id`` and ``origin`` (the kind); one row an entry.

    Raises
    ------
    BadInputError
        A kind, value or time that cannot be stored; the message repeats no value.
    """
    rows = [_row(one, number) for number, one in enumerate(entries, 1)]
    columns: Columns = {
        **_KEYS,
        **{
            name: dtype for name, dtype in ROWS["events"].items() if name not in ("subject", "stay")
        },
        "origin": pl.String,
    }
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in columns},
        schema_overrides=columns,
        strict=False,
    ).select(pl.col(name).cast(dtype) for name, dtype in columns.items())


def _is_ceiling() -> pl.Expr:
    keys = pl.col("attributes").list.eval(pl.element().struct.field("key"))
    return pl.col("code").is_in(list(CEILING_CODES)) & keys.list.contains("entry").fill_null(
        value=False
    )


def _ceilings_in_turn(
    fresh: pl.DataFrame, gone: pl.DataFrame, stored: pl.LazyFrame, *, batch: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Let only the last entered ceiling of a stay stand.

    Rules ask whether a ceiling was recorded at all, so the one before must go:
    whoever is again for full escalation is looked at again, from then on. Where
    the last one is withdrawn, the one before it stands again.

    Returns
    -------
    replaced : polars.DataFrame
        ``event_id``, ``batch``, ``recorded``, ``retracted``: those that a later one
        replaces.
    again : polars.DataFrame
        Rows to append: those that stand again.
    """
    nothing = pl.DataFrame(schema=RETRACTIONS)
    held = stored.filter(_is_ceiling(), pl.col("stay_id").is_not_null()).collect()
    new = fresh.filter(_is_ceiling(), pl.col("stay_id").is_not_null())
    left = held.join(gone, on=EVENT_ROW, how="inner", suffix="_now")
    again = new.clear()
    if left.height:
        # Whom the withdrawn one had replaced.
        before = (
            held.join(
                left.select("stay_id", pl.col("recorded").alias("retracted"), "retracted_now"),
                on=["stay_id", "retracted"],
                how="inner",
            )
            .sort("recorded", _ENTRY, "event_id")
            .unique("stay_id", keep="last", maintain_order=True)
        )
        again = before.with_columns(
            recorded=pl.col("retracted_now"),
            retracted=pl.lit(None, dtype=TIME),
            batch=pl.lit(batch, dtype=pl.Int64),
        ).select(new.columns)
    if not new.height:
        return nothing, again
    held = held.join(gone, on=EVENT_ROW, how="anti")
    alive = pl.concat([held, new, again]).filter(pl.col("retracted").is_null())
    last = alive.sort("recorded", _ENTRY, "event_id").with_columns(
        _last=pl.col("recorded").last().over("stay_id"),
        _id=pl.col("event_id").last().over("stay_id"),
    )
    replaced = last.filter(
        pl.col("event_id") != pl.col("_id"), pl.col("stay_id").is_in(new["stay_id"].implode())
    ).select(*EVENT_ROW, retracted="_last")
    return replaced, again


def _settled(taken: pl.DataFrame, stored: pl.LazyFrame) -> pl.DataFrame:
    """Leave out rows that the store has as ended already: said again, they do not stand again."""
    ids = reconcile.named_ids(taken, source=ENTERED)["event_id"]
    ended = (
        stored.filter(pl.col("event_id").is_in(ids.implode()))
        .group_by("event_id")
        .agg(_gone=pl.col("retracted").is_not_null().all())
        .filter("_gone")
        .collect()
    )
    is_ended = ids.is_in(ended["event_id"].implode())
    return taken.filter(~is_ended | taken["retracted"].is_not_null())


def append_entries(hospital: Hospital, entries: Sequence[Entry], *, now: datetime) -> Appended:
    """Append entries to a hospital as one batch.

    Parameters
    ----------
    hospital : Hospital
    entries : sequence of Entry
        Some or all of them, new, changed or withdrawn. Those that the hospital
        holds already add nothing.
    now : datetime
        Aware: when they are written. Each is known from its own ``at`` on.

    Returns
    -------
    Appended

    Raises
    ------
    ConflictError
        Somebody else is writing.
    BadInputError
        An entry cannot be stored; nothing was written.
    """
    now = now.astimezone(UTC)
    staged = entries_to_events(entries)
    with hospital.writer(purpose="entries", now=now) as writer:
        if not staged.height:
            return Appended(writer.before.version, 0, 0, 0, 0)
        rows = conform(
            "events", staged.with_columns(subject=pl.col("subject_id").cast(pl.String))
        ).with_columns(staged["subject_id"], staged["stay_id"], staged["origin"])
        taken = accept("events", rows.drop("stay"), {}).taken
        taken = taken.drop("subject").with_columns(arrival=pl.int_range(pl.len(), dtype=pl.Int64))
        subjects = taken["subject_id"].unique().to_list()
        has_events = "events" in writer.before.tables
        stored = writer.snapshot().stored("events").filter(pl.col("subject_id").is_in(subjects))
        batch = writer.next_batch()
        read = taken.height
        taken = _settled(taken, stored) if has_events else taken
        found = reconcile.events(
            taken, stored if has_events else None, source=ENTERED, order="position", now=now,
            batch=batch,
        )  # fmt: skip
        known = found.known + read - taken.height
        if not found.rows.height and not found.retractions.height:
            return Appended(writer.before.version, 0, known, 0, 0)
        gone = found.retractions
        replaced, again = _ceilings_in_turn(found.rows, gone, stored, batch=batch)
        fresh = pl.concat([found.rows, again]).join(
            replaced.rename({"retracted": "_gone"}), on=EVENT_ROW, how="left"
        )
        fresh = fresh.with_columns(retracted=pl.coalesce("retracted", "_gone"))
        writer.append("events", [fresh.select(list(TABLES["events"]))])
        outside = replaced.filter(pl.col("batch") != batch)
        writer.retract(reconcile.earliest(pl.concat([gone, outside])))
        _describe(writer, batch)
        result = Appended(
            version=writer.before.version + 1,
            added=found.added,
            known=known,
            revised=found.revised,
            retracted=found.retracted + replaced.height,
        )
        writer.append("batches", [_batch(entries, result, batch, now)])
        times = pl.concat([taken["recorded"], taken["retracted"].drop_nulls()])
        first, last = times.min(), times.max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        writer.commit(min(first, now), min(last, now))
    return result


def _describe(writer: Writer, batch: int) -> None:
    """Give the codes of entries their words, once."""
    known = set(writer.snapshot().codes().select("code").collect()["code"])
    new = {code: words for code, words in descriptions().items() if code not in known}
    if not new:
        return
    frame = pl.DataFrame({"code": list(new), "description": list(new.values())})
    writer.append(
        "codes",
        [
            frame.select(
                "code",
                "description",
                pl.lit(None, dtype=pl.List(pl.String)).alias("parents"),
                pl.lit(None, dtype=pl.Float64).alias("molar_mass"),
                pl.lit(None, dtype=pl.String).alias("value_unit"),
                pl.lit(writer.now, dtype=TIME).alias("recorded"),
                pl.lit(value=False).alias("recorded_assumed"),
                pl.lit(None, dtype=TIME).alias("retracted"),
                pl.lit(batch, dtype=pl.Int64).alias("batch"),
            )
        ],
    )


def _batch(entries: Sequence[Entry], result: Appended, batch: int, now: datetime) -> pl.DataFrame:
    # The mark of a batch: which entries, in which state; not what they say.
    identity = [(one.id, one.at.isoformat(), str(one.withdrawn_at)) for one in entries]
    digest = hashlib.sha256(json.dumps(identity).encode())
    return pl.DataFrame(
        {
            "batch": [batch],
            "source": [ENTERED],
            "kind": [ENTERED],
            "file": [f"entries-{batch}"],
            "sha256": [digest.hexdigest()],
            "bytes": [0],
            "mapping": [None],
            "imported": [now],
            "replaces": [None],
            "rows_read": [len(entries)],
            "rows_added": [result.added],
            "rows_known": [result.known],
            "rows_revised": [result.revised],
            "rows_retracted": [result.retracted],
            "rows_refused": [0],
            "order": ["position"],
        },
        schema=TABLES["batches"],
    )
