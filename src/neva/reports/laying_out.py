"""How pages and reports are laid out: Jinja templates of a package, escaped, strict."""

from __future__ import annotations

from importlib import resources

import jinja2

__all__ = ["templates_of"]


def templates_of(package: str) -> jinja2.Environment:
    """Return the templates in the folder ``templates`` of a package.

    Whatever is put into them is escaped; a name that is not given is an error.

    Parameters
    ----------
    package : str
        As ``neva.reports``.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(resources.files(package) / "templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
