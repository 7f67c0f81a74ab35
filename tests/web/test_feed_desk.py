"""The feed desk: what is silent is never well, what is unknown is proposed, no patient is said."""

import json
from datetime import timedelta

import polars as pl
import pytest
from tests.command_line import CANARY
from tests.doors import build, csrf_of, doors
from tests.feeds import ARRIVED, PROFILE, applied, scenario
from tests.unit.feeds.test_stays_from_messages import adt
from tests.web.test_uploads import rows_of

from neva.errors import BadInputError
from neva.events.hospital import open_hospital
from neva.feeds.accepted import accept, read_accepted, with_accepted
from neva.feeds.applier import Applier
from neva.feeds.status import feed_folder, feed_status

LISTENER = {"name": "his", "position": 38, "figures": {"refused": {"sender-unknown": 3}}}


@pytest.fixture
def desk(tmp_path):
    """A hospital with a feed: some refusals, an unknown code system, names that are canaries."""
    folder, subjects = build(tmp_path)
    hospital = open_hospital(folder)
    messages = [one.replace(b"TEST^", CANARY.encode()) for one in scenario("adt_oru.mllp")]
    known = b"OBX|1|NM|2345-7^GLUC^LN"
    unknown = next(one for one in messages if known in one)
    messages.append(unknown.replace(known, b"OBX|1|NM|G^GLUC^OURS").replace(b"|S00", b"|T00"))
    applied(hospital, messages, profile=PROFILE)
    with doors(folder, subjects, tmp_path / "state.sqlite") as made:
        yield hospital, made.signed_in("analyst", headers={"accept": "text/html"}), made


def listening(hospital, now, *, last):
    folder = feed_folder(hospital.path, "his")
    (folder / "listener.json").write_text(json.dumps({**LISTENER, "written": now.isoformat()}))
    status = {"name": "his", "position": 38, "last_arrived": last.isoformat(),
              "expected_within_seconds": 3600, "backlog": 2}  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))


def test_a_silent_feed_and_one_that_nobody_listens_to_are_never_well(desk):
    hospital, client, made = desk
    page = client.get("/data/feeds").text
    assert "nobody listens" in page
    assert "messages arrive" not in page
    for hours, state, other in (
        (0.01, "messages arrive", "silent"),
        (2, "silent", "messages arrive"),
        (-2, "silent", "messages arrive"),  # the clock was put back
    ):
        made.clock[0] = now = ARRIVED + timedelta(hours=hours)
        client = made.signed_in("analyst", headers={"accept": "text/html"})
        listening(hospital, now, last=now)
        page = client.get("/data/feeds").text
        assert state in page
        assert other not in page


def test_refusals_doubts_and_a_proposal_are_shown_and_nothing_of_a_patient(desk):
    _, client, _ = desk
    page = client.get("/data/feeds").text
    for words in ("control-repeated", "MSH-10 was used before", "code-system-unknown", "OURS",
                  "code_systems:", "HIS^GKB"):  # fmt: skip
        assert words in page
    twin = client.get("/data/feeds.json").json()
    (refused,), (feed,) = rows_of(twin, "refusals"), rows_of(twin, "feeds")
    assert refused["messages"] == 1
    assert feed["taken"] == feed["applied"] == 38
    for text in (page, json.dumps(twin)):
        assert CANARY not in text
        assert "S06" not in text


def test_figures_for_a_monitor(desk):
    hospital, client, made = desk
    now = made.clock[0]
    listening(hospital, now, last=now - timedelta(hours=2))
    lines = client.get("/metrics").text.splitlines()
    assert 'neva_feed_backlog{feed="his"} 2' in lines
    assert 'neva_feed_silent{feed="his"} 1' in lines
    assert 'neva_feed_age_seconds{feed="his"} 7200' in lines
    assert 'neva_feed_refused_total{feed="his",reason="sender-unknown"} 3' in lines
    assert not any(CANARY in line for line in lines)


def test_a_hospital_without_feeds_says_how_to_begin(tmp_path):
    folder, subjects = build(tmp_path)
    with doors(folder, subjects, tmp_path / "state.sqlite") as made:
        page = made.signed_in("analyst", headers={"accept": "text/html"}).get("/data/feeds").text
    assert "No live feed" in page


EVIL = "<script>alert(7)</script>"


def audited(made, action):
    return [json.loads(one.details) for one in made.state.audit.rows() if one.action == action]


def result(system, code="G", control="R1"):
    lines = [f"MSH|^~\\&|LAB|GKB|N|N|20260105080000+0000||ORU^R01|{control}|P|2.5",
             "PID|1||S1^^^GKB^MR", "OBR|1||F1|P^PANEL^LN",
             f"OBX|1|NM|{code}^GLUC^{system}||5|mmol/L|||||F|||20260105080000+0000"]  # fmt: skip
    return ("\r".join(lines) + "\r").encode()


@pytest.fixture
def unknown(tmp_path):
    """A feed with unknown words: a code system with HTML in it, and a patient class."""
    folder, subjects = build(tmp_path)
    hospital = open_hospital(folder)
    applied(hospital, [result("OURS"), result(EVIL, control="R2"), adt("A01", 0, kind="K")])
    with doors(folder, subjects, tmp_path / "state.sqlite") as made:
        yield hospital, made.signed_in("analyst", headers={"accept": "text/html"}), made


def say(client, what="accept", feed="his", **fields):
    data = {"csrf": csrf_of(client), **fields}
    return client.post(f"/data/feeds/{feed}/{what}", data=data)


OURS = {"reason": "code-system-unknown", "word": "OURS", "meaning": "LOINC"}


def codes(hospital):
    return set(hospital.snapshot().events().collect()["code"])


def in_doubt(hospital):
    found = feed_status(hospital, "his", ARRIVED).doubts
    return {(reason, about) for _, reason, about, _ in found if reason.endswith("-unknown")}


def test_a_click_says_what_an_unknown_code_system_means(unknown):
    hospital, client, made = unknown
    assert 'action="/data/feeds/his/accept"' in client.get("/data/feeds").text
    assert say(client, **OURS).status_code == 303
    page = client.get("/data/feeds").text
    assert "Withdraw OURS" in page
    assert 'name="word" value="OURS"><div>' not in page
    assert '"OURS": LOCAL' not in page
    (row,) = rows_of(client.get("/data/feeds.json").json(), "accepted")
    assert (row["word"], row["meaning"], row["by"]) == ("OURS", "LOINC", "analyst")
    assert ("code-system-unknown", "OURS") not in in_doubt(hospital)
    before = codes(hospital)
    applied(hospital, [result("OURS", "N", "R3")])
    assert codes(hospital) - before == {"LOINC//N"}
    assert audited(made, "mapping-accepted") == [
        {"feed": "his", "part": "code_systems", "word": "OURS", "meaning": "LOINC"}
    ]


def test_what_was_accepted_is_taken_back(unknown):
    hospital, client, made = unknown
    say(client, **OURS)
    assert say(client, "withdraw", part="code_systems", word="OURS").status_code == 303
    assert ("code-system-unknown", "OURS") in in_doubt(hospital)
    before = codes(hospital)
    applied(hospital, [result("OURS", "N", "R3")])
    assert codes(hospital) - before == {"OURS//N"}
    assert say(client, "withdraw", part="code_systems", word="OURS").status_code == 404
    assert len(audited(made, "mapping-withdrawn")) == 1


def test_a_patient_class_gets_its_kind_of_stay(unknown):
    hospital, client, _ = unknown
    say(client, reason="class-unknown", word="K", meaning="day")
    assert ("class-unknown", "K") not in in_doubt(hospital)
    applied(hospital, [adt("A01", 1, kind="K", visit="V9")])
    kinds = hospital.snapshot().stays().filter(pl.col("start") >= ARRIVED - timedelta(days=60))
    assert "day" in set(kinds.collect()["kind"])


def test_a_code_system_with_html_is_text(unknown):
    _, client, _ = unknown
    page = client.get("/data/feeds").text
    assert EVIL not in page
    assert say(client, **{**OURS, "word": EVIL}).status_code == 303
    page = client.get("/data/feeds").text
    assert EVIL not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"word": "NOTHING"}, 404),
        ({"reason": "subject-other"}, 404),
        ({"reason": "class-unknown"}, 404),
        ({"meaning": "<b>"}, 400),
        ({"meaning": ""}, 400),
        ({"feed": "other"}, 404),
        ({"feed": ".."}, 404),
        ({"feed": "%2e%2e"}, 404),
    ],
)
def test_only_what_is_in_doubt_gets_only_what_is_offered(unknown, fields, status):
    hospital, client, made = unknown
    assert say(client, **{**OURS, **fields}).status_code == status
    assert read_accepted(feed_folder(hospital.path, "his")) == []
    assert audited(made, "mapping-accepted") == []


@pytest.mark.parametrize("account", ["viewer", "clinician"])
def test_who_may_not_sees_no_button_and_can_do_nothing(unknown, account):
    hospital, _, made = unknown
    client = made.signed_in(account, headers={"accept": "text/html"})
    assert "/accept" not in client.get("/data/feeds").text
    for what, fields in (("accept", OURS), ("withdraw", {"part": "code_systems", "word": "OURS"})):
        assert say(client, what, **fields).status_code == 403
    assert read_accepted(feed_folder(hospital.path, "his")) == []


def test_a_form_without_its_token_changes_nothing(unknown):
    hospital, client, _ = unknown
    for token in ("", "wrong"):
        answer = client.post("/data/feeds/his/accept", data={**OURS, "csrf": token})
        assert answer.status_code == 403
    assert read_accepted(feed_folder(hospital.path, "his")) == []


def test_the_profile_wins_and_dead_letters_are_tried_with_what_was_accepted(unknown):
    hospital, _, _ = unknown
    folder = feed_folder(hospital.path, "his")
    accept(folder, "code_systems", "OURS", "LOINC", by="a", at=ARRIVED)
    site = PROFILE.model_copy(update={"code_systems": {"OURS": "LOCAL"}})
    assert with_accepted(site, folder).code_systems == {"OURS": "LOCAL"}
    assert with_accepted(PROFILE, folder).code_systems == {"OURS": "LOINC"}
    strict = PROFILE.model_copy(update={"subject": {"type": "XX"}})
    applied(hospital, [result("OURS", "D", "R7")], profile=strict)
    assert "LOINC//D" not in codes(hospital)
    assert Applier(hospital, PROFILE, now=lambda: ARRIVED).retry().messages == 1
    assert "LOINC//D" in codes(hospital)


def test_checking_heeds_what_a_hospital_accepted(unknown, neva, tmp_path):
    hospital, _, _ = unknown
    accept(feed_folder(hospital.path, "his"), "code_systems", "OURS", "LOINC", by="a", at=ARRIVED)
    (tmp_path / "m.hl7").write_bytes(result("OURS"))
    (tmp_path / "site.yaml").write_text("name: his\nassigner: gkb\nsubject: {type: MR}\n")
    words = ("feed", "check", tmp_path / "m.hl7", "--profile", tmp_path / "site.yaml")
    assert "code-system-unknown" in neva(*words).out
    assert "code-system-unknown" not in neva(*words, "--hospital", hospital.path).out
    assert "code_systems: OURS is LOINC" in neva("feed", "status", hospital.path).out


NO_TEXT = '[{"part": "kinds", "word": 1, "meaning": "day", "by": "a", "at": "2026-01-01"}]'


@pytest.mark.parametrize("content", ["{", "[1]", '[{"part": 1}]', "{}x", NO_TEXT])
def test_a_damaged_list_is_said_and_not_passed_over(unknown, content):
    hospital, _, _ = unknown
    folder = feed_folder(hospital.path, "his")
    (folder / "accepted.json").write_text(content)
    with pytest.raises(BadInputError, match="cannot be read"):
        with_accepted(PROFILE, folder)
