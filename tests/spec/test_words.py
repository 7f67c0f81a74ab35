"""The words of the glossary are used, and the retired ones are gone."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")
BEFORE, _, RETIRED_PART = GLOSSARY.partition("## Retired words")

#: Phrases that are not used again, by the glossary's own table.
RETIRED = [
    phrase.strip()
    for row in re.findall(r"^\| (?!not \|)([^|-][^|]*) \| [^|]+ \|$", RETIRED_PART, re.MULTILINE)
    for phrase in row.split(",")
]
#: Names of helpers that do not say what of.
NAMELESS = set(re.findall(r"`(_\w+)`", RETIRED_PART))
VARIABLES = {"said", "told"}
#: One method for each node of the language, called by the node's name.
BY_NODE = ("definitions/reference/engine.py", "definitions/words/_phrases.py")


def sources():
    yield from sorted((ROOT / "src").rglob("*.py"))


def texts():
    """Everything that a user or developer reads, one line at a time."""
    for pattern in ("src/**/*.py", "src/**/*.html", "src/**/*.po", "src/**/*.md", "docs/**/*.md"):
        yield from sorted(ROOT.glob(pattern))
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))


def test_the_glossary_names_retired_words_and_where_the_others_come_from():
    assert len(RETIRED) > 10
    assert {"_told", "_said", "_plain", "_rows"} <= NAMELESS
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", BEFORE, re.MULTILINE)[1:]
    words = [word for word, _, _ in rows if not word.startswith("-")]
    assert words == sorted(words, key=str.lower)
    assert len(set(words)) == len(words)
    assert all(origin.strip() for _, _, origin in rows)


@pytest.mark.parametrize("phrase", RETIRED)
def test_a_retired_phrase_is_nowhere(phrase):
    wanted = re.compile(rf"\b{re.escape(phrase)}\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if wanted.search(line)
    ]
    assert found == [], "say it with the word beside it at the end of GLOSSARY.md"


def test_names_say_what_of():
    found = []
    for path in sources():
        if path.as_posix().endswith(BY_NODE):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = {node.name} & (NAMELESS | VARIABLES)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names = {node.id} & VARIABLES
            elif isinstance(node, ast.arg):
                names = {node.arg} & VARIABLES
            else:
                continue
            found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in names]
    assert found == [], "a name must say what of, as _delivered_rows: see the end of GLOSSARY.md"
