"""Backups are killed at random moments, and taken under traffic: nothing half, nothing lost."""

import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.backups import apply_all, backed_up, in_use, inbox_of, restored, seen
from tests.crash.test_killed_feeds import PROFILE, Sender, kill_something, message, start
from tests.feeds import fed, taken
from tests.sites import free_port

from neva.backups import create_backup, open_target, verify_backups
from neva.errors import ConflictError
from neva.events.holds import held_versions
from neva.events.hospital import create_hospital, open_hospital
from neva.feeds.applier import Applier
from neva.sources.hl7v2.profile import read_profile

SEED = 20260201


class Worker:
    """A process that takes or restores backups until it is killed."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("backup_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def killed_while(self, act, hospital, target, seconds):
        """Let it work for a time, and kill it."""
        self.process.stdin.write(f"{act}\t{hospital}\t{target}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "went\n"
        time.sleep(seconds)
        assert self.process.poll() is None
        self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def left_over(target):
    """Contents that no backup names, and drafts."""
    with open_target(target) as place:
        named = {sha256 for one in place.backups()[0] for sha256 in one.objects}
    return {path.name for path in (target / "objects").rglob("*") if path.is_file()} - named


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.nightly)])
def test_killed_backups_leave_whole_ones(tmp_path, kills):
    chance = random.Random(SEED)
    hospital, target = in_use(tmp_path / "site"), tmp_path / "backups"
    number, interrupted = 27, 0
    backed_up(hospital, target)
    for _ in range(kills):
        worker = Worker()
        taken(hospital, [message(number)])
        number += 1
        if chance.random() < 0.5:
            apply_all(hospital)
        worker.killed_while("create", hospital.path, target, chance.uniform(0.0, 0.6))
        with open_target(target) as place:
            there, problems = place.backups()
        assert problems == []
        # Whatever is listed is whole; what was cut off is in no list.
        assert len(verify_backups(target, every=True)) == len(there) > 0
        interrupted += bool(left_over(target))
        done = create_backup(hospital.path, target, now=datetime.now(UTC), keep=3)
        assert done.backup.taken == {"his": number}
        assert left_over(target) == set()
        assert held_versions(hospital.path) == set()
    assert interrupted > 0
    last = restored(target, tmp_path / "restored")
    assert inbox_of(last) == [message(one) for one in range(number)]
    assert seen(last) == seen(hospital)


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=pytest.mark.nightly)])
def test_killed_restores_leave_no_half_hospital(tmp_path, kills):
    chance = random.Random(SEED)
    hospital, target = in_use(tmp_path / "site"), tmp_path / "backups"
    backed_up(hospital, target)
    shown = seen(hospital)
    for number in range(kills):
        worker = Worker()
        folder = tmp_path / "restored"
        worker.killed_while("restore", folder / "h", target, chance.uniform(0.0, 0.5))
        made = list(folder.glob("h-*")) if folder.exists() else []
        for path in made:
            assert seen(open_hospital(path)) == shown, number
        again = restored(target, folder / f"h-{len(made)}")
        assert seen(again) == shown
        assert {path.name for path in folder.iterdir()} == {f"h-{n}" for n in range(len(made) + 1)}
        shutil.rmtree(folder)


def keep_vacuuming(hospital, stop, dropped):
    """Drop whatever no reader holds, again and again."""
    wait = 0.3
    while not stop.wait(wait):
        before = hospital.versions()
        try:
            later = datetime.now(UTC) + timedelta(days=1)
            hospital.vacuum(keep=1, now=later, grace=timedelta(0))
        except ConflictError:  # the feed writes
            wait = 0.01
            continue
        dropped += {*before} - {*hospital.versions()}
        wait = 0.3


def has_grown(senders, dropped, acknowledged, versions):
    """Whether more was acknowledged, and a version dropped, since then."""
    return sum(one.acknowledged for one in senders) > acknowledged + 5 and len(dropped) > versions


def wait_until(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("backups", "kills"), [(4, 0), pytest.param(40, 10, marks=pytest.mark.nightly)]
)
def test_each_acknowledged_message_is_in_a_backup_once(tmp_path, backups, kills):
    """Senders, a listener, an applier and a vacuum go on while backups are taken."""
    rng = random.Random(SEED + backups)
    lanes, count = 4, 2000 * backups
    messages = [message(number) for number in range(count)]
    made = create_hospital(
        tmp_path / "hospital", zone="Europe/Moscow", now=datetime(2025, 12, 1, tzinfo=UTC)
    )
    (tmp_path / "site.yaml").write_text(PROFILE)
    profile = read_profile(tmp_path / "site.yaml")
    port, target, stop = free_port(), tmp_path / "backups", threading.Event()
    dropped = []
    by_lane = [
        [one for number, one in enumerate(messages) if number // 10 % lanes == lane]
        for lane in range(lanes)
    ]
    senders = [Sender(port, own) for own in by_lane]
    process = start(tmp_path, port)
    vacuum = threading.Thread(target=keep_vacuuming, args=(open_hospital(made.path), stop, dropped))
    acknowledged = {}
    kill_at = {*rng.sample(range(backups), kills)}
    try:
        for one in senders:
            one.start()
        wait_until(lambda: open_hospital(made.path).manifest().position(profile.name) > 0)
        vacuum.start()
        for number in range(backups):
            before = [one.acknowledged for one in senders]
            done = create_backup(made.path, target, now=datetime.now(UTC))
            acknowledged[done.backup.id] = before
            assert done.is_verified
            if number in kill_at and kill_something(process, rng):
                process = start(tmp_path, port)
            wait_until(partial(has_grown, senders, dropped, sum(before), len(dropped)))
    finally:
        stop.set()
        if vacuum.ident is not None:
            vacuum.join()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        for one in senders:  # nobody listens any more
            one.messages = []
            one.join()
    # There was traffic: each backup has more than the one before.
    totals = [sum(before) for before in acknowledged.values()]
    assert totals == sorted({*totals})
    assert totals[-1] > 0
    assert len(dropped) >= backups
    places = []
    for name, before in acknowledged.items():
        again = restored(target, tmp_path / "restored", name)
        waiting = inbox_of(again)
        applied = again.manifest().position(profile.name)
        assert applied <= len(waiting)
        places.append(applied)
        applier = Applier(again, profile, now=lambda: datetime.now(UTC))
        while applier.apply_next().messages:
            pass
        rows = again.snapshot().stored("messages").collect()
        assert sorted(rows["position"]) == list(range(1, len(waiting) + 1))
        # What was acknowledged before the backup began is there, and applied once.
        wanted = {one for own, lane in zip(before, by_lane, strict=True) for one in lane[:own]}
        assert wanted <= {*waiting}
        once = rows.filter(rows["outcome"] == "applied")
        assert once.height == once["control"].n_unique() == len({*waiting})
        assert {*rows["outcome"]} <= {"applied", "duplicate"}
        undisturbed = fed(tmp_path / "undisturbed", waiting, profile=profile)
        assert seen(again) == seen(undisturbed)
        shutil.rmtree(tmp_path / "restored")
        shutil.rmtree(tmp_path / "undisturbed")
    assert places == sorted(places)
    assert len({*places}) > 1
