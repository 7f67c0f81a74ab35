"""Activity logs on disk: written whole or not at all, read where they lie.

A log is a folder of plain arrays (``.npy``, memory-mapped on reading), the
cases as Parquet and the rest as JSON. Its name is a hash of what made it, so
a kept log never needs to be compared with its hospital.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from neva.pathways.log import ActivityLog, frozen

__all__ = ["folder", "load", "save"]

#: Raised when the content of a kept log changes meaning.
FORMAT = 2

_ARRAYS = ("offsets", "activity", "time", "event", "end")
_PLAIN = ("labels", "case_kind", "left_out", "ties", "hospital", "activities", "zone", "provenance")


def folder(cache: Path, identity: str, activities: str) -> Path:
    """Return the folder of the log of a hospital version under an activity file.

    Parameters
    ----------
    cache : Path
        The hospital's folder for artefacts.
    identity : str
        Hospital, version and moment.
    activities : str
        Hash of the activity file.
    """
    key = hashlib.sha256(json.dumps([FORMAT, identity, activities]).encode()).hexdigest()
    return cache / "pathways" / key[:32]


def save(log: ActivityLog, target: Path) -> None:
    """Write a log; another writer of the same log may win, which is as good."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
    try:
        for name in _ARRAYS:
            array = getattr(log, name)
            if array is not None:
                np.save(draft / f"{name}.npy", array)
        log.cases.write_parquet(draft / "cases.parquet")
        plain = {name: getattr(log, name) for name in _PLAIN}
        text = json.dumps(plain, ensure_ascii=False)
        (draft / "log.json").write_text(text, encoding="utf-8")
        try:
            draft.replace(target)
        except OSError:
            if not (target / "log.json").exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load(source: Path) -> ActivityLog | None:
    """Read a log without copying it into memory; None when it is not there.

    A folder that cannot be read (cut short by a full disk, another format) is
    removed and counts as absent.
    """
    try:
        plain = json.loads((source / "log.json").read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {
            name: frozen(np.asarray(np.load(path, mmap_mode="r")))
            for name in _ARRAYS
            if (path := source / f"{name}.npy").exists()
        }
        cases = pl.read_parquet(source / "cases.parquet")
        plain["labels"] = tuple(plain["labels"])
        plain["provenance"] = tuple(plain["provenance"])
        return ActivityLog(**arrays, cases=cases, **plain)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError):
        shutil.rmtree(source, ignore_errors=True)
        return None
