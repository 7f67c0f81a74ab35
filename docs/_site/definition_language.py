"""The reference of the definition language, made from its specification tests.

Each word stands with what it means and with the questions of the specification
that use it, beside the answers that the tests demand of the engines.
"""

from __future__ import annotations

import inspect
from collections import defaultdict

from tests.definition_examples import (
    EXAMPLES,
    KINDS,
    Line,
    lines_by_word,
    words_of_the_language,
)

from neva.definitions._syntax import WORDS

__all__ = ["definition_language_page"]

#: Lines that stand beside one word; the examples themselves have all of them.
_MOST_LINES = 6


def definition_language_page(_: str | None = None) -> str:
    """Return the page: each word with its lines, then every example whole."""
    found = lines_by_word()
    parts = []
    for title, words in words_of_the_language().items():
        parts.append(f"## {title or 'Words that stand alone'}")
        for word, means in words.items():
            parts += [f"### `{word}`", *_written(title, word), means]
            lines = found.get((title, word), [])
            parts.append(_table(lines) if lines else "No example of the specification uses it.")
    parts.append("## The examples")
    parts.append(
        "Tables of what is recorded, names (`let`), the time of *now*, questions and answers. How "
        "to read them, and what each shows, says [the manual](../definitions.md)."
    )
    for name, text in EXAMPLES.items():
        parts += [f"### Example: {name}", f"```text\n{text.rstrip()}\n```"]
    return "\n\n".join(parts)


def _written(title: str, word: str) -> list[str]:
    """How a word with arguments is written; nothing for one without."""
    name = word.removeprefix(".")
    holders = [vars(kind) for kind in KINDS[title]] if title else [WORDS]
    thing = next(holder[name] for holder in holders if name in holder)
    if not inspect.isfunction(thing):
        return []
    signature = inspect.signature(thing)
    arguments = [
        one.replace(annotation=inspect.Parameter.empty)
        for key, one in signature.parameters.items()
        if key != "self"
    ]
    bare = inspect.Signature(arguments)
    return [f"```python\n{word}{bare}\n```"]


def _table(lines: list[Line]) -> str:
    # Where the word itself is written comes first, and one line of each example before others.
    turns: dict[str, int] = defaultdict(int)
    order = []
    for place, line in enumerate(lines):
        order.append((not line.is_written, turns[line.example], place, line))
        turns[line.example] += 1
    rows = [
        f"| `{_cell(line.question)}` | {line.time} | {_cell(line.answer)} "
        f"| [{line.example}](#example-{line.example}) |"
        for *_, line in sorted(order)[:_MOST_LINES]
    ]
    return "\n".join(["| question | *now* | answer | example |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
