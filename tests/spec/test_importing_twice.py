"""The same again adds nothing; overlaps add what is new; changes are decided."""

from datetime import UTC, datetime

import pytest
from tests.hospitals import event, take

from neva.errors import ConflictError


def day(number):
    return datetime(2020, 5, number, 8, tzinfo=UTC)


def rows(*days):
    return [event(time=day(d), recorded=day(d), row=k + 1) for k, d in enumerate(days)]


def count(hospital):
    return hospital.snapshot().events().collect().height


def test_the_same_file_again_adds_nothing(hospital, tmp_path):
    take(hospital, tmp_path / "a", rows(1, 2))
    again = take(hospital, tmp_path / "a", rows(1, 2))
    assert again.already_imported
    assert (count(hospital), hospital.manifest().version) == (2, 1)


def test_overlapping_extracts_add_only_what_is_new(hospital, tmp_path):
    take(hospital, tmp_path / "may", rows(1, 2, 3))
    summary = take(hospital, tmp_path / "june", rows(2, 3, 4))
    assert summary.counts["events"] == {
        "read": 3, "added": 1, "known": 2, "revised": 0, "retracted": 0,
    }  # fmt: skip
    assert count(hospital) == 4


def test_equal_rows_of_one_file_are_different_events(hospital, tmp_path):
    take(hospital, tmp_path / "a", rows(1, 1, 1))
    assert count(hospital) == 3
    take(hospital, tmp_path / "b", rows(1, 1))
    assert count(hospital) == 3


def test_a_changed_file_is_a_conflict_that_names_the_earlier_batch(hospital, tmp_path):
    take(hospital, tmp_path / "a", rows(1, 2))
    with pytest.raises(ConflictError, match=r"a: its content differs.*batch 1 .*--replace"):
        take(hospital, tmp_path / "a", rows(1, 3))
    assert count(hospital) == 2


def test_replace_puts_the_new_content_in_the_place_of_the_old(hospital, tmp_path):
    take(hospital, tmp_path / "a", rows(1, 2))
    summary = take(hospital, tmp_path / "a", rows(1, 3), on_change="replace")
    assert summary.counts["events"]["retracted"] == 1
    days = hospital.snapshot().events().collect()["time"].sort().dt.day().to_list()
    assert days == [1, 3]


def test_extend_keeps_what_the_new_content_lacks(hospital, tmp_path):
    take(hospital, tmp_path / "a", rows(1, 2))
    take(hospital, tmp_path / "a", rows(1, 3), on_change="extend")
    assert count(hospital) == 3


def test_replacing_back_and_forth_ends_where_it_began(hospital, tmp_path):
    take(hospital, tmp_path / "a", rows(1, 2))
    take(hospital, tmp_path / "a", rows(3), on_change="replace")
    take(hospital, tmp_path / "a", rows(1, 2), on_change="replace")
    days = hospital.snapshot().events().collect()["time"].sort().dt.day().to_list()
    assert days == [1, 2]


def test_replace_leaves_what_another_file_said_too(hospital, tmp_path):
    take(hospital, tmp_path / "first", rows(1, 2))
    take(hospital, tmp_path / "second", rows(2, 3))
    take(hospital, tmp_path / "second", rows(4), on_change="replace")
    days = hospital.snapshot().events().collect()["time"].sort().dt.day().to_list()
    assert days == [1, 2, 4]


def test_two_rows_of_one_id_that_contradict_each_other_are_not_both_taken(hospital, tmp_path):
    one = event(row_id="r", value=1.0)
    summary = take(hospital, tmp_path / "a", [one, one | {"value": 2.0, "row": 2}])
    assert summary.refusals == {"events: id-duplicate": 1}
    assert hospital.snapshot().quarantine().collect().rows() == [
        (1, "test.csv", 2, "events", "row_id", "id-duplicate")
    ]
    assert count(hospital) == 1


def test_two_stays_of_one_id_that_contradict_each_other_are_not_both_taken(hospital, tmp_path):
    stay = {"stay": "s", "subject": "1", "start": day(1), "end": day(2), "file": "f", "row": 1}
    stays = [stay, stay | {"end": day(3), "row": 2}, stay | {"subject": "2", "row": 3}]
    summary = take(hospital, tmp_path / "a", stays=stays)
    assert summary.refusals == {"stays: id-duplicate": 2}
    assert hospital.snapshot().stays().collect()["end"].to_list() == [day(2)]


def test_a_later_extract_closes_an_open_stay(hospital, tmp_path):
    stay = {"stay": "s", "subject": "1", "start": day(1), "recorded": day(1)}
    take(hospital, tmp_path / "a", stays=[stay], now=day(2))
    take(hospital, tmp_path / "b", stays=[stay | {"end": day(3), "recorded": day(3)}], now=day(4))
    ends = [hospital.snapshot(as_of=day(d)).stays().collect()["end"][0] for d in (2, 4)]
    assert ends == [None, day(3)]


def test_what_an_extract_does_not_say_does_not_erase_what_is_known(hospital, tmp_path):
    take(hospital, tmp_path / "a", subjects=[{"subject": "1", "sex": "female"}])
    died = {"subject": "1", "death": day(5), "recorded": day(5)}
    take(hospital, tmp_path / "b", subjects=[died], now=day(6))
    row = hospital.snapshot().subjects().select("sex", "death").collect().rows()
    assert row == [("female", day(5))]


def test_a_withdrawn_stay_is_gone_from_then_on(hospital, tmp_path):
    stay = {"stay": "s", "subject": "1", "start": day(1), "recorded": day(1)}
    take(hospital, tmp_path / "a", stays=[stay], now=day(2))
    take(hospital, tmp_path / "b", stays=[stay | {"retracted": day(3)}], now=day(4))
    seen = [hospital.snapshot(as_of=day(d)).stays().collect().height for d in (2, 3)]
    assert (seen, hospital.snapshot().stays().collect().height) == ([1, 0], 0)


def test_refused_rows_of_a_replaced_file_are_not_counted_any_more(hospital, tmp_path):
    take(hospital, tmp_path / "a", [*rows(1), event(code="", row=2)])
    assert hospital.snapshot().quarantine().collect().height == 1
    take(hospital, tmp_path / "b", [event(code="", row=2)])
    take(hospital, tmp_path / "a", rows(1, 2), on_change="replace")
    left = hospital.snapshot().quarantine().collect()
    assert left["batch"].to_list() == [2]
    assert hospital.snapshot(version=1).quarantine().collect().height == 1
