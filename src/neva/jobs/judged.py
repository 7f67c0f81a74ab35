"""Forecasts that were issued earlier, beside the patients who were there then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from neva.census.intervals import units_above
from neva.events.hospital import Hospital
from neva.flow.forecast.evaluation import counts_at
from neva.flow.forecast.rolling import members_of
from neva.flow.stays.sojourns import known_sojourns

__all__ = ["HOURS_AHEAD", "judged_forecasts"]

#: So far ahead forecasts are judged, hours.
HOURS_AHEAD: Final = (4, 8, 12, 24)
#: Forecasts issued so long ago at most.
_OLDEST: Final = timedelta(hours=36)


def judged_forecasts(
    hospital: Hospital, earlier: Sequence[Mapping[str, Any]], at: datetime
) -> list[dict[str, Any]]:
    """Compare kept forecasts with what is known at a time of the times they spoke of.

    Parameters
    ----------
    hospital : Hospital
    earlier : sequence of mapping
        Contents of :func:`neva.jobs.flow.forecast`, as they were issued; a second one
        of the same time is left out.
    at : datetime
        Aware; nothing later is used.

    Returns
    -------
    list of dict
        ``issued``, ``time`` (ISO 8601), ``hours`` ahead, ``place``, ``median``, ``low``
        and ``high`` (90 % prediction interval), ``observed``, ``inside``; by issue,
        time and place. What was observed is what is known of it by `at`: late messages
        may still change it.
    """
    issued = {one["issued"]: one for one in earlier}
    recent = {
        text: one
        for text, one in sorted(issued.items())
        if timedelta(hours=min(HOURS_AHEAD)) <= at - datetime.fromisoformat(text) <= _OLDEST
    }
    if not recent:
        return []
    known = known_sojourns(hospital, at)
    above = units_above(hospital.snapshot(as_of=at))
    rows: list[dict[str, Any]] = []
    for text, content in recent.items():
        begun = datetime.fromisoformat(text)
        steps = {
            hours: int(hours // content["step_hours"]) - 1
            for hours in HOURS_AHEAD
            if hours % content["step_hours"] == 0 and begun + timedelta(hours=hours) <= at
        }
        times = [datetime.fromisoformat(content["times"][step]) for step in steps.values()]
        places = [one["place"] for one in content["places"]]
        observed = counts_at(known, members_of(places, above), times)
        for number, (hours, step) in enumerate(steps.items()):
            for one in content["places"]:
                count = int(observed[one["place"]][number])
                rows.append(
                    {
                        "issued": text,
                        "time": content["times"][step],
                        "hours": hours,
                        "place": one["place"],
                        "median": one["q50"][step],
                        "low": one["q05"][step],
                        "high": one["q95"][step],
                        "observed": count,
                        "inside": bool(one["q05"][step] <= count <= one["q95"][step]),
                    }
                )
    return rows
