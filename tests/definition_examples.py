"""The specification examples of the definition language, as they stand in its manual."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from neva.definitions import language
from neva.definitions._syntax import ATTRIBUTES, WORDS
from tests.csv_tables import rows_of

__all__ = [
    "EXAMPLES",
    "PAGE",
    "PATH",
    "Example",
    "Line",
    "Word",
    "example_of",
    "lines_by_word",
    "words_of_the_language",
]

PATH = Path(__file__).parents[1] / "docs" / "definitions.md"
PAGE = PATH.read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```text ([a-z0-9-]+)\n(.*?)^```$", PAGE, re.M | re.S))
TABLES = ("events", "stays", "movements", "patient", "codes")

#: What no docstring tells.
_THINGS = {
    "now": "The time at which the question is asked.",
    "stay": "The stay of the point.",
    "subject": "The patient.",
    "row": "The row that a condition looks at.",
    "each": "The row, day or time that a question for each looks at.",
}
#: What stands before the dot, and the classes whose words may stand behind it.
KINDS: dict[str, list[type]] = {
    "`events(...)`, `movements(...)`, `stays(...)` are rows": [language.Rows],
    "One row, `.first()`; also `row` and `each`": [language.Row, language._RowFields],
    "`.each(...)`": [language._ForEach],
    "Numbers": [language.Quantity],
    "Times": [language.Time],
    "Texts": [language.Words],
    "All values": [language.Value],
    "`stay`": [language._Stay],
    "`subject`": [language._Subject],
    "`row` alone": [language._ThisRow],
}

#: A word of the language, after the title of what stands before its dot ("" for a word alone).
Word = tuple[str, str]


class Line(NamedTuple):
    """A question of an example at a time, with its answer.

    ``is_written`` tells whether the word stands in the question itself, not
    in what a name in it stands for.
    """

    example: str
    time: str
    question: str
    answer: str
    is_written: bool


@dataclass
class Example:
    """The tables, names and questions of one block."""

    zone: str = "Europe/Moscow"
    tables: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    asked: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)


def example_of(text: str) -> Example:
    """Read a block: paragraphs, each begun by the word that says what it is."""
    found = Example()
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        first, *lines = paragraph.splitlines()
        if first.startswith("zone "):
            found.zone = first.removeprefix("zone ")
        elif first == "let":
            found.names += lines
        elif first.startswith("at "):
            asked = []
            for line in lines:
                question, answer = line.rsplit("|", 1)
                asked.append((question.strip(), answer.strip()))
            found.asked.append((first.removeprefix("at "), asked))
        else:
            assert first in TABLES, first
            header, *rows = rows_of("\n".join(lines))
            found.tables[first] = [dict(zip(header, row, strict=True)) for row in rows]
    return found


def _meaning(name: str, thing: Any) -> str:
    if name in _THINGS:
        return _THINGS[name]
    doc = thing.fget.__doc__ if isinstance(thing, property) else thing.__doc__
    text = str(doc).strip().splitlines()[0].replace("``", "`")
    return re.sub(r"; see :class:.*", ".", text)


def words_of_the_language() -> dict[str, dict[str, str]]:
    """Every word with its meaning, from what the words say of themselves.

    The words themselves stand under the empty title; what may stand behind a
    dot, under a title that says what stands before it.
    """
    found = {"": {name: _meaning(name, WORDS[name]) for name in sorted(WORDS)}}
    for title, classes in KINDS.items():
        found[title] = {
            f".{name}": _meaning(f".{name}", thing)
            for kind in classes
            for name, thing in sorted(vars(kind).items())
            if name in ATTRIBUTES
        }
    return found


def _words(question: str, names: dict[str, Any], words_by_name: dict[str, set[Word]]) -> set[Word]:
    """Find the words of a question, with those of the names that it uses."""
    titles = {kind: title for title, kinds in KINDS.items() for kind in kinds}
    found: set[Word] = set()
    for part in ast.walk(ast.parse(question, mode="eval")):
        if isinstance(part, ast.Name):
            found |= words_by_name.get(part.id, {("", part.id)} if part.id in WORDS else set())
        elif isinstance(part, ast.Attribute):
            # What stands before the dot decides whose word it is.
            before = eval(ast.unparse(part.value), names)
            for kind in type(before).__mro__:
                if kind in titles and part.attr in vars(kind):
                    found.add((titles[kind], f".{part.attr}"))
                    break
    return found


def lines_by_word() -> dict[Word, list[Line]]:
    """Return, for each word of the language, the lines of the specification that use it.

    Returns
    -------
    dict
        Title of the kind and word, to its lines.
    """
    found: dict[Word, list[Line]] = defaultdict(list)
    for name, text in EXAMPLES.items():
        example = example_of(text)
        names: dict[str, Any] = dict(WORDS)
        words_by_name: dict[str, set[Word]] = {}
        for line in example.names:
            left, _, right = line.partition(" = ")
            words_by_name[left] = _words(right, names, words_by_name)
            exec(line, names)
        for when, asked in example.asked:
            for question, answer in asked:
                written = _words(question, names, {})
                for word in written | _words(question, names, words_by_name):
                    line = Line(name, when, question, answer, word in written)
                    found[word].append(line)
    return found
