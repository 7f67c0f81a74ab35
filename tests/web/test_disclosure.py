"""What each role sees on each page: patients for those who treat, counts for the others."""

import csv
import io
import re
from itertools import pairwise
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.computed_pages import NOW, sign_in

from neva.decisions.disclosure import shared_burden, shared_replay
from neva.state import ROLES
from neva.statistics.disclosure import FEWEST
from neva.web.security.access import (
    ACCESS,
    LARGE_COUNTS,
    NOTHING,
    PATIENTS,
    SHOWN,
    may,
    shown,
)

MANUAL = Path(__file__).parents[2] / "docs" / "web.md"
OTHERS = tuple(role for role in ROLES if role != "clinician")
WITHHELD = "not shown: few patients"
#: Questions that ask for more of a page, beside the page as it is.
QUESTIONS = {
    "/pathways": ("?tab=cases", "?tab=statistics", "?activities_of=codes",
                  "?activities_of=codes&tab=statistics", "?outcome=died&tab=statistics",
                  "?from=2020-03-01&to=2020-03-02"),
    "/pathways/compare": ("?a_outcome=died&b_outcome=home",),
    "/quality/{programme}/{measure}/patients": ("?status=met",),
    "/flow": ("?hours=24",),
    "/audit": ("?days=366",),
}  # fmt: skip
#: Columns that count patients or their cases, on pages of large counts.
COUNTED = {
    "numerator", "denominator", "events", "n", "met", "cases", "only", "pending", "excluded",
    "unknown", "frequency", "starts", "ends", "count", "repeats", "repeating_cases", "stays",
    "cards", "quiet", "outcomes", "cards_shown", "accepted", "overridden", "without_feedback",
    "with_reason",
}  # fmt: skip
#: The same in what stands beside the tables.
COUNTED_DATA = {
    "population", "met", "failed", "measured", "pending", "excluded", "unknown", "denominator",
    "treated", "treated_met", "interval_n", "before_clock", "outside", "of", "cases", "all_cases",
    "cards", "shown",
}  # fmt: skip


@pytest.fixture(scope="module")
def clients(computed_site):
    application, _ = computed_site
    made = {role: TestClient(application, base_url="http://127.0.0.1:8321") for role in ROLES}
    for role, client in made.items():
        sign_in(client, role)
    return made


@pytest.fixture(scope="module")
def patients(computed_site):
    """Return whatever names a patient: pseudonyms, stays, beds, record numbers, names."""
    application, _ = computed_site
    server = application.state.server
    snapshot = server.whole()
    frame = snapshot.stays().select("subject_id", "stay_id").collect()
    moves = snapshot.movements().select("bed").collect()
    subjects = frame["subject_id"].unique().cast(str).to_list()
    people = server.identities.of([int(one) for one in subjects], clinician(), why="a test", at=NOW)
    return {
        "pseudonym": subjects,
        "stay": frame["stay_id"].unique().cast(str).to_list(),
        "bed": moves["bed"].drop_nulls().unique().to_list(),
        "name": [one.name for one in people.values() if one.name],
    }


def clinician():
    from neva.access.viewer import Viewer

    return Viewer("test", "", "clinician", None, "", "")


def leaves(routes):
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from [route] if inner is None else leaves(inner.routes)


def read_paths(application):
    return sorted(
        {
            route.path
            for route in leaves(application.routes)
            if "GET" in (getattr(route, "methods", None) or ())
        }
    )


def template(path):
    return re.sub(r"\.(json|csv)$", "", path)


MACHINES = ("/health", "/metrics", "/favicon.ico", "/openapi.json", "/cds-services")


def addresses(application, path, patients):
    """Fill a route in with what there is, and ask for each of its tables and tabs."""
    server = application.state.server
    jobs = [one.id for one in server.state.jobs.newest()][:1]
    values = {
        "subject": patients["pseudonym"][:1], "programme": ["covid19", "sepsis"],
        "measure": ["steroid-when-on-oxygen", "length-of-stay", "thromboprophylaxis-day-0-or-1"],
        "rule": ["covid19.steroid-on-oxygen"], "case": patients["stay"][:1],
        "definition": ["covid19.news2"], "scenario": ["none"], "job": jobs, "model": ["none"],
        "upload": ["none"],
    }  # fmt: skip
    urls = [path]
    for name in re.findall(r"\{(\w+)\}", path):
        urls = [url.replace(f"{{{name}}}", value) for url in urls for value in values[name]]
    return [url + question for url in urls for question in ("", *QUESTIONS.get(template(path), ()))]


def measures():
    from neva.definitions.programme import load_programme

    return load_programme("covid19").measures


def answers(client, url):
    """Fetch an address, and of a CSV twin every table."""
    answer = client.get(url, follow_redirects=False)
    yield url, answer
    if ".csv" in url and answer.status_code == 200:
        page, _, query = url.partition("?")
        tables = client.get(url.replace(".csv", ".json")).json()["tables"]
        for table in list(tables)[1:]:
            more = f"{page}?table={table}" + (f"&{query}" if query else "")
            yield more, client.get(more)


def named(text, things):
    """Return kinds of things that a text names, apart from longer numbers and words."""
    words = set(re.findall(r"[\w-]+", text))
    return {kind for kind, names in things.items() if not words.isdisjoint(names)}


# ----------------------------------------------------------- the table of pages


def test_every_page_is_in_the_table_and_every_line_is_a_page(computed_site):
    application, _ = computed_site
    pages = {
        template(path) for path in read_paths(application) if not path.startswith(MACHINES)
    } - {"/static"}
    assert pages - set(SHOWN) == set(), "a page needs its line in SHOWN of security/access.py"
    absent = {one for one in set(SHOWN) - pages if "oidc" not in one}
    assert absent == set(), "no such page: is its view called in _pages of web/application.py?"
    assert {path for method, path in ACCESS if method == "GET"} == set(SHOWN)


def test_a_page_that_is_not_in_the_table_is_refused(clients, monkeypatch):
    monkeypatch.delitem(SHOWN, "/wallboard")
    assert clients["clinician"].get("/wallboard").status_code == 403


def test_patients_are_shown_to_those_who_treat_only():
    for path in SHOWN:
        for role in OTHERS:
            assert shown(role, path) != PATIENTS
        if not may("clinician", "GET", path):
            assert shown("clinician", path) == NOTHING


def test_the_manual_has_the_table_of_the_code():
    lines = MANUAL.read_text("utf-8").splitlines()
    begin = lines.index("| page | " + " | ".join(ROLES) + " |")
    found = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        path, *cells = [one.strip() for one in line.strip("|").split("|")]
        found[path.strip("`")] = cells
    expected = {
        path: [shown(role, path) if may(role, "GET", path) else "–" for role in ROLES]
        for path in SHOWN
    }
    assert found == expected, "docs/web.md, What each page shows: write the rows as SHOWN has them"


# ------------------------------------------------------------ rows of patients


@pytest.mark.parametrize("role", OTHERS)
def test_no_answer_names_a_patient_to_who_does_not_treat(computed_site, clients, patients, role):
    application, _ = computed_site
    wrong, seen = [], 0
    for path in read_paths(application):
        for address in addresses(application, path, patients):
            asked = [name for names in patients.values() for name in names if name in address]
            for url, answer in answers(clients[role], address):
                text = answer.text
                for name in asked:  # an error may say what was asked for
                    text = text.replace(name, "")
                found = named(text, patients)
                seen += answer.status_code == 200
                if found:
                    wrong.append((url, answer.status_code, sorted(found)))
    assert wrong == []
    assert seen > 100


def test_those_who_treat_see_patients_where_the_table_says_so(clients, patients):
    for page in ("/now", "/pathways?tab=cases", "/paper/bed-meeting", "/work-list"):
        assert shown("clinician", page.partition("?")[0]) == PATIENTS
        assert named(clients["clinician"].get(page).text, patients), page


@pytest.mark.parametrize("role", OTHERS)
def test_the_bed_meeting_counts_and_names_nobody(clients, role):
    text = clients[role].get("/paper/bed-meeting").text
    assert "Awaiting a bed" in text
    assert "confirmed" in text
    for column in ("probability of discharge today", "blocked by", "fit since"):
        assert column in clients["clinician"].get("/paper/bed-meeting").text
        assert column not in text


def test_the_audit_tells_of_a_patient_who_asks_for_one(clients, patients):
    subject = patients["pseudonym"][0]
    clients["clinician"].get(f"/patient/{subject}")
    text = clients["administrator"].get(f"/audit.csv?days=366&subject={subject}").text
    assert named(text.replace(subject, ""), patients) == set()


# -------------------------------------------------------------- small counts


def counts_in(value, names, where=""):
    """Find counts by name, however deep."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in names and isinstance(one, int | float) and not isinstance(one, bool):
                yield f"{where}.{name}", one
            yield from counts_in(one, names, f"{where}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from counts_in(one, names, where)


@pytest.mark.parametrize("role", OTHERS)
def test_no_count_from_1_to_4_in_the_twins_of_pages_of_large_counts(
    computed_site, clients, patients, role
):
    application, _ = computed_site
    wrong, withheld = [], 0
    for path, (_, to_others) in SHOWN.items():
        if to_others != LARGE_COUNTS or path.startswith("/paper"):
            continue
        for address in addresses(application, path, patients):
            page, _, query = address.partition("?")
            tail = f"?{query}" if query else ""
            answer = clients[role].get(f"{page}.json{tail}")
            if answer.status_code == 404:
                continue
            content = answer.json()
            withheld += answer.text.count(WITHHELD)
            for part, names in (("tables", COUNTED), ("data", COUNTED_DATA)):
                wrong += [
                    (address, where, count)
                    for where, count in counts_in(content[part], names)
                    if 0 < count < FEWEST
                ]
            for _, twin in answers(clients[role], f"{page}.csv{tail}"):
                if twin.status_code != 200:
                    continue
                rows = csv.DictReader(io.StringIO(twin.content.decode("utf-8-sig")))
                wrong += [
                    (address, name, value)
                    for row in rows
                    for name, value in row.items()
                    if name in COUNTED and value in {"1", "2", "3", "4"}
                ]
    assert wrong == []
    assert withheld > 20


def test_those_who_treat_see_small_counts(clients):
    found = clients["clinician"].get("/quality/covid19/steroid-when-on-oxygen.json").json()
    assert [one for _, one in counts_in(found["tables"], COUNTED) if 0 < one < FEWEST]
    assert WITHHELD not in str(found)


def numbers(rows, name):
    return [row[name] for row in rows if isinstance(row[name], int)]


def test_no_margin_of_a_measure_gives_a_small_count_away(clients):
    looked = 0
    for measure in measures():
        short = measure.id.partition(".")[2]
        content = clients["viewer"].get(f"/quality/covid19/{short}.json").json()
        figure, tables = content["data"]["measure"]["figure"], content["tables"]
        if not isinstance(figure["denominator"], int):
            assert not numbers(tables["points"], "denominator")
            assert not numbers(tables["units"], "n")
            continue
        groups = {}
        for row in tables["strata"]:
            groups.setdefault(row["name"], []).append(row)
        parts = [(tables["points"], "denominator", "numerator"), (tables["units"], "n", "events")]
        parts += [(rows, "n", "met") for rows in groups.values()]
        for rows, of, met in parts:
            shown_rows = [row for row in rows if isinstance(row[of], int)]
            if not shown_rows:
                continue
            looked += 1
            left = figure["denominator"] - sum(row[of] for row in shown_rows)
            assert left == 0 or left >= FEWEST, (short, of)
            if not measure.observation:
                left_met = figure["met"] - sum(round(row[met]) for row in shown_rows)
                assert left_met == 0 or left_met >= FEWEST, (short, met)
                assert left - left_met == 0 or left - left_met >= FEWEST, (short, met)
    assert looked >= 10


def test_windows_of_days_do_not_differ_by_a_few_cases(clients):
    def cases(query, tab="map"):
        found = clients["analyst"].get(f"/pathways.json?tab={tab}&{query}").json()
        return found["data"]["cases"], {
            row["path"]: row["cases"] for row in found["tables"].get("paths", ())
        }

    days = [f"2020-{month:02}-{day:02}" for month in range(2, 8) for day in (3, 4)]
    windows = [cases(f"from=2020-01-01&to={day}") for day in days]
    for (few, paths), (more, more_paths) in pairwise(windows):
        assert more - few == 0 or more - few >= FEWEST
        for path, count in more_paths.items():
            assert count - paths.get(path, 0) == 0 or count - paths.get(path, 0) >= FEWEST


def test_what_is_withheld_says_why_in_both_languages(clients):
    page = "/quality/covid19/steroid-when-on-oxygen"
    text = clients["viewer"].get(page).text
    assert "counts from 1 to 4" in text
    assert "counts from 1 to 4" not in clients["clinician"].get(page).text
    russian = clients["viewer"].get("/quality/covid19?language=ru").text
    assert "не показано: мало пациентов" in russian


def test_the_boards_report_of_who_sees_no_patients_has_no_small_count(clients):
    whole = clients["clinician"].get("/paper/board-report").text
    text = clients["viewer"].get("/paper/board-report").text
    pattern = re.compile(r">\s*(\d+) of (\d+)\s*<")
    counts = [int(one) for pair in pattern.findall(text) for one in pair]
    assert WITHHELD in text
    assert [one for one in counts if 0 < one < FEWEST] == []
    assert WITHHELD not in whole


# ------------------------------------------------------------------- rules


def week(period, rule, *counts):
    names = ("cards_shown", "accepted", "overridden", "without_feedback")
    return {"period": period, "rule": rule, **dict(zip(names, counts, strict=True))}


def test_a_week_with_few_cards_takes_the_next_smallest_with_it():
    weeks = [week("w1", "a", 30, 10, 10, 10), week("w2", "a", 3, 0, 0, 3),
             week("w3", "a", 20, 5, 5, 10)]  # fmt: skip
    reasons = [{"rule": "a", "unit": "x", "reason": "known", "with_reason": 9},
               {"rule": "a", "unit": "y", "reason": "known", "with_reason": 6}]  # fmt: skip
    shown_weeks, shown_reasons, is_whole = shared_burden(weeks, reasons)
    assert [row["period"] for row in shown_weeks] == ["w1", "withheld"]
    assert [row["with_reason"] for row in shown_reasons] == [9, 6]
    assert is_whole


def test_a_rule_with_few_cards_in_all_is_not_in_the_sum_of_all():
    shown_weeks, shown_reasons, is_whole = shared_burden(
        [week("w1", "a", 30, 10, 10, 10), week("w1", "b", 2, 0, 2, 0)],
        [{"rule": "b", "unit": "x", "reason": "known", "with_reason": 2}],
    )
    assert [row["cards_shown"] for row in shown_weeks] == [30, "withheld"]
    assert [row["with_reason"] for row in shown_reasons] == ["withheld"]
    assert not is_whole


def test_shares_of_a_replay_go_with_the_few_patients_behind_them():
    row = {"rule": "a", "stays": 100, "cards": 40, "quiet": 0, "stays_with_card": 30,
           "cards_per_100_days": 4.0, "cards_per_stay_with_card": 1.3, "outcomes": 20, "warned": 18,
           "sensitivity": 0.9, "decided_cards": 40, "true_cards": 20, "ppv": 0.5,
           "lead_hours": 5.0}  # fmt: skip
    found = shared_replay(row)
    assert (found["sensitivity"], found["lead_hours"]) == ("withheld", "withheld")
    assert (found["ppv"], found["outcomes"], found["cards_per_stay_with_card"]) == (0.5, 20, 1.3)


def at_discharges(**figures):
    row = {"rule": "a", "asked_at": "discharges", "assessed": True, "recorded": 300, "stays": 200,
           "moments": 200, "cards": 40, "quiet": 0, "cards_per_100_moments": 20.0,
           "stays_with_card": 40, "cards_per_stay_with_card": 1.0, "decided_stays": 150,
           "outcomes": 30, "warned": 20, "sensitivity": 0.67, "decided_cards": 40,
           "true_cards": 20, "ppv": 0.5, "lead_hours": 90.0}  # fmt: skip
    return {name for name, value in shared_replay(row | figures).items() if value == "withheld"}


def test_few_discharges_are_withheld_and_what_they_follow_from():
    assert at_discharges() == set()
    three = {"moments": 3, "stays": 3, "cards": 3, "stays_with_card": 3, "decided_stays": 0,
             "outcomes": 0, "warned": 0}  # fmt: skip
    assert at_discharges(**three) >= {"moments", "cards", "cards_per_100_moments"}
    # 300 in all, and 297 of them: the three others are told.
    assert at_discharges(recorded=203) == {"moments", "cards_per_100_moments"}
    # All but three had a card.
    assert at_discharges(cards=197, stays_with_card=190) >= {"cards", "cards_per_100_moments"}
    assert at_discharges(decided_stays=198) == {"decided_stays"}
    assert at_discharges(decided_stays=33) == {"outcomes", "sensitivity"}


def test_few_steps_done_or_not_done_are_withheld():
    row = {"rule": "a", "asked_at": "hours", "assessed": True, "stays": 100, "cards": 40,
           "quiet": 0, "stays_with_card": 30, "cards_per_100_days": 4.0,
           "cards_per_stay_with_card": 1.3, "done_within_hours": 3.0, "over_cards": 30,
           "done_cards": 15, "done_share": 0.5}  # fmt: skip

    def hidden(**figures):
        return {name for name, value in shared_replay(row | figures).items() if value == "withheld"}

    assert hidden() == set()
    assert hidden(done_cards=2) == {"done_cards", "done_share"}
    assert hidden(done_cards=28) == {"done_cards", "done_share"}
    assert hidden(over_cards=38) == {"over_cards", "done_cards", "done_share"}
    assert hidden(over_cards=3, done_cards=0) >= {"over_cards", "done_share"}


def test_a_rule_that_could_not_be_assessed_has_nothing_to_withhold():
    row = {"rule": "a", "asked_at": "orders", "assessed": False, "recorded": 0}
    assert shared_replay(row) == row
