"""From what messages say of a stay to what was known of it, at every moment.

Messages come late, twice, out of order, and are withdrawn again. What follows
from them is therefore always worked out from all statements of a stay: at each
moment at which one was known, from those known by then, in the order in which
things happened. The order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

__all__ = [
    "Movement",
    "Statement",
    "Stay",
    "StayHistory",
    "Version",
    "stay_history",
]

_DELETED: Final = '""'
_ADMITS: Final = frozenset({"A01", "A04", "STAY"})
_PLACES: Final = frozenset({"A01", "A02", "A04", "A06", "A07", "A17", "MOVEMENT"})
#: What a cancellation cancels.
_CANCELS: Final[dict[str, frozenset[str]]] = {
    "A11": frozenset({"A01", "A04"}),
    "A12": frozenset({"A02"}),
    "A13": frozenset({"A03"}),
    "A52": frozenset({"A21"}),
    "A53": frozenset({"A22"}),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """What one message says of a stay, or a stored row that another source told.

    Attributes
    ----------
    id : int
        Of the message; of a stored movement its own id.
    recorded : datetime
        When it was known.
    position : int
        Orders what was known at the same moment.
    event : str
        ``A01`` …; ``STAY`` and ``MOVEMENT`` are stored rows of other sources.
    time : datetime
        When it happened; of a stored row its start.
    precision : str
    subject : int
        As it was told; see `subject_at` of :func:`stay_history`.
    unit, bed, prior_unit, prior_bed, kind, source, outcome : str or None
    start, end : datetime or None
        Of the stay; of a stored movement its own.
    start_precision : str or None
    retracted : bool
        A stored row that was withdrawn.
    """

    id: int
    recorded: datetime
    position: int
    event: str
    time: datetime
    precision: str
    subject: int
    unit: str | None = None
    bed: str | None = None
    prior_unit: str | None = None
    prior_bed: str | None = None
    kind: str | None = None
    source: str | None = None
    outcome: str | None = None
    start: datetime | None = None
    start_precision: str | None = None
    end: datetime | None = None
    retracted: bool = False


class Stay(NamedTuple):
    """A stay as it was known at some moment."""

    subject: int
    start: datetime
    end: datetime | None
    precision: str
    kind: str | None
    source: str | None
    outcome: str | None


class Movement(NamedTuple):
    """A movement as it was known at some moment."""

    subject: int
    start: datetime
    end: datetime | None
    precision: str
    unit: str | None
    bed: str | None


class Version(NamedTuple):
    """What was known from a moment on: of a stay, movement or leave; None: that there is none."""

    recorded: datetime
    content: Any


@dataclass(slots=True)
class StayHistory:
    """Everything that was ever known of a stay.

    Attributes
    ----------
    stay : list of Version
        Of :class:`Stay`.
    movements : dict of tuple to list of Version
        Of :class:`Movement`, by what began it: the statement's id and whether it is the
        place before.
    leaves : dict of datetime to list of Version
        Of ``(subject, end)``, by when the patient left; one for each moment.
    doubts : set of tuple of str
        By all that is known: a reason, and what it is about (the event of a cancellation).
    stored_movements : frozenset of int
        Ids of movements that another source stored.
    """

    stay: list[Version]
    movements: dict[tuple[int, bool], list[Version]]
    leaves: dict[datetime, list[Version]]
    doubts: set[tuple[str, str]]
    stored_movements: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Belief:
    """What follows from the statements known by one moment."""

    stay: Stay | None
    movements: dict[tuple[int, bool], Movement]
    leaves: dict[datetime, tuple[int, datetime | None]]


def _cancelled(
    statements: Sequence[Statement], *, of_event: bool, doubts: set[tuple[str, str]]
) -> set[int]:
    """Return the places of the statements that others cancel."""
    gone: set[int] = set()
    for at, one in enumerate(statements):
        if one.event == "A23":  # the visit is deleted, whatever was told of it
            gone.update(range(at + 1))
        targets = _CANCELS.get(one.event)
        if targets is None:
            continue
        open_ones = [
            place
            for place, other in enumerate(statements)
            if other.event in targets and place not in gone
        ]
        same = [place for place in open_ones if statements[place].time == one.time]
        before = [place for place in open_ones if statements[place].time <= one.time]
        found = same if of_event and same else before
        if not found:
            doubts.add(("cancel-unmatched", one.event))
            continue
        gone.add(max(found, key=lambda place: (statements[place].time, place)))
    return gone


def _last_stated(statements: Iterable[Statement], what: str) -> Any:
    """Return what was last said of a thing; None where nothing was, or it was deleted."""
    found = None
    for one in statements:
        value = getattr(one, what)
        if value is not None:
            found = value
    return None if found == _DELETED else found


def _leaves(live: Sequence[Statement], subject: int) -> dict[datetime, tuple[int, datetime | None]]:
    """Pair each leave with the next return."""
    found: dict[datetime, tuple[int, datetime | None]] = {}
    left: datetime | None = None
    for one in sorted(live, key=lambda one: (one.time, one.recorded, one.position)):
        if one.event == "A21":
            left = one.time
            found.setdefault(left, (subject, None))
        elif one.event == "A22" and left is not None:
            found[left] = (subject, one.time)
            left = None
    return found


def _placed(
    live: Sequence[Statement], begins: datetime, ends: datetime | None, *, update_moves: bool
) -> list[tuple[Statement, bool, datetime, str | None, str | None]]:
    """Return where the patient lay, in order of time: what says so, since when, unit and bed."""
    events = _PLACES | {"A08"} if update_moves else _PLACES
    located = sorted(
        (one for one in live if one.event in events and one.unit not in (None, _DELETED)),
        key=lambda one: (one.time, one.recorded, one.position),
    )
    places: list[tuple[Statement, bool, datetime, str | None, str | None]] = []
    for one in located:
        first = not places
        is_admission = one.event in _ADMITS
        since = begins if first and is_admission else max(one.time, begins)
        if ends is not None and since >= ends and not (first and since == ends):
            continue
        if first and not is_admission and one.event != "MOVEMENT" and begins < since:
            if one.prior_unit not in (None, _DELETED):
                places.append((one, True, begins, one.prior_unit, one.prior_bed))
            else:
                since = begins
        if places and places[-1][2] >= since and places[-1][0].event != "MOVEMENT":
            # Told later of the same moment: that is where the patient was.
            places.pop()
        if places and (places[-1][3], places[-1][4]) == (one.unit, one.bed):
            continue
        if places and places[-1][3] == one.unit and one.bed is None:
            continue
        places.append((one, False, since, one.unit, one.bed))
    return places


def _movements(
    live: Sequence[Statement], stay: Stay, *, update_moves: bool
) -> dict[tuple[int, bool], Movement]:
    places = _placed(live, stay.start, stay.end, update_moves=update_moves)
    found: dict[tuple[int, bool], Movement] = {}
    for number, (one, is_prior, since, unit, bed) in enumerate(places):
        following = places[number + 1][2] if number + 1 < len(places) else None
        ends = [time for time in (following, stay.end) if time is not None]
        if one.event == "MOVEMENT" and one.end is not None:
            ends.append(one.end)
        end = min(ends, default=None)
        precision = stay.precision if number == 0 and since == stay.start else one.precision
        found[one.id, is_prior] = Movement(stay.subject, since, end, precision, unit, bed)
    return found


def _believed(
    statements: Sequence[Statement],
    subject: int,
    doubts: set[tuple[str, str]],
    *,
    of_event: bool,
    update_moves: bool,
) -> _Belief:
    """Say what follows from statements, in the order in which they were known."""
    statements = _latest_rows(statements)
    gone = _cancelled(statements, of_event=of_event, doubts=doubts)
    live = [one for at, one in enumerate(statements) if at not in gone]
    admits = [one for one in live if one.event in _ADMITS]
    was_admitted = any(one.event in _ADMITS for one in statements)
    others = [one for one in live if one.event in _PLACES or one.event == "A03"]
    nothing = _Belief(None, {}, {})
    if not admits and (was_admitted or not others):
        return nothing
    if not admits:
        doubts.add(("admission-unseen", ""))
    about = [one for one in live if one.event != "MOVEMENT"]
    stated_start = _last_stated(about, "start")
    stated = [one for one in about if one.start is not None]
    if stated_start is not None:
        start, precision = stated_start, stated[-1].start_precision or "instant"
    else:
        first = min(admits or others, key=lambda one: (one.time, one.recorded, one.position))
        start, precision = first.time, first.precision
    end = _end_of_stay(live)
    if end is not None and end < start:
        end = start
    stay = Stay(
        subject,
        start,
        end,
        precision,
        _last_stated(about, "kind"),
        _last_stated(about, "source"),
        _last_stated(about, "outcome") if end is not None else None,
    )
    movements = _movements(live, stay, update_moves=update_moves)
    return _Belief(stay, movements, _leaves(live, subject))


def _latest_rows(statements: Sequence[Statement]) -> list[Statement]:
    """Leave of each stored row only what was known of it last."""
    last = {one.id: at for at, one in enumerate(statements) if one.event in ("STAY", "MOVEMENT")}
    return [
        one
        for at, one in enumerate(statements)
        if one.event not in ("STAY", "MOVEMENT") or (last[one.id] == at and not one.retracted)
    ]


def _end_of_stay(live: Sequence[Statement]) -> datetime | None:
    """Return the end that was last said, unless the patient was admitted again since."""
    end: datetime | None = None
    for one in live:
        if one.event == "A03":
            end = one.end or one.time
        elif one.event == "STAY":
            end = one.end
        elif one.event in _ADMITS and end is not None and one.time > end:
            end = None
        elif one.event == "A08" and end is not None and one.end is not None:
            end = one.end
    return end


def _note(versions: list[Version], recorded: datetime, content: Any) -> None:
    """Add what is known from a moment on, if it is another thing than before."""
    if (versions and versions[-1].content == content) or (not versions and content is None):
        return
    versions.append(Version(recorded, content))


def stay_history(
    statements: Iterable[Statement],
    subject_at: Callable[[int, datetime], int],
    changes: Iterable[datetime] = (),
    *,
    of_event: bool = True,
    update_moves: bool = False,
    since: datetime | None = None,
) -> StayHistory:
    """Work out everything that was ever known of a stay.

    Parameters
    ----------
    statements : iterable of Statement
        All of one stay, in any order.
    subject_at : callable
        Whose record a pseudonym stands for by what was known at a moment: merges.
    changes : iterable of datetime
        Moments from which `subject_at` may say something else.
    of_event : bool
        The time of a cancellation is that of what it cancels.
    update_moves : bool
        Another place in A08 is a transfer.
    since : datetime, optional
        Only what was known from then on, and the last thing known before.

    Returns
    -------
    StayHistory

    Notes
    -----
    A stay belongs to the patient of whom it was first told, until a merge or A45 moves
    it; messages that name somebody else change nothing.
    """
    ordered = sorted(statements, key=lambda one: (one.recorded, one.position))
    history = StayHistory([], {}, {}, set())
    if not ordered:
        return history
    history.stored_movements = frozenset(one.id for one in ordered if one.event == "MOVEMENT")
    moments = sorted({one.recorded for one in ordered} | {*changes})
    moments = [moment for moment in moments if moment >= ordered[0].recorded]
    if since is not None:
        before = [moment for moment in moments if moment < since]
        moments = before[-1:] + moments[len(before) :]
    known = 0
    owner = ordered[0].subject
    for moment in moments:
        doubts: set[tuple[str, str]] = set()
        while known < len(ordered) and ordered[known].recorded <= moment:
            if ordered[known].event == "A45":
                owner = ordered[known].subject
            known += 1
        subject = subject_at(owner, moment)
        own = [
            one for one in ordered[:known] if subject_at(one.subject, moment) == subject
            or _moved_since(one, ordered[:known])
        ]  # fmt: skip
        if len(own) < known:
            doubts.add(("subject-other", ""))
        belief = _believed(own, subject, doubts, of_event=of_event, update_moves=update_moves)
        history.doubts = doubts
        _note(history.stay, moment, belief.stay)
        for key in {**history.movements, **belief.movements}:
            versions = history.movements.setdefault(key, [])
            _note(versions, moment, belief.movements.get(key))
        for left in {**history.leaves, **belief.leaves}:
            known_of = history.leaves.setdefault(left, [])
            known_of.append(Version(moment, belief.leaves.get(left)))
    history.movements = {key: versions for key, versions in history.movements.items() if versions}
    return history


def _moved_since(one: Statement, known: Sequence[Statement]) -> bool:
    """Whether the visit went to another patient (A45) after a statement was told."""
    return any(
        other.event == "A45" and (other.recorded, other.position) >= (one.recorded, one.position)
        for other in known
    )


def merged_statements(
    own: Sequence[Statement], others: Mapping[datetime, Sequence[Statement]]
) -> list[Statement]:
    """Add to a visit's statements those of visits that were merged into it (A42), from then on."""
    found = list(own)
    for since, statements in others.items():
        found += [replace(one, recorded=max(one.recorded, since)) for one in statements]
    return found
