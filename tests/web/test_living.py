"""The living hospital of the demonstration: its past is there, and its messages come in."""

import time
from datetime import timedelta

import pytest
from tests.hospitals import NOW

from neva.events.hospital import open_hospital
from neva.feeds.running import FeedProcess
from neva.feeds.status import feed_status
from neva.synthesis import Plan
from neva.synthesis.live import Address, Pace, Sender
from neva.synthesis.messages import Disorder, Traffic
from neva.web import living


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(living, "_PLAN", Plan(stays=40, seed=7, operations=True))
    return living._PLAN


def test_its_past_is_there_and_no_more_and_it_goes_on_where_it_was(small, tmp_path):
    made = living.make_living(tmp_path / "living", now=NOW)
    hospital = open_hospital(made.hospital)
    last = hospital.manifest().last
    assert made.begin == small.cut - timedelta(days=2)
    assert last < made.begin + timedelta(minutes=1)
    assert hospital.snapshot().stays().collect().height > 10
    status = feed_status(hospital, "synthetic", NOW)
    assert (status.backlog, status.reasons, status.doubts) == (0, {}, [])
    again = living.make_living(tmp_path / "living", now=NOW)
    assert open_hospital(again.hospital).manifest().version == hospital.manifest().version


def test_its_messages_come_in_and_move_its_clock(small, tmp_path):
    made = living.make_living(tmp_path / "living", now=NOW)
    before = open_hospital(made.hospital).manifest()
    words = ["hl7v2", str(made.hospital), "--profile", str(made.profile)]
    feed = FeedProcess([*words, "--listen", made.address])
    end = made.begin + timedelta(hours=8)
    pace = Pace(speed=3600.0, begin=made.begin, until=end, earlier="skip")
    try:
        report = Sender(Traffic.of(small, Disorder()), Address.read(made.address), pace=pace).run()
        assert report.messages > 20
        assert set(report.answers) == {"AA"}
        until = time.monotonic() + 60
        while time.monotonic() < until:
            manifest = open_hospital(made.hospital).manifest()
            if manifest.last > before.last + timedelta(hours=6):
                break
            time.sleep(0.3)
    finally:
        feed.stop()
    assert manifest.last > before.last + timedelta(hours=6)
    assert manifest.version > before.version
