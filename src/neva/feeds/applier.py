"""From the inbox into the store: micro-batches, each one commit with the place it reached."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from neva.errors import ConflictError
from neva.events.hospital import Hospital
from neva.events.people import PEOPLE, read_people, write_people
from neva.events.schema import TABLES
from neva.events.snapshot import Snapshot
from neva.feeds.accepted import with_accepted
from neva.feeds.dead_letters import dead_letters
from neva.feeds.inbox import Reader, Record, read_positions, shred
from neva.feeds.status import expected_within, feed_folder, read_status, write_status
from neva.intake.live import LiveBatch, LiveSummary, append_messages
from neva.sources.hl7v2.context import Interpreted, Person
from neva.sources.hl7v2.interpretation import interpret
from neva.sources.hl7v2.message import (
    Header,
    Message,
    UnreadableMessageError,
    read_header,
    read_message,
)
from neva.sources.hl7v2.profile import Profile
from neva.sources.hl7v2.times import read_time

__all__ = ["Applied", "Applier", "Read", "read_batch"]

#: While another process writes to the hospital, the feed waits and tries again.
_WAIT: Final = 0.5
_MOST_TRIES: Final = 60
#: So many of the newest versions stay, and those of the last hour.
_VERSIONS_KEPT: Final = 20
#: How often is worked out how long the feed is usually silent.
_EXPECT_EVERY: Final = timedelta(minutes=10)


def _hashed_id(*parts: bytes) -> int:
    """Hash bytes into an id: int64, never negative."""
    digest = hashlib.sha256(b"\x1f".join(parts)).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(slots=True)
class Read:
    """A message of the inbox, and what became of it.

    Attributes
    ----------
    record : Record
    header : Header or None
    outcome : str
        ``applied``, ``ignored``, ``duplicate`` or ``refused``.
    reason, field : str or None
        Why it was refused, and where.
    interpreted : Interpreted or None
        What it says, where it is applied.
    """

    record: Record
    header: Header | None = None
    outcome: str = "applied"
    reason: str | None = None
    field: str | None = None
    interpreted: Interpreted | None = None

    @property
    def control(self) -> int:
        """Hash of who sent it and its control id."""
        if self.header is None:
            return _hashed_id(b"no header", self.record.content)
        return _hashed_id(self.header.sender.encode(), self.header.control.encode())

    @property
    def content(self) -> int:
        """Hash of what it says: of all but its first segment, which tells when it was sent."""
        body = self.record.content.lstrip(b"\xef\xbb\xbf")
        ends = [at for at in (body.find(b"\r"), body.find(b"\n")) if at > -1]
        kind = self.header.type.encode() if self.header else b""
        return _hashed_id(kind, body[min(ends) :] if ends else body)

    def refuse(self, reason: str, where: str = "") -> None:
        """Make it a dead letter."""
        self.outcome, self.reason, self.field = "refused", reason, where or None
        self.interpreted = None

    def row(self, feed: str, zone: str) -> dict[str, Any]:
        """Return its row of ``messages``, without the batch."""
        header, sent = self.header, None
        if header is not None:
            try:
                moment = read_time(header.sent, zone=zone)
            except UnreadableMessageError:
                moment = None
            sent = moment.time if moment else None
        return {
            "feed": feed,
            "position": self.record.position,
            "sender": header.sender if header else "",
            "type": header.type if header else "",
            "control": self.control,
            "content": self.content,
            "sent": sent,
            "arrived": self.record.arrived,
            "outcome": self.outcome,
            "reason": self.reason,
            "field": self.field,
        }


def read_one(record: Record, profile: Profile, *, zone: str) -> Read:
    """Read and interpret one record; what cannot be read becomes a dead letter."""
    read = Read(record)
    try:
        read.header = read_header(record.content)
        if not read.header.control:
            raise UnreadableMessageError("control-missing", "MSH-10")
        message: Message = read_message(
            record.content, declared=profile.characters, trust=profile.trust_characters
        )
        read.interpreted = interpret(message, profile, zone=zone, arrived=record.arrived)
        if not read.interpreted.says_something:
            read.outcome = "ignored"
    except UnreadableMessageError as error:
        read.refuse(error.reason, error.field)
    except Exception:  # the doorway: what nobody foresaw stops no feed, and the message is kept
        read.refuse("unreadable")
    return read


def read_batch(
    records: Sequence[Record],
    profile: Profile,
    *,
    zone: str,
    before: Snapshot | None = None,
    again: bool = False,
) -> list[Read]:
    """Read records, and find which of them were taken before.

    Parameters
    ----------
    records : sequence of Record
    profile : Profile
    zone : str
        The hospital's.
    before : Snapshot, optional
        The store, with the messages that were applied.
    again : bool
        They are dead letters that are tried again.

    Returns
    -------
    list of Read
    """
    reads = [read_one(record, profile, zone=zone) for record in records]
    seen: dict[int, list[tuple[int, str]]] = {}
    if before is not None and reads:
        controls = pl.Series([one.control for one in reads], dtype=pl.Int64).unique()
        positions = pl.Series([one.record.position for one in reads], dtype=pl.Int64)
        rows = (
            before.stored("messages")
            .filter(pl.col("feed") == profile.name, pl.col("control").is_in(controls.implode()))
            .filter(~pl.col("position").is_in(positions.implode()))
            .select("control", "content", "outcome")
            .collect()
        )
        for control, content, outcome in rows.iter_rows():
            seen.setdefault(control, []).append((content, outcome))
    for one in reads:
        earlier = seen.setdefault(one.control, [])
        if any(content == one.content for content, _ in earlier):
            one.outcome, one.interpreted, one.reason, one.field = "duplicate", None, None, None
            continue
        was_taken = any(outcome in ("applied", "ignored") for _, outcome in earlier)
        if was_taken and one.outcome != "refused" and profile.same_control == "refuse":
            one.refuse("control-repeated", "MSH-10")
        earlier.append((one.content, one.outcome))
    return reads if not again else [one for one in reads if one.outcome != "refused"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did.

    Attributes
    ----------
    messages : int
    outcomes : dict of str to int
    summary : LiveSummary or None
        None where there was nothing to apply.
    last_arrived : datetime or None
        Of the last of them.
    """

    messages: int
    outcomes: dict[str, int] = field(default_factory=dict)
    summary: LiveSummary | None = None
    last_arrived: datetime | None = None


class Applier:
    """Applies a feed's inbox to the hospital; one process at a time.

    Parameters
    ----------
    hospital : Hospital
    profile : Profile
    now : callable
        The time of day, aware.
    """

    def __init__(
        self, hospital: Hospital, profile: Profile, *, now: Callable[[], datetime]
    ) -> None:
        self.hospital = hospital
        self._site = self.profile = profile
        self.folder = feed_folder(hospital.path, profile.name)
        self._now = now
        self._zone = profile.zone or hospital.settings.zone
        self._reader: Reader | None = None
        self._reached = -1
        self._expected: tuple[datetime, timedelta] | None = None
        self._last: datetime | None = None
        self._tidied: datetime | None = None

    @property
    def position(self) -> int:
        """Up to where the feed is part of the store."""
        return self.hospital.manifest().position(self.profile.name)

    def apply_next(self, *, most: int | None = None) -> Applied:
        """Apply the next messages, as one commit.

        Parameters
        ----------
        most : int, optional
            So many at most; by the profile where none is given.

        Raises
        ------
        ConflictError
            Somebody else is writing; nothing was applied.
        BadInputError
            The inbox is damaged, or the disk is full.
        """
        self._heed_accepted()
        before = self.position
        if self._reader is None or self._reached != before:
            self._reader, self._reached = Reader(self.folder, before), before
        try:
            records = self._reader.read(most or self.profile.most_messages)
            if not records:
                return Applied(0)
            reads = read_batch(
                records, self.profile, zone=self._zone, before=self.hospital.snapshot()
            )
            applied = self._append(reads, before, records[-1].position)
            self._reached = records[-1].position
        except BaseException:
            self._reader = None
            raise
        return applied

    def retry(self) -> Applied:
        """Apply dead letters that the profile now understands, in their place.

        Returns
        -------
        Applied
            Of those that were applied.

        Raises
        ------
        ConflictError
            Somebody else went on writing for half a minute.
        """
        for _ in range(_MOST_TRIES - 1):
            try:
                return self._retry()
            except ConflictError:  # the feed itself goes on meanwhile
                time.sleep(_WAIT)
        return self._retry()

    def _heed_accepted(self) -> None:
        """Put what was accepted at the feed desk since under the site's profile."""
        self.profile = with_accepted(self._site, self.folder)

    def _retry(self) -> Applied:
        self._heed_accepted()
        positions = dead_letters(self.hospital.snapshot(), self.profile.name)["position"]
        records = read_positions(self.folder, positions.to_list())
        reads = read_batch(
            records, self.profile, zone=self._zone, before=self.hospital.snapshot(), again=True
        )
        if not reads:
            return Applied(0)
        before = self.position
        return self._append(reads, before, before)

    def _append(self, reads: Sequence[Read], before: int, position: int) -> Applied:
        live = _batch_of(reads, self.profile, self._zone, before, position)
        self._remember_names(reads)
        summary = append_messages(self.hospital, live, now=self._now())
        outcomes = Counter(one.outcome for one in reads)
        return Applied(len(reads), dict(outcomes), summary, reads[-1].record.arrived)

    def _remember_names(self, reads: Sequence[Read]) -> None:
        """Hand new names to the identity service, and to nobody else."""
        persons: dict[str, Person] = {}
        for one in reads:
            if one.interpreted is not None:
                persons.update({person.local_id: person for person in one.interpreted.persons})
        if not persons:
            return
        known = read_people(self.hospital.path)
        pseudonyms = self.hospital.pseudonyms(self.profile.assigner)
        rows = []
        for person in persons.values():
            subject = pseudonyms.one("subject", person.local_id)
            name = ", ".join(one for one in (person.family, person.given) if one) or None
            held = known.get(subject)
            birth = person.birth_date or (held[1] if held else None)
            if held != (name, birth):
                rows.append((subject, person.family, person.given, birth))
        if rows:
            write_people(self.hospital.path, pl.DataFrame(rows, schema=PEOPLE, orient="row"))

    def run(
        self, stop: threading.Event, *, on_batch: Callable[[Applied], None] | None = None
    ) -> None:
        """Apply until told to stop: after so many messages, or so long, whichever is first.

        Parameters
        ----------
        stop : threading.Event
        on_batch : callable, optional
            Called with what each batch did.
        """
        while not stop.is_set():
            begun = self._now()
            try:
                applied = self.apply_next()
            except ConflictError:
                stop.wait(_WAIT)
                continue
            if on_batch is not None:
                on_batch(applied)
            self._write_status(applied)
            self._tidy()
            if applied.messages < self.profile.most_messages:
                passed = (self._now() - begun) / timedelta(seconds=1)
                stop.wait(max(0.05, self.profile.most_seconds - passed))

    def _write_status(self, applied: Applied) -> None:
        """Say how the feed is, for pages and monitors."""
        now = self._now()
        if self._expected is None or now - self._expected[0] > _EXPECT_EVERY:
            rows = self.hospital.snapshot().stored("messages")
            arrived = rows.filter(pl.col("feed") == self.profile.name).select("arrived").collect()
            within = expected_within(arrived["arrived"], now, self.hospital.settings.zone)
            last = arrived["arrived"].max()
            self._expected = (now, within)
            self._last = last if isinstance(last, datetime) else None
        if applied.last_arrived is not None:
            self._last = applied.last_arrived
        reached, taken = (
            self.position,
            int(read_status(self.folder, "listener.json").get("position", 0)),
        )
        status = {
            "name": self.profile.name,
            "position": reached,
            "last_arrived": self._last.isoformat() if self._last else None,
            "expected_within_seconds": self._expected[1].total_seconds(),
            "backlog": max(0, taken - reached),
        }
        write_status(self.folder, "status.json", status)

    def _tidy(self) -> None:
        """Once an hour shred old messages, and drop versions that nobody reads any more.

        A feed makes a version every few seconds. What was known at an earlier time is seen
        *as of* then in any later version, so old ones are not needed for that.
        """
        now = self._now()
        if self._tidied is not None and now - self._tidied < timedelta(hours=1):
            return
        self._tidied = now
        letters = dead_letters(self.hospital.snapshot(), self.profile.name)
        older_than = now - timedelta(days=self.profile.keep_days)
        young = letters.filter(pl.col("arrived") > older_than)["position"].to_list()
        shred(self.folder, applied=self.position, older_than=older_than, keep=young)
        try:
            self.hospital.vacuum(keep=_VERSIONS_KEPT, now=now)
        except ConflictError:  # somebody writes: in an hour
            return


def _batch_of(
    reads: Sequence[Read], profile: Profile, zone: str, before: int, position: int
) -> LiveBatch:
    """Gather what the messages of a batch say."""
    statements: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    doubts: dict[tuple[str, str, str], list[int]] = {}
    for one in reads:
        if one.interpreted is None:
            continue
        place = one.record.position
        own = (one.control, one.content)
        for number, statement in enumerate(one.interpreted.statements):
            identity = "|".join(str(part) for part in (*own, number)).encode()
            statements.append({**statement, "message_id": _hashed_id(identity), "position": place})
        events += [{**event, "row": place} for event in one.interpreted.events]
        for (reason, about), count in one.interpreted.doubts.items():
            counted = doubts.setdefault((one.interpreted.type, reason, about), [0, 0])
            counted[0] += count
            counted[1] = place
    columns = {name: kind for name, kind in TABLES["messages"].items() if name != "batch"}
    rows = [one.row(profile.name, zone) for one in reads]
    return LiveBatch(
        feed=profile.name,
        assigner=profile.assigner,
        before=before,
        position=position,
        statements=statements,
        events=events,
        messages=pl.DataFrame(rows, schema=columns, orient="row"),
        doubts=pl.DataFrame(
            [(profile.name, *key, *counted) for key, counted in doubts.items()],
            schema={k: v for k, v in TABLES["message_doubts"].items() if k != "batch"},
            orient="row",
        ),
        of_event=profile.cancel_time == "of-event",
        update_moves=profile.update_moves,
    )
