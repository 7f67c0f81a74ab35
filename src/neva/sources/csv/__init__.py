"""Tables of any hospital: CSV, Excel and Parquet, through a mapping."""

from importlib import import_module
from typing import Any

__all__ = ["open_csv"]


def __getattr__(name: str) -> Any:
    """Find what the source is opened with; its libraries wait until then."""
    if name in __all__:
        return getattr(import_module("neva.sources.csv.source"), name)
    message = f"module 'neva.sources.csv' has no attribute {name!r}"
    raise AttributeError(message)
