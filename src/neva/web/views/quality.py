"""Quality: the table of measures, a measure, and its patient list."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from neva.errors import NotFoundError
from neva.statistics.disclosure import WITHHELD, is_small
from neva.web.pages import Asked, Column, Figure, Pages, Table, ViewModel
from neva.web.programmes import installed, with_measures
from neva.web.security.access import may

__all__ = ["add_to", "measured"]

#: The first statuses that somebody looks at.
STATUSES: Final = ("failed", "pending", "unknown", "met", "measured", "excluded")


def measured(asked: Asked, programme: str) -> tuple[Any, str | None]:
    """Return the newest result of a programme's measures, and the job that makes a newer one.

    Raises
    ------
    NotFoundError
        There is no such programme.
    """
    if programme not in with_measures():
        message = "programme: none of that name has measures; see the page of quality"
        raise NotFoundError(message)
    return asked.server.computed("measures", {"programme": programme}, asked.viewer)


def _figure_columns(asked: Asked) -> tuple[Column, ...]:
    words = asked.words
    return (
        Column("measure", words("measure")),
        Column("value", words("rate or median")),
        Column("interval", words("95 % interval")),
        Column("counts", words("numerator / denominator")),
        Column("variation", words("variation")),
        Column("assurance", words("target")),
        Column("pending", words("in progress"), "number"),
        Column("excluded", words("excluded"), "number"),
        Column("unknown", words("unknown"), "number"),
    )


def _shown_measures(asked: Asked, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the measures as far as the page shows them to this role."""
    if asked.sees_large_counts_only:
        return [one | one["shared"] for one in content["measures"]]
    found: list[dict[str, Any]] = content["measures"]
    return found


def _pending(asked: Asked, content: dict[str, Any]) -> int | str:
    kept = content["shared"] if asked.sees_large_counts_only else content
    pending: int | str = kept["pending"]
    return pending


def _is_share(one: dict[str, Any]) -> bool:
    return bool(one["is_share"])


def _icon(svg: str | None) -> dict[str, str] | None:
    """Show an icon; what leaves the page has its title."""
    if not svg:
        return None
    return {"svg": svg, "text": svg.partition("<title>")[2].partition("</title>")[0]}


def _row(asked: Asked, programme: str, one: dict[str, Any]) -> dict[str, Any]:
    words, figure = asked.words, one["figure"]
    value = figure["median"] if one["continuous"] else figure["rate"]

    def write(number: float | str | None) -> str:
        return words.share(number) if _is_share(one) else words.number(number, 1)

    icons = one["icons"][words.code]
    closed = figure["denominator"]
    return {
        "measure": one["title"][words.code],
        "value": write(value),
        "interval": f"{write(figure['low'])} – {write(figure['high'])}"
        if figure["low"] not in (None, WITHHELD)
        else figure["low"],
        "counts": closed
        if closed == WITHHELD
        else f"{words.count(figure['met'])} / {words.count(closed)}"
        if not one["continuous"]
        else words("%(n)s cases", n=words.count(closed)),
        "variation": _icon(icons.get("variation")),
        "assurance": _icon(icons.get("assurance")),
        "pending": figure["pending"],
        "excluded": figure["excluded"],
        "unknown": figure["unknown"],
        "_href": f"/quality/{programme}/{one['short']}",
    }


def _large(asked: Asked, count: int) -> int | str:
    return WITHHELD if asked.sees_large_counts_only and is_small(count) else count


def _facts(asked: Asked, content: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    words = asked.words
    return (
        (words("Programme"), content["version"]),
        (words("Measured on"), content["identity"]),
        (words("Refused rows in quarantine"), words.count(content["refused"])),
        (
            words("Patients whose record contradicts itself"),
            words.count(_large(asked, sum(one["count"] for one in content["errors"]))),
        ),
    )


def overview(asked: Asked) -> ViewModel:
    """List the programmes with measures, and what waits."""
    words = asked.words
    rows = []
    for name in with_measures():
        programme = installed()[name]
        result, job = measured(asked, name)
        title = programme.title_ru if words.code == "ru" else programme.title
        rows.append(
            {
                "programme": title or programme.title,
                "measures": len(programme.measures),
                "pending": None if result is None else _pending(asked, result.content),
                "made": None if result is None else result.made,
                "state": words("calculating")
                if result is None
                else words("out of date")
                if job
                else words("current"),
                "_href": f"/quality/{name}",
            }
        )
    return ViewModel(
        words("Quality"),
        {},
        (
            Table(
                "programmes",
                words("Programmes with measures"),
                (
                    Column("programme", words("programme")),
                    Column("measures", words("measures"), "number"),
                    Column("pending", words("in progress"), "number"),
                    Column("made", words("computed"), "time"),
                    Column("state", words("state")),
                ),
                rows,
            ),
        ),
    )


def programme(asked: Asked) -> ViewModel:
    """Show the table of a programme's measures."""
    words, name = asked.words, asked.path["programme"]
    result, job = measured(asked, name)
    if result is None:
        return ViewModel(words("Quality"), {"programme": name, "job": job, "content": None})
    content = result.content
    return ViewModel(
        content["title"][words.code],
        {
            "programme": name,
            "job": job,
            "content": {
                **{key: content[key] for key in ("identity", "now", "refused")},
                # Their sum is known: one reason is withheld with all.
                "errors": []
                if any(_large(asked, one["count"]) == WITHHELD for one in content["errors"])
                else content["errors"],
            },
            "made": result.made,
        },
        (
            Table(
                "measures",
                words("Measures over all time; each name opens its chart and patient list"),
                _figure_columns(asked),
                [_row(asked, name, one) for one in _shown_measures(asked, content)],
            ),
        ),
        facts=_facts(asked, content),
    )


def _asked_measure(asked: Asked) -> tuple[Any, dict[str, Any], str | None]:
    result, job = measured(asked, asked.path["programme"])
    wanted = asked.path["measure"]
    if result is None:
        return None, {}, job
    for one in _shown_measures(asked, result.content):
        if wanted in (one["short"], one["id"]):
            return result, one, job
    message = "measure: the programme has none of that name; see its table of measures"
    raise NotFoundError(message)


def measure(asked: Asked) -> ViewModel:
    """Show one measure: chart over time, funnel, strata, words, data quality."""
    words = asked.words
    result, one, job = _asked_measure(asked)
    name = asked.path["programme"]
    if result is None:
        return ViewModel(words("Quality"), {"programme": name, "job": job, "measure": None})
    charts = one["charts"][words.code]
    figures = {}
    if charts.get("control"):
        figures["control"] = Figure(
            charts["control"],
            words("Control chart of %(measure)s over time.", measure=one["title"][words.code]),
        )
    if charts.get("funnel"):
        figures["funnel"] = Figure(
            charts["funnel"],
            words("Funnel plot of %(measure)s by unit.", measure=one["title"][words.code]),
        )
    kind = "share" if _is_share(one) else "number"
    tables = [
        Table(
            "points",
            words("Points of the chart"),
            (
                Column("period", words("from")),
                Column("value", words("value"), kind),  # type: ignore[arg-type]
                Column("numerator", words("met"), "number"),
                Column("denominator", words("closed"), "number"),
                Column("centre", words("centre"), kind),  # type: ignore[arg-type]
                Column("lower", words("lower limit"), kind),  # type: ignore[arg-type]
                Column("upper", words("upper limit"), kind),  # type: ignore[arg-type]
            ),
            [{**row, "period": row["period"][:10]} for row in one["points"]],
        ),
        Table(
            "units",
            words("By unit"),
            (
                Column("unit", words("unit")),
                Column("events", words("met"), "number"),
                Column("n", words("closed"), "number"),
                Column("estimate", words("rate or median"), kind, 1),  # type: ignore[arg-type]
                Column("lower", words("from"), kind, 1),  # type: ignore[arg-type]
                Column("upper", words("to"), kind, 1),  # type: ignore[arg-type]
            ),
            [
                row
                for row in one["units"]
                if row["unit"] == WITHHELD
                or asked.viewer.units is None
                or asked.server.may_see(asked.viewer.units, row["unit"])
            ],
        ),
        Table(
            "strata",
            words("By group"),
            (
                Column("name", words("grouped by")),
                Column("value", words("group")),
                Column("met", words("met"), "number"),
                Column("n", words("closed"), "number"),
            ),
            one["strata"],
        ),
        Table(
            "exclusions",
            words("Exclusions, one by one"),
            (
                Column("title", words("excluded because")),
                Column("cases", words("cases"), "number"),
                Column("only", words("for this reason alone"), "number"),
            ),
            [{**row, "title": row.get("title") or row["exclusion"]} for row in one["exclusions"]],
        ),
    ]
    figure = one["figure"]
    row = _row(asked, name, one)

    def unless_withheld(text: str | None) -> str | None:
        return words.withheld() if text == WITHHELD else text

    data = {
        "programme": name,
        "job": job,
        "withholds": asked.sees_large_counts_only,
        "measure": {
            "id": one["id"],
            "short": one["short"],
            "version": one["version"],
            "words": one["words"][words.code],
            "description": one["description"],
            "notes": one["notes"],
            "evidence": one["evidence"],
            "clock": one["clock"],
            "components": one["components"],
            "value": row["value"],
            "interval": unless_withheld(row["interval"]),
            "counts": unless_withheld(row["counts"]),
            "variation": row["variation"],
            "assurance": row["assurance"],
            "figure": figure,
            "outside": one["outside"],
            "better": one["better"],
        },
        "patients": may(asked.viewer.role, "GET", "/quality/{programme}/{measure}/patients"),
    }
    return ViewModel(
        one["title"][words.code],
        data,
        tuple(tables),
        figures,
        (
            (words("Definition"), f"{one['id']} {one['version']} ({one['hash'][:12]})"),
            (words("Measured on"), result.content["identity"]),
            (words("Cases from"), unless_withheld(one["period"][words.code]) or "–"),
            (words("Source rows"), words.count(one["rows"])),
            (words("Of these: time of recording assumed"), words.share(one["assumed"])),
            (words("Of these: known to the day only"), words.share(one["dates_only"])),
        ),
    )


def patients(asked: Asked) -> ViewModel:
    """List the patients behind a measure; every look is audited."""
    words = asked.words
    result, one, job = _asked_measure(asked)
    name = asked.path["programme"]
    if result is None:
        return ViewModel(words("Quality"), {"programme": name, "job": job, "measure": None})
    status = asked.choice("status", STATUSES, "failed")
    unit = asked.query.get("unit", "")
    cases = result.cases().filter(pl.col("measure") == one["id"])
    counts = dict(cases.group_by("status").len().iter_rows())
    chosen = cases.filter(pl.col("status") == status)
    if unit:
        chosen = chosen.filter(pl.col("unit") == unit)
    rows = [
        {
            **row,
            "patient": str(row["subject_id"]),
            "_href": f"/patient/{row['subject_id']}",
        }
        for row in chosen.sort("placed", descending=True, nulls_last=True).iter_rows(named=True)
        if asked.viewer.units is None or asked.server.may_see(asked.viewer.units, row["unit"])
    ][:1000]
    people = asked.server.people(
        asked.viewer, [row["subject_id"] for row in rows], why=f"patients of {one['id']}"
    )
    for row in rows:
        person = people.get(row["subject_id"])
        if person is not None:
            row["patient"] = person.label
    asked.server.audit(
        asked.viewer,
        "viewed",
        why=f"patients of {one['id']}",
        details={"status": status, "patients": len(rows)},
    )
    titles = {
        "failed": words("not met"),
        "pending": words("in progress"),
        "unknown": words("unknown"),
        "met": words("met"),
        "measured": words("measured"),
        "excluded": words("excluded"),
    }
    columns = [
        Column("patient", words("patient")),
        Column("unit", words("unit")),
        Column("placed", words("counted time"), "time"),
        Column("due", words("deadline"), "time"),
    ]
    if one["continuous"]:
        columns.append(Column("value", words("value"), "number"))
    columns.append(Column("interval", words("after the clock start"), "hours"))
    if status == "excluded":
        columns.append(Column("excluded_by", words("excluded because")))
    return ViewModel(
        words("Patients: %(measure)s", measure=one["title"][words.code]),
        {
            "programme": name,
            "measure": {"short": one["short"], "title": one["title"][words.code]},
            "status": status,
            "statuses": [
                {"id": id_, "title": titles[id_], "count": counts[id_]}
                for id_ in STATUSES
                if counts.get(id_)
            ],
            "unit": unit,
            "units": sorted(cases["unit"].drop_nulls().unique().to_list()),
        },
        (
            Table(
                "patients",
                words("%(status)s: %(n)s cases", status=titles[status], n=words.count(len(rows))),
                tuple(columns),
                rows,
            ),
        ),
        facts=(
            (words("Definition"), f"{one['id']} {one['version']} ({one['hash'][:12]})"),
            (words("Measured on"), result.content["identity"]),
        ),
    )


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/quality", overview, template="quality.html")
    pages.add("/quality/{programme}", programme, template="quality_programme.html")
    pages.add("/quality/{programme}/{measure}", measure, template="quality_measure.html")
    pages.add("/quality/{programme}/{measure}/patients", patients, template="quality_patients.html")
