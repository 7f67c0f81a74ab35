"""Databases for tests of the state: SQLite files, and a PostgreSQL of our own.

PostgreSQL is started once per session (and worker) from the programs of the
machine, in a folder that goes away with it, on a Unix socket, so that no port
is taken. Without the programs the tests are skipped, except where ``CI=true``:
there they fail.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pg8000.native
import pytest

from neva.state import State, open_state

#: Who runs the server when the tests run as root, which it refuses.
SERVANTS = ("postgres", "nobody")
#: How processes that a test kills name themselves to PostgreSQL.
OTHERS = "others"


@dataclass
class Cluster:
    socket: Path
    superuser: str = "postgres"
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _template: str | None = None

    def run(self, database: str, *statements: str) -> Any:
        connection = pg8000.native.Connection(
            self.superuser, database=database, unix_sock=str(self.socket / ".s.PGSQL.5432")
        )
        try:
            return [connection.run(statement) for statement in statements][-1]
        finally:
            connection.close()

    def url(self, database: str) -> str:
        socket = self.socket / ".s.PGSQL.5432"
        return f"postgresql+pg8000://{self.superuser}@/{database}?unix_sock={socket}"

    def new_database(self, *, template: str = "template1") -> str:
        name = f"neva_{next(self._numbers)}"
        self.run("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def new_state_database(self) -> str:
        """A database with the tables in it, copied: the steps run once a session."""
        if self._template is None:
            self._template = self.new_database()
            open_state(self.url(self._template)).close()
        return self.new_database(template=self._template)


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def _absent(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def _servant() -> dict[str, Any]:
    """How to run a program: as another user, if we are root."""
    if os.geteuid() != 0:
        return {}
    for name in SERVANTS:
        with contextlib.suppress(KeyError):
            person = pwd.getpwnam(name)
            return {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}
    _absent("PostgreSQL refuses to run as root, and there is no user to run it as")
    return {}


@contextlib.contextmanager
def started_cluster() -> Iterator[Cluster]:
    folder = programs()
    if folder is None:
        _absent("PostgreSQL's server programs are absent (Debian: postgresql)")
    assert folder is not None
    as_servant = _servant()
    # A socket's path may have 107 characters: not in pytest's long folders.
    home = Path(tempfile.mkdtemp(prefix="neva-pg-", dir="/tmp"))
    try:
        if as_servant:
            os.chown(home, as_servant["user"], as_servant["group"])
        data = home / "data"

        def program(*words: str) -> None:
            done = subprocess.run(
                [str(folder / words[0]), *words[1:]],
                cwd=home,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(home)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                **as_servant,
            )
            assert done.returncode == 0, done.stdout

        program("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        # The tests kill clients, never the server: it need not wait for the disk.
        options = f"-k {home} -c listen_addresses= -c fsync=off -c shared_buffers=16MB"
        log = str(home / "log")
        program("pg_ctl", "-D", str(data), "-l", log, "-w", "-t", "60", "-o", options, "start")
        try:
            yield Cluster(home)
        finally:
            program("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Database:
    """A database for one test: opened as often as the test likes."""

    where: Path | str
    kind: str
    cluster: Cluster | None = None
    name: str = ""
    _opened: list[State] = field(default_factory=list)

    def open(self, **settings: Any) -> State:
        state = open_state(self.where, **settings)
        self._opened.append(state)
        return state

    def close(self) -> None:
        for state in self._opened:
            state.close()

    @property
    def where_of_others(self) -> Path | str:
        """The same database, for processes that :meth:`settle` shall know."""
        return self.where if self.kind == "sqlite" else f"{self.where}&application_name={OTHERS}"

    def settle(self) -> None:
        """Wait until the server has done with those that were killed.

        It may have a COMMIT of theirs yet to read: what it does then stays done.
        """
        if self.kind == "sqlite":
            return
        assert self.cluster
        statement = (
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE datname = '{self.name}' AND application_name = '{OTHERS}'"
        )
        end = time.monotonic() + 60
        while self.cluster.run("postgres", statement) != [[0]]:
            assert time.monotonic() < end, "killed clients are still served"
            time.sleep(0.01)

    def tamper(self, *statements: str) -> None:
        """Change what is stored, as somebody would who owns the database."""
        if self.kind == "sqlite":
            import sqlite3

            with contextlib.closing(sqlite3.connect(self.where)) as connection:
                for name in ("update", "delete", "replace"):
                    connection.execute(f"DROP TRIGGER IF EXISTS audit_no_{name}")
                for statement in statements:
                    connection.execute(statement)
                connection.commit()
            return
        assert self.cluster
        self.cluster.run(
            self.name, "ALTER TABLE audit DISABLE TRIGGER USER", "SELECT 1", *statements
        )

    def query(self, statement: str) -> list[Any]:
        if self.kind == "sqlite":
            import sqlite3

            with contextlib.closing(sqlite3.connect(self.where)) as connection:
                return [list(row) for row in connection.execute(statement).fetchall()]
        assert self.cluster
        return [list(row) for row in self.cluster.run(self.name, statement)]
