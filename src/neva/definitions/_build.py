"""Builds a user's definition file, in a process of its own without patient data.

Started by :mod:`neva.definitions.user_files`. Reads one JSON object from
standard input (``name``, ``kind``, ``text``, ``codelists``) and writes one to
standard output: ``documents`` with their places, or ``error``.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from neva.definitions import writing
from neva.definitions._syntax import FROM_FILES, WORDS, checked_tree
from neva.definitions.codelists import Codelist
from neva.definitions.documents import Document, from_json, to_json
from neva.errors import BadInputError, NevaError, UsageError
from neva.files.limits import limit_resources

#: Seconds of computing, and bytes of memory beyond what the start has taken.
CPU_SECONDS = 5
MEMORY_BYTES = 2**30
#: Bytes that the process may write; what is larger is no definition.
OUTPUT_BYTES = 16 * 2**20
#: Letters of a message; what it quotes may be long.
MOST_WORDS = 500

_MISSING_ARGUMENT = re.compile(r"^(\w+)\(\) missing \d+ required .*?: (.*)$")
_NO_ATTRIBUTE = re.compile(r"^'(\w+)' object has no attribute '(\w+)'$")


def _listed(codelists: Mapping[str, Codelist]) -> Callable[[str], Codelist]:
    def codelist_named(name: str) -> Codelist:
        if name not in codelists:
            message = (
                f"codelist: none of the files has it; found {name!r}; they have "
                f"{', '.join(sorted(codelists)) or 'none'}"
            )
            raise UsageError(message)
        return codelists[name]

    return codelist_named


def _error_text(error: Exception) -> str:
    """What went wrong, in the words of the language."""
    text = str(error)
    if isinstance(error, NevaError):
        return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]} …"
    if isinstance(error, RecursionError):
        return "nested too deeply; found more levels than can be followed; give parts names"
    if isinstance(error, MemoryError):
        return "needs too much memory; found no end of it; make the definition smaller"
    if found := _MISSING_ARGUMENT.match(text):
        hint = (
            "say whom it is about" if "population" in found[2] else "add what is missing, by name"
        )
        return f"{found[1]}: an argument is missing; found no {found[2]}; {hint}"
    if found := _NO_ATTRIBUTE.match(text):
        if found[2] in ("node", "frame"):
            return (
                f"a part of a definition is needed here; found {found[1]}; write one of its words"
            )
        return f"a {found[1]} has no .{found[2]}; found it here; see what a {found[1]} can be asked"
    return f"this does not go together; found {type(error).__name__}: {text[:300]}; correct it"


def build(name: str, text: str, codelists: Mapping[str, Codelist]) -> list[tuple[str, Document]]:
    """Build the definitions of a file.

    Returns
    -------
    list of tuple of str and Document
        With the place (file:line) at which each is written.

    Raises
    ------
    BadInputError
        The message names the line.
    """
    tree = checked_tree(text, name)
    made: list[tuple[str, Document]] = []

    def noted(make: Callable[..., Any]) -> Callable[..., Any]:
        def write(*parts: Any, **words: Any) -> Any:
            document = make(*parts, **words)
            made.append((f"{name}:{sys._getframe(1).f_lineno}", document))
            return document

        return write

    words = dict(WORDS)
    for word in ("feature", "measure", "score"):
        words[word] = noted(getattr(writing, word))
    words[FROM_FILES] = _listed(codelists)
    try:
        exec(compile(tree, name, "exec"), {"__builtins__": {}, **words})
        # What cannot be read back is refused here, and not where patients are.
        for _, document in made:
            from_json(to_json(document), name=document.id)
    # Whatever goes wrong in a user's file is told with its line.
    except Exception as error:
        lines = [
            at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == name
        ]
        message = f"{name}:{lines[-1] if lines else 1}: {_error_text(error)}"
        raise BadInputError(message) from None
    return made


def read_json(name: str, text: str) -> list[tuple[str, Document]]:
    """Read the model of one definition, or a list of them; with the place of each.

    Raises
    ------
    BadInputError
        The message names the place.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        message = (
            f"{name}:{error.lineno}:{error.colno}: not well-formed JSON; found {error.msg}; "
            "mend the line"
        )
        raise BadInputError(message) from None
    except RecursionError:
        message = f"{name}:1:1: nested too deeply; found no end of it; write a definition"
        raise BadInputError(message) from None
    several = content if isinstance(content, list) else [content]
    found = []
    for number, one in enumerate(several, 1):
        place = name if len(several) == 1 else f"{name}: {number}"
        try:
            found.append((place, from_json(json.dumps(one), name=place)))
        except (RecursionError, MemoryError) as error:
            message = f"{place}: {_error_text(error)}"
            raise BadInputError(message) from None
    return found


def main() -> None:
    """Answer one request."""
    given = json.load(sys.stdin)
    lists = {one["id"]: Codelist.model_validate(one) for one in given["codelists"]}
    limit_resources(seconds=CPU_SECONDS, memory=MEMORY_BYTES, output=OUTPUT_BYTES)
    answer: dict[str, Any]
    try:
        made = (
            read_json(given["name"], given["text"])
            if given["kind"] == "json"
            else build(given["name"], given["text"], lists)
        )
        answer = {"documents": [{"place": at, "content": to_json(one)} for at, one in made]}
    except BadInputError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
