"""Sessions begin anew and end by themselves; attempts are counted; on both databases."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from neva.errors import ConflictError, UsageError
from neva.state.sessions import MOST_FAILURES, MOST_FAILURES_OF_ADDRESS

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
KEYS = ("name:a", "address:1")


def minutes(number):
    return AT + timedelta(minutes=number)


@pytest.fixture
def state(database):
    return database.open()


def test_a_session_is_found_by_its_token_only(state):
    token, session = state.sessions.begin("a", at=AT)
    assert state.sessions.find(token, at=AT) == session
    for other in (session.id, session.csrf, token[:-1], "", "x" * 5_000):
        assert state.sessions.find(other, at=AT) is None


def test_neither_the_token_nor_that_of_its_forms_is_kept(state, database):
    token, session = state.sessions.begin("a", at=AT)
    assert len(token) >= 43
    kept = str(database.query("SELECT * FROM sessions"))
    assert token not in kept
    assert session.csrf not in kept
    assert session.csrf not in token
    assert state.sessions.begin("a", at=AT)[1].csrf != session.csrf


def test_a_session_ends_when_idle_after_a_shift_and_when_asked(state):
    token, _ = state.sessions.begin("a", at=AT)
    assert state.sessions.find(token, at=minutes(29))
    assert state.sessions.find(token, at=minutes(58))
    assert state.sessions.find(token, at=minutes(88)) is None
    token, session = state.sessions.begin("a", at=AT)
    for number in range(20, 720, 20):
        assert state.sessions.find(token, at=minutes(number))
    assert state.sessions.find(token, at=minutes(720)) is None
    token, session = state.sessions.begin("a", at=AT)
    state.sessions.end(session.id)
    assert state.sessions.find(token, at=AT) is None


def test_all_sessions_of_an_account_end_and_no_other(state):
    first, second = (state.sessions.begin("a", at=AT)[0] for _ in range(2))
    other, _ = state.sessions.begin("b", at=AT)
    state.sessions.end_all("a")
    assert state.sessions.find(first, at=AT) is None
    assert state.sessions.find(second, at=AT) is None
    assert state.sessions.find(other, at=AT)


def test_a_purpose_holds_for_its_patient_session_and_time(state):
    _, session = state.sessions.begin("a", at=AT)
    state.sessions.state_purpose(session.id, 7, "care", until=minutes(60), at=AT)
    assert state.sessions.purpose_of(session.id, 7, at=minutes(59)) == "care"
    assert state.sessions.purpose_of(session.id, 7, at=minutes(60)) is None
    assert state.sessions.purpose_of(session.id, 8, at=AT) is None
    assert state.sessions.purpose_of("another", 7, at=AT) is None
    with pytest.raises(UsageError):
        state.sessions.state_purpose(session.id, 7, " ", until=minutes(60), at=AT)


def test_an_attempt_counts_before_it_is_looked_at(state):
    for _ in range(MOST_FAILURES):
        state.attempts.begin(*KEYS, at=AT)
    with pytest.raises(ConflictError, match="too many"):
        state.attempts.begin(*KEYS, at=minutes(14))
    state.attempts.begin("name:b", "address:1", at=AT)
    state.attempts.begin(*KEYS, at=minutes(15))


def test_of_many_attempts_at_one_moment_only_so_many_are_let_in(state):
    def guess(_):
        try:
            state.attempts.begin(*KEYS, at=AT)
        except ConflictError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(guess, range(24))) == MOST_FAILURES


def test_who_succeeds_clears_the_name_and_not_the_address(state):
    for _ in range(MOST_FAILURES - 1):
        state.attempts.begin(*KEYS, at=AT)
    state.attempts.begin(*KEYS, at=AT)
    state.attempts.succeeded(*KEYS, at=AT)
    for _ in range(MOST_FAILURES):
        state.attempts.begin(*KEYS, at=AT)
    left = MOST_FAILURES_OF_ADDRESS - 2 * MOST_FAILURES + 1
    for number in range(left):
        state.attempts.begin(f"name:{number}", "address:1", at=AT)
    with pytest.raises(ConflictError):
        state.attempts.begin("name:new", "address:1", at=AT)


def test_names_and_addresses_are_kept_as_hashes(state, database):
    state.attempts.failed("name:adams", "address:10.0.0.1", at=AT)
    kept = str(database.query("SELECT * FROM attempts"))
    assert "adams" not in kept
    assert "10.0.0.1" not in kept


def test_who_looks_does_not_wait_for_those_who_write(database):
    """A look notes when it was; a writer that does not end held up every page for 30 seconds."""
    state, other = database.open(), database.open()
    token, session = state.sessions.begin("a", at=AT)
    with other.transaction():
        began = time.monotonic()
        assert state.sessions.find(token, at=minutes(10)) == session
        assert time.monotonic() - began < 5
    # What could not be noted then is noted by the next look.
    assert state.sessions.find(token, at=minutes(11)) == session
    assert state.sessions.find(token, at=minutes(40)) == session
