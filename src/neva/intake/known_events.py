"""Which file of the store holds which events: found without reading the store.

Files of a table never change. Of each the sorted event ids are kept in the cache, and
mapped into memory when they are asked; what is asked of a hospital of any size touches
some pages of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events import tables
from neva.events.schema import TABLES
from neva.events.snapshot import Snapshot

__all__ = ["stored_events"]

_FOLDER: Final = "event-ids"
#: Files with fewer rows are read again instead.
_SMALL: Final = 20_000

type_ids = npt.NDArray[np.int64]


@lru_cache(maxsize=256)
def _sorted_ids(file: str, folder: str) -> type_ids:
    path = Path(folder) / f"{Path(file).stem}.npy"
    if path.exists():
        found: Any = np.load(path, mmap_mode="r")
        return found  # type: ignore[no-any-return]
    ids = pl.read_parquet(file, columns=["event_id"])["event_id"].to_numpy()
    made = np.sort(ids)
    if len(made) < _SMALL:
        return made
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.new")
        with draft.open("wb") as stream:
            np.save(stream, made)
        draft.replace(path)
        mapped: Any = np.load(path, mmap_mode="r")
    except OSError:  # a cache that cannot be written is no reason to stop
        return made
    return mapped  # type: ignore[no-any-return]


def _tidy(folder: Path, files: Sequence[str]) -> None:
    """Delete the ids of files that no version names any more."""
    wanted = {Path(file).stem for file in files}
    for path in folder.glob("*.npy"):
        if path.stem not in wanted:
            path.unlink(missing_ok=True)


def stored_events(snapshot: Snapshot, ids: pl.Series) -> pl.DataFrame:
    """Read all stored rows of some events.

    Parameters
    ----------
    snapshot : Snapshot
    ids : polars.Series
        Of events; dtype Int64.

    Returns
    -------
    polars.DataFrame
        Columns of ``TABLES["events"]``: every state of each.
    """
    files = snapshot.files("events")
    folder = snapshot.cache / _FOLDER
    wanted = np.unique(ids.to_numpy())
    parts = []
    for file in files:
        held = _sorted_ids(file, str(folder))
        if not len(held) or not len(wanted):
            continue
        at = np.searchsorted(held, wanted)
        met = wanted[(at < len(held)) & (held[np.minimum(at, len(held) - 1)] == wanted)]
        if len(met):
            hits = pl.Series(met, dtype=pl.Int64).implode()
            parts.append(
                tables.scan([file], TABLES["events"]).filter(pl.col("event_id").is_in(hits))
            )
    if len(list(folder.glob("*.npy"))) > 4 * len(files) + 16:
        _tidy(folder, files)
    if not parts:
        return pl.DataFrame(schema=TABLES["events"])
    return pl.concat(pl.collect_all(parts))
