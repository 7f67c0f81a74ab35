"""Functions compiled by numba, with the results that they were written with."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled", "cores"]

Result = TypeVar("Result")


def compiled(**options: Any) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Compile a function when it is first called; options as of ``numba.njit``.

    Parameters are not checked by types: kernels are called with unpacked arrays.
    """
    return cast("Callable[[Callable[..., Result]], Callable[..., Result]]", numba.njit(**options))


def cores() -> int:
    """Return how many processors this process may use: threads beyond them only wait."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
