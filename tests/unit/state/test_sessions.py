"""Sessions begin anew and end by themselves; on both databases."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from neva.errors import UsageError

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)


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


def test_roles_of_many_sessions_are_told_at_once_and_keep_none_alive(state):
    def account(name, **more):
        state.accounts.put(name, password=None, actor="root", at=AT, **more)

    account("a", role="clinician", units=["icu", "alpha"])
    account("b", role="viewer")
    (token, first), (_, second) = (state.sessions.begin(name, at=AT) for name in ("a", "b"))
    _, nobody = state.sessions.begin("no such account", at=AT)
    asked = [first.id, second.id, nobody.id, "none"]
    found = {first.id: ("clinician", ("alpha", "icu")), second.id: ("viewer", None)}
    assert state.sessions.open_roles(asked, at=minutes(29)) == found
    assert state.sessions.open_roles(asked, at=minutes(31)) == {}
    assert state.sessions.open_roles([], at=AT) == {}
    # A look of a person does keep one alive, and another role is told.
    assert state.sessions.find(token, at=minutes(20))
    assert set(state.sessions.open_roles(asked, at=minutes(40))) == {first.id}
    account("a", role="clinician", disabled=True)
    assert state.sessions.open_roles(asked, at=AT) == {second.id: ("viewer", None)}
