"""Settings of Sphinx: ``make docs`` builds the site from this folder into ``build/site``."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

DOCS = Path(__file__).parent
# The pages made from the code, and the examples of the specification tests.
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

project = "Neva"
author = "The Neva developers"
copyright = "The Neva developers, Apache-2.0"  # noqa: A001
version = release = version_of("neva")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "_site",
]
root_doc = "index"
# The table of contents for readers of the plain files; the site's first page includes it.
exclude_patterns = ["README.md", "_site"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "Neva"
html_show_sourcelink = False
html_copy_source = False
# Nothing is asked of another server: the site is read from a disk as well.
html_math_renderer = None
# The summary of a result is fetched, which a browser refuses for files of a disk.
html_show_search_summary = False

# Two classes may have one name, each in its room: a type is then named, not linked.
suppress_warnings = ["ref.python"]
