"""What one version of a hospital has that an earlier one had not."""

from __future__ import annotations

from typing import Final

import polars as pl

from neva.errors import NotFoundError
from neva.events.snapshot import Snapshot

__all__ = ["OF_PATIENTS", "files_changed", "subjects_since"]

#: Tables with rows of patients.
OF_PATIENTS: Final = ("events", "stays", "movements", "subjects")
#: Rows of new files among which patients are looked for; more may be of anybody.
_MOST_ROWS: Final = 1_000_000


def files_changed(before: Snapshot, after: Snapshot, table: str) -> tuple[list[str], list[str]]:
    """Give the files of a table that only the earlier version has, and those only the later has."""
    held, holds = before.files(table), after.files(table)
    return sorted(set(held) - set(holds)), sorted(set(holds) - set(held))


def subjects_since(
    before: Snapshot, after: Snapshot, *, rewritten: bool = False
) -> set[int] | None:
    """Whom the files tell of that one version has and an earlier one had not.

    Parameters
    ----------
    before, after : Snapshot
    rewritten : bool
        Whether rows that were only put together with others count too: then more
        patients than necessary are named, and never fewer.

    Returns
    -------
    set of int or None
        None where it would have to be looked for among too many rows: a table was
        rewritten, or a whole delivery was imported.
    """
    found: set[int] = set()
    for table in OF_PATIENTS:
        try:
            gone, new = files_changed(before, after, table)
        except NotFoundError:  # a vacuum has dropped the earlier one
            return None
        if gone and not rewritten:
            return None
        if not new:
            continue
        rows = pl.scan_parquet(new, glob=False).select("subject_id")
        if rows.select(pl.len()).collect().item() > _MOST_ROWS:
            return None
        found |= set(rows.unique().collect()["subject_id"])
    return found
