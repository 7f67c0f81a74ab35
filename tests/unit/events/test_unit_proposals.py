"""Spellings of units are proposed from values where these leave no doubt, and only there."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml
from tests.hospitals import new_hospital, take

from neva.events.unit_proposals import propose_units

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def events(code, unit, values):
    return [
        {
            "subject": f"p{number % 40}", "time": BEGIN + timedelta(minutes=number), "code": code,
            "value": float(value), "value_unit": unit, "recorded": BEGIN, "file": "a.csv",
            "row": number + 1,
        }
        for number, value in enumerate(values)
    ]  # fmt: skip


def hospital(tmp_path, *parts):
    made = new_hospital(tmp_path)
    take(made, tmp_path / "a.csv", [row for part in parts for row in part])
    return made


def spread(usual, number=60, seed=1):
    return np.round(np.random.default_rng(seed).lognormal(np.log(usual), 0.3, number), 2)


@pytest.mark.parametrize(
    ("known", "usual", "written", "factor", "expected"),
    [
        ("10*9/L", 7.2, "Gpt pro L", 1.0, "10*9/L"),
        ("g/L", 140.0, "g%-Hb", 0.1, "g/dL"),
        ("mmol/L", 5.1, "millimol je L", 1.0, "mmol/L"),
        ("umol/L", 80.0, "mmol-je-L", 0.001, "mmol/L"),
        ("mm[Hg]", 120.0, "kilop.", 0.13332, "kPa"),
        ("kg", 75.0, "pfund-lb", 2.2046, "[lb_av]"),
        ("Cel", 36.8, "grad_f", None, "[degF]"),
    ],
)
def test_a_spelling_is_proposed_where_values_leave_no_doubt(
    tmp_path, known, usual, written, factor, expected
):
    values = spread(usual) if known != "Cel" else np.round(36.8 + spread(0.5) - 0.5, 1)
    other = values * 9 / 5 + 32 if factor is None else np.maximum(values * factor, 1e-4)
    made = hospital(
        tmp_path, events("LAB//x", known, values), events("LAB//x", written, np.round(other, 4))
    )
    found = propose_units(made.snapshot())
    assert found["written"].to_list() == [written]
    row = found.row(0, named=True)
    assert row["proposed"] == expected, row
    assert (row["values"], row["compared"], row["known_unit"]) == (60, 60, known)


@pytest.mark.parametrize(
    ("known", "values", "reason"),
    [
        ([], spread(5), "no value of this code has a unit that is understood"),
        (spread(5, 10), spread(5), "fewer than 20"),
        (spread(5), spread(5, 10), "fewer than 20"),
        (spread(5), spread(43), "no everyday unit"),
        (spread(5), spread(5 * 1.8), "no everyday unit"),
    ],
)
def test_nothing_is_proposed_in_doubt(tmp_path, known, values, reason):
    made = hospital(
        tmp_path, events("LAB//x", "mmol/L", known), events("LAB//x", "furlongs", values)
    )
    row = propose_units(made.snapshot()).row(0, named=True)
    assert row["proposed"] is None
    assert reason in row["reason"]


def test_two_units_of_nearly_one_size_are_both_told(tmp_path):
    """A millimetre of mercury is 1.36 centimetres of water."""
    made = hospital(
        tmp_path,
        events("LAB//x", "mm[Hg]", spread(8)), events("LAB//x", "torr-saeule", spread(8)),
    )  # fmt: skip
    row = propose_units(made.snapshot()).row(0, named=True)
    assert row["proposed"] is None
    assert "both fit" in row["reason"]


def test_a_spelling_of_two_meanings_is_not_proposed(tmp_path):
    made = hospital(
        tmp_path,
        events("LAB//x", "g/L", spread(140)), events("LAB//x", "odd", spread(14)),
        events("LAB//y", "mg/dL", spread(90)), events("LAB//y", "odd", spread(90)),
    )  # fmt: skip
    found = propose_units(made.snapshot())
    assert found["proposed"].null_count() == 2
    assert found["reason"].str.contains("another unit").all()


def test_a_hospital_whose_units_are_understood_has_none(tmp_path, neva):
    made = hospital(tmp_path, events("LAB//x", "mmol/L", spread(5)))
    assert propose_units(made.snapshot()).is_empty()
    said = neva("check", made.path, "--units")
    assert said.code == 0
    assert "every unit" in said.out


def test_the_lines_that_are_printed_are_a_table_of_units(tmp_path, neva):
    made = hospital(
        tmp_path, events("LAB//x", "g/L", spread(140)), events("LAB//x", "g%: Hb", spread(14))
    )
    lines = neva("check", made.path, "--units", "--json").json()["lines"]
    assert yaml.safe_load("\n".join(lines)) == {"g%: Hb": "g/dL"}
    text = neva("check", made.path, "--units").out
    assert lines[0] in text
