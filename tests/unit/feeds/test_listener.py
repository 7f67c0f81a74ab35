"""The listener: what each sender is told, and what no sender can do to the others."""

import asyncio
import json
import ssl
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.feeds import PROFILE
from tests.shared_data import shared

from neva.errors import BadInputError, UsageError
from neva.feeds.inbox import Inbox, Reader
from neva.feeds.listener import Frames, Limits, Listener, tls_context

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PID = b"PID|1||7^^^H^MR||F^G||19700101|M\rPV1|1|I|W^1^1||||||||||||||||V1\r"


def message(control=b"C1", *, accept=b"", application=b"", kind=b"ADT^A01", sender=b"HIS|GKB"):
    head = b"MSH|^~\\&|" + sender + b"|NEVA|N|20260101090000+0300||" + kind + b"|" + control
    return head + b"|P|2.5.1|||" + accept + b"|" + application + b"\r" + PID


def framed(content):
    return b"\x0b" + content + b"\x1c\r"


def served(folder, talk, *, profile=PROFILE, **settings):
    """Run a conversation with a listener; return what it gave, the records and the figures."""

    async def run():
        inbox = Inbox(folder)
        listener = Listener(inbox, profile, zone="Europe/Moscow", now=lambda: NOW, **settings)
        port = await listener.start("127.0.0.1", 0)
        try:
            return await asyncio.wait_for(talk(port), 60), listener.figures
        finally:
            await listener.stop()
            inbox.close()

    found, figures = asyncio.run(run())
    return found, Reader(folder, 0).read(1_000_000), figures


async def answers(port, *contents, count=None, **options):
    """Send bytes over one connection; the acknowledgements that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    writer.write(b"".join(contents))
    found = []
    for _ in range(len(contents) if count is None else count):
        raw = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 30)
        found.append(raw.strip(b"\x0b\x1c\r").split(b"\r"))
    writer.close()
    return found


def code(answer):
    return answer[1].split(b"|")[1]


def test_original_mode_acknowledges_once_and_swaps_the_parties(tmp_path):
    (found, records, _) = served(tmp_path, lambda port: answers(port, framed(message())))
    (answer,) = found
    head = answer[0].split(b"|")
    assert head[2:6] == [b"NEVA", b"N", b"HIS", b"GKB"]
    assert head[8] == b"ACK^A01^ACK"
    assert head[11] == b"2.5.1"
    assert answer[1] == b"MSA|AA|C1"
    assert [one.content for one in records] == [message()]
    assert records[0].arrived == NOW


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        (b"AL", b"NE", [b"CA"], [b"CA"]),
        (b"AL", b"AL", [b"CA", b"AA"], [b"CA", b"AE"]),
        (b"NE", b"AL", [b"AA"], [b"AE"]),
        (b"ER", b"ER", [], [b"AE"]),
        (b"SU", b"SU", [b"CA", b"AA"], [b"CA"]),
        (b"NE", b"NE", [], []),
    ],
)
def test_enhanced_mode_says_what_the_sender_asks_for(tmp_path, accept, application, good, bad):
    def conversation(kind, expected):
        raw = framed(message(accept=accept, application=application, kind=kind))
        end = framed(message(b"END"))

        async def talk(port):
            return await answers(port, raw, end, count=len(expected) + 1)

        return talk

    found, _, _ = served(tmp_path / "good", conversation(b"ADT^A01", good))
    assert [code(one) for one in found] == [*good, b"AA"]
    found, records, figures = served(tmp_path / "bad", conversation(b"ADT^Q01", bad))
    assert [code(one) for one in found] == [*bad, b"AA"]
    assert len(records) == 2  # a message that cannot be applied is kept all the same
    assert figures.dead == Counter({"type-unknown": 1})


def test_an_error_names_its_place_and_a_site_may_want_it_accepted(tmp_path):
    raw = framed(message(kind=b"ADT^Q01"))
    found, _, _ = served(tmp_path / "a", lambda port: answers(port, raw))
    assert code(found[0]) == b"AE"
    assert b"|MSH^1^9|200|E|" in found[0][2]
    profile = PROFILE.model_copy(update={"errors": "accept"})
    found, records, _ = served(tmp_path / "b", lambda port: answers(port, raw), profile=profile)
    assert code(found[0]) == b"AA"
    assert len(records) == 1


def test_an_unknown_sender_and_an_unknown_network_are_refused(tmp_path):
    profile = PROFILE.model_copy(update={"senders": ("HIS^GKB", "LAB^*")})
    raw = (message(), message(sender=b"LAB|X"), message(sender=b"EVIL|GKB"))
    found, records, figures = served(
        tmp_path / "a", lambda port: answers(port, *map(framed, raw)), profile=profile
    )
    assert [code(one) for one in found] == [b"AA", b"AA", b"AR"]
    assert len(records) == 2
    assert figures.refused == Counter({"sender-unknown": 1})

    async def shut(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(message()))
        try:
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    found, records, figures = served(tmp_path / "b", shut, networks=("10.0.0.0/8",))
    assert (found, records, figures.turned_away) == (b"", [], 1)
    with pytest.raises(UsageError, match="no network"):
        served(tmp_path / "c", shut, networks=("10.0.0.0/99",))


def test_transport_noise_gives_what_was_told(tmp_path):
    folder = shared("data", "hl7v2-messages", "scenarios")
    told = json.loads((folder / "transport_expected.json").read_text(encoding="utf-8"))
    noise = (folder / "transport_noise.bin").read_bytes()

    async def talk(port):
        found = await answers(port, noise, count=told["complete"])
        await asyncio.sleep(0.2)
        return found

    found, records, figures = served(tmp_path, talk)
    controls = [one[1].split(b"|")[2].decode() for one in found]
    assert controls == told["acknowledged"]
    assert len(records) == told["complete"]
    assert figures.unfinished + (figures.ignored_bytes > 0) >= told["incomplete"]


def test_order_is_kept_on_a_connection_however_bytes_are_cut(tmp_path):
    raw = b"".join(framed(message(b"C%d" % number)) for number in range(300))

    async def talk(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for first in range(0, len(raw), 997):
            writer.write(raw[first : first + 997])
            await writer.drain()
        found = [await reader.readuntil(b"\x1c\r") for _ in range(300)]
        writer.close()
        return found

    found, records, _ = served(tmp_path, talk)
    assert [b"MSA|AA|C%d\r" % number in one for number, one in enumerate(found)] == [True] * 300
    assert [one.content.split(b"|")[9] for one in records] == [b"C%d" % k for k in range(300)]


def test_slow_silent_and_endless_senders_cost_the_others_nothing(tmp_path):
    limits = Limits(connections=60, connections_of_one=60, unfinished=1.0, answer=1.0)

    async def endless(writer):
        try:
            while True:
                writer.write(b"\x0b" + b"x" * 200_000)
                await writer.drain()
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            pass

    async def talk(port):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for _, writer in opened[:10]:
            writer.write(b"\x0bMSH|^~\\&|half a message")  # begun, and never ended
        tasks = [asyncio.create_task(endless(writer)) for _, writer in opened[10:15]]
        begun = time.monotonic()
        found = []
        for number in range(100):
            found += await answers(port, framed(message(b"C%d" % number)))
        took = time.monotonic() - begun
        # Who began and never ended is sent away; who says nothing may stay.
        ends = [await asyncio.wait_for(reader.read(1), 20) for reader, _ in opened[:10]]
        silent = [reader.at_eof() for reader, _ in opened[20:]]
        for task in tasks:
            task.cancel()
        for _, writer in opened:
            writer.close()
        return found, took, ends, silent

    (found, took, ends, silent), records, _ = served(tmp_path, talk, limits=limits)
    assert [code(one) for one in found] == [b"AA"] * 100
    assert took < 30
    assert ends == [b""] * 10
    assert not any(silent)
    assert len(records) == 100


def test_a_message_that_is_too_long_is_refused_and_the_next_one_taken(tmp_path):
    profile = PROFILE.model_copy(update={"most_bytes": 10_000})
    long = message(b"LONG") + b"OBX|1|TX|||" + b"x" * 10_000_000 + b"\r"
    raw = (framed(long), framed(message(b"NEXT")))
    found, records, figures = served(tmp_path, lambda port: answers(port, *raw), profile=profile)
    assert [one[1] for one in found] == [b"MSA|AR|LONG", b"MSA|AA|NEXT"]
    assert len(records) == 1
    assert figures.refused == Counter({"too-long": 1})


def test_memory_is_bounded_for_what_never_ends():
    frames = Frames(1000)
    for _ in range(10_000):
        assert frames.feed(b"\x0b" + b"x" * 5000 if _ == 0 else b"x" * 5000) == []
    assert len(frames._held) <= 1000
    ((content, too_long),) = frames.feed(b"\x1c\r")
    assert too_long
    assert len(content) == 1000
    assert frames.feed(framed(b"MSH|")) == [(b"MSH|", False)]


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\x0b" not in b and b"\x1c" not in b)),
       st.integers(1, 50))  # fmt: skip
def test_frames_are_cut_the_same_however_they_arrive(messages, width):
    raw = b"\r\n".join(framed(one) for one in messages)
    frames = Frames(1000)
    found = []
    for first in range(0, len(raw), width):
        found += frames.feed(raw[first : first + width])
    assert [content for content, _ in found] == messages
    assert frames.ignored == 0


@given(st.binary(max_size=400))
def test_garbage_is_never_taken_for_a_message_and_never_stops_the_next(raw):
    frames = Frames(1000)
    frames.feed(raw)
    found = frames.feed(framed(b"MSH|good"))
    assert found[-1] == (b"MSH|good", False)


def test_a_disk_that_is_full_is_said_and_the_sender_sends_again(tmp_path, monkeypatch):
    take = Inbox.take
    full = [True]

    def sometimes(self, entries):
        if full:
            full.clear()
            raise BadInputError("the disk is full")
        return take(self, entries)

    monkeypatch.setattr(Inbox, "take", sometimes)

    async def talk(port):
        return [*await answers(port, framed(message())), *await answers(port, framed(message()))]

    found, records, figures = served(tmp_path, talk)
    assert [code(one) for one in found] == [b"AR", b"AA"]
    assert len(records) == 1
    assert figures.refused == Counter({"not-stored": 1})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                   "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                   "-keyout", f"{folder / name}.key", "-out", f"{folder / name}.pem"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return folder


def test_tls_and_client_certificates(tmp_path, certificates):
    server = tls_context(
        certificates / "server.pem", certificates / "server.key", certificates / "client.pem"
    )
    known = ssl.create_default_context(cafile=certificates / "server.pem")
    known.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    found, records, _ = served(
        tmp_path / "known", lambda port: answers(port, framed(message()), ssl=known), tls=server
    )
    assert code(found[0]) == b"AA"
    stranger = ssl.create_default_context(cafile=certificates / "server.pem")

    async def refused(port):
        try:
            return await answers(port, framed(message()), ssl=stranger)
        except (OSError, asyncio.IncompleteReadError):
            return None

    found, records, _ = served(tmp_path / "stranger", refused, tls=server)
    assert (found, records) == (None, [])
    with pytest.raises(BadInputError, match="certificates cannot be used"):
        tls_context(certificates / "server.key", certificates / "server.key")


def test_too_many_connections_are_turned_away(tmp_path):
    async def talk(port):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        await asyncio.sleep(0.2)
        shut = [reader.at_eof() for reader, _ in opened]
        for _, writer in opened:
            writer.close()
        return shut

    limits = Limits(connections=10, connections_of_one=3)
    found, _, figures = served(tmp_path, talk, limits=limits)
    assert found == [False, False, False, True, True]
    assert figures.turned_away == 2


def test_an_address_in_use_is_said(tmp_path):
    async def run():
        inbox = Inbox(tmp_path)
        listener = Listener(inbox, PROFILE, zone="UTC", now=lambda: NOW)
        other = Listener(inbox, PROFILE, zone="UTC", now=lambda: NOW)
        port = await listener.start("127.0.0.1", 0)
        try:
            with pytest.raises(UsageError, match="cannot be listened at"):
                await other.start("127.0.0.1", port)
        finally:
            await listener.stop()
            await other.stop()
            inbox.close()

    asyncio.run(run())
