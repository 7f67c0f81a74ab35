"""Every page without a browser: its twins, its results, generated questions, stale data."""

import csv
import io
import json
import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.computed_pages import PAGES, SHEETS, sign_in

from neva.languages import language as languages
from neva.state.settings import WebSettings
from neva.web.application import create_application
from neva.web.demonstration import PROGRAMMES
from neva.web.security.access import ACCESS


@pytest.fixture(scope="module")
def served(computed_site):
    return computed_site


def test_no_job_failed(served):
    application, _ = served
    jobs = application.state.server.state.jobs.newest()
    assert [(one.kind, one.error) for one in jobs if one.state == "failed"] == []
    assert len({one.kind for one in jobs}) >= 8


@pytest.mark.parametrize("page", PAGES)
def test_a_page_and_its_twins_say_the_same(served, page):
    _, client = served
    html = client.get(page)
    assert html.status_code == 200
    assert "This is being computed" not in html.text
    twin = client.get(f"{page}.json")
    assert twin.status_code == 200
    content = twin.json()
    assert content["synthetic"] is True
    assert content["data_version"].count("@") == 1
    for name, rows in content["tables"].items():
        answer = client.get(f"{page}.csv?table={name}")
        assert answer.headers["content-disposition"].endswith(f'neva-{name}.csv"')
        read = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
        assert len(read) == len(rows)
        for mine, theirs in zip(read, rows, strict=True):
            for key, value in theirs.items():
                if isinstance(value, int) and not isinstance(value, bool):
                    assert mine[key] == str(value)


@pytest.mark.parametrize("sheet", SHEETS)
def test_sheets_are_documents_for_paper(served, sheet):
    _, client = served
    answer = client.get(f"/paper/{sheet}")
    assert answer.status_code == 200
    assert "@page" in answer.text
    nonce = re.search(r"style-src 'nonce-([^']+)'", answer.headers["content-security-policy"])[1]
    assert f'nonce="{nonce}"' in answer.text
    assert "SYNTHETIC" in answer.text


def test_a_russian_page_has_no_english_text_of_ours(served):
    application, _ = served
    languages.UNTRANSLATED.clear()
    with TestClient(application, base_url="http://127.0.0.1:8321") as client:
        sign_in(client, "clinician", "ru")
        for page in PAGES:
            assert client.get(page).status_code == 200
            assert 'lang="ru"' in client.get(page).text
        for sheet in SHEETS[:-1]:
            client.get(f"/paper/{sheet}")
    assert sorted(languages.UNTRANSLATED) == []


WORDS = st.one_of(
    st.sampled_from(["", "0", "-1", "1e999", "nan", "ed", "died", "a → b", "→", "failed", "codes",
                     "2020-13-45", "0001-01-01", "9999-12-31", "%00", "../../etc/passwd",
                     "<script>", "=1+1", "9" * 400]),
    st.text(max_size=30),
)  # fmt: skip
NAMES = st.sampled_from(
    ["tab", "metric", "activities", "paths", "with", "without", "step", "unit", "outcome", "from",
     "to", "a_with", "b_step", "a_from", "status", "hours", "place", "days", "replications",
     "programme", "kind", "search", "reason", "table", "actor", "subject", "stay", "language",
     "copy", "activities_of", "next"]
)  # fmt: skip
READ = sorted(path for method, path in ACCESS if method == "GET" and "oidc" not in path)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    path=st.sampled_from(READ),
    values=st.lists(WORDS, min_size=3, max_size=3),
    query=st.lists(st.tuples(NAMES, WORDS), max_size=4),
    ending=st.sampled_from(["", ".json", ".csv"]),
    role=st.sampled_from(["clinician", "administrator"]),
)
def test_no_question_is_a_bug(served, path, values, query, ending, role):
    application, client = served
    if role != "clinician":
        client = OTHERS.setdefault(
            id(application), TestClient(application, base_url=client.base_url)
        )
        if "neva_session" not in client.cookies:
            sign_in(client, role)
    parts = iter(values)
    url = re.sub(r"\{[^}]+\}", lambda _: quote(next(parts), safe="") or "x", path) + ending
    answer = client.get(url, params=query, follow_redirects=False)
    assert answer.status_code < 500, (url, query)


OTHERS = {}


def test_what_an_address_says_and_nobody_understands_is_told(served):
    _, client = served
    text = client.get("/pathways?activities=abc&from=2020-13-45&step=xx&metric=beauty").text
    for part in ("activities=abc", "from=2020-13-45", "step=xx", "metric=beauty"):
        assert part in text.partition("Not understood in the address")[2].partition("</p>")[0]
    assert "Not understood" not in client.get("/pathways?activities=50&from=2020-03-01&to=").text


def test_a_work_list_of_another_hour_is_not_shown(served, monkeypatch):
    application, client = served
    server = application.state.server
    assert client.get("/work-list.json").json()["tables"]["clocks"]
    later = server.now() + timedelta(hours=3)
    monkeypatch.setattr(server, "now", lambda: later)
    page = client.get("/work-list.json").json()
    assert page["data"]["has_tasks"] is False
    assert page["tables"]["tasks"] == page["tables"]["clocks"] == []
    assert "Calculating…" in client.get("/work-list").text


def test_old_data_are_red_and_nothing_is_green(served, tmp_path):
    application, _ = served
    held = application.state.server.settings
    later = application.state.server.now() + timedelta(hours=30)
    chosen = WebSettings(
        hospital=held.hospital, programmes=PROGRAMMES, clock="wall", now=lambda: later
    )
    again = create_application(chosen)
    with TestClient(again, base_url=chosen.base_url) as client:
        sign_in(client, "clinician")
        text = client.get("/now").text
        assert 'class="stale"' in text
        assert 'role="alert"' in text
        assert 'class="stat good"' not in text
        assert 'class="answer good"' not in client.get("/wallboard").text


def test_health_and_metrics_have_nothing_of_a_patient(served):
    application, client = served
    patients = application.state.server.whole().subjects().select("subject_id").collect()
    client.get(f"/patient/{patients['subject_id'][0]}")
    text = client.get("/metrics").text + json.dumps(client.get("/health").json())
    assert 'route="/patient/{subject}"' in text
    assert not [one for one in patients["subject_id"].cast(str) if one in text]


def test_rules_at_discharges_and_orders_stand_apart_from_those_of_an_open_chart(served):
    _, client = served
    tables = client.get("/decisions.json").json()["tables"]
    hours, home = tables["replay-hours"], tables["replay-discharges"]
    names = {row["rule"] for row in hours}
    assert len(names) == 8
    assert [row["rule"] for row in home] == ["Going home with NEWS2 of 5 or more"]
    assert not names & {row["rule"] for row in home}
    assert "cards_per_100_days" not in home[0]
    # No order is recorded in this hospital: that is said, and is no row of noughts.
    assert "replay-orders" not in tables
    assert "could not be assessed, no orders that it is about are recorded" in (
        client.get("/decisions").text
    )
    warned = {row["rule"]: row["outcome"] for row in tables["replay-outcomes"]}
    assert warned["Going home with NEWS2 of 5 or more"].startswith("Unplanned return")
    assert not warned.keys() & {row["rule"] for row in tables["replay-done"]}
    rule = client.get("/decisions/rules/sepsis.lactate").text
    assert "no outcome: it checks an order or reminds of a step" in rule
