"""Numbers, shares and durations in English and plain characters.

For the command line, and for files whose reader is not known: a space before the
per cent sign is an ordinary one, so that what is printed can be searched for.
"""

from __future__ import annotations

from typing import Final

from neva.languages.language import LANGUAGES, Language, language_of

__all__ = ["ENGLISH", "chance", "duration", "number", "part", "share", "signed"]

#: The source's own language; times in UTC.
ENGLISH: Final[Language] = language_of(LANGUAGES[0], "UTC")

number: Final = ENGLISH.number
signed: Final = ENGLISH.signed
duration: Final = ENGLISH.duration


def share(value: float | None, digits: int = 1) -> str:
    """Write a share (0-1) as a percentage: see :meth:`Language.share`.

    Examples
    --------
    >>> share(0.4156), share(None)
    ('41.6 %', '–')
    """
    return ENGLISH.share(value, digits).replace("\u00a0", " ")


def part(value: float | None) -> str:
    """Write a share (0-1) in whole per cent: see :meth:`Language.part`.

    Examples
    --------
    >>> part(0.9999), part(0.5)
    ('>99 %', '50 %')
    """
    return ENGLISH.part(value).replace("\u00a0", " ")


def chance(probability: float | None) -> str:
    """Write a computed chance: see :meth:`Language.chance`.

    Examples
    --------
    >>> chance(0.126), chance(0.0)
    ('13 %', '<1 %')
    """
    return ENGLISH.chance(probability).replace("\u00a0", " ")
