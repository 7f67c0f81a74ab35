"""A clock that is set back, and a hospital that may only be read: nothing lost, and it is told."""

import itertools
import shutil
import subprocess
from collections import Counter
from datetime import timedelta

import pytest
from tests.feeds import ARRIVED, PROFILE, fed, local_ids, scenario, seen

from neva.events.hospital import create_hospital
from neva.feeds.applier import Applier
from neva.feeds.inbox import Inbox
from neva.feeds.status import feed_folder

#: Set back by an hour, by a day, ahead, and back.
JUMPS = (0, -60, 5, -1440, 30, 10_000, -10_000)


def test_a_clock_that_is_set_back_loses_nothing_and_doubles_nothing(tmp_path):
    messages = scenario("adt_oru.mllp")
    jumps = itertools.cycle(JUMPS)
    clock = [ARRIVED]
    hospital = create_hospital(tmp_path / "h", zone="Europe/Moscow", now=ARRIVED)
    outcomes = Counter()
    for begin in range(0, len(messages), 5):
        clock[0] += timedelta(minutes=next(jumps))
        inbox = Inbox(feed_folder(hospital.path, PROFILE.name))
        inbox.take([(clock[0], "test", one) for one in messages[begin : begin + 5]])
        inbox.close()
        clock[0] += timedelta(minutes=next(jumps))
        # A process begins anew under the wrong clock.
        applier = Applier(hospital, PROFILE, now=lambda: clock[0])
        while (applied := applier.apply_next(most=3)).messages:
            outcomes.update(applied.outcomes)
    undisturbed = fed(tmp_path / "other", messages)
    assert sum(outcomes.values()) == len(messages)
    assert seen(hospital) == seen(undisturbed)
    assert set(local_ids(hospital).values()) == set(local_ids(undisturbed).values())


@pytest.fixture
def read_only(tmp_path):
    """A hospital on a file system that refuses to be written, also by root; else by its rights."""
    folder = tmp_path / "h"
    fed(folder, scenario("adt_oru.mllp")[:10])
    bind = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder]]
    mounted = shutil.which("mount") is not None and all(
        subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in bind
    )
    if not mounted:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    if mounted:
        subprocess.run(["umount", folder], check=True)


def test_a_feed_on_a_hospital_that_may_only_be_read_says_so_and_status_still_answers(
    read_only, tmp_path, neva
):
    try:
        (read_only / "probe").touch()
    except OSError:
        pass
    else:
        (read_only / "probe").unlink()
        # Root, where mounting is not permitted, may write whatever the rights say.
        status = neva("feed", "status", str(read_only))
        assert status.code == 0
        return
    profile = tmp_path / "site.yaml"
    profile.write_text("name: his\nassigner: gkb\nrecorded: sent\n")
    for words in (("hl7v2", "--listen", "127.0.0.1:0"), ("apply", "--until-done")):
        refused = neva("feed", words[0], str(read_only), "--profile", str(profile), *words[1:])
        assert refused.code == 5
        assert "check the rights" in refused.err
    status = neva("feed", "status", str(read_only))
    assert status.code == 0
    assert "10 applied" in status.out
