"""What a feed read lately: what is read again, to find what became visible late, is taken once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from neva.feeds.status import read_status
from neva.files.whole import write_whole

__all__ = ["Lately"]

#: Seconds.
_KEEP_EVERY: Final = 10.0


class Lately:
    """Marks of what was taken, by part of the feed, with where each stands in its order.

    It saves work and is no part of the store: what is taken a second time because this was
    lost is known there already, and adds nothing.

    Parameters
    ----------
    path : Path
        Where it is kept; only its owner reads it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = time.monotonic()
        found = read_status(path.parent, path.name)
        self._marks: dict[str, dict[str, float]] = {
            part: marks for part, marks in found.items() if isinstance(marks, dict)
        }

    def knows(self, part: str, mark: str) -> bool:
        """Tell whether something was taken."""
        return mark in self._marks.get(part, {})

    def place_of(self, part: str, mark: str) -> float | None:
        """Return where a mark stands; None where it is not known."""
        return self._marks.get(part, {}).get(mark)

    def add(self, part: str, taken: Iterable[tuple[str, float]]) -> None:
        """Note marks of what is part of the store now, and where they stand."""
        self._marks.setdefault(part, {}).update(taken)

    def forget_before(self, part: str, place: float) -> None:
        """Forget what stands before a place: it is not read again."""
        marks = self._marks.get(part, {})
        self._marks[part] = {mark: at for mark, at in marks.items() if at >= place}

    def forget(self) -> None:
        """Forget everything."""
        self._marks = {}

    def keep(self, *, at_once: bool) -> None:
        """Write it to the disk; not at once: now and then, since it may be long."""
        if not at_once and time.monotonic() - self._kept < _KEEP_EVERY:
            return
        self._kept = time.monotonic()
        content: dict[str, Any] = self._marks
        write_whole(self._path, json.dumps(content), private=True)
