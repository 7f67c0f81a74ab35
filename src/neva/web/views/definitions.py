"""Definitions: each in words, as JSON, its codes, where it is used, its history."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from neva.decisions.rules import Rule
from neva.definitions.documents import codelists_of, content_hash, to_json
from neva.definitions.record import known_definitions
from neva.definitions.words.explain import explain
from neva.errors import NotFoundError
from neva.web.pages import Asked, Column, Pages, Table, ViewModel
from neva.web.programmes import installed

__all__ = ["add_to", "all_definitions"]


@lru_cache(maxsize=1)
def all_definitions() -> dict[str, tuple[str, Any]]:
    """Return the definitions of the installed programmes: id to (programme, definition)."""
    found: dict[str, tuple[str, Any]] = {}
    for name, programme in installed().items():
        for one in (*programme.documents, *programme.rules):
            found[one.id] = (name, one)
    return found


@lru_cache(maxsize=1)
def _hashes() -> dict[str, str]:
    return {id_: content_hash(one) for id_, (_, one) in all_definitions().items()}


@lru_cache(maxsize=1)
def _codelists() -> dict[str, list[Any]]:
    return {id_: codelists_of(one) for id_, (_, one) in all_definitions().items()}


def _title(asked: Asked, one: Any) -> str:
    russian = getattr(one, "title_ru", "")
    return str(russian if asked.words.code == "ru" and russian else one.title or one.id)


def _kinds(asked: Asked) -> dict[str, str]:
    words = asked.words
    return {
        "measure": words("measure"),
        "score": words("score"),
        "feature": words("feature"),
        "rule": words("rule"),
    }


def definitions(asked: Asked) -> ViewModel:
    """List the definitions of the installed programmes."""
    words = asked.words
    kinds = _kinds(asked)
    programme, kind = asked.query.get("programme", ""), asked.query.get("kind", "")
    wanted = asked.query.get("search", "").strip().lower()
    rows = []
    for id_, (name, one) in sorted(all_definitions().items()):
        title = _title(asked, one)
        if programme not in ("", name) or kind not in ("", one.kind):
            continue
        codes = " ".join(code for each in _codelists()[id_] for code in each.codes)
        if wanted and wanted not in f"{id_} {title} {codes}".lower():
            continue
        rows.append(
            {
                "definition": id_,
                "title": title,
                "kind": kinds.get(one.kind, one.kind),
                "version": one.version,
                "codes": len({code for each in _codelists()[id_] for code in each.codes}),
                "hash": _hashes()[id_][:12],
                "_href": f"/definitions/{id_}",
            }
        )
    return ViewModel(
        words("Definitions"),
        {
            "programmes": list(installed()),
            "programme": programme,
            "kinds": [{"id": id_, "title": title} for id_, title in kinds.items()],
            "kind": kind,
            "search": asked.query.get("search", ""),
        },
        (
            Table(
                "definitions",
                words("%(n)s definitions", n=words.count(len(rows))),
                (
                    Column("definition", words("definition")),
                    Column("title", words("title")),
                    Column("kind", words("kind")),
                    Column("version", words("version")),
                    Column("codes", words("codes"), "number"),
                    Column("hash", words("content"), "code"),
                ),
                rows,
            ),
        ),
    )


def definition(asked: Asked) -> ViewModel:
    """Show one definition."""
    words = asked.words
    id_ = asked.path["definition"]
    if id_ not in all_definitions():
        message = "definition: none of that id is installed; see the list of definitions"
        raise NotFoundError(message)
    programme, one = all_definitions()[id_]
    codes = [
        {"codelist": each.id, "version": each.version, "code": code, "title": each.title}
        for each in _codelists()[id_]
        for code in each.codes
    ]
    own = {each.id for each in _codelists()[id_]}
    uses = [
        {
            "definition": other,
            "why": ", ".join(sorted(own & {each.id for each in lists})),
            "_href": f"/definitions/{other}",
        }
        for other, lists in sorted(_codelists().items())
        if other != id_ and own & {each.id for each in lists}
    ]
    snapshot = asked.server.whole()
    history = [
        {
            "version": row["version"],
            "hash": row["hash"],
            "used": row["used"],
            "installed": row["hash"] == _hashes()[id_],
        }
        for row in known_definitions(snapshot).iter_rows(named=True)
        if row["definition"] == id_
    ]
    is_rule = isinstance(one, Rule)
    return ViewModel(
        _title(asked, one),
        {
            "id": id_,
            "kind": _kinds(asked).get(one.kind, one.kind),
            "programme": programme,
            "version": one.version,
            "words": explain(one, words.code),
            "description": one.description,
            "notes": list(one.notes),
            "evidence": list(one.evidence),
            "json": json.dumps(json.loads(to_json(one)), ensure_ascii=False, indent=1),
            "rule": f"/decisions/rules/{id_}" if is_rule else "",
            "measure": f"/quality/{programme}/{id_.partition('.')[2]}"
            if one.kind == "measure"
            else "",
        },
        (
            Table(
                "codes",
                words("Codes used"),
                (
                    Column("codelist", words("codelist")),
                    Column("version", words("version")),
                    Column("code", words("code"), "code"),
                    Column("title", words("title")),
                ),
                codes,
            ),
            Table(
                "uses",
                words("Definitions with the same codelists"),
                (Column("definition", words("definition")), Column("why", words("codelists"))),
                uses,
            ),
            Table(
                "history",
                words("Versions used for results in this hospital"),
                (
                    Column("version", words("version")),
                    Column("hash", words("content"), "code"),
                    Column("used", words("first used"), "time"),
                    Column("installed", words("installed")),
                ),
                history,
            ),
        ),
        facts=((words("Content"), _hashes()[id_]),),
    )


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/definitions", definitions, template="definitions.html")
    pages.add("/definitions/{definition}", definition, template="definition.html")
