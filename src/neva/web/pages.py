"""Pages: one view model, shown as HTML, JSON and CSV.

A view is a function from a request to a view model of plain data. The
template lays it out; its twins give the same data to machines and spreadsheets.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property, lru_cache
from importlib import resources
from importlib.metadata import version as installed
from typing import Any, Final, Literal
from urllib.parse import urlencode

import jinja2
from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from neva.access.viewer import Viewer
from neva.errors import NotFoundError
from neva.languages.language import LANGUAGES, Language, chosen, current, language_of, preferred
from neva.reports.laying_out import templates_of
from neva.statistics.disclosure import WITHHELD
from neva.web.security.access import CHANGES, LARGE_COUNTS, PATIENTS, REFRESH, may, shown, viewer_of
from neva.web.server import Server
from neva.web.streams import Follows, changes_of, followed

__all__ = [
    "Asked",
    "Column",
    "Figure",
    "Pages",
    "Table",
    "ViewModel",
    "asked_of",
    "render",
    "words_of",
]

Kind = Literal["text", "number", "share", "chance", "time", "date", "hours", "code"]

#: Changes when a file of `static` does: browsers keep them for a year.
_ASSETS: Final = hashlib.sha256(
    b"".join(
        one.read_bytes()
        for one in sorted(
            (resources.files("neva.web") / "static").iterdir(), key=lambda one: one.name
        )
    )
).hexdigest()[:12]

#: A cell that starts so is run as a formula by spreadsheet programs.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name for machines, its title, and how its cells are written.

    Attributes
    ----------
    name, title : str
    kind : str
        ``text``, ``number``, ``share`` (0-1), ``chance`` (0-1, in whole per cent,
        never a false 0 or 100), ``time`` (aware), ``date``, ``hours`` or ``code``.
    digits : int, optional
        Of numbers and shares.
    """

    name: str
    title: str
    kind: Kind = "text"
    digits: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: plain rows by the columns' names.

    A row may have ``_href`` (where its first cell leads) and ``_class`` (how it
    is marked); neither is exported, nor are `totals`, the row under them all.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    totals: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing: its SVG, what it shows in words, its caption."""

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class ViewModel:
    """What a page says.

    Attributes
    ----------
    title : str
    data : dict
        Plain values (text, numbers, booleans, times, lists, mappings).
    tables : tuple of Table
    figures : dict of str to Figure
    facts : tuple of (str, str)
        What it was made from: data version, definition version, denominators.
    status : int
        Of the answer.
    keep : tuple
        Parts of the page that are laid out alike for everybody with the same
        key are laid out once (see :func:`render`); empty: none are.
    is_still : bool
        It shows nothing yet that could change, such as before a purpose is stated.
    """

    title: str
    data: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    status: int = 200
    keep: tuple[Any, ...] = ()
    is_still: bool = False

    def table(self, name: str) -> Table:
        """Return a table by its name.

        Raises
        ------
        NotFoundError
        """
        for one in self.tables:
            if one.name == name:
                return one
        message = f"table: there is none of that name; found {name[:40]!r}; see the page"
        raise NotFoundError(message)


@dataclass(frozen=True)
class Asked:
    """A request: what, by whom, in which language.

    Attributes
    ----------
    server : Server
    viewer : Viewer
    path, query : mapping of str to str
    words : Language
        Translates: ``asked.words("text")``.
    now : datetime
        Nothing later is used.
    shown : str
        What the page shows to this role, by :data:`neva.web.security.access.SHOWN`.
    """

    server: Server
    viewer: Viewer
    path: Mapping[str, str]
    query: Mapping[str, str]
    words: Language
    now: datetime
    url: str = ""
    shown: str = ""
    ignored: list[str] = field(default_factory=list, compare=False)

    @property
    def sees_patients(self) -> bool:
        """Whether rows of patients are shown, beside counts."""
        return self.shown == PATIENTS

    @property
    def sees_large_counts_only(self) -> bool:
        """Whether small counts, and what would give them away, are withheld."""
        return self.shown == LARGE_COUNTS

    @cached_property
    def unit_titles(self) -> dict[str, str]:
        """The units' names by unit."""
        return self.server.unit_titles()

    def unit_title(self, unit: str | None) -> str:
        """Name a unit by its title."""
        if unit is None:
            return self.words("unit not known")
        return self.unit_titles.get(unit, unit)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Read a number of the query, kept within its limits; what is none is told."""
        given = self.query.get(name, "")
        try:
            value = float(given or default)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.ignore(name)
            return default
        return min(max(value, low), high)

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """Read one of several words of the query; another one is told."""
        value = self.query.get(name, "") or default
        if value in allowed:
            return value
        self.ignore(name)
        return default

    def ignore(self, name: str) -> None:
        """Note that a part of the query was not understood: the page says so."""
        parameter = f"{name}={self.query.get(name, '')[:40]}"
        if parameter not in self.ignored:
            self.ignored.append(parameter)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    made = templates_of("neva.web")
    made.add_extension("jinja2.ext.i18n")
    made.globals["neva_version"] = installed("neva")
    return made


def _words(request: Request, server: Server) -> Language:
    code = preferred(
        request.query_params.get("language") or request.cookies.get("neva_language"),
        request.headers.get("accept-language") or server.settings.language,
    )
    return language_of(code, server.zone)


def words_of(request: Request) -> Language:
    """Return the language of a request."""
    return _words(request, request.app.state.server)


def asked_of(request: Request) -> Asked:
    """Say what a request asks; the guard has let it in."""
    server: Server = request.app.state.server
    query = request.url.query
    viewer = viewer_of(request)
    return Asked(
        server=server,
        viewer=viewer,
        # A form is answered by leading to a page: it shows nothing itself.
        shown=shown(viewer.role, request.scope["route"].path),
        path=dict(request.path_params),
        query=request.query_params,
        words=_words(request, server),
        now=server.now(),
        url=request.url.path + (f"?{query}" if query else ""),
    )


def render(
    request: Request,
    template: str,
    *,
    view: ViewModel,
    viewer: Viewer | None = None,
    **more: Any,
) -> Response:
    """Lay a view out as HTML.

    A template lays parts out by ``kept("name", macro)`` where nothing in them
    depends on who looks: with a key of the view they are laid out once for all.
    """
    server: Server = request.app.state.server
    words = _words(request, server)

    def kept(name: str, make: Callable[[], str]) -> str:
        if not view.keep:
            return make()
        part: str = server.kept(
            ("part", template, name, words.code, *view.keep), make, basis="", most=200
        )
        return part

    def written_cell(cell: Any, column: Column) -> str | Markup:
        return written(cell, column, words)

    query = urlencode(
        [
            (name, value)
            for name, value in request.query_params.multi_items()
            if name not in ("table", REFRESH)
        ]
    )
    with chosen(words):
        html = (
            _environment()
            .get_template(template)
            .render(
                view=view,
                viewer=viewer,
                words=words,
                _=words,
                gettext=words,
                several=words.several,
                number=words.number,
                share=words.share,
                when=words.when,
                clock=words.clock,
                day=words.day,
                weekday=words.weekday,
                hours=words.hours,
                cell=written_cell,
                kept=kept,
                language=words.code,
                languages=LANGUAGES,
                server=server,
                now=server.now(),
                path=request.url.path,
                query=dict(request.query_params),
                query_string=query,
                csrf=_csrf(viewer),
                assets=_ASSETS,
                menu=_menu(viewer, words),
                role_title=_role(viewer, words),
                has_twins=getattr(request.scope.get("route"), "path", "") in TWINS,
                feed=server.feed() if viewer is not None else None,
                work=server.worker() if viewer is not None else None,
                **more,
            )
        )
    return Response(html, status_code=view.status, media_type="text/html; charset=utf-8")


def _csrf(viewer: Viewer | None) -> Markup:
    if viewer is None:
        return Markup("")
    return Markup('<input type="hidden" name="csrf" value="{}">').format(viewer.csrf)


def written(cell: Any, column: Column, words: Language) -> str | Markup:
    """Write a cell as people read it."""
    if isinstance(cell, Mapping):
        if "svg" in cell:
            return Markup(cell["svg"])  # drawn by us
        inner = written(cell.get("text"), column, words)
        if cell.get("href"):
            return Markup('<a href="{}">{}</a>').format(cell["href"], inner)
        return inner
    if cell == WITHHELD:
        return words.withheld()
    if cell is None or cell == "":
        return "–"
    if isinstance(cell, bool):
        return words("yes") if cell else words("no")
    if column.kind == "number":
        return words.number(cell, column.digits)
    if column.kind == "share":
        return words.share(cell, 1 if column.digits is None else column.digits)
    if column.kind == "chance":
        return words.part(cell)
    if column.kind == "time":
        return words.when(cell)
    if column.kind == "date":
        return words.day(cell)
    if column.kind == "hours":
        return words.hours(cell)
    if column.kind == "code":
        return Markup("<code>{}</code>").format(cell)
    return str(cell)


def _json_value(value: Any) -> Any:
    """Make a value ready for JSON; times in UTC; what is withheld says so."""
    if value == WITHHELD:
        return current().withheld()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _json_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_value(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) > _SAFE:
        return str(value)  # pseudonyms have 63 bits; readers of JSON keep 53
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def _cell(value: Any) -> Any:
    return value.get("text") if isinstance(value, Mapping) else value


def _json_rows(table: Table) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    return [{name: _json_value(_cell(row.get(name))) for name in names} for row in table.rows]


def to_json(view: ViewModel, asked: Asked) -> bytes:
    """Write a view for machines."""
    content = {
        "title": view.title,
        "now": asked.now.isoformat(),
        "data_version": asked.server.version_name(),
        "synthetic": asked.server.is_synthetic,
        "facts": dict(view.facts),
        "data": _json_value(view.data),
        "tables": {table.name: _json_rows(table) for table in view.tables},
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _safe(value: Any) -> Any:
    """Keep a spreadsheet program from running a text as a formula."""
    value = _json_value(_cell(value))
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def to_csv(table: Table) -> bytes:
    """Write a table for spreadsheets: UTF-8 with its mark, texts never run as formulas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        writer.writerow([_safe(row.get(column.name)) for column in table.columns])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _menu(viewer: Viewer | None, words: Language) -> list[tuple[str, str]]:
    if viewer is None:
        return []
    titles = (
        ("/now", words("Now")),
        ("/work-list", words("Work list")),
        ("/pathways", words("Pathways")),
        ("/quality", words("Quality")),
        ("/flow", words("Flow")),
        ("/decisions", words("Decisions")),
        ("/data", words("Data")),
        ("/definitions", words("Definitions")),
        ("/paper", words("Paper")),
        ("/jobs", words("Jobs")),
        ("/accounts", words("Accounts")),
        ("/audit", words("Audit")),
    )
    return [(href, title) for href, title in titles if may(viewer.role, "GET", href)]


def _role(viewer: Viewer | None, words: Language) -> str:
    if viewer is None:
        return ""
    return {
        "viewer": words("viewer"),
        "analyst": words("analyst"),
        "clinician": words("clinician"),
        "administrator": words("administrator"),
    }.get(viewer.role, viewer.role)


#: Templates of pages that have twins.
TWINS: set[str] = set()

#: Whole numbers beyond this do not survive JavaScript.
_SAFE: Final = 2**53 - 1

Build = Callable[[Asked], ViewModel]


class Pages:
    """A router of pages."""

    def __init__(self) -> None:
        self.router = APIRouter()

    def add(
        self, path: str, build: Build, *, template: str, follows: Follows | None = None
    ) -> None:
        """Add a page with its twins ``.json`` and ``.csv``; one that renews itself, with more."""

        def html(request: Request) -> Response:
            asked = asked_of(request)
            renewal = None if follows is None else followed(follows, asked, request.url.path)
            with chosen(asked.words):
                view = build(asked)
            return render(
                request,
                template,
                view=view,
                viewer=asked.viewer,
                ignored=asked.ignored,
                large_counts_only=asked.sees_large_counts_only,
                renewal=None if view.is_still else renewal,
            )

        def as_json(request: Request) -> Response:
            asked = asked_of(request)
            with chosen(asked.words):
                view = build(asked)
                content = to_json(view, asked)
            return Response(content, status_code=view.status, media_type="application/json")

        def as_csv(request: Request) -> Response:
            asked = asked_of(request)
            with chosen(asked.words):
                view = build(asked)
            wanted = asked.query.get("table")
            if not view.tables:
                message = "table: the page has none; found no rows to export; use its .json twin"
                raise NotFoundError(message)
            table = view.table(wanted) if wanted else view.tables[0]
            name = f"neva-{table.name}.csv"
            with chosen(asked.words):
                content = to_csv(table)
            return Response(
                content,
                status_code=view.status,
                media_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": f'attachment; filename="{name}"'},
            )

        TWINS.add(path)
        slug = path.strip("/") or "home"
        # The twins first: a path with a parameter would take them for a name.
        self.router.get(f"{path}.json", name=f"{slug} (JSON)", include_in_schema=True)(as_json)
        self.router.get(f"{path}.csv", name=f"{slug} (CSV)", include_in_schema=False)(as_csv)
        self.router.get(path, name=slug, include_in_schema=False)(html)
        if follows is not None:
            route = changes_of(follows, asked_of)
            name = f"{slug} (changes)"
            self.router.get(f"{path}{CHANGES}", name=name, include_in_schema=False)(route)
