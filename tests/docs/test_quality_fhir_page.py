"""The page on measures in FHIR: its code runs, its table of statuses is what reports do."""

import re
from pathlib import Path

import pytest

from neva.definitions.documents import STATUSES
from neva.definitions.programme import load_programme
from neva.quality.fhir.counts import population_counts

PAGE = (Path(__file__).parents[2] / "docs" / "quality-fhir.md").read_text(encoding="utf-8")
TABLE = re.search(r"## Statuses and populations\n\n(.*?)\n\n", PAGE, re.S)[1].splitlines()
ROWS = {
    cells[1]: cells for cells in ([cell.strip() for cell in line.split("|")] for line in TABLE[2:])
}


def test_the_code_of_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "quality-fhir.md", "exec"), {})
    assert "denominator-exclusion = exclusion:hypercapnic\n" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["met", "failed", "excluded", "pending", "unknown"])
def test_the_table_says_in_which_populations_a_case_is(status):
    measure = load_programme("covid19").document("steroid-when-on-oxygen")
    counts = {name: int(name == status) for name in STATUSES}
    found = dict(population_counts(measure, counts))
    header = [cell.strip() for cell in TABLE[0].split("|")]
    for number, name in enumerate(header[2:6], start=2):
        assert found[name] == (ROWS[status][number] == "yes"), name


def test_every_status_has_a_row():
    assert {name.split(" ")[0] for name in ROWS} == {*STATUSES, "error"}
