"""How a feed is: what it took and applied, how old its last message is, whether it is silent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from neva.events.hospital import Hospital
from neva.events.snapshot import Snapshot
from neva.feeds.accepted import ABOUT, Accepted, read_accepted
from neva.feeds.dead_letters import dead_letters
from neva.files.whole import write_whole
from neva.intake.live import open_doubts

__all__ = [
    "DOORS",
    "FeedStatus",
    "arrivals_of",
    "expected_within",
    "feed_folder",
    "feed_names",
    "feed_status",
    "is_silent",
    "last_of_door",
    "read_status",
    "write_status",
]

#: Kinds of feeds that are asked for what is new, and what their deliveries are made of.
DOORS: Final = {"folder": "files", "sql": "rows of a database", "fhir": "resources of a server"}

#: What is said of silence before two weeks of messages are there.
_UNKNOWN: Final = timedelta(hours=1)
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=1)
_WEEKS: Final = 8
_AHEAD: Final = timedelta(minutes=5)
#: Silence that comes once in so many times by chance is an alarm.
_ONCE_IN: Final = 1000.0


def feed_folder(hospital: Path, feed: str) -> Path:
    """Return where a feed keeps its inbox and its status."""
    return hospital / "feeds" / feed


def feed_names(hospital: Path) -> list[str]:
    """Return the feeds of a hospital."""
    return sorted(path.name for path in (hospital / "feeds").glob("*") if path.is_dir())


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How a feed is.

    Attributes
    ----------
    name : str
    taken, applied : int
        Positions of the last message on disk and in the store.
    backlog : int
        Messages that are on disk and not in the store.
    last_arrived : datetime or None
        Of the last message that was applied.
    expected_within : timedelta
        How long this hour of the week is usually silent at most.
    is_silent : bool
        Nothing was applied for longer than that.
    listening : datetime or None
        When the listener last wrote that it lives.
    last_hour : int
        Messages that arrived within the last hour.
    delay : float or None
        Median seconds from arrival to the commit, of the messages of the last hour.
    outcomes, reasons : dict of str to int
        Messages by what became of them; dead letters by reason.
    doubts : list of tuple
        Type, reason, what it is about, how often: the most frequent first.
    last_of : list of tuple
        Sender, type, when the last one arrived, how many.
    figures : dict
        Of the listener since it began.
    kind : str
        ``hl7v2``, or a key of :data:`DOORS`: then deliveries are counted instead of messages,
        and rows by what became of them.
    problem : str or None
        Why the last look came to nothing.
    accepted : list of Accepted
        Meanings that users of the feed desk accepted.
    """

    name: str
    taken: int
    applied: int
    backlog: int
    last_arrived: datetime | None
    expected_within: timedelta
    is_silent: bool
    listening: datetime | None
    last_hour: int = 0
    delay: float | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    doubts: list[tuple[str, str, str, int]] = field(default_factory=list)
    last_of: list[tuple[str, str, datetime, int]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    kind: str = "hl7v2"
    problem: str | None = None
    accepted: list[Accepted] = field(default_factory=list)

    def to_frame(self) -> pl.DataFrame:
        """Return ``sender``, ``type``, ``last`` (UTC) and ``messages``."""
        return pl.DataFrame(
            self.last_of,
            schema={
                "sender": pl.String,
                "type": pl.String,
                "last": pl.Datetime("us", "UTC"),
                "messages": pl.Int64,
            },
            orient="row",
        )


def expected_within(arrivals: pl.Series, now: datetime, zone: str) -> timedelta:
    """Say how long a feed may be silent at this hour of the week.

    Parameters
    ----------
    arrivals : polars.Series
        When its messages arrived (UTC).
    now : datetime
        Aware.
    zone : str
        Whose hours and weekdays count.

    Returns
    -------
    timedelta
        Such that a longer silence comes once in a thousand times by chance, if messages
        come independently at the rate of this hour of the week in the last eight weeks
        (Poisson): between a minute and a day. An hour where there are less than two weeks.
    """
    since = now - timedelta(weeks=_WEEKS)
    recent = arrivals.filter((arrivals > since) & (arrivals <= now))
    first = recent.min()
    if not isinstance(first, datetime) or now - first < timedelta(weeks=2):
        return _UNKNOWN
    place = ZoneInfo(zone)
    local = now.astimezone(place)
    shown = recent.dt.convert_time_zone(zone)
    same = (shown.dt.hour() == local.hour) & (shown.dt.weekday() == local.isoweekday())
    weeks = (now - first) / timedelta(weeks=1)
    rate = int(same.sum()) / weeks  # an hour
    if rate <= 0:
        return _LONGEST
    return min(max(timedelta(hours=math.log(_ONCE_IN) / rate), _SHORTEST), _LONGEST)


def is_silent(last: datetime | None, now: datetime, within: timedelta) -> bool:
    """Whether a feed that was last heard of at a time should have been heard of since.

    A message of the future says that a clock was put back, and nothing of today.
    """
    return last is None or not -_AHEAD <= now - last <= within


def read_status(folder: Path, name: str) -> dict[str, Any]:
    """Read what :func:`write_status` wrote; empty where it wrote nothing."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_status(folder: Path, name: str, status: Mapping[str, Any]) -> None:
    """Write how a part of a feed is, for pages and monitors; whole or not at all."""
    written = {**status, "written": datetime.now(UTC).isoformat()}
    write_whole(folder / name, json.dumps(written), private=True)


def feed_status(hospital: Hospital, feed: str, now: datetime) -> FeedStatus:
    """Say how a feed is.

    Parameters
    ----------
    hospital : Hospital
    feed : str
        Its name.
    now : datetime
        Aware: the time of day.
    """
    snapshot = hospital.snapshot()
    folder = feed_folder(hospital.path, feed)
    door = {**_kind_of(hospital, feed), **read_status(folder, "status.json")}
    if door.get("kind") in DOORS:
        return _door_status(hospital, feed, door, now)
    applied = hospital.manifest().position(feed)
    listener = read_status(folder, "listener.json")
    taken = max(int(listener.get("position", 0)), applied)
    messages = snapshot.stored("messages").filter(pl.col("feed") == feed)
    arrived = messages.select("arrived").collect()["arrived"]
    last = arrived.max()
    last_arrived = last if isinstance(last, datetime) else None
    within = expected_within(arrived, now, hospital.settings.zone)
    outcomes, last_of = _counted(messages)
    letters = dead_letters(snapshot, feed)
    reasons = dict(letters.group_by("reason").len().sort("len", descending=True).iter_rows())
    written = listener.get("written")
    accepted = read_accepted(folder)
    return FeedStatus(
        name=feed,
        taken=taken,
        applied=applied,
        backlog=taken - applied,
        last_arrived=last_arrived,
        expected_within=within,
        is_silent=is_silent(last_arrived, now, within),
        listening=datetime.fromisoformat(written) if written else None,
        last_hour=int((arrived > now - timedelta(hours=1)).sum()),
        delay=_delay(snapshot, messages, now),
        outcomes=outcomes,
        reasons=reasons,
        doubts=_doubts(snapshot, feed, accepted),
        last_of=last_of,
        figures=listener.get("figures", {}),
        accepted=accepted,
    )


def arrivals_of(snapshot: Snapshot, feed: str) -> pl.DataFrame:
    """Return the rows of ``batches`` that a feed which is asked delivered."""
    return snapshot.batches().filter(pl.col("file").str.starts_with(f"{feed}/")).collect()


def _kind_of(hospital: Hospital, feed: str) -> dict[str, Any]:
    """Return what the place of a feed says of its kind: its status may be gone."""
    try:
        place = json.loads(hospital.manifest().feeds.get(feed, "0"))
    except ValueError:
        return {}
    return {"kind": place.get("kind")} if isinstance(place, dict) else {}


def last_of_door(batches: pl.DataFrame, written: Mapping[str, Any]) -> datetime | None:
    """Return when a feed that is asked last delivered: what is known already makes no batch."""
    last_written = written.get("last_arrived")
    times = [datetime.fromisoformat(last_written)] if last_written else []
    last = batches["imported"].max()
    return max([*times, last] if isinstance(last, datetime) else times, default=None)


def _door_status(
    hospital: Hospital, feed: str, written: Mapping[str, Any], now: datetime
) -> FeedStatus:
    """Say how a feed is that is asked for what is new."""
    batches = arrivals_of(hospital.snapshot(), feed)
    last_arrived = last_of_door(batches, written)
    within = expected_within(batches["imported"], now, hospital.settings.zone)
    backlog, refused = int(written.get("backlog", 0)), int(written.get("refused", 0))
    what = ("added", "known", "revised", "retracted", "refused")
    sums = batches.select(pl.col(f"rows_{name}").sum() for name in what)
    rows = dict(zip(what, sums.row(0), strict=True))
    by_source = (
        batches.group_by("source", "kind")
        .agg(pl.col("imported").max(), pl.len())
        .sort("imported", descending=True)
    )
    return FeedStatus(
        name=feed,
        taken=batches.height + backlog,
        applied=batches.height,
        backlog=backlog,
        last_arrived=last_arrived,
        expected_within=within,
        is_silent=is_silent(last_arrived, now, within),
        listening=datetime.fromisoformat(at) if (at := written.get("written")) else None,
        outcomes={name: int(number) for name, number in rows.items() if number},
        reasons={"file-refused": refused} if refused else {},
        last_of=list(by_source.iter_rows()),
        figures=written.get("figures", {}),
        kind=str(written["kind"]),
        problem=written.get("problem"),
    )


def _counted(
    messages: pl.LazyFrame,
) -> tuple[dict[str, int], list[tuple[str, str, datetime, int]]]:
    final = messages.sort("batch").unique("position", keep="last", maintain_order=True)
    outcomes = final.group_by("outcome").len().sort("outcome").collect()
    senders = (
        final.group_by("sender", "type")
        .agg(pl.col("arrived").max(), pl.len())
        .sort("arrived", descending=True)
        .collect()
    )
    return dict(outcomes.iter_rows()), list(senders.iter_rows())


def _delay(snapshot: Snapshot, messages: pl.LazyFrame, now: datetime) -> float | None:
    """Return the median seconds from arrival to the commit within the last hour."""
    written = snapshot.batches().select("batch", "imported")
    since = pl.lit(now - timedelta(hours=1), dtype=pl.Datetime("us", "UTC"))
    rows = messages.filter(pl.col("arrived") > since).join(written, on="batch")
    passed = (pl.col("imported") - pl.col("arrived")).dt.total_microseconds().median() / 1e6
    found = rows.select(passed).collect().item()
    return None if found is None else float(found)


def _doubts(
    snapshot: Snapshot, feed: str, accepted: Sequence[Accepted]
) -> list[tuple[str, str, str, int]]:
    of_messages = (
        snapshot.stored("message_doubts")
        .filter(pl.col("feed") == feed)
        .group_by("type", "reason", "about")
        .agg(pl.col("number").sum())
        .collect()
    )
    of_stays = (
        open_doubts(snapshot, pl.lit(value=True))
        .filter(pl.col("feed") == feed)
        .group_by(pl.lit("ADT").alias("type"), "reason", "about")
        .agg(pl.len().cast(pl.Int64).alias("number"))
    )
    order = ["number", "type", "reason", "about"]
    rows = pl.concat([of_messages, of_stays]).sort(order, descending=[True, False, False, False])
    settled = {(one.part, one.word) for one in accepted}
    return [
        one for one in rows.iter_rows() if (ABOUT.get(one[1], ("", 0))[0], one[2]) not in settled
    ]
