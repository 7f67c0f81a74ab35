"""A polled database: each state of a row once, none lost, on SQLite and PostgreSQL."""

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.command_line import CANARY

from neva.errors import BadInputError, MappingError, NotFoundError, UsageError
from neva.feeds.doors.database import connected, read_database_mapping, read_page
from neva.feeds.doors.door import Door
from neva.feeds.doors.lately import Lately
from neva.feeds.doors.marks import Mark, earlier, marked, place_of, read_mark
from neva.feeds.doors.sql import PolledDatabase
from neva.feeds.status import feed_folder, feed_status

MAPPING = """
neva: 1
name: laboratory
zone: Europe/Moscow
database:
  url: {environment: LABORATORY_URL}
  page: %(page)s
  overlap: %(overlap)s
  queries:
    results:
      select: >-
        SELECT id, patient, code, value, taken, changed FROM results
        WHERE code NOT LIKE '%%q:x%%'
      modified: changed
      key: id
tables:
  - files: [results]
    subject: patient
    recorded: {column: changed}
    events:
      - {row_id: id, code: {system: LAB, column: code}, time: taken, value: value}
"""
START = datetime(2026, 1, 10, 12, tzinfo=UTC)


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Clock:
    at: datetime = START

    def __call__(self):
        return self.at

    def pass_(self, **by):
        self.at += timedelta(**by)


@dataclass
class Laboratory:
    """A database with a table of results, and how it is polled."""

    kind: str
    url: str
    folder: Path
    hospital: Any
    clock: Clock = field(default_factory=Clock)
    page: int = 3
    overlap: str = "5 min"
    engine: Any = None

    def write(self, *statements, **values):
        with self.engine.begin() as connection:
            for one in statements:
                connection.execute(sa.text(one), values)

    def time(self, minutes):
        at = START + timedelta(minutes=minutes)
        return at if self.kind == "postgresql" else at.isoformat(" ")

    def put(self, key, minutes, value=1.0, patient="7", code="a"):
        statement = (
            "INSERT INTO results VALUES (:id, :patient, :code, :value, :taken, :changed) "
            "ON CONFLICT (id) DO UPDATE SET value = :value, changed = :changed"
        )
        self.write(statement, id=key, patient=patient, code=code, value=value,
                   taken=self.time(-600), changed=self.time(minutes))  # fmt: skip

    @property
    def mapping(self):
        path = self.folder / "laboratory.yaml"
        path.write_text(MAPPING % {"page": self.page, "overlap": self.overlap})
        return path

    def poll(self, looks=50, **others):
        document, mapping = read_database_mapping(self.mapping)
        named = Door(self.hospital, "laboratory", "sql", now=self.clock)
        with connected(mapping.database) as engine, named as door:
            polled = PolledDatabase(door, document, mapping, engine, **others)
            for _ in range(looks):
                if not polled.look():
                    return
        raise AssertionError

    def values(self):
        return sorted(self.hospital.snapshot().events().collect()["value"])

    def states(self):
        return self.hospital.snapshot().stored("events").collect().height


@pytest.fixture(params=["sqlite", "postgresql"])
def laboratory(request, hospital, tmp_path, monkeypatch):
    if request.param == "sqlite":
        path = tmp_path / "laboratory.sqlite"
        sqlite3.connect(path).close()
        url, time = f"sqlite:///{path}", "text"
    else:
        cluster = request.getfixturevalue("cluster")
        url, time = cluster.url(cluster.new_database()), "timestamptz"
    monkeypatch.setenv("LABORATORY_URL", url)
    made = Laboratory(request.param, url, tmp_path, hospital, engine=sa.create_engine(url))
    made.write(
        "CREATE TABLE results (id integer PRIMARY KEY, patient text, code text, value float, "
        f"taken {time}, changed {time})"
    )
    yield made
    made.engine.dispose()


def test_rows_of_one_moment_on_a_page_border_are_neither_lost_nor_doubled(laboratory):
    for key in range(10):
        laboratory.put(key, -60, value=key)
    laboratory.poll()
    assert laboratory.values() == [float(key) for key in range(10)]
    laboratory.poll()
    assert laboratory.states() == 10


def test_a_later_row_of_the_same_id_is_a_correction_known_since_then(laboratory):
    laboratory.put(1, -60, value=1.0)
    laboratory.poll()
    laboratory.put(1, -1, value=2.0)
    laboratory.poll()
    assert laboratory.values() == [2.0]
    before = laboratory.hospital.snapshot(as_of=START - timedelta(minutes=30))
    assert before.events().collect()["value"].to_list() == [1.0]


def test_a_transaction_that_commits_late_is_found_by_the_overlap(laboratory):
    laboratory.put(1, -10)
    laboratory.poll()
    laboratory.put(2, -14, value=2.0)
    laboratory.put(3, -16, value=3.0)
    laboratory.poll()
    assert laboratory.values() == [1.0, 2.0]  # 16 minutes before now is beyond the overlap


def test_what_commits_late_while_many_pages_are_read_is_found_too(laboratory, monkeypatch):
    """The pages take twenty minutes: what was invisible at the first is older than the overlap."""
    for key in range(9):
        laboratory.put(key, -1 + key * 3, value=key)
    read = read_page
    late = iter([100, None, None, None, None])

    def slowly(*words, **named):
        found = read(*words, **named)
        if (key := next(late, None)) is not None:
            laboratory.put(key, 0, value=100.0)  # begun before the first page, committed after
        laboratory.clock.pass_(minutes=9)
        return found

    monkeypatch.setattr("neva.feeds.doors.sql.read_page", slowly)
    laboratory.poll()
    monkeypatch.undo()
    monkeypatch.setenv("LABORATORY_URL", laboratory.url)
    laboratory.poll()
    assert laboratory.values() == [*(float(key) for key in range(9)), 100.0]


def test_a_change_in_the_future_hides_nothing_that_comes_after(laboratory):
    laboratory.put(1, 600)
    laboratory.poll()
    laboratory.put(2, 1, value=2.0)
    laboratory.clock.pass_(minutes=5)
    laboratory.poll()
    assert laboratory.values() == [1.0, 2.0]


def test_nothing_new_writes_nothing_into_the_hospital(laboratory):
    laboratory.put(1, -1)
    laboratory.poll()
    version = laboratory.hospital.manifest().version
    laboratory.poll()
    laboratory.poll()
    assert laboratory.hospital.manifest().version == version == 1


def test_what_was_read_lately_may_be_lost_without_harm(laboratory):
    for key in range(5):
        laboratory.put(key, -1, value=key)
    laboratory.poll()
    (feed_folder(laboratory.hospital.path, "laboratory") / "lately.json").unlink()
    laboratory.poll()
    assert laboratory.states() == 5
    assert laboratory.hospital.snapshot().batches().collect().height == 2  # two pages


def test_again_reads_everything_and_adds_nothing(laboratory):
    for key in range(5):
        laboratory.put(key, -600, value=key)
    laboratory.poll()
    laboratory.poll(again=True)
    assert laboratory.states() == 5


def test_rows_in_quarantine_do_not_stop_a_feed_that_runs(laboratory):
    laboratory.put(1, -600)
    laboratory.poll()
    laboratory.put(2, -1, patient=None)
    laboratory.put(3, -1, value=3.0)
    laboratory.poll()
    assert laboratory.values() == [1.0, 3.0]
    assert feed_status(laboratory.hospital, "laboratory", START).outcomes["refused"] == 1


def test_a_first_delivery_that_is_refused_shows_a_wrong_mapping(laboratory):
    for key in range(20):
        laboratory.put(key, -600, patient=None)
    with pytest.raises(BadInputError, match="would be refused"):
        laboratory.poll()
    assert laboratory.hospital.manifest().feeds == {}


STEPS = [
    "neva.feeds.doors.sql.read_page",
    "neva.feeds.doors.door.import_delivery",
    "neva.feeds.doors.sql.open_tables",
    "neva.feeds.doors.sql.Lately.keep",
    "neva.feeds.doors.sql.Lately.add",
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_loses_nothing_and_does_nothing_twice(
    laboratory, monkeypatch, step, after
):
    import neva.feeds.doors.door as of_door
    import neva.feeds.doors.sql as of_sql

    name = step.rpartition(".")[2]
    owner = Lately if ".Lately." in step else of_door if ".door." in step else of_sql
    function = getattr(owner, name)
    for crash_at in range(4):  # at the first time it is called, the second, ...
        for key in range(7):
            laboratory.put(crash_at * 10 + key, crash_at - 60 + key // 2, value=key)
        calls = iter(range(100))

        def crashing(*words, calls=calls, crash_at=crash_at, **named):
            is_here = next(calls) == crash_at
            if is_here and not after:
                raise Crash
            found = function(*words, **named)
            if is_here:
                raise Crash
            return found

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, crashing)
            with suppress(Crash):
                laboratory.poll()
        laboratory.poll()
        assert len(laboratory.values()) == (crash_at + 1) * 7
        assert laboratory.states() == (crash_at + 1) * 7


def test_no_statement_can_write(laboratory):
    laboratory.put(1, -1)
    path = laboratory.mapping
    if laboratory.kind == "postgresql":
        laboratory.write("CREATE SEQUENCE counted")
        text = path.read_text().replace("SELECT id,", "SELECT nextval('counted'), id,")
        path.write_text(text)
        document, mapping = read_database_mapping(path)
        with (
            connected(mapping.database) as engine,
            Door(laboratory.hospital, "l", "sql", now=laboratory.clock) as door,
            pytest.raises(BadInputError, match="would write"),
        ):
            PolledDatabase(door, document, mapping, engine).look()
    else:
        _, mapping = read_database_mapping(path)
        with connected(mapping.database) as engine, engine.connect() as connection:
            from neva.feeds.doors.database import _read_only

            with _read_only(connection), pytest.raises(sa.exc.OperationalError):
                connection.exec_driver_sql("DELETE FROM results")


def test_errors_name_neither_values_nor_the_address(laboratory, neva, monkeypatch, caplog):
    laboratory.put(1, -1, code=CANARY)
    path = laboratory.mapping
    path.write_text(path.read_text().replace("value,", "CAST(code AS no_such_type) AS value,"))
    done = neva("feed", "sql", laboratory.hospital.path, "--name", "laboratory", "--mapping", path,
                "--once")  # fmt: skip
    if laboratory.kind == "postgresql":
        assert done.code == 3
        assert "database.queries.results: the database did not answer" in done.err
    path.write_text(path.read_text().replace("FROM results", "FROM nowhere"))
    done = neva("feed", "sql", laboratory.hospital.path, "--name", "laboratory", "--mapping", path,
                "--once")  # fmt: skip
    assert done.code == 3
    assert laboratory.url not in done.err + caplog.text
    status = (feed_folder(laboratory.hospital.path, "laboratory") / "status.json").read_text()
    assert "did not answer" in status
    assert laboratory.url not in status


def test_the_command_polls_once_and_status_shows_the_feed(laboratory, neva):
    laboratory.put(1, -1, patient=CANARY)
    words = ("feed", "sql", laboratory.hospital.path, "--name", "laboratory", "--mapping",
             laboratory.mapping, "--once")  # fmt: skip
    done = neva(*words)
    assert (done.code, done.err) == (0, "")
    assert "1 deliveries so far; rows: 1 added" in done.out
    assert json.loads(neva(*words, "--json").out)["kind"] == "sql"
    assert "feed laboratory: 1 taken" in neva("feed", "status", laboratory.hospital.path).out
    folder = feed_folder(laboratory.hospital.path, "laboratory")
    assert sorted(path.name for path in folder.iterdir()) == ["lately.json", "lock", "status.json"]


def test_types_of_postgresql_become_what_a_file_would_hold(
    hospital, cluster, tmp_path, monkeypatch
):
    url = cluster.url(cluster.new_database())
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(
            "CREATE TABLE results AS SELECT 1::bigint AS id, 7.50::numeric AS patient, "
            "true AS code, 1.5::real AS value, '2025-05-01 10:00'::timestamp AS taken, "
            "'2025-05-01 10:00'::timestamp AS changed"
        ))  # fmt: skip
    engine.dispose()
    monkeypatch.setenv("LABORATORY_URL", url)
    (tmp_path / "m.yaml").write_text(MAPPING % {"page": 3, "overlap": "5 min"})
    text = (tmp_path / "m.yaml").read_text().replace("WHERE code NOT LIKE '%q:x%'", "")
    (tmp_path / "m.yaml").write_text(text)
    document, mapping = read_database_mapping(tmp_path / "m.yaml")
    with connected(mapping.database) as opened:
        page = read_page(opened, "results", mapping.database.queries["results"], since=None,
                         after=None, most=3)  # fmt: skip
        assert page.frame.row(0) == (
            "1", "7.50", "true", "1.5", "2025-05-01T10:00:00", "2025-05-01T10:00:00",
        )  # fmt: skip
        with Door(hospital, "laboratory", "sql", now=Clock()) as door:
            PolledDatabase(door, document, mapping, opened).look()
    event = hospital.snapshot().events().collect().row(0, named=True)
    assert (event["code"], event["time"]) == ("LAB//true", datetime(2025, 5, 1, 7, tzinfo=UTC))


@pytest.fixture
def simple(tmp_path, monkeypatch):
    """A SQLite file that a test fills, and its mapping."""
    path = tmp_path / "simple.sqlite"
    monkeypatch.setenv("LABORATORY_URL", f"sqlite:///{path}")

    def made(*statements):
        with closing(sqlite3.connect(path)) as connection:
            for one in statements:
                connection.execute(one)
            connection.commit()
        (tmp_path / "m.yaml").write_text(MAPPING % {"page": 3, "overlap": "5 min"})
        return tmp_path / "m.yaml"

    return made


COLUMNS = "(id, patient text, code text, value float, taken text, changed)"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["(1, '7', 'a', 1, '2025-01-01', '2025-01-01')"] * 2, "does not tell rows of one moment"),
        (["(NULL, '7', 'a', 1, '2025-01-01', '2025-01-01')"], "cannot be put in order"),
        (["(1, '7', 'a', 1, '2025-01-01', 'yesterday')"], "a text that is no time"),
        (["(1, '7', 'a', 1, '2025-01-01', 1.5)"], "cannot be put in order"),
        (["(1, '7', 'a', x'00', '2025-01-01', '2025-01-01')"], "cannot be read as text"),
    ],
)
def test_rows_that_could_be_lost_are_said(hospital, simple, rows, found):
    path = simple(
        f"CREATE TABLE results {COLUMNS}", *(f"INSERT INTO results VALUES {one}" for one in rows)
    )
    document, mapping = read_database_mapping(path)
    with (
        connected(mapping.database) as engine,
        Door(hospital, "l", "sql", now=Clock()) as door,
        pytest.raises(BadInputError, match=found),
    ):
        PolledDatabase(door, document, mapping, engine).look()
    assert hospital.manifest().feeds == {}


def test_a_counter_may_stand_for_a_time(hospital, simple):
    path = simple(
        f"CREATE TABLE results {COLUMNS}",
        *(
            f"INSERT INTO results VALUES ({n}, '7', 'a', {n}, '2025-01-01 10:00', {n // 4})"
            for n in range(10)
        ),
    )
    path.write_text(
        path.read_text()
        .replace("recorded: {column: changed}", "recorded: {after: time}")
        .replace("page: 3", "page: 3\n  overlap_numbers: 1")
    )
    document, mapping = read_database_mapping(path)
    with connected(mapping.database) as engine, Door(hospital, "l", "sql", now=Clock()) as door:
        polled = PolledDatabase(door, document, mapping, engine)
        while polled.look():
            pass
        simple("INSERT INTO results VALUES (77, '7', 'a', 77, '2025-01-01 10:00', 1)")
        while polled.look():
            pass
    found = sorted(hospital.snapshot().events().collect()["value"])
    assert found == [*range(10), 77]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("row_id: id, ", "", "no row_id"),
        ("files: [results]", "files: [others]", "no such query"),
        ("SELECT id,", "DELETE id,", "must be one SELECT"),
        ("FROM results", "FROM results; DROP TABLE results", "semicolon"),
        ("{environment: LABORATORY_URL}", "{}", "give either environment or file"),
        ("subject: patient", "subject: patient\n    fill_down: [patient]", "do it in the query"),
        ("overlap:", "overlapp:", "overlap"),
    ],
)
def test_a_wrong_mapping_names_its_line(tmp_path, old, new, found):
    (tmp_path / "m.yaml").write_text(
        (MAPPING % {"page": 3, "overlap": "5 min"}).replace(old, new, 1)
    )
    with pytest.raises(MappingError, match=found) as raised:
        read_database_mapping(tmp_path / "m.yaml")
    assert "m.yaml:" in str(raised.value)


@pytest.mark.parametrize(
    ("column", "found"),
    [("modified: code2", "no such column"), ("key: id2", "no such column")],
)
def test_a_column_that_is_not_there_is_said(hospital, simple, column, found):
    path = simple(f"CREATE TABLE results {COLUMNS}")
    name = column.partition(":")[0]
    wanted = {"modified": "modified: changed", "key": "key: id"}[name]
    path.write_text(path.read_text().replace(wanted, column))
    document, mapping = read_database_mapping(path)
    with (
        connected(mapping.database) as engine,
        Door(hospital, "l", "sql", now=Clock()) as door,
        pytest.raises(BadInputError, match=found),
    ):
        PolledDatabase(door, document, mapping, engine).look()


@pytest.mark.parametrize(
    ("url", "error", "found"),
    [
        ("", NotFoundError, "LABORATORY_URL"),
        ("sqlite:////nowhere/at/all", NotFoundError, "no such file"),
        ("nonsense", UsageError, "cannot be used"),
        (f"nosuch+driver://u:{CANARY}@h/d", UsageError, "cannot be used"),
    ],
)
def test_an_address_that_cannot_be_used_is_not_shown(tmp_path, monkeypatch, url, error, found):
    monkeypatch.setenv("LABORATORY_URL", url)
    (tmp_path / "m.yaml").write_text(MAPPING % {"page": 3, "overlap": "5 min"})
    _, mapping = read_database_mapping(tmp_path / "m.yaml")
    with pytest.raises(error, match=found) as raised, connected(mapping.database):
        pass
    assert CANARY not in str(raised.value)


def test_the_address_may_stand_in_a_file(tmp_path, simple):
    path = simple(f"CREATE TABLE results {COLUMNS}")
    (tmp_path / "url").write_text(os.environ["LABORATORY_URL"] + "\n")
    text = path.read_text().replace("environment: LABORATORY_URL", f"file: {tmp_path / 'url'}")
    path.write_text(text)
    _, mapping = read_database_mapping(path)
    with connected(mapping.database) as engine, engine.connect():
        pass


@pytest.mark.parametrize(
    "value",
    [
        7,
        datetime.fromisoformat("2025-01-01"),
        datetime(2025, 1, 1, tzinfo=UTC),
        START.date(),
        "2025-01-01",
    ],
)
def test_a_mark_is_kept_as_text_and_read_again(value):
    mark = marked(value)
    assert read_mark(json.loads(json.dumps(mark.written()))) == mark


def test_the_hour_that_a_clock_showed_twice_is_read_again():
    """Berlin, 26 October 2025: at three it is two again."""
    last = Mark("local", datetime.fromisoformat("2025-10-26T02:50"))
    five = timedelta(minutes=5)
    assert earlier(last, five, 0, "Europe/Berlin").value == datetime.fromisoformat(
        "2025-10-26T01:45"
    )
    assert earlier(last, five, 0, "Europe/Moscow").value == datetime.fromisoformat(
        "2025-10-26T02:45"
    )


@pytest.mark.parametrize("written", ["2025-05-01T10:00:00.500Z", "2025-05-01 10:00:00+00:00"])
def test_an_earlier_text_compares_as_text(written):
    found = earlier(Mark("text", written), timedelta(0), 0, "UTC")
    assert found.value <= written
    assert place_of(found, "UTC") >= place_of(Mark("text", written), "UTC") - 1
