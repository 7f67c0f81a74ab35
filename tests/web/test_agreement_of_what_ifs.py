"""The page of a what-if says whether the forecast says the same, and why not."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from neva.errors import UsageError
from neva.events.hospital import create_hospital
from neva.jobs import flow
from neva.languages.language import language_of
from neva.synthesis import Plan, synthesise
from neva.web.views.agreement import agreement_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCENARIO = "name: four beds more\nchanges:\n  - beds: {unit: medical-1, add: 4}\n"
UNITS = {"ed": "Emergency", "ward": "Ward one"}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    made = create_hospital(tmp_path_factory.mktemp("what-if") / "h", zone="Europe/Moscow", now=NOW)
    synthesise(made, Plan(stays=500, seed=5, zone="Europe/Moscow"), now=NOW)
    return made


@pytest.fixture(scope="module")
def content(hospital):
    at = hospital.snapshot().now
    return flow.what_if(hospital, at, [SCENARIO], days=3, replications=2)


def asked(units=None, language="en"):
    return SimpleNamespace(
        words=language_of(language, "UTC"),
        viewer=SimpleNamespace(units=units),
        unit_titles=UNITS,
        server=SimpleNamespace(may_see=lambda own, place: place in own),
    )  # fmt: skip


def test_the_synthetic_hospital_agrees_or_says_why(content):
    rows = content["agreement"]["rows"]
    assert {row["hours"] for row in rows} == {12, 24, 72, 168}
    assert all(row["reasons"] for row in rows if row["verdict"] == "differs")
    assert all("other" not in row["reasons"] for row in rows)
    agreeing = [row["verdict"] == "agrees" for row in rows]
    assert sum(agreeing) > 0.8 * len(rows)
    assert content["agreement_note"] == ""


def test_the_page_has_a_row_of_the_hospital_and_of_each_difference(content):
    data, (table,) = agreement_of(asked(), content)
    rows = content["agreement"]["rows"]
    differing = [row for row in rows if row["place"] != "all" and row["verdict"] != "agrees"]
    assert len(table.rows) == 4 + len(differing)
    assert table.rows[0]["place"] == "whole hospital"
    assert data["compared"]
    assert f"of {len(rows)} numbers of patients agree" in data["said"]
    assert "of the next 7 days." in data["said"]


def row(**changes):
    return {
        "place": "ward", "hours": 24, "time": NOW.isoformat(), "simulated": 4.0,
        "simulated_q05": 2.0, "simulated_q95": 6.0, "forecast": 9.0, "forecast_q05": 5.0,
        "forecast_q95": 14.0, "verdict": "differs", "reasons": ["beds"], "arrivals": -5.0,
        "stays_here": -5.0, "stays_to_come": -5.0, "beds": -5.0,
        "entries": -5.0, "other": -5.0,
        "come_forecast": 3.0, "come_simulated": 1.0, "here_forecast": 7.0, "here_simulated": 3.0,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "english", "russian"),
    [
        ({}, "5.0 fewer patients are here than would come", "меньше на 5,0, чем было бы"),
        ({"beds": 5.0}, "5.0 more patients stay here because no bed", "больше на 5,0, потому что"),
        ({"reasons": ["arrivals"]}, "expects 3.0 by then, the simulation 1.0", "поступления: к"),
        (
            {"reasons": ["arrivals"], "come_forecast": 0.0, "come_simulated": 0.0},
            "arrivals in other units (5.0 patients here)",
            "поступления в другие отделения",
        ),
        ({"reasons": ["stays_here"]}, "expects 7.0 here then, the simulation 3.0", "из тех, кто"),
        ({"reasons": ["stays_to_come"]}, "stay of those who arrive by then", "кто поступит"),
        ({"reasons": ["entries"]}, "entries about the patients here", "отметки о находящихся"),
        ({"reasons": ["other"]}, "not explained (5.0 patients)", "не объяснено"),
    ],
)
def test_each_reason_is_said_in_both_languages(changes, english, russian):
    content = {"agreement": {"rows": [row(**changes)]}}
    for language, said in (("en", english), ("ru", russian)):
        data, (table,) = agreement_of(asked(language=language), content)
        assert said in table.rows[0]["why"]
        assert data["kind"] == "warning"


def test_what_is_too_close_is_no_agreement():
    content = {"agreement": {"rows": [row(verdict="undecided", reasons=[])]}}
    data, (table,) = agreement_of(asked(), content)
    assert data["kind"] == ""
    assert "Too close to tell: 1." in data["said"]
    assert table.rows[0]["verdict"] == "too close to tell"


def test_who_sees_some_units_only_is_shown_these():
    content = {"agreement": {"rows": [row(), row(place="ed"), row(place="all")]}}
    _, (table,) = agreement_of(asked(units={"ed"}), content)
    assert [one["place"] for one in table.rows] == ["whole hospital", "Emergency"]


def test_nothing_compared_never_looks_like_agreement(hospital, monkeypatch):
    def refused(*_, **__):
        raise UsageError("lengths of stay: too few ended")

    monkeypatch.setattr(flow, "hospital_agreement", refused)
    at = hospital.snapshot().now
    content = flow.what_if(hospital, at, [SCENARIO], days=2, replications=2)
    assert content["agreement"] is None
    for found in (content, {}):
        data, tables = agreement_of(asked(), found)
        assert data["said"] == "This simulation could not be compared with the forecast."
        assert data["kind"] == "warning"
        assert not data["compared"]
        assert tables == []
    assert agreement_of(asked(), content)[0]["why_not"] == "lengths of stay: too few ended"
