"""Small counts: which must not be shown, and which other counts would reveal them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FEWEST", "FEWEST_FOR_QUANTILES", "WITHHELD", "Withheld", "is_small", "withheld_parts"]

#: The smallest count, beside none, that is shown to those who see no patients.
FEWEST: Final = 5
#: Order statistics of fewer patients than this are nearly single patients' values.
FEWEST_FOR_QUANTILES: Final = 20
#: Stands where a value is not shown; neither a zero nor a missing one.
WITHHELD: Final = "withheld"


def is_small(count: Any, below: int = FEWEST) -> Any:
    """Say whether counts lie between 1 and `below` - 1; of numbers, arrays and expressions.

    Examples
    --------
    >>> [is_small(count) for count in (0, 1, 4, 5)]
    [False, True, True, False]
    """
    return (count > 0) & (count < below)


@dataclass(frozen=True)
class Withheld:
    """What of a partition is not shown.

    Attributes
    ----------
    parts : ndarray of bool, shape (parts,)
        Not to be shown.
    total : bool
        The sums are not to be shown either: they would give a part away.
    """

    parts: NDArray[np.bool_]
    total: bool


def withheld_parts(counts: ArrayLike, *, below: int = FEWEST) -> Withheld:
    """Choose the parts of a partition that are not shown beside its sums.

    Each small part is withheld. Whoever knows the sum of all parts works out
    the sum of those withheld; so further parts are withheld, the smallest first,
    until that sum allows each withheld part every value from 1 to `below` - 1.

    Parameters
    ----------
    counts : array-like of int, shape (parts,) or (parts, columns)
        Each patient is in one part. Columns count different things of the same
        patients (met, failed, both); their sums are taken as known to all. The
        parts are ordered by the first column.
    below : int
        The smallest count that is shown.

    Returns
    -------
    Withheld

    Notes
    -----
    Complementary suppression of one dimension (Willenborg L, de Waal T. Elements
    of Statistical Disclosure Control. Springer 2001, chapter 6). With ``h`` parts withheld, none
    of them empty, the others hold at least ``h - 1``; a part may then be any
    of 1 to ``sum - (h - 1)``. Partitions that refine each other must not be
    shown beside each other: each is looked at alone here.

    Examples
    --------
    >>> withheld_parts([40, 3, 12, 0]).parts.tolist()
    [False, True, True, False]
    >>> withheld_parts([40, 12, 0]).parts.tolist()
    [False, False, False]
    >>> withheld_parts([3, 0]).total
    True
    """
    table = np.asarray(counts, dtype=np.int64)
    if table.ndim == 1:
        table = table[:, None]
    is_filled = np.asarray((table > 0).any(axis=1))
    withheld: NDArray[np.bool_] = is_small(table, below).any(axis=1)
    smallest_first = np.argsort(table[:, 0], kind="stable")

    def tells_too_much() -> bool:
        many = int(withheld.sum())
        sums = table[withheld].sum(axis=0)
        too_few = (sums > 0) & (sums < many + below - 2)
        return many == 1 or (many > 1 and bool(too_few.any()))

    for part in smallest_first:
        if not tells_too_much():
            break
        withheld[part] |= is_filled[part]
    return Withheld(withheld, tells_too_much() or bool(is_small(table.sum(axis=0), below).any()))
