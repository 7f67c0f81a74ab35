"""Events of a live feed: what was known earlier never replaces what was known later.

A feed tells states of an event one after the other: preliminary, final,
corrected, withdrawn. They may arrive in any order; each is put in its own time,
so that the order of arrival does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl

from neva.events.hashing import hash_rows, to_id
from neva.events.schema import EVENT_ROW, ORDER, RETRACTIONS, TABLES, TIME
from neva.events.snapshot import Snapshot
from neva.intake.known_events import stored_events
from neva.intake.merges import Moved
from neva.intake.reconcile import CONTENT, Reconciled, identified
from neva.sources.rows import refused_rows

__all__ = ["events_in_turn"]

_TICK: Final = timedelta(microseconds=1)


class _Stored(NamedTuple):
    """A stored state of an event: its row, and until when it holds."""

    batch: int
    recorded: datetime
    retracted: datetime | None
    content: int


class _New(NamedTuple):
    """A state to append: the place of the row that tells it, and its span."""

    place: int
    recorded: datetime
    retracted: datetime | None
    content: int


def events_in_turn(
    staged: pl.DataFrame, before: Snapshot, moved: Moved, *, source: str, batch: int
) -> Reconciled:
    """Reconcile the delivered states of events with the stored ones.

    Parameters
    ----------
    staged : polars.DataFrame
        Accepted rows with ``subject_id``, ``stay_id``, ``origin`` and a ``row_id``, in
        order of arrival. ``retracted`` set: the event is withdrawn from then on.
        ``derived``: it follows from other rows; what was derived of the same moment
        formerly gives way to it.
    before : Snapshot
        The hospital as it was.
    moved : Moved
        What merges of the same batch move: stored as well.
    source : str
        The logical source: part of every id.
    batch : int
        Number of this batch.
    """
    rows = identified(staged, source=source, order="position")
    rows = rows.with_columns(batch=pl.lit(batch, dtype=pl.Int64))
    ids = rows["event_id"].unique()
    old = _with_moved(stored_events(before, ids), moved, ids, batch)
    is_met = rows["event_id"].is_in(old["event_id"].unique().implode())
    is_alone = ~rows["event_id"].is_duplicated() & ~is_met
    alone, others = rows.filter(is_alone), rows.filter(~is_alone)
    columns = list(TABLES["events"])
    appended = [alone.select(columns)]
    ends: list[tuple[int, int, datetime, datetime]] = []
    counts = {"added": alone.height, "known": 0, "revised": 0, "retracted": 0}
    if others.height:
        new = _placed(others, _states(old), ends, counts)
        places = pl.Series([one.place for one in new], dtype=pl.UInt32)
        spans = pl.DataFrame(
            {
                "recorded": pl.Series([one.recorded for one in new], dtype=TIME),
                "retracted": pl.Series([one.retracted for one in new], dtype=TIME),
            }
        )
        appended.append(others[places].with_columns(spans).select(columns))
    return Reconciled(
        rows=pl.concat(appended).sort("subject_id", *ORDER),
        retractions=pl.DataFrame(ends, schema=RETRACTIONS, orient="row"),
        refused=refused_rows("events", rows.clear(), "id-duplicate", "row_id"),
        event_ids=ids,
        **counts,
    )


def _with_moved(old: pl.DataFrame, moved: Moved, ids: pl.Series, batch: int) -> pl.DataFrame:
    """Add what merges of the same batch move: it ends where it was, and begins anew."""
    if not moved.events.height:
        return old
    ended = moved.retractions.rename({"retracted": "_ended"})
    old = old.join(ended, on=list(EVENT_ROW), how="left").with_columns(
        retracted=pl.min_horizontal("retracted", "_ended")
    )
    again = moved.events.filter(pl.col("event_id").is_in(ids.implode()))
    columns = list(TABLES["events"])
    again = again.with_columns(batch=pl.lit(batch, dtype=pl.Int64)).select(columns)
    return pl.concat([old.select(columns), again])


def _states(old: pl.DataFrame) -> dict[int, list[_Stored]]:
    """Return the stored states of each event, in order."""
    held: dict[int, list[_Stored]] = defaultdict(list)
    if not old.height:
        return held
    old = old.with_columns(_content=to_id(hash_rows(old, CONTENT)))
    for event_id, *state in (
        old.sort("recorded", "batch")
        .select("event_id", "batch", "recorded", "retracted", "_content")
        .iter_rows()
    ):
        held[event_id].append(_Stored(*state))
    return held


def _placed(
    others: pl.DataFrame,
    held: dict[int, list[_Stored]],
    ends: list[tuple[int, int, datetime, datetime]],
    counts: dict[str, int],
) -> list[_New]:
    """Place delivered states among those stored; note which stored ones end, and count."""
    delivered: dict[int, list[tuple[int, datetime, bool, int, bool]]] = defaultdict(list)
    for place, (event_id, recorded, retracted, content, derived) in enumerate(
        others.select("event_id", "recorded", "retracted", "content", "derived").iter_rows()
    ):
        delivered[event_id].append((place, recorded, retracted is not None, content, derived))
    new: list[_New] = []
    for event_id, states in delivered.items():
        chain = _Chain(held.get(event_id, []))
        for place, recorded, withdraws, content, derived in sorted(states, key=lambda one: one[1]):
            state = None if withdraws else content
            if derived:
                chain.give_way(recorded, state)
            counts[chain.take(place, recorded, state)] += 1
        new += chain.new()
        ends += [(event_id, one.batch, one.recorded, end) for one, end in chain.shortened()]
    return new


class _Chain:
    """The states of one event, stored and told, in order of when they were known."""

    def __init__(self, stored: list[_Stored]) -> None:
        self._stored = stored
        # What begins when: content, or None where nothing is left of it.
        self._begins: dict[datetime, int | None] = {}
        self._places: dict[datetime, int] = {}
        self._replaced: set[datetime] = set()
        for one in stored:
            withdrawn = one.retracted is not None and one.retracted <= one.recorded
            self._begins[one.recorded] = None if withdrawn else one.content
        for one in stored:
            if one.retracted is not None:
                self._begins.setdefault(one.retracted, None)

    def _in_effect(self, at: datetime) -> int | None:
        begun = [since for since in self._begins if since <= at]
        return self._begins[max(begin for begin in begun)] if begun else None

    def give_way(self, recorded: datetime, state: int | None) -> None:
        """Let go what begins at a moment, if it is another thing."""
        if recorded in self._begins and self._begins[recorded] != state:
            del self._begins[recorded]
            self._replaced.add(recorded)

    def take(self, place: int, recorded: datetime, state: int | None) -> str:
        """Take a state that was told; return what it was: added, known, revised, retracted.

        `said` is its content, None where it withdraws.
        """
        is_first = not self._begins
        if (
            not is_first
            and self._in_effect(recorded) == state
            and any(since <= recorded for since in self._begins)
        ):
            return "known"
        while recorded in self._begins:  # told in the same moment: one after the other
            if self._begins[recorded] == state:
                return "known"
            recorded += _TICK
        self._begins[recorded] = state
        self._places[recorded] = place
        if state is None:
            return "retracted"
        return "added" if is_first else "revised"

    def _next(self, at: datetime) -> datetime | None:
        return min((since for since in self._begins if since > at), default=None)

    def new(self) -> list[_New]:
        """Return the states to append, each until the next one begins."""
        found = []
        for recorded, place in self._places.items():
            content = self._begins[recorded]
            if content is None:
                if self._ends_a_stored_one(recorded):
                    continue
                found.append(_New(place, recorded, recorded, 0))
            else:
                found.append(_New(place, recorded, self._next(recorded), content))
        return found

    def _ends_a_stored_one(self, at: datetime) -> bool:
        return any(end == at for _, end in self.shortened())

    def shortened(self) -> list[tuple[_Stored, datetime]]:
        """Return the stored states that end earlier than was thought, and when."""
        found: list[tuple[Any, datetime]] = []
        for one in self._stored:
            gave_way = one.recorded in self._replaced
            following = one.recorded if gave_way else self._next(one.recorded)
            is_open = one.retracted is None or (following is not None and following < one.retracted)
            if following is not None and is_open:
                found.append((one, following))
        return found
