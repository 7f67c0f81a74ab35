"""How the parts of the simulation are compiled.

The loop holds its arrays in two named tuples, which numba passes by value: a
part that is not inlined copies all of them on every call, and counting
references to them (``_nrt``) costs more than the simulation itself. No part
makes an array, so nothing has to be counted.
"""

from __future__ import annotations

from typing import Any, Final

import numba as nb

__all__ = ["leaf", "part"]

#: A part of the loop; compiled with it.
part: Final[Any] = nb.njit(nogil=True, _nrt=False, forceinline=True)

#: A part that depends on no other file, and is also called from Python.
leaf: Final[Any] = nb.njit(nogil=True, _nrt=False, forceinline=True, cache=True)
