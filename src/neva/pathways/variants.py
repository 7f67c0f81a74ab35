"""Variants: the different sequences of activities, and how many cases took each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neva.compiled import cores
from neva.pathways._kernels import (
    MISSING_TIME,
    case_hashes,
    group_variants,
    in_parallel,
    ranges,
    segment_quantiles,
)

if TYPE_CHECKING:
    from neva.pathways.log import ActivityLog

__all__ = ["Variants", "find_variants"]


@dataclass(frozen=True, eq=False)
class Variants:
    """The variants of a log, most frequent first (ties: the first case's order).

    Attributes
    ----------
    count : ndarray of int64, shape (variants,)
        Cases per variant.
    median_seconds : ndarray of float64, shape (variants,)
        Median throughput time of its cases; NaN where no case has times.
    variant_of_case : ndarray of int32, shape (cases,)
        Index into `count`, in the order of ``log.cases``.
    representative : ndarray of int64, shape (variants,)
        The first case of each variant, as an index into ``log.cases``.
    log : ActivityLog
        The log that they are variants of.
    """

    count: NDArray[np.int64]
    median_seconds: NDArray[np.float64]
    variant_of_case: NDArray[np.int32]
    representative: NDArray[np.int64]
    log: ActivityLog = field(repr=False)

    def __len__(self) -> int:
        return len(self.count)

    @cached_property
    def share(self) -> NDArray[np.float64]:
        """Share of cases per variant, 0–1."""
        return self.count / max(self.log.case_count, 1)

    def pathway(self, variant: int) -> tuple[str, ...]:
        """Return the activities of a variant (0 is the most frequent) in order."""
        case = self.representative[variant]
        begin, end = self.log.offsets[case], self.log.offsets[case + 1]
        return tuple(self.log.labels[number] for number in self.log.activity[begin:end])

    def to_frame(self, top: int | None = None) -> pl.DataFrame:
        """Return the variants as rows.

        Parameters
        ----------
        top : int, optional
            Only so many of the most frequent.

        Returns
        -------
        polars.DataFrame
            ``variant`` (int64 from 1), ``count``, ``share`` and
            ``cumulative_share`` (0–1 of all cases), ``median_seconds``,
            ``length`` (events), ``pathway`` (list of text).
        """
        chosen = self.representative[:top]
        log = self.log
        begins, lengths = log.offsets[chosen], log.lengths[chosen]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        events = np.repeat(begins, lengths) + inside
        pathways = (
            pl.DataFrame(
                {
                    "variant": np.repeat(np.arange(len(chosen)), lengths),
                    "pathway": pl.Series(log.labels, dtype=pl.String).gather(log.activity[events]),
                }
            )
            .group_by("variant", maintain_order=True)
            .agg("pathway")
        )
        return pl.DataFrame(
            {
                "variant": np.arange(1, len(chosen) + 1),
                "count": self.count[:top],
                "share": self.share[:top],
                "cumulative_share": np.cumsum(self.count)[:top] / max(log.case_count, 1),
                "median_seconds": pl.Series(self.median_seconds[:top]).fill_nan(None),
                "length": lengths,
                "pathway": pathways["pathway"],
            }
        )

    def to_chart(self, top: int = 20) -> dict[str, Any]:
        """Return a Vega-Lite specification: cases per variant, most frequent first."""
        rows = self.to_frame(top).with_columns(pl.col("pathway").list.join(" → "))
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "data": {"values": rows.to_dicts()},
            "mark": "bar",
            "encoding": {
                "y": {"field": "variant", "type": "ordinal", "title": "variant"},
                "x": {"field": "count", "type": "quantitative", "title": "cases"},
                "tooltip": [{"field": name} for name in ("pathway", "count", "share")],
            },
        }


def find_variants(log: ActivityLog, *, _hash_mask: int | None = None) -> Variants:
    """Group the cases by their sequence of activities.

    Parameters
    ----------
    log : ActivityLog

    Returns
    -------
    Variants

    Notes
    -----
    Cases are looked up by a 64-bit hash of their sequence, and joined only
    when their sequences are equal element by element: the answer is exact
    whatever the hash does (`_hash_mask` weakens it to show this in tests).

    Examples
    --------
    >>> import polars as pl
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1", "1", "2", "2", "3"], "activity": list("ababa"),
    ...     "sequence": [1, 2, 1, 2, 1]}))
    >>> find_variants(log).to_frame().select("count", "share", "pathway").rows()
    [(2, 0.666..., ['a', 'b']), (1, 0.333..., ['a'])]
    """
    cases = log.case_count
    hashes = np.empty(cases, dtype=np.uint64)
    in_parallel(
        lambda _, first, last: case_hashes(log.offsets, log.activity, first, last, hashes),
        ranges(log.offsets),
    )
    if _hash_mask is not None:
        hashes &= np.uint64(_hash_mask)
    count, variant, representative = _group(log, hashes)
    order = np.lexsort((representative, -count))
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    variant = place[variant]
    return Variants(
        count=count[order],
        median_seconds=_medians(log, variant, len(order)),
        variant_of_case=variant,
        representative=representative[order],
        log=log,
    )


def _group(log: ActivityLog, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cases = len(hashes)
    parts = cores() if cases > 20_000 else 1
    # At most half full, so that probing stays short.
    size = 1 << max(int(2 * cases / parts * 1.2).bit_length(), 4)
    if parts > 1:  # a hash may send all cases to one part
        size = max(size, 1 << int(cases).bit_length())
    variant = np.empty(cases, dtype=np.int32)
    representatives = [np.empty(cases, dtype=np.int64) for _ in range(parts)]

    def group(part: int, *_: int) -> int:
        table = np.full(size, -1, dtype=np.int32)
        return int(
            group_variants(
                log.offsets, log.activity, hashes, part, parts, table, variant,
                representatives[part],
            )
        )  # fmt: skip

    found = in_parallel(group, [(part, part + 1) for part in range(parts)])
    if parts > 1:
        owner = ((hashes >> np.uint64(40)) % np.uint64(parts)).astype(np.int64)
        variant += np.concatenate([[0], np.cumsum(found)[:-1]]).astype(np.int32)[owner]
    representative = np.concatenate(
        [part[:number] for part, number in zip(representatives, found, strict=True)]
    )
    return np.bincount(variant, minlength=len(representative)), variant, representative


def _medians(log: ActivityLog, variant: np.ndarray, variants: int) -> np.ndarray:
    """Median of (last known time - first known time) per variant, in seconds."""
    start, end = log.spans
    known = start != MISSING_TIME
    offsets = np.concatenate([[0], np.cumsum(np.bincount(variant[known], minlength=variants))])
    by_variant = np.argsort(variant[known], kind="stable")
    durations = (end - start)[known][by_variant]
    out = np.empty((variants, 1), dtype=np.float64)
    in_parallel(
        lambda _, first, last: segment_quantiles(
            durations, offsets, first, last, np.array([0.5]), out
        ),
        ranges(offsets),
    )
    return out[:, 0] / 1e6
