"""Tables that people can read: imported by a mapping, compared as text."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from neva.events.hospital import Hospital
from neva.events.schema import ORDER
from tests.hospitals import NOW, new_hospital, take_csv

_SORTED = {
    "events": ("subject", *ORDER),
    "subjects": ("subject",),
    "stays": ("subject", "start", "stay"),
    "movements": ("subject", "start", "unit"),
    "units": ("unit",),
    "beds": ("unit", "bed", "start"),
    "codes": ("code",),
    "quarantine": ("file", "row", "field"),
}


def imported(
    folder: Path, mapping: str, files: dict[str, str | bytes], *, zone: str = "Europe/Moscow"
) -> Hospital:
    """Write files and mapping, import them into a new hospital; one file alone, or the folder."""
    hospital = new_hospital(folder, zone=zone)
    data = folder / "data"
    data.mkdir()
    for name, content in files.items():
        (data / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "mapping.yaml").write_text(mapping, encoding="utf-8")
    path = data if len(files) > 1 else data / next(iter(files))
    take_csv(hospital, path, folder / "mapping.yaml", now=NOW)
    return hospital


def _text(value: object, zone: ZoneInfo) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        local = value.astimezone(zone)
        return local.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(f"{entry['key']}={entry['value']}" for entry in value)
    return str(value)


def rows_of(text: str) -> list[list[str]]:
    """Cells of a table drawn with | between them; rules of dashes are skipped."""
    lines = [line.strip() for line in text.strip().splitlines()]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row in cells if set("".join(row)) - set("-: ")]


def told(hospital: Hospital, table: str, columns: list[str]) -> list[list[str]]:
    """What a snapshot shows of a table, as texts, with local ids for pseudonyms."""
    frame = getattr(hospital.snapshot(), table)().collect()
    pairs = hospital.identities().collect()
    for kind in ("subject", "stay"):
        if f"{kind}_id" in frame.columns:
            names = pairs.filter(kind=kind).select("pseudonym", pl.col("local_id").alias(kind))
            frame = frame.join(names, left_on=f"{kind}_id", right_on="pseudonym", how="left")
    zone = ZoneInfo(hospital.settings.zone)
    rows = frame.sort(_SORTED[table], nulls_last=True).select(columns).iter_rows()
    return [[_text(value, zone) for value in row] for row in rows]


def assert_shows(hospital: Hospital, table: str, expected: str) -> None:
    """Compare a table of the hospital with one drawn by hand; its header names the columns."""
    header, *rows = rows_of(expected)
    assert told(hospital, table, header) == rows
