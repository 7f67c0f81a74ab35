"""After each commit of a feed the work list is that which looking at everybody gives."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from tests.webhook_receiver import Receiver

from neva.decisions.cards import hash_of
from neva.definitions.programme import load_programme
from neva.events.hospital import create_hospital
from neva.feeds.applier import Applier
from neva.feeds.inbox import Inbox
from neva.feeds.status import feed_folder
from neva.jobs.notifying import Notifying
from neva.jobs.results import Results
from neva.jobs.rounds import ALL_EVERY, Rounds
from neva.jobs.work import loaded_programmes, worked
from neva.sources.hl7v2.profile import read_profile
from neva.state import open_state
from neva.state.settings import WebSettings
from neva.synthesis import Plan, prepare
from neva.synthesis.messages import Disorder, Traffic

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(stays=120, seed=5, operations=True)
PROGRAMMES = ("acute-care", "covid19", "sepsis")


class Live:
    """A hospital, its clock, and a feed that brings what was sent by then."""

    def __init__(self, folder, disorder=None):
        self.clock = PLAN.cut - timedelta(hours=6)
        self.hospital = create_hospital(folder / "h", zone=PLAN.zone, now=CREATED)
        prepare(self.hospital, PLAN, now=CREATED)
        self.profile = read_profile(files("neva.synthesis") / "synthetic-profile.yaml")
        self.state = open_state(folder / "state.sqlite")
        self.settings = WebSettings(
            self.hospital.path, folder / "state.sqlite", PROGRAMMES, now=lambda: self.clock
        )
        self.results = Results(self.settings, self.state, self.hospital)
        self.traffic = iter(Traffic.of(PLAN, disorder))
        self.next = next(self.traffic)
        self.applier = Applier(self.hospital, self.profile, now=lambda: self.clock)
        for name in PROGRAMMES:
            for rule in load_programme(name).rules:
                for to in ("draft", "silent", "live"):
                    self.state.rules.change(
                        rule.id, rule.version, hash_of(rule), to,
                        actor="quality board", reason="test", at=CREATED,
                    )  # fmt: skip

    def goes_on(self, minutes, most=5000):
        """Let time pass; what was sent is applied, and it is gone on after each commit."""
        self.clock += timedelta(minutes=minutes)
        inbox = Inbox(feed_folder(self.hospital.path, self.profile.name))
        came = []
        while self.next is not None and self.next.at <= self.clock:
            came.append((self.next.at, "", self.next.content))
            self.next = next(self.traffic, None)
        if came:
            inbox.take(came)
        inbox.close()
        while applied := self.applier.apply_next(most=most).messages:
            yield applied

    def rounds(self, **more):
        return Rounds(self.hospital, self.state, self.settings, self.results, **more)


REAL = Disorder(duplicates=0.5, delayed=1.0, wrong_first=0.1, cancelled=0.05)


@pytest.fixture
def live(tmp_path):
    made = Live(tmp_path, REAL)
    with made.state:
        yield made


TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")


def without_since(content):
    """What a list says; since when a task holds goes on from list to list, see below.

    In details a value that is worked out has the time at which that was done.
    """
    clock_moves = ("since", "deadline", "is_overdue", "tier", "owner")
    return {
        "tasks": Counter(
            repr(
                {
                    name: TIME.sub("", one) if name == "detail" else one
                    for name, one in row.items()
                    if name not in clock_moves
                }
            )
            for row in content["tasks"]
        ),
        "clocks": Counter(map(repr, content["clocks"])),
        "unobserved": Counter(map(repr, content["unobserved"])),
        "looked_at": content["looked_at"],
        "rules": content["rules"],
    }


def test_after_each_commit_the_list_is_that_of_everybody(live):
    list(live.goes_on(0))
    rounds = live.rounds()
    assert rounds.make_if_due()
    loaded, partly, listed = loaded_programmes(PROGRAMMES), 0, 0
    for commit, _ in enumerate(live.goes_on(90, most=4)):
        assert rounds.make_if_due()
        snapshot = live.hospital.snapshot(as_of=live.clock)
        expected = worked(snapshot, live.state, loaded).content
        found = live.results.latest("work-list", {}).content
        assert without_since(found) == without_since(expected)
        partly += rounds.looked_at is not None
        listed += len(expected["tasks"])
        if commit == 7:
            break
    assert partly >= 5
    assert listed > 20


def test_what_time_makes_true_is_seen_within_two_minutes(live):
    list(live.goes_on(0))
    rounds = live.rounds()
    rounds.make_if_due()
    assert not rounds.make_if_due()
    live.clock += ALL_EVERY
    assert rounds.make_if_due()
    assert rounds.looked_at is None
    first = {(one["rule"], one["stay_id"], one["begun_after"]): one["since"]
             for one in tasks_of(live)}  # fmt: skip
    live.clock += ALL_EVERY
    assert rounds.make_if_due()
    again = tasks_of(live)
    both = [one for one in again if (one["rule"], one["stay_id"], one["begun_after"]) in first]
    assert both
    assert all(
        one["since"] <= first[one["rule"], one["stay_id"], one["begun_after"]] for one in both
    )


def test_what_somebody_did_with_a_task_is_seen_without_a_new_commit(live):
    list(live.goes_on(0))
    rounds = live.rounds()
    rounds.make_if_due()
    task = tasks_of(live)[0]
    live.state.work.clear(
        task["rule"], task["stay_id"], datetime.fromisoformat(task["begun_after"]),
        actor="nurse", reason="done", at=live.clock,
    )  # fmt: skip
    assert rounds.make_if_due()
    assert rounds.looked_at == 0
    left = tasks_of(live)
    assert task not in left


@pytest.mark.nightly
def test_one_worker_of_several_makes_the_rounds(live):
    list(live.goes_on(0))
    first, second = live.rounds(), live.rounds()
    assert first.make_if_due()
    assert not second.make_if_due()
    first.close()
    assert second.make_if_due()


@pytest.mark.nightly
def test_lists_do_not_pile_up(live):
    rounds = live.rounds()
    for _ in range(7):
        live.clock += ALL_EVERY
        rounds.make_if_due()
    assert len(list(live.results.folder.glob("*.json"))) <= 5


def test_a_new_task_is_told_by_a_webhook_after_its_commit(live, tmp_path):
    (tmp_path / "secret").write_bytes(b"a secret that nobody guesses")
    receiver = Receiver()
    with receiver.running() as address:
        (tmp_path / "notifications.yaml").write_text(
            f"channels: [{{name: pager, webhook: '{address}', "
            f"secret_file: '{tmp_path / 'secret'}', indicators: [critical, warning, info]}}]"
        )
        list(live.goes_on(0))
        telling = Notifying(tmp_path / "notifications.yaml", live.state, live.settings, PLAN.zone)
        rounds = live.rounds(report=telling.sender.note)
        rounds.make_if_due()
        before = {(one["rule"], one["stay_id"]) for one in tasks_of(live)}
        assert telling.sender.send_due() == 0, "tasks from before the channel are not told"
        for _ in live.goes_on(300):
            rounds.make_if_due()
        new = [one for one in tasks_of(live) if (one["rule"], one["stay_id"]) not in before]
        assert new
        telling.sender.send_due()
    sent = {(one["rule"], one["stay"]) for one in
            (json.loads(body)["data"] for _, body in receiver.got)}  # fmt: skip
    assert {(one["rule"], one["stay_id"]) for one in new} <= sent
    everything = "".join(body.decode() for _, body in receiver.got)
    assert not any(one["summary"] in everything for one in new if any(
        letter.isdigit() for letter in one["summary"]))  # fmt: skip


def tasks_of(live):
    return live.results.latest("work-list", {}).content["tasks"]
