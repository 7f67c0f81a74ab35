"""Arithmetic of the columnar engine: each part of a definition as two arrays.

A column is its values and which of them are known; what is not known has any
value. Texts are numbers of a list of texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.definitions import model as m
from neva.definitions.local_time import DAY, HOUR, LocalClock
from neva.definitions.reference.engine import MOST_DAYS, MOST_HOURS
from neva.events.measurement_units import converted

DTYPES: Final = {
    "boolean": np.dtype(np.bool_),
    "number": np.dtype(np.float64),
    "time": np.dtype(np.int64),
    "text": np.dtype(np.int64),
}

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Column:
    values: npt.NDArray[Any]
    known: Bools


@dataclass
class Texts:
    """Texts and their numbers."""

    words: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, word: str) -> int:
        if word not in self.numbers:
            self.numbers[word] = len(self.words)
            self.words.append(word)
        return self.numbers[word]


class Clock:
    """The hospital's calendar on arrays of microseconds."""

    def __init__(self, clock: LocalClock) -> None:
        self.at = np.array([at for at, _ in clock.changes], dtype=np.int64)
        self.offsets = np.array(
            [clock.first_offset, *(offset for _, offset in clock.changes)], dtype=np.int64
        )
        self.local_at = np.array([at for at, _ in clock.changes_by_local_time], dtype=np.int64)

    def local(self, time: Any) -> Any:
        return time + self.offsets[np.searchsorted(self.at, time, side="right")]

    def utc(self, reading: Any) -> Any:
        return reading - self.offsets[np.searchsorted(self.local_at, reading, side="right")]

    def day(self, time: Any) -> Any:
        """Days since 1970 of the local date."""
        return self.local(time) // DAY

    def date(self, time: Any) -> tuple[Any, Any, Any]:
        return civil(self.day(time))


def civil(days: Any) -> tuple[Any, Any, Any]:
    """Year, month and day of days since 1970."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    year = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    month = months.astype(np.int64) % 12 + 1
    day = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
    return year, month, day


def finite(values: Any, known: Bools) -> Column:
    fine = np.isfinite(values)
    return Column(values, known if fine.all() else known & fine)


_COMPARE: Final = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


def _all_known(parts: list[Column]) -> Bools:
    known = parts[0].known
    for part in parts[1:]:
        known = known & part.known
    return known


def _kleene(parts: list[Column], *, wins: bool) -> Column:
    """Combine by "all" (false wins) or "any" (true wins)."""
    decided = np.zeros(len(parts[0].values), dtype=bool)
    for part in parts:
        decided |= part.known & (part.values == wins)
    return Column(np.where(decided, wins, not wins), decided | _all_known(parts))


def _case(parts: list[Column]) -> Column:
    *branches, otherwise = parts
    whens, thens = branches[0::2], branches[1::2]
    values, known = otherwise.values.copy(), otherwise.known.copy()
    for when, then in zip(reversed(whens), reversed(thens), strict=True):
        chosen = when.known & when.values
        values = np.where(chosen, then.values, values)
        known = when.known & np.where(chosen, then.known, known)
    return Column(values, known)


def _extreme(which: str, parts: list[Column]) -> Column:
    values, known = parts[0].values.copy(), parts[0].known.copy()
    better = np.less if which == "least" else np.greater
    for part in parts[1:]:
        chosen = part.known & (~known | better(part.values, values))
        values = np.where(chosen, part.values, values)
        known = known | part.known
    return Column(values, known)


def _first_known(parts: list[Column]) -> Column:
    values, known = parts[0].values, parts[0].known
    for part in parts[1:]:
        values = np.where(known, values, part.values)
        known = known | part.known
    return Column(values, known)


def _shift(node: m.Shift, time: Any, amount: Any, known: Bools, clock: Clock) -> Column:
    most = MOST_HOURS if node.unit == "hours" else MOST_DAYS
    fine = known & (np.abs(amount) <= most)
    amount = np.where(fine, amount, 0.0)
    if node.unit == "hours":
        return Column(time + np.floor(amount * HOUR + 0.5).astype(np.int64), fine)
    whole = np.floor(amount + 0.5).astype(np.int64)
    # What is unknown may be any number: kept near, so that nothing overflows.
    local = clock.local(np.where(fine, time, 0)) + whole * DAY
    return Column(clock.utc(local), fine)


def _function(name: str, of: Any, known: Bools) -> Column:
    if name == "negate":
        return Column(-of, known)
    if name == "absolute":
        return Column(np.abs(of), known)
    if name == "floor":
        return Column(np.floor(of), known)
    if name == "logarithm":
        fine = known & (of > 0)
        return Column(np.log(np.where(fine, of, 1.0)), fine)
    return finite(np.exp(of), known)


def _arithmetic(operation: str, left: Any, right: Any, known: Bools) -> Column:
    if operation == "add":
        return finite(left + right, known)
    if operation == "subtract":
        return finite(left - right, known)
    if operation == "multiply":
        return finite(left * right, known)
    fine = known & (right != 0)
    return finite(left / np.where(right != 0, right, 1.0), fine)


def _clock_part(part: str, time: Any, clock: Clock) -> Any:
    local = clock.local(time)
    if part == "hour":
        return (local // HOUR % 24).astype(np.float64)
    days = local // DAY
    if part == "weekday":
        return ((days + 3) % 7 + 1).astype(np.float64)
    year, month, _ = civil(days)
    return (month if part == "month" else year).astype(np.float64)


def _converted(values: npt.NDArray[Any], factor: float, offset: float) -> npt.NDArray[Any]:
    read = converted(pl.col("value"), pl.lit(factor), pl.lit(offset))
    return pl.select(value=pl.Series(values)).select(read).to_series().to_numpy()


def combine(node: Any, parts: list[Column], clock: Clock, texts: Texts) -> Column:
    """Evaluate a node from the columns of its parts."""
    with np.errstate(all="ignore"):
        return _combined(node, parts, clock, texts)


def _combined(node: Any, parts: list[Column], clock: Clock, texts: Texts) -> Column:
    match node:
        case m.AllOf():
            return _kleene(parts, wins=False)
        case m.AnyOf():
            return _kleene(parts, wins=True)
        case m.Case():
            return _case(parts)
        case m.IsMissing():
            return Column(~parts[0].known, np.ones(len(parts[0].values), dtype=bool))
        case m.FirstKnown():
            return _first_known(parts)
        case m.Extreme():
            return _extreme(node.which, parts)
    known = _all_known(parts)
    of = parts[0].values
    match node:
        case m.Not():
            return Column(~of, known)
        case m.Compare():
            return Column(_COMPARE[node.operation](of, parts[1].values), known)
        case m.OneOf():
            numbers = [texts.number(word) for word in node.values]
            return Column(np.isin(of, numbers), known)
        case m.Arithmetic():
            return _arithmetic(node.operation, of, parts[1].values, known)
        case m.Function():
            return _function(node.name, of, known)
        case m.Convert():
            factor, offset = node.factor_and_offset
            return finite(_converted(of, factor, offset), known)
        case m.Shift():
            return _shift(node, of, parts[1].values, known, clock)
        case m.Elapsed():
            return Column((parts[1].values - of) / HOUR, known)
        case m.CalendarDays():
            return Column((clock.day(parts[1].values) - clock.day(of)).astype(np.float64), known)
        case m.StartOfDay():
            return Column(clock.utc(clock.day(of) * DAY), known)
        case m.ClockPart():
            return Column(_clock_part(node.part, of, clock), known)
    message = f"no rule for {type(node).__name__}"
    raise NotImplementedError(message)
