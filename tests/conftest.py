"""Fixtures and settings of the whole suite."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from neva.events.hospital import Hospital
from tests.command_line import CANARY, CommandLine
from tests.databases import Cluster, Database, started_cluster
from tests.hospitals import new_hospital

settings.register_profile(
    "ci", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "nightly", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("NEVA_HYPOTHESIS", "ci"))


class _Watch(logging.Handler):
    """Keeps where a record was logged that holds the canary, not the record."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.found: list[str] = []
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        if CANARY in self._formatter.format(record):
            self.found.append(f"{record.name} at {record.pathname}:{record.lineno}")


@pytest.fixture(autouse=True)
def no_patients_values_in_logs() -> Iterator[None]:
    """No log record of any test may hold what stands in a patient's row."""
    watch = _Watch()
    # Uvicorn's loggers do not hand their records up.
    names = (None, "uvicorn", "uvicorn.access")
    for name in names:
        logging.getLogger(name).addHandler(watch)
    yield
    for name in names:
        logging.getLogger(name).removeHandler(watch)
    assert watch.found == []


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """An empty hospital in Moscow time."""
    return new_hospital(tmp_path)


@pytest.fixture
def neva(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line; every call also checks that no patient's value is printed."""
    return CommandLine(capsys, monkeypatch)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of this session's own."""
    with started_cluster() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty state: the test runs on both databases."""
    if request.param == "sqlite":
        made = Database(tmp_path / "state.sqlite", "sqlite")
        made.open().close()
    else:
        server: Cluster = request.getfixturevalue("cluster")
        name = server.new_state_database()
        made = Database(server.url(name), "postgresql", server, name)
    yield made
    made.close()
