"""A bed board that a bed manager could check by eye, and its laws against a slow count."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hospitals import new_hospital, take

from neva.errors import UsageError
from neva.events.schema import OPEN_END
from neva.flow.forecast.forecast import OccupancyForecast
from neva.flow.forecast.moves_ahead import MovesAhead
from neva.intake.entered import Entry, append_entries
from neva.operations._board_places import groups_table
from neva.operations.bed_board import BoardSettings, bed_board, last_time, next_times

NOW = datetime(2024, 3, 5, 7, 0, tzinfo=UTC)  # a Tuesday, 10:00 in Moscow
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
UNITS = [
    {"unit": "ed", "name": "Emergency", "kind": "ed", "recorded": NOW - 90 * DAY},
    {"unit": "a1", "kind": "ward", "specialty": "medicine", "recorded": NOW - 90 * DAY},
    {"unit": "a2", "kind": "ward", "specialty": "medicine", "recorded": NOW - 90 * DAY},
    {"unit": "icu", "kind": "icu", "specialty": "intensive", "recorded": NOW - 90 * DAY},
]


def bed(unit, name, state="staffed", **more):
    return {"unit": unit, "bed": name, "state": state, "start": NOW - 90 * DAY,
            "recorded": NOW - 90 * DAY, "side_room": False} | more  # fmt: skip


BEDS = [
    bed("a1", "1", side_room=True, isolation=True),
    bed("a1", "2", side_room=True),
    bed("a1", "3"),
    bed("a1", "4", "closed"),
    bed("a2", "1", "open"),
    bed("a2", "2", end=NOW - DAY),  # open until yesterday
    bed("a2", "2", "closed", start=NOW - DAY),
    bed("icu", "1", side_room=True),
]


def stay(name, start, end=None, *, kind="inpatient", outcome=None, known=None):
    both = {"stay": name, "subject": f"P{name}", "start": NOW - start, "kind": kind}
    rows = [both | {"recorded": NOW - start}]
    if end is not None:
        rows.append(both | {"end": NOW - end, "outcome": outcome, "recorded": NOW - (known or end)})
    return rows


def moved(name, unit, start, end=None, bed_name=None):
    both = {"stay": name, "subject": f"P{name}", "start": NOW - start, "unit": unit,
            "bed": bed_name, "row_id": f"{name}-{unit}-{start}"}  # fmt: skip
    rows = [both | {"recorded": NOW - start}]
    if end is not None:
        rows.append(both | {"end": NOW - end, "recorded": NOW - end})
    return rows


STAYS = [
    *stay("long", 22 * DAY),
    *stay("week", 7 * DAY),
    *stay("short", 2 * DAY),
    *stay("boards", 6 * HOUR),
    *stay("asked", 5 * HOUR),
    *stay("new", 1 * HOUR, kind="emergency"),
    *stay("home", 3 * DAY, 1 * HOUR, outcome="home"),
    *stay("died", 3 * DAY, 2 * HOUR, outcome="Died"),
    *stay("before", 3 * DAY, 6 * HOUR, outcome="home"),
]
MOVES = [
    *moved("long", "a1", 22 * DAY, bed_name="1"),
    *moved("week", "ed", 7 * DAY, 7 * DAY - HOUR),
    *moved("week", "a1", 7 * DAY - HOUR, bed_name="3"),
    *moved("short", "a1", 2 * DAY, 2 * HOUR, bed_name="2"),
    *moved("short", "a2", 2 * HOUR, bed_name="1"),
    *moved("boards", "ed", 6 * HOUR),
    *moved("asked", "ed", 5 * HOUR),
    *moved("new", "ed", 1 * HOUR),
    *moved("home", "a2", 3 * DAY, 1 * HOUR, bed_name="1"),
    *moved("died", "icu", 3 * DAY, 2 * HOUR, bed_name="1"),
    *moved("before", "a2", 3 * DAY, 6 * HOUR),
]


def ids(hospital):
    pairs = hospital.identities().filter(pl.col("kind") == "stay").collect()
    subjects = hospital.identities().filter(pl.col("kind") == "subject").collect()
    return (
        dict(pairs.select("local_id", "pseudonym").iter_rows()),
        dict(subjects.select("local_id", "pseudonym").iter_rows()),
    )


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    made = new_hospital(folder)
    last = {"subject": "Pnew", "time": NOW, "code": "TEST//a", "recorded": NOW}
    planned = [
        {"subject": "Pplanned", "time": NOW + 6 * HOUR, "code": "NEVA//admission-planned",
         "status": "planned", "recorded": NOW - DAY,
         "attributes": [{"key": "unit", "value": "a1"}]},
        {"subject": "Plater", "time": NOW + 30 * HOUR, "code": "NEVA//admission-planned",
         "status": "planned", "recorded": NOW - DAY},
    ]  # fmt: skip
    take(made, folder / "all.csv", [last, *planned], units=UNITS, beds=BEDS, stays=STAYS,
         movements=MOVES)  # fmt: skip
    stays, subjects = ids(made)

    def entry(id_, name, kind, value=None, *, start=None, at=NOW - HOUR, **more):
        return Entry(id=id_, subject_id=subjects[f"P{name}"], stay_id=stays[name], kind=kind,
                     value=value, start=start, at=at, **more)  # fmt: skip

    append_entries(
        made,
        [
            entry("1", "long", "delay", "DELAY//transport", start=NOW - 3 * DAY),
            entry("2", "long", "delay", "DELAY//housing", at=NOW - 2 * DAY),
            entry("3", "long", "medically-fit", start=NOW - 4 * DAY),
            entry("4", "week", "expected-discharge", "yes", start=NOW + 3 * HOUR),
            entry("5", "short", "expected-discharge", "no", start=NOW - 2 * HOUR),
            entry("6", "short", "expected-discharge", "no", start=NOW + 5 * DAY,
                  at=NOW - 2 * DAY),
            entry("7", "asked", "bed-request", "a1", start=NOW - 3 * HOUR,
                  details={"priority": "urgent", "side_room": "yes"}),
            entry("8", "week", "bed-request", "a1", at=NOW - 8 * DAY),  # is there already
            entry("9", "long", "isolation", "ISOLATION//contact"),
            entry("10", "long", "isolation", "ISOLATION//airborne", at=NOW - 9 * DAY,
                  start=NOW - 9 * DAY, end=NOW - 5 * DAY),
            entry("11", "week", "delay", "DELAY//other", at=NOW - 2 * HOUR,
                  withdrawn_at=NOW - HOUR),
        ],
        now=NOW,
    )  # fmt: skip
    return made


def forecast(mass, *, issued=NOW, steps=30, places=("a1", "a2", "icu", "ed", "all")):
    """The same number everywhere and always: `mass` of place."""
    distribution = np.zeros((len(places), steps, 12))
    for place, number in enumerate(places):
        for count, share in mass.get(number, {0: 1.0}).items():
            distribution[place, :, count] = share
    return OccupancyForecast(
        places=places, times=tuple(issued + HOUR * (k + 1) for k in range(steps)),
        distribution=distribution, present=np.zeros(len(places), dtype=np.int64), issued=issued,
        zone="Europe/Moscow", identity="x", what="patients by unit", notes=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def board(hospital):
    made = forecast({"a1": {2: 0.5, 4: 0.5}, "a2": {1: 1.0}, "icu": {0: 0.9, 2: 0.1}})
    return bed_board(hospital.snapshot(as_of=NOW), at=NOW + timedelta(minutes=90), forecast=made)


def unit(board, name):
    return board.units.row(by_predicate=pl.col("unit") == name, named=True)


def names(hospital, column):
    stays, _ = ids(hospital)
    back = {number: name for name, number in stays.items()}
    return [back[number] for number in column]


def test_units_are_counted(board):
    a1 = unit(board, "a1")
    assert [a1[key] for key in ("present", "beds", "staffed", "closed", "usable", "free", "over")] \
        == [2, 4, 3, 1, 3, 1, 0]  # fmt: skip
    # Room 1 is taken, room 2 is empty since the transfer.
    assert (a1["side_rooms"], a1["side_rooms_free"], a1["isolating"]) == (2, 1, 1)
    assert (a1["reserved"], a1["free_after_reserved"]) == (1, 0)
    a2 = unit(board, "a2")
    assert [a2[key] for key in ("present", "open", "closed", "usable", "free", "over")] \
        == [1, 1, 1, 1, 0, 0]  # fmt: skip
    assert unit(board, "icu")["free"] == 1
    assert unit(board, "ed") | {"present": 3, "usable": None, "free": None} == unit(board, "ed")


def test_who_waits_for_what(hospital, board):
    assert names(hospital, board.waiting["stay_id"]) == ["asked", "boards"]
    asked = board.waiting.row(0, named=True)
    assert (asked["wanted"], asked["how"], asked["priority"], asked["side_room"]) == (
        "a1", "request", "urgent", True,
    )  # fmt: skip
    assert board.waiting["hours"].to_list() == pytest.approx([3, 6])
    assert board.waiting["how"].to_list() == ["request", "boarder"]


def test_who_goes_and_what_blocks_them(hospital, board):
    assert names(hospital, board.discharges["stay_id"]) == ["week", "short", "long"]
    assert board.discharges["state"].to_list() == ["confirmed", "overdue", "fit"]
    fit = board.discharges.row(2, named=True)
    assert (fit["delay"], fit["delay_group"]) == ("DELAY//transport", "transport")
    assert board.discharges["delay"].to_list()[0] is None  # withdrawn


def test_long_stays_say_where_no_reason_is_recorded(hospital, board):
    assert names(hospital, board.long_stays["stay_id"]) == ["long", "week"]
    assert board.long_stays["threshold"].to_list() == [21, 7]
    assert board.long_stays["days_fit"][0] == pytest.approx(4)
    assert board.long_stay_counts.rows() == [(7, 2, 1, 1, 5), (14, 1, 1, 0, 5), (21, 1, 1, 0, 5)]


def test_changes_since_the_handover(hospital, board):
    assert board.handover == datetime(2024, 3, 5, 4, 30, tzinfo=UTC)
    assert board.change_counts() == {
        "admission": 1, "transfer": 1, "discharge": 1, "death": 1, "request": 1,
    }  # fmt: skip
    transfer = board.changes.row(by_predicate=pl.col("kind") == "transfer", named=True)
    assert (transfer["from_unit"], transfer["unit"]) == ("a1", "a2")
    death = board.changes.row(by_predicate=pl.col("kind") == "death", named=True)
    assert (names(hospital, [death["stay_id"]]), death["from_unit"]) == (["died"], "icu")


def test_can_everybody_be_placed(board):
    assert board.answers["horizon"].to_list() == ["12:00", "18:00", "08:00"]
    medicine = board.groups.filter(group="medicine · ward", horizon="12:00").row(0, named=True)
    # Usable 4; expected 2 + 1 or 4 + 1, and one who waits in the ED.
    assert (medicine["usable"], medicine["waiting"], medicine["how"]) == (4, 1, "independent")
    assert medicine["placed"] == pytest.approx(0.5)
    assert medicine["placed_with_waiting"] == pytest.approx(0.5)
    noon = board.answers.row(0, named=True)
    assert (noon["shortest"], noon["groups"], noon["groups_known"]) == ("medicine · ward", 2, 2)
    assert noon["lowest"] == pytest.approx(0.5)
    short = board.outlook.filter(unit="icu", horizon="12:00")["short"].item()
    assert short == pytest.approx(0.1)
    assert board.outlook.filter(unit="ed")["short"].to_list() == [None] * 3


def test_who_moves_within_a_group_takes_no_bed_more_of_it():
    units = pl.DataFrame({"unit": ["a1", "a2", "ed"], "group": ["g", "g", None],
                          "usable": [3, 2, None], "present": [2, 2, 5]})  # fmt: skip
    waiting = pl.DataFrame({"unit": ["a2", "ed", "ed", None], "wanted": ["a1", "a1", None, "a2"]})
    found = groups_table(units, waiting, {"12:00": NOW}, None, {})
    assert found["waiting"].to_list() == [2]


def test_units_forecast_together_are_not_added_as_if_independent():
    units = pl.DataFrame({"unit": ["a1", "a2"], "group": ["g", "g"], "usable": [2, 2],
                          "present": [1, 1]})  # fmt: skip
    nobody = pl.DataFrame(schema={"unit": pl.String, "wanted": pl.String})
    both = {"a1": {1: 0.5, 3: 0.5}, "a2": {1: 0.5, 3: 0.5}, "house": {4: 1.0}}
    made = forecast(both, places=("a1", "a2", "house"))
    above = {"a1": ("house",), "a2": ("house",)}
    for chain, how, chance in ((above, "whole group", 1.0), ({}, "independent", 0.75)):
        found = groups_table(units, nobody, {"x": NOW + HOUR}, made, chain).row(0, named=True)
        assert (found["how"], found["placed"]) == (how, pytest.approx(chance))


def test_planned_admissions_at_risk(board):
    assert board.electives["unit"].to_list() == ["a1"]
    assert board.electives["short"].to_list() == [0.5]
    assert board.electives["at_risk"].to_list() == [True]


def test_what_is_not_known_is_said(board):
    assert board.unknown == {
        "patients_without_unit": 0, "patients_lost": 0, "units_without_beds": 1,
        "beds_shared": 0, "waiting_without_unit": 1,
    }  # fmt: skip
    assert (board.newest, board.age_minutes, board.is_stale) == (NOW, 90, True)
    assert not board.synthetic


def test_without_a_forecast_there_is_no_chance(hospital):
    bare = bed_board(hospital.snapshot(as_of=NOW), at=NOW)
    assert bare.groups["placed"].is_null().all()
    assert bare.answers["groups_known"].to_list() == [0, 0, 0]
    assert bare.discharges["leaves_today"].is_null().all()


def test_expected_moves_stand_at_the_nearest_hour(hospital):
    times = [NOW + HOUR * k for k in (1, 2, 8, 22, 14)]
    frame = pl.DataFrame(
        {"unit": "a1", "time": times, "coming": [1.0, 2.0, 3.0, 4.0, 5.0],
         "leaving": [0.5] * 5} | dict.fromkeys(("coming_low", "coming_high"), 0.0)
    )  # fmt: skip
    _, subjects = ids(hospital)
    patients = pl.DataFrame(
        {"subject_id": [subjects["Pweek"]], "unit": ["a1"], "time": [times[4]],
         "leaves_unit": [0.9], "leaves_hospital": [0.8], "leaves_hospital_by_lengths": [0.3]}
    )  # fmt: skip
    made = MovesAhead(frame, patients, NOW, "x")
    board = bed_board(hospital.snapshot(as_of=NOW), at=NOW, moves=made)
    assert board.outlook.filter(unit="a1")["coming"].to_list() == [2.0, 3.0, 4.0]
    leaves = dict(zip(names(hospital, board.discharges["stay_id"]),
                      board.discharges["leaves_today"], strict=True))  # fmt: skip
    assert leaves == {"week": 0.8, "short": None, "long": None}
    assert board.discharges["leaves_today_by_lengths"].drop_nulls().to_list() == [0.3]


def test_a_forecast_from_later_is_refused(hospital):
    with pytest.raises(UsageError, match="what came later"):
        bed_board(hospital.snapshot(as_of=NOW), at=NOW, forecast=forecast({}, issued=NOW + HOUR))


def test_the_board_of_an_earlier_time_knows_nothing_later(hospital):
    earlier = bed_board(hospital.snapshot(as_of=NOW - 4 * HOUR), at=NOW)
    assert earlier.waiting.is_empty()
    assert unit(earlier, "icu")["free"] == 0
    assert "fit" not in earlier.discharges["state"]
    assert earlier.changes["time"].max() <= NOW - 4 * HOUR


def test_times_of_day_are_the_hospitals():
    summer = datetime(2024, 3, 30, 20, tzinfo=UTC)  # 21:00 in Berlin, before the clocks change
    found = next_times(summer, BoardSettings().horizons, "Europe/Berlin")
    assert list(found) == ["08:00", "12:00", "18:00"]
    assert found["08:00"] == datetime(2024, 3, 31, 6, tzinfo=UTC)
    assert last_time(summer, BoardSettings().handovers, "Europe/Berlin") == datetime(
        2024, 3, 30, 18, 30, tzinfo=UTC
    )


_HOURS = st.integers(1, 200)


@st.composite
def wards(draw):
    """Stays with movements between two wards; some ended, some in shared beds."""
    rows = []
    for number in range(draw(st.integers(0, 7))):
        start = draw(_HOURS)
        change = draw(st.integers(0, start))
        end = draw(st.none() | st.integers(0, change))
        rows.append((f"s{number}", start, change, end, draw(st.integers(1, 3))))
    states = draw(st.lists(st.sampled_from(["staffed", "open", "closed"]), max_size=4))
    return rows, states


@settings(max_examples=12, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(wards())
def test_nobody_is_lost_and_no_bed_is_counted_twice(tmp_path_factory, drawn):
    rows, states = drawn
    folder = tmp_path_factory.mktemp("law")
    made = new_hospital(folder)
    stays, moves = [], []
    for name, start, change, end, place in rows:
        ended = None if end is None else end * HOUR
        stays += stay(name, start * HOUR, ended, outcome="home")
        moves += moved(name, "a1", start * HOUR, change * HOUR if change < start else None,
                       str(place))  # fmt: skip
        if change < start:
            moves += moved(name, "a2", change * HOUR, ended, str(place))
    beds = [bed("a1", str(k), state, side_room=k == 1) for k, state in enumerate(states, 1)]
    event = {"subject": "Ps0", "time": NOW, "code": "TEST//a", "recorded": NOW}
    take(made, folder / "all.csv", [event], units=UNITS, beds=beds, stays=stays, movements=moves)
    board = bed_board(made.snapshot(as_of=NOW), at=NOW)
    known = board.units.filter(pl.col("usable").is_not_null())
    assert (known["present"] + known["free"] == known["usable"] + known["over"]).all()
    assert (known["usable"] + known["closed"] == known["beds"]).all()
    assert (known["side_rooms_free"] <= known["free"]).all()
    here = [row for row in rows if row[3] is None or row[3] < 0]
    place_of = {name: "a2" if change < start else "a1" for name, start, change, _, _ in here}
    assert board.patients.height == len(here)
    for name in ("a1", "a2"):
        assert unit(board, name)["present"] == sum(place == name for place in place_of.values())
    counts = board.change_counts()
    since = (NOW - board.handover) / HOUR
    before = sum(start >= since and (end is None or end < since) for _, start, _, end, _ in rows)
    assert before + counts["admission"] - counts["discharge"] - counts["death"] == len(here)
    assert OPEN_END not in board.patients["since"].to_list()
