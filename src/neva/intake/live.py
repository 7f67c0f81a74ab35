"""Messages of a live feed into the store: one commit, with the place that the feed has reached.

What messages say of stays and persons is kept as statements, and what is stored of
them follows from all statements (:mod:`neva.intake.stay_histories`): order, repetition
and late arrival change nothing. Results and orders are states of events, each put in
its own time (:mod:`neva.intake.in_turn`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from neva.errors import ConflictError
from neva.events.hashing import hash_rows, to_id
from neva.events.hospital import Hospital, Writer
from neva.events.identities import Pseudonyms
from neva.events.manifest import GRACE_AHEAD
from neva.events.own_units import read_own_units
from neva.events.schema import RETRACTIONS, ROWS, TABLES, TIME, Columns
from neva.events.snapshot import Snapshot
from neva.intake import reconcile
from neva.intake.acceptance import TimeLimits, accept
from neva.intake.batch import (
    COUNTED,
    Tally,
    batch_row,
    canonical_units,
    pseudonymised,
    with_recorded,
)
from neva.intake.deleted_visits import deletions_of, ended_with_visits, with_withdrawals
from neva.intake.history_rows import add_leaves, add_movements, add_stay, changed
from neva.intake.in_turn import events_in_turn
from neva.intake.merges import Moved, moved_events
from neva.intake.person_histories import Merges, PersonStatement, person_history
from neva.intake.stay_histories import (
    Statement,
    StayHistory,
    merged_statements,
    stay_history,
)
from neva.sources.rows import Delivery, conform

__all__ = ["LiveBatch", "LiveSummary", "append_messages", "open_doubts"]

#: Statements as they are told: under local ids.
_TOLD: Final[Columns] = {
    **{
        name: dtype
        for name, dtype in TABLES["patient_messages"].items()
        if name not in ("subject_id", "stay_id", "from_subject_id", "from_stay_id", "batch")
    },
    "subject": pl.String,
    "stay": pl.String,
    "from_subject": pl.String,
    "from_stay": pl.String,
}


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """What some messages of a feed say.

    Attributes
    ----------
    feed : str
        Its name: the logical source of its events.
    assigner : str
        Who gave record and visit numbers.
    before, position : int
        How far the feed had come, and how far it is with this batch.
    statements : sequence of dict
        Of persons and stays, under local ids, with ``message_id`` and ``position``.
    events : sequence of dict
        Columns of ``ROWS["events"]``.
    messages, doubts : polars.DataFrame
        Columns of ``TABLES["messages"]`` and ``TABLES["message_doubts"]`` without ``batch``.
    of_event, update_moves : bool
        As in :func:`neva.intake.stay_histories.stay_history`.
    """

    feed: str
    assigner: str
    before: int
    position: int
    statements: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    messages: pl.DataFrame
    doubts: pl.DataFrame
    of_event: bool = True
    update_moves: bool = False


@dataclass(frozen=True, slots=True)
class LiveSummary:
    """What a batch of messages did.

    Attributes
    ----------
    version, batch : int
    counts : dict of str to dict of str to int
        By table, as in :class:`neva.intake.importing.ImportSummary`.
    refusals : dict of str to int
        Rows of messages that were refused, by table and reason.
    subjects : tuple of int
        Whom it touched.
    merged : tuple of tuple of int
        The record that goes, and the one that stays.
    """

    version: int
    batch: int
    counts: dict[str, dict[str, int]]
    refusals: dict[str, int]
    subjects: tuple[int, ...]
    merged: tuple[tuple[int, int], ...]


def append_messages(hospital: Hospital, live: LiveBatch, *, now: datetime) -> LiveSummary:
    """Write what messages say, and how far the feed has come, as one commit.

    Parameters
    ----------
    hospital : Hospital
    live : LiveBatch
    now : datetime
        Aware: when it is written.

    Returns
    -------
    LiveSummary

    Raises
    ------
    ConflictError
        Somebody else is writing, or the feed has come to another place than ``before``.
    """
    now = now.astimezone(UTC)
    with hospital.writer(purpose=f"feed {live.feed}", now=now) as writer:
        reached = writer.before.position(live.feed)
        if reached != live.before:
            message = (
                f"{hospital.path}: the feed {live.feed} is at another place; found {reached}, "
                f"expected {live.before}; one process may apply a feed: stop the other one"
            )
            raise ConflictError(message)
        return _Append(writer, live).write()


def open_doubts(snapshot: Snapshot, which: pl.Expr) -> pl.DataFrame:
    """Return what is in doubt of stays and was not resolved since.

    Parameters
    ----------
    snapshot : Snapshot
    which : polars.Expr
        Of the rows of ``stay_doubts``.

    Returns
    -------
    polars.DataFrame
        ``feed``, ``stay_id``, ``reason``, ``about``.
    """
    key = ("stay_id", "reason", "about")
    return (
        snapshot.stored("stay_doubts")
        .filter(which)
        .sort("batch")
        .unique(key, keep="last", maintain_order=True)
        .filter("is_open")
        .select("feed", *key)
        .collect()
    )


@dataclass
class _Append:
    """One batch on its way into the store."""

    writer: Writer
    live: LiveBatch
    pseudonyms: Pseudonyms = field(init=False)
    tally: Tally = field(init=False)
    before: Snapshot = field(init=False)
    _doubts: dict[int, set[tuple[str, str]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        writer = self.writer
        self.pseudonyms = writer.hospital.pseudonyms(self.live.assigner)
        shifted = writer.before.dates_shifted
        self.tally = Tally(latest=None if shifted else writer.now + GRACE_AHEAD)
        self.before = writer.snapshot()
        self.batch = writer.next_batch()

    def write(self) -> LiveSummary:
        writer, live, tally = self.writer, self.live, self.tally
        statements = self._statements()
        merges = Merges(self._all_merges(statements))
        self.pseudonyms.follow(merges.last())
        new_merges = statements.filter(pl.col("event") == "A40").select(
            "from_subject_id", "subject_id", "recorded"
        )
        things, leaves = self._things(statements, merges)
        deleted = deletions_of(statements)
        staged = self._staged_events(new_merges, leaves, deleted)
        moved = self._moved(new_merges, merges)
        delivery = Delivery(
            name=live.feed,
            assigner=live.assigner,
            kind="hl7v2",
            files=(),
            rows=iter(()),
            mapping=None,
            order="position",
        )
        self._write_events(staged, moved, ended_with_visits(self.before, deleted))
        for table, rows in things.items():
            if rows.height:
                tally.add(table, "added", rows.height)
                times = [name for name in ("start", "end") if name in rows.columns]
                tally.span(rows.filter(pl.col("retracted").is_null()), *times)
                writer.append(table, [rows])
        self._keep("patient_messages", statements)
        self._keep("messages", live.messages)
        self._keep("message_doubts", live.doubts)
        self._keep("stay_doubts", self._stay_doubts())
        for table, found in (("quarantine", tally.quarantine), ("warnings", tally.warnings)):
            if found:
                self._keep(table, pl.concat(found))
        counts = {table: dict(count) for table, count in tally.counts.items()}
        totals = {what: sum(count.get(what, 0) for count in counts.values()) for what in COUNTED}
        row = batch_row(
            batch=self.batch,
            delivery=delivery,
            file=f"{live.before + 1}-{live.position}",
            sha256="",
            size=0,
            now=writer.now,
            totals=totals,
        )
        writer.append("batches", [row])
        writer.remember(self.pseudonyms)
        manifest = writer.commit(tally.first, tally.last, feeds={live.feed: str(live.position)})
        touched = {*statements["subject_id"], *staged["subject_id"]}
        return LiveSummary(
            version=manifest.version,
            batch=self.batch,
            counts=counts,
            refusals=dict(tally.refusals),
            subjects=tuple(sorted(touched)),
            merged=tuple(new_merges.select("from_subject_id", "subject_id").iter_rows()),
        )

    def _write_events(self, staged: pl.DataFrame, moved: Moved, gone: pl.DataFrame) -> None:
        """Append events, each state in its own time, and end those that others follow."""
        live, tally = self.live, self.tally
        result = events_in_turn(staged, self.before, moved, source=live.feed, batch=self.batch)
        for what in ("added", "known", "revised", "retracted"):
            tally.add("events", what, getattr(result, what))
        again = moved.events.with_columns(batch=pl.lit(self.batch, dtype=pl.Int64))
        rows = pl.concat([again.select(list(TABLES["events"])), result.rows])
        if rows.height:
            self.writer.append("events", [rows])
        tally.add("events", "retracted", gone.height)
        ends = pl.concat([moved.retractions, result.retractions, gone])
        if ends.height:
            self.writer.retract(reconcile.earliest(ends))

    def _keep(self, table: str, rows: pl.DataFrame) -> None:
        if rows.height:
            rows = rows.with_columns(batch=pl.lit(self.batch, dtype=pl.Int64))
            self.writer.append(table, [rows.select(list(TABLES[table]))])

    def _stay_doubts(self) -> pl.DataFrame:
        """Return what has come into doubt of the stays that are touched, and what is resolved."""
        columns = {name: kind for name, kind in TABLES["stay_doubts"].items() if name != "batch"}
        touched = pl.Series(list(self._doubts), dtype=pl.Int64)
        was_open = open_doubts(self.before, pl.col("stay_id").is_in(touched.implode()))
        before = {(stay, reason, about) for _, stay, reason, about in was_open.iter_rows()}
        after = {(stay, *one) for stay, found in self._doubts.items() for one in found}
        rows = [
            (self.live.feed, *key, is_open)
            for keys, is_open in ((after - before, True), (before - after, False))
            for key in sorted(keys)
        ]
        return pl.DataFrame(rows, schema=columns, orient="row")

    # ------------------------------------------------------------- statements

    def _statements(self) -> pl.DataFrame:
        """Return the new statements under pseudonyms: columns of ``patient_messages``."""
        stated = _frame(self.live.statements, _TOLD)
        pseudonyms = self.pseudonyms
        return stated.with_columns(
            pseudonyms.own("subject", stated["subject"]).alias("subject_id"),
            pseudonyms.of("stay", stated["stay"]).alias("stay_id"),
            pseudonyms.own("subject", stated["from_subject"]).alias("from_subject_id"),
            pseudonyms.of("stay", stated["from_stay"]).alias("from_stay_id"),
            batch=pl.lit(self.batch, dtype=pl.Int64),
        ).select(list(TABLES["patient_messages"]))

    def _stored_statements(self, which: pl.Expr) -> pl.DataFrame:
        return self.before.stored("patient_messages").filter(which).collect()

    def _all_merges(self, statements: pl.DataFrame) -> Iterable[tuple[int, int, datetime]]:
        is_merge = pl.col("from_subject_id").is_not_null()
        rows = pl.concat([self._stored_statements(is_merge), statements.filter(is_merge)])
        return rows.select("from_subject_id", "subject_id", "recorded").iter_rows()

    # ----------------------------------------------------------------- events

    def _staged_events(
        self, new_merges: pl.DataFrame, leaves: pl.DataFrame, deleted: pl.DataFrame
    ) -> pl.DataFrame:
        """Return the events to reconcile: accepted, under pseudonyms, merges followed."""
        frame = conform("events", _frame(self.live.events, ROWS["events"]))
        frame = frame.with_columns(file=pl.lit(self.live.feed))
        self.tally.add("events", "read", frame.height)
        limits = None if self.writer.before.dates_shifted else TimeLimits.of_import(self.writer.now)
        accepted = accept(
            "events",
            frame,
            canonical_units(self.before.codes()),
            limits=limits,
            own_units=read_own_units(self.writer.hospital.path),
        )
        self.tally.refuse(accepted.refused)
        self.tally.warn(accepted.warned)
        taken = pseudonymised(with_recorded(accepted.taken, self.writer.now), self.pseudonyms)
        taken = pl.concat(
            [
                taken.with_columns(derived=pl.lit(value=False)),
                leaves.select(taken.columns).with_columns(derived=pl.lit(value=True)),
            ]
        )
        of_stays = pl.col("stay_id").is_in(taken["stay_id"].drop_nulls().unique().implode())
        earlier = self._stored_statements((pl.col("event") == "A23") & of_stays)
        taken = with_withdrawals(taken, pl.concat([deletions_of(earlier), deleted]))
        taken = _followed(taken, new_merges)
        done = taken.filter(pl.col("status") != "planned", pl.col("retracted").is_null())
        self.tally.span(done, "time", "end_time")
        return taken.with_columns(
            origin=pl.lit("hl7v2"), arrival=pl.int_range(pl.len(), dtype=pl.Int64)
        )

    def _moved(self, new_merges: pl.DataFrame, merges: Merges) -> Moved:
        """Find the stored events of records that this batch merges into others."""
        if not new_merges.height:
            return Moved(pl.DataFrame(schema=TABLES["events"]), pl.DataFrame(schema=RETRACTIONS))
        last = merges.last()
        pairs = (
            new_merges.group_by("from_subject_id")
            .agg(_since=pl.col("recorded").max())
            .select(
                subject_id="from_subject_id",
                _into=pl.col("from_subject_id").replace_strict(last, default=None),
                _since="_since",
            )
            .drop_nulls("_into")
        )
        events, retractions = moved_events(pairs, self.before)
        self.tally.add("events", "revised", events.height)
        return Moved(events, retractions)

    # ----------------------------------------------------------------- things

    def _things(
        self, statements: pl.DataFrame, merges: Merges
    ) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
        """Work out subjects, stays, movements and leaves anew where something was told of them."""
        leave_columns = {
            **{k: v for k, v in ROWS["events"].items() if k not in ("subject", "stay")},
            "subject_id": pl.Int64,
            "stay_id": pl.Int64,
        }
        if not statements.height:
            return {}, pl.DataFrame(schema=leave_columns)
        since = statements["recorded"].min()
        assert isinstance(since, datetime)
        own_batches = self._live_batches()
        rows = self._person_rows(statements, merges, own_batches, since)
        stays, movements, leaves = self._stay_rows(statements, merges, own_batches, since)
        things = {"subjects": rows, "stays": stays, "movements": movements}
        return things, _frame(leaves, leave_columns)

    def _live_batches(self) -> pl.Series:
        """Return the batches of live feeds: their stays and persons follow from statements."""
        rows = self.before.batches().filter(pl.col("kind") == "hl7v2").select("batch").collect()
        return rows["batch"]

    def _person_rows(
        self, statements: pl.DataFrame, merges: Merges, own_batches: pl.Series, since: datetime
    ) -> pl.DataFrame:
        touched = pl.concat(
            [statements["subject_id"], statements["from_subject_id"].drop_nulls()]
        ).unique()
        involved = pl.Series(merges.involved(touched.to_list()), dtype=pl.Int64)
        both = pl.concat([touched, involved]).unique()
        stated = pl.concat(
            [self._stored_statements(pl.col("subject_id").is_in(both.implode())), statements]
        ).filter(pl.col("subject_id").is_in(both.implode()))
        stored = (
            self.before.stored("subjects")
            .filter(pl.col("subject_id").is_in(both.implode()))
            .collect()
        )
        by_subject: dict[int, list[PersonStatement]] = {}
        for row in stated.select(PersonStatement.TOLD).iter_rows():
            one = PersonStatement.of_message(*row)
            by_subject.setdefault(one.subject, []).append(one)
        others = stored.filter(~pl.col("batch").is_in(own_batches.implode()))
        for row in others.select(PersonStatement.STORED).iter_rows():
            one = PersonStatement.of_row(*row)
            by_subject.setdefault(one.subject, []).append(one)
        made: list[tuple[Any, ...]] = []
        for subject in touched.to_list():
            versions = person_history(subject, by_subject, merges, since=since)
            for version in versions:
                content = version.content or (None, None, None, None)
                gone = version.recorded if version.content is None else None
                made.append((subject, *content, version.recorded, False, gone, self.batch))
        new = pl.DataFrame(made, schema=TABLES["subjects"], orient="row")
        theirs = stored.filter(pl.col("subject_id").is_in(touched.implode()))
        return changed("subjects", new, theirs, own_batches, since, self.batch)

    def _stay_rows(
        self, statements: pl.DataFrame, merges: Merges, own_batches: pl.Series, since: datetime
    ) -> tuple[pl.DataFrame, pl.DataFrame, list[dict[str, Any]]]:
        about, stays, movements = self._about_stays(statements, own_batches)
        histories = self._histories(about, merges, since)
        self._doubts = {stay: history.doubts for stay, history in histories.items()}
        stay_rows: list[tuple[Any, ...]] = []
        movement_rows: list[tuple[Any, ...]] = []
        leaves: list[dict[str, Any]] = []
        for stay, history in histories.items():
            add_stay(stay_rows, stay, history, self.batch)
            add_movements(movement_rows, stay, history, self.batch)
            add_leaves(leaves, stay, history)
        new_stays = pl.DataFrame(stay_rows, schema=TABLES["stays"], orient="row")
        numbered = pl.DataFrame(
            movement_rows,
            schema={"_began": pl.Int64, "_prior": pl.Boolean, "_other": pl.Boolean}
            | {k: v for k, v in TABLES["movements"].items() if k != "movement_id"},
            orient="row",
        )
        ids = to_id(hash_rows(numbered, ("stay_id", "_began", "_prior"), seed="hl7v2"))
        new_movements = numbered.with_columns(
            movement_id=pl.when("_other").then("_began").otherwise(ids)
        ).select(list(TABLES["movements"]))
        return (
            changed("stays", new_stays, stays, own_batches, since, self.batch),
            changed("movements", new_movements, movements, own_batches, since, self.batch),
            leaves,
        )

    def _about_stays(
        self, statements: pl.DataFrame, own_batches: pl.Series
    ) -> tuple[dict[int, list[Statement]], pl.DataFrame, pl.DataFrame]:
        """Return every statement of the stays that are touched, and what is stored of them."""
        touched = pl.concat([statements["stay_id"], statements["from_stay_id"]]).drop_nulls()
        merged = statements.filter(pl.col("from_subject_id").is_not_null())
        whose = pl.concat([merged["subject_id"], merged["from_subject_id"]]).unique()
        if len(whose):
            theirs = pl.col("subject_id").is_in(whose.implode())
            found = self.before.stored("stays").filter(theirs).select("stay_id").collect()
            touched = pl.concat([touched, found["stay_id"]])
        touched = touched.unique()
        is_touched = pl.col("stay_id").is_in(touched.implode())
        stated = pl.concat(
            [self._stored_statements(is_touched), statements.filter(is_touched)]
        ).unique("message_id", keep="last", maintain_order=True)
        earlier = stated["from_stay_id"].drop_nulls().unique()
        missing = earlier.filter(~earlier.is_in(touched.implode()))
        if len(missing):
            more = pl.col("stay_id").is_in(missing.implode())
            stated = pl.concat([stated, self._stored_statements(more)])
            touched = pl.concat([touched, missing])
            is_touched = pl.col("stay_id").is_in(touched.implode())
        about: dict[int, list[Statement]] = {stay: [] for stay in touched.to_list()}
        for row in stated.select(_TOLD_OF_STAY).iter_rows():
            about[row[0]].append(Statement(*row[1:]))
        stays = self.before.stored("stays").filter(is_touched).collect()
        movements = self.before.stored("movements").filter(is_touched).collect()
        for table, rows in (("STAY", stays), ("MOVEMENT", movements)):
            others = rows.filter(~pl.col("batch").is_in(own_batches.implode()))
            for named in others.iter_rows(named=True):
                about[named["stay_id"]].append(_of_stored_row(table, named))
        self._earlier = _merged_visits(stated)
        return about, stays, movements

    def _histories(
        self,
        about: dict[int, list[Statement]],
        merges: Merges,
        since: datetime,
    ) -> dict[int, StayHistory]:
        live = self.live
        withdrawn = {gone: at for visits in self._earlier.values() for at, gone in visits.items()}
        found = {}
        for stay, own in about.items():
            visits = self._earlier.get(stay, {})
            every = merged_statements(own, {at: about.get(gone, []) for at, gone in visits.items()})
            if stay in withdrawn:
                at = withdrawn[stay]
                every = [*every, _deleted_at(at, own)] if own else every
            subjects = {one.subject for one in every}
            found[stay] = stay_history(
                every,
                merges.at,
                merges.moments(subjects),
                of_event=live.of_event,
                update_moves=live.update_moves,
                since=since,
            )
        return found


_TOLD_OF_STAY: Final = (
    "stay_id", "message_id", "recorded", "position", "event", "time", "precision", "subject_id",
    "unit", "bed", "prior_unit", "prior_bed", "kind", "source", "outcome", "start",
    "start_precision", "end",
)  # fmt: skip


def _frame(rows: Sequence[Mapping[str, Any]], schema: Columns) -> pl.DataFrame:
    columns = {name: [row.get(name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema, strict=False)


def _followed(rows: pl.DataFrame, merges: pl.DataFrame) -> pl.DataFrame:
    """Let rows of records that are merged in the same batch follow: from the merge on.

    A row that was known before the merge stays, and is told again under the surviving
    record from the merge on.
    """
    for gone, into, since in merges.sort("recorded").iter_rows():
        is_theirs = rows["subject_id"] == gone
        if not is_theirs.any():
            continue
        theirs = rows.filter(is_theirs)
        stamp = pl.lit(since, dtype=TIME)
        later = theirs.filter(pl.col("recorded") >= stamp).with_columns(subject_id=pl.lit(into))
        earlier = theirs.filter(pl.col("recorded") < stamp)
        again = earlier.filter(pl.col("retracted").is_null()).with_columns(
            subject_id=pl.lit(into, dtype=pl.Int64), recorded=stamp
        )
        rows = pl.concat([rows.filter(~is_theirs), earlier, again, later], how="vertical_relaxed")
    return rows


def _of_stored_row(table: str, row: Mapping[str, Any]) -> Statement:
    """Take a row that another source stored as what it says."""
    is_stay = table == "STAY"
    return Statement(
        id=row["stay_id"] if is_stay else row["movement_id"],
        recorded=row["recorded"],
        position=-1,
        event=table,
        time=row["start"],
        precision=row["precision"],
        subject=row["subject_id"],
        unit=None if is_stay else row["unit"],
        bed=None if is_stay else row["bed"],
        kind=row["kind"] if is_stay else None,
        source=row["source"] if is_stay else None,
        outcome=row["outcome"] if is_stay else None,
        start=row["start"] if is_stay else None,
        start_precision=row["precision"] if is_stay else None,
        end=row["end"],
        retracted=row["retracted"] is not None,
    )


def _merged_visits(stated: pl.DataFrame) -> dict[int, dict[datetime, int]]:
    """Return by visit those that were merged into it (A42), and since when."""
    found: dict[int, dict[datetime, int]] = {}
    rows = stated.filter(pl.col("from_stay_id").is_not_null())
    for stay, gone, since in rows.select("stay_id", "from_stay_id", "recorded").iter_rows():
        found.setdefault(stay, {})[since] = gone
    return found


def _deleted_at(at: datetime, own: Sequence[Statement]) -> Statement:
    first = own[0]
    return Statement(
        id=0, recorded=at, position=2**62, event="A23", time=at, precision="instant",
        subject=first.subject,
    )  # fmt: skip
