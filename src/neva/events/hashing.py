"""Stable 64-bit hashes of columns: the identity of events.

An event's id must be the same next year, on another machine and under another
version of any library, so the hash is a published one, XXH64 (Y. Collet,
xxHash specification 0.1.1), over stated bytes, and not the hash that a
dataframe library happens to have today.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events.schema import ATTRIBUTES

__all__ = ["hash_rows", "hash_text", "to_id"]

type_u64 = npt.NDArray[np.uint64]

_P1: Final = np.uint64(11400714785074694791)
_P2: Final = np.uint64(14029467366897019727)
_P3: Final = np.uint64(1609587929392839161)
_P4: Final = np.uint64(9650029242287828579)
_P5: Final = np.uint64(2870177450012600261)
#: Hash of a missing value; no text hashes to a constant by design, so a text
#: that collides with it is as unlikely as any other collision.
_MISSING: Final = np.uint64(0x9E3779B97F4A7C15)


@nb.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _rotate(x: Any, r: Any) -> Any:
    return (x << np.uint64(r)) | (x >> np.uint64(64 - r))


@nb.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _round(acc: Any, lane: Any) -> Any:
    return _rotate(acc + lane * _P2, 31) * _P1


@nb.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _avalanche(h: Any) -> Any:
    h ^= h >> np.uint64(33)
    h *= _P2
    h ^= h >> np.uint64(29)
    h *= _P3
    return h ^ (h >> np.uint64(32))


@nb.njit(cache=True)  # type: ignore[untyped-decorator]
def _lane(data: Any, at: int, width: int) -> Any:
    lane = np.uint64(0)
    for k in range(width):
        lane |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return lane


@nb.njit(cache=True)  # type: ignore[untyped-decorator]
def _xxh64(data: Any, start: int, end: int) -> Any:
    length = end - start
    at = start
    if length >= 32:
        v1, v2, v3, v4 = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= end:
            v1 = _round(v1, _lane(data, at, 8))
            v2 = _round(v2, _lane(data, at + 8, 8))
            v3 = _round(v3, _lane(data, at + 16, 8))
            v4 = _round(v4, _lane(data, at + 24, 8))
            at += 32
        h = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        for v in (v1, v2, v3, v4):
            h = (h ^ _round(np.uint64(0), v)) * _P1 + _P4
    else:
        h = _P5
    h += np.uint64(length)
    while at + 8 <= end:
        h = _rotate(h ^ _round(np.uint64(0), _lane(data, at, 8)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= end:
        h = _rotate(h ^ (_lane(data, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        h = _rotate(h ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    return _avalanche(h)


@nb.njit(cache=True)  # type: ignore[untyped-decorator]
def _hash_texts(data: Any, offsets: Any, out: Any) -> None:
    for i in range(len(out)):
        out[i] = _xxh64(data, offsets[i], offsets[i + 1])


@nb.njit(cache=True)  # type: ignore[untyped-decorator]
def _mix(state: Any, column: Any) -> None:
    for i in range(len(state)):
        state[i] = _avalanche(_rotate(state[i], 27) * _P1 + column[i] * _P2 + _P4)


def hash_text(texts: pl.Series) -> type_u64:
    """Hash each text of a series with XXH64, seed 0, over its UTF-8 bytes.

    Parameters
    ----------
    texts : polars.Series
        Dtype String; missing values get a fixed hash of their own.

    Returns
    -------
    numpy.ndarray of uint64, shape (n,)

    Examples
    --------
    >>> import polars as pl
    >>> [hex(h) for h in hash_text(pl.Series(["", "abc"])).tolist()]
    ['0xef46db3751d8e999', '0x44bc2cf5ad770999']
    """
    out = np.empty(len(texts), dtype=np.uint64)
    if not len(texts):
        return out
    array = texts.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    content = (
        np.frombuffer(data, dtype=np.uint8) if data and data.size else np.zeros(1, dtype=np.uint8)
    )
    _hash_texts(content, starts, out)
    if texts.null_count():
        out[texts.is_null().to_numpy()] = _MISSING
    return out


def _framed(text: pl.Expr) -> pl.Expr:
    """Put a text's length before it, so that texts in a row cannot be cut in two ways."""
    framed = pl.concat_str(text.str.len_bytes().cast(pl.String), pl.lit(":"), text)
    return framed.fill_null("-")


def _bits(column: pl.Series) -> type_u64:
    """Give each value of a column 64 bits that stand for it, whatever its type."""
    if column.null_count() == len(column):
        return np.full(len(column), _MISSING, dtype=np.uint64)
    dtype = column.dtype
    if dtype == ATTRIBUTES:
        entries = column.list.eval(
            pl.concat_str(
                _framed(pl.element().struct.field("key")),
                _framed(pl.element().struct.field("value")),
            )
        )
        return hash_text(entries.list.sort().list.join(""))
    if dtype == pl.List(pl.String):
        return hash_text(column.list.eval(_framed(pl.element())).list.join(""))
    if dtype == pl.String:
        return hash_text(column)
    if dtype == pl.Float64:
        # -0.0 and 0.0 are the same number.
        bits = (column.fill_null(0.0).to_numpy() + 0.0).view(np.uint64)
    else:
        bits = np.ascontiguousarray(
            column.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
        ).view(np.uint64)
        bits = bits.copy()
    if column.null_count():
        bits[column.is_null().to_numpy()] = _MISSING
    return bits


def hash_rows(frame: pl.DataFrame, columns: Iterable[str], *, seed: str = "") -> type_u64:
    """Hash the named columns of every row into 64 bits.

    Parameters
    ----------
    frame : polars.DataFrame
        Any columns of the store's types.
    columns : iterable of str
        Which columns and in which order; the order matters.
    seed : str
        Text that separates one use of the hash from another.

    Returns
    -------
    numpy.ndarray of uint64, shape (frame.height,)
        Equal rows have equal hashes. Attributes are compared as a map: their
        order does not matter.
    """
    state = np.full(frame.height, hash_text(pl.Series([seed]))[0], dtype=np.uint64)
    for name in columns:
        _mix(state, _bits(frame[name]))
    return state


def to_id(hashes: type_u64) -> pl.Series:
    """Turn hashes into ids: int64, never negative (the top bit is dropped)."""
    return pl.Series((hashes >> np.uint64(1)).astype(np.int64))
