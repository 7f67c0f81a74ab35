"""The worker: a process of its own that does background tasks and leaves results.

It takes one job at a time from the state, tells how far it is, and writes what
it found as a JSON file, whole or not at all. Web processes only read results.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final

from neva.errors import NevaError, NotFoundError
from neva.events.hospital import Hospital, open_hospital
from neva.jobs.context import Cancelled, WorkContext
from neva.jobs.heartbeat import BEAT_EVERY, Heartbeat, log_failure, place_of
from neva.jobs.notifying import Notifying
from neva.jobs.results import Results
from neva.jobs.rounds import Rounds
from neva.state import State, open_state, state_of
from neva.state.settings import WebSettings

__all__ = ["work_forever"]

#: How often a worker looks for work, seconds.
_LOOK_EVERY: Final = 0.5
#: After an error it waits, each time twice as long, up to so many seconds.
_LONGEST_WAIT: Final = 30.0
#: The end of a job is written at the so manieth attempt at the latest; else the
#: job is given up for lost, and taken up again.
_MOST_ENDINGS: Final = 20


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
        from neva.jobs.papers import write_census

        try:
            write_census(self._hospital, self._state, self._settings)
        except Exception as error:  # the doorway: pages and jobs go on without it
            log_failure("the census for a downtime was not written", error)
            return False
        return True


Work = Callable[[WorkContext, Mapping[str, Any]], dict[str, Any]]


def _kinds() -> Mapping[str, Work]:
    from neva.jobs.kinds import KINDS

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
        bug = f"a bug in Neva, please report it: {place_of(error)}"
        return {"state": "failed", "error": bug}
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
    from neva.jobs.kept_uploads import HourlySweep, Uploads

    stop = stop or threading.Event()
    name = f"{socket.gethostname()}:{os.getpid()}"
    place = settings.state if settings.state is not None else state_of(settings.hospital)
    done = failures = 0
    with (
        open_state(place) as state,
        Heartbeat(state, name, settings.now) as heart,
        ExitStack() as beside,
    ):
        hospital = open_hospital(settings.hospital)
        results = Results(settings, state, hospital)
        census = HourlyCensus(hospital, state, settings)
        if most is None:
            report = None
            if settings.notifications is not None:
                zone = hospital.settings.zone
                notifying = Notifying(settings.notifications, state, settings, zone)
                report = beside.enter_context(notifying).sender.note
            beside.enter_context(Rounds(hospital, state, settings, results, report))
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
