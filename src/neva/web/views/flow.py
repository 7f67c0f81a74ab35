"""Flow: forecasts with their past accuracy, and scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from neva.errors import BadInputError
from neva.flow.forecast.baselines import BY_LENGTHS, EXPECTED_CHANGE, PERSISTENCE
from neva.flow.forecast.rolling import WEEKDAY_HOUR
from neva.flow.simulation.scenarios import check_units, scenario_of
from neva.flow.simulation.simulation_run import FIGURES
from neva.web.charts import drawn
from neva.web.pages import Asked, Column, Figure, Pages, Table, ViewModel, asked_of
from neva.web.security.forms import posted
from neva.web.views.agreement import agreement_of
from neva.web.views.judged import coverage_of, judged_table

__all__ = ["add_to", "fan", "forecast_of", "routes"]

#: A scenario longer than this is no scenario.
LONGEST: Final = 20_000
#: Places drawn at once.
MOST_FANS: Final = 24
_QUANTILES: Final = ("q05", "q25", "q50", "q75", "q95")
_EXAMPLE: Final = """name: four beds more
about: what four more staffed beds would change
changes:
  - beds: {unit: UNIT, add: 4}
"""


def forecast_of(asked: Asked) -> tuple[Any, str | None]:
    """Return the newest forecast, and the job that makes a newer one."""
    at = asked.now.replace(minute=0, second=0, microsecond=0)
    return asked.server.computed("forecast", {"at": at.isoformat()}, asked.viewer)


def fan(asked: Asked, content: Mapping[str, Any], place: Mapping[str, Any], hours: int) -> Figure:
    """Draw the forecast of one place: median, middle half and nine tenths, beds."""
    words, zone = asked.words, ZoneInfo(asked.server.zone)
    local = [
        datetime.fromisoformat(text).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")
        for text in content["times"]
    ]
    steps = max(1, min(len(local), int(hours // content["step_hours"])))
    issued = datetime.fromisoformat(content["issued"]).astimezone(zone)
    names = ("q05", "q25", "q50", "q75", "q95")
    first = {"time": issued.strftime("%Y-%m-%dT%H:%M:%S"), **dict.fromkeys(names, place["present"])}
    rows = [first] + [
        {"time": local[k], **{name: place[name][k] for name in names}} for k in range(steps)
    ]
    top = max([row["q95"] for row in rows] + [place["beds"] or 0, 1]) * 1.05
    x = {
        "field": "time",
        "type": "temporal",
        "title": None,
        "axis": {"format": "%-d %b %H:%M" if hours <= 48 else "%a %-d %b", "labelOverlap": True},
    }

    def y(field: str) -> dict[str, Any]:
        return {
            "field": field,
            "type": "quantitative",
            "title": "patients",
            "scale": {"domain": [0, top], "nice": False},
            "axis": {"tickMinStep": 1},
        }

    layers: list[dict[str, Any]] = [
        {"mark": {"type": "area", "color": "#cfe3f1"},
         "encoding": {"x": x, "y": y("q05"), "y2": {"field": "q95"}}},
        {"mark": {"type": "area", "color": "#8fbfe0"},
         "encoding": {"x": x, "y": y("q25"), "y2": {"field": "q75"}}},
        {"mark": {"type": "line", "color": "#0b4f7a", "strokeWidth": 2},
         "encoding": {"x": x, "y": y("q50")}},
        {"data": {"values": [first]},
         "mark": {"type": "point", "filled": True, "size": 70, "color": "#17202a", "opacity": 1},
         "encoding": {"x": x, "y": y("q50")}},
    ]  # fmt: skip
    if place["beds"] is not None:
        layers.append(
            {
                "data": {"values": [{"beds": place["beds"]}]},
                "mark": {
                    "type": "rule",
                    "color": "#b34700",
                    "strokeDash": [6, 4],
                    "strokeWidth": 2,
                },
                "encoding": {"y": y("beds")},
            }
        )
    svg = drawn({"data": {"values": rows}, "layer": layers}, words, width=300, height=150)
    name = place_title(asked, place["place"])
    last = steps - 1
    alt = words(
        "Fan chart of patients in %(place)s: %(now)s now, %(median)s expected at the end, 90 %% "
        "prediction interval %(low)s to %(high)s.",
        place=name,
        now=words.number(place["present"]),
        median=words.number(place["q50"][last]),
        low=words.number(place["q05"][last]),
        high=words.number(place["q95"][last]),
    )
    beds = "" if place["beds"] is None else words(", %(n)s beds", n=words.number(place["beds"]))
    now = words("%(n)s now", n=words.number(place["present"]))
    return Figure(svg, alt, f"{name}: {now}{beds}")


def place_title(asked: Asked, place: str) -> str:
    """Name a place: the whole hospital, a unit by its title, or a state."""
    if place == "all":
        return asked.words("whole hospital")
    return asked.unit_titles.get(place, place)


def _visible(asked: Asked, place: str) -> bool:
    units = asked.viewer.units
    return units is None or place == "all" or asked.server.may_see(units, place)


def _horizon_row(
    asked: Asked, content: Mapping[str, Any], place: Mapping[str, Any], steps: list[int]
) -> dict[str, Any]:
    words = asked.words
    row: dict[str, Any] = {
        "place": place_title(asked, place["place"]),
        "beds": place["beds"],
        "present": place["present"],
    }
    for step in steps:
        k = step - 1
        text = (
            f"{words.number(place['q50'][k])} "
            f"({words.number(place['q05'][k])}–{words.number(place['q95'][k])})"
        )
        alone = place.get("mean_by_lengths")
        # Where what was entered moves the forecast by a patient or so, both stand here.
        if alone is not None and abs(alone[k] - place["mean"][k]) >= 0.5:
            text += "; " + words(
                "without entries %(n)s",
                n=words.number(alone[k] - place["mean"][k] + place["q50"][k], 0),
            )
        chance = None if place["beyond"] is None else place["beyond"][k]
        if chance is not None:
            text += "; " + words("short %(chance)s", chance=words.part(chance))
            if chance >= 0.2:
                row["_class"] = "bad" if chance >= 0.5 else "warning"
        row[f"h{int(step * content['step_hours'])}"] = text
    return row


def _horizon_table(
    asked: Asked, content: Mapping[str, Any], places: list[Mapping[str, Any]], steps: list[int]
) -> Table:
    words, step = asked.words, content["step_hours"]
    return Table(
        "forecast",
        words("Patients expected, median (5 %–95 %), and the chance that beds run short"),
        (
            Column("place", words("place")),
            Column("beds", words("beds"), "number"),
            Column("present", words("now"), "number"),
            *(
                Column(
                    f"h{int(one * step)}",
                    words("in %(time)s", time=words.hours(one * step))
                    + f", {words.weekday(datetime.fromisoformat(content['times'][one - 1]))}",
                )
                for one in steps
            ),
        ),
        [_horizon_row(asked, content, one, steps) for one in places],
    )


def _hour_table(asked: Asked, content: Mapping[str, Any], places: list[Mapping[str, Any]]) -> Table:
    words = asked.words
    return Table(
        "hours",
        words("Hour by hour"),
        (
            Column("place", words("place")),
            Column("time", words("time"), "time"),
            *(Column(name, name, "number", 0) for name in _QUANTILES),
            Column("beyond", words("chance of too few beds"), "share"),
        ),
        [
            {
                "place": one["place"],
                "time": datetime.fromisoformat(text),
                **{name: one[name][k] for name in _QUANTILES},
                "beyond": None if one["beyond"] is None else one["beyond"][k],
            }
            for one in places
            for k, text in enumerate(content["times"])
        ],
    )


def flow(asked: Asked) -> ViewModel:
    """Show how many patients are expected where, and how good such forecasts were."""
    words = asked.words
    result, job = forecast_of(asked)
    hours = int(asked.number("hours", 72, 24, 168))
    if result is None:
        return ViewModel(words("Flow"), {"job": job, "content": None, "hours": hours})
    content = result.content
    places = [one for one in content["places"] if _visible(asked, one["place"])]
    wanted = asked.query.get("place", "")
    shown = [one for one in places if one["place"] == wanted] if wanted else places
    step = content["step_hours"]
    steps = [
        int(ahead / step)
        for ahead in (4, 24, 72, 168)
        if ahead % step == 0 and ahead / step <= len(content["times"])
    ]
    figures = {
        f"fan{number}": asked.server.kept(
            ("fan", result.id, one["place"], hours, words.code),
            partial(fan, asked, content, one, hours),
            most=2000,
        )
        for number, one in enumerate(shown[:MOST_FANS])
    }
    judged, judging = asked.server.computed(
        "evaluation",
        {"at": asked.now.replace(hour=0, minute=0, second=0, microsecond=0).isoformat()},
        asked.viewer,
    )
    tables = [
        _horizon_table(asked, content, places, steps),
        _hour_table(asked, content, shown),
    ]
    if content.get("entries"):
        tables.append(_entries(asked, content["entries"]))
    if judged is not None:
        tables.append(_accuracy(asked, judged.content))
    today = [one for one in content.get("judged", ()) if _visible(asked, one["place"])]
    if today:
        tables.append(judged_table(asked, today, partial(place_title, asked)))
    return ViewModel(
        words("Flow"),
        {
            "job": job,
            "content": {"issued": content["issued"], "notes": content["notes"]},
            "issued": datetime.fromisoformat(content["issued"]),
            "hours": hours,
            "place": wanted,
            "places": [
                {"id": one["place"], "title": place_title(asked, one["place"])} for one in places
            ],
            "fans": list(figures),
            "entries": bool(content.get("entries")),
            "judged": judged is not None,
            "today": coverage_of(asked, today),
            "judging": judging,
        },
        tuple(tables),
        figures,
        (
            (words("Forecast made from"), content["identity"]),
            (words("Issued"), words.when(datetime.fromisoformat(content["issued"]))),
            (words("What"), words("patients who need a place; capacity is not considered")),
        ),
    )


def _entries(asked: Asked, rows: list[Mapping[str, Any]]) -> Table:
    words = asked.words
    names = {
        "confirmed, within 24 hours": words("discharge confirmed for the next 24 hours"),
        "expected, within 24 hours": words("discharge expected in the next 24 hours"),
        "date passed": words("expected date of discharge has passed"),
        "date later than 24 hours": words("expected date of discharge is later"),
        "no date": words("no expected date, where most have one"),
        "medically fit": words("medically fit, nothing delays"),
        "delayed": words("discharge is delayed"),
        "bed requested": words("bed requested: moved there"),
    }
    return Table(
        "entries",
        words("Entries, and how often they came true within 24 hours"),
        (
            Column("entry", words("entered")),
            Column("seen", words("seen, once a day"), "number"),
            Column("share", words("came true"), "share", 0),
            Column("range", words("95 % interval")),
            Column("judged", words("in the latest third of the days")),
            Column("by_lengths_alone", words("expected from length of stay alone"), "number", 1),
            Column("with_entries", words("expected with entries"), "number", 1),
        ),
        [
            {
                **row,
                "entry": names.get(row["entry"], row["entry"]),
                "range": None
                if row["lower"] is None
                else words(
                    "%(low)s to %(high)s",
                    low=words.share(row["lower"], 0),
                    high=words.share(row["upper"], 0),
                ),
                "judged": words(
                    "%(n)s of %(all)s came true",
                    n=words.number(row["judged_came_true"]),
                    all=words.number(row["judged"]),
                ),
            }
            for row in rows
        ],
    )


def _forecast_names(asked: Asked, ours: str) -> dict[str, str]:
    words = asked.words
    return {
        ours: words("this forecast"),
        BY_LENGTHS: words("this forecast from length of stay alone"),
        PERSISTENCE: words("same as now"),
        EXPECTED_CHANGE: words("same as now, plus the usual change"),
        WEEKDAY_HOUR: words("mean of the same weekday and hour"),
    }


def _accuracy(asked: Asked, content: Mapping[str, Any]) -> Table:
    words = asked.words
    names = _forecast_names(asked, content["ours"])
    rows = [
        {
            "place": place_title(asked, row["place"]),
            "horizon": row["horizon_hours"],
            "model": names.get(row["model"], row["model"]),
            "occasions": row["occasions"],
            "crps": row["crps"],
            "coverage": row["coverage90"],
            "coverage_low": row["coverage90_low"],
            "coverage_high": row["coverage90_high"],
            "mae": row["mae"],
            "bias": row["bias"],
        }
        for row in content["summary"]
        if _visible(asked, row["place"])
    ]
    return Table(
        "accuracy",
        words("Accuracy of the forecasts of the last mornings, compared with simple baselines"),
        (
            Column("place", words("place")),
            Column("horizon", words("ahead"), "hours"),
            Column("model", words("forecast")),
            Column("occasions", words("forecasts judged"), "number"),
            Column("crps", words("error (CRPS, patients)"), "number", 2),
            Column("mae", words("mean error"), "number", 2),
            Column("bias", words("too many (+) or too few (−)"), "number", 2),
            Column("coverage", words("within the 90 % interval"), "share", 0),
            Column("coverage_low", words("from"), "share", 0),
            Column("coverage_high", words("to"), "share", 0),
        ),
        rows,
    )


def scenarios(asked: Asked) -> ViewModel:
    """List scenarios, and a form for a new one."""
    words = asked.words
    saved = asked.server.state.scenarios.all()
    units = sorted(asked.unit_titles)
    copied = asked.query.get("copy", "")
    text = next((one.text for one in saved if one.id == copied), "")
    return ViewModel(
        words("What if"),
        {
            "example": text or _EXAMPLE.replace("UNIT", units[0] if units else "ward"),
            "units": units,
            "may": asked.viewer.role in ("analyst", "administrator", "clinician"),
        },
        (
            Table(
                "scenarios",
                words("Saved scenarios"),
                (
                    Column("name", words("name")),
                    Column("actor", words("by")),
                    Column("at", words("saved"), "time"),
                ),
                [
                    {
                        "name": one.name,
                        "actor": one.actor,
                        "at": one.at,
                        "_href": f"/flow/scenarios/{one.id}",
                    }
                    for one in saved
                ],
            ),
        ),
    )


def _parameters(asked: Asked, text: str) -> dict[str, Any]:
    return {
        "at": asked.now.isoformat(),
        "scenarios": [text],
        "days": int(asked.number("days", 14, 2, 60)),
        "replications": int(asked.number("replications", 20, 2, 200)),
    }


def scenario(asked: Asked) -> ViewModel:
    """Show one scenario: its text, and what it would change."""
    words = asked.words
    found = asked.server.state.scenarios.get(asked.path["scenario"])
    parameters = _parameters(asked, found.text)
    result = asked.server.results.find("what-if", parameters)
    job = asked.server.results.running("what-if", parameters)
    failed = asked.server.results.failed("what-if", parameters)
    data = {
        "id": found.id,
        "name": found.name,
        "text": found.text,
        "actor": found.actor,
        "at": found.at,
        "job": job,
        "failed": None if failed is None else failed.id,
        "days": parameters["days"],
        "replications": parameters["replications"],
        "done": result is not None,
        "may": asked.viewer.role in ("analyst", "administrator", "clinician"),
    }
    if result is None:
        return ViewModel(words("Scenario: %(name)s", name=found.name), data)
    content = result.content
    rows, chart = [], []
    for row in content["rows"]:
        if row["difference"] is None:
            continue
        unit = row["unit"]
        meaning = words(FIGURES.get(row["figure"], row["meaning"]))
        rows.append(
            {
                "unit": words("whole hospital") if unit is None else place_title(asked, unit),
                "figure": meaning,
                "mean": row["mean"],
                "difference": row["difference"],
                "low": row["difference_lower"],
                "high": row["difference_upper"],
                "differs": row["differs"],
                "_class": "warning" if row["differs"] else "",
            }
        )
        if unit is None:
            chart.append(
                {
                    "figure": meaning,
                    "difference": row["difference"],
                    "low": row["difference_lower"],
                    "high": row["difference_upper"],
                }
            )
    rows.sort(key=lambda row: (not row["differs"],))
    compared, agreeing = agreement_of(asked, content)
    data |= {
        "start": datetime.fromisoformat(content["start"]),
        "notes": content["notes"],
        "agreement": compared,
    }
    return ViewModel(
        words("Scenario: %(name)s", name=found.name),
        data,
        (
            Table(
                "differences",
                words("Differences from the hospital as it is, with 95 % intervals"),
                (
                    Column("unit", words("place")),
                    Column("figure", words("figure")),
                    Column("mean", words("scenario"), "number", 2),
                    Column("difference", words("difference"), "number", 2),
                    Column("low", words("from"), "number", 2),
                    Column("high", words("to"), "number", 2),
                    Column("differs", words("interval excludes zero")),
                ),
                rows,
            ),
            *agreeing,
        ),
        {},
        (
            (words("Simulated from"), content["identity"]),
            (words("Replications"), words.count(content["replications"])),
            (words("Days"), words.count(content["days"])),
            (words("Seed"), str(content["seed"])),
        ),
    )


routes = APIRouter()


@routes.post("/flow/scenarios")
def save(request: Request, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Save a scenario and run it."""
    asked = asked_of(request)
    text = str(form.get("text", ""))
    if len(text) > LONGEST:
        message = "scenario: too long; found more than 20,000 characters; shorten it"
        raise BadInputError(message)
    read = scenario_of(text)
    check_units(read, asked.server.units_with_patients())
    kept = asked.server.state.scenarios.save(
        read.name,
        text,
        hospital=asked.server.hospital.settings.hospital,
        actor=asked.viewer.account,
        at=asked.server.clock(),
    )
    asked.server.results.want("what-if", _parameters(asked, text), actor=asked.viewer.account)
    return RedirectResponse(f"/flow/scenarios/{kept.id}", status_code=303)


@routes.post("/flow/scenarios/{scenario}/run")
def run(
    request: Request,
    scenario: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Run a scenario again, on current data."""
    asked = asked_of(request)
    found = asked.server.state.scenarios.get(scenario)
    asked.server.results.want("what-if", _parameters(asked, found.text), actor=asked.viewer.account)
    return RedirectResponse(f"/flow/scenarios/{scenario}", status_code=303)


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/flow", flow, template="flow.html")
    pages.add("/flow/scenarios", scenarios, template="scenarios.html")
    pages.add("/flow/scenarios/{scenario}", scenario, template="scenario.html")
    pages.router.include_router(routes, include_in_schema=False)
