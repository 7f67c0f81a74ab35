"""Rows on their way into the store, kept in ranges of subjects, on disk when many.

Pseudonyms are spread evenly, so sixteen equal ranges hold about equally many
rows; each range is later sorted and written by itself, and the ranges one
after the other make a table that is sorted by subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Stage", "range_of"]

RANGES = 16


def range_of(frame: pl.DataFrame) -> npt.NDArray[np.int8]:
    """Number the range of subjects that each row is in, 0 to 15."""
    return (frame["subject_id"].to_numpy() >> (63 - 4)).astype(np.int8)


class Stage:
    """Collects frames with a ``subject_id`` and gives them back by range.

    Parameters
    ----------
    folder : Path
        Where rows go when they become many; emptied by the caller.
    spill_above : int
        So many rows stay in memory.
    """

    def __init__(self, folder: Path, *, spill_above: int = 600_000) -> None:
        self._folder = folder
        self._spill_above = spill_above
        self._schema: dict[str, pl.DataType] = {}
        self._held: list[pl.DataFrame] = []
        self._rows_held = 0
        self._spills: list[tuple[Path, list[int]]] = []
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Add a frame; all frames have the same columns."""
        if not frame.height:
            return
        self._schema = self._schema or dict(frame.schema)
        # Most columns of most sources are empty; they are not carried along.
        self._held.append(
            frame.select(column for column in frame if column.null_count() < frame.height)
        )
        self._rows_held += frame.height
        self.rows += frame.height
        if self._rows_held > self._spill_above:
            self._spill()

    def _by_range(self) -> tuple[pl.DataFrame, list[int]]:
        frame = pl.concat(self._held, how="diagonal")
        number = range_of(frame)
        order = np.argsort(number, kind="stable")
        starts = np.searchsorted(number[order], np.arange(RANGES + 1)).tolist()
        return frame[order], starts

    def _spill(self) -> None:
        frame, starts = self._by_range()
        path = self._folder / f"stage-{len(self._spills):05d}.arrow"
        for number in range(RANGES):
            # One small file a range: a range is read without the others.
            part = frame[starts[number] : starts[number + 1]]
            part.write_ipc(path.with_suffix(f".{number}.arrow"), compression="lz4")
        self._spills.append((path, starts))
        self._held, self._rows_held = [], 0

    def _whole(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """Join parts and give them back the columns that were empty."""
        frame = pl.concat(parts, how="diagonal")
        return frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self._schema.items()
        )

    def ranges(self) -> Iterator[pl.DataFrame]:
        """Yield one frame for each range of subjects, in order of arrival within it."""
        if not self._spills:
            if self._held:
                frame, starts = self._by_range()
                self._held = []
                for number in range(RANGES):
                    if starts[number + 1] > starts[number]:
                        yield self._whole([frame[starts[number] : starts[number + 1]]])
            return
        if self._held:
            self._spill()
        for number in range(RANGES):
            parts = [
                pl.read_ipc(path.with_suffix(f".{number}.arrow"))
                for path, starts in self._spills
                if starts[number + 1] > starts[number]
            ]
            if parts:
                yield self._whole(parts)
