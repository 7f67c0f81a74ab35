"""The pages on the state and on cds-verify are true."""

import re
from pathlib import Path

import yaml
from tests.signing_keys import jwk

from neva.cds.client_tokens import read_clients
from neva.cds.conformance.checks import CHECKS
from neva.state import ACTIONS, open_state

DOCS = Path(__file__).parents[2] / "docs"
AUDIT = (DOCS / "audit.md").read_text(encoding="utf-8")
VERIFY = (DOCS / "cds-verify.md").read_text(encoding="utf-8")


def block(page, kind):
    return re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1]


def test_the_python_on_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEVA_STATE", raising=False)
    monkeypatch.delenv("NEVA_AUDIT_KEY", raising=False)
    (tmp_path / "hospital").mkdir()
    names = {}
    exec(compile(block(AUDIT, "python"), "audit.md", "exec"), names)  # our own page
    assert names["changes"]["state"].to_list() == ["draft", "silent"]
    with open_state(tmp_path / "hospital" / "state.sqlite") as state:
        assert state.audit.head().number == 3


def test_every_action_is_on_the_page():
    assert [action for action in ACTIONS if f"`{action}`" not in AUDIT] == []


def test_every_group_of_checks_is_on_the_page():
    groups = {name.partition(".")[0] for name in CHECKS}
    assert [group for group in groups if f"`{group}`" not in VERIFY] == []


def test_the_file_of_clients_on_the_page_is_read(tmp_path):
    import json

    (tmp_path / "ehr-keys.json").write_text(json.dumps({"keys": [jwk("p384")]}))
    (tmp_path / "clients.yaml").write_text(block(VERIFY, "yaml"))
    clients = read_clients(tmp_path / "clients.yaml")
    assert set(clients.by_issuer) == {yaml.safe_load(block(VERIFY, "yaml"))["clients"][0]["issuer"]}


def test_every_option_is_on_the_page():
    import typer.main

    from neva.cli import cds_verify

    app = typer.Typer(add_completion=False)
    cds_verify.add_to(app)
    for option in typer.main.get_command(app).params:
        names = [name for name in option.opts if name.startswith("--")]
        assert all(f"`{name}" in VERIFY or f" {name} " in VERIFY for name in names), names
