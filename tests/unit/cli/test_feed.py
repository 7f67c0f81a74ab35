"""`neva feed`: checked, applied, refused, mended, applied in its place."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from tests.command_line import CANARY
from tests.feeds import PROFILE, fed, local_ids, scenario, seen, taken
from tests.shared_data import shared

from neva.events.hospital import create_hospital, open_hospital
from neva.events.people import read_people

SITE = "name: his\nassigner: gkb\nrecorded: sent\nsubject: {type: MR}\n"


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


@pytest.fixture
def store(tmp_path):
    made = create_hospital(
        tmp_path / "hospital", zone="Europe/Moscow", now=datetime(2025, 12, 1, tzinfo=UTC)
    )
    return made.path


def with_canary(raw):
    """The same messages about a patient whose every value must never be said."""
    return raw.replace(b"TEST^", CANARY.encode() + b"^").replace(b"|||15.6|", b"|||" + b"15.6|")


def test_a_check_says_what_messages_would_become_and_writes_nothing(neva, tmp_path, site):
    file = tmp_path / "messages.mllp"
    source = shared("data", "hl7v2-messages", "scenarios", "adt_oru.mllp")
    file.write_bytes(with_canary(source.read_bytes()))
    said = neva("feed", "check", file, "--profile", site)
    assert said.code == 0
    assert "37 messages; nothing was written" in said.out
    found = neva("feed", "check", file, "--profile", site, "--json").json()
    rows = {(row["type"], row["becomes"]): row["rows"] for row in found["rows"]}
    assert rows["ADT^A01", "statement of a stay (A01)"] == 11
    assert rows["ORU^R01", "LOINC//2823-3 done withdrawn"] == 1
    short = shared("data", "hl7v2-messages", "scenarios", "batch_short.hl7")
    assert (
        "2 messages are there, the trailer says 3"
        in neva("feed", "check", short, "--profile", site).out
    )


def test_dead_letters_are_applied_in_their_place_after_the_profile_was_mended(
    neva, store, site, tmp_path
):
    """Letters in an unnamed character set: refused, then read, as of when they arrived."""
    hospital = open_hospital(store)
    (unlabelled,) = scenario("ru_1251_unlabelled.mllp")
    later = unlabelled.replace(b"ADT^A01|Slled", b"ADT^A03|later").replace(
        b"EVN|A01|20260101080000", b"EVN|A03|20260102080000"
    )
    taken(hospital, [unlabelled, *scenario("adt_oru.mllp")[:3], later], PROFILE)
    assert neva("feed", "apply", store, "--profile", site, "--until-done", "--json").json() == {
        "messages": 5
    }
    status = neva("feed", "status", store, "--json").json()
    assert status[0]["reasons"] == {"character-set-missing": 2}
    assert neva("feed", "retry", store, "--profile", site, "--json").json() == {
        "applied": 0, "left": 2,
    }  # fmt: skip
    site.write_text(SITE + "characters: windows-1251\n")
    assert neva("feed", "retry", store, "--profile", site, "--json").json() == {
        "applied": 2, "left": 0,
    }  # fmt: skip
    assert neva("feed", "retry", store, "--profile", site, "--json").json()["applied"] == 0
    profile = PROFILE.model_copy(update={"characters": "windows-1251"})
    messages = [unlabelled, *scenario("adt_oru.mllp")[:3], later]
    once = fed(tmp_path / "once", messages, profile=profile)
    for at in (None, datetime(2026, 1, 1, 12, tzinfo=UTC)):
        assert seen(open_hospital(store), at) == seen(once, at)


def test_a_status_says_what_is_refused_in_doubt_and_silent_and_nothing_of_patients(
    neva, store, site
):
    hospital = open_hospital(store)
    messages = [with_canary(one) for one in scenario("adt_oru.mllp")]
    messages.append(messages[0].replace(b"ADT^A01|S0001", b"ADT^Q01|S9001"))
    lab = b"OBX|1|NM|2345-7^GLUC^LN"
    messages += [
        one.replace(lab, b"OBX|1|NM|GLU^GLUC^OURS").replace(b"|S00", b"|T00")
        for one in messages
        if lab in one
    ]
    taken(hospital, messages, PROFILE)
    neva("feed", "apply", store, "--profile", site, "--until-done")
    said = neva("feed", "status", store)
    assert said.code == 0
    doubt = "in doubt: code-system-unknown OURS in ORU^R01: "
    reasons = ("refused: type-unknown: 1", "refused: control-repeated: 1")
    for words in (*reasons, doubt, "HIS^GKB", "SILENT"):
        assert words in said.out
    feed = neva("feed", "status", store, "--json").json()[0]
    assert feed["taken"] == feed["applied"] == len(messages)
    assert sum(feed["outcomes"].values()) == len(messages)


def test_names_go_to_the_identity_service_and_to_no_table(neva, store, site):
    hospital = open_hospital(store)
    taken(hospital, [with_canary(one) for one in scenario("adt_oru.mllp")], PROFILE)
    neva("feed", "apply", store, "--profile", site, "--until-done")
    names = local_ids(hospital)
    people = read_people(store)
    assert {names[subject] for subject in people} >= {"S01", "S08"}
    assert all(name.startswith(CANARY) for name, _ in people.values())
    for path in sorted(store.glob("tables/*/*.parquet")):
        rows = pl.read_parquet(path)
        texts = rows.select(pl.col(pl.String)).to_series(0) if rows.width else None
        assert CANARY not in repr(rows.select(pl.col(pl.String)).rows())
        assert texts is None or "S01" not in texts.to_list()
    for path in (store / "feeds").rglob("*.json"):
        assert CANARY not in path.read_text()


def test_the_audit_says_who_was_merged(neva, store, site):
    hospital = open_hospital(store)
    taken(hospital, scenario("adt_oru.mllp"), PROFILE)
    neva("feed", "apply", store, "--profile", site, "--until-done")
    neva("feed", "apply", store, "--profile", site, "--until-done")
    rows = [json.loads(line) for line in _audit(neva, store)]
    merged = [row for row in rows if row["subtype"][0]["code"] == "record-merged"]
    assert len(merged) == 1
    numbers = {name: subject for subject, name in local_ids(hospital).items()}
    assert str(numbers["S06"]) in json.dumps(merged)
    assert str(numbers["S06TMP"]) in json.dumps(merged)


def _audit(neva, store):
    from neva.state import open_state, state_of
    from neva.state.audit_events import audit_event

    with open_state(state_of(store)) as state:
        assert state.audit.verify() == []
        return [json.dumps(audit_event(row)) for row in state.audit.rows()]


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("feed", "check", "nowhere.hl7", "--profile", "SITE"), 4, "no such file"),
        (("feed", "apply", "STORE", "--profile", "nowhere.yaml"), 4, "nowhere.yaml"),
        (("feed", "hl7v2", "STORE", "--profile", "SITE", "--listen", "here"), 2, "HOST:PORT"),
        (("feed", "hl7v2", "STORE", "--profile", "SITE", "--tls-key", "k.pem"), 2, "belong"),
        (("feed", "status", "nowhere"), 4, "not a hospital"),
    ],
)
def test_what_is_wrong_is_said(neva, store, site, words, code, what):
    said = neva(*({"SITE": site, "STORE": store}.get(word, word) for word in words))
    assert said.code == code
    assert what in said.err


def test_a_hospital_without_feeds_says_so(neva, store):
    assert "no feed" in neva("feed", "status", store).out
