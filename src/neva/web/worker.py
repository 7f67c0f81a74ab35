"""The worker: a process of its own that does long work and leaves results.

It takes one job at a time from the state, tells how far it is, and writes what
it found as a JSON file, whole or not at all. Web processes only read results.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from neva.errors import NevaError, NotFoundError
from neva.events.hospital import Hospital, open_hospital
from neva.files.whole import write_whole
from neva.state import State, job_key, open_state, state_of
from neva.state.jobs import Job
from neva.state.settings import WebSettings
from neva.web.heartbeat import BEAT_EVERY, Heartbeat, log_failure, place_of

__all__ = ["Cancelled", "Result", "Results", "WorkContext", "results_folder", "work_forever"]

#: How often a worker looks for work, seconds.
_LOOK_EVERY: Final = 0.5
#: After an error it waits, each time twice as long, up to so many seconds.
_LONGEST_WAIT: Final = 30.0
#: The end of a job is written at the so manieth attempt at the latest; else the
#: job is given up for lost, and taken up again.
_MOST_ENDINGS: Final = 20
#: So many results of a kind are kept.
_KEPT: Final = 40
#: Names what results look like: it changes with the code that makes them.
_FORMAT: Final = hashlib.sha256(
    b"".join(one.read_bytes() for one in sorted(Path(__file__).with_name("computed").glob("*.py")))
).hexdigest()[:16]


class Cancelled(Exception):  # noqa: N818
    """Somebody cancelled the job."""


def results_folder(hospital: Path) -> Path:
    """Return the folder of results: ``results`` in the hospital, or NEVA_RESULTS."""
    place = os.environ.get("NEVA_RESULTS", "").strip()
    return Path(place) if place else hospital / "results"


@dataclass(frozen=True)
class Result:
    """What a job left.

    Attributes
    ----------
    id, kind : str
    parameters : dict
    version : str
        Of the data that it was made from.
    made : datetime
        Aware.
    content : dict
    """

    id: str
    kind: str
    parameters: dict[str, Any]
    version: str
    made: datetime
    content: dict[str, Any]
    folder: Path

    def attachment(self, name: str) -> Path:
        """Return the path of a file that the job left beside."""
        return self.folder / f"{self.id}.{name}"

    def cases(self) -> pl.DataFrame:
        """Return the table that the job left beside."""
        return pl.read_parquet(self.attachment("cases.parquet"))


class Results:
    """Results of one hospital, found again by what was asked.

    Parameters
    ----------
    settings : WebSettings
    state : State
    hospital : Hospital
    """

    def __init__(self, settings: WebSettings, state: State, hospital: Hospital) -> None:
        self._settings, self._state, self._hospital = settings, state, hospital
        self.folder = results_folder(settings.hospital)
        self._read: dict[str, Result] = {}
        self._lock = threading.Lock()

    def version(self) -> str:
        """Name the data as they are."""
        return f"{self._hospital.settings.hospital}@{self._hospital.manifest().version}"

    def key(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """Name a result of the data as they are, and of the rules as they are."""
        # Which definitions made a figure is recorded in a table of its own: that
        # one was written changes no other figure.
        tables = self._hospital.manifest().tables
        data = {name: version for name, version in tables.items() if name != "definitions"}
        more = job_key("data", data, self._hospital.settings.hospital)
        if kind == "work-list":
            more += job_key(
                "rules", {one.rule: [one.state, one.hash] for one in self._state.rules.all()}
            )
        return job_key(kind, parameters, more + _FORMAT)

    def _load(self, id_: str) -> Result | None:
        with self._lock:
            if id_ in self._read:
                return self._read[id_]
        path = self.folder / f"{id_}.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if held.get("format") != _FORMAT:
            return None  # written by another version of Neva
        found = Result(
            id_, held["kind"], held["parameters"], held["version"],
            datetime.fromisoformat(held["made"]), held["content"], self.folder,
        )  # fmt: skip
        with self._lock:
            while len(self._read) >= _KEPT:
                self._read.pop(next(iter(self._read)))
            self._read[id_] = found
        return found

    def find(self, kind: str, parameters: Mapping[str, Any]) -> Result | None:
        """Return the result for exactly this and the data as they are, or None."""
        return self._load(self.key(kind, parameters))

    def latest(self, kind: str, parameters: Mapping[str, Any]) -> Result | None:
        """Return the newest result of a kind whose parameters but the time are these."""
        wanted = _without_time(parameters)
        pointer = self.folder / f"latest-{job_key(kind, wanted)}"
        try:
            return self._load(pointer.read_text(encoding="utf-8").strip())
        except OSError:
            return None

    def has_of(self, job: Job) -> bool:
        """Say whether a job has already left its result, whole."""
        found = self._load(job.key)
        return found is not None and found.made >= job.at

    def forget(self, result: Result) -> None:
        """Drop a result whose files are gone; it is computed anew."""
        with self._lock:
            self._read.pop(result.id, None)
        (self.folder / f"{result.id}.json").unlink(missing_ok=True)

    def want(self, kind: str, parameters: Mapping[str, Any], *, actor: str) -> Job:
        """Queue the job of a result, once."""
        return self._state.jobs.add(
            kind,
            parameters,
            key=self.key(kind, parameters),
            actor=actor,
            at=self._settings.now(),
        )

    def running(self, kind: str, parameters: Mapping[str, Any]) -> str | None:
        """Return the id of the job under way for this, or None."""
        job = self._state.jobs.last(self.key(kind, parameters))
        return job.id if job is not None and job.is_under_way else None

    def failed(self, kind: str, parameters: Mapping[str, Any]) -> Job | None:
        """Return the last job for this if it failed or was cancelled."""
        job = self._state.jobs.last(self.key(kind, parameters))
        return job if job is not None and job.state in ("failed", "cancelled") else None

    def keep(self, id_: str, kind: str, parameters: Mapping[str, Any], version: str,
             content: Mapping[str, Any], made: datetime) -> None:  # fmt: skip
        """Write a result, whole or not at all, and drop the oldest of its kind."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        held = {
            "format": _FORMAT,
            "kind": kind,
            "parameters": dict(parameters),
            "version": version,
            "made": made.isoformat(),
            "content": content,
        }
        text = json.dumps(held, ensure_ascii=False, default=_plain)
        write_whole(self.folder / f"{id_}.json", text, private=True)
        write_whole(
            self.folder / f"latest-{job_key(kind, _without_time(parameters))}", id_, private=True
        )
        self._prune()

    def _prune(self) -> None:
        named = sorted(
            self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        for path in named[_KEPT * 4 :]:
            for one in self.folder.glob(path.name.removesuffix(".json") + ".*"):
                one.unlink(missing_ok=True)


def _without_time(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in parameters.items() if name not in ("at", "after")}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


class WorkContext:
    """What a kind of work is given.

    Attributes
    ----------
    hospital : Hospital
    state : State
    settings : WebSettings
    job : Job
    id : str
        Of the result.
    """

    def __init__(self, hospital: Hospital, state: State, settings: WebSettings, job: Job,
                 folder: Path) -> None:  # fmt: skip
        self.hospital, self.state, self.settings, self.job = hospital, state, settings, job
        self.id, self.folder = job.key, folder
        self._told = 0.0
        self._lock = threading.Lock()
        self._is_cancelled = False

    def attachment(self, name: str) -> Path:
        """Return the path of a file to leave beside the result."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return self.folder / f"{self.id}.{name}"

    def progress(self, done: int, of: int, words: str) -> None:
        """Say how far it is.

        Raises
        ------
        Cancelled
        """
        with self._lock:
            if self._is_cancelled:
                raise Cancelled
            if time.monotonic() - self._told < 0.3 and done < of:
                return
            self._told = time.monotonic()
        if not self._beat(done=done, of=of, words=words):
            self._is_cancelled = True
            raise Cancelled

    def alive(self) -> None:
        """Say that it is alive; called from a thread of its own."""
        if not self._beat():
            self._is_cancelled = True

    def _beat(self, **more: Any) -> bool:
        try:
            return self.state.jobs.beat(
                self.job.id, at=self.settings.now(), tries=self.job.tries, **more
            )
        except Exception as error:  # work is not lost because nobody can be told of it
            log_failure("a job could not say how far it is", error)
            return True


class HourlyCensus:
    """Writes the census for a downtime once an hour, where the settings name a folder."""

    def __init__(self, hospital: Hospital, state: State, settings: WebSettings) -> None:
        self._hospital, self._state, self._settings = hospital, state, settings
        self._written: datetime | None = None

    def write_if_due(self) -> bool:
        """Write it if this hour has none yet; a failure is tried again in the next hour."""
        if self._settings.downtime is None:
            return False
        hour = self._settings.now().replace(minute=0, second=0, microsecond=0)
        if hour == self._written:
            return False
        self._written = hour
        from neva.web.computed.papers import write_census

        try:
            write_census(self._hospital, self._state, self._settings)
        except Exception as error:  # the doorway: pages and jobs go on without it
            log_failure("the census for a downtime was not written", error)
            return False
        return True


Work = Callable[[WorkContext, Mapping[str, Any]], dict[str, Any]]


def _kinds() -> Mapping[str, Work]:
    from neva.web.computed.kinds import KINDS

    return KINDS


def _do(context: WorkContext, results: Results, stop: threading.Event) -> bool:
    """Do a job; say whether its end was written."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_EVERY):
            context.alive()

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        return _end(context, _outcome(context, results), stop)
    finally:
        over.set()
        beating.join()


def _outcome(context: WorkContext, results: Results) -> dict[str, Any]:
    """Do the work; return how it ended, as :meth:`~neva.state.jobs.Jobs.end` takes it."""
    job = context.job
    try:
        if job.tries > 1 and job.kind != "flush" and results.has_of(job):
            # Its first worker did it, and could not write its end. (What people enter
            # meanwhile waits for a flush that is under way: that is done again.)
            return {"state": "done", "result": job.key}
        kind = _kinds().get(job.kind)
        if kind is None:
            message = f"job: no work of this kind is known; found {job.kind[:40]!r}; update Neva"
            raise NotFoundError(message)
        version = results.version()
        content = kind(context, job.parameters)
        context.progress(1, 1, "done")
        results.keep(job.key, job.kind, job.parameters, version, content, context.settings.now())
    except Cancelled:
        return {"state": "cancelled"}
    except NevaError as error:
        return {"state": "failed", "error": str(error)}
    except Exception as error:  # the doorway: what nobody foresaw is our bug
        # The text of a foreign error may quote a row, so only its kind and place are kept.
        told = f"a bug in Neva, please report it: {place_of(error)}"
        return {"state": "failed", "error": told}
    return {"state": "done", "result": job.key}


def _end(context: WorkContext, outcome: Mapping[str, Any], stop: threading.Event) -> bool:
    """Write how a job ended, again and again where the state cannot be written just now.

    A job that another worker has taken up meanwhile is left to that one.
    """
    job = context.job
    for number in range(_MOST_ENDINGS):
        try:
            context.state.jobs.end(job.id, at=context.settings.now(), tries=job.tries, **outcome)
        except Exception as error:
            log_failure("the end of a job was not written", error)
            if stop.wait(_wait_after(number)):
                return False
        else:
            return True
    return False


def _wait_after(failures: int) -> float:
    return min(_LOOK_EVERY * 2.0 ** min(failures, 10), _LONGEST_WAIT)


def _survives(what: str, do: Callable[[], object]) -> bool:
    """Do something without which the worker goes on; say whether it was done."""
    try:
        do()
    except Exception as error:
        log_failure(what, error)
        return False
    return True


def work_forever(
    settings: WebSettings,
    *,
    stop: threading.Event | None = None,
    parent: int | None = None,
    most: int | None = None,
) -> int:
    """Take jobs and do them until told to stop.

    Parameters
    ----------
    settings : WebSettings
    stop : threading.Event, optional
    parent : int, optional
        A process; when it is gone, so is the worker.
    most : int, optional
        Stop after so many jobs, or when there is none (for tests).

    Returns
    -------
    int
        Jobs whose end it has written.

    Notes
    -----
    A state that is locked or away for a while, or a hospital that cannot be read,
    does not end it: it logs the kind and the place of the error, waits and goes on.
    """
    from neva.web.uploads import HourlySweep, Uploads

    stop = stop or threading.Event()
    name = f"{socket.gethostname()}:{os.getpid()}"
    place = settings.state if settings.state is not None else state_of(settings.hospital)
    done = failures = 0
    with open_state(place) as state, Heartbeat(state, name, settings.now) as heart:
        hospital = open_hospital(settings.hospital)
        results = Results(settings, state, hospital)
        census = HourlyCensus(hospital, state, settings)
        sweep = HourlySweep(Uploads(settings, state), settings.now)
        while not stop.is_set() and (parent is None or os.getppid() == parent):
            _survives("the census for a downtime was not written", census.write_if_due)
            _survives("old uploads were not deleted", sweep.if_due)
            try:
                job = state.jobs.take(name, at=settings.now())
            except Exception as error:  # it may be over in a minute: a worker does not end by it
                log_failure("the worker could not take a job", error)
                heart.is_well = False
                stop.wait(_wait_after(failures))
                failures += 1
                continue
            heart.is_well, failures = True, 0
            if job is None:
                if most is not None:
                    break
                stop.wait(_LOOK_EVERY)
                continue
            context = WorkContext(hospital, state, settings, job, results.folder)
            done += _do(context, results, stop)
            if most is not None and done >= most:
                break
    return done
