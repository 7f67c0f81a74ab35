"""The example in the help of every command runs, and every command speaks JSON."""

import contextlib
import io
import json
import re
import shlex
import shutil
import sqlite3
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
import typer
from tests.cds_services import CdsService, put_behind_httpx
from tests.fhir_standin import standin
from tests.hospitals import take_csv
from tests.shared_data import shared
from tests.webhook_receiver import Receiver

from neva.cli import app
from neva.events.hospital import create_hospital
from neva.state import open_state

ACTIVITIES = ("ER Triage", "ER Sepsis Triage", "IV Antibiotics", "Admission IC", "Release A")
EXAMPLE = re.compile(r"^\s*Example: (neva .*(?:\n(?!\s*$).*)*)", re.MULTILINE)


def commands(group, *names):
    """Every command under a group, with its words."""
    for name, command in group.commands.items():
        is_group = hasattr(command, "commands")
        if is_group:
            yield from commands(command, *names, name)
        if not is_group or command.invoke_without_command:
            yield (*names, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


SCENARIO = """
name: two beds more
changes:
  - beds: {unit: medical-1, add: 2}
"""


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    """The hospital that examples of flow name, made once."""
    from neva.synthesis import Plan, synthesise

    folder = tmp_path_factory.mktemp("invented") / "synthetic-hospital"
    hospital = create_hospital(folder, zone="Europe/Moscow", now=datetime.now(UTC))
    synthesise(hospital, Plan(stays=1000, seed=1), now=datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def tongji(tmp_path_factory):
    """The hospital that examples of models name, imported once."""
    from neva.intake.importing import import_delivery
    from neva.sources.csv.source import open_csv

    folder = tmp_path_factory.mktemp("tongji") / "tongji"
    hospital = create_hospital(folder, zone="Asia/Shanghai", now=datetime.now(UTC))
    file = shared("data", "tongji-covid", "time_series_375_prerpocess_en.xlsx")
    delivery = open_csv(file, zone="Asia/Shanghai", mapping="tongji-covid")
    import_delivery(hospital, delivery, label="tongji", now=datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The files and the hospital that the examples name, made once."""
    folder = tmp_path_factory.mktemp("prepared")
    header = "case_id,activity,timestamp\n"
    (folder / "log.csv").write_text(
        header
        + "".join(
            f"{case},{name},2020-05-{day:02} 08:00\n"
            for case in range(1, 6)
            for day, name in enumerate(ACTIVITIES, 1)
            if case % 2 or name != "Admission IC"
        )
    )
    (folder / "log.yaml").write_text(
        "neva: 1\nname: log\ntables:\n  - subject: case_id\n    stay: case_id\n"
        "    recorded: {after: time}\n    events:\n"
        "      - {code: {system: SEPSIS, column: activity}, time: timestamp}\n"
    )
    (folder / "admissions.py").write_text(
        'feature("demo.intensive", events("LOG//Admission IC").during(stay).exists(), '
        'version="1.0.0")\n'
    )
    now = datetime.now(UTC)
    hospital = create_hospital(folder / "hospital", zone="Europe/Amsterdam", now=now)
    take_csv(hospital, folder / "log.csv", folder / "log.yaml", now=now)
    return folder


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    """A folder with the files and the hospital that the examples name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def laboratory(place, monkeypatch):
    """The database that the example of polling names."""
    with contextlib.closing(sqlite3.connect(place / "laboratory.sqlite")) as connection:
        connection.execute("CREATE TABLE results (id, patient, code, value, taken, changed)")
        row = (1, "7", "2823-3", 4.1, "2020-05-01 08:00", "2020-05-01 09:00")
        connection.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    monkeypatch.setenv("LABORATORY_URL", f"sqlite:///{place / 'laboratory.sqlite'}")
    (place / "laboratory.yaml").write_text(
        "neva: 1\nname: laboratory\ndatabase:\n  url: {environment: LABORATORY_URL}\n"
        "  queries:\n    results: {select: SELECT * FROM results, modified: changed, key: id}\n"
        "tables:\n  - files: [results]\n    subject: patient\n    recorded: {column: changed}\n"
        "    events:\n      - row_id: id\n        code: {system: LOINC, column: code}\n"
        "        time: taken\n        value: value\n"
    )


@pytest.fixture
def fhir_server():
    """The server that the example of polling names."""
    with standin() as server:
        server.put(datetime(2020, 5, 1, tzinfo=UTC), resourceType="Patient", id="7")
        yield server


MESSAGE = (
    b"MSH|^~\\&|HIS|H|N|N|20260101090000+0300||ADT^A01|1|P|2.5\rEVN||20260101090000+0300\r"
    b"PID|1||7^^^H^MR||SYNTHETIC^ONE||19700101|F\rPV1|1|I|W^1^1||||||||||||||||V1\r"
)


def test_every_command_has_an_example():
    without = [
        " ".join(words) for words, command in COMMANDS.items() if not EXAMPLE.search(command.help)
    ]
    assert without == []
    assert ("pathways", "map") in COMMANDS


def ready(example, place, request):
    """Put what an example names where it looks for it."""
    if "synthetic-hospital" in example and example[0] != "synthesise":
        (place / "synthetic-hospital").symlink_to(request.getfixturevalue("invented"))
        (place / "scenario.yaml").write_text(SCENARIO)
    if "acknowledge" in example:
        # The number of a stay that stands on the list.
        (place / "state").mkdir(exist_ok=True)
        monkeypatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("NEVA_STATE", str(place / "state" / "state.sqlite"))
        listed = request.getfixturevalue("neva")(
            "decide", "work-list", "synthetic-hospital", "--every-rule", "--json"
        ).json()
        rule = example[3]
        example[4] = next(str(one["stay_id"]) for one in listed["tasks"] if one["rule"] == rule)
    if "tongji" in example:
        (place / "tongji").symlink_to(request.getfixturevalue("tongji"))
    if example[0] == "audit":
        open_state(place / "hospital" / "state.sqlite").close()
    if example[0] == "accounts":
        if example[1] != "add":
            who = ("dr.adams", "--role", "clinician", "--no-password")
            assert request.getfixturevalue("neva")("accounts", "add", "hospital", *who).code == 0
        typed = io.StringIO("a river is a patient flow\n")
        request.getfixturevalue("monkeypatch").setattr("sys.stdin", typed)
    if example[0] == "identities":
        (place / "people.csv").write_text("local_id,family,given,birth_date\n1,Alder,Kim,\n")
    if example[0] == "backup" and example[1] != "create":
        made = request.getfixturevalue("neva")("backup", "create", "hospital", "backups")
        assert made.code == 0, made.err
    if example[0] == "cds-verify":
        put_behind_httpx(CdsService(), request.getfixturevalue("monkeypatch"))
    if example[0] == "notifications":
        port = request.getfixturevalue("receiver_of_webhooks")
        (place / "secret").write_bytes(b"a secret that nobody guesses")
        (place / "notifications.yaml").write_text(
            f"channels: [{{name: pager, webhook: 'http://127.0.0.1:{port}/', secret_file: secret}}]"
        )
    if example[0] == "feed":
        (place / "site.yaml").write_text("name: his\nassigner: his\n")
        (place / "messages.hl7").write_bytes(MESSAGE)
    if example[:2] == ["feed", "apply"]:
        example.append("--until-done")
    if example[:2] == ["feed", "folder"]:
        (place / "incoming").mkdir()
        shutil.copy(place / "log.csv", place / "incoming")
    if example[:2] == ["feed", "sql"]:
        request.getfixturevalue("laboratory")
    if example[:2] == ["feed", "fhir"]:
        example[example.index("--server") + 1] = request.getfixturevalue("fhir_server").base


@pytest.fixture
def receiver_of_webhooks():
    with Receiver().running() as address:
        yield urlsplit(address).port


def words_of(command):
    return shlex.split(" ".join(EXAMPLE.search(command.help)[1].split()))[1:]


#: The demonstration runs whole on a machine without network, in another test.
LONG = [("demo",), ("decide", "train"), ("decide", "evaluate")]


def every_command(*long):
    """Parametrise by command; those that take long run at night."""
    marked = [
        pytest.param(words, marks=[pytest.mark.nightly] if words in long else [])
        for words in COMMANDS
    ]
    return pytest.mark.parametrize("words", marked, ids=" ".join)


@every_command(("demo",))
def test_the_example_of_a_command_runs(neva, place, words, request):
    example = words_of(COMMANDS[words])
    assert tuple(example[: len(words)]) == words
    if words == ("import",):
        # It names the sepsis log and a hospital that it makes.
        (place / "sepsis.csv").symlink_to(shared("data", "sepsis-eventlog", "sepsis.csv"))
        (place / "hospital").rename(place / "other")
    ready(example, place, request)
    said = neva(*example)
    assert said.code == 0, said.err
    assert said.out


@every_command(*LONG)
def test_every_command_prints_json(neva, place, words, request):
    assert any("--json" in parameter.opts for parameter in COMMANDS[words].params)
    example = words_of(COMMANDS[words])
    if words == ("import",):
        example = ["import", "csv", "log.csv", "--mapping", "log.yaml", "--into", "new",
                   "--zone", "UTC"]  # fmt: skip
    ready(example, place, request)
    said = neva(*example, "--json")
    assert (said.code, said.err) == (0, "")
    assert isinstance(json.loads(said.out), (dict, list))
