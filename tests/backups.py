"""Hospitals in many parts, and what is compared of a restored one, for tests."""

from datetime import UTC, datetime
from pathlib import Path

from neva.backups import create_backup, restore_backup
from neva.events.hospital import Hospital, open_hospital
from neva.feeds.applier import Applier
from neva.feeds.inbox import Reader
from neva.feeds.status import feed_folder
from neva.state import open_state
from tests.crash.test_killed_feeds import message
from tests.feeds import PROFILE, applied, seen, taken
from tests.hospitals import NOW, new_hospital

MADE = datetime(2026, 2, 1, tzinfo=UTC)


def in_use(folder: Path, *, stored: int = 20, waiting: int = 7) -> Hospital:
    """A hospital with a feed, messages that wait, names, a state and settings of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    hospital = new_hospital(folder)
    applied(hospital, [message(number) for number in range(stored)])
    taken(hospital, [message(number) for number in range(stored, stored + waiting)])
    with open_state(hospital.path / "state.sqlite") as state:
        state.accounts.put("dr.adams", role="clinician", actor="root", at=NOW)
    (hospital.path / "units.yaml").write_text("mmol/l: mmol/L\n")
    (hospital.path / "cache" / "computed").write_text("again")
    return hospital


def backed_up(hospital: Hospital, target: Path, **named):
    return create_backup(hospital.path, target, now=MADE, **named)


def restored(target: Path, folder: Path, backup: str | None = None) -> Hospital:
    restore_backup(target, folder, backup=backup, actor="root", now=MADE)
    return open_hospital(folder)


def apply_all(hospital: Hospital) -> None:
    """Apply what waits in the inbox."""
    applier = Applier(hospital, PROFILE, now=lambda: MADE)
    while applier.apply_next().messages:
        pass


def inbox_of(hospital: Hospital, feed: str = PROFILE.name) -> list[bytes]:
    """All messages of an inbox, in order."""
    reader = Reader(feed_folder(hospital.path, feed), 0)
    return [one.content for one in reader.read(10**6)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")
    }


__all__ = ["apply_all", "backed_up", "contents", "in_use", "inbox_of", "modes", "restored", "seen"]
