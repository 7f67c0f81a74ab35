"""Stories told in messages, and what a reader must see at each moment."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from tests.feeds import PROFILE, applied, fed, local_ids, scenario, seen
from tests.shared_data import shared

from neva.feeds.dead_letters import dead_letters
from neva.sources.hl7v2.times import read_time


def moment(text):
    return None if text is None else read_time(text, zone="UTC").time


def expected():
    path = shared("data", "hl7v2-messages", "scenarios", "expected.json")
    stories = json.loads(path.read_text(encoding="utf-8"))
    return {who: told for story in stories.values() for who, told in story.items()}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return fed(tmp_path_factory.mktemp("fed") / "hospital", scenario("adt_oru.mllp"))


def of(rows, who):
    return [row[1:] for row in rows if row[0] == who]


def test_stays_and_their_ends_are_as_the_stories_say(hospital):
    found = seen(hospital)
    for who, story in expected().items():
        stays = of(found["stays"], who)
        if "stays" in story:
            assert len(stays) == story["stays"], who
        if "admit" in story:
            assert [stay[0] for stay in stays] == [moment(story["admit"])], who
        if "discharge" in story:
            assert [stay[1] for stay in stays] == [moment(story["discharge"])], who


def test_units_and_beds_are_as_the_stories_say(hospital):
    found = seen(hospital)
    for who, story in expected().items():
        movements = of(found["movements"], who)
        if "units" in story:
            told = [(moment(a), moment(b), unit) for unit, a, b in story["units"]]
            assert [one[:3] for one in movements] == told, who
        if "beds" in story:
            told = [(moment(a), moment(b), bed) for bed, a, b in story["beds"]]
            assert [(*one[:2], one[3]) for one in movements] == told, who


def test_away_is_told_apart_from_occupied(hospital):
    leaves = [row for row in seen(hospital)["events"] if row[1] == "NEVA//leave-of-absence"]
    told = expected()["S07"]["away"]
    assert [(one[2], one[3]) for one in leaves] == [(moment(a), moment(b)) for a, b in told]


def test_results_corrected_and_withdrawn_are_as_the_stories_say(hospital):
    found = seen(hospital)
    for who, story in expected().items():
        results = [one for one in of(found["events"], who) if one[0].startswith("LOINC//")]
        for code, value, _ in story.get("results", []):
            assert [one[3] for one in results if one[0] == f"LOINC//{code}"] == [float(value)]
        for code, _, _ in story.get("withdrawn", []):
            assert [one for one in results if one[0] == f"LOINC//{code}"] == []


def test_a_reader_at_an_earlier_moment_sees_what_was_believed_then(hospital):
    for who, story in expected().items():
        for text, believed in story.get("as_of", {}).items():
            found = seen(hospital, moment(text))
            if isinstance(believed, list):
                results = {(one[0], one[3]) for one in of(found["events"], who)}
                assert results == {(f"LOINC//{code}", float(v)) for code, v, _ in believed}
            elif believed == "discharged":
                assert of(found["stays"], who)[0][1] is not None, who
            else:
                movements = of(found["movements"], who)
                assert movements[-1][2] == believed, (who, text)
                assert movements[-1][1] is None, (who, text)


def test_a_merged_record_is_the_surviving_one_and_a_late_result_follows(hospital):
    names = set(local_ids(hospital).values())
    assert {"S06", "S06TMP"} <= names
    found = seen(hospital)
    for table in ("stays", "movements", "subjects", "events"):
        assert [row for row in found[table] if row[0] == "S06TMP"] == [], table
    before = seen(hospital, moment("20260102085900+0300"))
    assert len(of(before["stays"], "S06TMP")) == 1
    assert of(before["stays"], "S06") == []


def test_duplicates_change_nothing_and_a_control_id_with_other_content_is_told(hospital):
    letters = dead_letters(hospital.snapshot())
    assert letters["reason"].to_list() == ["control-repeated"]
    messages = hospital.snapshot().stored("messages").collect()
    assert messages["outcome"].value_counts().sort("outcome").rows() == [
        ("applied", 35), ("duplicate", 1), ("refused", 1),
    ]  # fmt: skip


def test_a_site_may_trust_content_more_than_control_ids(tmp_path):
    profile = PROFILE.model_copy(update={"same_control": "accept"})
    hospital = fed(tmp_path / "hospital", scenario("adt_oru.mllp"), profile=profile)
    units = [row[3] for row in seen(hospital)["movements"] if row[0] == "S11"]
    assert units == ["THER", "CARD"]


def moments_of(messages):
    """Each moment at which a message was sent, and just before and after."""
    sent = sorted({one.split(b"|")[6].decode() for one in messages})
    times = [moment(one) for one in sent]
    return [t + timedelta(seconds=s) for t in times for s in (-1, 0)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What is seen at each moment where each message comes once, in order."""
    messages = scenario("adt_oru.mllp")[:36]
    hospital = fed(tmp_path_factory.mktemp("plain") / "hospital", messages)
    return {at: seen(hospital, at) for at in [*moments_of(messages), None]}


@pytest.mark.parametrize(("seed", "most"), [(None, 1), (1, 2), (2, 3), (3, 7)])
def test_order_repetition_and_batches_change_nothing(plain, tmp_path, seed, most):
    """Shuffled, each twice, in small batches: at every moment a reader sees the same."""
    messages = scenario("adt_oru.mllp")[:36]
    sent = list(messages)
    if seed is not None:
        sent = [*messages, *messages]
        random.Random(seed).shuffle(sent)
    other = fed(tmp_path / "other", sent, most=most)
    for at, known in plain.items():
        assert seen(other, at) == known, at


def test_applying_again_adds_nothing(hospital):
    version = hospital.manifest().version
    assert applied(hospital) == []
    assert hospital.manifest().version == version


def test_the_position_is_part_of_the_commit(hospital):
    assert hospital.manifest().feeds == {"his": "37"}
    assert hospital.manifest(version=0).feeds == {}


def test_nothing_is_known_before_it_was_sent(hospital):
    first = datetime(2025, 12, 31, 12, tzinfo=UTC)
    assert not any(seen(hospital, first).values())
