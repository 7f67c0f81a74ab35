"""Functions compiled by numba, with the results that they were written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

Result = TypeVar("Result")


def compiled(**options: Any) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Compile a function when it is first called; options as of ``numba.njit``.

    Parameters are not checked by types: kernels are called with unpacked arrays.
    """
    return cast("Callable[[Callable[..., Result]], Callable[..., Result]]", numba.njit(**options))
