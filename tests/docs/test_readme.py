"""The README and the docs are true: code runs, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from neva.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def test_the_python_example_of_the_readme_runs(tmp_path, neva):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    code = example[1]
    assert len(code.strip().splitlines()) <= 11
    assert neva("demo", tmp_path / "build" / "demo").code == 0
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "days in the median" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_table_of_contents():
    listed = (ROOT / "docs" / "README.md").read_text()
    sections = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")]
    for page in sections:
        if page.parent.name != "decisions" and page.name not in ("README.md", "index.md"):
            assert f"]({page.relative_to(ROOT / 'docs')})" in listed, page
    decisions = (ROOT / "docs" / "decisions" / "README.md").read_text()
    for page in ROOT.glob("docs/decisions/*.md"):
        assert page.name in decisions or page.name == "README.md"


@pytest.mark.nightly
def test_the_picture_of_the_readme_is_what_the_demo_draws(tmp_path, neva):
    """But for the hospital's id, which is random."""
    from neva import open as open_hospital
    from neva.pathways import activity_log, discover_map, draw_map
    from neva.reports.example import example_activities

    neva("demo", tmp_path)
    snapshot = open_hospital(tmp_path / "hospital").snapshot()
    drawn = draw_map(discover_map(activity_log(snapshot, example_activities())))
    kept = (ROOT / "docs" / "images" / "covid-map.svg").read_text()
    without_id = re.compile(r"[Hh]ospital [0-9a-f]{12}@\d+/latest")
    assert without_id.sub("", drawn) == without_id.sub("", kept)


def test_every_command_is_in_the_overview():
    """The page for readers of the plain files; the site has each with its options."""

    def words_of(group, *names):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from words_of(command, *names, name)
            else:
                yield (*names, name)

    overview = (ROOT / "docs" / "command-line.md").read_text()
    rows = [
        set(re.findall(r"[\w-]+", cell))
        for cell in re.findall(r"^\| `neva ([^`]*)`", overview, re.MULTILINE)
    ]
    missing = [
        words
        for words in words_of(typer.main.get_command(app))
        if not any(set(words) <= row for row in rows)
    ]
    assert missing == []
