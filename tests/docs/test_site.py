"""The site of the documentation is built without a warning, whole, and asks no other server."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from tests.definition_examples import EXAMPLES, example_of, words_of_the_language

from neva.cli import app

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: Attributes by which a page takes something in; a link of the text takes nothing.
_TAKEN = {"src", "srcset", "poster", "data", "action"}
_STYLE_TAKES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"]?)([^'\")\s]+)")
_SCRIPT_TAKES = re.compile(
    r"(?:fetch\(|import\(|importScripts\(|new Worker\(|sendBeacon\(|\.src\s*=)\s*['\"`]([^'\"`]+)"
)
_FOREIGN = re.compile(r"^(?:[a-z+]+:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """What a page takes in, where it links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.taken: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.taken += [value for name, value in given.items() if name in _TAKEN]
        self.taken += _STYLE_TAKES.findall(given.get("style", ""))
        if tag == "link":
            self.taken.append(given.get("href", ""))
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.taken += _STYLE_TAKES.findall(data)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, once for all workers of a session."""
    out = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        out = out.parent
    with (out / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "site.json").exists():
            (out / "site.json").write_text(json.dumps(_built(out)))
    code, printed = json.loads((out / "site.json").read_text())
    assert code == 0, printed
    return out / "site"


def _built(out: Path) -> tuple[int, str]:
    recipe = re.search(r"^docs:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert recipe is not None
    words = recipe[1].split()[1:]  # behind the interpreter
    assert words[-3:] == ["build/doctrees", "docs", "build/site"]
    assert "-W" in words
    done = subprocess.run(
        [sys.executable, *words[:-3], out / "doctrees", "docs", out / "site"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def test_the_site_takes_nothing_from_another_server(site: Path, pages: dict[Path, Page]) -> None:
    foreign = [
        (file.name, taken)
        for file, page in pages.items()
        for taken in page.taken
        if _FOREIGN.match(taken)
    ]
    for pattern, takes in (("*.css", _STYLE_TAKES), ("*.js", _SCRIPT_TAKES)):
        for file in site.rglob(pattern):
            found = takes.findall(file.read_text(encoding="utf-8"))
            foreign += [(file.name, taken) for taken in found if _FOREIGN.match(taken)]
    assert foreign == []


def test_what_is_foreign_would_be_found() -> None:
    page = Page(
        '<link href="https://a.example/x.css"><script src="//b.example/x.js"></script>'
        '<style>@import "https://c.example/y.css"; p {background: url(https://d.example)}</style>'
        '<img src="x.png"><a href="https://e.example">a link</a>'
    )
    assert sum(bool(_FOREIGN.match(taken)) for taken in page.taken) == 4
    assert _SCRIPT_TAKES.findall('x.src = "https://f.example/z.js"') == ["https://f.example/z.js"]


def test_every_link_and_anchor_of_the_site_resolves(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for file, page in pages.items():
        for link in [*page.links, *page.taken]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            known = pages.get(target)
            if not target.is_file() or (
                anchor and known is not None and anchor not in known.anchors
            ):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == []


def test_every_page_is_on_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs")
        if place != Path("README.md"):
            assert (site / place.with_suffix(".html")).is_file(), place


def test_the_search_needs_no_server(site: Path) -> None:
    """An index that is fetched would not open from a disk; a script does."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    found = json.loads(index.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))
    assert "tutorials/bed-manager" in found["docnames"]
    assert "shortfal" in found["terms"] or "shortfall" in found["terms"]
    assert 'src="searchindex.js"' in (site / "search.html").read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="chromium is not installed")
def test_the_search_finds_a_page_from_a_disk(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{site.as_uri()}/index.html")
        page.fill("input[name=q]", "shortfall risk")
        page.press("input[name=q]", "Enter")
        page.click("#search-results a[href*='bed-manager']")
        assert "For bed managers" in page.title()
        browser.close()
    assert [url for url in asked if not url.startswith("file:")] == []
    assert complaints == []


def test_the_reference_has_every_command_and_option(site: Path) -> None:
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)

    def look(group: object, *names: str) -> None:
        for name, command in getattr(group, "commands", {}).items():
            assert f"neva {' '.join((*names, name))}" in text
            look(command, *names, name)
            for parameter in command.params:
                assert all(option in text for option in parameter.opts if option.startswith("-"))

    look(typer.main.get_command(app))


def test_each_word_of_the_language_stands_with_its_examples(site: Path) -> None:
    page = (site / "reference" / "definition-language.html").read_text(encoding="utf-8")
    for words in words_of_the_language().values():
        for word in words:
            assert f'<span class="pre">{word}</span>' in page
    for name in EXAMPLES:
        assert f'id="example-{name}"' in page
    # A word whose lines are shown, with the answer of the specification.
    part = page.partition('<span class="pre">calendar_days</span>')[2].partition("<h3>")[0]
    ((_, asked),) = example_of(EXAMPLES["clock-change"]).asked
    assert dict(asked)["calendar_days(start, now)"] == "2"
    assert re.search(r"calendar_days\(.*?<p>2</p>", part, re.S)


def test_the_reference_of_python_has_what_is_public(site: Path) -> None:
    import neva

    for room in ("census", "flow", "operations", "pathways", "quality", "synthesis"):
        page = (site / "reference" / "python" / f"{room}.html").read_text(encoding="utf-8")
        __import__(f"neva.{room}")
        for public in getattr(neva, room).__all__:
            assert f'id="neva.{room}.{public}"' in page, public
