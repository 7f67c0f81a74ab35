"""Where the data come from, and when each source was last heard of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from neva.feeds.status import is_silent

__all__ = ["STALE_AFTER", "Feed", "feed_of", "read_feeds"]

#: Data older than this turn the page red, where nobody said how often a feed reports.
STALE_AFTER: Final = timedelta(minutes=60)


@dataclass(frozen=True, slots=True)
class Feed:
    """A source of data.

    Attributes
    ----------
    name : str
        Empty: whatever delivers, where no feed reports of itself.
    last : datetime or None
        When it was last heard of; None: never, or nobody knows.
    age : timedelta or None
    is_silent : bool
        It should have been heard of since.
    backlog : int
        Messages that have arrived and are not in the record yet.
    """

    name: str
    last: datetime | None
    age: timedelta | None
    is_silent: bool
    backlog: int = 0

    @property
    def age_hours(self) -> float | None:
        """How long ago it was heard of."""
        return None if self.age is None else self.age.total_seconds() / 3600


def feed_of(
    name: str, last: datetime | None, at: datetime, expected: timedelta, backlog: int = 0
) -> Feed:
    """Say how a feed is at a time that should report at least so often."""
    age = None if last is None else max(timedelta(0), at - last)
    return Feed(name, last, age, is_silent(last, at, expected), backlog)


def _read(path: Path, at: datetime) -> Feed:
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        last = status["last_arrived"]
        moment = None if last is None else datetime.fromisoformat(last)
        if moment is not None and moment.tzinfo is None:
            raise ValueError
        expected = timedelta(seconds=float(status["expected_within_seconds"]))
        return feed_of(str(status["name"]), moment, at, expected, int(status["backlog"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        # A feed of which nothing can be read counts as silent, never as well.
        return feed_of(path.parent.name, None, at, timedelta(0))


def read_feeds(hospital: Path, at: datetime) -> Sequence[Feed]:
    """Read how the feeds of a hospital are: ``feeds/*/status.json`` in its folder, by name.

    Parameters
    ----------
    hospital : Path
    at : datetime
        Aware; the time of day outside.

    Returns
    -------
    sequence of Feed
        None where no feed reports of itself.
    """
    return [_read(path, at) for path in sorted(hospital.glob("feeds/*/status.json"))]
