"""Messages with random damage: each is applied, ignored or a dead letter with a known reason."""

import random
import tracemalloc
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.feeds import PROFILE, fed, scenario, seen
from tests.shared_data import shared

from neva.feeds.applier import read_one
from neva.feeds.inbox import Record
from neva.sources.hl7v2.files import cut_file
from neva.sources.hl7v2.reasons import REASONS

NOW = datetime(2026, 6, 1, tzinfo=UTC)
JUNK = (b"|", b"^", b"~", b"\\", b"&", b"\r", b"\x00", b"\xff", b"\\X4", b'""', b"MSH", b"\x0b",
        b"99999999999999", b"|" * 300, "Щ".encode(), b"\\F\\", b"-0500", b"1e309")  # fmt: skip


def originals():
    folder = shared("data", "hl7v2-messages", "microsoft")
    found = [*scenario("adt_oru.mllp"), *scenario("siu.mllp")]
    for path in sorted(folder.glob("*.hl7")):
        found += cut_file(path.read_bytes()).messages
    return found


def damaged(rng, raw):
    data = bytearray(raw)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(5)
        if how == 0:
            data[at:at] = rng.choice(JUNK)
        elif how == 1:
            del data[at : at + rng.randint(1, 40)]
        elif how == 2 and data:
            data[at % len(data)] = rng.randrange(256)
        elif how == 3:
            data[at:at] = data[at : at + rng.randint(1, 60)]
        else:
            del data[at:]
            data += b"\r"
    return bytes(data)


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_damage_is_a_dead_letter_or_is_read_and_never_stops_anything(count):
    rng = random.Random(count)
    messages = originals()
    outcomes = Counter()
    tracemalloc.start()
    for number in range(count):
        raw = damaged(rng, rng.choice(messages))
        read = read_one(Record(number + 1, NOW, raw), PROFILE, zone="Europe/Moscow")
        outcomes[read.outcome] += 1
        if read.outcome == "refused":
            assert read.reason in REASONS
            # Each reason is one that somebody foresaw.
            assert read.reason != "unreadable", raw
        assert read.row("his", "Europe/Moscow")["position"] == number + 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
    assert outcomes["applied"] > 0.1 * count
    assert outcomes["refused"] > 0.1 * count


def test_damaged_messages_are_applied_or_kept_with_the_good_ones_between_them(tmp_path):
    rng = random.Random(3)
    good = scenario("adt_oru.mllp")
    messages = []
    for one in good[:20]:
        messages.append(one)
        bad = damaged(rng, rng.choice(originals())).replace(b"|S0", b"|D0")
        messages.append(bad.replace(b"GKB", b"BAD"))
    hospital = fed(tmp_path / "hospital", messages, most=7)
    plain = fed(tmp_path / "plain", good[:20])
    stored = hospital.snapshot().stored("messages").collect()
    assert stored["position"].sort().to_list() == list(range(1, 41))
    known = {(row[0], row[1]) for row in seen(plain)["stays"]}
    assert known <= {(row[0], row[1]) for row in seen(hospital)["stays"]}
