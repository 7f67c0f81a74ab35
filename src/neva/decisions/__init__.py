"""What to do next: rules, cards, the work list, replay.

Modules are loaded when they are first asked for: reading rules does not load
what replays them.

>>> import neva
>>> neva.decisions.rules.HOOKS[0]
'patient-view'
"""

from importlib import import_module
from types import ModuleType

__all__ = ["cards", "model_artefact", "model_rules", "replay", "replay_figures", "rules"]

_MODULES = (*__all__, "log_figures", "work_list")
#: Names that stood here and live elsewhere now.
_MOVED = {
    "model_artefact": "neva.models.artefact",
    "model_rules": "neva.models.rules",
    "cds_hooks": "neva.cds.hooks",
    "conformance": "neva.cds.conformance.verify",
}


def __getattr__(name: str) -> ModuleType:
    """Load a module when it is first asked for."""
    if name in _MODULES or name in _MOVED:
        return import_module(_MOVED.get(name, f"neva.decisions.{name}"))
    message = f"module 'neva.decisions' has no attribute {name!r}"
    raise AttributeError(message)
