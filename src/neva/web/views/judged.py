"""Forecasts that were issued earlier, and what came: a part of the page Flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from neva.web.pages import Asked, Column, Table

__all__ = ["coverage_of", "judged_table"]

#: From this hour on a forecast is of the morning.
_MORNING: Final = 6


def coverage_of(asked: Asked, rows: list[Mapping[str, Any]]) -> str:
    """Say how many of the forecasts of the last day and a half held."""
    if not rows:
        return ""
    return asked.words(
        "%(inside)s of %(all)s forecasts for places and times that have passed since lay within "
        "their 90 %% prediction interval (issued in the last 36 hours, up to 24 hours ahead).",
        inside=asked.words.number(sum(one["inside"] for one in rows)),
        all=asked.words.number(len(rows)),
    )


def judged_table(
    asked: Asked, rows: list[Mapping[str, Any]], title_of: Callable[[str], str]
) -> Table:
    """Show the forecast of this morning beside what came; else the earliest that was kept."""
    words, zone = asked.words, ZoneInfo(asked.server.zone)
    issued = sorted({one["issued"] for one in rows})
    today = asked.now.astimezone(zone).date()
    mornings = [
        text
        for text in issued
        if (local := datetime.fromisoformat(text).astimezone(zone)).date() == today
        and local.hour >= _MORNING
    ]
    chosen = (mornings or issued)[0]
    mine = [one for one in rows if one["issued"] == chosen]
    last = max(one["time"] for one in mine)
    return Table(
        "today",
        words(
            "Forecast of %(issued)s for %(time)s, and what came",
            issued=words.when(datetime.fromisoformat(chosen)),
            time=words.when(datetime.fromisoformat(last)),
        ),
        (
            Column("place", words("place")),
            Column("median", words("expected"), "number"),
            Column("range", words("90 % prediction interval")),
            Column("observed", words("patients then"), "number"),
            Column("verdict", words("within the interval")),
        ),
        [
            {
                **one,
                "place": title_of(one["place"]),
                "range": f"{words.number(one['low'])}–{words.number(one['high'])}",
                "verdict": words("yes") if one["inside"] else words("no"),
                "_class": "" if one["inside"] else "warning",
            }
            for one in mine
            if one["time"] == last
        ],
    )
