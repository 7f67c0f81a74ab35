"""What a reader sees at a time: only what was known then."""

from datetime import UTC, datetime

import pytest
from tests.hospitals import event, take

from neva.errors import UsageError


def at(hour, minute=0, day=1):
    return datetime(2020, 5, day, hour, minute, tzinfo=UTC)


SAMPLED = event(
    time=at(8),
    recorded=at(10),
    recorded_assumed=False,
    row_id="r1",
    value=5.0,
)
WITHDRAWN = SAMPLED | {"retracted": at(11)}


def seen(hospital, as_of, **version):
    return hospital.snapshot(as_of=as_of, **version).events().collect()["value"].to_list()


def test_a_result_is_seen_from_when_it_was_known_until_it_was_withdrawn(hospital, tmp_path):
    take(hospital, tmp_path / "a", [SAMPLED], now=at(10))
    take(hospital, tmp_path / "b", [WITHDRAWN], now=at(11))
    assert [seen(hospital, at(*time)) for time in ((9, 0), (10, 30), (12, 0))] == [[], [5.0], []]


def test_the_view_of_half_past_ten_can_be_made_again(hospital, tmp_path):
    take(hospital, tmp_path / "a", [SAMPLED], now=at(10))
    before = hospital.snapshot(as_of=at(10, 30)).events().collect()
    take(hospital, tmp_path / "b", [WITHDRAWN], now=at(11))
    by_time = hospital.snapshot(as_of=at(10, 30)).events().collect().drop("retracted")
    by_version = hospital.snapshot(as_of=at(10, 30), version=1).events().collect()
    assert before.drop("retracted").equals(by_time)
    assert before.equals(by_version)


def test_a_correction_replaces_the_value_from_when_it_was_known(hospital, tmp_path):
    corrected = SAMPLED | {"value": 6.0, "recorded": at(11)}
    take(hospital, tmp_path / "a", [SAMPLED], now=at(10))
    summary = take(hospital, tmp_path / "b", [corrected], now=at(11))
    assert summary.counts["events"]["revised"] == 1
    assert [seen(hospital, at(h)) for h in (9, 10, 11)] == [[], [5.0], [6.0]]


def test_a_correction_of_an_assumed_time_is_known_from_its_import(hospital, tmp_path):
    assumed = SAMPLED | {"recorded": at(9), "recorded_assumed": True}
    take(hospital, tmp_path / "a", [assumed], now=at(10))
    take(hospital, tmp_path / "b", [assumed | {"value": 6.0}], now=at(20))
    assert [seen(hospital, at(h)) for h in (8, 9, 19, 20)] == [[], [5.0], [5.0], [6.0]]


def test_both_revisions_may_come_in_one_delivery(hospital, tmp_path):
    corrected = SAMPLED | {"value": 6.0, "recorded": at(11), "row": 2}
    take(hospital, tmp_path / "a", [SAMPLED, corrected], now=at(12))
    assert [seen(hospital, at(h)) for h in (9, 10, 11)] == [[], [5.0], [6.0]]
    again = take(hospital, tmp_path / "b", [SAMPLED, corrected], now=at(13))
    assert again.counts["events"]["known"] == 2
    assert [seen(hospital, at(h)) for h in (9, 10, 14)] == [[], [5.0], [6.0]]


def test_a_result_entered_and_withdrawn_in_one_delivery_was_seen_in_between(hospital, tmp_path):
    gone = SAMPLED | {"retracted": at(11), "recorded": None, "value": None, "row": 2}
    take(hospital, tmp_path / "a", [SAMPLED, gone], now=at(12))
    assert [seen(hospital, at(*t)) for t in ((9, 0), (10, 30), (12, 0))] == [[], [5.0], []]


def test_an_outcome_is_missing_before_the_end_of_the_stay(hospital, tmp_path):
    stay = {
        "stay": "s1",
        "subject": "1",
        "start": at(8),
        "end": at(20),
        "outcome": "home",
        "recorded": at(8),
        "recorded_assumed": True,
    }
    take(hospital, tmp_path / "a", stays=[stay], now=at(21))

    def row(hour):
        snapshot = hospital.snapshot(as_of=at(hour))
        return snapshot.stays().select("end", "outcome").collect().rows()

    assert [row(7), row(19), row(20)] == [[], [(None, None)], [(at(20), "home")]]


def test_a_death_is_missing_before_it_happened(hospital, tmp_path):
    subject = {
        "subject": "1",
        "sex": "female",
        "death": at(20),
        "recorded": at(8),
        "recorded_assumed": True,
    }
    take(hospital, tmp_path / "a", subjects=[subject], now=at(21))
    deaths = [hospital.snapshot(as_of=at(h)).subjects().collect()["death"][0] for h in (19, 20)]
    assert deaths == [None, at(20)]


def test_what_is_planned_is_seen_before_it_happens_and_what_is_done_is_not(hospital, tmp_path):
    rows = [
        event(time=at(9, day=3), recorded=at(8), code="P//plan", status="planned"),
        event(time=at(9, day=3), recorded=at(8), code="P//done", status="done"),
    ]
    take(hospital, tmp_path / "a", rows)
    codes = hospital.snapshot(as_of=at(12)).events().collect()["code"].to_list()
    assert codes == ["P//plan"]


def test_an_end_after_now_reads_as_missing(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event(time=at(8), end_time=at(12), recorded=at(8))])
    ends = [hospital.snapshot(as_of=at(h)).events().collect()["end_time"][0] for h in (11, 12)]
    assert ends == [None, at(12)]


def test_a_snapshot_does_not_change_when_more_is_written(hospital, tmp_path):
    take(hospital, tmp_path / "a", [SAMPLED])
    snapshot = hospital.snapshot()
    before = snapshot.events().collect()
    take(hospital, tmp_path / "b", [SAMPLED | {"row_id": "r2"}])
    assert snapshot.events().collect().equals(before)


def test_an_as_of_without_zone_is_refused(hospital):
    with pytest.raises(UsageError, match="naive time"):
        hospital.snapshot(as_of=datetime(2020, 5, 1))  # noqa: DTZ001
