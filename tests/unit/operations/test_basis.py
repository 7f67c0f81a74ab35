"""What a bed board and a forecast rest on has one name as long as it is the same."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.hospitals import event, new_hospital, take

from neva.census.basis import BOARD, FLOW, basis_of
from neva.events.codes import FOLLOW_UP_END
from neva.events.hospital import COMPACT_ABOVE_FILES
from neva.events.operational_codes import DISCHARGE_EXPECTED

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def told(**columns):
    return {"recorded": AT - HOUR, "file": "a.csv", "row": 1, **columns}


def stay(name, **columns):
    about = told(subject=name, stay=f"s{name}", start=AT - 2 * HOUR, **columns)
    return {
        "stays": [about | {"kind": "inpatient", "source": "x"}],
        "movements": [about | {"unit": "alpha", "bed": "1"}],
    }


@pytest.fixture
def hospital(tmp_path):
    made = new_hospital(tmp_path)
    beds = [told(unit="alpha", bed="1", start=AT - 9 * HOUR, state="staffed")]
    take(made, tmp_path / "first", units=[told(unit="alpha", name="A")], beds=beds, **stay("a"))
    return made


def basis(hospital, at=AT, read=BOARD):
    return basis_of(hospital.snapshot(as_of=at), read)


def entered(code=DISCHARGE_EXPECTED, **columns):
    given = {"subject": "a", "stay": "sa", "time": AT + 5 * HOUR, "status": "planned"} | columns
    return event(code=code, recorded=AT - HOUR / 2, row_id=code, **given)


def test_a_result_changes_nothing(hospital, tmp_path):
    before = basis(hospital), basis(hospital, read=FLOW)
    version = hospital.manifest().version
    rows = [event(subject="a", code="LOINC//2823-3", value=4.0, time=AT - HOUR, recorded=AT - HOUR)]
    take(hospital, tmp_path / "result", rows)
    assert hospital.manifest().version > version
    assert (basis(hospital), basis(hospital, read=FLOW)) == before


@pytest.mark.parametrize(
    "changes",
    [
        lambda: stay("b"),
        lambda: {"beds": [told(unit="alpha", bed="2", start=AT - HOUR, state="closed")]},
        lambda: {"units": [told(unit="beta", name="B")]},
        lambda: {"rows": [entered()]},
        lambda: {"rows": [entered(FOLLOW_UP_END, time=AT - HOUR, status="done")]},
    ],
    ids=["a stay", "a bed", "a unit", "an entry", "the end of follow-up"],
)
def test_what_a_board_shows_changes_it(hospital, tmp_path, changes):
    before = basis(hospital), basis(hospital, read=FLOW)
    given = changes()
    take(hospital, tmp_path / "more", given.pop("rows", ()), **given)
    assert basis(hospital) != before[0]
    assert basis(hospital, read=FLOW) != before[1]


def test_an_entry_that_is_withdrawn_changes_it(hospital, tmp_path):
    before = basis(hospital)
    take(hospital, tmp_path / "entry", [entered()])
    between = basis(hospital)
    take(hospital, tmp_path / "entry", [], content="again", on_change="replace", now=AT - HOUR / 4)
    assert len({before, between, basis(hospital)}) == 3


def test_what_becomes_known_later_does_not_change_an_earlier_time(hospital, tmp_path):
    early, late = basis(hospital), basis(hospital, AT + 2 * HOUR)
    take(hospital, tmp_path / "later", **stay("b", recorded=AT + HOUR))
    assert basis(hospital) == early
    assert basis(hospital, AT + 2 * HOUR) != late


def test_tables_that_are_rewritten_say_the_same(hospital, tmp_path):
    """Files are joined again and again under a live feed: nothing has changed by that."""
    named = [basis(hospital)]
    for number in range(COMPACT_ABOVE_FILES + 3):
        rows = [event(subject="a", code="LOINC//1", row_id=str(number), recorded=AT - HOUR)]
        take(hospital, tmp_path / f"result-{number}", rows)
        named.append(basis(hospital))
    assert len(hospital.snapshot().files("events")) < COMPACT_ABOVE_FILES
    assert set(named) == {named[0]}
