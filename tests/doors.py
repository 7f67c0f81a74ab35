"""A small hospital whose every text is hostile, served with an account of each role."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from neva.events.people import write_people
from neva.jobs.worker import work_forever
from neva.state import ROLES, State, accounts, open_state
from neva.state.settings import WebSettings
from neva.web.application import create_application
from tests.hospitals import new_hospital, take

NOW = datetime(2026, 1, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
PASSWORD = "a river is a patient flow"
#: Leaves an attribute, an element and a string of a script.
EVIL = "\"' onfocus=alert(7)><script>alert(7)</script>"
FORMULA = "=cmd|'/C calc'!A0"
CSRF = re.compile(r'name="csrf" value="([^"]+)"')
PROGRAMMES = ("covid19", "sepsis")


def _events(subject: str, stay: str, begin: datetime) -> list[dict[str, Any]]:
    about = {"subject": subject, "stay": stay, "recorded": begin, "text": EVIL}
    codes = (
        ("ICD10//U07.1", None, None), ("LOINC//94500-6", None, None),
        ("LOINC//59408-5", 85.0, "%"), ("LOINC//8867-4", 130.0, "1"),
        ("CARE//oxygen-nasal-or-mask", None, None), (f"LAB//{EVIL}", 3.0, EVIL),
        ("LAB//plus", None, None),
    )  # fmt: skip
    return [
        {
            **about, "time": begin + HOUR * number, "recorded": begin + HOUR * number, "code": code,
            "value": value, "value_unit": unit, "reason": EVIL, "file": "a.csv", "row": number,
            "text": {"LAB//plus": FORMULA, "LOINC//94500-6": "detected"}.get(code, EVIL),
            "attributes": [{"key": EVIL, "value": EVIL}],
        }
        for number, (code, value, unit) in enumerate(codes, 1)
    ]  # fmt: skip


def build(folder: Path) -> tuple[Path, dict[str, int]]:
    """Make the hospital; return it and the pseudonyms of its patients by local id."""
    hospital = new_hospital(folder)
    about = {"recorded": NOW - timedelta(days=400), "file": "a.csv", "row": 1}
    units = [
        {**about, "unit": "alpha", "name": EVIL, "kind": "ward", "specialty": EVIL},
        {**about, "unit": "beta", "name": FORMULA, "kind": "ward", "specialty": EVIL},
        {**about, "unit": f"gamma{EVIL}", "name": EVIL, "kind": "icu", "parent": "beta"},
    ]
    beds = [{**about, "unit": unit, "bed": str(bed), "start": NOW - timedelta(days=400),
             "state": "staffed"} for unit in ("alpha", "beta") for bed in range(1, 9)]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {"stays": [], "movements": [], "subjects": []}
    events = []
    for name, unit, days, length in (
        ("a1", "alpha", 2, None), ("a2", "alpha", 40, 5), ("b1", "beta", 2, None),
        ("b2", "beta", 40, 5), ("g1", f"gamma{EVIL}", 3, None), (EVIL, "alpha", 1, None),
    ):  # fmt: skip
        begin = NOW - timedelta(days=days)
        end = None if length is None else begin + timedelta(days=length)
        told = {"subject": name, "stay": f"s{name}", "recorded": begin, "file": "a.csv", "row": 1}
        outcome = EVIL if end else None
        rows["stays"].append({**told, "start": begin, "end": end, "kind": "inpatient",
                              "source": EVIL, "outcome": outcome})  # fmt: skip
        bed = "1" if unit == "alpha" else EVIL
        rows["movements"].append({**told, "start": begin, "end": end, "unit": unit, "bed": bed})
        rows["subjects"].append({"subject": name, "birth_date": date(1950, 1, 1), "sex": "female",
                                 "recorded": begin, "file": "a.csv", "row": 1})  # fmt: skip
        events += _events(name, f"s{name}", begin)
    codes = [
        {"code": code, "description": text, "file": "a.csv", "row": 1}
        for code, text in ((f"LAB//{EVIL}", EVIL), ("LAB//plus", FORMULA))
    ]
    take(hospital, folder / "a.csv", events, units=units, beds=beds, codes=codes, **rows)
    found = hospital.identities().filter(pl.col("kind") == "subject").collect()
    subjects = dict(found.select("local_id", "pseudonym").iter_rows())
    people = {
        "subject_id": list(subjects.values()),
        "family": [f"Name-{name}" for name in subjects],
        "given": [EVIL] * len(subjects),
        "birth_date": [date(1950, 1, 1)] * len(subjects),
    }
    write_people(hospital.path, pl.DataFrame(people))
    return hospital.path, subjects


@dataclass
class Doors:
    application: FastAPI
    settings: WebSettings
    state: State
    subjects: dict[str, int]
    clock: list[datetime] = field(default_factory=lambda: [NOW])

    def client(self, **more: Any) -> TestClient:
        given = {"base_url": self.settings.base_url, "follow_redirects": False} | more
        return TestClient(self.application, **given)

    def signed_in(self, account: str, **more: Any) -> TestClient:
        client = self.client(**more)
        answer = sign_in(client, account)
        assert answer.status_code == 303, answer.text
        return client

    def later(self, **span: float) -> None:
        self.clock[0] += timedelta(**span)


def sign_in(client: TestClient, account: str, password: str = PASSWORD, **fields: str) -> Any:
    return client.post("/sign-in", data={"name": account, "password": password} | fields)


def csrf_of(client: TestClient) -> str:
    found = CSRF.search(client.get("/now", headers={"accept": "text/html"}).text)
    assert found
    return found[1]


@contextmanager
def cheap_hashes() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "HASHER", PasswordHasher(1, 8, 1))
        yield


@contextmanager
def doors(hospital: Path, subjects: dict[str, int], state: Path, **settings: Any) -> Any:
    clock = [NOW]
    chosen = WebSettings(
        hospital=hospital, state=state, programmes=PROGRAMMES, now=lambda: clock[0], **settings
    )
    with cheap_hashes(), open_state(state) as opened:
        for role in ROLES:
            if opened.accounts.get(role) is None:
                opened.accounts.put(role, role=role, password=PASSWORD, actor="root", at=NOW)
        if opened.accounts.get("alpha") is None:
            opened.accounts.put("alpha", role="clinician", units=["alpha"], password=PASSWORD,
                                actor="root", at=NOW)  # fmt: skip
        application = create_application(chosen)
        try:
            yield Doors(application, chosen, opened, subjects, clock)
        finally:
            application.state.bedside.close()


def compute(made: Doors, pages: tuple[str, ...], account: str = "clinician") -> None:
    """Open pages and do the work that they ask for, twice: some rests on other results."""
    client = made.signed_in(account)
    for _ in range(2):
        for page in pages:
            client.get(page)
        work_forever(made.settings, most=100)
