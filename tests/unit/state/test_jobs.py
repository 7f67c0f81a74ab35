"""Jobs are taken once, tried again when their worker is lost, and stopped, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from neva.errors import NotFoundError
from neva.state.jobs import GONE_AFTER, MOST_TRIES

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def add(state, key="k", at=AT):
    return state.jobs.add("forecast", {"days": 7}, key=key, actor="a", at=at)


def test_a_job_goes_from_queued_to_done(database):
    state = database.open()
    added = add(state)
    assert (added.state, added.parameters, added.is_under_way) == ("queued", {"days": 7}, True)
    taken = state.jobs.take("w", at=AT)
    assert (taken.id, taken.state, taken.tries) == (added.id, "running", 1)
    assert state.jobs.beat(taken.id, at=AT, done=3, of=10, words="fold 3")
    assert state.jobs.beat(taken.id, at=AT, done=4, of=10, words="fold 3")
    now = state.jobs.get(taken.id)
    assert (now.done, now.of, now.words) == (4, 10, "fold 3")
    state.jobs.end(taken.id, "done", at=AT + SECOND, result="r")
    done = state.jobs.get(taken.id)
    assert (done.state, done.result, done.is_under_way) == ("done", "r", False)
    assert [words for _, words in state.jobs.log(taken.id)] == ["fold 3"]
    with pytest.raises(NotFoundError):
        state.jobs.get("none")


def test_the_same_job_is_queued_once_until_it_is_over(database):
    state = database.open()
    first = add(state)
    assert add(state).id == first.id
    assert add(state, "other", at=AT + SECOND).id != first.id
    state.jobs.take("w", at=AT)
    assert add(state).id == first.id
    state.jobs.end(first.id, "failed", at=AT, error="no")
    second = add(state, at=AT + SECOND)
    assert second.id != first.id
    assert state.jobs.last("k").id == second.id


def test_of_many_workers_one_gets_a_job(database):
    states = [database.open() for _ in range(4)]
    for number in range(12):
        add(states[0], str(number))

    def work(number):
        taken = []
        while (job := states[number].jobs.take(f"w{number}", at=AT)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [one for some in pool.map(work, range(4)) for one in some]
    assert len(taken) == len(set(taken)) == 12


def test_a_job_of_a_lost_worker_is_tried_again_so_often_and_no_more(database):
    state, at = database.open(), AT
    job = add(state)
    for tries in range(1, MOST_TRIES + 1):
        assert state.jobs.take("w", at=at).tries == tries
        assert state.jobs.take("x", at=at + GONE_AFTER) is None
        at += GONE_AFTER + SECOND
    assert state.jobs.take("w", at=at) is None
    assert state.jobs.get(job.id).state == "failed"


def test_a_worker_that_was_given_up_neither_speaks_for_the_job_nor_ends_it(database):
    state = database.open()
    lost = add(state) and state.jobs.take("slow", at=AT)
    later = AT + GONE_AFTER + SECOND
    again = state.jobs.take("other", at=later)
    assert (again.id, again.tries) == (lost.id, 2)
    assert not state.jobs.beat(lost.id, at=later, words="still here", tries=lost.tries)
    state.jobs.end(lost.id, "failed", at=later, error="no", tries=lost.tries)
    assert state.jobs.get(lost.id).state == "running"
    assert state.jobs.log(lost.id) == []
    assert state.jobs.beat(again.id, at=later, tries=again.tries)
    state.jobs.end(again.id, "done", at=later, result="r", tries=again.tries)
    assert state.jobs.get(lost.id).state == "done"


def test_a_cancelled_job_stays_so(database):
    state = database.open()
    job = add(state)
    state.jobs.take("w", at=AT)
    state.jobs.cancel(job.id, actor="a", at=AT)
    assert not state.jobs.beat(job.id, at=AT, done=1, of=2, words="x")
    state.jobs.end(job.id, "done", at=AT, result="r")
    assert state.jobs.get(job.id).state == "cancelled"
    assert [row.action for row in state.audit.rows()] == ["job-cancelled"]


def test_who_asks_for_what_is_under_way_does_not_write(database):
    """Each page that waits for a result asked again, and each asking was a write."""
    state, other = database.open(), database.open()
    first = add(state)
    with other.transaction():
        assert add(state).id == first.id


def test_the_last_ends_are_told_by_kind(database):
    state = database.open()
    assert state.jobs.last_ends(["forecast", "checks"], since=AT) == {}
    old, new = add(state, at=AT), add(state, "l", at=AT + SECOND)
    state.jobs.take("w", at=AT)
    state.jobs.take("w", at=AT)
    assert state.jobs.last_ends(["forecast"], since=AT) == {}  # none has ended yet
    state.jobs.end(new.id, "done", at=AT + 9 * SECOND, result="r")
    state.jobs.end(old.id, "failed", at=AT + 7 * SECOND, error="e")
    ends = {"forecast": AT + 9 * SECOND}
    assert state.jobs.last_ends(["forecast", "checks"], since=AT) == ends
    assert state.jobs.last_ends(["checks"], since=AT) == {}
    assert state.jobs.last_ends(["forecast"], since=AT + 2 * SECOND) == {}
