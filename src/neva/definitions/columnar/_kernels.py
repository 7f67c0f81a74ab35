"""Kernels of the columnar engine: for each point the rows of one frame, scanned where they lie."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from neva.compiled import compiled

FIRST: Final = 0
LAST: Final = 1
NTH: Final = 2
HIGHEST: Final = 3
LOWEST: Final = 4

EXISTS: Final = 0
COUNT: Final = 1
SUM: Final = 2
MEAN: Final = 3
MINIMUM: Final = 4
MAXIMUM: Final = 5
SLOPE: Final = 6
HOURS: Final = 7

#: Stands for "no end": later than any time.
OPEN: Final = 2**62
_HOUR: Final = 3_600_000_000


@compiled(cache=True, nogil=True, inline="always")
def _below(time: Any, start: int, end: int, limit: int) -> int:
    """Return the first of the rows [start, end) whose time is not before a limit."""
    while start < end:
        middle = (start + end) // 2
        if time[middle] < limit:
            start = middle + 1
        else:
            end = middle
    return start


@compiled(cache=True, nogil=True, inline="always")
def _row_is_taken(
    r: int,
    low: int,
    now: int,
    known: int,
    stay: int,
    rows: Any,
    of_stay: bool,
    overlapping: bool,
    is_event: bool,
) -> bool:
    time, end, recorded, until, row_stay, planned = rows
    if recorded[r] > known or until[r] <= known:
        return False
    if time[r] > now and not planned[r]:
        return False
    if of_stay and (row_stay[r] != stay or stay < 0):
        return False
    if time[r] >= low:
        return True
    if not overlapping or low > now:
        return False
    if end[r] == OPEN:
        return not is_event
    return bool(end[r] > low)


@compiled(cache=True, nogil=True)
def pick(
    which: int,
    n: int,
    first_row: Any,
    end_row: Any,
    lows: Any,
    highs: Any,
    unknown: Any,
    nows: Any,
    knowns: Any,
    stays: Any,
    rows: Any,
    of_stay: bool,
    overlapping: bool,
    is_event: bool,
    values: Any,
    out: Any,
) -> None:
    """Write for each point the number of the row that is picked, or -1."""
    time = rows[0]
    for p in range(len(out)):
        out[p] = -1
        low, high = lows[p], highs[p]
        if unknown[p] or low > high:
            continue
        start, end = first_row[p], end_row[p]
        stop = _below(time, start, end, high + 1)
        begin = start if overlapping else _below(time, start, stop, low)
        now, known, stay = nows[p], knowns[p], stays[p]
        if which == LAST or (which == NTH and n < 0):
            left = 1 if which == LAST else -n
            for r in range(stop - 1, begin - 1, -1):
                if _row_is_taken(r, low, now, known, stay, rows, of_stay, overlapping, is_event):
                    left -= 1
                    if left == 0:
                        out[p] = r
                        break
        elif which == FIRST or which == NTH:  # noqa: PLR1714, SIM109
            left = 1 if which == FIRST else n
            for r in range(begin, stop):
                if _row_is_taken(r, low, now, known, stay, rows, of_stay, overlapping, is_event):
                    left -= 1
                    if left == 0:
                        out[p] = r
                        break
        else:
            best = -1
            for r in range(begin, stop):
                if np.isnan(values[r]):
                    continue
                if not _row_is_taken(
                    r, low, now, known, stay, rows, of_stay, overlapping, is_event
                ):
                    continue
                if (
                    best < 0
                    or (which == HIGHEST and values[r] > values[best])
                    or (which == LOWEST and values[r] < values[best])
                ):
                    best = r
            out[p] = best


@compiled(cache=True, nogil=True)
def aggregate(
    how: int,
    first_row: Any,
    end_row: Any,
    lows: Any,
    highs: Any,
    unknown: Any,
    nows: Any,
    knowns: Any,
    stays: Any,
    rows: Any,
    of_stay: bool,
    overlapping: bool,
    is_event: bool,
    values: Any,
    out: Any,
) -> None:
    """Write for each point one number over the rows; not a number is unknown."""
    time, ends = rows[0], rows[1]
    for p in range(len(out)):
        out[p] = np.nan
        if unknown[p]:
            continue
        low, high = lows[p], highs[p]
        start, end = first_row[p], end_row[p]
        stop = _below(time, start, end, high + 1)
        begin = start if overlapping else _below(time, start, stop, low)
        now, known, stay = nows[p], knowns[p], stays[p]
        if low > high:
            begin = stop
        count = 0
        total = 0.0
        spread = 0.0  # what is lost in adding up (Neumaier)
        least, most = np.inf, -np.inf
        times = 0.0
        first_time = 0
        several = False
        covered = 0
        until = -OPEN
        limit = min(high, now)
        for r in range(begin, stop):
            if not _row_is_taken(r, low, now, known, stay, rows, of_stay, overlapping, is_event):
                continue
            if how == EXISTS:
                count = 1
                break
            if how == COUNT:
                count += 1
                continue
            if how == HOURS:
                last = ends[r]
                if last == OPEN:
                    last = time[r] if is_event else max(time[r], now)
                else:
                    last = max(time[r], min(last, now))
                since = max(time[r], low)
                last = min(last, limit)
                if last > max(since, until):
                    covered += last - max(since, until)
                    until = last
                continue
            value = values[r]
            if np.isnan(value):
                continue
            if count == 0:
                first_time = time[r]
            elif time[r] != first_time:
                several = True
            count += 1
            added = total + value
            if abs(total) >= abs(value):
                spread += (total - added) + value
            else:
                spread += (value - added) + total
            total = added
            times += (time[r] - now) / _HOUR
            least, most = min(least, value), max(most, value)
        if how == EXISTS or how == COUNT:  # noqa: PLR1714, SIM109
            out[p] = count
        elif how == HOURS:
            out[p] = covered / _HOUR
        elif how == SUM:
            out[p] = total + spread
        elif count == 0:
            continue
        elif how == MEAN:
            out[p] = (total + spread) / count
        elif how == MINIMUM:
            out[p] = least
        elif how == MAXIMUM:
            out[p] = most
        elif several:
            mean, middle = (total + spread) / count, times / count
            over, under = 0.0, 0.0
            for r in range(begin, stop):
                if np.isnan(values[r]):
                    continue
                if _row_is_taken(r, low, now, known, stay, rows, of_stay, overlapping, is_event):
                    away = (time[r] - now) / _HOUR - middle
                    over += away * (values[r] - mean)
                    under += away * away
            out[p] = over / under
