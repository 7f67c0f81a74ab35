"""A user's files: definitions in the language or as JSON, and codelists.

Three sorts of file:

- ``.py``: definitions in the words of :mod:`neva.definitions.language` and
  :mod:`neva.definitions.writing`. The file is not a programme: it passes an
  allow-list of syntax and is built in a process of its own, which is given no
  hospital and little time and memory, and hands back JSON.
- ``.json``: the model of one definition, a list of them, or codelists; the model
  is checked in a process of its own too.
- ``.yaml``: codelists, which may include each other.

Definitions take a list from a file by ``codelist_named("id")``.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

import neva
from neva.definitions._build import OUTPUT_BYTES
from neva.definitions.codelists import Codelist, flatten
from neva.definitions.documents import Document, from_json, library
from neva.errors import BadInputError, ConflictError
from neva.files.opening import utf8_text
from neva.files.yaml_lines import Document as YamlDocument

__all__ = ["FILE_BYTES", "SECONDS", "UserDefinitions", "read_user_files"]

#: A larger file is no definition.
FILE_BYTES = 400_000
#: A build that takes longer is stopped.
SECONDS = 9.0
#: Levels of a file of codelists; a plain one has four.
MOST_DEPTH = 20

_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


@dataclass(frozen=True)
class UserDefinitions:
    """What files define.

    Attributes
    ----------
    documents : tuple of Document
        In the order of the files and of their lines.
    places : dict of str to str
        ``file:line`` of each definition, by id.
    codelists : dict of str to Codelist
        Those of the files of codelists, by id; ``includes`` is empty.
    """

    documents: tuple[Any, ...]
    places: dict[str, str]
    codelists: dict[str, Codelist] = field(default_factory=dict)


class _Codelists(BaseModel):
    model_config = ConfigDict(extra="forbid")

    codelists: list[Codelist] = Field(min_length=1)


def _text_of(path: Path) -> str:
    size = path.stat().st_size if path.exists() else 0
    if size > FILE_BYTES:
        message = (
            f"{path.name}: too large for a file of definitions; found {size:,} bytes; "
            f"at most {FILE_BYTES:,} are read; split it"
        )
        raise BadInputError(message)
    return utf8_text(path)


# ------------------------------------------------------------------ codelists


def _yaml_of(name: str, text: str) -> YamlDocument:
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > MOST_DEPTH:
                message = (
                    f"{name}:{token.start_mark.line + 1}: nested too deeply; found more than "
                    f"{MOST_DEPTH} levels; write plain lists"
                )
                raise BadInputError(message)
            if isinstance(token, (yaml.AliasToken, yaml.AnchorToken)):
                # A few aliases of aliases stand for more than fits into memory.
                message = (
                    f"{name}:{token.start_mark.line + 1}: an alias or anchor; found & or *; "
                    "write the codes out, in quotes if they begin so, or use includes"
                )
                raise BadInputError(message)
    except yaml.YAMLError:
        pass  # told with its line by the reader below
    return YamlDocument(name, text)


def _codelists_of(document: YamlDocument) -> list[tuple[Codelist, str]]:
    found = document.read(_Codelists).codelists
    return [
        (one, f"{document.name}:{document.line(('codelists', number))}")
        for number, one in enumerate(found)
    ]


def _flat(lists: Iterable[tuple[Codelist, str]]) -> dict[str, Codelist]:
    known: dict[str, tuple[Codelist, str]] = {}
    for one, place in lists:
        if one.id in known:
            message = (
                f"{place}: codelist {one.id}: two codelists have this id; found the other at "
                f"{known[one.id][1]}; rename one of them"
            )
            raise ConflictError(message)
        known[one.id] = (one, place)
    try:
        return flatten({name: one for name, (one, _) in known.items()})
    except BadInputError as error:
        named = re.search(r"^codelist (\S+):|found (\S+) ->", str(error))
        about = next((name for name in (named.groups() if named else ()) if name in known), None)
        place = known[about][1] if about else next(iter(known.values()))[1].partition(":")[0]
        message = f"{place}: {error}"
        raise BadInputError(message) from None


# ---------------------------------------------------------------- definitions


def _built(
    name: str, kind: str, text: str, codelists: Mapping[str, Codelist]
) -> list[tuple[Any, str]]:
    """Build the definitions of a file, Python or JSON, in a process of its own."""
    root = str(Path(neva.__file__).resolve().parents[1])
    request = json.dumps(
        {
            "name": name,
            "kind": kind,
            "text": text,
            "codelists": [one.model_dump(mode="json") for one in codelists.values()],
        }
    )
    start = (
        "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
        "from neva.definitions._build import main; main()"
    )
    # To a file, not a pipe: its size is limited by the process's own limit.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", start, root],
                input=request.encode(),
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=empty,
                env={"POLARS_MAX_THREADS": "1"},
                timeout=SECONDS,
                check=False,
                start_new_session=True,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = -signal.SIGXCPU
        output.seek(0)
        answered = output.read(OUTPUT_BYTES + 1)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        message = (
            f"{name}: building the definitions takes too long; found no end after {SECONDS:.0f} "
            "seconds or their share of computing; make repeated parts smaller"
        )
        raise BadInputError(message)
    if code < 0 or len(answered) >= OUTPUT_BYTES:
        message = (
            f"{name}: building the definitions was stopped; found them larger than fits the "
            "limits of memory and size; make repeated parts smaller"
        )
        raise BadInputError(message)
    try:
        answer = json.loads(answered)
    except ValueError as error:
        message = f"the process that builds definitions ended with code {code}"
        raise RuntimeError(message) from error
    if "error" in answer:
        raise BadInputError(str(answer["error"]))
    return [
        (from_json(one["content"], name=one["place"]), one["place"]) for one in answer["documents"]
    ]


def _holds_codelists(text: str) -> bool:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "codelists" in content


def read_user_files(paths: Iterable[Path | str]) -> UserDefinitions:
    """Read files of definitions and codelists; together they are one library.

    Parameters
    ----------
    paths : iterable of Path
        ``.py``, ``.json``, ``.yaml`` or ``.yml``, in any order.

    Raises
    ------
    BadInputError
        A file is none of these, or is wrong; the message names file and line.
    NotFoundError
        There is no such file.
    ConflictError
        Two definitions or two codelists have one id.
    """
    texts = [(path, _text_of(path)) for path in map(Path, paths)]
    lists: list[tuple[Codelist, str]] = []
    definitions: list[tuple[Path, str]] = []
    for path, text in texts:
        if path.suffix in (".yaml", ".yml") or (path.suffix == ".json" and _holds_codelists(text)):
            lists += _codelists_of(_yaml_of(path.name, text))
        elif path.suffix in (".py", ".json"):
            definitions.append((path, text))
        else:
            message = (
                f"{path.name}: not a file of definitions; found {path.suffix or 'no ending'!r}; "
                "give .py or .json, or .yaml for codelists"
            )
            raise BadInputError(message)
    codelists = _flat(lists)
    documents: list[Document] = []
    places: dict[str, str] = {}
    for path, text in definitions:
        found = _built(path.name, path.suffix.removeprefix("."), text, codelists)
        for document, place in found:
            if document.id in places:
                message = (
                    f"{place}: definition {document.id}: two definitions have this id; found the "
                    f"other at {places[document.id]}; rename one of them"
                )
                raise ConflictError(message)
            documents.append(document)
            places[document.id] = place
        if not found:
            message = (
                f"{path.name}: no definition in it; found none; write feature(...), score(...) or "
                "measure(...)"
            )
            raise BadInputError(message)
    library(documents)
    return UserDefinitions(tuple(documents), places, codelists)
