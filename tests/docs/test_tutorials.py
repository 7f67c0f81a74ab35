"""The tutorials and guides are walked as their readers do; what they state is printed."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.command_line import CommandLine
from tests.walked_pages import Hospitals, Walk, assert_prints, blocks_of, commands_of

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted([*DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md")])


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return Hospitals(tmp_path_factory.mktemp("hospitals"))


@pytest.fixture
def walk(
    tmp_path: Path,
    neva: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    hospitals: Hospitals,
) -> Iterator[Walk]:
    folder = tmp_path / "walk"
    folder.mkdir()
    modules = set(sys.modules)
    yield Walk(folder, neva, monkeypatch, hospitals)
    # What the reader wrote is no module of the next reader.
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_walked(walk: Walk, page: Path) -> None:
    walk.page(page)


def test_the_first_programme_takes_at_most_forty_lines() -> None:
    page = (DOCS / "tutorials" / "first-programme.md").read_text(encoding="utf-8")
    files = {block.file: block.text for block in blocks_of(page) if block.file}
    assert len(files["kidney.py"].splitlines()) <= 40
    assert "title" not in files["pyproject.toml"]


def test_what_a_page_installs_is_gone_after_it() -> None:
    names = {point.name for point in importlib.metadata.entry_points(group="neva.programmes")}
    assert "kidney" not in names


def test_a_wrong_line_of_a_page_would_be_found() -> None:
    assert commands_of("$ neva info h\none\n$ neva check h\n") == [
        ("neva info h", "one\n"),
        ("neva check h", ""),
    ]
    assert_prints("met  12 of ...\n", "met 12 of 40\n")
    with pytest.raises(pytest.fail.Exception, match="the page states"):
        assert_prints("met 12\n", "met 13\n")


def test_what_code_prints_is_the_text_that_follows_it_at_once() -> None:
    python, _, other, _ = blocks_of(
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nx = 2\n```\n\nWords.\n\n"
        "```text\nno\n```\n"
    )
    assert (python.prints, other.prints) == ("1\n", None)
