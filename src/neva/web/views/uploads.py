"""Upload of a table: what its columns appear to be, a dry run, then the import."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import polars as pl
import yaml
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from neva.errors import BadInputError, ConflictError, NotFoundError
from neva.events.schema import REASONS
from neva.intake.preview import preview
from neva.jobs.kept_uploads import Upload, mapping_hash
from neva.sources.guess.columns import LOOKS, WHYS
from neva.sources.guess.mapping import guess_mapping
from neva.sources.guess.writing import slug
from neva.web.pages import Asked, Column, Pages, Table, ViewModel, asked_of
from neva.web.receiving import received
from neva.web.security.forms import posted_text

__all__ = ["add_to", "routes"]

#: A dry run reads so many rows, and fewer of a wide table.
_ROWS: Final = 2_000
_FEWEST_ROWS: Final = 50
_CELLS: Final = 200_000
_ASSIGNERS_NAMED: Final = 8
#: What to do with a file whose name was imported before with other content.
ON_CHANGE: Final = ("refuse", "extend", "replace")
#: Guesses and dry runs use memory: so many at once.
_AT_ONCE: Final = threading.BoundedSemaphore(2)


def _states(asked: Asked) -> dict[str, str]:
    words = asked.words
    return {
        "": words("waits for its import"),
        "queued": words("queued"),
        "running": words("is being imported"),
        "done": words("imported"),
        "failed": words("failed"),
        "cancelled": words("cancelled"),
    }


def _state(asked: Asked, one: Upload) -> str:
    if one.done():
        return "done"
    job = asked.server.uploads.job(one)
    return "" if job is None else job.state


def uploads(asked: Asked) -> ViewModel:
    """Offer the form, and list one's own files of the last day."""
    words, states = asked.words, _states(asked)
    return ViewModel(
        words("Upload a file"),
        {"megabytes": asked.server.settings.upload_bytes // 1_000_000},
        (
            Table(
                "uploads",
                words("Your files; each is deleted after a day, and once it is imported"),
                (
                    Column("name", words("file")),
                    Column("at", words("time"), "time"),
                    Column("lines", words("lines"), "number"),
                    Column("state", words("state")),
                ),
                [
                    {
                        "name": one.name,
                        "at": one.at,
                        "lines": one.lines,
                        "state": states[_state(asked, one)],
                        "_href": f"/data/upload/{one.id}",
                    }
                    for one in asked.server.uploads.of(asked.viewer.account)
                ],
            ),
        ),
    )


def _columns(asked: Asked, shown: Mapping[str, Any]) -> Table:
    words = asked.words
    looks = {name: words(title) for name, title in LOOKS.items()}
    whys = {name: words(title) for name, title in WHYS.items()}
    return Table(
        "columns",
        words(
            "What the columns appear to be, from the first %(n)s rows",
            n=words.number(shown["rows"]),
        ),
        (
            Column("name", words("column"), "code"),
            Column("looks", words("read as")),
            Column("why", words("because")),
            Column("filled", words("filled"), "share", 0),
            Column("distinct", words("different values"), "number"),
            Column("examples", words("for example")),
        ),
        [
            {
                **one,
                "looks": looks[one["looks"]],
                "why": whys[one["why"]],
                "examples": " · ".join(one["examples"]),
            }
            for one in shown["columns"]
        ],
    )


def _count_table(asked: Asked, counts: Mapping[str, Mapping[str, int]]) -> Table:
    words = asked.words
    titles = {
        "subjects": words("patients"),
        "stays": words("stays"),
        "movements": words("movements"),
        "events": words("events"),
    }
    columns = {
        "read": words("rows read"),
        "added": words("added"),
        "known": words("known"),
        "revised": words("revised"),
        "retracted": words("withdrawn"),
        "refused": words("refused"),
    }
    return Table(
        "counts",
        words("What the rows become"),
        (
            Column("table", words("table")),
            *(Column(name, title, "number") for name, title in columns.items()),
        ),
        [
            {
                "table": titles.get(table, table),
                **{name: count.get(name, 0) for name in columns},
                "_class": "warning" if count.get("refused") else "",
            }
            for table, count in counts.items()
        ],
    )


def _refusals(asked: Asked, refusals: Sequence[Mapping[str, Any]]) -> Table:
    words = asked.words
    return Table(
        "refusals",
        words("Rows that are refused, counted from 1 without the header"),
        (
            Column("table", words("table")),
            Column("field", words("field")),
            Column("reason", words("reason"), "code"),
            Column("meaning", words("meaning")),
            Column("count", words("rows"), "number"),
            Column("rows", words("the first of them")),
        ),
        [
            {
                **one,
                "meaning": words(REASONS.get(one["reason"], one["reason"])),
                "rows": ", ".join(str(row) for row in one["rows"]),
            }
            for one in refusals
        ],
    )


def _events(asked: Asked, found: Mapping[str, Any]) -> Table:
    words = asked.words
    return Table(
        "events",
        words("The first events, as they would be stored"),
        (
            Column("patient", words("patient in this file"), "number"),
            Column("time", words("time"), "time"),
            Column("code", words("code"), "code"),
            Column("value", words("value")),
            Column("value_unit", words("unit of measurement")),
            Column("text", words("text")),
        ),
        [
            {
                **one,
                "time": None if one["time"] is None else datetime.fromisoformat(one["time"]),
                "value": None
                if one["value"] is None
                else (one["comparator"] or "") + words.measured(one["value"]),
            }
            for one in found["events"]
        ],
    )


def _codes(asked: Asked, found: Mapping[str, Any]) -> Table:
    words = asked.words
    return Table(
        "codes",
        words("The most frequent codes"),
        (Column("code", words("code"), "code"), Column("count", words("events"), "number")),
        [{"code": code, "count": count} for code, count in found["codes"]],
    )


def _earlier(asked: Asked) -> dict[str, str]:
    """Mappings of earlier imports by the name of their source, the last of each."""
    rows = (
        asked.server.whole()
        .batches()
        .filter(pl.col("kind") == "csv", pl.col("mapping").is_not_null())
        .sort("batch")
        .group_by("source", maintain_order=True)
        .last()
        .select("source", "mapping")
        .collect()
    )
    return dict(rows.iter_rows())


def _refused_count(found: Mapping[str, Any]) -> int:
    return sum(one.get("refused", 0) for one in found["counts"].values())


def _added_count(found: Mapping[str, Any]) -> int:
    return sum(one.get("added", 0) for one in found["counts"].values())


def _tried(one: Upload, text: str) -> Mapping[str, Any] | None:
    """Return the dry run of this text of a mapping, or None."""
    shown = one.shown()
    found: Mapping[str, Any] | None = shown.get("preview")
    return found if shown.get("hash") == mapping_hash(text) else None


def upload(asked: Asked) -> ViewModel:
    """Show one's own file: columns, mapping, dry run, import."""
    one = asked.server.uploads.own(asked.path["upload"], asked.viewer.account)
    job = asked.server.uploads.job(one)
    done = one.done()
    data: dict[str, Any] = {
        "id": one.id,
        "name": one.name,
        "lines": one.lines,
        "bytes": one.size,
        "state": _states(asked)[_state(asked, one)],
        "job": job.id if job is not None else "",
        "under_way": job is not None and job.is_under_way,
        "error": job.error if job is not None and not done else None,
        "done": done,
    }
    if done:
        refusals = [
            {"table": name.partition(": ")[0], "field": "", "reason": name.partition(": ")[2],
             "count": count, "rows": ()}
            for name, count in done["refusals"].items()
        ]  # fmt: skip
        counts = _count_table(asked, done["counts"])
        return ViewModel(one.name, data, (counts, _refusals(asked, refusals)))
    text = one.mapping()
    found = _tried(one, text)
    data |= {
        "mapping": text,
        "hash": mapping_hash(text),
        "preview": None,
        "may_import": False,
        "earlier": sorted(_earlier(asked)),
    }
    columns = _columns(asked, one.shown())
    if found is None:
        return ViewModel(one.name, data, (columns,))
    data["preview"] = {name: found[name] for name in ("problem", "patients", "rows")} | {
        "refused": _refused_count(found),
        "taken": _added_count(found),
    }
    if found["problem"] is not None:
        return ViewModel(one.name, data, (columns,))
    data["may_import"] = _added_count(found) > 0
    tables = (
        columns,
        _count_table(asked, found["counts"]),
        _refusals(asked, found["refusals"]),
        _events(asked, found),
        _codes(asked, found),
    )
    return ViewModel(one.name, data, tables)


routes = APIRouter()


def _source_name(file: str) -> str:
    """Name a source after its file, without the numbers and dates of one delivery."""
    stem = re.sub(r"[\d_. ()-]+$", "", file.rpartition(".")[0])
    return slug(stem) if re.search(r"\w", stem) else "upload"


def _guess(asked: Asked, one: Upload) -> None:
    """Guess a mapping, and keep it with what the columns look like."""
    assigners = (
        asked.server.hospital.identities()
        .filter(pl.col("kind") == "subject")
        .select(pl.col("assigner").unique())
        .collect()["assigner"]
        .sort()
        .head(_ASSIGNERS_NAMED)
        .to_list()
    )
    with _AT_ONCE:
        guess = guess_mapping(
            one.file, zone=asked.server.zone, name=_source_name(one.name), assigners=assigners
        )
    one.keep_mapping(guess.yaml)
    one.keep_shown({"columns": [asdict(look) for look in guess.columns], "rows": guess.rows})


def _first_look(asked: Asked, one: Upload) -> None:
    with _AT_ONCE:
        one = asked.server.uploads.as_text(one)
    _guess(asked, one)


@routes.post("/data/upload")
async def send(request: Request) -> Response:
    """Take a file, guess its mapping, and show both."""
    asked = asked_of(request)
    uploads = asked.server.uploads
    one, _ = await received(request, uploads, most=asked.server.settings.upload_bytes)
    try:
        await run_in_threadpool(_first_look, asked, one)
    except BaseException:
        uploads.delete(one)
        raise
    return RedirectResponse(f"/data/upload/{one.id}", status_code=303)


def _preview(asked: Asked, one: Upload, text: str) -> None:
    one.keep_mapping(text)
    shown = one.shown()
    rows = max(_FEWEST_ROWS, min(_ROWS, _CELLS // max(len(shown["columns"]), 1)))
    with _AT_ONCE:
        found = preview(one.file, text, zone=asked.server.zone, rows=rows, now=asked.server.clock())
    one.keep_shown(shown | {"preview": asdict(found), "hash": mapping_hash(text)})


def _use(asked: Asked, one: Upload, source: str) -> None:
    """Put the mapping of an earlier import in the place of the guess."""
    mapping = _earlier(asked).get(source)
    if mapping is None:
        message = f"upload: no import of that source; found {source[:40]!r}; choose one of the list"
        raise NotFoundError(message)
    text = yaml.safe_dump(
        json.loads(mapping), allow_unicode=True, sort_keys=False, default_flow_style=False
    )
    _preview(asked, one, text)


@routes.post("/data/upload/{upload}")
def change(
    request: Request, upload: str, form: Mapping[str, Any] = Depends(posted_text)
) -> Response:
    """Try a mapping, take that of an earlier import, guess again, or delete the file."""
    asked = asked_of(request)
    one = asked.server.uploads.own(upload, asked.viewer.account)
    asked.server.uploads.refuse_under_way(one)
    action = form.get("action", "preview")
    here = f"/data/upload/{one.id}"
    if action == "delete":
        asked.server.uploads.delete(one)
        return RedirectResponse("/data/upload", status_code=303)
    if action == "guess":
        _guess(asked, one)
        return RedirectResponse(f"{here}#mapping", status_code=303)
    if action == "use":
        _use(asked, one, str(form.get("source", "")))
    else:
        # Browsers end the lines of a form with both signs.
        _preview(asked, one, str(form.get("mapping", "")).replace("\r\n", "\n"))
    return RedirectResponse(f"{here}#preview", status_code=303)


@routes.post("/data/upload/{upload}/import")
def start(
    request: Request, upload: str, form: Mapping[str, Any] = Depends(posted_text)
) -> Response:
    """Have the worker import a file by the mapping that was tried."""
    asked = asked_of(request)
    one = asked.server.uploads.own(upload, asked.viewer.account)
    asked.server.uploads.refuse_under_way(one)
    on_change = str(form.get("on_change", "refuse"))
    if on_change not in ON_CHANGE:
        message = "upload: there are refuse, extend and replace; found another; choose one"
        raise BadInputError(message)
    text = one.mapping()
    found = _tried(one, text)
    if found is None or mapping_hash(text) != form.get("hash"):
        message = "upload: the mapping has changed; found none that was tried; try it first"
        raise ConflictError(message)
    if found["problem"] is not None or not _added_count(found):
        message = "upload: no row would be taken; found none in the dry run; mend the mapping"
        raise ConflictError(message)
    job = asked.server.state.jobs.add(
        "import",
        {"upload": one.id, "on_change": on_change},
        key=one.key,
        actor=asked.viewer.account,
        at=asked.server.clock(),
    )
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/data/upload", uploads, template="uploads.html")
    pages.add("/data/upload/{upload}", upload, template="upload.html")
    pages.router.include_router(routes, include_in_schema=False)
