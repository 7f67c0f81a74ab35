"""Who may come in, on both databases."""

from datetime import UTC, datetime

import pytest
from argon2 import PasswordHasher

from neva.errors import ConflictError, NotFoundError, UsageError
from neva.state import accounts

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
BY = {"actor": "root", "at": AT}
SECRET = "a river is a patient flow"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    monkeypatch.setattr(accounts, "HASHER", PasswordHasher(1, 8, 1))


def adams(state, name="dr.adams", **more):
    given = {"shown": "Dr Adams", "role": "clinician", "password": SECRET} | more
    return state.accounts.put(name, **given, **BY)


def test_an_account_is_made_and_found(database):
    state = database.open()
    made = adams(state, units=["ICU", "ED", "ICU"])
    assert (made.units, made.has_password) == (("ED", "ICU"), True)
    assert state.accounts.get("dr.adams") == made
    assert state.accounts.all() == [made]
    assert state.accounts.get("dr.b") is None


def test_the_right_password_opens_and_others_do_not(database):
    state = database.open()
    made = adams(state)
    assert state.accounts.verify("dr.adams", SECRET) == made
    for name, password in (
        ("dr.adams", SECRET + "!"), ("dr.b", SECRET), ("dr.adams", ""), ("dr\x00b", SECRET),
        ("dr.adams", SECRET * 1000), ("dr.adams", "\ud800"),
    ):  # fmt: skip
        assert state.accounts.verify(name, password) is None


def test_the_same_letters_typed_otherwise_are_the_same_password(database):
    state = database.open()
    adams(state, password="caf\u00e9 by the river side")
    assert state.accounts.verify("dr.adams", "cafe\u0301 by the river side")


def test_a_password_stands_nowhere_in_clear(database):
    adams(database.open())
    kept = str([database.query(f"SELECT * FROM {one}") for one in ("accounts", "audit")])
    assert SECRET not in kept
    assert "$argon2id$" in kept


@pytest.mark.parametrize("case", ["known", "unknown", "disabled", "without a password"])
def test_every_attempt_costs_one_comparison(database, monkeypatch, case):
    state = database.open()
    if case != "unknown":
        adams(state, disabled=case == "disabled",
              password=None if case == "without a password" else SECRET)  # fmt: skip
    state.accounts.verify("nobody", "warm")
    compared = []
    hasher = accounts.HASHER

    class Counting:
        def verify(self, *given):
            compared.append(1)
            return hasher.verify(*given)

    monkeypatch.setattr(accounts, "HASHER", Counting())
    assert state.accounts.verify("dr.adams", "wrong") is None
    assert compared == [1]


def test_a_change_keeps_what_it_does_not_name(database):
    state = database.open()
    adams(state, units=["ED"])
    changed = state.accounts.change("dr.adams", role="viewer", **BY)
    assert (changed.shown, changed.role, changed.units) == ("Dr Adams", "viewer", ("ED",))
    assert state.accounts.change("dr.adams", units=None, **BY).units is None
    assert state.accounts.verify("dr.adams", SECRET)
    with pytest.raises(NotFoundError):
        state.accounts.change("nobody", role="viewer", **BY)


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "viewer"}])
def test_the_last_administrator_stays(database, change):
    state = database.open()
    adams(state, "root", role="administrator")
    adams(state, "no-way-in", role="administrator", password=None)
    adams(state, "gone", role="administrator", disabled=True)
    with pytest.raises(ConflictError, match="last administrator"):
        state.accounts.change("root", **change, **BY)
    assert state.accounts.get("root").role == "administrator"
    adams(state, "second", role="administrator")
    state.accounts.change("root", **change, **BY)
    with pytest.raises(ConflictError):
        state.accounts.change("second", **change, **BY)


@pytest.mark.parametrize("change", [{"disabled": True}, {"password": "another long sentence"}])
def test_a_ban_and_another_password_end_sessions_and_purposes(database, change):
    state = database.open()
    adams(state)
    token, session = state.sessions.begin("dr.adams", at=AT)
    state.sessions.state_purpose(session.id, 1, "care", until=datetime(2027, 1, 1, tzinfo=UTC),
                                 at=AT)  # fmt: skip
    state.accounts.change("dr.adams", **change, **BY)
    assert state.sessions.find(token, at=AT) is None
    assert database.query("SELECT * FROM purposes") == []


def test_an_account_never_changes_hands(database):
    state = database.open()
    adams(state)
    adams(state, "of-provider", password=None, issuer="https://id.example")
    for name, issuer in (
        ("dr.adams", "https://id.example"),
        ("of-provider", "https://evil.example"),
    ):
        with pytest.raises(ConflictError):
            adams(state, name, password=None, issuer=issuer)
    with pytest.raises(ConflictError, match="provider"):
        adams(state, "of-provider")
    kept = adams(state, "of-provider", password=None, role="viewer")
    assert kept.issuer == "https://id.example"


@pytest.mark.parametrize(
    "wrong",
    [{"role": "king"}, {"password": "short"}, {"password": "x" * 1001}, {"password": "a" * 20}],
)
def test_what_may_not_be_is_refused_without_repeating_it(database, wrong):
    state = database.open()
    with pytest.raises(UsageError) as told:
        adams(state, **wrong)
    assert next(iter(wrong.values())) not in str(told.value)
    assert state.accounts.all() == []


def test_a_taken_or_absent_name_is_said(database):
    state = database.open()
    adams(state)
    with pytest.raises(ConflictError):
        adams(state, new=True)
    with pytest.raises(NotFoundError):
        adams(state, "dr.b", new=False)
