"""The installed programmes, made once: building their definitions takes a quarter of a second."""

from __future__ import annotations

from functools import lru_cache

from neva.definitions.programme import Programme, load_programme, programme_names

__all__ = ["installed", "with_measures"]


@lru_cache(maxsize=1)
def installed() -> dict[str, Programme]:
    """Return the installed programmes by name."""
    return {name: load_programme(name) for name in programme_names()}


def with_measures() -> list[str]:
    """Return the names of programmes that have measures."""
    return [name for name, programme in installed().items() if programme.measures]
