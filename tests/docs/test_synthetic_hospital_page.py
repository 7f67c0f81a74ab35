"""The page on the synthetic hospital gives the rates as they are."""

import re
from pathlib import Path

from neva.synthesis.measures import STATUSES
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CATEGORIES, MISSING, SUPPORT

PAGE = (Path(__file__).parents[2] / "docs" / "synthetic-hospital.md").read_text(encoding="utf-8")


def rows_under(header):
    """Cells of the table whose header starts so."""
    lines = PAGE[PAGE.index(f"| {header}") :].splitlines()[2:]
    table = lines[: next(k for k, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def percent(text):
    return round(float(text.removesuffix(" %")) / 100, 6)


def test_categories():
    told = [(row[0], percent(row[1]), float(row[2])) for row in rows_under("why patients come")]
    assert [(c.name, c.share, c.stay_hours) for c in CATEGORIES] == told
    deaths = [percent(row[3]) for row in rows_under("why patients come")[1:]]
    assert [c.deaths for c in CATEGORIES[1:]] == deaths
    assert abs(sum(c.share for c in CATEGORIES) - 1) < 1e-9


def test_support():
    told = {row[0]: (percent(row[1]), percent(row[2])) for row in rows_under("support that")}
    assert told == SUPPORT


def test_missing():
    assert {row[0]: percent(row[1]) for row in rows_under("missing, late")} == MISSING


def test_statuses():
    named = [name for row in rows_under("status") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(STATUSES)


def test_spans():
    assert [round(Plan(stays=n).days / 7) for n in (1000, 10_000, 100_000)] == [6, 24, 95]
