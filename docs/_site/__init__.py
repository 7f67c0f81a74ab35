"""What the site adds to Sphinx: pages made from the code, and links that leave the folder docs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from _site.command_line import command_line_page
from _site.definition_language import definition_language_page
from _site.python import python_page

__all__ = ["OUTSIDE", "PLACE", "setup"]

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent

#: A line of a page in whose place a part made from the code comes: its kind, and of what.
PLACE = re.compile(r"^<!-- made from the code: ([a-z-]+)(?: ([\w.]+))? -->$", re.MULTILINE)
MADE = {
    "command-line": command_line_page,
    "definition-language": definition_language_page,
    "python": python_page,
}

#: Files outside of docs that are pages of the site, and the page that includes each.
OUTSIDE = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "GLOSSARY.md": "glossary",
    "benchmarks/results.md": "benchmarks",
    "src/neva/programmes/acute_care/README.md": "programmes/acute-care",
    "src/neva/programmes/covid19/README.md": "programmes/covid19",
    "src/neva/programmes/sepsis/README.md": "programmes/sepsis",
    "src/neva/programmes/stroke/README.md": "programmes/stroke",
}
_LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)")


def _made(_: Sphinx, name: str, source: list[str]) -> None:
    """Put what is made from the code in its places, and lead links outside to their pages."""
    here = (DOCS / name).parent

    def page_of(link: re.Match[str]) -> str:
        target = os.path.relpath((here / link[1]).resolve(), ROOT)
        if target not in OUTSIDE:
            return link[0]
        return f"]({os.path.relpath(DOCS / OUTSIDE[target], here)}.md"

    text = PLACE.sub(lambda place: MADE[place[1]](*place.groups()[1:]), source[0])
    source[0] = _LINK.sub(page_of, text)


def _outdated(_: Sphinx, env: BuildEnvironment, *__: set[str]) -> list[str]:
    """Read pages that are made from the code anew each time: their files do not change with it."""
    return [name for name in env.found_docs if PLACE.search(env.doc2path(name).read_text("utf-8"))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of it."""
    app.connect("source-read", _made)
    app.connect("env-get-outdated", _outdated)
    app.add_lexer("csv", TextLexer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
