"""Names of patients: a file beside the identities, for the identity service only."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from pathlib import Path

import polars as pl

from neva.errors import BadInputError, NotFoundError, UsageError
from neva.events.hospital import Hospital
from neva.events.schema import Columns
from neva.files.whole import whole_file

__all__ = ["PEOPLE", "people_path", "read_people", "read_people_file", "write_people"]

PEOPLE: Columns = {
    "subject_id": pl.Int64,
    "family": pl.String,
    "given": pl.String,
    "birth_date": pl.Date,
}


_GIVEN = ("local_id", "family", "given", "birth_date")


def people_path(hospital: Path) -> Path:
    """Return where the names of a hospital's patients are."""
    return hospital / "identities" / "people.parquet"


@lru_cache(maxsize=4)
def _people_of_file(path: Path, changed: int) -> dict[int, tuple[str | None, date | None]]:  # noqa: ARG001
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
    return _people_of_file(path, changed)


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
    with whole_file(path, private=True) as draft:
        new.write_parquet(draft)
    return new.height


def read_people_file(hospital: Hospital, path: Path, *, assigner: str) -> tuple[pl.DataFrame, int]:
    """Read a file of names, under the pseudonyms of the hospital.

    Parameters
    ----------
    hospital : Hospital
    path : Path
        CSV in UTF-8 with a header: ``local_id``, ``family``, ``given``,
        ``birth_date`` (2026-01-31; may be empty).
    assigner : str
        Who gave the local ids, as in the import.

    Returns
    -------
    people : polars.DataFrame
        Columns of :data:`PEOPLE`.
    unknown : int
        How many of them no import has named yet; they are kept.

    Raises
    ------
    UsageError
        The assigner is empty.
    NotFoundError
        There is no such file.
    BadInputError
        It cannot be read; the message names the row, never its content.
    """
    if not assigner.strip():
        message = "assigner: must not be empty; found nothing; name it as in the import"
        raise UsageError(message)
    read = _read_csv(path)
    pseudonyms = hospital.pseudonyms(assigner)
    subjects = pl.Series(
        "subject_id", [pseudonyms.current("subject", one) for one in read["local_id"]], pl.Int64
    )
    people = read.with_columns(subjects).select(list(PEOPLE))
    known = hospital.identities().filter(pl.col("kind") == "subject").select("pseudonym")
    unknown = people.lazy().join(
        known, left_on="subject_id", right_on="pseudonym", how="anti"
    ).collect().height  # fmt: skip
    return people, unknown


def _read_csv(path: Path) -> pl.DataFrame:
    if not path.is_file():
        message = f"{path}: no such file; found nothing there; check the path"
        raise NotFoundError(message)
    try:
        # Ids are text, whatever they look like, and "NA" is one.
        text = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = (
            f"{path}: cannot be read as CSV in UTF-8; found {type(error).__name__}; save it with "
            f"commas and the columns {', '.join(_GIVEN)}"
        )
        raise BadInputError(message) from None
    missing = [name for name in _GIVEN if name not in text.columns]
    if missing:
        message = (
            f"{path}: columns are missing; found no {', '.join(missing)}; name them in the header"
        )
        raise BadInputError(message)
    text = text.select(pl.col(name).fill_null("").str.strip_chars() for name in _GIVEN)
    dated = text.with_columns(
        day=pl.col("birth_date").str.to_date("%Y-%m-%d", strict=False)
    ).with_row_index("row", offset=2)
    _refuse_people(path, dated, pl.col("local_id") == "", "the local id is empty")
    is_no_date = (pl.col("birth_date") != "") & pl.col("day").is_null()
    _refuse_people(path, dated, is_no_date, "the birth date is not written as 2026-01-31")
    _refuse_people(path, dated, ~pl.col("local_id").is_first_distinct(), "the local id comes again")
    return dated.select(
        "local_id",
        *(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in _GIVEN[1:3]),
        pl.col("day").alias("birth_date"),
    )


def _refuse_people(path: Path, rows: pl.DataFrame, which: pl.Expr, words: str) -> None:
    bad = rows.filter(which)["row"]
    if bad.len():
        message = f"{path}: row {bad[0]}: {words}; found {bad.len():,} such rows; mend the file"
        raise BadInputError(message)
