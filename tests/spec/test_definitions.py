"""What definitions mean: the examples of the manual, asked of both engines."""

from __future__ import annotations

import math
import os
import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from tests.definition_examples import (
    EXAMPLES,
    PAGE,
    PATH,
    Example,
    example_of,
    lines_by_word,
    words_of_the_language,
)
from tests.definition_strategies import snapshot_of

from neva.definitions._syntax import ATTRIBUTES, WORDS
from neva.definitions.documents import STATUSES, Measure, Score
from neva.definitions.points import POINTS
from neva.definitions.run import answer
from neva.definitions.user_files import read_user_files


def moment(text: str, zone: str) -> datetime:
    whole = text if re.match(r"\d{4}-", text) else f"2020-{text}"
    return datetime.fromisoformat(whole).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def attributes(cell: str | None) -> list[dict[str, str]] | None:
    """One attribute, written ``key=value``."""
    if not cell:
        return None
    key, _, value = cell.partition("=")
    return [{"key": key, "value": value}]


def rows(example: Example) -> dict[str, list[dict[str, Any]]]:
    """The stored tables of one patient, number 1, with at most one stay, number 1."""

    def time(cell: str | None) -> datetime | None:
        return moment(cell, example.zone) if cell else None

    long_ago = datetime(2010, 1, 1, tzinfo=UTC)
    known = {"recorded_assumed": False, "retracted": None, "batch": 1}
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("events", "stays", "movements", "subjects", "units", "codes")
    }
    for number, row in enumerate(example.tables.get("events", ()), 1):
        cell = row.get
        tables["events"].append(
            {
                "event_id": int(cell("id") or number),
                "subject_id": 1,
                "stay_id": 1 if cell("stay") == "yes" else None,
                "time": time(row["time"]),
                "end_time": time(cell("end")),
                "precision": "instant",
                "code": row["code"],
                "value": float(row["value"]) if cell("value") else None,
                "comparator": cell("comparator") or None,
                "value_unit": cell("unit") or None,
                "text": cell("text") or None,
                "status": cell("status") or "done",
                "reason": cell("reason") or None,
                "rank": int(cell("rank")) if cell("rank") else None,
                "attributes": attributes(cell("attribute")),
                "sequence": int(cell("sequence") or 0),
                **known,
                "recorded": time(cell("recorded") or row["time"]),
                "retracted": time(cell("retracted")),
            }
        )
    for row in example.tables.get("stays", ()):
        tables["stays"].append(
            {
                "stay_id": 1,
                "subject_id": 1,
                "start": time(row["start"]),
                "end": time(row.get("end")),
                "precision": "instant",
                "kind": row.get("kind") or None,
                "source": row.get("source") or None,
                "outcome": row.get("outcome") or None,
                **known,
                "recorded": time(row["start"]),
            }
        )
    for number, row in enumerate(example.tables.get("movements", ()), 1):
        tables["movements"].append(
            {
                "movement_id": number,
                "stay_id": 1,
                "subject_id": 1,
                "start": time(row["start"]),
                "end": time(row.get("end")),
                "precision": "instant",
                "unit": row["unit"],
                "bed": None,
                **known,
                "recorded": time(row["start"]),
            }
        )
    for row in example.tables.get("patient", ()):
        tables["subjects"].append(
            {
                "subject_id": 1,
                "birth_date": date.fromisoformat(row["birth"]) if row.get("birth") else None,
                "sex": row.get("sex") or None,
                "death": time(row.get("death")),
                **known,
                "recorded": long_ago,
            }
        )
    for row in example.tables.get("codes", ()):
        tables["codes"].append(
            {
                "code": row["code"],
                "description": None,
                "parents": row["parents"].split(", ") if row.get("parents") else None,
                "molar_mass": float(row["molar_mass"]) if row.get("molar_mass") else None,
                "value_unit": None,
                **known,
                "recorded": long_ago,
            }
        )
    return tables


def outputs_of(thing: Any) -> dict[str, Any]:
    if isinstance(thing, Measure):
        return {"answer": thing.status}
    if isinstance(thing, Score):
        return {item.name: item.of for item in thing.items}
    return {"answer": thing.node}


def written(thing: Any, row: dict[str, Any], zone: str) -> str:
    """An answer as the page writes it."""
    if isinstance(thing, Score):
        values = [row[item.name] for item in thing.items]
        total = sum(value for value in values if value is not None)
        return f"unknown, at least {total:g}" if None in values else f"{total:g}"
    value = row["answer"]
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M")
    if isinstance(value, float):
        return f"{round(value, 9):g}"
    return str(value)


def told(example: Example, engine: str) -> list[tuple[str, str, str]]:
    """Time, question and answer of every line, by one engine."""
    names: dict[str, Any] = dict(WORDS)
    exec("\n".join(example.names), names)
    snapshot = replace(snapshot_of(rows(example)), zone=example.zone)
    stay = 1 if "stays" in example.tables else None
    found = []
    try:
        for when, asked in example.asked:
            now = moment(when, example.zone)
            at = pl.DataFrame([(0, 1, stay, now, now)], schema=POINTS, orient="row")
            # All questions of a time at once: a plan costs more than an answer.
            things = [eval(question, names) for question, _ in asked]
            outputs = {
                f"{number}-{name}": node
                for number, thing in enumerate(things)
                for name, node in outputs_of(thing).items()
            }
            answers = answer(snapshot, outputs, points=at, engine=engine)
            assert answers.errors.is_empty()
            row = answers.frame.row(0, named=True)
            for number, ((question, _), thing) in enumerate(zip(asked, things, strict=True)):
                own = {
                    name.partition("-")[2]: value
                    for name, value in row.items()
                    if name.startswith(f"{number}-")
                }
                found.append((when, question, written(thing, own, example.zone)))
    finally:
        shutil.rmtree(snapshot.cache.parent, ignore_errors=True)
    return found


@pytest.mark.parametrize("engine", ["relational", "reference"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_manual_tells_what_the_engines_answer(name: str, engine: str) -> None:
    example = example_of(EXAMPLES[name])
    expected = [(when, question, said) for when, asked in example.asked for question, said in asked]
    assert expected
    assert expected == told(example, engine)


def test_a_wrong_line_of_the_manual_would_be_found() -> None:
    text = EXAMPLES["boundaries"].replace("| false", "| true", 1)
    example = example_of(text)
    _, asked = example.asked[0]
    assert [said for _, said in asked] != [said for *_, said in told(example, "reference")]


def test_every_status_of_a_measure_is_shown() -> None:
    shown = {
        said
        for name in EXAMPLES
        for _, asked in example_of(EXAMPLES[name]).asked
        for _, said in asked
    }
    assert set(STATUSES) <= shown


def test_every_word_of_the_language_has_an_example() -> None:
    used = lines_by_word()
    without = {
        (title, word)
        for title, words in words_of_the_language().items()
        for word in words
        if (title, word) not in used
    }
    # What a file defines is asked by its name; the questions here are asked directly.
    assert without == {("", "feature")}


@pytest.mark.parametrize("left", ["true", "false", "unknown"])
@pytest.mark.parametrize("right", ["true", "false", "unknown"])
def test_the_truth_tables_are_true(left: str, right: str) -> None:
    tables = re.findall(r"^\| `a (.*?) b` \|.*\n\|-.*\n((?:\| \*\*.*\n)+)", PAGE, re.M)
    assert [sign for sign, _ in tables] == ["&", "\\|"]
    terms = {"true": "(number(1) == 1)", "false": "(number(1) == 2)",
             "unknown": "(missing(number(1)) == 1)"}  # fmt: skip
    for sign, body in tables:
        lines = {
            cells[0].strip("*"): cells[1:]
            for line in body.splitlines()
            if (cells := [part.strip() for part in line.strip("|").split("|")])
        }
        expected = lines[left][["true", "false", "unknown"].index(right)]
        question = f"{terms[left]} {sign.strip(chr(92))} {terms[right]}"
        asked = Example(asked=[("05-01 12:00", [(question, expected)])])
        for engine in ("relational", "reference"):
            assert told(asked, engine) == [("05-01 12:00", question, expected)]


def test_the_files_of_the_page_can_be_read(tmp_path: Path) -> None:
    (python,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    (lists,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "mine.py").write_text(python, encoding="utf-8")
    (tmp_path / "lists.yaml").write_text(lists, encoding="utf-8")
    found = read_user_files([tmp_path / "mine.py", tmp_path / "lists.yaml"])
    assert list(found.places) == ["demo.steroid"]
    assert set(found.codelists["inflammation"].codes) == {"LOINC//1988-5", "LOINC//33959-8"}


def written_words() -> str:
    """The list of words as it stands on the page."""
    parts = []
    for title, words in words_of_the_language().items():
        parts += [f"{title}:"] if title else []
        lines = [
            f"| `{name}` | {means.replace('|', chr(92) + '|')} |" for name, means in words.items()
        ]
        parts.append("\n".join(["| word | means |", "|---|---|", *lines]))
    return "\n\n".join(parts)


def test_the_page_lists_every_argument_of_a_measure() -> None:
    shown = PAGE.partition("Arguments of `measure`:")[2].partition("\n\n```")[0]
    named = [
        name
        for line in re.findall(r"^\| (`.*?) \|", shown, re.M)
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert sorted(named) == sorted(set(Measure.model_fields) - {"kind"})


def test_the_page_lists_every_word() -> None:
    before, mark, rest = PAGE.partition("## Words\n\n")
    shown, _, after = rest.partition("\n\n## Files")
    if os.environ.get("NEVA_REWRITE_GOLDEN"):
        shown = written_words()
        PATH.write_text(f"{before}{mark}{shown}\n\n## Files{after}", encoding="utf-8")
    assert shown == written_words()
    for name in (*WORDS, *(f".{one}" for one in ATTRIBUTES)):
        assert f"| `{name}` |" in shown


def test_the_total_of_a_score_is_the_sum_of_its_items() -> None:
    example = example_of(EXAMPLES["score"])
    totals = [said for *_, said in told(example, "reference")]
    assert math.isclose(float(totals[2]), 6 + 2 + 1)
