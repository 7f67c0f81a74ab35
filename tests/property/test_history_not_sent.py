"""Leaving out history makes answers unknown, never others."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.charts import Charts

from neva.cds.prefetch import PATIENT, needs_of
from neva.cds.record import bedside_record
from neva.definitions.binding import hierarchy_of
from neva.definitions.local_time import microseconds
from neva.definitions.programme import load_programme
from neva.definitions.reference.engine import Place, Point, evaluate
from neva.events.hospital import create_hospital
from neva.synthesis import Plan, synthesise

RULES = [
    rule for name in ("acute-care", "covid19", "sepsis") for rule in load_programme(name).rules
]
NEEDS = needs_of(RULES)
KEYS = [one.key for one in NEEDS.searches]
OUTPUTS = {f"{rule.id}|{name}": node for rule in RULES for name, node in rule.outputs.items()}
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unsent") / "hospital"
    hospital = create_hospital(folder, zone="Europe/Moscow", now=datetime.now(UTC))
    synthesise(hospital, Plan(stays=120, seed=11), now=datetime.now(UTC))
    snapshot = hospital.snapshot()
    ill = snapshot.events().filter(pl.col("code").is_in(["ICD10//U07.1", "CARE//sepsis-triage"]))
    stays = (
        snapshot.stays()
        .join(ill.select("stay_id").unique(), on="stay_id", how="semi")
        .select("subject_id", "stay_id", "start")
        .collect()
        .sort("stay_id")
    )
    assert stays.height > 5
    parents, masses = hierarchy_of(snapshot)
    charts = Charts(snapshot, stays["subject_id"].unique().to_list())
    return charts, stays.rows(), Place(snapshot.zone, parents, masses)


def _asked(place, prefetch, subject, stay, now):
    record = bedside_record(
        prefetch, NEEDS, patient=str(subject), encounter=str(stay), now=now, zone=place.zone
    )
    at = microseconds(now)
    found = evaluate(
        OUTPUTS, record.timeline, Point(at, at, record.stay_id), place, unsent=record.sent.lacks
    )
    return record, found


def _firstpage(value, keep):
    """The newest entries, and a link to the others."""
    entries = sorted(
        value["entry"],
        key=lambda one: (
            one["resource"].get("effectiveDateTime")
            or one["resource"].get("effectivePeriod", {}).get("start")
            or ""
        ),
        reverse=True,
    )
    link = [{"relation": "next", "url": "page=2"}]
    return {**value, "entry": entries[:keep], "link": link}


@settings(max_examples=100)
@given(data=st.data())
def test_what_was_not_sent_is_unknown_or_the_same(patients, data):
    charts, stays, place = patients
    subject, stay, start = data.draw(st.sampled_from(stays))
    now = start + timedelta(hours=data.draw(st.integers(1, 96)))
    whole = charts.prefetch(subject, now, NEEDS)
    _, full = _asked(place, whole, subject, stay, now)
    left_out = data.draw(st.sets(st.sampled_from(KEYS), min_size=1, max_size=3))
    how = data.draw(st.sampled_from(["absent", "outcome", "page"]))
    part = dict(whole)
    for key in left_out:
        if how == "absent":
            del part[key]
        elif how == "outcome":
            part[key] = OUTCOME
        else:
            part[key] = _firstpage(whole[key], data.draw(st.integers(0, 6)))
    record, found = _asked(place, part, subject, stay, now)
    if how != "page":
        assert set(left_out) <= set(record.absent)
    others = {key: (value, full[key]) for key, value in found.items() if value != full[key]}
    firm = {key: pair for key, pair in others.items() if pair[0] is not None}
    assert firm == {}


@settings(max_examples=20)
@given(data=st.data())
def test_null_says_that_there_is_none(patients, data):
    charts, stays, place = patients
    subject, stay, start = data.draw(st.sampled_from(stays))
    now = start + timedelta(hours=data.draw(st.integers(1, 96)))
    key = data.draw(st.sampled_from([one for one in KEYS if one != "encounters"]))
    whole = charts.prefetch(subject, now, NEEDS)
    empty = {**whole, key: {"resourceType": "Bundle", "type": "searchset"}}
    record, null = _asked(place, {**whole, key: None}, subject, stay, now)
    assert record.absent == ()
    assert null == _asked(place, empty, subject, stay, now)[1]


def test_each_key_left_out_makes_something_unknown(patients):
    # Otherwise the test above would hold for a reader that takes absence for "no".
    charts, stays, place = patients
    changed = set()
    for subject, stay, start in stays[:6]:
        now = start + timedelta(hours=30)
        whole = charts.prefetch(subject, now, NEEDS)
        _, full = _asked(place, whole, subject, stay, now)
        assert PATIENT in whole
        for key in KEYS:
            part = {name: value for name, value in whole.items() if name != key}
            _, found = _asked(place, part, subject, stay, now)
            if any(found[name] is None and full[name] is not None for name in found):
                changed.add(key)
    assert changed == set(KEYS)
