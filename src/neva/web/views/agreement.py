"""The forecast beside the simulation of the same hospital: whether they agree, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from neva.languages.language import Language
from neva.web.pages import Asked, Column, Table

__all__ = ["agreement_of"]


def agreement_of(asked: Asked, content: Mapping[str, Any]) -> tuple[dict[str, Any], list[Table]]:
    """Return what a page says of it, and a table where they were compared.

    Parameters
    ----------
    asked : Asked
    content : mapping
        Of :func:`neva.jobs.flow.what_if`; results of earlier versions
        hold no comparison, and are said to hold none.
    """
    words = asked.words
    found = content.get("agreement")
    if found is None:
        return {
            "said": words("This simulation could not be compared with the forecast."),
            "kind": "warning",
            "why_not": content.get("agreement_note", ""),
            "compared": False,
        }, []
    units = asked.viewer.units
    rows = [
        row
        for row in found["rows"]
        if units is None or row["place"] == "all" or asked.server.may_see(units, row["place"])
    ]
    counts = {
        kind: sum(row["verdict"] == kind for row in rows)
        for kind in ("agrees", "differs", "undecided")
    }
    sentence = words(
        "The hospital as it is, simulated with its beds, and its forecast, which does not "
        "consider beds: %(agrees)s of %(all)s numbers of patients agree, at places and times of "
        "the next %(ahead)s.",
        agrees=words.count(counts["agrees"]),
        all=words.count(len(rows)),
        ahead=_ahead(words, max(row["hours"] for row in rows)),
    )
    if counts["undecided"]:
        sentence += " " + words("Too close to tell: %(n)s.", n=words.count(counts["undecided"]))
    if counts["differs"]:
        sentence += " " + words("The table says why the others differ.")
    shown = [_row(asked, row) for row in rows if row["place"] == "all"]
    shown += [
        _row(asked, row) for row in rows if row["place"] != "all" and row["verdict"] != "agrees"
    ]
    kind = "" if counts["undecided"] else "good"
    data = {
        "said": sentence,
        "kind": "warning" if counts["differs"] else kind,
        "why_not": "",
        "compared": True,
    }
    return data, [
        Table(
            "agreement",
            words("Forecast and simulation: the whole hospital, and wherever they do not agree"),
            (
                Column("place", words("place")),
                Column("time", words("when"), "time"),
                Column("forecast", words("forecast")),
                Column("simulated", words("simulated")),
                Column("verdict", words("agree?")),
                Column("why", words("because of")),
            ),
            shown,
        )
    ]


def _ahead(words: Language, hours: int) -> str:
    if hours % 24:
        return words.hours(hours)
    return words("%(n)s days", n=words.number(hours // 24))


def _row(asked: Asked, row: Mapping[str, Any]) -> dict[str, Any]:
    words = asked.words
    verdicts = {
        "agrees": words("agree"),
        "differs": words("differ"),
        "undecided": words("too close to tell"),
    }
    place, titles = row["place"], {"all": words("whole hospital"), **asked.unit_titles}
    return {
        "place": titles.get(place, place),
        "time": datetime.fromisoformat(row["time"]),
        **{
            name: words(
                "%(mean)s (%(low)s to %(high)s)",
                mean=words.number(row[name], 1),
                low=words.number(row[f"{name}_q05"], 0),
                high=words.number(row[f"{name}_q95"], 0),
            )
            for name in ("forecast", "simulated")
        },
        "verdict": verdicts[row["verdict"]],
        "why": "; ".join(_reason(words, row, part) for part in row["reasons"]) or "–",
        "_class": "warning" if row["verdict"] == "differs" else "",
    }


def _reason(words: Language, row: Mapping[str, Any], part: str) -> str:
    by = words.number(abs(row[part]), 1)
    if part == "beds" and row["beds"] > 0:
        return words("beds: %(n)s more patients stay here because no bed is free elsewhere", n=by)
    if part == "beds":
        return words("beds: %(n)s fewer patients are here than would come if there were beds", n=by)
    if part == "arrivals" and max(row["come_forecast"], row["come_simulated"]) > 0:
        return words(
            "arrivals: the forecast expects %(forecast)s by then, the simulation %(simulated)s",
            forecast=words.number(row["come_forecast"], 1),
            simulated=words.number(row["come_simulated"], 1),
        )
    if part == "arrivals":
        return words("arrivals in other units (%(n)s patients here)", n=by)
    if part == "stays_here":
        return words(
            "lengths of stay: of those in hospital now the forecast expects %(forecast)s here "
            "then, the simulation %(simulated)s",
            forecast=words.number(row["here_forecast"], 1),
            simulated=words.number(row["here_simulated"], 1),
        )
    if part == "stays_to_come":
        return words("lengths of stay of those who arrive by then (%(n)s patients)", n=by)
    if part == "entries":
        return words(
            "entries about the patients here now, which the simulation does not use (%(n)s "
            "patients)",
            n=by,
        )
    return words("not explained (%(n)s patients)", n=by)
