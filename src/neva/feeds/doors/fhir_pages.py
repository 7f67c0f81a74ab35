"""What pages of a FHIR server hold: entries, when each changed, and the mark of a version."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from neva.errors import BadInputError
from neva.sources.fhir.server import entries_of, next_link

__all__ = [
    "as_instant",
    "as_version",
    "changed_at",
    "is_match",
    "is_put_in_order",
    "mark_of",
    "matches",
    "newest_of",
    "offered_types",
    "read_entries",
    "read_instant",
    "version_mark",
]


def newest_of(kind: str) -> str:
    """Name the part that holds, of what was read lately, when each resource last changed."""
    return f"{kind} newest"


def version_mark(resource: Mapping[str, Any], at: datetime | None) -> str:
    """Mark a version: whoever brings it."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, Mapping) else None
    content = version or (None if at is not None else resource)
    changed = at.astimezone(UTC).isoformat() if at else None
    return mark_of(resource.get("id"), content, changed)


def offered_types(statement: Any) -> dict[str, set[str]]:
    """Read a CapabilityStatement: types, and what can be done with them."""
    offered: dict[str, set[str]] = {}
    try:
        for rest in statement["rest"]:
            for resource in rest.get("resource", ()):
                codes = {one["code"] for one in resource.get("interaction", ())}
                offered.setdefault(resource["type"], set()).update(codes)
    except (AttributeError, KeyError, TypeError):
        message = (
            "metadata: the server does not say what it has; found no CapabilityStatement that can "
            "be read; check --server, or name the types with --resources"
        )
        raise BadInputError(message) from None
    return offered


def read_entries(page: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the entries of a page.

    Raises
    ------
    BadInputError
        They are no list.
    """
    try:
        return [one for one in entries_of(page) if isinstance(one, Mapping)]
    except ValueError:
        message = f"{kind}: the answer cannot be read; found entries that are no list"
        raise BadInputError(message) from None


def is_match(entry: Mapping[str, Any], kind: str) -> bool:
    """Tell whether an entry is what was searched for, and not included with it."""
    search = entry.get("search")
    mode = search.get("mode") if isinstance(search, Mapping) else None
    resource = entry.get("resource")
    is_kind = isinstance(resource, Mapping) and resource.get("resourceType") == kind
    return is_kind and mode in (None, "match")


def matches(page: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the entries of a page that were searched for."""
    return [one for one in read_entries(page, kind) if is_match(one, kind)]


def is_put_in_order(page: Mapping[str, Any]) -> bool:
    """Tell whether the server says that it put the resources in the order that was asked for."""
    try:
        link = next_link(page, "self")
    except ValueError:
        return False
    return link is not None and re.search(r"[?&]_sort=_lastUpdated(&|$)", link) is not None


def read_instant(written: Any) -> datetime | None:
    """Read a time with an offset; None where there is none."""
    if not isinstance(written, str):
        return None
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def changed_at(entry: Mapping[str, Any]) -> datetime | None:
    """Return when the resource of an entry was changed."""
    resource = entry.get("resource")
    meta = resource.get("meta") if isinstance(resource, Mapping) else None
    return read_instant(meta.get("lastUpdated")) if isinstance(meta, Mapping) else None


def as_instant(time: datetime) -> str:
    """Write an instant so that no server takes it for a later one: milliseconds, cut off."""
    return time.isoformat(timespec="milliseconds")


def mark_of(*parts: Any) -> str:
    """Hash parts of an identity."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def as_version(entry: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    """Make the entry of a search one of a history: a version, with when it came to be."""
    return {
        "fullUrl": entry.get("fullUrl"),
        "resource": resource,
        "request": {"method": "PUT", "url": f"{resource.get('resourceType')}/{resource.get('id')}"},
        "response": {"status": "200"},
    }
