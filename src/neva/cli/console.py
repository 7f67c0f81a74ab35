"""What every command shares: printing, progress, times, the hospital."""

from __future__ import annotations

import dataclasses
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from neva.errors import UsageError
from neva.events.clock import read_iso
from neva.events.hospital import Hospital, open_hospital
from neva.events.snapshot import Snapshot

__all__ = [
    "AsOf", "HospitalPath", "Json", "moment", "now", "progress", "snapshot_of", "system_user",
    "table", "tell",
]  # fmt: skip

HospitalPath = Annotated[Path, typer.Argument(metavar="HOSPITAL", help="folder of the hospital")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="what was known then; a time without offset is the hospital's local time",
    ),
]

#: A bar appears only for what lasts longer than this.
PROGRESS_AFTER_SECONDS = 2.0


def now() -> datetime:
    """Return the time of this run; the only clock that commands read."""
    return datetime.now(UTC)


def system_user() -> str:
    """Return who runs the command, by the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"


def moment(text: str | None, zone: str, option: str) -> datetime | None:
    """Read a time that a user wrote; without offset it is local.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    if text is None:
        return None
    read = read_iso(pl.Series([text]), zone)[0]
    if read["time"] is None:
        message = (
            f"{option}: not a time; found {text!r}; "
            "write 2020-05-01T08:00 or 2020-05-01T08:00+03:00"
        )
        raise UsageError(message)
    found: datetime = read["time"]
    return found


def snapshot_of(
    path: Path, as_of: str | None = None, version: int | None = None
) -> tuple[Hospital, Snapshot]:
    """Open a hospital and view it."""
    hospital = open_hospital(path)
    at = moment(as_of, hospital.settings.zone, "--as-of")
    return hospital, hospital.snapshot(as_of=at, version=version)


def _json_value(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, pl.DataFrame):
        return [_json_value(row) for row in value.iter_rows(named=True)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _json_value(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def tell(as_json: bool, content: Any, text: str | Callable[[], str]) -> None:
    """Print a result: `content` as JSON, or `text` for people."""
    if as_json:
        sys.stdout.write(json.dumps(_json_value(content), ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write((text if isinstance(text, str) else text()).rstrip() + "\n")


def table(frame: pl.DataFrame, *, rows: int = 40) -> str:
    """Lay out a frame as plain text, numbers to the right."""
    shown = frame.head(rows)
    names = shown.columns
    cells = [[_cell(value) for value in row] for row in shown.iter_rows()]
    widths = [max([len(name), *(len(row[k]) for row in cells)]) for k, name in enumerate(names)]
    right = [dtype.is_numeric() for dtype in shown.dtypes]

    def line(row: list[str]) -> str:
        return "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()

    lines = [line(names), line(["-" * width for width in widths]), *map(line, cells)]
    if frame.height > rows:
        lines.append(f"… {frame.height - rows} more rows (--json prints all)")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Ids are not quantities: no thousands separators in them.
        return str(value) if value >= 10**12 else f"{value:,}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    return str(value)


@contextmanager
def progress(what: str, *, of: str = "rows") -> Iterator[Callable[[int], None]]:
    """Show a counter on standard error once the work has lasted two seconds."""
    began = time.monotonic()
    shown = False
    last = 0.0

    def update(rows: int) -> None:
        nonlocal shown, last
        at = time.monotonic()
        if at - began < PROGRESS_AFTER_SECONDS or at - last < 0.2 or not sys.stderr.isatty():
            return
        shown, last = True, at
        rate = rows / (at - began)
        sys.stderr.write(f"\r\x1b[K{what}: {rows:,} {of} ({rate:,.0f} a second)")
        sys.stderr.flush()

    try:
        yield update
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
