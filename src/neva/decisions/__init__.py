"""What to do next: rules, cards, models, CDS Hooks, replay.

Modules are loaded when they are first asked for: whoever only reads rules does
not wait for the libraries of models.

>>> import neva
>>> neva.decisions.rules.HOOKS[0]
'patient-view'
"""

from importlib import import_module
from types import ModuleType

__all__ = ["cards", "model_artefact", "model_rules", "replay", "replay_figures", "rules"]

_MODULES = (*__all__, "log_figures", "work_list", "cds_hooks", "conformance")


def __getattr__(name: str) -> ModuleType:
    """Load a module when it is first asked for."""
    if name in _MODULES:
        return import_module(f"neva.decisions.{name}")
    message = f"module 'neva.decisions' has no attribute {name!r}"
    raise AttributeError(message)
