"""FHIR R4: resources, bundles, histories and bulk exports as rows."""

from importlib import import_module
from typing import Any

__all__ = ["open_fhir"]


def __getattr__(name: str) -> Any:
    """Find what the source is opened with; its libraries wait until then."""
    if name in __all__:
        return getattr(import_module("neva.sources.fhir.source"), name)
    message = f"module 'neva.sources.fhir' has no attribute {name!r}"
    raise AttributeError(message)
