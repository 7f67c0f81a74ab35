"""Hospitals in folders that may only be read: a backup, a disc, another's share."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

__all__ = ["cache_of", "is_read_only"]


def is_read_only(folder: Path) -> bool:
    """Say whether nothing can be written into a folder."""
    return not os.access(folder, os.W_OK)


@lru_cache(maxsize=1)
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="neva-", ignore_cleanup_errors=True)


def cache_of(hospital: Path) -> Path:
    """Return where what was computed of a hospital is kept.

    In its folder; where that may only be read, in one of this process's own that
    is gone when it ends.
    """
    if not is_read_only(hospital):
        return hospital / "cache"
    # Two hospitals of one name and version are two.
    return Path(_own_folder().name) / str(abs(hash(hospital.resolve())))
