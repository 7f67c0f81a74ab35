"""The walks in CONTRIBUTING.md name files that are there, and hold what is said of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neva.programmes.covid19 import programme

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rows_of(title: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    part = re.split(r"^##+ ", PAGE.partition(f" {title}\n")[2], flags=re.M)[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    assert len(lines) > 3, title
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize(
    "title",
    [
        "One change through the rooms: a score",
        "A source",
        "A page",
        "A node of the definition language",
    ],
)
def test_every_file_of_a_walk_is_there(title: str) -> None:
    for row in rows_of(title):
        for path in re.findall(r"`((?:src|docs|tests)/[\w/.-]+)`", " ".join(row)):
            assert (ROOT / path).exists(), path


def test_the_score_of_the_walk_stands_in_each_file() -> None:
    words = {"codelists.py": "coma_score", "ru.po": "msgstr", "CHANGELOG.md": "## Unreleased"}
    for _, file, _ in rows_of("One change through the rooms: a score"):
        path = ROOT / file.strip("`")
        word = words.get(path.name, "qsofa")
        assert word.lower() in path.read_text(encoding="utf-8").lower(), path
    assert programme().document("qsofa").id == "covid19.qsofa"


def test_the_node_of_the_walk_stands_in_each_file() -> None:
    rows = rows_of("A node of the definition language")
    for _, file, _ in rows:
        path = ROOT / file.strip("`")
        text = path.read_text(encoding="utf-8")
        assert re.search("CalendarDays|calendar-days|calendar_days", text), path
    # And in no other file of the definitions: the walk leaves none out.
    named = {ROOT / file.strip("`") for _, file, _ in rows}
    for path in (ROOT / "src" / "neva" / "definitions").rglob("*.py"):
        assert "CalendarDays" not in path.read_text(encoding="utf-8") or path in named, path
