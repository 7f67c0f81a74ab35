"""The OMOP common data model, 5.3 and 5.4, as rows."""

from importlib import import_module
from typing import Any

__all__ = ["open_omop"]


def __getattr__(name: str) -> Any:
    """Find what the source is opened with; its libraries wait until then."""
    if name in __all__:
        return getattr(import_module("neva.sources.omop.source"), name)
    message = f"module 'neva.sources.omop' has no attribute {name!r}"
    raise AttributeError(message)
