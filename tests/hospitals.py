"""Hospitals and deliveries made by hand, for tests."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from neva.events.hospital import Hospital, create_hospital
from neva.intake.importing import ImportSummary, OnChange, import_delivery
from neva.sources.csv.source import open_csv
from neva.sources.rows import Delivery, Rows, conform

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new_hospital(folder: Path, *, zone: str = "Europe/Moscow") -> Hospital:
    return create_hospital(folder / "hospital", zone=zone, now=NOW)


def event(**columns: Any) -> dict[str, Any]:
    """An event row with what every event needs; `columns` say the rest."""
    standard = {
        "subject": "1",
        "time": datetime(2020, 5, 1, 8, tzinfo=UTC),
        "code": "TEST//a",
        "file": "test.csv",
        "row": 1,
    }
    return standard | columns


def delivery(
    file: Path,
    rows: Sequence[dict[str, Any]] = (),
    *,
    name: str = "test",
    order: str = "position",
    **others: Iterable[dict[str, Any]],
) -> Delivery:
    """A delivery of event rows and, by table name, of other rows."""

    def read() -> Iterable[Rows]:
        for table, given in {**others, "events": rows}.items():
            told = list(given)
            if told:
                names = list(dict.fromkeys(key for row in told for key in row))
                columns = {key: [row.get(key) for row in told] for key in names}
                yield Rows(table, conform(table, pl.DataFrame(columns, strict=False)))

    return Delivery(
        name=name, assigner=name, kind="csv", files=(file,), rows=iter(read()), order=order
    )


def take(
    hospital: Hospital,
    file: Path,
    rows: Sequence[dict[str, Any]] = (),
    *,
    now: datetime = NOW,
    on_change: OnChange = "refuse",
    content: str | None = None,
    most_refused: float | None = None,
    dates: Literal["real", "shifted"] | None = None,
    **others: Any,
) -> ImportSummary:
    """Import rows as the content of `file`, which is written anew unless it says the same."""
    file.write_text(content if content is not None else repr((rows, sorted(others.items()))))
    return import_delivery(
        hospital,
        delivery(file, rows, **others),
        label=file.name,
        now=now,
        on_change=on_change,
        most_refused=most_refused,
        dates=dates,
    )


def take_csv(
    hospital: Hospital,
    path: Path,
    mapping: str | Path,
    *,
    now: datetime = NOW,
    on_change: OnChange = "refuse",
    most_refused: float | None = None,
    dates: Literal["real", "shifted"] | None = None,
) -> ImportSummary:
    """Import a table file by a mapping."""
    opened = open_csv(path, zone=hospital.settings.zone, mapping=Path(mapping))
    return import_delivery(
        hospital,
        opened,
        label=path.name,
        now=now,
        on_change=on_change,
        most_refused=most_refused,
        dates=dates,
    )
