"""``neva audit``: verify, head, export."""

import json
import sqlite3
from datetime import UTC, datetime

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from neva import cli
from neva.cli import audit
from neva.state import open_state

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def registered():
    if "audit" not in {group.name for group in cli.app.registered_groups}:
        cli.app.add_typer(audit.app, name="audit")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("NEVA_STATE", raising=False)
    monkeypatch.delenv("NEVA_AUDIT_KEY", raising=False)
    folder = tmp_path / "hospital"
    folder.mkdir()
    with open_state(folder / "state.sqlite") as state:
        for number in range(5):
            state.audit.append(at=AT, actor=f"u{number}", action="viewed", why="care", subject="p")
    return folder


def tamper(place, *statements):
    connection = sqlite3.connect(place / "state.sqlite")
    for name in ("update", "delete"):
        connection.execute(f"DROP TRIGGER audit_no_{name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_whole_chain_is_said_to_be_whole(neva, place):
    said = neva("audit", "verify", place)
    assert said.code == 0
    assert "5 rows" in said.out
    assert "the chain is intact" in said.out
    assert "not checked: whether rows are missing at the end" in said.out


def test_a_broken_chain_ends_with_code_3_and_says_where(neva, place):
    tamper(place, "UPDATE audit SET actor = 'x' WHERE number = 3")
    said = neva("audit", "verify", place, "--json")
    assert said.code == 3
    assert said.json()["findings"] == [
        {"kind": "changed", "number": 3, "what": "its content does not match its hash"}
    ]
    assert "row 3: changed" in neva("audit", "verify", place).out


@pytest.mark.parametrize("how", ["head", "expect"])
def test_a_shortened_chain_is_found_against_a_noted_head(neva, place, tmp_path, how):
    noted = neva("audit", "head", place, "--out", tmp_path / "head").out.strip()
    option = ("--head", tmp_path / "head") if how == "head" else ("--expect", noted)
    assert neva("audit", "verify", place, *option).code == 0
    tamper(place, "DELETE FROM audit WHERE number > 3")
    assert neva("audit", "verify", place).code == 0
    said = neva("audit", "verify", place, *option)
    assert said.code == 3
    assert "row 3: truncated" in said.out


def test_the_export_is_valid_fhir_and_audits_itself(neva, place, tmp_path):
    out = tmp_path / "audit.ndjson"
    said = neva("audit", "export", place, "--out", out, "--json")
    assert said.code == 0, said.err
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert said.json()["rows"] == len(events) == 6
    for event in events:
        AuditEvent.model_validate(event)
    assert events[-1]["subtype"][0]["code"] == "exported"
    assert neva("audit", "export", place, "--out", out).code == 5


def test_a_key_is_taken_from_a_file(neva, place, tmp_path, monkeypatch):
    key = tmp_path / "key"
    key.write_text("k" * 64)
    assert neva("audit", "verify", place, "--key", key).code == 3
    with open_state(place / "state.sqlite", audit_key=key) as state:
        state.audit.append(at=AT, actor="a", action="viewed", why="care")
    assert neva("audit", "verify", place, "--key", key).code == 0
    monkeypatch.setenv("NEVA_AUDIT_KEY", str(key))
    assert neva("audit", "verify", place).code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("verify", "absent"), 4),
        (("verify", "{place}", "--expect", "nonsense"), 2),
        (("verify", "{place}", "--head", "absent"), 4),
        (("verify", "{place}", "--head", "x", "--expect", "y"), 2),
        (("verify", "mysql://u@h/d"), 2),
        (("verify", "{place}", "--key", "absent"), 4),
        (("export", "{place}", "--out", "absent/file"), 4),
    ],
)
def test_what_is_wrong_is_said(neva, place, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    said = neva("audit", *(word.format(place=place) for word in words))
    assert said.code == code
    assert said.err.startswith("neva: ") or code == 2
