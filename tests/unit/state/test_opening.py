"""Opening a state: where it is, how its tables come to be, what can be wrong."""

import multiprocessing
import re
import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from neva.errors import ConflictError, NotFoundError, UsageError
from neva.state import CardEntry, open_state, state_named, state_of
from neva.state.tables import metadata


def test_the_steps_make_the_tables_that_the_code_expects(database):
    state = database.open()
    with state.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        found = sa.inspect(connection).get_table_names()
    assert set(found) == {*metadata.tables, "alembic_version"}


def _open_and_append(where, ready, go, results):
    ready.release()
    go.wait()
    from datetime import UTC, datetime

    with open_state(where) as state:
        for _ in range(5):
            state.audit.append(
                at=datetime(2026, 1, 1, tzinfo=UTC), actor="p", action="viewed", why="w"
            )
    results.put("done")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_processes_open_a_new_state_at_once(kind, tmp_path, request):
    if kind == "sqlite":
        where = tmp_path / "state.sqlite"
    else:
        cluster = request.getfixturevalue("cluster")
        where = cluster.url(cluster.new_database())
    context = multiprocessing.get_context("spawn")
    ready, go, results = context.Semaphore(0), context.Event(), context.Queue()
    processes = [
        context.Process(target=_open_and_append, args=(where, ready, go, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    go.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with open_state(where) as state:
        assert state.audit.verify() == []
        assert state.audit.head().number == 15


def test_a_state_of_a_newer_version_is_refused(database):
    database.open().close()
    database.tamper("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConflictError, match="a newer Neva"):
        database.open()


def test_only_its_owner_reads_the_file(tmp_path):
    open_state(tmp_path / "s.sqlite").close()
    assert stat.S_IMODE((tmp_path / "s.sqlite").stat().st_mode) == 0o600


def test_sqlite_commits_to_the_disk_and_lets_readers_read(tmp_path):
    with open_state(tmp_path / "s.sqlite") as state, state.reading() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert settings == ["wal", 2, 1, 30_000]


def test_reading_is_not_held_up_by_a_writer(database):
    first, second = database.open(), database.open()
    with first.transaction():
        assert second.audit.head().number == 0


def test_an_absent_file_is_not_made_where_it_may_not_be(tmp_path):
    with pytest.raises(NotFoundError):
        open_state(tmp_path / "s.sqlite", create=False)
    assert not (tmp_path / "s.sqlite").exists()
    with pytest.raises(NotFoundError, match="folder"):
        open_state(tmp_path / "absent" / "s.sqlite")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "s.sqlite").write_text("this is no database, but it is long enough to be read")
    with pytest.raises(UsageError, match="not a state"):
        open_state(tmp_path / "s.sqlite")


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql+psycopg2://u:secret@h/d"])
def test_other_databases_are_refused_without_telling_the_password(url):
    with pytest.raises(UsageError, match="postgresql\\+pg8000") as refused:
        open_state(url)
    assert "secret" not in str(refused.value)


def test_a_server_that_does_not_answer_is_said_without_the_password(tmp_path):
    url = f"postgresql+pg8000://u:secret@/d?unix_sock={tmp_path}/absent"
    with pytest.raises(NotFoundError, match="does not answer") as refused:
        open_state(url)
    assert "secret" not in str(refused.value)


def test_an_absent_database_of_a_server_is_said(cluster):
    with pytest.raises(NotFoundError, match="does not answer"):
        open_state(cluster.url("absent"))


def test_a_state_is_in_the_hospital_unless_the_one_setting_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("NEVA_STATE", raising=False)
    assert state_of(tmp_path) == tmp_path / "state.sqlite"
    assert state_named(str(tmp_path)) == tmp_path / "state.sqlite"
    assert state_named(str(tmp_path / "other.sqlite")) == tmp_path / "other.sqlite"
    monkeypatch.setenv("NEVA_STATE", "/var/lib/neva.sqlite")
    assert state_of(tmp_path) == Path("/var/lib/neva.sqlite")
    assert state_named(str(tmp_path / "other.sqlite")) == tmp_path / "other.sqlite"
    monkeypatch.setenv("NEVA_STATE", "postgresql+pg8000://u@h/d")
    assert state_of(tmp_path) == "postgresql+pg8000://u@h/d"
    assert state_named(str(tmp_path)) == "postgresql+pg8000://u@h/d"


def test_a_locked_file_is_a_conflict(tmp_path, monkeypatch):
    monkeypatch.setattr("neva.state.connection.WAIT_SECONDS", 0.05)
    path = tmp_path / "s.sqlite"
    open_state(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with open_state(path) as state, pytest.raises(ConflictError, match="locked"):
            state.tokens.take("i", "j", *_times())
    finally:
        holder.close()


def test_a_transaction_inside_a_transaction_is_told_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("neva.state.connection.WAIT_SECONDS", 0.05)
    with (
        open_state(tmp_path / "s.sqlite") as state,
        state.transaction(),
        pytest.raises(ConflictError, match="busy"),
    ):
        state.tokens.take("i", "j", *_times())


def _times():
    from datetime import UTC, datetime

    return datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)


def test_threads_open_new_states_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        states = list(pool.map(lambda k: open_state(tmp_path / f"{k % 3}.sqlite"), range(12)))
    for state in states:
        assert state.audit.verify() == []
        state.close()


def test_a_user_without_rights_is_said(cluster):
    name = cluster.new_database()
    cluster.run(name, "CREATE ROLE reader LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = cluster.url(name).replace("postgres@", "reader@")
    with pytest.raises(ConflictError, match="lacks a right"):
        open_state(url)


GRANTS = re.findall(
    r"(?:GRANT|REVOKE) [^;]*;",
    (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8"),
)


def test_a_user_with_the_rights_on_the_page_can_do_everything_but_change_the_audit(cluster):
    name = cluster.new_state_database()
    cluster.run(name, "CREATE ROLE neva LOGIN")
    cluster.run(name, *GRANTS)
    with open_state(cluster.url(name).replace("postgres@", "neva@")) as state:
        expires, at = _times()
        card = CardEntry(
            card="c", rule="r", version="1", hash="h", subject="p", now=at, state="live",
            indicator="info", shown=True, inputs_hash="i", service="svc",
        )  # fmt: skip
        post = {"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-01-01T00:00:00Z"}
        state.cards.record([card])
        state.feedback.record("svc", [post], at=at)
        state.feedback.record("svc", [post], at=at)
        assert state.tokens.take("i", "j", expires, at)
        for to in ("draft", "silent"):
            state.rules.change("r", "1", "h", to, actor="a", reason="b", at=at)
        state.work.acknowledge("r", "s", at, actor="a", at=at)
        state.work.clear("r", "s", at, actor="a", reason="b", at=at)
        assert state.audit.verify() == []
        for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'", "TRUNCATE audit"):
            with pytest.raises(ConflictError, match="lacks a right"), state.transaction() as one:
                one.exec_driver_sql(statement)
