"""HL7 v2: public messages, character sets, escapes, times and profiles, against other readers."""

import gzip
import json
from collections import Counter
from datetime import UTC, date, datetime

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.feeds import PROFILE, scenario
from tests.shared_data import shared

from neva.errors import MappingError
from neva.sources.hl7v2.context import Context
from neva.sources.hl7v2.files import cut_file
from neva.sources.hl7v2.interpretation import interpret_raw
from neva.sources.hl7v2.message import UnreadableMessageError, read_header, read_message
from neva.sources.hl7v2.profile import Profile, read_profile
from neva.sources.hl7v2.reasons import REASONS
from neva.sources.hl7v2.times import read_time

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ANY = Profile(name="any", assigner="any", recorded="sent")


def data(*parts):
    return shared("data", "hl7v2-messages", *parts)


def public():
    """The public messages by file name, and what an independent reader found in each."""
    expected = json.loads(data("expected_microsoft.json").read_text(encoding="utf-8"))
    return [(data("microsoft", name).read_bytes(), told) for name, told in expected.items()]


def said(raw, profile=PROFILE, **changes):
    profile = profile.model_copy(update=changes)
    return interpret_raw(raw, profile, zone="Europe/Moscow", arrived=NOW)


def test_public_messages_have_the_fields_that_an_independent_reader_found():
    for raw, told in public():
        (content,) = cut_file(raw).messages
        message = read_message(content, declared="utf-8")
        pid, pv1 = message.first("PID"), message.first("PV1")
        found = {
            "segments": len(message.segments),
            "control_id": message.header.control,
            "sent": message.header.sent,
            "version": message.header.version,
            "pid3": message.text(pid, 3),
            "pid3_repeats": len(message.repetitions(pid, 3)),
            "pids": len(list(message.named("PID"))),
            "birth": message.text(pid, 7),
            "sex": message.text(pid, 8),
            "visit": message.text(pv1, 19),
            "class_": message.text(pv1, 2),
            "admit": message.text(pv1, 44),
            "discharge": message.text(pv1, 45),
            "obx": len(list(message.named("OBX"))),
            "obr": len(list(message.named("OBR"))),
            "event_time": message.text(message.first("EVN"), 6),
            "recorded": message.text(message.first("EVN"), 2),
            "obx_status": dict(Counter(message.text(one, 11) for one in message.named("OBX"))),
            "messages": 1,
        }
        wanted = {name: told[name] for name in found}
        # Their reader gives a whole field where it has no repetition; ours its first component.
        for name in ("pid3", "visit", "sex", "birth"):
            wanted[name] = wanted[name].split("^")[0]
        assert found == wanted, told["type"]
        assert message.header.type == "^".join(told["type"].split("^")[:2])


def test_public_messages_are_cut_as_the_most_used_library_cuts_them():
    for raw, _ in public():
        (content,) = cut_file(raw).messages
        text = content.removeprefix(b"\xef\xbb\xbf").decode().replace("\r\n", "\r")
        theirs = hl7.parse(text.replace("\n", "\r").strip())
        ours = read_message(content, declared="utf-8")
        assert [one[0] for one in ours.segments] == [str(one[0]) for one in theirs]
        for mine, other in zip(ours.segments, theirs, strict=True):
            if mine[0] == "MSH":  # they count MSH-1 as a field of its own
                continue
            fields = [str(field) for field in other]
            assert [field.strip() for field in mine] == [field.strip() for field in fields]


@given(st.text(alphabet=st.sampled_from("ab&|^~\\é\n"), max_size=30))
def test_what_was_escaped_comes_back(text):
    message = read_message(b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5\r")
    written = text.replace("\\", "\\E\\")
    for mark, name in (("|", "F"), ("^", "S"), ("~", "R"), ("&", "T"), ("\n", ".br")):
        written = written.replace(mark, f"\\{name}\\")
    # Escaping the escape first would turn the escapes themselves: one pass over characters.
    names = {"\\": "E", "|": "F", "^": "S", "~": "R", "&": "T", "\n": ".br"}
    written = "".join(f"\\{names[c]}\\" if c in names else c for c in text)
    assert message.unescaped(written) == text


def test_the_hospital_simulator_gives_what_its_summary_says():
    raw = gzip.decompress(data("simhospital", "messages.mllp.gz").read_bytes())
    told = json.loads(data("expected_simhospital_summary.json").read_text(encoding="utf-8"))
    told = told["shared"]
    cut = cut_file(raw)
    assert (len(cut.messages), cut.ignored, cut.incomplete) == (told["messages"], 0, 0)
    types, patients, results, merged, visits = Counter(), set(), 0, [], set()
    profile = ANY.model_copy(update={"ignored_types": ("MDM^*",)})
    for one in cut.messages:
        message, found = said(one, profile)
        types[read_header(one).type] += 1
        patients.add(message.text(message.first("PID"), 3))
        of_documents = found.type.startswith("MDM")
        results += len(list(message.named("OBX"))) if of_documents else len(found.events)
        merged += [[gone] for gone, _ in found.merges]
        visits |= {one["stay"] for one in found.statements if one.get("stay")}
    assert dict(types) == told["types"]
    assert len(patients) == told["patients"]
    assert results == told["obx"]
    assert merged == told["merged"]
    assert len(visits) == told["visits"]


@pytest.mark.parametrize(
    ("name", "characters"),
    [("8859-5", None), ("utf8", None), ("1251_unlabelled", "windows-1251"),
     ("866_unlabelled", "cp866")],
)  # fmt: skip
def test_russian_is_read_whatever_its_character_set(name, characters):
    (raw,) = scenario(f"ru_{name}.mllp")
    expected = json.loads(data("scenarios", "ru_expected.json").read_text(encoding="utf-8"))
    message, found = said(raw, characters=characters)
    (person,) = found.persons
    assert person.family == expected["family"]
    assert person.given == f"{expected['given']} {expected['middle']}"
    assert found.statements[0]["unit"] == expected["unit"]
    assert message.text(message.first("PID"), 11, 3) == expected["city"]
    assert message.text(message.first("PID"), 11, 1) == expected["street"]


@pytest.mark.parametrize("name", ["1251_unlabelled", "866_unlabelled"])
def test_letters_without_a_character_set_are_never_guessed(name):
    (raw,) = scenario(f"ru_{name}.mllp")
    with pytest.raises(UnreadableMessageError, match="character-set-missing"):
        said(raw)


def test_a_site_may_say_that_what_senders_declare_is_wrong():
    (raw,) = scenario("ru_1251_unlabelled.mllp")
    labelled = raw.replace(b"|||AL|NE||", b"|||AL|NE||UNICODE UTF-8")
    with pytest.raises(UnreadableMessageError, match="character-set-wrong"):
        said(labelled)
    _, found = said(labelled, characters="windows-1251", trust_characters=False)
    assert found.persons[0].family == "Щербакова"


def test_other_separators_escapes_and_times_are_read_as_written():
    (raw,) = scenario("separators.mllp")
    told = json.loads(data("scenarios", "separators_expected.json").read_text(encoding="utf-8"))
    _, found = said(raw, zone="Europe/Moscow")
    (event,) = found.events
    assert event["subject"] == told["mrn"]
    assert event["text"] == told["value"]
    assert event["precision"] == "day"
    assert event["recorded"] == datetime(2026, 1, 1, 6, tzinfo=UTC)
    moment = read_time("20260101083000-0500", zone="Europe/Moscow")
    assert moment.time == datetime.fromisoformat(told["obr7_utc"])
    assert read_time("20260101090000", zone="Europe/Moscow").assumed_zone


def test_an_appointment_is_booked_moved_and_cancelled():
    rows = [event for raw in scenario("siu.mllp") for event in said(raw)[1].events]
    assert len({row["row_id"] for row in rows}) == 1
    assert [row["status"] for row in rows] == ["planned", "planned", "cancelled"]
    assert [row["time"] for row in rows[:2]] == [
        datetime(2026, 1, 10, 6, tzinfo=UTC), datetime(2026, 1, 11, 11, tzinfo=UTC),
    ]  # fmt: skip


def test_batch_files_are_cut_and_a_count_that_differs_is_told():
    for name, whole in (("good", True), ("lf", True), ("short", False)):
        cut = cut_file(data("scenarios", f"batch_{name}.hl7").read_bytes())
        assert cut.is_whole is whole
        assert cut.promised == 3
        assert len(cut.messages) == (3 if whole else 2)
        assert all(said(one)[1].statements for one in cut.messages)


MSH = b"MSH|^~\\&|LAB|H|N|N|20260101090000+0300||ORU^R01|1|P|2.5\r"
PID = b"PID|1||7^^^H^MR\r"


def result(obx, obr=b"OBR|1|P1|F1|24323-8^CHEM^LN|||20260101080000+0300\r"):
    return said(MSH + PID + obr + obx + b"\r")[1]


@pytest.mark.parametrize(
    ("obx", "value", "comparator", "unit", "text"),
    [
        (b"OBX|1|NM|2345-7^G^LN||5.6|mmol/L|||||F", 5.6, None, "mmol/L", None),
        (b"OBX|1|NM|2345-7^G^LN||<0.01|mmol/L|||||F", 0.01, "<", "mmol/L", None),
        (b"OBX|1|SN|2345-7^G^LN||>=^10|mmol/L|||||F", 10.0, ">", "mmol/L", None),
        (b"OBX|1|SN|2345-7^G^LN||^1^:^128|{titer}|||||F", None, None, None, "1 : 128"),
        (b"OBX|1|NM|2345-7^G^LN||haemolysed|mmol/L|||||F", None, None, None, "haemolysed"),
        (b"OBX|1|ST|2345-7^G^LN||positive||||||F", None, None, None, "positive"),
        (b"OBX|1|FT|2345-7^G^LN||line one\\.br\\line two||||||F", None, None, None,
         "line one\nline two"),
        (b"OBX|1|NM|2345-7^G^LN||1e999|mmol/L|||||F", None, None, None, "1e999"),
        (b"OBX|1|NM|2345-7^G^LN||\"\"|mmol/L|||||F", None, None, None, None),
        (b"OBX|1|ST|2345-7^G^LN||a~b||||||F", None, None, None, "a\nb"),
    ],
)  # fmt: skip
def test_values_are_read_and_what_is_no_number_stays_as_text(obx, value, comparator, unit, text):
    (event,) = result(obx).events
    found = tuple(event.get(name) for name in ("value", "comparator", "value_unit", "text"))
    assert found == ((value, comparator, unit, text) if value is not None else
                     (None, None, None, text))  # fmt: skip


def test_a_coded_answer_keeps_its_text_and_code():
    (event,) = result(b"OBX|1|CWE|882-1^ABO^LN||112144000^Group A^SCT||||||F").events
    assert event["text"] == "Group A"
    assert {"key": "value.code", "value": "SNOMED//112144000"} in event["attributes"]


@pytest.mark.parametrize(
    ("status", "becomes", "withdrawn"),
    [("F", "done", False), ("P", "done", False), ("C", "done", False), ("X", "not-done", False),
     ("D", "done", True), ("W", "done", True)],
)  # fmt: skip
def test_states_of_a_result(status, becomes, withdrawn):
    (event,) = result(b"OBX|1|NM|2345-7^G^LN||5|mmol/L|||||" + status.encode()).events
    assert event["status"] == becomes
    assert (event["retracted"] is not None) is withdrawn


def test_a_correction_of_the_same_second_comes_after_what_it_corrects():
    first = result(b"OBX|1|NM|2345-7^G^LN||5|mmol/L|||||F").events[0]
    again = result(b"OBX|1|NM|2345-7^G^LN||6|mmol/L|||||C").events[0]
    assert again["row_id"] == first["row_id"]
    assert again["recorded"] > first["recorded"]


def test_an_observation_without_a_code_is_left_out_and_told_and_alone_is_a_dead_letter():
    found = said(MSH + PID + b"OBX|1|NM|||5\rOBX|2|NM|2345-7^G^LN||5|mmol/L|||||F|||20260101\r")[1]
    assert len(found.events) == 1
    assert found.doubts["code-missing", "OBX-3"] == 1
    with pytest.raises(UnreadableMessageError, match="code-missing"):
        said(MSH + PID + b"OBX|1|NM|||5\r")


def test_unknown_code_systems_are_counted_and_kept():
    found = result(b"OBX|1|NM|GLU^Glucose^LOCALSYS||5|mmol/L|||||F")
    assert found.events[0]["code"] == "LOCALSYS//GLU"
    assert found.doubts["code-system-unknown", "LOCALSYS"] == 1
    found = said(MSH + PID + b"OBX|1|NM|GLU||5|mmol/L|||||F|||20260101\r",
                 code_systems={"": "HERE"})[1]  # fmt: skip
    assert found.events[0]["code"] == "HIS//GLU"


ADT = b"MSH|^~\\&|HIS|H|N|N|20260101090000+0300||ADT^%s|1|P|2.5\rEVN||20260101090000+0300\r"
VISIT = b"PID|1||7^^^H^MR||F^G||1970|X\rPV1|1|I|W^1^1||||||||||||||||V1\r"


def test_an_empty_field_says_nothing_two_quotes_delete_and_a_site_may_mean_otherwise():
    raw = ADT % b"A08" + b'PID|1||7^^^H^MR||F^G||""|\rPV1|1|I|W^1^1||||||||||||||||V1\r'
    statement = said(raw)[1].statements[0]
    assert (statement["birth_date"], statement["sex"]) == ('""', None)
    statement = said(raw, empty_fields="deleted")[1].statements[0]
    assert (statement["birth_date"], statement["sex"]) == ('""', '""')


def test_a_birth_year_alone_is_told_and_not_taken_for_a_day():
    found = said(ADT % b"A01" + VISIT)[1]
    assert found.statements[0]["birth_date"] is None
    assert found.doubts["birth-imprecise", ""] == 1
    assert found.persons[0].birth_date is None


def test_demographics_and_names_are_told_apart():
    found = said(ADT % b"A01" + VISIT.replace(b"1970", b"19700203"))[1]
    assert found.persons[0].birth_date == date(1970, 2, 3)
    assert not any(value == "F" for value in found.statements[0].values())


@pytest.mark.parametrize(
    ("event", "reason"),
    [(b"A01", "stay-missing"), (b"A02", "stay-missing"), (b"A40", "merge-missing"),
     (b"Q99", "type-unknown")],
)  # fmt: skip
def test_what_cannot_be_applied_says_why(event, reason):
    raw = ADT % event + b"PID|1||7^^^H^MR\rPV1|1|I|W^1^1\r"
    with pytest.raises(UnreadableMessageError) as error:
        said(raw)
    assert error.value.reason == reason


def test_a_record_is_not_merged_into_itself():
    raw = ADT % b"A40" + b"PID|1||7^^^H^MR\rMRG|7^^^H^MR\r"
    with pytest.raises(UnreadableMessageError, match="merge-circular"):
        said(raw)


def test_a_feed_may_leave_stays_or_persons_to_others():
    raw = ADT % b"A01" + VISIT.replace(b"|1970|", b"|19700203|")
    found = said(raw, stays_from=())[1]
    assert (found.statements, len(found.persons)) == ([], 1)
    found = said(raw, persons_from=())[1]
    assert found.persons == []
    assert found.statements[0]["stay"] == "V1"
    assert "birth_date" not in found.statements[0]


def test_several_merges_in_one_message_are_all_taken():
    raw = ADT % b"A40" + b"PID|1||7^^^H^MR\rMRG|8^^^H^MR\rPID|2||9^^^H^MR\rMRG|10^^^H^MR\r"
    assert said(raw)[1].merges == [("8", "7"), ("10", "9")]


def test_the_number_of_the_wanted_kind_is_chosen_among_repetitions():
    raw = ADT % b"A01" + VISIT.replace(b"7^^^H^MR", b"99^^^NAT^NI~7^^^H^MR~5^^^OTHER^MR")
    assert said(raw)[1].statements[0]["subject"] == "7"
    profile = Profile(name="x", assigner="x", subject={"type": "MR", "authority": "OTHER"})
    assert said(raw, profile)[1].statements[0]["subject"] == "5"


def test_a_stay_may_be_named_by_the_account():
    raw = ADT % b"A01" + VISIT.replace(b"|X\r", b"|X||||||||||ACC9\r")
    assert said(raw, stay="PID-18")[1].statements[0]["stay"] == "ACC9"


def test_a_sites_own_segment_becomes_an_event():
    profile = Profile.model_validate(
        {"name": "z", "assigner": "z", "recorded": "sent",
         "z_segments": {"ZEV": {"id": 1, "code": 2, "value": 3, "time": 5, "end": 6, "status": 7,
                                "attributes": 8}}}
    )  # fmt: skip
    raw = (
        ADT % b"A08"
        + VISIT
        + b"ZEV|e1|OXY^^CARE|2||20260101080000+0300|20260101083000+0300|done|flow^high~mask^yes\r"
    )
    event = said(raw, profile)[1].events[0]
    assert (event["code"], event["value"], event["status"]) == ("CARE//OXY", 2.0, "done")
    assert event["end_time"] == datetime(2026, 1, 1, 5, 30, tzinfo=UTC)
    assert event["attributes"][1] == {"key": "mask", "value": "yes"}
    gone = raw.replace(b"|done|", b"|withdrawn|")
    assert said(gone, profile)[1].events[0]["retracted"] is not None
    assert said(raw)[1].doubts["segment-unknown", "ZEV"] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [("2026", "time-imprecise"), ("202601", "time-imprecise"), ("20261301", "time-unreadable"),
     ("2026-01-01", "time-unreadable"), ("20260101250000", "time-unreadable"),
     ("20260101080000+9900", "time-unreadable"), ("soon", "time-unreadable")],
)  # fmt: skip
def test_times_that_are_none_say_so(text, reason):
    with pytest.raises(UnreadableMessageError) as error:
        read_time(text, zone="UTC", field="OBX-14")
    assert (error.value.reason, error.value.field) == (reason, "OBX-14")


def test_a_time_that_the_clock_never_showed_is_refused_and_an_offset_is_inherited():
    with pytest.raises(UnreadableMessageError, match="time-nonexistent"):
        read_time("202603290230", zone="Europe/Berlin")
    moment = read_time("202603290230", zone="Europe/Berlin", inherited="+0100")
    assert moment.time == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_what_a_sender_dates_ahead_is_known_when_it_arrived():
    raw = ADT % b"A01" + VISIT
    arrived = datetime(2026, 1, 1, 5, tzinfo=UTC)
    _, found = interpret_raw(raw, PROFILE, zone="UTC", arrived=arrived)
    assert found.statements[0]["recorded"] == arrived
    assert found.doubts["sent-ahead", ""] == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [(b"EVN||20260101", b"EVN||22260101", "time-beyond-import"),
     (b"EVN||20260101", b"EVN||18260101", "time-too-early"),
     (b"||V1\r", b"||V1" + b"|" * 25 + b"22260101\r", "time-beyond-import"),
     (b"|1970|X\r", b"|1970|X" + b"|" * 21 + b"22260101\r", "time-beyond-import")],
)  # fmt: skip
def test_a_mistyped_year_is_a_dead_letter_and_never_a_stay(old, new, reason):
    raw = (ADT % b"A01" + VISIT).replace(old, new)
    assert raw != ADT % b"A01" + VISIT
    with pytest.raises(UnreadableMessageError) as error:
        said(raw)
    assert error.value.reason == reason


def test_what_is_planned_may_lie_ahead():
    raw = (ADT % b"A05" + VISIT).replace(b"EVN||20260101", b"EVN||20310101")
    assert said(raw)[1].events[0]["status"] == "planned"


@pytest.mark.parametrize("birth", [b"20991231", b"18260101"])
def test_an_impossible_birth_is_told_and_not_taken(birth):
    found = said(ADT % b"A01" + VISIT.replace(b"|1970|", b"|" + birth + b"|"))[1]
    assert found.doubts["birth-impossible", ""] == 1
    assert found.statements[0]["birth_date"] is None
    assert found.persons[0].birth_date is None


def test_when_it_was_known_is_when_it_arrived_unless_the_profile_says_sent():
    message = read_message(ADT % b"A01" + VISIT)
    arrived = Profile(name="x", assigner="x")
    assert Context(message, arrived, zone="UTC", arrived=NOW).recorded == NOW
    sent = datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert Context(message, PROFILE, zone="UTC", arrived=NOW).recorded == sent


@pytest.mark.parametrize(
    ("line", "what"),
    [("stay: PV1", "no place"), ("characters: klingon", "no such character set"),
     ("zone: Moon/Sea", "time zone"), ("name: ../x", "becomes a folder"), ("kinda: {}", "kinds")],
)  # fmt: skip
def test_a_profile_that_is_wrong_names_the_line(tmp_path, line, what):
    path = tmp_path / "site.yaml"
    text = "name: his\nassigner: gkb\n" if not line.startswith("name") else "assigner: gkb\n"
    path.write_text(text + line + "\n")
    with pytest.raises(MappingError, match=what) as error:
        read_profile(path)
    assert f"site.yaml:{3 if not line.startswith('name') else 2}" in str(error.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_say_why_not(raw):
    reasons = set()
    for content in (raw, b"MSH|^~\\&|" + raw, ADT % b"A01" + raw, MSH + PID + raw):
        try:
            said(content)
        except UnreadableMessageError as error:
            reasons.add(error.reason)
    assert reasons <= {*REASONS}
