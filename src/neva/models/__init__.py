"""Trained models: declared, trained, evaluated, saved as folders, used behind a rule's interface.

A family (:mod:`neva.models.families`) makes a plan; :mod:`neva.models.runs` trains and
judges it; :mod:`neva.models.artefact` keeps and opens it; :mod:`neva.models.rules` puts it
behind a rule. Modules are loaded when they are first asked for: libraries of models are heavy.

>>> import neva.models
>>> neva.models.artefact.NAME
'model.json'
"""

from importlib import import_module
from types import ModuleType

__all__ = ["artefact", "card", "evaluation", "families", "report", "rules", "runs", "training"]


def __getattr__(name: str) -> ModuleType:
    """Load a module when it is first asked for."""
    if name in __all__:
        return import_module(f"neva.models.{name}")
    message = f"module 'neva.models' has no attribute {name!r}"
    raise AttributeError(message)
