"""Every page of an invented hospital, its results computed in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from neva.events.hospital import create_hospital
from neva.jobs.worker import work_forever
from neva.state.settings import WebSettings
from neva.synthesis import Plan, synthesise
from neva.web.application import create_application
from neva.web.demonstration import PASSWORD, PROGRAMMES, prepare

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGES = (
    "/now", "/wallboard", "/work-list", "/pathways", "/pathways/compare", "/quality",
    "/quality/covid19", "/quality/sepsis", "/quality/covid19/steroid-when-on-oxygen",
    "/quality/covid19/length-of-stay", "/quality/covid19/steroid-when-on-oxygen/patients",
    "/flow", "/flow/scenarios", "/decisions", "/decisions/burden",
    "/decisions/rules/covid19.steroid-on-oxygen", "/data", "/definitions",
    "/definitions/covid19.news2", "/paper", "/jobs", "/data/feeds",
)  # fmt: skip
SHEETS = ("bed-meeting", "ward-handover", "discharges", "long-stays", "downtime-census",
          "mortality-review", "board-report")  # fmt: skip


def sign_in(client: TestClient, name: str, language: str = "en") -> TestClient:
    client.headers.update({"accept": "text/html", "accept-language": language})
    answer = client.post(
        "/sign-in", data={"name": name, "password": PASSWORD}, follow_redirects=False
    )
    assert answer.status_code == 303
    return client


@contextmanager
def computed(folder: Path) -> Iterator[tuple[FastAPI, Any]]:
    place = folder / "hospital"
    plan = Plan(stays=300, seed=3, zone="Europe/Moscow", operations=True)
    synthesise(create_hospital(place, zone=plan.zone, now=NOW), plan, now=NOW)
    prepare(place, at=NOW, live=True)
    chosen = WebSettings(hospital=place, programmes=PROGRAMMES, clock="data")
    application = create_application(chosen)
    with TestClient(application, base_url=chosen.base_url) as client:
        sign_in(client, "clinician")
        for _ in range(2):  # the second time for what rests on the first results
            for page in (*PAGES, "/paper/board-report", "/pathways?activities_of=codes"):
                client.get(page, follow_redirects=False)
            # The same work as the worker's, in this process.
            work_forever(chosen, most=100)
        yield application, client
