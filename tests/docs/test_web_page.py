"""The service files on the page of the web application start closed."""

import json
import re
import shlex
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.hospitals import new_hospital
from tests.signing_keys import jwk

from neva.cli import app
from neva.web import serving

PAGE = Path(__file__).parents[2] / "docs" / "web.md"
HOSPITAL = "/srv/neva/hospital"


def _commands():
    text = PAGE.read_text(encoding="utf-8")
    unit = re.search(r"```ini\n(.*?)```", text, re.DOTALL)[1]
    # A line that ends with a backslash goes on.
    start = re.search(r"^ExecStart=(.*)$", unit.replace("\\\n", " "), re.MULTILINE)[1]
    container = re.search(r"```dockerfile\n(.*?)```", text, re.DOTALL)[1]
    return {
        "systemd": shlex.split(start)[1:],
        "container": json.loads(re.search(r"^CMD (.*)$", container, re.MULTILINE)[1])[1:],
    }


COMMANDS = _commands()


@pytest.fixture(params=sorted(COMMANDS))
def start(request, tmp_path, monkeypatch):
    """Start what the page says, with more options perhaps; what would be served."""
    hospital = str(new_hospital(tmp_path).path)
    opened = []

    def started(*more):
        found = []
        monkeypatch.setattr(
            serving, "serve_forever", lambda application, settings, **_: found.append(
                (application, settings)
            )
        )  # fmt: skip
        words = [hospital if word == HOSPITAL else word for word in COMMANDS[request.param]]
        assert hospital in words
        app([*words, *more], standalone_mode=False)
        [(application, settings)] = found
        opened.append(application)
        return TestClient(application, base_url=settings.base_url, follow_redirects=False), settings

    yield started
    for application in opened:
        application.state.bedside.close()


def test_the_documented_service_starts_closed(start):
    client, settings = start()
    assert settings.is_reachable_by_others
    assert not settings.has_cds_hooks
    assert client.get("/cds-services").status_code == 404
    assert client.post("/cds-services/neva-patient-view", json={}).status_code in {404, 405}
    assert client.get("/now").headers["location"].startswith("/sign-in")
    for path in ("/cds-services", "/now"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421


def test_only_its_name_opens_the_documented_service(start):
    client, _ = start("--open-to-everyone")
    assert client.get("/cds-services").status_code == 200
    assert client.get("/cds-services", headers={"host": "evil.example"}).status_code == 421


def test_the_documented_service_asks_for_tokens(start, tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk("p384")]}))
    clients = tmp_path / "clients.yaml"
    clients.write_text("clients: [{issuer: https://ehr.example/, jwks: keys.json}]\n")
    client, settings = start("--clients", str(clients))
    assert settings.has_cds_hooks
    assert client.post("/cds-services/neva-patient-view", json={}).status_code == 401


def test_the_documented_unit_stands_behind_a_proxy():
    assert COMMANDS["systemd"][-2:] == ["--trusted-proxy", "127.0.0.1"]
