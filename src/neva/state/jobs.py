"""Jobs: background tasks that a worker process runs, one at a time, with progress."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from neva.errors import NotFoundError
from neva.state import tables
from neva.state.columns import utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["Job", "Jobs", "job_key"]

#: Kinds for which somebody waits: they go before what pages want.
FIRST: Final = ("flush", "import")
#: A worker that has not been heard of for so long is gone.
GONE_AFTER: Final = timedelta(seconds=30)
#: A job whose workers were lost so often is not tried again.
MOST_TRIES: Final = 3
#: Finished jobs are kept so long.
KEPT_FOR: Final = timedelta(days=30)


def job_key(kind: str, parameters: Mapping[str, Any], version: str = "") -> str:
    """Name what is computed: kind, parameters and data version, as a hash."""
    text = json.dumps([kind, parameters, version], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes
    ----------
    id, kind, key : str
        `key` names what is computed; one job of a key is under way at most.
    parameters : dict
    state : str
        ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
    actor : str
    at, begun, ended : datetime or None
    done, of : int
        How far it is.
    words : str
        What it does just now.
    error : str or None
    result : str or None
        The key of what it left.
    tries : int
    """

    id: str
    kind: str
    key: str
    parameters: dict[str, Any]
    state: str
    actor: str
    at: datetime
    begun: datetime | None
    ended: datetime | None
    done: int
    of: int
    words: str
    error: str | None
    result: str | None
    tries: int

    @property
    def is_under_way(self) -> bool:
        """Whether it is queued or running."""
        return self.state in ("queued", "running")


def _job(row: Any) -> Job:
    return Job(
        row.id,
        row.kind,
        row.key,
        json.loads(row.parameters),
        row.state,
        row.actor,
        row.at,
        row.begun,
        row.ended,
        row.done,
        row.of,
        row.words,
        row.error,
        row.result,
        row.tries,
    )


def _running(job: str, tries: int | None) -> list[sa.ColumnElement[bool]]:
    table = tables.jobs
    found = [table.c.id == job, table.c.state == "running"]
    return found if tries is None else [*found, table.c.tries == tries]


class Jobs:
    """The jobs of a state."""

    def __init__(self, database: Database, audit: Audit):
        self._database = database
        self._audit = audit

    def add(
        self, kind: str, parameters: Mapping[str, Any], *, key: str, actor: str, at: datetime
    ) -> Job:
        """Queue a job; where one of the same key is under way, return that one."""
        table = tables.jobs
        under_way = sa.select(table).where(
            table.c.key == key, table.c.state.in_(["queued", "running"])
        )
        # Every page that waits for a result asks: it is no reason to write.
        with self._database.reading() as connection:
            row = connection.execute(under_way).first()
        if row is not None:
            return _job(row)
        with self._database.transaction() as connection:
            row = connection.execute(under_way).first()
            if row is None:
                connection.execute(table.delete().where(table.c.at < utc(at) - KEPT_FOR))
                new = uuid.uuid4().hex
                connection.execute(
                    table.insert().values(
                        id=new,
                        kind=kind,
                        key=key,
                        parameters=json.dumps(dict(parameters)),
                        state="queued",
                        actor=actor,
                        at=utc(at),
                        tries=0,
                        done=0,
                        of=0,
                        words="",
                    )
                )
                row = connection.execute(sa.select(table).where(table.c.id == new)).one()
            return _job(row)

    def get(self, job: str) -> Job:
        """Return a job.

        Raises
        ------
        NotFoundError
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.jobs).where(tables.jobs.c.id == job)).first()
        if row is None:
            message = "job: there is none of that id; found none; see the list of jobs"
            raise NotFoundError(message)
        return _job(row)

    def last(self, key: str) -> Job | None:
        """Return the newest job of a key."""
        table = tables.jobs
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(table).where(table.c.key == key).order_by(table.c.at.desc()).limit(1)
            ).first()
        return None if row is None else _job(row)

    def newest(self, most: int = 100) -> list[Job]:
        """Return the newest jobs, newest first."""
        table = tables.jobs
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(table).order_by(table.c.at.desc()).limit(most)
            ).all()
        return [_job(row) for row in rows]

    def last_ends(self, kinds: Sequence[str], *, since: datetime) -> dict[str, datetime]:
        """Return when a job of each kind last ended, of those queued since a time."""
        table = tables.jobs
        asked = (
            sa.select(table.c.kind, sa.func.max(table.c.ended).label("last"))
            .where(table.c.at >= utc(since), table.c.kind.in_(kinds), table.c.ended.is_not(None))
            .group_by(table.c.kind)
        )
        with self._database.reading() as connection:
            return {row.kind: row.last for row in connection.execute(asked)}

    def take(self, worker: str, *, at: datetime) -> Job | None:
        """Give a worker the oldest job, and no other worker the same.

        Those of :data:`FIRST` go before all others.

        Jobs of workers that are gone are queued again first, or failed when
        that has happened too often.
        """
        table, now = tables.jobs, utc(at)
        with self._database.transaction() as connection:
            lost = sa.and_(
                table.c.state == "running",
                sa.or_(table.c.beat.is_(None), table.c.beat < now - GONE_AFTER),
            )
            connection.execute(
                table.update()
                .where(lost, table.c.tries >= MOST_TRIES)
                .values(state="failed", ended=now, error="its worker was lost three times")
            )
            connection.execute(table.update().where(lost).values(state="queued", worker=None))
            row = connection.execute(
                sa.select(table)
                .where(table.c.state == "queued")
                .order_by(sa.case((table.c.kind.in_(FIRST), 0), else_=1), table.c.at, table.c.id)
                .limit(1)
            ).first()
            if row is None:
                return None
            connection.execute(
                table.update()
                .where(table.c.id == row.id)
                .values(
                    state="running",
                    worker=worker,
                    begun=now,
                    beat=now,
                    tries=row.tries + 1,
                    done=0,
                    of=0,
                    words="",
                )
            )
            row = connection.execute(sa.select(table).where(table.c.id == row.id)).one()
            return _job(row)

    def beat(
        self,
        job: str,
        *,
        at: datetime,
        done: int | None = None,
        of: int | None = None,
        words: str | None = None,
        tries: int | None = None,
    ) -> bool:
        """Say that a job is alive, and how far it is.

        `tries` is that of the job as it was taken: who was given up for lost
        is told so, though another worker runs the job now.

        Returns
        -------
        bool
            False: it was cancelled, or taken away; stop.
        """
        table = tables.jobs
        values: dict[str, Any] = {"beat": utc(at)}
        values |= {
            name: value
            for name, value in (("done", done), ("of", of), ("words", words))
            if value is not None
        }
        with self._database.transaction() as connection:
            changed = connection.execute(
                table.update().where(*_running(job, tries)).values(**values)
            )
            if words and changed.rowcount == 1:
                last = connection.execute(
                    sa.select(tables.job_log.c.words)
                    .where(tables.job_log.c.job == job)
                    .order_by(tables.job_log.c.id.desc())
                    .limit(1)
                ).scalar()
                if last != words:
                    connection.execute(
                        tables.job_log.insert().values(job=job, at=utc(at), words=words)
                    )
            return changed.rowcount == 1

    def end(
        self,
        job: str,
        state: str,
        *,
        at: datetime,
        error: str | None = None,
        result: str | None = None,
        tries: int | None = None,
    ) -> None:
        """End a running job: ``done``, ``failed`` or ``cancelled``; `tries` as in :meth:`beat`."""
        table = tables.jobs
        with self._database.transaction() as connection:
            connection.execute(
                table.update()
                .where(*_running(job, tries))
                .values(state=state, ended=utc(at), error=error, result=result)
            )

    def cancel(self, job: str, *, actor: str, at: datetime) -> None:
        """Cancel a job that is queued or running; audited."""
        table = tables.jobs
        with self._database.transaction() as connection:
            connection.execute(
                table.update()
                .where(table.c.id == job, table.c.state.in_(["queued", "running"]))
                .values(state="cancelled", ended=utc(at))
            )
            self._audit.append(
                at=at,
                actor=actor,
                action="job-cancelled",
                why="cancelled on its page",
                details={"job": job},
                within=connection,
            )

    def log(self, job: str) -> list[tuple[datetime, str]]:
        """Return what a job has told, oldest first."""
        table = tables.job_log
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(table.c.at, table.c.words).where(table.c.job == job).order_by(table.c.id)
            ).all()
        return [(row.at, row.words) for row in rows]
