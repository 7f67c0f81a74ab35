"""The reference of the definition language, made from its specification tests.

Each word stands with what it means and with the questions of the specification
that use it, beside the answers that every engine gives.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Any

from tests.definition_examples import EXAMPLES, KINDS, example_of, words_of_the_language

from neva.definitions._syntax import WORDS

__all__ = ["definition_language_page", "uses"]

#: A word, after the title of what stands before its dot: none for a word that stands alone.
_Word = tuple[str, str]
_Words = set[_Word]
_TITLES = {kind: title for title, kinds in KINDS.items() for kind in kinds}
#: Lines that stand beside one word; the examples themselves have all of them.
_MOST_LINES = 6


def _words(
    question: str, names: dict[str, Any], words_by_name: dict[str, set[_Word]]
) -> set[_Word]:
    """Find the words of a question, with those of the names that it uses."""
    found: _Words = set()
    for part in ast.walk(ast.parse(question, mode="eval")):
        if isinstance(part, ast.Name):
            found |= words_by_name.get(part.id, {("", part.id)} if part.id in WORDS else set())
        elif isinstance(part, ast.Attribute):
            # What stands before the dot decides whose word it is.
            before = eval(ast.unparse(part.value), names)
            for kind in type(before).__mro__:
                if kind in _TITLES and part.attr in vars(kind):
                    found.add((_TITLES[kind], f".{part.attr}"))
                    break
    return found


def uses() -> dict[_Word, list[tuple[str, str, str, str]]]:
    """Return, for each word of the language, the lines of the specification that use it.

    Returns
    -------
    dict
        Title of the kind and word, to a list of the example's name, the time,
        the question and the answer.
    """
    found: dict[_Word, list[tuple[str, str, str, str]]] = defaultdict(list)
    for name, text in EXAMPLES.items():
        example = example_of(text)
        names: dict[str, Any] = dict(WORDS)
        words_by_name: dict[str, _Words] = {}
        for line in example.names:
            left, _, right = line.partition(" = ")
            words_by_name[left] = _words(right, names, words_by_name)
            exec(line, names)
        for when, asked in example.asked:
            for question, answer in asked:
                for word in _words(question, names, words_by_name):
                    found[word].append((name, when, question, answer))
    return found


def definition_language_page(_: str | None = None) -> str:
    """Return the page: each word with its lines, then every example whole."""
    lines_by_word = uses()
    parts = []
    for title, words in words_of_the_language().items():
        parts.append(f"## {title or 'Words that stand alone'}")
        for word, means in words.items():
            parts += [f"### `{word}`", means]
            lines = lines_by_word.get((title, word), [])
            parts.append(_table(lines) if lines else "No example of the specification uses it.")
    parts.append("## The examples")
    parts.append(
        "Tables of what is recorded, names (`let`), the time of *now*, questions and answers. How "
        "to read them, and what each shows, says [the manual](../definitions.md)."
    )
    for name, text in EXAMPLES.items():
        parts += [f"### Example: {name}", f"```text\n{text.rstrip()}\n```"]
    return "\n\n".join(parts)


def _table(lines: list[tuple[str, str, str, str]]) -> str:
    # One line of each example before the second of any.
    turns: dict[str, int] = defaultdict(int)
    order = []
    for place, line in enumerate(lines):
        order.append((turns[line[0]], place, line))
        turns[line[0]] += 1
    rows = [
        f"| `{_cell(question)}` | {when} | {_cell(answer)} | [{name}](#example-{name}) |"
        for _, _, (name, when, question, answer) in sorted(order)[:_MOST_LINES]
    ]
    return "\n".join(["| question | *now* | answer | example |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
