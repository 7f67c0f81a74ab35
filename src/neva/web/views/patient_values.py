"""Values of a patient: the latest of each code with its reference range, and their courses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from neva.languages.language import Language
from neva.web.courses import Point, course, small_course
from neva.web.pages import Asked, Column, Figure, Table

__all__ = ["code_title", "latest_values", "range_text", "unit_text", "value_charts", "value_text"]

#: Drawn as charts: the codes with most values.
MOST_CHARTS: Final = 8
#: Fewer values than these are no course.
FEWEST_VALUES: Final = 3
#: Units of measurement as people write them; the record keeps UCUM.
_UNITS: Final = {
    "mm[Hg]": "mmHg", "Cel": "°C", "1": "", "[degF]": "°F", "[pH]": "", "[iU]/L": "IU/L",
    "10*9/L": "×10⁹/L", "10*12/L": "×10¹²/L", "10*3/uL": "×10³/µL", "10*6/uL": "×10⁶/µL",
}  # fmt: skip


def unit_text(unit: str | None) -> str:
    """Write a unit of measurement as people do.

    Examples
    --------
    >>> [unit_text(one) for one in ("mm[Hg]", "umol/L", "{score}", "mg/L{FEU}", None)]
    ['mmHg', 'µmol/L', '', 'mg/L', '']
    """
    if not unit:
        return ""
    plain = _UNITS.get(unit)
    if plain is not None:
        return plain
    return re.sub(r"\bu(?=(mol|g|L|kat)\b)", "µ", re.sub(r"\{[^}]*\}", "", unit))


def value_text(row: Mapping[str, Any], words: Language) -> str | None:
    """Write the value of an event, or its text."""
    if row["value"] is None:
        return str(row["text"]) if row["text"] else None
    number = words.measured(row["value"])
    return f"{row['comparator'] or ''}{number} {unit_text(row['value_unit'])}".strip()


def _attributes(row: Mapping[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in row["attributes"] or () if one}


def _limits(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    held = _attributes(row)
    if "original_unit" in held:
        return None, None  # the range is in the unit in which the value came

    def number(name: str) -> float | None:
        try:
            return float(held[name])
        except (KeyError, TypeError, ValueError):
            return None

    return number("range_low"), number("range_high")


def range_text(row: Mapping[str, Any]) -> str | None:
    """Write the reference range that the record has for a value."""
    held = _attributes(row)
    low, high = held.get("range_low"), held.get("range_high")
    unit = unit_text(held.get("original_unit"))
    if low and high:
        return f"{low}–{high} {unit}".strip()
    if low or high:
        return (f"≥ {low} {unit}" if low else f"≤ {high} {unit}").strip()
    return held.get("range_text")


def _flag(row: Mapping[str, Any], words: Language) -> str:
    low, high = _limits(row)
    if row["value"] is None:
        return ""
    if high is not None and row["value"] > high:
        return "▲ " + words("above")
    if low is not None and row["value"] < low:
        return "▼ " + words("below")
    return ""


def code_title(row: Mapping[str, Any], displays: Mapping[str, str]) -> str:
    """Return what a code is called, or the code without its system."""
    return displays.get(row["code"], row["code"].partition("//")[2])


def latest_values(
    asked: Asked, events: pl.DataFrame, displays: Mapping[str, str]
) -> tuple[Table, dict[str, Figure]]:
    """Return the latest value of each code, and ``course0``, … of each row with several."""
    words = asked.words
    valued = events.filter(pl.col("value").is_finite() & pl.col("time").is_not_null())
    rows: list[dict[str, Any]] = []
    courses: list[Figure | None] = []
    for mine in valued.sort("time").partition_by("code", maintain_order=True):
        last = mine.row(-1, named=True)
        low, high = _limits(last)
        title = code_title(last, displays)
        numbers = mine["value"].to_list()
        flag = _flag(last, words)
        rows.append(
            {
                "what": title,
                "value": value_text(last, words),
                "flag": flag,
                "range": range_text(last),
                "time": last["time"],
                "before": None if mine.height < 2 else value_text(mine.row(-2, named=True), words),
                "count": mine.height,
                "code": last["code"],
                "_class": "warning" if flag else "",
            }
        )
        text = words("%(what)s: %(n)s values", what=title, n=words.number(len(numbers)))
        drawing = small_course(numbers, low, high, text)
        courses.append(None if drawing is None else Figure(drawing, text))
    order = sorted(range(len(rows)), key=lambda k: (rows[k]["time"], rows[k]["what"]), reverse=True)
    table = Table(
        "latest",
        words("The latest value of each, the newest first"),
        (
            Column("what", words("what")),
            Column("value", words("last value")),
            Column("flag", words("against the range")),
            Column("range", words("reference range")),
            Column("time", words("time"), "time"),
            Column("before", words("previous")),
            Column("count", words("values"), "number"),
            Column("code", words("code"), "code"),
        ),
        [rows[k] for k in order],
    )
    ordered = {f"course{place}": courses[k] for place, k in enumerate(order)}
    return table, {name: one for name, one in ordered.items() if one is not None}


def value_charts(
    asked: Asked, events: pl.DataFrame, displays: Mapping[str, str]
) -> dict[str, Figure]:
    """Draw the codes with most values, each unit of measurement by itself."""
    words = asked.words
    values = events.filter(pl.col("value").is_finite() & pl.col("time").is_not_null())
    kinds = values.sort("time").partition_by("code", "value_unit", maintain_order=True)
    many = [one for one in kinds if one.height >= FEWEST_VALUES]
    many.sort(key=lambda one: (-one.height, one["code"][0], one["value_unit"][0] or ""))
    found = {}
    for number, mine in enumerate(many[:MOST_CHARTS]):
        rows = mine.to_dicts()
        last = rows[-1]
        unit, title = unit_text(last["value_unit"]), code_title(last, displays)
        points = [
            Point(row["time"], row["value"], f"{words.when(row['time'])}: {value_text(row, words)}")
            for row in rows
        ]
        alt = words(
            "%(n)s values of %(what)s from %(low)s to %(high)s, the last %(last)s.",
            n=words.number(len(rows)),
            what=title,
            low=words.measured(min(row["value"] for row in rows)),
            high=words.measured(max(row["value"] for row in rows)),
            last=words.measured(last["value"]),
        )
        svg = course(points, words, band=_limits(last))
        found[f"value{number}"] = Figure(svg, alt, f"{title}{', ' + unit if unit else ''}")
    return found
