"""The feed desk: what is silent is never well, what is unknown is proposed, no patient is said."""

import json
from datetime import timedelta

import pytest
from tests.command_line import CANARY
from tests.doors import build, doors
from tests.feeds import ARRIVED, PROFILE, applied, scenario
from tests.web.test_uploads import rows_of

from neva.events.hospital import open_hospital
from neva.feeds.status import feed_folder

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
