"""Files of FHIR resources: bundles, NDJSON and single resources, read in a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import ijson

from neva.errors import BadInputError
from neva.files.opening import existing, opened

__all__ = ["Entry", "entries", "find_files"]

_LINES: Final = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")
_WHOLE: Final = (".json", ".json.gz")
# Above this a JSON file is read piece by piece.
_SMALL: Final = 16 << 20  # bytes
#: No resource is that long; a line that is, is not NDJSON.
_LONGEST_LINE: Final = 64 << 20  # bytes
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource and where it stands; ``resource`` is None where it could not be read.

    Attributes
    ----------
    deleted : tuple of str, optional
        Type and id of what the entry says was deleted; there is no resource then.
        The id is empty where it is deleted by a search.
    changed : str, optional
        When this version came to be, as the entry of a history says it.
    is_version : bool
        One of the versions that a history tells.
    """

    file: str
    row: int
    resource: dict[str, Any] | None
    full_url: str | None = None
    deleted: tuple[str, str] | None = None
    changed: str | None = None
    is_version: bool = False


def find_files(path: Path) -> tuple[Path, ...]:
    """Find the files of FHIR resources: one file, or all in a folder and below.

    Raises
    ------
    neva.errors.NotFoundError, neva.errors.BadInputError
        Nothing is there, or no file that could hold resources.
    """
    existing(path)
    if path.is_file():
        return (path,)
    found = tuple(
        sorted(
            file
            for file in path.rglob("*")
            if file.is_file()
            and file.name.lower().endswith(_LINES + _WHOLE)
            and not file.name.startswith(".")
        )
    )
    if not found:
        raise BadInputError(
            f"{path}: no FHIR files; found no .json, .ndjson or .jsonl file (or .gz of "
            "one); check the folder"
        )
    return found


def entries(file: Path) -> Iterator[Entry]:
    """Read the resources of one file, one at a time.

    Parameters
    ----------
    file : path
        A Bundle, a single resource, or one resource a line.

    Yields
    ------
    Entry
        ``row`` is the place in the bundle, or the line, from 1.

    Raises
    ------
    neva.errors.BadInputError
        The file is empty, damaged, not UTF-8, not JSON, or no FHIR.
    """
    try:
        with opened(file) as stream:
            if file.name.lower().endswith(_LINES):
                yield from _lines(file, stream)
                return
            head = stream.read(_SMALL)
            if len(head) < _SMALL:
                yield from _small(file, head)
                return
        with opened(file) as stream:
            yield from _streamed(file, stream)
    except UnicodeDecodeError:
        raise BadInputError(
            f"{file}: FHIR is UTF-8; found bytes that are not; convert the file and import again"
        ) from None


def _small(file: Path, content: bytes) -> Iterator[Entry]:
    try:
        read = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and b"\n" in content:
            yield from _lines(file, BytesIO(content))
            return
        raise BadInputError(
            f"{file}: line {error.lineno}, column {error.colno}: not JSON, or cut short; found "
            f"{len(content):,} bytes that do not end a JSON value; export the file again"
        ) from None
    except RecursionError:
        raise BadInputError(
            f"{file}: no FHIR; found JSON that is nested too deeply; choose a Bundle, a resource "
            "or an NDJSON export"
        ) from None
    if isinstance(read, dict) and {"transactionTime", "output"} <= read.keys():
        return  # the manifest of a bulk export: its files stand beside it
    if not isinstance(read, dict) or "resourceType" not in read:
        raise _not_fhir(file)
    if read["resourceType"] != "Bundle":
        yield Entry(file.name, 1, read)
        return
    given = read.get("entry") or []
    if not isinstance(given, list):
        raise _not_fhir(file)
    for row, entry in enumerate(given, 1):
        yield from _entry(file, row, entry)


def _not_fhir(file: Path) -> BadInputError:
    return BadInputError(
        f"{file}: no FHIR resource; found JSON with no resourceType; choose a Bundle, a resource "
        "or an NDJSON export"
    )


def _entry(file: Path, row: int, entry: Any) -> Iterator[Entry]:
    if not isinstance(entry, dict):
        yield Entry(file.name, row, None)
        return
    resource = entry.get("resource")
    full_url = entry.get("fullUrl")
    full_url = full_url if isinstance(full_url, str) else None
    request, response = entry.get("request"), entry.get("response")
    changed = response.get("lastModified") if isinstance(response, dict) else None
    changed = changed if isinstance(changed, str) else None
    if isinstance(request, dict) and request.get("method") == "DELETE":
        deleted = _deleted(request.get("url") or full_url)
        yield Entry(file.name, row, None, full_url, deleted=deleted, changed=changed)
        return
    if resource is None and ("request" in entry or "response" in entry):
        return  # an answer without content
    if not isinstance(resource, dict):
        yield Entry(file.name, row, None)
        return
    if not resource.get("id") and full_url and full_url.startswith("urn:"):
        # In a transaction the server gives ids; until then the URN is the identity.
        resource["id"] = full_url.rsplit(":", 1)[-1]
    if resource.get("resourceType") == "Bundle":
        for inner in resource.get("entry") or []:
            yield from _entry(file, row, inner)
        return
    # An entry of a history says what was asked and what came of it.
    is_version = isinstance(request, dict) and isinstance(response, dict)
    yield Entry(file.name, row, resource, full_url, changed=changed, is_version=is_version)


def _deleted(url: Any) -> tuple[str, str] | None:
    """Type and id of what is deleted; None where it cannot be told."""
    if not isinstance(url, str):
        return None
    path, is_search, _ = url.partition("?")
    parts = path.partition("/_history")[0].rstrip("/").split("/")
    if is_search:
        return parts[-1], ""
    return (parts[-2], parts[-1]) if len(parts) > 1 else None


def _streamed(file: Path, stream: BinaryIO) -> Iterator[Entry]:
    if stream.read(3) != _BOM:
        stream.seek(0)
    row = 0
    try:
        for row, entry in enumerate(_items(stream), 1):
            yield from _entry(file, row, entry)
    except ijson.JSONError:
        # The parser's own words quote the text: they may hold a patient's values.
        raise BadInputError(
            f"{file}: not JSON, or cut short; found an end after entry {row:,}; export it again"
        ) from None
    if row == 0:
        raise BadInputError(
            f"{file}: no Bundle; found a large JSON file without entries; choose a Bundle or an "
            "NDJSON export"
        )


def _items(stream: BinaryIO) -> Iterator[Any]:
    # A text that spans many reads is scanned again at each: few large reads.
    found: Iterator[Any] = ijson.items(stream, "entry.item", use_float=True, buf_size=4 << 20)
    return found


def _lines(file: Path, lines: BinaryIO) -> Iterator[Entry]:
    read = unreadable = row = 0
    while line := lines.readline(_LONGEST_LINE + 1):
        row += 1
        if len(line) > _LONGEST_LINE:
            raise BadInputError(
                f"{file}: line {row}: NDJSON has one resource a line; found one longer than "
                f"{_LONGEST_LINE >> 20} MB; if it is a Bundle, name it .json"
            )
        if row == 1:
            line = line.removeprefix(_BOM)
        if not line.strip():
            continue
        try:
            resource = json.loads(line.decode())
        except (json.JSONDecodeError, RecursionError):
            resource = None
        if isinstance(resource, dict):
            read += 1
            if resource.get("resourceType") == "Bundle":
                for inner in resource.get("entry") or []:
                    yield from _entry(file, row, inner)
            else:
                yield Entry(file.name, row, resource)
        else:
            unreadable += 1
            yield Entry(file.name, row, None)
    if unreadable and not read:
        raise BadInputError(
            f"{file}: no NDJSON; found that none of the {unreadable:,} lines is a JSON object; "
            "choose an NDJSON export"
        )
    if not unreadable and not read:
        raise BadInputError(f"{file}: nothing to read; found only empty lines; copy it again")
