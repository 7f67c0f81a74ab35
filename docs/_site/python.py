"""The reference of Python, made from what each room of the package makes public."""

from __future__ import annotations

import importlib
import inspect

from sphinx.pycode import ModuleAnalyzer

__all__ = ["python_page", "sphinx_lines"]


def sphinx_lines(name: str) -> list[str]:
    """Return lines of reStructuredText that document a module and what its ``__all__`` names."""
    module = importlib.import_module(name)
    things = {public: getattr(module, public) for public in sorted(module.__all__)}
    # What is a module has a part of its own on the page.
    shown = {key: thing for key, thing in things.items() if not inspect.ismodule(thing)}
    comments = ModuleAnalyzer.for_module(name).find_attr_docs()
    lines = [f".. automodule:: {name}", "   :no-members:", ""]
    if len(shown) > 1:
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {key}" for key, thing in shown.items() if _is_code(thing)] + [""]
    for key, thing in shown.items():
        if inspect.isclass(thing):
            lines += [f".. autoclass:: {name}.{key}", "   :members:", ""]
        elif inspect.isroutine(thing):
            lines += [f".. autofunction:: {name}.{key}", ""]
        else:
            # Not autodata: without a comment of its own a dict would tell what dicts are.
            lines += [f".. py:data:: {key}", ""]
            lines += [f"   {line}" for line in comments.get(("", key), [])] + [""]
    return lines


def _is_code(thing: object) -> bool:
    return inspect.isclass(thing) or inspect.isroutine(thing)


def python_page(name: str | None) -> str:
    """Return the part of a page that documents one module."""
    assert name is not None
    return "\n".join(["```{eval-rst}", *sphinx_lines(name), "```"])
