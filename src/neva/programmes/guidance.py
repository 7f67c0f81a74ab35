"""The README of a programme, for clinicians."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["guidance"]


def guidance(package: str) -> str:
    """Return the text of a programme's ``README.md``."""
    return files(package).joinpath("README.md").read_text(encoding="utf-8")
