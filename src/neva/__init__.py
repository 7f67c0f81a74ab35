"""Neva: what a hospital already records, turned into decisions.

>>> import neva
>>> hospital = neva.open("build/demo/hospital")  # doctest: +SKIP
>>> log = neva.pathways.activity_log(hospital.snapshot())  # doctest: +SKIP
"""

from importlib import import_module
from types import ModuleType

from neva.events.hospital import open_hospital as open  # noqa: A004

__all__ = ["census", "decisions", "flow", "open", "pathways", "quality", "reports"]

_SUBJECTS = ("census", "decisions", "flow", "pathways", "quality", "reports")


def __getattr__(name: str) -> ModuleType:
    """Load a subject when it is first asked for: ``neva.pathways`` and the like."""
    if name in _SUBJECTS:
        return import_module(f"neva.{name}")
    message = f"module 'neva' has no attribute {name!r}"
    raise AttributeError(message)
