"""A new version makes cold only what rests on what it changed."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.doors import NOW, build, doors
from tests.hospitals import event, new_hospital, take

from neva.access.viewer import Viewer
from neva.events.hospital import Hospital, open_hospital
from neva.events.operational_codes import DISCHARGE_EXPECTED
from neva.jobs.kinds import KINDS
from neva.web.views import now as now_views

HOUR = timedelta(hours=1)


@pytest.fixture
def made(tmp_path):
    with doors(*build(tmp_path), tmp_path / "state.sqlite", clock="data") as opened:
        yield opened


def result(made, folder, name="result", **more):
    hospital = open_hospital(made.settings.hospital)
    last = hospital.manifest().last
    given = {"code": "LOINC//2823-3", "value": 4.0} | more
    rows = [event(subject="a1", stay="sa1", row_id=name, time=last, recorded=last, **given)]
    take(hospital, folder / name, rows, now=NOW + HOUR)


def test_a_result_makes_no_forecast_cold_and_an_entry_only_what_rests_on_it(made, tmp_path):
    results = made.application.state.server.results
    at = {"at": open_hospital(made.settings.hospital).manifest().last.isoformat()}

    def keys():
        return {kind: results.key(kind, at) for kind in KINDS}

    before = keys()
    result(made, tmp_path)
    after = keys()
    same = {kind for kind in KINDS if before[kind] == after[kind]}
    assert same == {"forecast", "evaluation"}
    # What is recorded after the hour of a forecast is unknown to it.
    earlier = {"at": (datetime.fromisoformat(at["at"]) - HOUR).isoformat()}
    early = results.key("forecast", earlier)
    late = results.key("forecast", at)
    hospital = open_hospital(made.settings.hospital)
    last = hospital.manifest().last
    about = {"subject": "a1", "stay": "sa1", "row_id": "d", "status": "planned"}
    rows = [event(code=DISCHARGE_EXPECTED, time=last + 5 * HOUR, recorded=last, **about)]
    take(hospital, tmp_path / "entry", rows, now=NOW + HOUR)
    assert results.key("forecast", earlier) == early
    assert results.key("forecast", at) != late


def test_a_hospital_without_units_has_states_for_places_which_any_event_may_be(tmp_path):
    hospital = new_hospital(tmp_path)
    take(hospital, tmp_path / "first", [event(recorded=NOW - HOUR)])
    with doors(hospital.path, {}, tmp_path / "state.sqlite") as made:
        results, at = made.application.state.server.results, {"at": NOW.isoformat()}
        before = results.key("forecast", at)
        take(hospital, tmp_path / "second", [event(recorded=NOW - HOUR, code="TEST//b")])
        assert results.key("forecast", at) != before


def test_a_board_is_made_again_only_when_beds_have_changed(made, tmp_path, monkeypatch):
    boards = []
    real = now_views.bed_board

    def counted(*given, **more):
        boards.append(given)
        return real(*given, **more)

    monkeypatch.setattr(now_views, "bed_board", counted)
    client = made.signed_in("clinician")
    pages = ("/now", "/wallboard", "/work-list")

    def look():
        return [client.get(page, headers={"accept": "text/html"}).text for page in pages]

    look()
    assert len(boards) == 1
    version = open_hospital(made.settings.hospital).manifest().version
    result(made, tmp_path)
    assert f"@{version + 1}" in look()[0]  # the page says the version that it shows
    assert len(boards) == 1
    hospital = open_hospital(made.settings.hospital)
    about = {"subject": "n", "stay": "sn", "start": hospital.manifest().last, "file": "a", "row": 1,
             "recorded": hospital.manifest().last}  # fmt: skip
    take(hospital, tmp_path / "new", stays=[about | {"kind": "inpatient"}],
         movements=[about | {"unit": "alpha"}], now=NOW + HOUR)  # fmt: skip
    look()
    assert len(boards) == 2


def test_names_are_read_of_those_who_are_shown_and_anew_when_there_are_others(
    made, tmp_path, monkeypatch
):
    server = made.application.state.server
    viewer = Viewer("clinician", "", "clinician", None, "", "")
    read = []
    real = Hospital.identities

    def counted(hospital):
        read.append(hospital)
        return real(hospital)

    monkeypatch.setattr(Hospital, "identities", counted)

    def shown(*names):
        asked = [made.subjects[name] for name in names]
        found = server.people(viewer, asked, why="test")
        return {name: found[made.subjects[name]].record_number for name in names}

    assert shown("a1", "b1") == {"a1": "a1", "b1": "b1"}
    assert len(read) == 1
    result(made, tmp_path)
    read.clear()  # the import has read them too
    assert shown("a1", "b1") == {"a1": "a1", "b1": "b1"}
    assert read == []
    assert shown("a1", "b2") == {"a1": "a1", "b2": "b2"}
    assert len(read) == 1
    hospital = open_hospital(made.settings.hospital)
    last = hospital.manifest().last
    told = {"subject": "n", "recorded": last, "file": "a.csv", "row": 1}
    take(hospital, tmp_path / "new", subjects=[told], now=NOW + HOUR)
    rows = real(hospital).filter(kind="subject", local_id="n").collect()
    made.subjects["n"] = rows["pseudonym"][0]
    assert shown("n", "a1") == {"n": "n", "a1": "a1"}


def test_what_was_made_of_a_version_goes_with_it_and_what_names_its_basis_stays(made, tmp_path):
    server, made_of = made.application.state.server, []
    server.snapshot()

    def look():
        server.snapshot()
        server.kept(("of the version",), lambda: made_of.append("version"))
        server.kept(("of beds",), lambda: made_of.append("beds"), basis="b")
        server.kept(("for ever",), lambda: made_of.append("ever"), basis="")

    look()
    look()
    assert made_of == ["version", "beds", "ever"]
    result(made, tmp_path)
    look()
    assert made_of == ["version", "beds", "ever", "version"]
    server.kept(("of beds",), lambda: made_of.append("beds"), basis="c")
    assert made_of[-1] == "beds"


def test_a_version_that_comes_while_a_page_is_made_is_not_mixed_with_the_one_before(made, tmp_path):
    """A board of the version before was kept under the name of the later one."""
    server = made.application.state.server
    earlier = server.snapshot()
    hospital = open_hospital(made.settings.hospital)
    about = {"subject": "n", "stay": "sn", "start": earlier.now, "recorded": earlier.now,
             "file": "a", "row": 1}  # fmt: skip
    take(hospital, tmp_path / "new", stays=[about | {"kind": "inpatient"}],
         movements=[about | {"unit": "alpha"}], now=NOW + HOUR)  # fmt: skip
    later = server.snapshot(earlier.now)
    assert later.version == earlier.version + 1
    of_the_earlier = server.beds_basis(earlier)
    assert server.beds_basis(later) != of_the_earlier
    assert server.beds_basis(later) == server.beds_basis(hospital.snapshot(as_of=later.now))


def test_those_asked_for_last_are_kept_by_kind(made):
    server = made.application.state.server
    server.snapshot()
    for number in range(4):
        server.kept(("a", number), lambda number=number: number, basis="", most=3)
        server.kept(("b", number), lambda: None, basis="", most=9)
        server.kept(("a", 0), lambda: 0, basis="", most=3)
    held = [key for key in server._kept if key[0] == "a"]
    assert set(held) == {("a", 0), ("a", 2), ("a", 3)}
    assert len([key for key in server._kept if key[0] == "b"]) == 4


def test_who_asks_for_what_another_one_makes_waits_for_it(made):
    server, count = made.application.state.server, []

    def make():
        count.append(1)
        time.sleep(0.2)

    threads = [
        threading.Thread(target=server.kept, args=(("slow",), make), kwargs={"basis": "x"})
        for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert count == [1]


def test_what_a_feed_told_within_the_minute_is_seen_at_once(tmp_path):
    """*Now* stood at the minute: an admission was not seen for up to sixty seconds."""
    with doors(*build(tmp_path), tmp_path / "state.sqlite") as made:
        server, client = made.application.state.server, made.signed_in("viewer")
        made.later(seconds=40)
        clock = made.clock[0]
        assert server.now() == NOW

        def present():
            return client.get("/now.json").json()["data"]["stats"]["present"]

        before = present()
        told = clock - timedelta(seconds=5)
        about = {"subject": "n", "stay": "sn", "start": told, "recorded": told, "file": "a"}
        about["row"] = 1
        hospital = open_hospital(made.settings.hospital)
        take(hospital, tmp_path / "new", stays=[about | {"kind": "inpatient"}],
             movements=[about | {"unit": "alpha"}], now=clock)  # fmt: skip
        assert server.now() == clock
        assert present() == before + 1
        # A version that claims to be of later does not move the clock.
        take(hospital, tmp_path / "later", [event(recorded=NOW)], now=clock + HOUR)
        assert server.now() == NOW
        made.later(seconds=20)
        assert server.now() == NOW + timedelta(minutes=1)


def test_a_hospital_made_anew_in_the_same_folder_has_its_own_files(tmp_path):
    first = new_hospital(tmp_path)
    take(first, tmp_path / "one", [event()], now=datetime(2026, 1, 1, tzinfo=UTC))
    before = first.snapshot().files("events")
    first.path.rename(tmp_path / "gone")
    second = new_hospital(tmp_path)
    take(second, tmp_path / "two", [event(code="TEST//b")], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert second.manifest().tables == first.manifest().tables
    assert second.snapshot().files("events") != before
    assert second.snapshot().events().collect()["code"].to_list() == ["TEST//b"]
