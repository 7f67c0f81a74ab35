"""Feeds made by hand: messages taken into an inbox and applied, for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from neva.events.hospital import Hospital, create_hospital
from neva.feeds.applier import Applied, Applier
from neva.feeds.inbox import Inbox
from neva.feeds.status import feed_folder
from neva.sources.hl7v2.files import cut_file
from neva.sources.hl7v2.profile import Profile
from tests.shared_data import shared

ARRIVED = datetime(2026, 2, 1, tzinfo=UTC)
PROFILE = Profile(name="his", assigner="gkb", recorded="sent", subject={"type": "MR"})


def scenario(name: str) -> list[bytes]:
    """The messages of a story of the shared data."""
    return cut_file(shared("data", "hl7v2-messages", "scenarios", name).read_bytes()).messages


def taken(hospital: Hospital, messages: Sequence[bytes], profile: Profile = PROFILE) -> None:
    inbox = Inbox(feed_folder(hospital.path, profile.name))
    try:
        if messages:
            inbox.take([(ARRIVED, "test", one) for one in messages])
    finally:
        inbox.close()


def applied(
    hospital: Hospital,
    messages: Sequence[bytes] = (),
    *,
    profile: Profile = PROFILE,
    most: int = 1000,
) -> list[Applied]:
    """Take messages and apply them in batches of a size."""
    taken(hospital, messages, profile)
    applier = Applier(hospital, profile, now=lambda: ARRIVED)
    found = []
    while (one := applier.apply_next(most=most)).messages:
        found.append(one)
    return found


def fed(
    folder: Path, messages: Sequence[bytes], *, profile: Profile = PROFILE, most: int = 1000
) -> Hospital:
    """A new hospital that got messages."""
    hospital = create_hospital(folder, zone="Europe/Moscow", now=datetime(2025, 12, 1, tzinfo=UTC))
    applied(hospital, messages, profile=profile, most=most)
    return hospital


def local_ids(hospital: Hospital) -> dict[int, str]:
    """Record numbers by pseudonym."""
    pairs = hospital.identities().filter(pl.col("kind") == "subject")
    return dict(pairs.select("pseudonym", "local_id").collect().iter_rows())


def seen(hospital: Hospital, at: datetime | None = None) -> dict[str, list[tuple[object, ...]]]:
    """What a reader sees at a time: content under record numbers, no ids, no batches."""
    snapshot, names = hospital.snapshot(as_of=at), local_ids(hospital)
    columns = {
        "subjects": ("birth_date", "sex", "death"),
        "stays": ("start", "end", "kind", "source", "outcome"),
        "movements": ("start", "end", "unit", "bed"),
        "events": ("code", "time", "end_time", "value", "comparator", "value_unit", "text",
                   "status"),
    }  # fmt: skip
    found = {}
    for table, wanted in columns.items():
        rows = getattr(snapshot, table)().select("subject_id", *wanted).collect()
        found[table] = sorted(
            ((names[subject], *rest) for subject, *rest in rows.iter_rows()),
            key=lambda row: [str(value) for value in row],
        )
    return found
