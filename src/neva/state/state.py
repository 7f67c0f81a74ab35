"""The application's own database: opened, brought up to date, handed out in parts."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from neva.errors import ConflictError
from neva.events.read_only import is_read_only
from neva.state import connection as connections
from neva.state.accounts import Accounts
from neva.state.attempts import Attempts, Devices
from neva.state.audit import Audit
from neva.state.audit_chain import AuditKeys, read_audit_keys
from neva.state.card_log import CardLog
from neva.state.database import Database
from neva.state.entries import Entries
from neva.state.feedback import Feedback
from neva.state.jobs import Jobs
from neva.state.notifications import Notifications
from neva.state.proposals import Proposals, SavedScenarios
from neva.state.rule_states import RuleStates
from neva.state.sessions import Sessions
from neva.state.tokens import Tokens
from neva.state.work_items import WorkItems
from neva.state.workers import Workers

__all__ = ["State", "open_state", "read_state", "state_named", "state_of"]

#: The one setting: a file or a URL; without it each hospital has its own file.
PLACE = "NEVA_STATE"

#: A file with the keys that seal the audit.
KEY = "NEVA_AUDIT_KEY"

#: Alembic keeps what it does in a global; threads that open states take turns.
_ONE_AT_A_TIME = threading.Lock()

MIGRATIONS = Path(__file__).with_name("migrations")


class State(Database):
    """The state of the application; made by :func:`open_state`.

    Safe to share between threads. A process that forks opens its own.

    Attributes
    ----------
    where : str
        The place, without a password.
    rules : RuleStates
    cards : CardLog
    feedback : Feedback
    tokens : Tokens
    work : WorkItems
    workers : Workers
    audit : Audit
    accounts : Accounts
    sessions : Sessions
    attempts : Attempts
    devices : Devices
    jobs : Jobs
    entries : Entries
    proposals : Proposals
    scenarios : SavedScenarios
    notifications : Notifications
    """

    def __init__(self, engine: Engine, where: str, keys: AuditKeys | None):
        super().__init__(engine, where)
        self.audit = Audit(self, keys)
        self.rules = RuleStates(self, self.audit)
        self.cards = CardLog(self, self.audit)
        self.feedback = Feedback(self, self.audit)
        self.tokens = Tokens(self)
        self.work = WorkItems(self, self.audit)
        self.workers = Workers(self)
        self.sessions = Sessions(self)
        self.attempts = Attempts(self)
        self.devices = Devices(self)
        self.accounts = Accounts(self, self.audit, self.sessions, self.devices)
        self.jobs = Jobs(self, self.audit)
        self.entries = Entries(self, self.audit)
        self.proposals = Proposals(self, self.audit, self.rules)
        self.scenarios = SavedScenarios(self)
        self.notifications = Notifications(self, self.audit)


def state_of(hospital: Path) -> Path | str:
    """Say where the state of a hospital is.

    ``state.sqlite`` in its folder, unless the environment's ``NEVA_STATE``
    names a file or a PostgreSQL URL.
    """
    place = os.environ.get(PLACE, "").strip()
    if not place:
        return hospital / "state.sqlite"
    return place if "://" in place else Path(place)


def state_named(where: str) -> Path | str:
    """Say which state a user means: a hospital's folder, a file, or a URL."""
    if "://" in where:
        return where
    path = Path(where)
    return state_of(path) if path.is_dir() else path


def open_state(where: Path | str, *, create: bool = True, audit_key: Path | None = None) -> State:
    """Open the state, and bring its tables up to date.

    Parameters
    ----------
    where : Path or str
        A SQLite file, or ``postgresql+pg8000://user:password@host/database``.
        See :func:`state_of`.
    create : bool
        Make a SQLite file that is absent.
    audit_key : Path, optional
        A file with the keys that seal the audit; without it the one that the
        environment's ``NEVA_AUDIT_KEY`` names, else the chain is unsealed.

    Raises
    ------
    NotFoundError
        The file, the database or the key is absent.
    ConflictError
        A newer version of Neva wrote it, or it is locked.
    UsageError
        The place is neither a file nor a PostgreSQL URL.

    Notes
    -----
    Two processes may open a new state at once: one makes the tables while
    the other waits. Nothing is fetched from the network but the database.
    """
    if audit_key is None and os.environ.get(KEY, "").strip():
        audit_key = Path(os.environ[KEY].strip())
    keys = read_audit_keys(audit_key) if audit_key is not None else None
    engine, name = connections.connect(where, create=create)
    try:
        _migrate(engine, name)
    except BaseException:
        engine.dispose()
        raise
    return State(engine, name, keys)


@contextmanager
def read_state(where: Path | str) -> Iterator[State]:
    """Open a state only to read it; also where nothing can be written.

    A file in a folder that may only be read is copied, to a place that is gone
    afterwards; where there is none yet, an empty state is read. What is written
    into such a state is lost: give it to readers only.
    """
    if not isinstance(where, Path) or not is_read_only(where.parent):
        with open_state(where) as state:
            yield state
        return
    with tempfile.TemporaryDirectory(prefix="neva-") as folder:
        copy = Path(folder) / where.name
        # With what was committed and is not in the file yet.
        for name in (where.name, f"{where.name}-wal"):
            if (where.parent / name).is_file():
                shutil.copyfile(where.parent / name, Path(folder) / name)
        with open_state(copy) as state:
            yield state


def _migrate(engine: Engine, name: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory(str(MIGRATIONS))
    head = script.get_current_head()

    def found(connection: Connection) -> str | None:
        revision = MigrationContext.configure(connection).get_current_revision()
        known = {step.revision for step in script.walk_revisions()}
        if revision is not None and revision not in known:
            message = (
                f"{name}: a newer Neva wrote this state; found step {revision}, known up to "
                f"{head}; install that version"
            )
            raise ConflictError(message)
        return revision

    with connections.reading(engine, name) as connection:
        if found(connection) == head:
            return
    with connections.writing(engine, name, _ONE_AT_A_TIME) as connection:
        if found(connection) == head:
            return
        with EnvironmentContext(config, script) as environment:
            environment.configure(
                connection=connection,
                fn=lambda revision, _: script._upgrade_revs("head", revision),
            )
            environment.run_migrations()
