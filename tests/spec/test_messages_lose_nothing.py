"""A hospital filled from the synthetic messages alone answers as the one filled from tables.

The oracle of ``tests/hl7_receiver.py`` keeps when each thing was told; here its rows go into
a store, and measures, census and work list are asked as of the data cut.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.hl7_receiver import KINDS, Receiver, moment
from tests.rule_tables import rules

from neva.census import census, of_movements
from neva.decisions.work_list import work_list
from neva.definitions.programme import load_programme, programme_names
from neva.events.hospital import create_hospital
from neva.intake.importing import import_delivery
from neva.quality import run_measures
from neva.sources.rows import Delivery, Rows, conform
from neva.synthesis import Plan, prepare, synthesise, truth
from neva.synthesis.generation import Generation
from neva.synthesis.messages import Traffic

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(stays=300, seed=11, operations=True)
NAMES = [name for name in programme_names() if load_programme(name).measures]
RULES = tuple(rules().values())


def event_rows(receiver):
    for key, unsorted in receiver.events.items():
        told = sorted(unsorted, key=lambda one: one[:2])
        states = [one for one in told if not one[2].get("gone")]
        gone = next((one[0] for one in told if one[2].get("gone")), None)
        for at, _, said, subject, stay in states:
            is_last = (at, said) == (states[-1][0], states[-1][2])
            yield {
                "subject": subject, "stay": stay, "row_id": "/".join(map(str, key)),
                "recorded": at, "retracted": gone if is_last else None,
                "time": said["time"], "end_time": said.get("end"), "code": said["code"],
                "value": said.get("value"), "value_unit": said.get("unit"),
                "text": said.get("text"), "status": said.get("status", "done"),
                "reason": said.get("reason"), "rank": said.get("rank"),
                "precision": said.get("precision", "instant"), "sequence": said["sequence"],
                "attributes": [{"key": name, "value": value}
                               for name, value in said.get("attributes", ())] or None,
            }  # fmt: skip


def visit_rows(receiver):
    """Rows of stays and of movements: what is told first, and what is told at the end."""
    subject_of = {stay: known[0] for stay, known in receiver.stays().items()}
    stays, movements = [], []
    for stay, kept in receiver.valid_visits():
        same = {"stay": stay, "subject": subject_of[stay]}
        for sent, _, trigger, _, visit, _ in kept:
            if trigger in ("A01", "A04", "A03"):
                stays.append(same | {
                    "recorded": sent, "start": moment(visit(44)), "end": moment(visit(45)),
                    "kind": KINDS[visit(2)], "source": visit(14, 1), "outcome": visit(36, 1),
                })  # fmt: skip
        moves = sorted((one for one in kept if one[2] != "A08"), key=lambda one: one[3])
        for one, following in pairwise([*moves, None] if moves[-1][2] != "A03" else moves):
            begun = same | {
                "recorded": one[0], "start": one[3], "unit": one[4](3, 1), "bed": one[4](3, 3),
                "row_id": f"{stay} {one[3]}",
            }  # fmt: skip
            movements.append(begun)
            if following is not None:
                known = max(one[0], following[0])
                movements.append(begun | {"end": following[3], "recorded": known})
    return stays, movements


def person_rows(receiver):
    for subject, told in receiver.persons.items():
        before = None
        for at, _, person in sorted(told, key=lambda one: one[:2]):
            birth, death = person(7), moment(person(29))
            said = {
                "birth_date": date.fromisoformat(birth) if birth else None,
                "sex": {"F": "female", "M": "male"}.get(person(8)), "death": death,
                "death_precision": "minute" if death else None,
            }  # fmt: skip
            if any(said.values()) and said != before:
                before = said
                yield {"subject": subject, "recorded": at, **said}


def rows_of(receiver):
    stays, movements = visit_rows(receiver)
    tables = {
        "subjects": list(person_rows(receiver)),
        "stays": stays,
        "movements": movements,
        "events": list(event_rows(receiver)),
    }
    for table, rows in tables.items():
        yield Rows(table, conform(table, pl.DataFrame(rows, infer_schema_length=None)))


@pytest.fixture(scope="module")
def from_tables(tmp_path_factory):
    made = create_hospital(tmp_path_factory.mktemp("tables") / "h", zone=PLAN.zone, now=NOW)
    synthesise(made, PLAN, now=NOW, after_cut=True)
    return made


def known_events(rows):
    """Events whose end was recorded when it came, not when they began.

    The tables hold the end of what lasts from its beginning on, and rules that are asked
    about an earlier time can see that it is still to come.
    """
    rows = rows.with_row_index("at").with_columns(
        row_id=pl.coalesce("row_id", pl.concat_str(pl.lit("at-"), "at"))
    )
    ahead = (pl.col("end_time") > pl.col("recorded")) & (
        pl.col("status").fill_null("done") != "planned"
    )
    ended = rows.filter(ahead & (pl.col("retracted").is_null()
                                 | (pl.col("retracted") > pl.col("end_time"))))  # fmt: skip
    return pl.concat(
        [
            rows.with_columns(
                end_time=pl.when(ahead.fill_null(value=False).not_()).then("end_time")
            ),
            ended.with_columns(recorded="end_time"),
        ]
    ).drop("at")


@pytest.fixture(scope="module")
def from_known_tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    made = create_hospital(folder / "h", zone=PLAN.zone, now=NOW)
    tables = {}
    for after in (False, True):
        for rows in Generation.of(PLAN).rows(after=after):
            tables.setdefault(rows.table, []).append(conform(rows.table, rows.frame))
    frames = {table: pl.concat(parts) for table, parts in tables.items()}
    frames["events"] = known_events(frames["events"])
    file = folder / "plan.json"
    file.write_text(PLAN.to_json())
    delivery = Delivery(
        name="synthetic", assigner="synthetic", kind="synthetic", files=(file,), order="column",
        rows=(Rows(table, frame) for table, frame in frames.items()),
    )  # fmt: skip
    import_delivery(made, delivery, label="tables", now=NOW)
    return made


@pytest.fixture(scope="module")
def from_messages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("messages")
    made = create_hospital(folder / "h", zone=PLAN.zone, now=NOW)
    prepare(made, PLAN, now=NOW)
    receiver = Receiver()
    file = folder / "messages.hl7"
    with file.open("wb") as written:
        for message in Traffic.of(PLAN):
            receiver.take(message.content)
            written.write(message.content)
    delivery = Delivery(
        name="synthetic", assigner="synthetic", kind="synthetic", files=(file,),
        rows=rows_of(receiver), order="column",
    )  # fmt: skip
    summary = import_delivery(made, delivery, label="messages", now=NOW)
    assert summary.refusals == summary.warnings == {}
    return made


def local_ids(hospital):
    return (
        hospital.identities()
        .filter(pl.col("kind") == "stay")
        .select(stay="local_id", stay_id="pseudonym")
        .collect()
    )


@pytest.fixture(scope="module")
def runs(from_messages):
    snapshot = from_messages.snapshot(as_of=PLAN.cut)
    return {name: run_measures(snapshot, load_programme(name)) for name in NAMES}


@pytest.mark.parametrize(
    "measure", [one.id for name in NAMES for one in load_programme(name).measures]
)
def test_measures_equal_the_planted_truth(from_tables, from_messages, runs, measure):
    planted = (
        truth(from_tables.path).filter(pl.col("measure") == measure).drop("stay_id", "measure")
    )
    found = (
        local_ids(from_messages)
        .join(runs[measure.partition(".")[0]].of(measure), on="stay_id", how="left")
        .with_columns(pl.col("status").fill_null("outside"))
    )
    both = planted.join(found.select("stay", "status", "due", "value"), on="stay", how="left",
                        suffix="_found")  # fmt: skip
    assert both.height == PLAN.stays
    assert both.filter(pl.col("status") != pl.col("status_found")).rows() == []
    clocks = both.filter(pl.col("due").is_not_null())
    assert clocks.filter(pl.col("due").ne_missing(pl.col("due_found"))).rows() == []
    measured = both.filter(pl.col("status") == "measured")
    assert ((measured["value"] - measured["value_found"]).abs() < 1e-9).all()


def tasks(hospital, at):
    snapshot = hospital.snapshot(as_of=at)
    stay = dict(local_ids(hospital).select("stay_id", "stay").iter_rows())
    return {
        (one.rule, stay[one.stay_id], one.unit, one.severity, one.since, one.missing)
        for one in work_list(snapshot, RULES, at=at).tasks
    }


def test_the_work_list_at_the_data_cut_is_that_of_the_tables(from_tables, from_messages):
    expected = tasks(from_tables, PLAN.cut)
    assert len(expected) > 5
    assert tasks(from_messages, PLAN.cut) == expected


def test_the_work_list_at_any_time_is_that_of_tables_without_foreknowledge(
    from_known_tables, from_messages
):
    listed = 0
    for days in (1, 2, 3, 4, 6, 9, 12):
        at = PLAN.cut - timedelta(days=days)
        expected = tasks(from_known_tables, at)
        assert tasks(from_messages, at) == expected
        listed += len(expected)
    assert listed > 30


def test_the_census_is_the_same(from_tables, from_messages):
    frames = [
        census(of_movements(hospital.snapshot()), every="1h").to_frame()
        for hospital in (from_tables, from_messages)
    ]
    assert frames[0].height > 1_000
    assert_frame_equal(*frames)


def test_what_was_known_at_any_time_of_events_is_the_same(from_tables, from_messages):
    columns = ["stay", "time", "end_time", "code", "value", "value_unit", "text", "status",
               "reason", "rank", "precision", "sequence"]  # fmt: skip
    for days in (1, 4, 9, 14):
        frames = []
        for hospital in (from_tables, from_messages):
            rows = hospital.snapshot(as_of=PLAN.cut - timedelta(days=days)).events().collect()
            named = rows.join(local_ids(hospital), on="stay_id", how="left")
            frames.append(named.select(columns).sort(columns, nulls_last=True))
        assert frames[0].height > 1_000
        assert_frame_equal(*frames)
