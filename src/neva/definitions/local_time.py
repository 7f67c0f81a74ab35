"""The hospital's clock as arithmetic on whole microseconds.

Engines keep times as microseconds since 1970 in UTC. Calendar days need the
offset of the zone, which here is a list of the moments at which it changes:
what a database can evaluate without knowing zones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = [
    "DAY", "EPOCH", "FOREVER", "HOUR", "LocalClock", "clock_of", "microseconds", "moment",
    "optional_microseconds",
]  # fmt: skip

HOUR = 3_600_000_000
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Later than any time: "all that is recorded".
FOREVER = int((datetime(9999, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000


def microseconds(time: datetime) -> int:
    """Return an aware time as microseconds since 1970 in UTC."""
    return (time - EPOCH) // timedelta(microseconds=1)


def optional_microseconds(time: datetime | None) -> int | None:
    """Return the same of a time that may be missing."""
    return None if time is None else microseconds(time)


def moment(time: int) -> datetime:
    """Return microseconds since 1970 as an aware time in UTC."""
    return EPOCH + timedelta(microseconds=time)


@dataclass(frozen=True)
class LocalClock:
    """Offsets of a zone between two years.

    Attributes
    ----------
    zone : str
        IANA name.
    first_offset : int
        Microseconds east of UTC before the first change.
    changes : tuple of (int, int)
        Moment of each change (UTC microseconds) and the offset from then on.
    """

    zone: str
    first_offset: int
    changes: tuple[tuple[int, int], ...]

    @property
    def changes_by_local_time(self) -> tuple[tuple[int, int], ...]:
        """For each change the local reading from which the new offset applies.

        A reading that the clock shows twice means the first time, one that it
        skips means as much later as it was put forward.
        """
        found = []
        before = self.first_offset
        for at, offset in self.changes:
            found.append((at + max(before, offset), offset))
            before = offset
        return tuple(found)


def _offset(zone: ZoneInfo, time: datetime) -> int:
    offset = time.astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


@lru_cache(maxsize=64)
def clock_of(zone: str, first_year: int, last_year: int) -> LocalClock:
    """Find the changes of a zone's offset between two years, both included."""
    place = ZoneInfo(zone)
    at = datetime(max(first_year, 2), 1, 1, tzinfo=UTC)
    end = datetime(min(last_year, 9997) + 1, 1, 1, tzinfo=UTC)
    first = before = _offset(place, at)
    changes: list[tuple[int, int]] = []
    # Zones keep an offset for weeks at least; the shortest known spell is
    # Morocco's month of fasting.
    step = timedelta(days=5)
    while at < end:
        following = min(at + step, end)
        after = _offset(place, following)
        if after != before:
            low, high = at, following
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if middle <= low:
                    middle = low + timedelta(seconds=1)
                if middle >= high:
                    break
                if _offset(place, middle) == before:
                    low = middle
                else:
                    high = middle
            changes.append((microseconds(high.replace(microsecond=0)), after))
            before = after
        at = following
    return LocalClock(zone=zone, first_offset=first, changes=tuple(changes))
