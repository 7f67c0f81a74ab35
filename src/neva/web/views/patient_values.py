"""Values of a patient: the latest of each code with its reference range, and their courses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
from markupsafe import Markup

from neva.web.charts import drawn
from neva.web.languages import Language
from neva.web.pages import Asked, Column, Figure, Table

__all__ = ["latest_values", "range_text", "time_format", "unit_text", "value_charts", "value_text"]

#: Drawn as charts: the codes with most values.
MOST_CHARTS: Final = 8
#: Points of a small course.
_MOST_POINTS: Final = 60
_WIDTH, _HEIGHT = 140, 30
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
    number = words.number(row["value"], None if float(row["value"]).is_integer() else 2)
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


def _course(
    values: Sequence[float], low: float | None, high: float | None, title: str
) -> Figure | None:
    """Draw a small course, with its reference range as a band."""
    if len(values) < 2:
        return None
    held = [*values, *(one for one in (low, high) if one is not None)]
    bottom, top = min(held), max(held)
    span = (top - bottom) or 1.0

    def y(value: float) -> float:
        return round(_HEIGHT - 3 - (value - bottom) / span * (_HEIGHT - 6), 1)

    step = (_WIDTH - 8) / (len(values) - 1)
    points = " ".join(f"{round(4 + k * step, 1)},{y(one)}" for k, one in enumerate(values))
    band = ""
    if low is not None or high is not None:
        above, below = y(high if high is not None else top), y(low if low is not None else bottom)
        band = (
            f'<rect x="0" y="{above}" width="{_WIDTH}" height="{max(below - above, 0.5):.1f}" '
            'fill="currentColor" opacity="0.13"/>'
        )
    svg = Markup(
        '<svg role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">{}'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.6"/>'
        '<circle cx="{}" cy="{}" r="2.6" fill="currentColor"/></svg>'
    ).format(
        title, _WIDTH, _HEIGHT, _WIDTH, _HEIGHT, Markup(band), points,
        round(4 + (len(values) - 1) * step, 1), y(values[-1]),
    )  # fmt: skip
    return Figure(str(svg), title)


def latest_values(
    asked: Asked, events: pl.DataFrame, displays: Mapping[str, str]
) -> tuple[Table, dict[str, Figure]]:
    """Return the latest value of each code, and ``course0``, … of each row with several."""
    words = asked.words
    valued = events.filter(pl.col("value").is_not_null() & pl.col("time").is_not_null())
    rows: list[dict[str, Any]] = []
    courses: list[Figure | None] = []
    for mine in valued.sort("time").partition_by("code", maintain_order=True):
        last = mine.row(-1, named=True)
        low, high = _limits(last)
        title = displays.get(last["code"], last["code"].partition("//")[2])
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
        said = words("%(what)s: %(n)s values", what=title, n=words.number(len(numbers)))
        courses.append(_course(numbers[-_MOST_POINTS:], low, high, said))
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
            Column("before", words("the one before")),
            Column("count", words("values"), "number"),
            Column("code", words("code"), "code"),
        ),
        [rows[k] for k in order],
    )
    ordered = {f"course{place}": courses[k] for place, k in enumerate(order)}
    return table, {name: one for name, one in ordered.items() if one is not None}


def time_format(rows: list[dict[str, Any]]) -> str:
    """Choose the format of an axis: with hours where all is within three days."""
    days = {row["time"][:10] for row in rows}
    return "%-d %b %H:%M" if len(days) <= 3 else "%-d %b"


def value_charts(
    asked: Asked, events: pl.DataFrame, displays: Mapping[str, str]
) -> dict[str, Figure]:
    """Draw the codes with most values."""
    words = asked.words
    values = events.filter(pl.col("value").is_not_null() & pl.col("time").is_not_null())
    ranked = values.group_by("code").len().filter(pl.col("len") >= 3)
    chosen = ranked.sort("len", "code", descending=[True, False])["code"].head(MOST_CHARTS)
    found = {}
    for number, code in enumerate(chosen.to_list()):
        mine = values.filter(pl.col("code") == code).sort("time")
        held = mine["value_unit"].drop_nulls().head(1).to_list()
        unit = [text for text in map(unit_text, held) if text]
        title = displays.get(code, code.partition("//")[2])
        local = mine["time"].dt.convert_time_zone(asked.server.zone).dt.replace_time_zone(None)
        rows = [
            {"time": time.isoformat(), "value": value}
            for time, value in zip(local.to_list(), mine["value"].to_list(), strict=True)
        ]
        svg = drawn(
            {
                "data": {"values": rows},
                "mark": {"type": "line", "point": {"size": 22}},
                "encoding": {
                    "x": {"field": "time", "type": "temporal", "title": None,
                          "axis": {"format": time_format(rows), "labelOverlap": True,
                                   "tickCount": 4}},
                    "y": {"field": "value", "type": "quantitative",
                          "title": unit or ["–"], "scale": {"zero": False}},
                },
            },
            words,
            width=280,
            height=120,
        )  # fmt: skip
        alt = words(
            "%(n)s values of %(what)s from %(low)s to %(high)s, the last %(last)s.",
            n=words.number(mine.height),
            what=title,
            low=words.number(float(mine["value"].min())),  # type: ignore[arg-type]
            high=words.number(float(mine["value"].max())),  # type: ignore[arg-type]
            last=words.number(mine["value"][-1]),
        )
        found[f"value{number}"] = Figure(svg, alt, f"{title}{', ' + unit[0] if unit else ''}")
    return found
