"""Start and completion of one activity, which most logs write as two events, as one that lasts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from neva.events.schema import ROWS
from neva.sources._times import event_end

__all__ = ["Lifecycles"]

_START: Final = "start"
_PAUSES: Final = ("suspend", "resume")
_ENDS: Final = ("complete", "ate_abort", "pi_abort")
_TRANSITION: Final = "lifecycle:transition"
#: Said by the completion where both say it.
_LATER_FIRST: Final = ("number", "value_text", "comparator", "value_unit", "text", "reason", "rank")


@dataclass
class _Begun:
    """An activity that has begun and not ended yet."""

    at: int
    instance: str | None
    paused: datetime | None = None
    pause: timedelta = timedelta()


@dataclass
class _Found:
    """What one batch holds: rows that end others, rows that are part of others, those alone."""

    pairs: list[tuple[int, int, float]] = field(default_factory=list)
    absorbed: list[int] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)


@dataclass
class Lifecycles:
    """Pairs starts with completions, batch by batch of whole traces."""

    _started: set[str] = field(default_factory=set)

    def joined(self, events: pl.DataFrame, zone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Make one event of start and completion.

        A completion ends the first activity of its name in its trace that
        began with the same ``concept:instance``, or, where there is none, the
        one that began first. Between them, ``suspend`` and ``resume`` are no
        events, but a pause.

        Parameters
        ----------
        events : polars.DataFrame
            Taken rows with ``trace``, ``position``, ``name``, ``instance``,
            ``transition``, ``is_whole`` and the columns of an event.
        zone : str

        Returns
        -------
        events : polars.DataFrame
            The same columns. A pair stands where it began, and lasts.
        warned : polars.DataFrame
            Starts and completions that are alone; they stay events.
        """
        events = events.with_row_index("_at")
        found = self._found_activities(events)
        numbers = pl.DataFrame(
            found.pairs,
            schema={"_at": pl.UInt32, "_end": pl.UInt32, "_pause": pl.Float64},
            orient="row",
        )
        warned = events.filter(pl.col("_at").is_in(found.alone)).select(
            "file",
            "row",
            table=pl.lit("events"),
            field=pl.lit(_TRANSITION),
            reason=pl.lit("activity-unpaired"),
        )
        if not found.pairs:
            return events.drop("_at"), warned.cast(ROWS["warnings"])  # type: ignore[arg-type]
        pairs = numbers.join(events, on="_at", maintain_order="left").join(
            events.rename({name: f"{name}_end" for name in events.columns}),
            left_on="_end",
            right_on="_at_end",
            maintain_order="left",
        )
        pairs = pairs.with_columns(
            end_time=event_end(pairs["time_end"], pairs["precision_end"], pairs["precision"], zone),
            status="status_end",
            # What its end says of it is known at its end.
            recorded=pl.max_horizontal("recorded", "recorded_end"),
            recorded_assumed=pl.col("recorded_assumed") | pl.col("recorded_assumed_end"),
            attributes=pl.Series(
                [
                    _merged(*row)
                    for row in pairs.select("attributes", "attributes_end", "_pause").iter_rows()
                ],
                dtype=events.schema["attributes"],
            ),
            **{name: pl.coalesce(f"{name}_end", name) for name in _LATER_FIRST},
        ).select(events.columns)
        gone = [*numbers["_at"], *numbers["_end"], *found.absorbed]
        kept = events.filter(~pl.col("_at").is_in(gone))
        return (
            pl.concat([kept, pairs]).sort("_at").drop("_at"),
            warned.cast(ROWS["warnings"]),  # type: ignore[arg-type]
        )

    def _found_activities(self, events: pl.DataFrame) -> _Found:
        rows = (
            events.with_columns(_what=pl.col("transition").str.to_lowercase())
            .filter(pl.col("_what").is_in([_START, *_PAUSES, *_ENDS]), ~pl.col("is_whole"))
            .sort("trace", "time", "position")
        )
        found = _Found()
        begun: dict[str, list[_Begun]] = {}
        trace = None
        for at, of, name, instance, what, time in rows.select(
            "_at", "trace", "name", "instance", "_what", "time"
        ).iter_rows():
            if of != trace:
                found.alone.extend(one.at for ones in begun.values() for one in ones)
                begun, trace = {}, of
            if what == _START:
                self._started.add(name)
                begun.setdefault(name, []).append(_Begun(at, instance))
                continue
            one = _activity_of_transition(begun.get(name, []), instance)
            if one is None:
                # A log of completions alone is the rule, and no doubt about it.
                if what in _PAUSES or name in self._started:
                    found.alone.append(at)
            elif what in _PAUSES:
                found.absorbed.append(at)
                _pause(one, what, time)
            else:
                _pause(one, "resume", time)
                begun[name].remove(one)
                found.pairs.append((one.at, at, one.pause.total_seconds()))
        found.alone.extend(one.at for ones in begun.values() for one in ones)
        return found


def _activity_of_transition(begun: list[_Begun], instance: str | None) -> _Begun | None:
    """Find the activity that a later transition belongs to."""
    same = (one for one in begun if one.instance == instance)
    unnamed = (one for one in begun if instance is None or one.instance is None)
    return next(same, None) or next(unnamed, None)


def _pause(one: _Begun, what: str, time: datetime | None) -> None:
    if what == "suspend":
        one.paused = one.paused or time
        return
    if one.paused is not None and time is not None:
        one.pause += time - one.paused
    one.paused = None


def _merged(
    first: list[dict[str, Any]] | None, last: list[dict[str, Any]] | None, pause: float
) -> list[dict[str, Any]]:
    """Join the attributes of both; where they differ, the start's have ``start:`` before them."""
    merged = {entry["key"]: entry["value"] for entry in first or ()}
    for entry in last or ():
        key, value = entry["key"], entry["value"]
        earlier = merged.get(key, value)
        if earlier != value and key != _TRANSITION:
            merged[f"start:{key}"] = earlier
        merged[key] = value
    if pause:
        merged["lifecycle:suspended"] = f"{pause:g}"
    return [{"key": key, "value": value} for key, value in merged.items()]
