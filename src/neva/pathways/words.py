"""Numbers in words: durations, counts and shares as people read them."""

from __future__ import annotations

import math
from typing import Final, Protocol

__all__ = ["ENGLISH", "Words", "count_in_words", "duration_in_words", "share_in_words"]

_MINUTE, _HOUR, _DAY, _YEAR = 60.0, 3600.0, 86_400.0, 365.25 * 86_400.0


def duration_in_words(seconds: float | None) -> str:
    """Write a duration with one unit and two figures or so.

    Hours go up to two days, days up to two years; "–" where there is none.

    Examples
    --------
    >>> [duration_in_words(s) for s in (0, 0.2, 45, 720, 5400, 259200, 900000, None)]
    ['0 s', '<1 s', '45 s', '12 min', '1.5 h', '3 d', '10 d', '–']
    >>> duration_in_words(-5400), duration_in_words(59.7), duration_in_words(3599)
    ('−1.5 h', '1 min', '1 h')
    """
    if seconds is None or math.isnan(seconds):
        return "–"
    sign = "−" if seconds < 0 else ""
    size = abs(seconds)
    if size == 0:
        return "0 s"
    if size < 1:
        return f"{sign}<1 s"
    # The limits are those at which the rounded number would reach the next unit.
    if size < 59.5:
        return f"{sign}{size:.0f} s"
    if size < 59.5 * _MINUTE:
        return f"{sign}{size / _MINUTE:.0f} min"
    if size < 47.5 * _HOUR:
        return f"{sign}{_short(size / _HOUR)} h"
    if size < 2 * _YEAR:
        return f"{sign}{_short(size / _DAY)} d"
    return f"{sign}{_short(size / _YEAR)} y"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{number:.0f}"


def count_in_words(count: int) -> str:
    """Write a count with thousands set apart.

    Examples
    --------
    >>> count_in_words(15214)
    '15,214'
    """
    return f"{count:,}"


def share_in_words(share: float) -> str:
    """Write a share as per cent; only none is 0 % and only all is 100 %.

    Examples
    --------
    >>> [share_in_words(s) for s in (0, 0.0004, 0.123, 0.9999, 1)]
    ['0 %', '<1 %', '12 %', '>99 %', '100 %']
    """
    if 0 < share < 0.005:
        return "<1 %"
    if 0.995 <= share < 1:
        return ">99 %"
    return f"{share * 100:.0f} %"


class Words(Protocol):
    """A language: texts with values in them, counts, shares and durations."""

    def __call__(self, text: str, /, **values: object) -> str:
        """Translate a text; ``%(name)s`` in it is replaced by a value."""

    def count(self, number: int) -> str:
        """Write a count."""

    def part(self, share: float) -> str:
        """Write a share (0-1)."""

    def duration(self, seconds: float | None) -> str:
        """Write a duration."""


class _English:
    def __call__(self, text: str, /, **values: object) -> str:
        return text % values if values else text

    def count(self, number: int) -> str:
        return count_in_words(number)

    def part(self, share: float) -> str:
        return share_in_words(share)

    def duration(self, seconds: float | None) -> str:
        return duration_in_words(seconds)


#: What a drawing says where no other language is asked for.
ENGLISH: Final[Words] = _English()
