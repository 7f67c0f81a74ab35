"""A hospital that is served in a test: rules live, a clock that stands, a client."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from fastapi.testclient import TestClient

from neva.cds.fhir_server import FhirServers
from neva.cds.service import Bedside
from neva.decisions.cards import hash_of
from neva.state.settings import WebSettings
from neva.web.application import create_application


class Served:
    """A bedside with its client; `now` is its clock."""

    def __init__(self, client: TestClient, bedside: Bedside, clock: list[datetime]) -> None:
        self.client, self.bedside, self._clock = client, bedside, clock

    @property
    def now(self) -> datetime:
        return self._clock[0]

    @now.setter
    def now(self, time: datetime) -> None:
        self._clock[0] = time

    def set_state(self, rule_id: str, to: str) -> None:
        rule = self.bedside.rules[rule_id]
        self.bedside.state.rules.change(
            rule.id, rule.version, hash_of(rule), to, actor="test", reason="test", at=self.now
        )
        self.bedside._read_at = None

    def post(self, service: str, body: object, **more):
        # JSON may hold what the client's own writer refuses: half characters, 1e999.
        text = json.dumps(body).replace("Infinity", "1e999")
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        return self.client.post(
            f"/cds-services/{service}", content=text.encode(), headers=headers, **more
        )


@contextmanager
def served(
    hospital: Path,
    folder: Path,
    now: datetime,
    *,
    live: bool = True,
    clients: Path | None = None,
    fhir_servers: FhirServers | None = None,
    state: str | Path | None = None,
):
    """Serve a hospital; all rules silent, or live too."""
    clock = [now]
    settings = WebSettings(
        hospital=hospital,
        state=state if state is not None else folder / "state.sqlite",
        clients=clients,
        now=lambda: clock[0],
    )
    application = create_application(settings, fhir_servers=fhir_servers)
    bedside: Bedside = application.state.bedside
    with TestClient(
        application, base_url=settings.base_url, raise_server_exceptions=False
    ) as client:
        made = Served(client, bedside, clock)
        for rule in bedside.rules.values():
            for to in ("draft", "silent", "live") if live else ("draft", "silent"):
                made.set_state(rule.id, to)
        yield made
