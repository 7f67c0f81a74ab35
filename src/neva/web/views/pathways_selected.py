"""What the query of a page of pathways selects: the log, its filters, and addresses of others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from neva import pathways as p
from neva.events.clock import first_moment
from neva.pathways import artefacts
from neva.pathways.disclosure import SharedLog, first_day, shared_log, shared_map
from neva.statistics.disclosure import is_small
from neva.web.pages import Asked, Build, ViewModel

__all__ = [
    "KINDS",
    "Selected",
    "filters_of",
    "link_to",
    "map_of",
    "not_on_the_map",
    "or_wait",
    "selected",
    "whole_log",
]

#: What activities are.
KINDS: Final = ("units", "codes")
#: Days beyond these are taken for them: calendars end.
_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2200, 1, 1)


@dataclass(frozen=True)
class Selected:
    """What the query selects, and the log that is left."""

    kind: str
    log: p.ActivityLog
    whole: p.ActivityLog
    filters: tuple[tuple[str, str, str], ...]  # name in the query, value, words
    activities: float
    paths: float | None


def _day(asked: Asked, name: str) -> date | None:
    given = asked.query.get(name, "")
    try:
        return min(max(date.fromisoformat(given), _EARLIEST), _LATEST)
    except ValueError:
        if given:
            asked.ignore(name)
        return None


class _NotReadyError(Exception):
    """The log of the data is being drawn for the first time."""

    def __init__(self, job: str | None) -> None:
        super().__init__()
        self.job = job


def whole_log(asked: Asked, kind: str) -> p.ActivityLog:
    """Read the newest log that the worker has drawn, as far as this role may see it.

    Raises
    ------
    _NotReadyError
    """
    result, job = asked.server.computed("activity-log", {"kind": kind}, asked.viewer)
    if result is None:
        raise _NotReadyError(job)
    folder = asked.server.whole().cache / "pathways" / str(result.content["folder"])
    log: p.ActivityLog | None = asked.server.kept(
        ("log", folder.name), lambda: artefacts.load(folder)
    )
    if log is None:
        asked.server.results.drop(result.id)
        raise _NotReadyError(None)
    return _shared(asked, log).log if asked.sees_large_counts_only else log


def _shared(asked: Asked, log: p.ActivityLog) -> SharedLog:
    found: SharedLog = asked.server.kept(
        ("shared log", log.hospital, log.activities), lambda: shared_log(log)
    )
    return found


def not_on_the_map(asked: Asked, kind: str) -> str:
    """Say of which stays no unit is recorded: the map of units has nothing of them."""
    result, _ = asked.server.computed("activity-log", {"kind": kind}, asked.viewer)
    words = asked.words
    if result is None:
        return ""
    if kind == "units" and not result.content.get("has_units", True):
        return words("No unit is recorded in this hospital: all codes are shown as activities.")
    without = int(result.content.get("stays_without", 0))
    if not without:
        return ""
    if asked.sees_large_counts_only and is_small(without):
        return words("For a few stays no unit is recorded: their pathways are not on this map.")
    return words.several(
        "Of %(n)s stay no unit is recorded: this map has nothing of its way.",
        "Of %(n)s stays no unit is recorded: this map has nothing of their way.",
        without,
    )


def or_wait(build: Build) -> Build:
    """Show that a log is being drawn, where there is none yet."""

    def waiting(asked: Asked) -> ViewModel:
        try:
            return build(asked)
        except _NotReadyError as error:
            return ViewModel(asked.words("Pathways"), {"job": error.job, "waits": True})

    return waiting


def filters_of(asked: Asked, prefix: str = "") -> tuple[list[p.Filter], list[tuple[str, str, str]]]:
    """Read the filters of the query: what keeps cases, and each in words."""
    words, query = asked.words, asked.query
    getlist: Any = getattr(query, "getlist", lambda name: [query[name]] if name in query else [])
    made: list[p.Filter] = []
    chips: list[tuple[str, str, str]] = []

    def add(name: str, value: str, filter_: p.Filter, text: str) -> None:
        made.append(filter_)
        chips.append((prefix + name, value, text))

    for value in getlist(prefix + "with"):
        add("with", value, p.contains(value), words("with %(activity)s", activity=value))
    for value in getlist(prefix + "without"):
        add("without", value, ~p.contains(value), words("without %(activity)s", activity=value))
    for value in getlist(prefix + "step"):
        first, arrow, second = value.partition(" → ")
        if arrow:
            step = p.follows(first, second, directly=True)
            add("step", value, step, words("with the step %(step)s", step=value))
        elif value:
            asked.ignore(prefix + "step")
    for value in getlist(prefix + "unit"):
        if value:
            add("unit", value, p.touches_unit(value), words("through unit %(unit)s", unit=value))
    for value in getlist(prefix + "outcome"):
        if value:
            text = words("outcome %(outcome)s", outcome=value)
            add("outcome", value, p.outcome_is(value), text)
    begin, last = _day(asked, prefix + "from"), _day(asked, prefix + "to")
    zone, day = asked.server.zone, timedelta(days=1)
    if begin is not None or last is not None:
        end = _LATEST if last is None else last + day
        if asked.sees_large_counts_only:
            # Windows of days would be told apart by subtraction.
            begin = None if begin is None else first_day(begin)
            end = end if last is None else first_day(last, after=True)
        since = first_moment(begin or _EARLIEST, zone)
        made.append(p.started_in(since, first_moment(end, zone)))
        if begin is not None:
            text = words("started from %(day)s on", day=words.day(begin))
            chips.append((prefix + "from", query[prefix + "from"], text))
        if last is not None:
            text = words("started until %(day)s", day=words.day(end - day))
            chips.append((prefix + "to", query[prefix + "to"], text))
    return made, chips


def selected(asked: Asked, prefix: str = "") -> Selected:
    """Read the query: the cases and activities that are left of the log."""
    kind = asked.choice("activities_of", KINDS, "units")
    whole = whole_log(asked, kind)
    filters, chips = filters_of(asked, prefix)
    log = p.keep_cases(whole, *filters) if filters else whole
    # Of what is selected, not of the whole hospital; rounded down: never more than is readable.
    default = math.floor(100 * p.readable_share(log))
    share = asked.number("activities", default, 1, 100)
    if share < 100 and log.case_count:
        log = p.keep_most_common_activities(log, share / 100)
    paths = asked.number("paths", -1, -1, 100) if asked.query.get("paths") else -1
    return Selected(kind, log, whole, tuple(chips), share, None if paths < 0 else paths / 100)


def link_to(
    asked: Asked, *, drop: tuple[str, str] | None = None, path: str = "", **add: str
) -> str:
    """Make the address of the same page with something added, changed or taken away."""
    query = asked.query
    items = list(getattr(query, "multi_items", query.items)())
    items = [one for one in items if one != drop and one[0] != "table"]
    for given, value in add.items():
        name = given.rstrip("_")
        if name in ("with", "without", "step", "unit", "outcome"):
            if (name, value) not in items:
                items.append((name, value))
        else:
            items = [one for one in items if one[0] != name] + [(name, value)]
    text = urlencode(items)
    return (path or "/pathways") + (f"?{text}" if text else "")


def map_of(asked: Asked, log: p.ActivityLog) -> p.ActivityMap:
    """Map a log, without small counts where the role sees none."""
    found = p.discover_map(log)
    return shared_map(found) if asked.sees_large_counts_only else found
