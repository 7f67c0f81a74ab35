"""Shared parts of quality charts: descriptions, colours, style."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import altair as alt

from neva.languages.language import Language, LanguageCode, language_of
from neva.reports.charts.quality_words import number_locale, text

__all__ = ["About", "finished", "kept_apart", "value_domain"]

# Okabe & Ito, greys that print, and a purple dark enough for small marks.
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
PURPLE: Final = "#8E4A8B"
GREY: Final = "#6b6b6b"
PALE: Final = "#9a9a9a"
# Labels at the right edge are kept so many pixels apart.
_LABEL_GAP: Final = 13


@dataclass(frozen=True, slots=True)
class About:
    """What a chart must say of itself.

    Attributes
    ----------
    measure : str
        What is measured, with its unit; the title.
    denominator : str
        What denominators count.
    period : str
        In words.
    synthetic : bool
        Whether the data are made up; then the chart says so.
    percent : bool
        Values are shares (0-1), to be written as per cent.
    language : {"en", "ru"}
    """

    measure: str
    denominator: str
    period: str
    synthetic: bool
    percent: bool = False
    language: LanguageCode = "en"

    def word(self, key: str, **values: object) -> str:
        """Return a text in the language of the chart."""
        return text(self.language, key, **values)

    def value(self, number: float | None, digits: int | None = None) -> str:
        """Write a value as per cent, or with as many decimals as its size needs."""
        if self.percent:
            return self.words.share(number, 1 if digits is None else digits)
        if number is not None and digits is None:
            digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2
        return self.number(number, digits or 0)

    def number(self, number: float | None, digits: int) -> str:
        """Write a number in the language of the chart."""
        return self.words.number(number, digits)

    @property
    def words(self) -> Language:
        """The language of the chart."""
        return language_of(self.language, "UTC")

    @property
    def axis_format(self) -> str:
        """Vega's format of the values."""
        return "%" if self.percent else ",f"


def finished(chart: Any, about: About, notes: list[str]) -> dict[str, Any]:
    """Add title, subtitle and looks."""
    first = [
        about.word("synthetic").upper() if about.synthetic else "",
        about.word("denominator", what=about.denominator),
        about.word("period", what=about.period),
    ]
    lines = [" · ".join(part for part in first if part), *[note for note in notes if note]]
    made: dict[str, Any] = (
        chart.properties(
            title=alt.TitleParams(about.measure, subtitle=lines, anchor="start", frame="group")
        )
        .configure(font="DejaVu Sans, Arial, sans-serif", background="white")
        .configure_view(stroke=None)
        .configure_title(
            fontSize=14,
            subtitleFontSize=11,
            subtitleColor="#444444",
            subtitleLineHeight=14,
            offset=10,
        )
        .configure_axis(
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#ececec"
        )
        .configure_legend(
            labelFontSize=11, titleFontSize=11, titleFontWeight="normal", labelLimit=400
        )
        .to_dict()
    )
    locale = number_locale(about.language)
    if locale:
        made["config"]["locale"] = locale
    return made


def value_domain(
    numbers: list[float | None], *, floor: float | None, ceiling: float | None
) -> list[float]:
    """Return the ends of an axis that holds the numbers, with some room.

    Room ends at `floor` and `ceiling`, unless a number lies beyond them.
    """
    known = [n for n in numbers if n is not None and math.isfinite(n)]
    if not known:
        return [0.0, 1.0]
    low, high = min(known), max(known)
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    low, high = low - room, high + room
    if floor is not None and min(known) >= floor:
        low = max(low, floor)
    if ceiling is not None and max(known) <= ceiling:
        high = min(high, ceiling)
    return [low, high]


def kept_apart(places: list[float], domain: list[float], height: float) -> list[float]:
    """Move labels up or down until they are readable; order is kept."""
    unit = (domain[1] - domain[0]) / height
    gap = _LABEL_GAP * unit
    order = sorted(range(len(places)), key=lambda k: places[k])
    moved = list(places)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    # What was pushed beyond the top comes back, and pushes those below it.
    top = domain[1] - 0.3 * gap
    for k in reversed(order):
        moved[k] = min(moved[k], top)
        top = moved[k] - gap
    return moved
