"""Sparklines: values of one kind over time, as SVG in the page's colours.

A patient's page has a dozen of them. Drawn here they cost a millisecond each; through
Vega-Lite (:mod:`neva.web.charts`) some thirty, which the reader waits for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

from neva.languages.language import Language

__all__ = ["Point", "course", "small_course", "steps_of_time", "steps_of_values"]

#: Points of a small course.
MOST_POINTS: Final = 60
_SMALL: Final = (140, 30)
_HOURS: Final = (1, 2, 3, 6, 12)
_DAYS: Final = (1, 2, 3, 7, 14, 28, 91, 182, 365, 730, 1826, 3652, 9131, 18262)
#: Two days side by side need so many pixels.
_DAY_WIDTH: Final = 60
_BAND: Final = Markup(
    '<rect x="{}" y="{}" width="{}" height="{}" fill="currentColor" opacity="0.12"/>'
)


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a course.

    Parameters
    ----------
    time : datetime
        With its zone.
    value : float
    title : str
        Shown when somebody points at it.
    is_full : bool, default True
        Drawn filled; a hollow one says that something is missing in it.
    """

    time: datetime
    value: float
    title: str
    is_full: bool = True


def steps_of_values(low: float, high: float, most: int = 4) -> list[float]:
    """Return round values that enclose a range, the first at or below it, the last above.

    Examples
    --------
    >>> steps_of_values(3.2, 9.1), steps_of_values(98, 104), steps_of_values(7.0, 7.0)
    ([2.0, 4.0, 6.0, 8.0, 10.0], [98.0, 100.0, 102.0, 104.0], [6.0, 6.5, 7.0, 7.5, 8.0])
    """
    if high - low < 1e-9 * max(abs(low), abs(high), 1.0):
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(k * power for k in (1, 2, 5, 10) if k * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(k * size, 12) for k in range(first, last + 1)]


def steps_of_time(
    first: datetime, last: datetime, zone: str, most: int = 4
) -> tuple[list[datetime], bool]:
    """Return round local times within two moments, and whether they are hours of a day.

    Examples
    --------
    >>> from datetime import UTC
    >>> day = datetime(2026, 3, 28, 9, tzinfo=UTC)
    >>> found, are_hours = steps_of_time(day, day + timedelta(days=3), "Europe/Berlin")
    >>> [f"{one:%d %H}" for one in found], are_hours
    (['29 00', '30 00', '31 00'], False)
    >>> found, are_hours = steps_of_time(day, day + timedelta(hours=8), "Europe/Berlin")
    >>> [f"{one:%d %H}" for one in found], are_hours
    (['28 10', '28 12', '28 14', '28 16', '28 18'], True)
    """
    place = ZoneInfo(zone)
    hours = (last - first).total_seconds() / 3600
    # Local wall times, so that midnight stays midnight when the clocks change.
    wall = datetime.combine(first.astimezone(place), time())
    size = next((one for one in _HOURS if hours / one <= most), None)
    days = next((one for one in _DAYS if hours / 24 / one <= most), _DAYS[-1])
    step = timedelta(days=days) if size is None else timedelta(hours=size)
    found: list[datetime] = []
    while (moment := wall.replace(tzinfo=place).astimezone(UTC)) <= last:
        # An hour that the clocks leave out is the moment of the next one.
        if moment >= first and moment not in found[-1:]:
            found.append(moment)
        wall += step
    return [one.astimezone(place) for one in found], size is not None


class _Axes:
    """Where values and moments are drawn."""

    def __init__(
        self, times: tuple[datetime, datetime], held: tuple[float, float], words: Language,
        size: tuple[int, int],
    ) -> None:  # fmt: skip
        self.words = words
        self.rungs = steps_of_values(*held)
        digits = max(_digits(one) for one in self.rungs)
        self.texts = [words.number(one, digits) for one in self.rungs]
        self.left, self.right = 10 + 7 * max(map(len, self.texts)), size[0] - 20
        self.top, self.bottom = 8, size[1] - 38
        self.first, self.last = times
        if self.first == self.last:
            self.first -= timedelta(hours=1)
            self.last += timedelta(hours=1)

    def x(self, moment: datetime) -> float:
        share = (moment - self.first) / (self.last - self.first)
        return round(self.left + share * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        share = (value - self.rungs[0]) / (self.rungs[-1] - self.rungs[0])
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def drawn(self) -> Iterator[str]:
        for rung, text in zip(self.rungs, self.texts, strict=True):
            at = self.y(rung)
            yield f'<line x1="{self.left}" x2="{self.right}" y1="{at}" y2="{at}" class="grid"/>'
            yield f'<text x="{self.left - 5}" y="{at + 4}" text-anchor="end">{text}</text>'
        moments, are_hours = steps_of_time(self.first, self.last, self.words.zone)
        if not moments:
            moments, are_hours = [self.first], True
        for moment in moments:
            at = self.x(moment)
            yield f'<line x1="{at}" x2="{at}" y1="{self.bottom}" y2="{self.bottom + 4}"/>'
            if are_hours:
                yield self._axis_text(at, 16, self.words.clock(moment))
        days = moments
        if are_hours:  # a day is written where it begins
            days = [one for one in moments if (one.hour, one.minute) == (0, 0)]
            if not days or self.x(days[0]) - self.x(moments[0]) > _DAY_WIDTH:
                days = [moments[0], *days]
        for moment in days:
            below = 31 if are_hours else 16
            yield self._axis_text(self.x(moment), below, self.words.day_and_month(moment))

    def _axis_text(self, at: float, below: int, text: str) -> str:
        return f'<text x="{at}" y="{self.bottom + below}" text-anchor="middle">{text}</text>'


def _digits(value: float) -> int:
    return len(f"{value:.12f}".rstrip("0").partition(".")[2])


def _range(values: Sequence[float], *more: float | None) -> tuple[float, float]:
    held = [*values, *(one for one in more if one is not None)]
    return min(held), max(held)


def small_course(
    values: Sequence[float], low: float | None, high: float | None, title: str
) -> str | None:
    """Draw a course as small as a word, with its reference range as a band.

    Parameters
    ----------
    values : sequence of float
        In order of time; the last sixty are drawn.
    low, high : float, optional
        The reference range.
    title : str
        For those who cannot see it.

    Returns
    -------
    str, optional
        SVG; none of fewer than two values.
    """
    if len(values) < 2:
        return None
    values = values[-MOST_POINTS:]
    width, height = _SMALL
    bottom, top = _range(values, low, high)
    span = (top - bottom) or 1.0

    def y(value: float) -> float:
        return round(height - 3 - (value - bottom) / span * (height - 6), 1)

    step = (width - 8) / (len(values) - 1)
    points = " ".join(f"{round(4 + k * step, 1)},{y(one)}" for k, one in enumerate(values))
    band = Markup("")
    if low is not None or high is not None:
        above, below = y(high if high is not None else top), y(low if low is not None else bottom)
        band = _BAND.format(0, above, width, f"{max(below - above, 0.5):.1f}")
    return str(
        Markup(
            '<svg class="course" role="img" aria-label="{}" width="{}" height="{}" '
            'viewBox="0 0 {} {}">{}'
            '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.6"/>'
            '<circle cx="{}" cy="{}" r="2.6" fill="currentColor"/></svg>'
        ).format(
            title, width, height, width, height, band, points,
            round(4 + (len(values) - 1) * step, 1), y(values[-1]),
        )
    )  # fmt: skip


def course(
    points: Sequence[Point],
    words: Language,
    *,
    band: tuple[float | None, float | None] = (None, None),
    lines: Sequence[float] = (),
    is_stepped: bool = False,
    from_zero: bool = False,
    width: int = 340,
    height: int = 180,
) -> str:
    """Draw a course with its axes.

    Parameters
    ----------
    points : sequence of Point
        In order of time; at least one.
    words : Language
        Of dates and numbers; its zone is that of the axis.
    band : tuple of (float or None, float or None)
        The reference range, drawn as a band; one end may be open.
    lines : sequence of float
        Limits, dashed.
    is_stepped : bool, default False
        A value holds until the next.
    from_zero : bool, default False
        The axis begins at zero.
    width, height : int
        In pixels.

    Returns
    -------
    str
        SVG in the colours of the page.
    """
    low, high = _range([one.value for one in points], *band, *lines)
    times = points[0].time, points[-1].time
    axes = _Axes(times, (min(low, 0) if from_zero else low, high), words, (width, height))
    parts: list[str] = []
    if band != (None, None):
        above = axes.y(axes.rungs[-1] if band[1] is None else band[1])
        below = axes.y(axes.rungs[0] if band[0] is None else band[0])
        wide, tall = axes.right - axes.left, max(round(below - above, 1), 0.5)
        parts.append(_BAND.format(axes.left, above, wide, tall))
    parts.extend(axes.drawn())
    for limit in lines:
        at = axes.y(limit)
        parts.append(
            f'<line x1="{axes.left}" x2="{axes.right}" y1="{at}" y2="{at}" class="limit"/>'
        )
    corners = [(axes.x(one.time), axes.y(one.value)) for one in points]
    if is_stepped:
        turns = [((b[0], a[1]), b) for a, b in pairwise(corners)]
        corners = [corners[0], *(corner for turn in turns for corner in turn)]
    line = " ".join(f"{a},{b}" for a, b in corners)
    parts.append(f'<polyline points="{line}" class="line"/>')
    mark = Markup('<circle cx="{}" cy="{}" r="2.6" class="{}"><title>{}</title></circle>')
    for one in points:
        kind = "full" if one.is_full else "hollow"
        parts.append(mark.format(axes.x(one.time), axes.y(one.value), kind, one.title))
    return (
        f'<svg class="course" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        + "".join(parts)
        + "</svg>"
    )
