"""The activity log: every case's activities in order, as integers.

All maps, variants, timings and filters are kernels over this one object. It
is sorted and encoded once (:mod:`neva.pathways.encoding`), kept on disk, and
afterwards read where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neva.errors import UsageError
from neva.pathways._kernels import MISSING_TIME, case_spans, in_parallel, ranges

__all__ = ["MISSING_TIME", "NO_UNIT", "ActivityLog"]

#: A whole case is left out, however many events it has: an imported log may have no units.
NO_UNIT: Final = "stays of which no unit is recorded"

#: The columns of ``ActivityLog.cases`` that every log has.
CASE_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "case_id": pl.String,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "outcome": pl.String,
    "units": pl.List(pl.String),
}


def frozen(array: np.ndarray) -> np.ndarray:
    """Return a contiguous array that cannot be written to."""
    array = np.ascontiguousarray(array)
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class ActivityLog:
    """Cases and their activities in time order, integer-encoded.

    Attributes
    ----------
    offsets : ndarray of int64, shape (cases + 1,)
        The events of case ``i`` are ``offsets[i]:offsets[i + 1]``.
    activity : ndarray of int16 or int32, shape (events,)
        Index into `labels`.
    time : ndarray of int64, shape (events,)
        Microseconds since 1970-01-01 UTC; :data:`MISSING_TIME` where the
        time is not known. Within a case never descending; unknown times first.
    labels : tuple of str
        The activities' names.
    cases : polars.DataFrame
        One row per case, in the order of `offsets`: ``case_id`` (text),
        ``subject_id``, ``stay_id`` (int64, may be missing), ``outcome``
        (text, may be missing), ``units`` (list of text: the units that the
        case touched).
    case_kind : {"stay", "subject", "given"}
        What a case is.
    event : ndarray of int64 or None, shape (events,)
        The event's id in the hospital, 0 for an activity that is not an event
        (entering a unit, an outcome): the way from a number back to rows.
    end : ndarray of int64 or None, shape (events,)
        When the activity ended, in microseconds; :data:`MISSING_TIME` where
        that is not known or it goes on. None where no activity has an end.
    left_out : mapping of str to int
        How many events are not in the log, by reason; of a map of units also
        how many stays.
    ties : int
        Events whose (time, sequence) another activity of the same case shares:
        their order rests on the fallback (code, value, event id), not on the
        source.
    hospital, activities, zone : str
        Identity of the hospital's version, hash of the activity file, and the
        hospital's time zone.
    provenance : tuple of str
        The filters that made this log, in words, first applied first.

    Notes
    -----
    Arrays are read-only. Filters return new logs.
    """

    offsets: NDArray[np.int64]
    activity: NDArray[Any]
    time: NDArray[np.int64]
    labels: tuple[str, ...]
    cases: pl.DataFrame
    case_kind: Literal["stay", "subject", "given"] = "given"
    event: NDArray[np.int64] | None = None
    end: NDArray[np.int64] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    ties: int = 0
    hospital: str = ""
    activities: str = ""
    zone: str = "UTC"
    provenance: tuple[str, ...] = ()

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return len(self.offsets) - 1

    @property
    def event_count(self) -> int:
        """Number of events."""
        return len(self.activity)

    @property
    def order_rests_on_fallback(self) -> bool:
        """Whether the order of some events is ours and not the source's."""
        return self.ties > 0

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Events per case, shape (cases,)."""
        return frozen(np.diff(self.offsets))

    @cached_property
    def spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last known time of every case, :data:`MISSING_TIME` where none is."""
        start = np.empty(self.case_count, dtype=np.int64)
        end = np.empty(self.case_count, dtype=np.int64)
        in_parallel(
            lambda _, first, last: case_spans(self.offsets, self.time, first, last, start, end),
            ranges(self.offsets),
        )
        return frozen(start), frozen(end)

    def select(self, keep: np.ndarray, words: str) -> ActivityLog:
        """Return a log of some of the cases.

        Parameters
        ----------
        keep : ndarray of bool, shape (cases,)
        words : str
            What the selection is, for `provenance`.
        """
        events = np.repeat(keep, self.lengths)
        return replace(
            self,
            offsets=frozen(np.concatenate([[0], np.cumsum(self.lengths[keep])]).astype(np.int64)),
            activity=frozen(self.activity[events]),
            time=frozen(self.time[events]),
            event=None if self.event is None else frozen(self.event[events]),
            end=None if self.end is None else frozen(self.end[events]),
            cases=self.cases.filter(pl.Series(keep)),
            provenance=(*self.provenance, words),
        )

    def project(self, keep: np.ndarray, words: str) -> ActivityLog:
        """Return a log of some of the activities; cases left without events go.

        Parameters
        ----------
        keep : ndarray of bool, shape (activities,)
        words : str
            What the selection is, for `provenance`.
        """
        events = keep[self.activity]
        running = np.concatenate([[0], np.cumsum(events)])
        offsets = running[self.offsets]
        filled = np.diff(offsets) > 0
        number = np.cumsum(keep) - 1
        return replace(
            self,
            offsets=frozen(np.concatenate([[0], offsets[1:][filled]]).astype(np.int64)),
            activity=frozen(number[self.activity[events]].astype(self.activity.dtype)),
            time=frozen(self.time[events]),
            labels=tuple(label for label, kept in zip(self.labels, keep, strict=True) if kept),
            event=None if self.event is None else frozen(self.event[events]),
            end=None if self.end is None else frozen(self.end[events]),
            cases=self.cases.filter(pl.Series(filled)),
            provenance=(*self.provenance, words),
        )

    def index(self, label: str) -> int:
        """Return the number of an activity.

        Raises
        ------
        UsageError
            There is no such activity.
        """
        try:
            return self.labels.index(label)
        except ValueError:
            import difflib

            near = difflib.get_close_matches(label, self.labels, n=3, cutoff=0.4)
            hint = (
                f"did you mean {', '.join(near)}?"
                if near
                else f"this log has {', '.join(self.labels[:12])}"
            )
            raise UsageError(
                f"no activity {label!r} among the {len(self.labels)} of this log; {hint}"
            ) from None

    def to_frame(self) -> pl.DataFrame:
        """Return the log as rows.

        Returns
        -------
        polars.DataFrame
            ``case_id``, ``activity`` (text), ``time`` (UTC), ``position`` (int64,
            from 0 in the case), ``event_id`` (missing without links).
        """
        position = np.arange(self.event_count) - np.repeat(self.offsets[:-1], self.lengths)
        case = np.repeat(np.arange(self.case_count), self.lengths)
        event = np.zeros(self.event_count, np.int64) if self.event is None else self.event
        return pl.DataFrame(
            {
                "case_id": self.cases["case_id"].gather(case),
                "activity": pl.Series(self.labels, dtype=pl.String).gather(self.activity),
                "time": times_as_series(self.time),
                "position": position,
                "event_id": pl.Series(event).replace(0, None),
            }
        )


def times_as_series(time: np.ndarray, name: str = "time") -> pl.Series:
    """Turn encoded times into a UTC series with nulls."""
    frame = pl.DataFrame({name: np.asarray(time)})
    kept = pl.when(pl.col(name) != MISSING_TIME).then(pl.col(name))
    return frame.select(kept.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(name))[name]
