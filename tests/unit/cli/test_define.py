"""``neva define``: check, explain, run."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.command_line import CANARY
from tests.hospitals import event, new_hospital, take

from neva.definitions.documents import content_hash
from neva.definitions.language import events, stay
from neva.definitions.record import known_definitions
from neva.definitions.writing import feature

START = datetime(2020, 5, 1, 8, tzinfo=UTC)

MINE = """\
drug = events("ATC//H02AB02")
feature("demo.drug", drug.during(stay).exists(), version="1.0.0")
feature("demo.crp", events("LOINC//1988-5").during(stay).last().value("mg/L"), version="1.0.0")
feature("demo.text", events("NOTE//x").last().text, version="1.0.0")
score("demo.score", version="1.0.0", lowest=0, highest=3, items=[
    named("drug", case((drug.exists(), number(1)), otherwise=number(0))),
    named("crp", bands(events("LOINC//1988-5").last().value("mg/L"), number(0), (100, 2))),
])
measure("demo.measure", version="1.0.0", population=stay.kind == "inpatient",
        clock_start=stay.start, due=hours(24), numerator=drug.during(stay).exists())
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hospital = new_hospital(tmp_path)
    stays = [
        {"stay": f"s{n}", "subject": str(n), "start": START, "kind": "inpatient",
         "end": START + timedelta(days=3), "file": "a.csv", "row": n, "row_id": f"stay{n}"}
        for n in (1, 2, 3)
    ]  # fmt: skip
    # The third was born after the stay.
    subjects = [
        {"subject": str(n), "birth_date": datetime(2021 if n == 3 else 1960, 1, 1).date(),  # noqa: DTZ001
         "file": "a.csv", "row": n, "row_id": f"subject{n}"}
        for n in (1, 2, 3)
    ]  # fmt: skip
    rows = [
        event(subject="1", stay="s1", time=START, code="ATC//H02AB02", row_id="1"),
        event(subject="1", stay="s1", time=START, code="LOINC//1988-5", value=12.0,
              value_unit="mg/dL", row_id="2"),
        event(subject="1", stay="s1", time=START, code="NOTE//x", text=CANARY, row_id="3"),
    ]  # fmt: skip
    take(hospital, tmp_path / "a.csv", rows, stays=stays, subjects=subjects)
    (tmp_path / "mine.py").write_text(MINE)
    return hospital


def answers(said):
    return {(row["output"], row["answer"]): row["points"] for row in said.json()["answers"]}


# ------------------------------------------------------------------------- run


@pytest.mark.parametrize("engine", ["relational", "reference"])
def test_run_counts_answers_and_what_is_unknown(neva, place, engine):
    said = neva("define", "run", "mine.py", "hospital", "--engine", engine, "--json")
    assert said.code == 0, said.err
    assert answers(said) == {
        ("demo.drug", "true"): 1,
        ("demo.drug", "false"): 1,
        ("demo.drug", "unknown"): 0,
        ("demo.crp", "known"): 1,
        ("demo.crp", "unknown"): 1,
        ("demo.text", "other"): 1,
        ("demo.text", "unknown"): 1,
        ("demo.score/drug", "known"): 2,
        ("demo.score/drug", "unknown"): 0,
        ("demo.score/crp", "known"): 1,
        ("demo.score/crp", "unknown"): 1,
        ("demo.measure", "met"): 1,
        ("demo.measure", "failed"): 1,
        ("demo.measure", "unknown"): 0,
    }
    content = said.json()
    assert content["errors"] == [{"reason": "birth-after-now", "points": 1}]
    assert content["data"] == place.snapshot().identity
    assert content["definitions"][0]["version"] == "1.0.0"
    assert (content["points"], content["engine"]) == (2, engine)


def test_run_prints_a_table_for_people(neva, place):
    said = neva("define", "run", "mine.py", "hospital")
    for part in (place.snapshot().identity, "demo.drug", "unknown", "birth-after-now", "1.0.0"):
        assert part in said.out


def test_run_knows_only_what_was_known_then(neva, place):
    before = (START - timedelta(days=1)).isoformat()
    said = neva("define", "run", "mine.py", "hospital", "--as-of", before, "--json")
    assert said.json()["points"] == 0
    assert said.json()["now"] == before


@pytest.mark.parametrize(
    ("population", "points"),
    [("each-stay", 2), ("each-subject", 2), ("start", 3), ("end", 3), ("start+24h", 3),
     ("every-hours=24", 12)],
)  # fmt: skip
def test_run_takes_points_where_it_is_told(neva, place, population, points):
    said = neva("define", "run", "mine.py", "hospital", "--population", population, "--json")
    content = said.json()
    refused = sum(row["points"] for row in content["errors"])
    assert content["points"] + refused == (3 if points == 2 else points)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_run_writes_answers_point_by_point(neva, place, tmp_path, ending):
    out = tmp_path / f"answers.{ending}"
    assert neva("define", "run", "mine.py", "hospital", "--out", out).code == 0
    read = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert sorted(read["demo.crp"].drop_nulls().to_list()) == [120.0]
    # The total is missing with an item; what it is at least is not.
    assert read.sort("demo.score/at-least").select("demo.score", "demo.score/at-least").rows() == [
        (None, 0.0),
        (3.0, 3.0),
    ]


def test_run_shows_the_plan(neva, place):
    said = neva("define", "run", "mine.py", "hospital", "--show-sql")
    assert "CREATE TEMPORARY TABLE" in said.out
    assert neva("define", "run", "mine.py", "hospital", "--show-sql", "--json").json()["sql"]


def test_run_keeps_the_definitions_where_it_is_told(neva, place):
    assert neva("define", "run", "mine.py", "hospital", "--json").code == 0
    assert known_definitions(place.snapshot()).height == 0
    assert neva("define", "run", "mine.py", "hospital", "--record", "--json").code == 0
    assert known_definitions(place.snapshot()).height == 5


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["mine.py", "hospital", "--engine", "fast"], 2, "must be relational or reference"),
        (["mine.py", "hospital", "--population", "all"], 2, "no such population"),
        (["mine.py", "hospital", "--population", "every-hours=x"], 2, "a number of hours"),
        (["mine.py", "hospital", "--population", "start+-1h"], 2, "a number of hours"),
        (["mine.py", "hospital", "--out", "a.xlsx"], 2, "must end in .csv or .parquet"),
        (["nothing", "hospital"], 4, "neither a file nor a programme"),
        (["covid19.nothing", "hospital"], 4, "it has no such definition"),
        (["no.py", "hospital"], 4, "no such file"),
        (["mine.py", "nowhere"], 4, ""),
    ],
)
def test_run_refuses_what_makes_no_sense(neva, place, words, code, said):
    found = neva("define", "run", *words)
    assert (found.code, found.out) == (code, "")
    assert said in found.err


# ----------------------------------------------------------------------- check


def test_check_lists_definitions_with_places_and_hashes(neva, place, tmp_path):
    (tmp_path / "lists.yaml").write_text("codelists:\n  - id: a\n    codes: [A//a]\n")
    said = neva("define", "check", "mine.py", "lists.yaml", "--json")
    assert said.code == 0, said.err
    drug = feature("demo.drug", events("ATC//H02AB02").during(stay).exists(), version="1.0.0")
    assert said.json()["definitions"][0] == {
        "definition": "demo.drug",
        "kind": "feature",
        "version": "1.0.0",
        "hash": content_hash(drug)[:12],
        "place": "mine.py:2",
    }
    assert said.json()["codelists"] == ["a"]
    assert "all right" in neva("define", "check", "mine.py").out


def test_check_ends_with_the_code_of_bad_input(neva, place, tmp_path):
    (tmp_path / "bad.py").write_text("import os\n")
    said = neva("define", "check", "bad.py")
    assert (said.code, said.out) == (3, "")
    assert "bad.py:1:1: " in said.err


def test_check_says_what_does_not_fit_the_hospital(neva, place, tmp_path):
    (tmp_path / "misfit.py").write_text(
        'feature("demo.a", events("ATC//H02AB99").exists(), version="1.0.0")\n'
        'lists = codelist("antibiotics", "ATC//J01*")\n'
        'feature("demo.b", events(lists).exists(), version="1.0.0")\n'
        'crp = events("LOINC//1988-5")\n'
        'feature("demo.c", crp.last().value("mmol/L"), version="1.0.0")\n'
        'feature("demo.d", crp.where(value("mmol/L") > 3).exists(), version="1.0.0")\n'
        'feature("demo.e", crp.mean("g/L"), version="1.0.0")\n'
        'feature("demo.f", crp.hours_where(value("/min") > 3, carry=hours(4)), version="1.0.0")\n'
        'feature("demo.g", crp.each(each.value("Cel") > 3).any(), version="1.0.0")\n'
        'feature("demo.h", movements(kind="icu").exists(), version="1.0.0")\n'
    )
    said = neva("define", "check", "misfit.py", "--hospital", "hospital", "--json")
    assert said.code == 0, said.err
    found = [(row["definition"], row["kind"], row["what"]) for row in said.json()["misfits"]]
    assert found == [
        ("demo.a", "unknown-code", "ATC//H02AB99"),
        ("demo.b", "empty-codelist", "antibiotics"),
        ("demo.c", "unreadable-unit", "LOINC//1988-5"),
        ("demo.d", "unreadable-unit", "LOINC//1988-5"),
        ("demo.f", "unreadable-unit", "LOINC//1988-5"),
        ("demo.g", "unreadable-unit", "LOINC//1988-5"),
        ("demo.h", "empty-codelist", "UNITKIND//icu"),
    ]
    plain = neva("define", "check", "misfit.py", "--hospital", "hospital").out
    assert "misfit.py:5: demo.c: unreadable-unit: LOINC//1988-5: no stored value" in plain
    assert "found units: mg/dL" in plain
    assert "7 to look at for this hospital" in plain


def test_check_says_that_a_version_was_used_for_other_content(neva, place, tmp_path):
    neva("define", "run", "mine.py", "hospital", "--record")
    assert neva("define", "check", "mine.py", "--hospital", "hospital").code == 0
    (tmp_path / "mine.py").write_text(MINE.replace("H02AB02", "H02AB04"))
    said = neva("define", "check", "mine.py", "--hospital", "hospital")
    assert said.code == 5
    assert "mine.py:2: definition demo.drug, version 1.0.0" in said.out
    assert "raise the version" in said.out


# --------------------------------------------------------------------- explain


def test_explain_says_a_programme_a_definition_or_a_file(neva, place):
    one = neva("define", "explain", "covid19.steroid-when-on-oxygen").out
    assert "24 hours after “oxygen needed”" in one
    assert one.strip() in neva("define", "explain", "covid19").out
    assert "demo.drug, version 1.0.0" in neva("define", "explain", "mine.py").out
    russian = neva("define", "explain", "mine.py", "--language", "ru", "--json").json()
    assert "есть хотя бы одна запись" in russian["demo.drug"]


def test_explain_refuses_other_languages(neva, place):
    assert neva("define", "explain", "stroke", "--language", "de").code == 2


def test_a_file_of_codelists_goes_with_definitions(neva, place, tmp_path):
    (tmp_path / "lists.yaml").write_text("codelists:\n  - id: drugs\n    codes: [ATC//H02AB02]\n")
    (tmp_path / "with.py").write_text(
        'feature("demo.x", events(codelist_named("drugs")).exists(), version="1.0.0")\n'
    )
    run = neva("define", "run", "with.py", "hospital", "--codelists", "lists.yaml", "--json")
    assert answers(run)[("demo.x", "true")] == 1
    said = neva("define", "explain", "with.py", "--codelists", "lists.yaml").out
    assert "drugs (drugs, version 1.0.0): 1 code: ATC//H02AB02" in said
