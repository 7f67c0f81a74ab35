"""A database that is polled: rows that changed since, each state of a row once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
import sqlalchemy as sa

from neva.errors import BadInputError
from neva.feeds.doors.database import DatabaseMapping, Page, Query, read_page
from neva.feeds.doors.door import Door
from neva.feeds.doors.lately import Lately
from neva.feeds.doors.marks import Mark, earlier, place_of, read_mark
from neva.files.yaml_lines import Document
from neva.intake.importing import MOST_REFUSED
from neva.sources.csv.source import open_tables
from neva.sources.rows import Delivery

__all__ = ["PolledDatabase"]

_LATELY: Final = "lately.json"


@dataclass(slots=True)
class _Progress:
    """How far a query has come.

    Attributes
    ----------
    mark : Mark or None
        The last change that was read, not later than now.
    after : tuple of Mark or None
        Change and key of the last row read, where a page was full: it goes on from there.
    begun : datetime or None
        When the first of these pages was read.
    seconds : float
        How long the last pages took, from the first to the last.
    """

    mark: Mark | None = None
    after: tuple[Mark, Mark] | None = None
    begun: datetime | None = None
    seconds: float = 0.0

    def written(self) -> dict[str, Any]:
        return {
            "mark": self.mark.written() if self.mark else None,
            "after": [one.written() for one in self.after] if self.after else None,
            "begun": self.begun.isoformat() if self.begun else None,
            "seconds": self.seconds,
        }

    @classmethod
    def read(cls, written: dict[str, Any]) -> _Progress:
        after = [read_mark(one) for one in written["after"] or ()]
        return cls(
            read_mark(written["mark"]),
            (after[0], after[1]) if len(after) == 2 and after[0] and after[1] else None,
            datetime.fromisoformat(written["begun"]) if written["begun"] else None,
            float(written["seconds"]),
        )


class PolledDatabase:
    """Reads what changed in a database since the feed's place.

    Parameters
    ----------
    door : Door
        Of kind ``sql``, entered.
    document, mapping
        As of :func:`neva.feeds.doors.database.read_database_mapping`.
    engine : Engine
        Of :func:`neva.feeds.doors.database.connected`.
    again : bool
        Read everything from the beginning; what is known adds nothing.
    most_refused : float or None
        The share of refused rows that the first delivery may have: a wrong mapping shows
        there. Later ones never stop the feed: their rows go to quarantine.
    """

    def __init__(
        self,
        door: Door,
        document: Document,
        mapping: DatabaseMapping,
        engine: sa.Engine,
        *,
        again: bool = False,
        most_refused: float | None = MOST_REFUSED,
    ) -> None:
        self._door = door
        self._document = document
        self._mapping = mapping
        self._engine = engine
        self._most_refused = most_refused
        self._zone = mapping.zone or door.hospital.settings.zone
        self._lately = Lately(door.folder / _LATELY)
        place = {} if again else door.place()
        if not place:
            self._lately.forget()
        self._is_first = not place
        self._progress = {
            name: _Progress.read(written) for name, written in place.get("queries", {}).items()
        }

    def look(self) -> bool:
        """Read a page of each query.

        Returns
        -------
        bool
            True where more is there already.

        Raises
        ------
        BadInputError
            The database refused, or its rows cannot be used.
        ConflictError
            Somebody else writes to the hospital.
        """
        more = False
        for name, query in self._mapping.database.queries.items():
            if self._door.stop.is_set():
                break
            more = self._read(name, query) or more
        self._door.write_status(backlog=int(more) * self._mapping.database.page)
        return more

    def _since(self, progress: _Progress) -> Mark | None:
        """From which change on is read: what was not visible yet may come before the last one."""
        database = self._mapping.database
        if progress.mark is None:
            return None
        late = database.overlap + timedelta(seconds=progress.seconds)
        return earlier(progress.mark, late, database.overlap_numbers, self._zone)

    def _read(self, name: str, query: Query) -> bool:
        progress = self._progress.get(name, _Progress())
        since = self._since(progress)
        now = self._door.now()
        page = read_page(
            self._engine,
            name,
            query,
            since=since,
            after=progress.after,
            most=self._mapping.database.page,
        )
        begun = progress.begun if progress.after and progress.begun else now
        places = self._places(name, query, page)
        following = _Progress(
            mark=self._last(page, places, progress.mark),
            after=None if page.is_last else page.marks[-1],
            begun=None if page.is_last else begun,
            # What was invisible when the first page was read is before its last change.
            seconds=max((now - begun).total_seconds(), 0.0),
        )
        marks = [_mark_of(row) for row in page.frame.iter_rows()]
        is_new = [not self._lately.knows(name, mark) for mark in marks]
        if any(is_new):
            self._deliver(name, page.frame.filter(pl.Series(is_new)), following)
            self._lately.add(name, zip(marks, places, strict=True))
            self._forget(name, following)
            self._lately.keep(at_once=page.is_last)
        self._progress[name] = following
        return not page.is_last

    def _places(self, name: str, query: Query, page: Page) -> list[float]:
        found = []
        for changed, _ in page.marks:
            place = place_of(changed, self._zone)
            if place is None:
                message = (
                    f"database.queries.{name}: rows cannot be put in order by the column "
                    f"{query.modified!r}; found a text that is no time; convert it in the query"
                )
                raise BadInputError(message)
            found.append(place)
        return found

    def _last(self, page: Page, places: list[float], before: Mark | None) -> Mark | None:
        """Return the last change; one later than now moves nothing, or what follows were lost."""
        now = self._door.now().timestamp()
        last = before
        for (changed, _), place in zip(page.marks, places, strict=True):
            if changed.kind not in ("number", "decimal") and place > now:
                break
            if last is None or place >= (place_of(last, self._zone) or 0.0):
                last = changed
        return last

    def _forget(self, name: str, progress: _Progress) -> None:
        since = self._since(progress)
        if since is not None:
            self._lately.forget_before(name, (place_of(since, self._zone) or 0.0) - 1.0)

    def _deliver(self, name: str, rows: pl.DataFrame, progress: _Progress) -> None:
        path = self._door.empty_work() / f"{name}.parquet"
        rows.write_parquet(path)
        path.chmod(0o600)
        queries = {one: known.written() for one, known in self._progress.items()}
        self._door.deliver(
            partial(self._opened, name, path),
            label=name,
            place={"queries": {**queries, name: progress.written()}},
            most_refused=self._most_refused if self._is_first else None,
        )
        self._is_first = False
        self._door.empty_work()

    def _opened(self, name: str, path: Path) -> Delivery:
        pairs = [(table, path) for table in self._mapping.tables if name in table.files]
        zone = self._door.hospital.settings.zone
        return open_tables(self._document, self._mapping, pairs, zone=zone, name=name)


def _mark_of(row: tuple[Any, ...]) -> str:
    """Hash a row; 128 bits, so that no two meet."""
    return hashlib.blake2b(json.dumps(row).encode(), digest_size=16).hexdigest()
