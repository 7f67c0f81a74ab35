"""Who guesses is slowed down, nobody else is locked out; on both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from neva.state import attempts
from neva.state.attempts import FREE, LONGEST, LONGEST_FOR_OTHERS, MOST_DEVICES

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)


def seconds(number):
    return AT + timedelta(seconds=number)


@pytest.fixture
def state(database):
    return database.open()


def guesses(state, span, name="a", address="1", device=None, begin=AT):
    """Guess as soon as it is allowed, for so long; how often a password was looked at."""
    now, made = begin, 0
    while now < begin + span:
        wait = state.attempts.begin(name, address, at=now, device=device)
        made += not wait
        now += wait or timedelta(milliseconds=1)
    return made


def test_the_wait_grows_and_ends(state):
    for _ in range(FREE):
        assert state.attempts.begin("a", "1", at=AT) == AT_ONCE
    now, waits = AT, []
    for _ in range(20):
        wait = state.attempts.begin("a", "1", at=now)
        waits.append(wait.total_seconds())
        now += wait
        assert state.attempts.begin("a", "1", at=now) == AT_ONCE
    assert waits[:6] == [1, 2, 4, 8, 16, 30]
    assert waits[-1] == LONGEST.total_seconds()


def test_guesses_an_hour_at_one_name_are_bounded(state):
    first = guesses(state, HOUR)
    assert 20 <= first <= 40
    assert guesses(state, HOUR, begin=AT + HOUR) <= 13


def test_many_attempts_at_one_moment_are_no_more_guesses(state):
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: state.attempts.begin("a", "1", at=AT), range(24)))
    assert waits.count(AT_ONCE) == FREE


def test_capitals_are_no_other_name(state):
    for number in range(FREE):
        assert state.attempts.begin("aA"[number % 2], "1", at=AT) == AT_ONCE
    assert state.attempts.begin("A", "1", at=AT) > AT_ONCE


def test_failures_under_invented_names_make_others_at_the_address_wait_and_no_more(state):
    for number in range(1_000):
        state.attempts.begin(f"invented-{number}", "1", at=AT)
    wait = state.attempts.begin("a", "1", at=AT)
    assert AT_ONCE < wait <= LONGEST_FOR_OTHERS
    # Whoever goes on guessing meanwhile pushes nobody back.
    for number in range(200):
        state.attempts.begin(f"other-{number}", "1", at=AT + wait / 2)
    assert state.attempts.begin("a", "1", at=AT + wait) == AT_ONCE
    assert state.attempts.begin("a", "2", at=AT) == AT_ONCE


def test_failures_at_a_name_make_its_owner_elsewhere_wait_and_no_more(state):
    for address in range(100):
        state.attempts.begin("a", f"bad-{address}", at=AT)
    wait = state.attempts.begin("a", "home", at=AT)
    assert AT_ONCE < wait <= LONGEST_FOR_OTHERS
    for address in range(100):
        state.attempts.begin("a", f"bad-{address}", at=AT + wait)
    assert state.attempts.begin("a", "home", at=AT + wait) == AT_ONCE


def test_from_many_addresses_the_first_guess_waits_too(state):
    looked_at = [state.attempts.begin("a", str(one), at=AT) == AT_ONCE for one in range(1_000)]
    assert sum(looked_at) == attempts.FREE_OF_NAME


def test_a_known_device_is_touched_by_nothing_that_happens_elsewhere(state):
    guesses(state, HOUR)
    for number in range(200):
        state.attempts.begin(f"invented-{number}", "1", at=AT + HOUR)
    assert state.attempts.begin("a", "1", at=AT + HOUR, device="token") == AT_ONCE


def test_guesses_at_a_known_device_are_bounded_too(state):
    assert guesses(state, HOUR, device="token") <= 40
    assert state.attempts.begin("a", "1", at=AT) == AT_ONCE


def test_who_succeeds_begins_anew_and_the_address_does_not(state, monkeypatch):
    monkeypatch.setattr(attempts, "FREE_OF_ADDRESS", 12)
    for _ in range(3):
        for _ in range(FREE):
            assert state.attempts.begin("a", "1", at=AT) == AT_ONCE
        state.attempts.succeeded("a", "1")
    assert state.attempts.begin("b", "1", at=AT) > AT_ONCE


def test_failures_are_forgotten(state):
    guesses(state, HOUR)
    assert state.attempts.begin("a", "1", at=AT + HOUR) > AT_ONCE
    later = AT + HOUR + attempts.MANY * attempts.FORGOTTEN_IN + LONGEST
    for _ in range(FREE):
        assert state.attempts.begin("a", "1", at=later) == AT_ONCE


def test_names_without_end_take_no_room_without_end(state, monkeypatch, database):
    monkeypatch.setattr(attempts, "MOST_ROWS", 60)
    monkeypatch.setattr(attempts, "_DROPPED_AT_ONCE", 20)
    for _ in range(FREE):
        state.attempts.begin("guessed", "1", at=AT)
    for number in range(200):
        state.attempts.begin(f"invented-{number}", str(number), at=seconds(1))
    [(rows,)] = database.query("SELECT count(*) FROM attempts")
    assert rows <= 63
    # What was tried most is kept.
    assert state.attempts.begin("guessed", "1", at=AT) > AT_ONCE


def test_what_is_over_is_deleted(state, database):
    for number in range(20):
        state.attempts.begin(f"invented-{number}", str(number), at=AT)
    state.attempts.begin("a", "1", at=AT + timedelta(days=1))
    [(rows,)] = database.query("SELECT count(*) FROM attempts")
    assert rows == 3


def test_names_addresses_and_devices_are_kept_as_hashes(state, database):
    token = state.devices.remember(None, "adams", at=AT)
    state.attempts.begin("adams", "10.0.0.1", at=AT)
    state.attempts.begin("adams", "10.0.0.1", at=AT, device=token)
    kept = str(database.query("SELECT * FROM attempts"))
    assert "adams" not in kept
    assert "10.0.0.1" not in kept
    assert token not in kept + str(database.query("SELECT * FROM devices"))


def test_a_device_is_known_for_its_accounts_and_for_a_time(state):
    token = state.devices.remember(None, "a", at=AT)
    assert len(token) >= 43
    assert state.devices.remember(token, "b", at=AT) == token
    for account in "ab":
        assert state.devices.knows(token, account, at=AT)
    for other, account in ((token, "c"), (token[:-1], "a"), ("", "a"), (None, "a")):
        assert not state.devices.knows(other, account, at=AT)
    assert not state.devices.knows(token, "a", at=AT + attempts.DEVICE_KNOWN_FOR)


def test_nobody_chooses_the_token_of_a_device(state):
    token = state.devices.remember("chosen by somebody", "a", at=AT)
    assert token != "chosen by somebody"
    assert not state.devices.knows("chosen by somebody", "a", at=AT)


def test_an_account_has_so_many_devices(state):
    tokens = [state.devices.remember(None, "a", at=seconds(one)) for one in range(MOST_DEVICES + 5)]
    known = [state.devices.knows(token, "a", at=seconds(100)) for token in tokens]
    assert known == [False] * 5 + [True] * MOST_DEVICES


def test_another_password_makes_every_device_a_strange_one(state):
    made = {"role": "viewer", "password": "a river is a patient flow", "actor": "root", "at": AT}
    state.accounts.put("a", **made)
    token = state.devices.remember(None, "a", at=AT)
    state.devices.remember(token, "b", at=AT)
    state.accounts.change("a", shown="A", actor="root", at=AT)
    assert state.devices.knows(token, "a", at=AT)
    state.accounts.change("a", password="another long sentence", actor="root", at=AT)
    assert not state.devices.knows(token, "a", at=AT)
    assert state.devices.knows(token, "b", at=AT)
