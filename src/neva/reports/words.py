"""Numbers and durations as people read them."""

from __future__ import annotations

from neva.pathways.words import duration_in_words

__all__ = ["duration", "number", "share"]


def number(value: float | None, *, digits: int | None = None) -> str:
    """Write a number with thousands separated; missing as a dash.

    Examples
    --------
    >>> number(15214), number(2.345, digits=1), number(None)
    ('15,214', '2.3', '–')
    """
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if float(value).is_integer() else 2
    return f"{value:,.{digits}f}"


def share(value: float | None, *, digits: int = 1) -> str:
    """Write a share (0-1) as a percentage.

    Examples
    --------
    >>> share(0.4156)
    '41.6 %'
    """
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """Write a duration in the unit that suits it; missing as a dash."""
    return "–" if seconds is None else duration_in_words(seconds)
