"""Accounts from the command line: a password is read, never an argument, never printed."""

import io
from datetime import date

import pytest
from argon2 import PasswordHasher

from neva.events.people import people_path, read_people
from neva.state import accounts, open_state

SECRET = "a river is a patient flow"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    monkeypatch.setattr(accounts, "HASHER", PasswordHasher(1, 8, 1))


@pytest.fixture
def typed(monkeypatch):
    def type_in(text=SECRET + "\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return type_in


def verified(hospital, password=SECRET):
    with open_state(hospital.path / "state.sqlite") as state:
        return state.accounts.verify("dr.adams", password)


def add(neva, hospital, *more, role="clinician"):
    return neva("accounts", "add", hospital.path, "dr.adams", "--role", role, *more)


def test_an_account_is_made_with_a_password_from_standard_input(neva, hospital, typed):
    typed()
    said = add(neva, hospital, "--shown-name", "Dr Adams", "--unit", "ED")
    assert said.code == 0, said.err
    assert SECRET not in said.out + said.err
    found = verified(hospital)
    assert (found.shown, found.role, found.units) == ("Dr Adams", "clinician", ("ED",))


def test_no_option_takes_a_password(neva, hospital):
    assert add(neva, hospital, "--password", SECRET).code == 2


def test_a_short_password_is_refused_and_not_printed(neva, hospital, typed):
    typed("hunter2\n")
    said = add(neva, hospital)
    assert said.code == 2
    assert "hunter2" not in said.out + said.err


def test_two_passwords_that_differ_are_refused(neva, hospital, monkeypatch):
    answers = iter([SECRET, SECRET + "!"])
    monkeypatch.setattr("sys.stdin", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    assert add(neva, hospital).code == 2


def test_accounts_are_listed_changed_and_disabled(neva, hospital):
    assert "no accounts" in neva("accounts", "list", hospital.path).out
    add(neva, hospital, "--no-password")
    assert "no password yet" in neva("accounts", "list", hospital.path).out
    change = ("accounts", "change", hospital.path, "dr.adams", "--json")
    assert neva(*change, "--role", "viewer", "--unit", "ED", "--unit", "ICU").json() == {
        "account": "dr.adams", "name": "dr.adams", "role": "viewer", "units": ["ED", "ICU"],
        "disabled": False, "password": False, "issuer": None,
    }  # fmt: skip
    assert neva(*change, "--all-units").json()["units"] is None
    assert neva("accounts", "disable", hospital.path, "dr.adams", "--json").json()["disabled"]
    assert neva(*change, "--enable").json()["disabled"] is False


def test_another_password_replaces_the_first(neva, hospital, typed):
    typed()
    add(neva, hospital)
    typed("another long sentence\n")
    assert neva("accounts", "password", hospital.path, "dr.adams").code == 0
    assert verified(hospital) is None
    assert verified(hospital, "another long sentence")


def test_mistakes_have_their_exit_codes(neva, hospital):
    assert add(neva, hospital, "--no-password", role="king").code == 2
    assert add(neva, hospital, "--no-password").code == 0
    assert add(neva, hospital, "--no-password").code == 5
    assert neva("accounts", "disable", hospital.path, "nobody").code == 4
    both = ("--unit", "ED", "--all-units")
    assert neva("accounts", "change", hospital.path, "dr.adams", *both).code == 2
    assert neva("accounts", "list", hospital.path / "absent").code == 4


PEOPLE = "local_id,family,given,birth_date\n1,CANARY7731,Kim,1960-01-31\nNA,Birch,,\n"


def load(neva, hospital, file, assigner="log"):
    return neva("identities", "load", hospital.path, file, "--assigner", assigner, "--json")


def test_names_are_loaded_under_pseudonyms_and_never_printed(neva, hospital, tmp_path):
    (tmp_path / "people.csv").write_text(PEOPLE)
    said = load(neva, hospital, tmp_path / "people.csv")
    assert (said.code, said.json()) == (0, {"rows": 2, "unknown": 2, "named": 2})
    names = read_people(hospital.path)
    pseudonyms = hospital.pseudonyms("log")
    assert names[pseudonyms.one("subject", "1")] == ("CANARY7731, Kim", date(1960, 1, 31))
    assert names[pseudonyms.one("subject", "NA")] == ("Birch", None)
    assert people_path(hospital.path).stat().st_mode & 0o777 == 0o600
    with open_state(hospital.path / "state.sqlite") as state:
        last = list(state.audit.rows())[-1]
    assert (last.action, last.details) == ("settings-changed", '{"rows":2,"unknown":2}')


def test_a_later_file_of_names_replaces_only_whom_it_names(neva, hospital, tmp_path):
    file = tmp_path / "people.csv"
    for text in (PEOPLE, "local_id,family,given,birth_date\n1,Cedar,,\n"):
        file.write_text(text)
        assert load(neva, hospital, file).code == 0
    pseudonyms = hospital.pseudonyms("log")
    names = read_people(hospital.path)
    assert names[pseudonyms.one("subject", "1")] == ("Cedar", None)
    assert names[pseudonyms.one("subject", "NA")][0] == "Birch"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("local_id,family\n1,CANARY7731\n", "given, birth_date"),
        ("local_id,family,given,birth_date\n,CANARY7731,,\n", "row 2"),
        ("local_id,family,given,birth_date\n1,a,,\n1,CANARY7731,,\n", "row 3"),
        ("local_id,family,given,birth_date\n1,a,,CANARY7731\n", "row 2"),
        ("", "cannot be read"),
    ],
)
def test_a_file_of_names_that_cannot_be_used_changes_nothing(neva, hospital, tmp_path, text, says):
    (tmp_path / "people.csv").write_text(text)
    said = load(neva, hospital, tmp_path / "people.csv")
    assert said.code == 3
    assert says in said.err
    assert read_people(hospital.path) == {}
    assert load(neva, hospital, tmp_path / "absent.csv").code == 4
    assert load(neva, hospital, tmp_path / "people.csv", " ").code == 2


def test_the_worker_does_what_waits(neva, hospital):
    said = neva("worker", hospital.path, "--until-done", "--json")
    assert (said.code, said.json()) == (0, {"jobs": 0})
    assert neva("worker", hospital.path.parent / "absent").code == 4
