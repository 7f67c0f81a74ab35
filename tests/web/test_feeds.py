"""Each page says how old its data are, by feed; nothing is green over one that is silent."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.doors import NOW, build, doors

from neva.state.notifications import Notification
from neva.web.feeds import read_feeds

MINUTE = timedelta(minutes=1)


def write(hospital, name, last, *, within=300, backlog=0, **more):
    folder = hospital / "feeds" / name
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "name": name,
        "last_arrived": None if last is None else last.isoformat(),
        "expected_within_seconds": within,
        "backlog": backlog,
    }
    (folder / "status.json").write_text(json.dumps(told | more))


def test_a_feed_is_silent_that_should_have_been_heard_of(tmp_path):
    write(tmp_path, "adt", NOW - 4 * MINUTE, backlog=7)
    write(tmp_path, "lab", NOW - 6 * MINUTE)
    write(tmp_path, "never", None)
    write(tmp_path, "ahead", NOW + MINUTE)
    adt, ahead, lab, never = read_feeds(tmp_path, NOW)
    assert (adt.name, adt.last, adt.is_silent, adt.backlog) == ("adt", NOW - 4 * MINUTE, False, 7)
    assert (lab.is_silent, lab.age_hours) == (True, 0.1)
    assert (never.is_silent, never.age_hours) == (True, None)
    assert (ahead.is_silent, ahead.age) == (False, timedelta(0))


WELL = {
    "name": "adt",
    "last_arrived": NOW.isoformat(),
    "expected_within_seconds": 9,
    "backlog": 0,
}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "null", "\x00",
        *(json.dumps({key: one for key, one in WELL.items() if key != left}) for left in WELL),
        json.dumps(WELL | {"last_arrived": "2026-01-01T08:00"}),
        json.dumps(WELL | {"last_arrived": 5}),
        json.dumps(WELL | {"expected_within_seconds": "NaN"}),
        json.dumps(WELL | {"expected_within_seconds": 1e300}),
        json.dumps(WELL | {"backlog": None}),
    ],
)  # fmt: skip
def test_a_feed_of_which_nothing_can_be_read_counts_as_silent(tmp_path, text):
    write(tmp_path, "adt", NOW)
    (tmp_path / "feeds" / "adt" / "status.json").write_text(text)
    (found,) = read_feeds(tmp_path, NOW)
    assert (found.name, found.is_silent) == ("adt", True)


def test_without_feeds_the_newest_movement_speaks_for_all(tmp_path):
    with doors(*build(tmp_path), tmp_path / "state.sqlite") as made:
        server = made.application.state.server
        assert read_feeds(made.settings.hospital, NOW) == []
        (only,) = server.feeds()
        assert (only.name, only.last, only.is_silent) == ("", server.newest(), True)
        assert only.last < NOW


def test_pages_name_the_feed_that_is_silent_and_nothing_is_green(tmp_path):
    with doors(*build(tmp_path), tmp_path / "state.sqlite") as made:
        server, client = made.application.state.server, made.signed_in("clinician")
        client.headers["accept"] = "text/html"
        pages = ("/now", "/wallboard", "/work-list", "/quality", f"/patient/{made.subjects['a1']}")
        write(made.settings.hospital, "adt", NOW - MINUTE)
        write(made.settings.hospital, "lab", NOW - MINUTE, backlog=12)
        assert not server.feed()["is_stale"]
        for page in pages:
            text = client.get(page).text
            assert "The data are stale" not in text
            assert 'class="stale"' not in text
        text = client.get("/now").text
        assert text.count("last message 1 Jan 2026, 10:59") == 2
        assert "waiting to be processed: 12" in text
        write(made.settings.hospital, "lab", NOW - 20 * MINUTE)
        assert server.feed()["is_stale"]
        for page in pages:
            text = client.get(page).text
            assert text.count("The data are stale.") >= 1
            assert "stale" in text.partition(">")[0] + text.partition("<head>")[0]
            assert "lab" in text.partition('role="alert"')[2].partition("</p>")[0]
            assert 'class="stat good"' not in text
            assert 'class="answer good"' not in text
        metrics = client.get("/metrics").text
        assert 'neva_feed_silent{feed="adt"} 0' in metrics
        assert 'neva_feed_silent{feed="lab"} 1' in metrics


def test_an_open_page_hears_that_a_feed_fell_silent_though_no_data_come(tmp_path):
    with doors(*build(tmp_path), tmp_path / "state.sqlite", clock="data") as made:
        changes = made.application.state.server.changes
        write(made.settings.hospital, "adt", NOW - MINUTE)
        before = changes.look().topics["feeds"]
        changes._at = 0.0
        assert changes.look().topics["feeds"] == before
        made.later(minutes=10)
        changes._at = 0.0
        assert changes.look().topics["feeds"] != before


def test_a_time_of_another_zone_is_the_same_moment(tmp_path):
    write(tmp_path, "adt", None, last_arrived="2026-01-01T10:58:00+03:00")
    (found,) = read_feeds(tmp_path, NOW)
    assert found.last == datetime(2026, 1, 1, 7, 58, tzinfo=UTC)
    assert not found.is_silent


def metric_lines(client):
    return client.get("/metrics").text.splitlines()


def test_a_monitor_sees_which_notifications_wait_and_which_failed(tmp_path):
    one = Notification(
        id="n-1", channel="pager", rule="r", version="1", title="A rule", subject="1", stay="2",
        unit=None, indicator="critical", owner="ward", tier=0, since=NOW, deadline=None,
    )  # fmt: skip
    with doors(*build(tmp_path), tmp_path / "state.sqlite") as made:
        outbox, client = made.application.state.server.state.notifications, made.signed_in("viewer")
        outbox.note([], channels=["pager"], at=NOW)
        assert not any(line.startswith("neva_notifications") for line in metric_lines(client))
        outbox.note([one], channels=["pager"], at=NOW)
        assert 'neva_notifications{channel="pager",state="waiting"} 1' in metric_lines(client)
        outbox.give_up(one, at=NOW, problem="the receiver answered 404")
        assert 'neva_notifications{channel="pager",state="failed"} 1' in metric_lines(client)
