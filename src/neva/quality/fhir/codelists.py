"""Codelists as FHIR R4 ValueSets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Final

from neva.definitions import model as m
from neva.definitions.codelists import Codelist
from neva.definitions.documents import Document
from neva.quality.fhir.words import BASE_URL, Resource, canonical, extension, resource_id
from neva.sources.fhir.codes import system_url

__all__ = ["codelist_to_fhir", "codelists_by_id"]

_SPECIAL: Final = re.compile(r"([.\\+*?^$()\[\]{}|])")


def codelist_to_fhir(
    codelist: Codelist, *, base_url: str = BASE_URL, name: str | None = None
) -> Resource:
    r"""Write a codelist as an R4 ValueSet.

    Parameters
    ----------
    codelist : Codelist
    base_url : str
        Prefix of its canonical URL.
    name : str, optional
        Instead of its id.

    Returns
    -------
    dict
        A ``ValueSet``.

    Notes
    -----
    - A code with its descendants is a filter ``concept is-a code`` (which
      includes the code); without, it is a listed concept. What is below what
      is said by the hospital's table of codes, not by a terminology server.
    - ``SYSTEM//beginning*`` is a filter ``code regex ^beginning.*$``. If the
      descendants of what it finds are meant too, the include has the extension
      ``with-descendants``: no filter of FHIR says that. In systems whose codes
      begin with those of their parents (ICD, ATC) it changes nothing.
    - What is left out is ``compose.exclude``, always with descendants.

    Examples
    --------
    >>> steroids = Codelist(id="steroids", codes=("ATC//H02*",), excluding=("ATC//H02AA",))
    >>> compose = codelist_to_fhir(steroids)["compose"]
    >>> compose["include"][0]["filter"]
    [{'property': 'code', 'op': 'regex', 'value': '^H02.*$'}]
    >>> compose["exclude"][0]["filter"]
    [{'property': 'concept', 'op': 'is-a', 'value': 'H02AA'}]
    """
    identity = name or codelist.id
    include = _selections(codelist.codes, descendants=codelist.descendants)
    if codelist.includes:
        parts = [canonical(base_url, "ValueSet", other) for other in codelist.includes]
        # Value sets named in one include are intersected; each needs its own.
        include += [{"valueSet": [part]} for part in parts]
    resource: Resource = {
        "resourceType": "ValueSet",
        "id": resource_id(identity, "codelist"),
        "url": canonical(base_url, "ValueSet", identity),
        "version": codelist.version,
        "status": "active",
        "compose": {"include": include},
    }
    if codelist.title.strip():
        resource["title"] = codelist.title
    if codelist.excluding:
        resource["compose"]["exclude"] = _selections(codelist.excluding, descendants=True)
    return resource


def _selections(codes: Iterable[str], *, descendants: bool) -> list[Resource]:
    """Write codes as includes; filters of one include are joined by "and": one each."""
    listed: dict[str, list[str]] = {}
    found: list[Resource] = []
    for code in codes:
        system, _, plain = code.partition("//")
        url = system_url(system)
        if plain.endswith("*"):
            pattern = "^" + _SPECIAL.sub(r"\\\1", plain[:-1]) + ".*$"
            chosen: Resource = {
                "system": url,
                "filter": [{"property": "code", "op": "regex", "value": pattern}],
            }
            if descendants:
                chosen["extension"] = [extension("with-descendants", valueBoolean=True)]
            found.append(chosen)
        elif descendants:
            found.append(
                {
                    "system": url,
                    "filter": [{"property": "concept", "op": "is-a", "value": plain}],
                }
            )
        else:
            listed.setdefault(url, []).append(plain)
    found += [
        {"system": url, "concept": [{"code": one} for one in plain]}
        for url, plain in listed.items()
    ]
    return found


def codelists_by_id(document: Document) -> dict[str, Codelist]:
    """Return every codelist of a definition under a name of its own.

    That is its id; where two of one id differ, each has a piece of the hash of
    its content at the end.
    """
    found: dict[str, dict[str, Codelist]] = {}
    for expression in document._expressions():
        for node in m.walk(expression):
            if isinstance(node, m.Frame):
                for one in node.codelists:
                    content = json.dumps(one.model_dump(mode="json"), sort_keys=True)
                    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
                    found.setdefault(one.id, {})[digest] = one
    return {
        name if len(several) == 1 else f"{name}-{digest}": one
        for name, several in sorted(found.items())
        for digest, one in sorted(several.items())
    }
