"""Names of patients: a file beside the identities, for the identity service only."""

from __future__ import annotations

import os
import uuid
from datetime import date
from functools import lru_cache
from pathlib import Path

import polars as pl

from neva.errors import BadInputError
from neva.events.schema import Columns

__all__ = ["PEOPLE", "people_path", "read_people", "write_people"]

PEOPLE: Columns = {
    "subject_id": pl.Int64,
    "family": pl.String,
    "given": pl.String,
    "birth_date": pl.Date,
}


def people_path(hospital: Path) -> Path:
    """Return where the names of a hospital's patients are."""
    return hospital / "identities" / "people.parquet"


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> dict[int, tuple[str | None, date | None]]:  # noqa: ARG001
    return {
        subject: (", ".join(one for one in (family, given) if one) or None, birth)
        for subject, family, given, birth in pl.read_parquet(path).iter_rows()
    }


def read_people(hospital: Path) -> dict[int, tuple[str | None, date | None]]:
    """Return name and birth date by pseudonym; empty where none were loaded."""
    path = people_path(hospital)
    try:
        changed = path.stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    return _read(path, changed)


def write_people(hospital: Path, people: pl.DataFrame) -> int:
    """Keep names, new ones over old ones; whole or not at all.

    Parameters
    ----------
    hospital : Path
    people : polars.DataFrame
        Columns of :data:`PEOPLE`.

    Returns
    -------
    int
        How many have a name now.

    Raises
    ------
    BadInputError
        A column is missing.
    """
    absent = [name for name in PEOPLE if name not in people.columns]
    if absent:
        message = f"people: columns are missing; found no {', '.join(absent)}; give all four"
        raise BadInputError(message)
    new = people.select(pl.col(name).cast(kind) for name, kind in PEOPLE.items())
    path = people_path(hospital)
    if path.exists():
        new = pl.concat([pl.read_parquet(path), new])
    new = new.unique(subset="subject_id", keep="last", maintain_order=True)
    draft = path.with_name(f".people.{uuid.uuid4().hex}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    new.write_parquet(draft)
    draft.replace(path)
    return new.height
