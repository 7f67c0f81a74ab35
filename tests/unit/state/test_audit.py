"""The audit's chain, against everything somebody may do to it, on both databases."""

import json
import threading
import time
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from fhir.resources.R4B.auditevent import AuditEvent

from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.state import ACTIONS, Head, audit_event, read_audit_keys
from neva.state.audit_chain import ORIGIN

AT = datetime(2026, 1, 1, 8, 30, 15, 123456, tzinfo=UTC)


def filled(state, number=10):
    return [
        state.audit.append(at=AT, actor=f"u{k}", action="viewed", why="care", details={"k": k})
        for k in range(number)
    ]


def kinds(findings):
    return {(finding.kind, finding.number) for finding in findings}


def test_an_empty_chain_is_whole(database):
    state = database.open()
    assert state.audit.verify() == []
    assert state.audit.head() == Head(0, ORIGIN)
    assert state.audit.verify(Head(0, ORIGIN)) == []


def test_what_was_appended_is_whole_and_numbered_without_gaps(database):
    state = database.open()
    heads = filled(state)
    assert [head.number for head in heads] == list(range(1, 11))
    for noted in heads:
        assert state.audit.verify(noted) == []


@pytest.mark.parametrize(
    "column", ["at", "actor", "role", "action", "subject", "stay", "why", "details", "hash"]
)
def test_a_changed_row_is_found_whatever_was_changed(database, column):
    state = database.open()
    filled(state)
    value = "2026-01-01T08:30:15.123457Z" if column == "at" else "other"
    database.tamper(f"UPDATE audit SET {column} = '{value}' WHERE number = 4")
    assert ("changed", 4) in kinds(state.audit.verify())


def test_a_null_is_not_the_word_for_it(database):
    state = database.open()
    filled(state)
    database.tamper("UPDATE audit SET role = '' WHERE number = 4")
    assert kinds(state.audit.verify()) == {("changed", 4)}


def test_a_row_removed_from_the_middle_is_found(database):
    state = database.open()
    filled(state)
    database.tamper("DELETE FROM audit WHERE number IN (4, 5)")
    assert kinds(state.audit.verify()) == {("removed", 6)}


def test_a_removed_first_row_is_found(database):
    state = database.open()
    filled(state)
    database.tamper("DELETE FROM audit WHERE number = 1")
    assert kinds(state.audit.verify()) == {("removed", 2)}


def test_a_removed_row_with_the_rest_renumbered_is_found(database):
    state = database.open()
    filled(state)
    database.tamper(
        "DELETE FROM audit WHERE number = 4",
        *(f"UPDATE audit SET number = {n - 1} WHERE number = {n}" for n in range(5, 11)),
    )
    found = kinds(state.audit.verify())
    assert ("unlinked", 4) in found
    assert ("changed", 4) in found


def test_an_inserted_row_is_found(database):
    state = database.open()
    filled(state, 5)
    # As good a forgery as plain hashes allow: the row itself is consistent.
    database.tamper(
        *(f"UPDATE audit SET number = {n + 1} WHERE number = {n}" for n in (5, 4)),
        "INSERT INTO audit SELECT 4, at, actor, role, action, subject, stay, why, details, "
        "previous, seal, hash FROM audit WHERE number = 3",
    )
    assert ("unlinked", 4) in kinds(state.audit.verify())


def test_a_row_before_the_first_is_found(database):
    state = database.open()
    filled(state, 3)
    database.tamper(
        "INSERT INTO audit SELECT 0, at, actor, role, action, subject, stay, why, details, "
        "previous, seal, hash FROM audit WHERE number = 1"
    )
    assert ("unlinked", 0) in kinds(state.audit.verify())


def test_swapped_rows_are_found(database):
    state = database.open()
    filled(state)
    database.tamper(
        "UPDATE audit SET number = 100 WHERE number = 4",
        "UPDATE audit SET number = 4 WHERE number = 5",
        "UPDATE audit SET number = 5 WHERE number = 100",
    )
    found = kinds(state.audit.verify())
    assert {("changed", 4), ("changed", 5), ("unlinked", 4), ("unlinked", 5)} <= found


def test_rows_missing_at_the_end_are_found_only_against_a_noted_head(database):
    state = database.open()
    noted = filled(state)[-1]
    database.tamper("DELETE FROM audit WHERE number > 7")
    assert state.audit.verify() == []
    assert kinds(state.audit.verify(noted)) == {("truncated", 7)}


def test_an_emptied_audit_is_found_against_a_noted_head(database):
    state = database.open()
    noted = filled(state)[-1]
    database.tamper("DELETE FROM audit")
    assert kinds(state.audit.verify(noted)) == {("truncated", 0)}


def test_a_tail_rewritten_with_plain_hashes_is_found_only_against_a_noted_head(database):
    state = database.open()
    noted = filled(state)[-1]
    database.tamper("DELETE FROM audit WHERE number > 7")
    for _ in range(5):
        state.audit.append(at=AT, actor="forger", action="viewed", why="care")
    assert state.audit.verify() == []
    assert kinds(state.audit.verify(noted)) == {("rewritten", 10)}


def test_a_noted_row_that_was_removed_is_found(database):
    state = database.open()
    noted = filled(state)[4]
    database.tamper("DELETE FROM audit WHERE number = 5")
    assert kinds(state.audit.verify(noted)) == {("removed", 6), ("removed", 5)}


@pytest.mark.parametrize("number", [2, 3, 4, 6, 7])
def test_long_chains_are_read_in_pieces(database, monkeypatch, number):
    monkeypatch.setattr("neva.state.audit.BATCH", 3)
    state = database.open()
    noted = filled(state, number)[-1]
    assert state.audit.verify(noted) == []
    assert [row.number for row in state.audit.rows()] == list(range(1, number + 1))
    assert [row.number for row in state.audit.rows(first=2, last=3)] == [2, 3][: number - 1]
    if number > 4:
        database.tamper("DELETE FROM audit WHERE number = 4")
        assert kinds(state.audit.verify(noted)) == {("removed", 5)}


def test_findings_are_limited(database):
    state = database.open()
    filled(state, 120)
    database.tamper("UPDATE audit SET actor = 'x'")
    assert len(state.audit.verify()) == 100


# --- the key


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text("k" * 40 + "\n")
    return path


def test_a_forger_without_the_key_cannot_rebuild_the_end(database, key):
    state = database.open(audit_key=key)
    filled(state)
    assert state.audit.verify() == []
    forger = database.open()
    with pytest.raises(ConflictError, match="sealed with a key"):
        forger.audit.append(at=AT, actor="x", action="viewed", why="y")
    # The forger bends the table so that the refusal does not bite.
    database.tamper("DELETE FROM audit WHERE number > 7", "UPDATE audit SET seal = 'sha256'")
    forger.audit.append(at=AT, actor="x", action="viewed", why="y")
    found = kinds(state.audit.verify())
    assert ("changed", 7) in found


def test_plain_rows_after_sealed_ones_are_found(database, key):
    state = database.open(audit_key=key)
    filled(state, 3)
    plain = database.open()
    database.tamper(
        "INSERT INTO audit SELECT 4, at, actor, role, action, subject, stay, why, details, "
        "hash, 'sha256', hash FROM audit WHERE number = 3"
    )
    assert ("unsealed", 4) in kinds(state.audit.verify())
    assert ("unsealed", 4) in kinds(plain.audit.verify())


def test_a_chain_rebuilt_as_a_whole_without_the_key_is_found(database, key):
    filled(database.open())
    assert kinds(database.open(audit_key=key).audit.verify()) == {("unsealed", 10)}


def test_rows_from_before_the_key_are_sealed_by_the_first_row_with_it(database, key):
    filled(database.open(), 3)
    state = database.open(audit_key=key)
    filled(state, 2)
    assert state.audit.verify() == []
    database.tamper("UPDATE audit SET actor = 'x' WHERE number = 2")
    assert kinds(state.audit.verify()) == {("changed", 2)}


def test_without_the_key_sealed_rows_cannot_be_checked_and_that_is_said(database, key):
    filled(database.open(audit_key=key), 3)
    assert kinds(database.open().audit.verify()) == {("unknown-key", 1)}


def test_a_second_key_takes_over_and_the_first_still_checks(database, key):
    filled(database.open(audit_key=key), 2)
    key.write_text("k" * 40 + "\n" + "n" * 40)
    state = database.open(audit_key=key)
    filled(state, 2)
    assert state.audit.verify() == []
    assert len({row.seal for row in state.audit.rows()}) == 2


@pytest.mark.parametrize("content", ["", "short"])
def test_a_weak_key_is_refused(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(BadInputError, match="32 characters"):
        read_audit_keys(tmp_path / "key")


def test_an_absent_key_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_audit_keys(tmp_path / "key")


def test_a_key_is_never_shown(key):
    assert "kkk" not in repr(read_audit_keys(key))


# --- append-only, one after the other


EMPTYING = {
    "postgresql": "TRUNCATE audit",
    "sqlite": "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE number = 1",
}


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", None])
def test_the_database_itself_refuses_to_change_the_audit(database, statement):
    statement = statement or EMPTYING[database.kind]
    state = database.open()
    filled(state, 2)
    with pytest.raises(sa.exc.DatabaseError, match="append-only"), state.transaction() as open_one:
        open_one.exec_driver_sql(statement)
    assert state.audit.verify() == []
    assert state.audit.head().number == 2


def test_many_threads_append_one_chain(database):
    state = database.open()
    wrong = []

    def write(name):
        try:
            for _ in range(15):
                state.audit.append(at=AT, actor=name, action="viewed", why="care")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(f"t{k}",)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert state.audit.verify() == []
    assert state.audit.head().number == 90


def test_two_openers_append_one_chain(database):
    first, second = database.open(), database.open()
    threads = [
        threading.Thread(target=filled, args=(state, 20)) for state in (first, second, first)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first.audit.verify() == []
    assert second.audit.head().number == 60


def test_a_transaction_that_fails_leaves_no_row(database):
    state = database.open()
    filled(state, 1)

    def fail():
        with state.transaction() as within:
            state.audit.append(at=AT, actor="a", action="viewed", why="b", within=within)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert state.audit.head().number == 1


# --- what may be written


@pytest.mark.parametrize("value", [1.5, {"a": [2.5]}, datetime(2026, 1, 1, tzinfo=UTC), b"x"])
def test_details_hold_no_fractions_and_nothing_odd(database, value):
    with pytest.raises(ValueError, match="details"):
        database.open().audit.append(
            at=AT, actor="a", action="viewed", why="b", details={"value": value}
        )


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "Ёлка 🎄", "''; DROP TABLE audit; --"])
def test_any_text_is_kept_and_chained(database, text):
    state = database.open()
    state.audit.append(
        at=AT, actor=text, action="viewed", why=text, subject=text, role=text, stay=text,
        details={text: [text]},
    )  # fmt: skip
    assert state.audit.verify() == []
    row = next(state.audit.rows())
    assert row.actor == text.replace("\x00", "�").replace("\ud800", "�")


@pytest.mark.parametrize("words", [{"actor": ""}, {"why": "\t"}, {"action": "Viewed it"}])
def test_a_row_says_who_what_and_why(database, words):
    content = {"actor": "a", "action": "viewed", "why": "b"} | words
    with pytest.raises(UsageError):
        database.open().audit.append(at=AT, **content)


def test_between_gives_the_rows_of_a_half_open_time(database):
    state = database.open()
    for hour in (8, 9, 10):
        state.audit.append(
            at=datetime(2026, 1, 1, hour, tzinfo=UTC), actor="a", action="viewed", why="b"
        )
    found = state.audit.between(
        datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2026, 1, 1, 10, tzinfo=UTC)
    )
    assert found["number"].to_list() == [1, 2]


@pytest.mark.parametrize("text", ["", "1", "x:" + "0" * 64, "1:zz", "-1:" + "0" * 64])
def test_a_head_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="NUMBER:HASH"):
        Head.read(text)


def test_a_head_reads_back():
    head = Head(12, "ab" * 32)
    assert Head.read(f" {head}\n") == head


@pytest.mark.parametrize("action", [*ACTIONS, "of-a-programme"])
def test_rows_are_valid_audit_events(database, action):
    state = database.open()
    state.audit.append(
        at=AT, actor="dr.a", role="physician", action=action, subject=17, stay="s1", why="care",
        details={"rules": ["a"]},
    )  # fmt: skip
    state.audit.append(at=AT, actor="neva", action=action, why="night run")
    for row in state.audit.rows():
        event = audit_event(row)
        AuditEvent.model_validate(event)
        json.dumps(event)
    assert event["entity"][-1]["detail"][0] == {"type": "number", "valueString": "2"}


def test_many_who_read_at_once_share_a_write(database, monkeypatch):
    """Two hundred looks were two hundred transactions, and writers waited behind them."""
    state = database.open()
    begun, heads, opened = [], [], state.transaction
    asking, start = [], threading.Barrier(40)

    def slow(**how):
        begun.append(1)
        if len(begun) == 1:  # the first write takes until everybody has come
            until = time.monotonic() + 30
            while len(asking) < 40 and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.5)
        return opened(**how)

    monkeypatch.setattr(state, "transaction", slow)

    def look(number):
        start.wait()
        asking.append(number)
        details = {"number": number}
        heads.append(
            state.audit.append(at=AT, actor="u", action="viewed", why="care", details=details)
        )

    threads = [threading.Thread(target=look, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each was told the number of its own row, after it was written.
    assert sorted(head.number for head in heads) == list(range(1, 41))
    for head in heads:
        assert state.audit.verify(head) == []
    assert len(begun) < 10
    rows = [json.loads(row.details) for row in state.audit.rows()]
    assert sorted(row["number"] for row in rows) == list(range(40))


def test_nobody_is_told_that_a_row_is_written_when_it_is_not(database, monkeypatch):
    state = database.open()
    filled(state, 1)
    start, told = threading.Barrier(8), []
    opened = state.transaction

    def fails(**how):
        raise ConflictError("the state: locked; found it so; wait")

    monkeypatch.setattr(state, "transaction", fails)

    def look():
        start.wait()
        try:
            state.audit.append(at=AT, actor="u", action="viewed", why="care")
        except ConflictError:
            told.append("refused")

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["refused"] * 8
    monkeypatch.setattr(state, "transaction", opened)
    assert filled(state, 1)[0].number == 2
    assert state.audit.verify() == []
