"""English and Russian: texts, numbers, dates.

A text stands in the source in English and is looked up in a catalogue
(``locale/ru.po``). Texts are string literals, so that a test can find each one
and fail where its translation is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final, Literal
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

__all__ = [
    "LANGUAGES",
    "UNTRANSLATED",
    "Language",
    "LanguageCode",
    "chosen",
    "current",
    "language_of",
    "preferred",
]

LanguageCode = Literal["en", "ru"]
#: What the application speaks; the first is the source's own.
LANGUAGES: Final[tuple[LanguageCode, ...]] = ("en", "ru")

#: Day before month, and a clock of 24 hours, in both languages.
_LOCALES: Final = {"en": "en_GB", "ru": "ru_RU"}
#: Of a time within so long the year is understood.
_NEAR: Final = timedelta(days=200)


@lru_cache(maxsize=4)
def _catalogue(code: str) -> Catalog:
    if code == LANGUAGES[0]:
        return Catalog(locale="en")
    with (resources.files("neva.languages") / "locale" / f"{code}.po").open("rb") as file:
        return read_po(file, locale=code)


#: Texts that were asked for and have no translation; a test demands that there are none.
UNTRANSLATED: Final[set[str]] = set()


def _note(text: str) -> None:
    if len(UNTRANSLATED) < 1000:
        UNTRANSLATED.add(text)


def _russian_form(n: int) -> int:
    """1 пациент, 2 пациента, 5 пациентов: CLDR's one, few and many."""
    if n % 10 == 1 and n % 100 != 11:
        return 0
    return 1 if 2 <= n % 10 <= 4 and not 12 <= n % 100 <= 14 else 2


@lru_cache(maxsize=4096)
def _day(day: date, locale: Locale) -> str:
    return format_date(day, "d MMM y", locale=locale)


@lru_cache(maxsize=20_000)
def _decimal(value: float, _sign: float, digits: int, locale: Locale) -> str:
    # A page holds hundreds, the same ones again and again. Minus nothing equals nothing.
    pattern = "#,##0" + ("." + "0" * digits if digits else "")
    written = format_decimal(abs(value), format=pattern, locale=locale)
    return f"−{written}" if value < 0 and any(one in "123456789" for one in written) else written


class Language:
    r"""One language, with the hospital's time zone.

    Parameters
    ----------
    code : {"en", "ru"}
    zone : str
        IANA; all times are shown in it.

    Examples
    --------
    >>> english = Language("en", "Europe/Moscow")
    >>> english.number(15214), english.share(0.4156), english.number(None)
    ('15,214', '41.6\xa0%', '–')
    >>> english("%(n)s beds", n=3)
    '3 beds'
    """

    def __init__(self, code: str, zone: str):
        self.code: LanguageCode = next((one for one in LANGUAGES if one == code), LANGUAGES[0])
        self.zone = zone
        self._locale = Locale.parse(_LOCALES[self.code])
        self._place = ZoneInfo(zone)

    def __call__(self, text: str, /, **values: object) -> str:
        """Translate a text; ``%(name)s`` in it is replaced by a value."""
        message = _catalogue(self.code).get(text)
        if self.code != LANGUAGES[0] and (message is None or not message.string):
            _note(text)
        found = message.string if message is not None and message.string else text
        shown = found if isinstance(found, str) else found[0]
        return shown % values if values else shown

    def several(self, one: str, many: str, n: int, /, **values: object) -> str:
        """Translate a text with a number, in the form that the number asks for."""
        message = _catalogue(self.code).get(one)
        if message is not None and message.string and not isinstance(message.string, str):
            forms = message.string
            shown = forms[min(_russian_form(n), len(forms) - 1)]
        else:
            shown = one if n == 1 else many
        return shown % {"n": self.number(n), **values}

    def number(self, value: float | str | None, digits: int | None = None) -> str:
        """Write a number; missing as a dash, withheld as such.

        Whole numbers have no decimals and others two, unless ``digits`` says how many.
        What is exactly half between two is rounded to the even one.
        """
        if isinstance(value, str):
            return self.withheld()
        if value is None or not math.isfinite(value):
            return "–"
        if digits is None:
            digits = 0 if float(value).is_integer() else 2
        return _decimal(value, math.copysign(1, value), digits, self._locale)

    def withheld(self) -> str:
        """Say why a count is not shown: see :mod:`neva.statistics.disclosure`."""
        return self("not shown: few patients")

    def measured(self, value: float) -> str:
        """Write a recorded value: two decimals, below 1 as many as three figures need.

        Examples
        --------
        >>> english = Language("en", "UTC")
        >>> [english.measured(one) for one in (94.0, 37.9, 0.5, 0.004, -0.0123)]
        ['94', '37.90', '0.50', '0.004', '−0.0123']
        """
        if float(value).is_integer():
            return self.number(value, 0)
        digits = 2
        if abs(value) < 1:
            most = 2 - math.floor(math.log10(abs(value)))
            digits = max(2, len(f"{value:.{most}f}".rstrip("0").partition(".")[2]))
        return self.number(value, digits)

    def share(self, value: float | str | None, digits: int = 1) -> str:
        """Write a share (0-1) as a percentage, its sign kept on the same line."""
        if isinstance(value, str):
            return self.withheld()
        return "–" if value is None else f"{self.number(100 * value, digits)}\u00a0%"

    def signed(self, value: float | None, digits: int | None = None) -> str:
        """Write a difference with its sign; what is shown as nought has none.

        Examples
        --------
        >>> [Language("en", "UTC").signed(one, 1) for one in (3.14, -3.14, -0.01, None)]
        ['+3.1', '−3.1', '0.0', '–']
        """
        written = self.number(value, digits)
        is_more = value is not None and value > 0 and any(one in "123456789" for one in written)
        return f"+{written}" if is_more else written

    def count(self, number: int | str) -> str:
        """Write a count."""
        return self.number(number, 0)

    def part(self, share: float | None) -> str:
        r"""Write a share (0-1) in whole per cent; only none is 0 % and only all is 100 %.

        Examples
        --------
        >>> [Language("en", "UTC").part(s) for s in (0, 0.0004, 0.123, 0.9999, 1)]
        ['0\xa0%', '<1\xa0%', '12\xa0%', '>99\xa0%', '100\xa0%']
        """
        if share is None:
            return "–"
        if 0 < share < 0.005:
            return "<" + self.share(0.01, 0)
        if 0.995 <= share < 1:
            return ">" + self.share(0.99, 0)
        return self.share(share, 0)

    def chance(self, probability: float | None) -> str:
        r"""Write a computed chance in whole per cent: never as impossible, never as certain.

        Examples
        --------
        >>> [Language("en", "UTC").chance(p) for p in (0.0, 0.126, 0.996, 1.0, None)]
        ['<1\xa0%', '13\xa0%', '>99\xa0%', '>99\xa0%', '–']
        """
        return self.part(None if probability is None else min(max(probability, 0.004), 0.996))

    def duration(self, seconds: float | None) -> str:
        """Write a duration with one unit and two figures or so.

        Hours go up to two days, days up to two years; "–" where there is none.

        Examples
        --------
        >>> english = Language("en", "UTC")
        >>> [english.duration(s) for s in (0, 0.2, 45, 720, 5400, 259200, 900000, None)]
        ['0 s', '<1 s', '45 s', '12 min', '1.5 h', '3 d', '10 d', '–']
        >>> english.duration(-5400), english.duration(59.7), english.duration(3599)
        ('−1.5 h', '1 min', '1 h')
        """
        if seconds is None or not math.isfinite(seconds):
            return "–"
        size = abs(seconds)
        if 0 < size < 1:
            return ("−" if seconds < 0 else "") + self("%(n)s s", n="<1")
        for limit, unit, text in (
            (59.5, 1.0, self("%(n)s s")),
            (59.5 * 60, 60.0, self("%(n)s min")),
            (47.5 * 3600, 3600.0, self("%(n)s h")),
            (2 * 365.25 * 86400, 86400.0, self("%(n)s d")),
            (math.inf, 365.25 * 86400, self("%(n)s y")),
        ):
            if size < limit:
                value = seconds / unit
                whole = unit < 3600 or abs(value) >= 9.95 or round(value, 1) == round(value)
                return text % {"n": self.number(value, 0 if whole else 1)}
        return "–"

    def when(self, moment: datetime | None, *, seconds: bool = False) -> str:
        """Write a moment in the hospital's zone: ``23 Nov 2026, 04:31``."""
        if moment is None:
            return "–"
        local = moment.astimezone(self._place)
        return f"{_day(local.date(), self._locale)}, {local:%H:%M:%S}"[: None if seconds else -3]

    def clock(self, moment: datetime | None) -> str:
        """Write the time of day only."""
        if moment is None:
            return "–"
        return f"{moment.astimezone(self._place):%H:%M}"

    def weekday(self, moment: datetime, near: datetime | None = None) -> str:
        """Write weekday, day and time: ``Mon 23 Nov, 08:00``; with the year if not near a time."""
        local = moment.astimezone(self._place)
        is_far = near is not None and abs(moment - near) > _NEAR
        pattern = "EEE d MMM y, HH:mm" if is_far else "EEE d MMM, HH:mm"
        return format_datetime(local.replace(tzinfo=None), pattern, locale=self._locale)

    def day(self, value: date | datetime | None) -> str:
        """Write a day of the hospital's calendar."""
        if value is None:
            return "–"
        local = value.astimezone(self._place).date() if isinstance(value, datetime) else value
        return _day(local, self._locale)

    def day_and_month(self, moment: datetime) -> str:
        """Write a day without its year, for the axis of a chart: ``23 Nov``."""
        local = moment.astimezone(self._place).date()
        return format_date(local, "d MMM", locale=self._locale)

    def hours(self, value: float | timedelta | str | None) -> str:
        """Write a span given in hours, as a :meth:`duration`."""
        if isinstance(value, str):
            return self.withheld()
        if value is None:
            return "–"
        if isinstance(value, timedelta):
            return self.duration(value.total_seconds())
        return self.duration(3600 * value)


@lru_cache(maxsize=64)
def language_of(code: str, zone: str) -> Language:
    """Return a language, made once."""
    return Language(code, zone)


_CURRENT: ContextVar[Language] = ContextVar("language")


def current() -> Language:
    """Return the language of the request that is being answered."""
    return _CURRENT.get(language_of(LANGUAGES[0], "UTC"))


@contextmanager
def chosen(language: Language) -> Iterator[None]:
    """Answer in a language."""
    token = _CURRENT.set(language)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def preferred(cookie: str | None, accepted: str | None) -> str:
    """Choose a language: what was chosen before, else what the browser asks for first.

    >>> preferred(None, "de,ru;q=0.9,en;q=0.8")
    'ru'
    """
    if cookie in LANGUAGES:
        return str(cookie)
    ranked: list[tuple[float, str]] = []
    for part in (accepted or "").split(",")[:20]:
        name, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        ranked.append((-weight, name.split("-")[0].lower()))
    for _, name in sorted(ranked, key=lambda one: one[0]):
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]
