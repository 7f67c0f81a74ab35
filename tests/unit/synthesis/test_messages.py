"""The synthetic hospital as messages: whoever takes them has the rows of its tables."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import pairwise

import polars as pl
import pytest
from tests.hl7_receiver import Receiver

from neva.errors import UsageError
from neva.sources.rows import conform
from neva.synthesis import Plan
from neva.synthesis.generation import Generation
from neva.synthesis.messages import Disorder, Traffic, _with_fillers, write_frames

PLANS = [
    Plan(stays=150, seed=3, operations=True),
    Plan(stays=120, seed=8, zone="America/New_York"),
]
#: More of everything than real, so that a small hospital has it.
MUCH = Disorder(
    seed=4, duplicates=0.1, delayed=0.3, wrong_first=0.05, cancelled=0.2, temporary_numbers=0.3,
    idle_updates=0.3,
)  # fmt: skip
SEXES = {"female": "F", "male": "M"}


@cache
def delivered(plan):
    """Every row of both deliveries, by table."""
    tables = {}
    for after in (False, True):
        for rows in Generation.of(plan).rows(after=after):
            tables.setdefault(rows.table, []).append(conform(rows.table, rows.frame))
    return {name: pl.concat(parts) for name, parts in tables.items()}


@cache
def sent(plan, disorder):
    return list(Traffic.of(plan, disorder))


@cache
def received(plan, disorder):
    receiver = Receiver()
    for message in sent(plan, disorder):
        receiver.take(message.content)
    return receiver


def final(rows, *keys):
    return rows.sort("recorded", maintain_order=True).unique(keys, keep="last")


def final_events(plan):
    """The last state of each event of the tables that was not withdrawn."""
    rows = delivered(plan)["events"].with_row_index("at")
    key = pl.coalesce("row_id", pl.col("at").cast(pl.String))
    rows = rows.with_columns(key=key)
    gone = rows.filter(pl.col("retracted").is_not_null()).select("key")
    rows = final(rows, "key").join(gone, on="key", how="anti")
    for row in rows.iter_rows(named=True):
        attributes = tuple((one["key"], one["value"]) for one in row["attributes"] or ())
        yield (
            row["subject"], row["stay"], row["code"], row["time"], row["end_time"], row["value"],
            row["value_unit"], row["text"], row["status"] or "done", row["reason"], row["rank"],
            attributes, row["precision"] or "instant", row["sequence"],
        )  # fmt: skip


both = pytest.mark.parametrize("plan", PLANS, ids=["moscow", "new-york"])
any_disorder = pytest.mark.parametrize("disorder", [None, MUCH], ids=["none", "much"])


@both
@any_disorder
def test_stays_are_those_of_the_tables(plan, disorder):
    rows = final(delivered(plan)["stays"], "stay")
    columns = ("subject", "start", "end", "kind", "source", "outcome")
    expected = {row["stay"]: tuple(row[c] for c in columns) for row in rows.iter_rows(named=True)}
    assert len(expected) == plan.stays
    assert received(plan, disorder).stays() == expected


@both
@any_disorder
def test_movements_are_those_of_the_tables(plan, disorder):
    rows = final(delivered(plan)["movements"], "row_id")
    expected = set(rows.select("stay", "subject", "start", "end", "unit", "bed").iter_rows())
    assert received(plan, disorder).movements() == expected


@both
@any_disorder
def test_events_are_those_of_the_tables(plan, disorder):
    expected = Counter(final_events(plan))
    found = Counter(received(plan, disorder).final_events())
    assert expected.total() > 10_000
    assert found == expected


@both
@any_disorder
def test_persons_are_those_of_the_tables(plan, disorder):
    rows = delivered(plan)["subjects"]
    expected = {}
    for subject, birth, sex, death in rows.select(
        "subject", "birth_date", "sex", "death"
    ).iter_rows():
        known = expected.setdefault(subject, [None, None, None])
        said = birth and f"{birth:%Y%m%d}", sex and SEXES[sex], death
        known[:] = [old if new is None else new for new, old in zip(said, known, strict=True)]
    assert received(plan, disorder).people() == {key: tuple(one) for key, one in expected.items()}


@pytest.mark.parametrize("plan", PLANS[:1])
def test_each_row_is_told_when_it_was_recorded(plan):
    """But the end of what lasts, which is told when it ends, and a place with its message."""
    told = Counter()
    for states in received(plan, None).events.values():
        told.update((at, said["code"], said["time"]) for at, _, said, *_ in states)
    rows = delivered(plan)["events"].filter(
        pl.col("end_time").is_null() | (pl.col("end_time") <= pl.col("recorded"))
    )
    expected = Counter(rows.select("recorded", "code", "time").iter_rows())
    assert set(expected) <= set(told)
    gone = Counter(
        (at, said["code"])
        for states in received(plan, None).events.values()
        for at, _, said, *_ in states
        if said.get("gone")
    )
    withdrawn = delivered(plan)["events"].filter(pl.col("retracted").is_not_null())
    assert gone == Counter(withdrawn.unique("row_id").select("retracted", "code").iter_rows())
    at = {
        (stay, one[2]): one[0]
        for stay, visits in received(plan, None).visits.items()
        for one in visits
    }
    stays = delivered(plan)["stays"]
    for stay, kind, end, recorded in stays.select("stay", "kind", "end", "recorded").iter_rows():
        admitted = "A01" if kind == "inpatient" else "A04"
        assert at[stay, admitted if end is None else "A03"] == recorded
    moves = delivered(plan)["movements"].filter(
        pl.col("end").is_null(), ~pl.col("row_id").str.ends_with("-0")
    )
    transfers = {
        (stay, one[3], one[0])
        for stay, visits in received(plan, None).visits.items()
        for one in visits
        if one[2] == "A02"
    }
    assert transfers == set(moves.select("stay", "start", "recorded").iter_rows())


@both
def test_nothing_is_told_before_it_happened_but_what_is_planned(plan):
    for told in received(plan, None).events.values():
        for at, _, said, *_ in told:
            if said.get("status") != "planned" and not said.get("gone"):
                assert said["time"] <= at
                assert said.get("end") is None or said["end"] <= at
    for visits in received(plan, None).visits.values():
        assert all(happened <= at for at, _, _, happened, *_ in visits)


@both
def test_without_disorder_messages_stand_in_the_order_of_telling(plan):
    messages = sent(plan, None)
    assert len({one.control_id for one in messages}) == len(messages)
    assert not any(one.repeated for one in messages)
    assert [one.at for one in messages] == sorted(one.at for one in messages)
    triggers = Counter(one.trigger for one in messages)
    assert triggers["A01"] + triggers["A04"] == triggers["A03"] == plan.stays
    assert not {"A11", "A12", "A13", "A40"} & set(triggers)


def test_disorder_is_there_and_is_seeded():
    plan = PLANS[0]
    messages = sent(plan, MUCH)
    assert [one.content for one in Traffic.of(plan, MUCH)] == [one.content for one in messages]
    other = Traffic.of(plan, replace(MUCH, seed=5))
    assert [one.content for one in other] != [one.content for one in messages]
    triggers = Counter(one.trigger for one in messages)
    assert min(triggers[name] for name in ("A08", "A11", "A12", "A13", "A31", "A40")) > 5
    repeated = [one for one in messages if one.repeated]
    assert len(repeated) > 0.08 * len(messages)
    first = {one.control_id: one.content for one in messages if not one.repeated}
    assert all(first[one.control_id] == one.content for one in repeated)
    corrected = [told for told in received(plan, MUCH).events.values() if len(told) > 1]
    clean = [told for told in received(plan, None).events.values() if len(told) > 1]
    assert len(corrected) > len(clean) + 100


def test_late_messages_keep_what_they_say_and_come_within_the_stated_time():
    within = timedelta(minutes=20)
    late = Disorder(
        delayed=1, delayed_within=within, duplicates=0, wrong_first=0, cancelled=0,
        temporary_numbers=0, idle_updates=0,
    )  # fmt: skip
    plan = PLANS[1]
    on_time = {one.control_id: one for one in sent(plan, None)}
    messages = sent(plan, late)
    assert [one.control_id for one in messages] != list(on_time)
    for one in messages:
        assert one.content == on_time[one.control_id].content
        assert timedelta() <= one.at - on_time[one.control_id].at <= within


def test_equal_results_of_one_time_have_orders_of_their_own():
    """A filler, code and time name one result: the second of two would replace the first."""
    row = {"subject": "P1", "stay": "S1", "sent": 1, "time": 0, "segment": "OBX", "named": False}
    events = pl.DataFrame([row | {"id": name, "code": code} for name, code in zip(
        ("E1", "E2", "E3"), ("LOINC//a", "LOINC//b", "LOINC//a"), strict=True)])  # fmt: skip
    assert _with_fillers(events)["filler"].to_list() == ["E1", "E1", "E3"]


def test_every_message_has_the_segments_that_its_type_requires():
    required = {
        "ADT": ["MSH", "EVN", "PID"], "ORU": ["MSH", "PID", "OBR"],
        "RAS": ["MSH", "PID", "ORC", "RXA"],
    }  # fmt: skip
    for one in sent(PLANS[0], MUCH):
        names = [line[:3] for line in one.content.decode().split("\r")[:-1]]
        type_ = one.trigger if one.trigger in required else "ADT"
        kept = [name for name in dict.fromkeys(names) if name in required[type_]]
        assert kept == required[type_]
        assert ("MRG" in names) == (one.trigger == "A40")
        # Results follow an order, and other statements stand at the end.
        assert names == sorted(names, key="ZEV".__eq__)
        for before, name in pairwise(names):
            assert name != "OBX" or before in ("OBR", "OBX")
            assert name != "RXA" or before == "ORC"


def test_names_are_nobodys_and_escaped():
    names = {
        line.split("|")[5]
        for one in sent(PLANS[0], None)
        for line in one.content.decode().split("\r")
        if line.startswith("PID")
    }
    assert any(name.startswith("Sample \\T\\ Sons^") for name in names)
    assert any(name.startswith("Вымышленный^") for name in names)


def test_a_hospital_time_may_begin_and_end_the_messages():
    plan = PLANS[1]
    traffic = Traffic.of(plan)
    middle = plan.begins + timedelta(days=3)
    before, after = list(traffic.between(None, middle)), list(traffic.between(middle))
    assert before + after == sent(plan, None)
    assert before[-1].at < middle <= after[0].at


def test_one_patient_stays_in_one_lane():
    lanes = {}
    for one in sent(PLANS[0], MUCH):
        person = next(line for line in one.content.decode().split("\r") if line.startswith("PID"))
        lanes.setdefault(person.split("|")[3].split("^")[0], set()).add(one.lane)
    assert all(len(found) == 1 for found in lanes.values())
    assert any(name.startswith("T") for name in lanes)


def test_a_file_holds_the_messages_in_frames(tmp_path):
    plan = PLANS[1]
    written = write_frames(Traffic.of(plan), tmp_path / "traffic.hl7")
    parts = (tmp_path / "traffic.hl7").read_bytes().split(b"\x1c\r")
    assert parts.pop() == b""
    assert [part.removeprefix(b"\x0b") for part in parts] == [m.content for m in sent(plan, None)]
    assert written.total() == len(parts)


@pytest.mark.parametrize(
    "wrong", [{"duplicates": 1.5}, {"seed": -1}, {"delayed_within": timedelta(hours=-1)}]
)
def test_impossible_disorder_is_refused(wrong):
    with pytest.raises(UsageError):
        Disorder(**wrong)
