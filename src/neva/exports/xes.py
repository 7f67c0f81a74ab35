"""The hospital as an event log in XES."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal
from xml.sax.saxutils import quoteattr

import polars as pl

from neva.errors import UsageError
from neva.events.schema import ORDER
from neva.exports.rows import EVENT_COLUMNS, Exported, Snapshot, events_by_subject, replacing

__all__ = ["export_xes"]

_HEAD: Final = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849-2016" xes.features="nested-attributes">
  <extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
  <extension name="Time" prefix="time" uri="http://www.xes-standard.org/time.xesext"/>
  <extension name="Lifecycle" prefix="lifecycle" uri="http://www.xes-standard.org/lifecycle.xesext"/>
  <classifier name="Activity" keys="concept:name"/>
"""
# XML 1.0 has no place for these characters, not even escaped.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def export_xes(
    snapshot: Snapshot,
    destination: Path | str,
    *,
    case: Literal["stay", "subject"] = "stay",
    overwrite: bool = False,
) -> Exported:
    """Write one event log; a name that ends in ``.gz`` is compressed.

    Parameters
    ----------
    snapshot : Snapshot
    destination : path
        The file to make, ``.xes`` or ``.xes.gz``.
    case : {"stay", "subject"}
        What a trace is. Events without a stay are left out of a log of stays.
    overwrite : bool
        Replace a file of that name.

    Returns
    -------
    Exported
        How many ``traces`` and ``events``.

    Raises
    ------
    neva.errors.ConflictError, neva.errors.NotFoundError, neva.errors.UsageError
        The destination exists, its folder does not, or the case is unknown.

    Notes
    -----
    ``concept:name`` is the code without its system; ``neva:code`` the whole
    code. An event with an end has ``start_timestamp`` and its end as
    ``time:timestamp``. Times are UTC. Attributes keep their keys; those that
    start with ``case:`` become attributes of the trace. Characters that XML
    cannot hold (most control characters) are left out.
    """
    if case not in ("stay", "subject"):
        raise UsageError(f"case: must be stay or subject; found {case!r}; choose one of them")
    rows = {"traces": 0, "events": 0}
    with (
        replacing(destination, overwrite=overwrite, folder=False) as partial,
        partial.open("wb") as plain,
    ):
        if str(destination).endswith(".gz"):
            # No name and no time inside: the same log gives the same bytes.
            with gzip.GzipFile("", "wb", fileobj=plain, mtime=0, compresslevel=6) as packed:
                _write(snapshot, packed, case, rows)  # type: ignore[arg-type]
        else:
            _write(snapshot, plain, case, rows)
    return Exported(Path(destination), "xes", rows)


def _write(snapshot: Snapshot, out: BinaryIO, case: str, rows: dict[str, int]) -> None:
    out.write(_HEAD.encode())
    out.write(f"  {_attribute('string', 'concept:name', snapshot.identity)}\n".encode())
    key = f"{case}_id"
    for events in events_by_subject(snapshot):
        kept = events.filter(pl.col(key).is_not_null())
        if case == "stay":
            kept = kept.sort("subject_id", key, *ORDER, nulls_last=False, maintain_order=True)
        rows["events"] += kept.height
        lines: list[str] = []
        current = None
        for row in kept.select(EVENT_COLUMNS).iter_rows(named=True):
            if row[key] != current:
                if current is not None:
                    lines.append("  </trace>\n")
                current = row[key]
                rows["traces"] += 1
                lines.append("  <trace>\n    ")
                lines.append(_attribute("string", "concept:name", str(current)))
                lines.append("\n    ")
                lines.append(_attribute("string", "neva:subject", str(row["subject_id"])))
                lines.append("\n")
                lines.extend(
                    f"    {_attribute('string', pair['key'][5:], pair['value'])}\n"
                    for pair in row["attributes"] or ()
                    if pair["key"].startswith("case:")
                )
            lines.append("    <event>\n")
            lines.extend(f"      {line}\n" for line in _event(row))
            lines.append("    </event>\n")
            if len(lines) > 100_000:
                out.write("".join(lines).encode())
                lines = []
        if current is not None:
            lines.append("  </trace>\n")
        out.write("".join(lines).encode())
    out.write(b"</log>\n")


def _event(row: dict[str, Any]) -> Iterator[str]:
    code = row["code"]
    yield _attribute("string", "concept:name", code.split("//", 1)[-1] or code)
    if row["end_time"] is not None:
        yield _attribute("date", "start_timestamp", _xes_time(row["time"]))
        yield _attribute("date", "time:timestamp", _xes_time(row["end_time"]))
    elif row["time"] is not None:
        yield _attribute("date", "time:timestamp", _xes_time(row["time"]))
    # Not identity:id, which the standard keeps for UUIDs.
    yield _attribute("string", "neva:id", str(row["event_id"]))
    yield _attribute("string", "neva:code", code)
    if row["precision"] != "instant":
        yield _attribute("string", "neva:precision", row["precision"])
    if not row["recorded_assumed"]:
        yield _attribute("date", "neva:recorded", _xes_time(row["recorded"]))
    if row["value"] is not None:
        yield _attribute("float", "neva:value", repr(row["value"]))
    if row["rank"] is not None:
        yield _attribute("int", "neva:rank", str(row["rank"]))
    if row["status"] != "done":
        yield _attribute("string", "neva:status", row["status"])
    for column, key in (
        ("comparator", "comparator"),
        ("value_unit", "unit"),
        ("text", "text"),
        ("reason", "reason"),
    ):
        if row[column] is not None:
            yield _attribute("string", f"neva:{key}", row[column])
    for pair in row["attributes"] or ():
        if not pair["key"].startswith("case:"):
            yield _attribute("string", pair["key"], pair["value"] or "")


def _xes_time(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _attribute(kind: str, key: str, value: str) -> str:
    if not value.isprintable() or not key.isprintable():
        key, value = _ILLEGAL.sub("", key), _ILLEGAL.sub("", value)
    quoted = quoteattr(value, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
    return f"<{kind} key={quoteattr(key)} value={quoted}/>"
