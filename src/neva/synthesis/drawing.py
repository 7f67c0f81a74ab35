"""Seeded random numbers by name, and times as numbers.

Times inside the generator are int64 microseconds since 1970 UTC; a time that
does not exist is :data:`NEVER`.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events.schema import TIME

__all__ = [
    "DAY",
    "HOUR",
    "MICROSECOND",
    "MINUTE",
    "NEVER",
    "SECOND",
    "Times",
    "as_time",
    "choose",
    "generator",
    "hours",
    "local_ticks",
]

Times = npt.NDArray[np.int64]

MICROSECOND: Final = 1
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
#: Marks a time that does not exist. Real times of a hospital are positive.
NEVER: Final = -1


def generator(seed: int, name: str, block: int = 0) -> np.random.Generator:
    """Return the generator of one part of the hospital.

    Each part draws from a stream of its own: what one part draws does not
    move what another one gets.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), block])


def hours(count: Any) -> Times:
    """Turn hours into microseconds, at whole seconds."""
    return np.round(np.asarray(count, dtype=float) * 3600).astype(np.int64) * SECOND


def as_time(ticks: Times) -> pl.Series:
    """Return a column of times; :data:`NEVER` becomes missing."""
    column = pl.Series(ticks).cast(TIME)
    absent = ticks < 0
    if absent.any():
        column = pl.select(pl.when(pl.Series(~absent)).then(column)).to_series()
    return column


def local_ticks(ticks: Times, zone: str) -> Times:
    """Return what the hospital's clock shows, as microseconds since 1970 of that clock."""
    shown = pl.Series(ticks).cast(TIME).dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return shown.cast(pl.Int64).to_numpy()


def choose(rng: np.random.Generator, shares: Any, size: int) -> npt.NDArray[np.int64]:
    """Draw numbers of classes by their shares (which are scaled to sum to one)."""
    edges = np.cumsum(np.asarray(shares, dtype=float))
    return np.searchsorted(edges / edges[-1], rng.random(size), side="right").astype(np.int64)
