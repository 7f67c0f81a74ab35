"""How wide a text may be, without asking a browser; and lines of a label."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

__all__ = ["clean", "text_width", "wrap"]

# Advance widths in units of the font size. They are those of DejaVu Sans, the
# widest of the common screen fonts, rounded up: where another font is used the
# text is narrower than its box, never wider.
_NARROW = dict.fromkeys("ijl|!'.,:;IІіїЇ‘’·` ", 0.36) | dict.fromkeys('()[]{}ftrг-/\\"°', 0.42)
_WIDE = dict.fromkeys("mMwW%@—…→", 1.0) | dict.fromkeys("ЖШЩЮМФЫжшщюмфыД", 1.12)


@lru_cache(maxsize=4096)
def _character_width(character: str) -> float:
    if character in _WIDE:
        return _WIDE[character]
    if character in _NARROW:
        return _NARROW[character]
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF" or ord(character) > 0xFFFF:
        return 1.1
    if character.isdigit() or character.islower():
        return 0.66 if character.isascii() else 0.70
    return 0.80


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return an upper estimate of the width of a line of sans-serif text.

    Parameters
    ----------
    text : str
    size : float
        Font size in pixels.
    bold : bool
        Bold letters are up to an eighth wider.

    Returns
    -------
    float
        Pixels.
    """
    return sum(map(_character_width, text)) * size * (1.125 if bold else 1.0)


def clean(text: str) -> str:
    """Return the text with what XML cannot carry replaced, and spaces made single."""
    kept = (
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) in {"Cc", "Cs", "Cn", "Co"} and not c.isspace()
        else c
        for c in text
    )
    return " ".join("".join(kept).split()) or "(no name)"


def wrap(text: str, size: float, *, width: float, lines: int = 3, bold: bool = False) -> list[str]:
    """Break a label into lines no wider than `width`; too long a text ends in an ellipsis.

    Breaks stand behind spaces, and behind ``_``, ``/``, ``-``, ``.`` where a word is too
    long, and anywhere as a last resort.
    """
    pieces: list[str] = []
    for word in clean(text).split(" "):
        pieces += _pieces(word, size, width, bold)
        pieces[-1] += " "
    rows = [""]
    for piece in pieces:
        if rows[-1] and text_width((rows[-1] + piece).rstrip(), size, bold=bold) > width:
            rows.append("")
        rows[-1] += piece
    rows = [row.strip() for row in rows]
    if len(rows) > lines:
        last = rows[lines - 1]
        while last and text_width(last + "…", size, bold=bold) > width:
            last = last[:-1]
        rows = [*rows[: lines - 1], last.rstrip() + "…"]
    return rows


def _pieces(word: str, size: float, width: float, bold: bool) -> list[str]:
    if text_width(word, size, bold=bold) <= width:
        return [word]
    pieces = [""]
    for character in word:
        if pieces[-1] and (
            text_width(pieces[-1] + character, size, bold=bold) > width
            or (pieces[-1][-1] in "_/-." and character not in "_/-.")
        ):
            pieces.append("")
        pieces[-1] += character
    return pieces
