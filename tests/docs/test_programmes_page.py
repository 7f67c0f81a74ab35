"""The programme on the page is made, run by both engines, and short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.people import People, hour

from neva.quality import figures, run_measures

PAGE = Path(__file__).parents[2] / "docs" / "programmes.md"


def code() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_programme_on_the_page_measures_patients() -> None:
    names: dict[str, Any] = {}
    exec(compile(code(), str(PAGE), "exec"), names)  # our own page
    people = People()
    for subject, at in ((1, 1.0), (2, 3.0), (3, 3.5), (4, None)):
        people.admit(subject, covid=False)
        people.event(subject, 0, "ICD10//I21.4", rank=1)
        if at is not None:
            people.event(subject, at, "LOINC//67151-1", 150, "ng/L")
    people.event(1, 20, "ATC//B01AC06", 100, "mg")
    people.event(2, 20, "ATC//B01AC06", status="not-done", reason="REASON//refused")
    snapshot = people.snapshot(hour(24))
    run = run_measures(snapshot, names["programme"]())
    slow = run_measures(snapshot, names["programme"](), engine="reference")
    assert run.cases.equals(slow.cases)
    rows = {row["measure"]: row for row in figures(run).frame.iter_rows(named=True)}
    troponin, aspirin = rows["coronary.troponin"], rows["coronary.aspirin"]
    assert (troponin["met"], troponin["failed"]) == (2, 2)
    assert (aspirin["met"], aspirin["failed"], aspirin["excluded"]) == (1, 2, 1)


def test_the_measures_of_the_page_take_about_forty_lines() -> None:
    lines = [line for line in code().splitlines() if line.strip()]
    assert len(lines) <= 50
