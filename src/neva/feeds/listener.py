"""The MLLP listener: takes messages from many senders, and acknowledges what is on disk.

Each connection keeps its order. Messages of all connections are written together, with
one synchronisation of the disk for all that came meanwhile, and only then acknowledged.
A sender that is slow, silent, or sends what is no message costs the others nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from neva.errors import BadInputError, NevaError, UsageError
from neva.feeds.acknowledgement import acknowledgements, framed
from neva.feeds.inbox import Inbox
from neva.sources.hl7v2.interpretation import interpret_raw
from neva.sources.hl7v2.message import Header, UnreadableMessageError, read_header
from neva.sources.hl7v2.profile import Profile

__all__ = ["Figures", "Frames", "Limits", "Listener", "tls_context", "tls_of"]

_LOG = logging.getLogger("neva.feeds")
_START: Final = 0x0B
_END: Final = 0x1C
_READ: Final = 262_144
#: So many messages of one connection are written together at most.
_MOST_TOGETHER: Final = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a sender may take.

    Attributes
    ----------
    connections, connections_of_one : int
        In all, and from one address.
    unfinished : float
        Seconds within which a message that was begun must end.
    answer : float
        Seconds within which a sender must take its acknowledgement.
    """

    connections: int = 200
    connections_of_one: int = 50
    unfinished: float = 60.0
    answer: float = 30.0


@dataclass(slots=True)
class Figures:
    """What the listener has seen since it began: no patient's value.

    Attributes
    ----------
    taken : int
        Messages that are on disk.
    refused : Counter of str
        Messages that were not taken, by reason.
    dead : Counter of str
        Messages that are on disk and cannot be applied as they are, by reason.
    ignored_bytes, unfinished : int
        Bytes outside of messages, and messages that never ended.
    connections, turned_away : int
        Open now; refused by address or number.
    """

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    ignored_bytes: int = 0
    unfinished: int = 0
    connections: int = 0
    turned_away: int = 0


class Frames:
    """Cuts what arrives into messages, with bounded memory.

    Parameters
    ----------
    most_bytes : int
        Of a longer message only its beginning is kept, to say who sent it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = bytearray()
        self._inside = False
        self._too_long = False
        self.ignored = 0

    @property
    def is_inside(self) -> bool:
        """Whether a message was begun and has not ended."""
        return self._inside

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Take bytes; return the messages that ended with them, and whether each was too long."""
        found: list[tuple[bytes, bool]] = []
        at = 0
        while at < len(data):
            if not self._inside:
                start = data.find(_START, at)
                end = len(data) if start < 0 else start
                between = data[at:end]
                self.ignored += len(between) - between.count(b"\r") - between.count(b"\n")
                if start < 0:
                    return found
                self._inside, self._too_long = True, False
                self._held.clear()
                at = start + 1
                continue
            end = data.find(_END, at)
            begun_again = data.find(_START, at, end if end > -1 else len(data))
            if begun_again > -1:  # the one before was never ended
                self.ignored += len(self._held) + begun_again - at
                self._held.clear()
                self._too_long = False
                at = begun_again + 1
                continue
            stop = end if end > -1 else len(data)
            room = self._most - len(self._held)
            if stop - at > room:
                self._too_long = True
            self._held += data[at : at + min(stop - at, max(room, 0))]
            if end < 0:
                return found
            found.append((bytes(self._held), self._too_long))
            self._held.clear()
            self._inside = False
            at = end + 1
        return found


def tls_context(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """Make a TLS context of a server.

    Parameters
    ----------
    certificate, key : Path
        PEM.
    clients : Path, optional
        Certificate authorities of clients: then a client must show a certificate.

    Raises
    ------
    BadInputError
        A file cannot be read as a certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        message = (
            f"{certificate}: the certificates cannot be used; found {type(error).__name__}; give "
            "files in PEM: the server's certificate and key, and the clients' authorities"
        )
        raise BadInputError(message) from None
    return context


def tls_of(
    certificate: Path | None, key: Path | None, clients: Path | None
) -> ssl.SSLContext | None:
    """Make the TLS context that options of the command line ask for; None where they ask for none.

    Raises
    ------
    UsageError
        Certificate and key do not come together.
    BadInputError
        As :func:`tls_context`.
    """
    if certificate is not None and key is not None:
        return tls_context(certificate, key, clients)
    if certificate or key or clients:
        message = (
            "--tls-certificate: certificate and key belong together; found one of them; give both"
        )
        raise UsageError(message)
    return None


@dataclass(slots=True)
class _Waiting:
    """A message that waits to be on disk."""

    entry: tuple[datetime, str, bytes]
    done: asyncio.Future[None]


class Listener:
    """Takes messages over MLLP into an inbox.

    Parameters
    ----------
    inbox : Inbox
    profile : Profile
    zone : str
        The hospital's.
    now : callable
        The time of day, aware.
    networks : sequence of str
        From where senders may connect; empty: from anywhere.
    tls : ssl.SSLContext, optional
    limits : Limits

    Attributes
    ----------
    figures : Figures
    """

    def __init__(
        self,
        inbox: Inbox,
        profile: Profile,
        *,
        zone: str,
        now: Callable[[], datetime],
        networks: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._inbox, self._profile, self._zone, self._now = inbox, profile, zone, now
        try:
            self._networks = [ipaddress.ip_network(one) for one in networks]
        except ValueError:
            message = f"--from: no network; found {', '.join(networks)}; write 10.1.2.0/24"
            raise UsageError(message) from None
        self._tls = tls
        self._limits = limits or Limits()
        self.figures = Figures()
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=10_000)
        self._by_address: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._writing: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises
        ------
        UsageError
            The address cannot be listened at.
        """
        self._writing = asyncio.create_task(self._write_forever())
        try:
            self._server = await asyncio.start_server(
                self._connected, host, port, ssl=self._tls, limit=_READ, backlog=200
            )
        except OSError as error:
            self._writing.cancel()
            message = (
                f"{host}:{port}: cannot be listened at; found {error.strerror or 'no such host'}; "
                "give another address, or stop who listens there"
            )
            raise UsageError(message) from None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no more; what was taken is acknowledged first, as far as senders listen."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing

    # ---------------------------------------------------------------- writing

    async def _write_forever(self) -> None:
        """Write what waits, all of it with one synchronisation of the disk."""
        while True:
            waiting = [await self._queue.get()]
            while not self._queue.empty() and len(waiting) < 5_000:
                waiting.append(self._queue.get_nowait())
            try:
                await asyncio.to_thread(self._inbox.take, [one.entry for one in waiting])
            except Exception as error:
                if not isinstance(error, NevaError):
                    _LOG.error("messages could not be written: %s", type(error).__name__)
                for one in waiting:
                    if not one.done.done():
                        one.done.set_exception(error)
                continue
            self.figures.taken += len(waiting)
            for one in waiting:
                if not one.done.done():
                    one.done.set_result(None)

    # ------------------------------------------------------------ connections

    def _may_connect(self, address: str) -> bool:
        if self.figures.connections >= self._limits.connections:
            return False
        if self._by_address[address] >= self._limits.connections_of_one:
            return False
        if not self._networks:
            return True
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self._networks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if not self._may_connect(address):
            self.figures.turned_away += 1
            writer.close()
            return
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self.figures.connections += 1
        self._by_address[address] += 1
        frames = Frames(self._profile.most_bytes)
        try:
            await self._serve(reader, writer, frames, address)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # gone, or too slow: what was on disk stays, what was begun is not taken
        except asyncio.CancelledError:
            pass
        finally:
            if frames.is_inside:
                self.figures.unfinished += 1
            self.figures.ignored_bytes += frames.ignored
            self.figures.connections -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
            if task is not None:
                self._tasks.discard(task)
            writer.close()

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        frames: Frames,
        address: str,
    ) -> None:
        while True:
            # Whoever says nothing may go on saying nothing; whoever has begun must end.
            if frames.is_inside:
                async with asyncio.timeout(self._limits.unfinished):
                    messages: list[tuple[bytes, bool]] = []
                    while not messages and frames.is_inside:
                        data = await reader.read(_READ)
                        if not data:
                            return
                        messages = frames.feed(data)
            else:
                data = await reader.read(_READ)
                if not data:
                    return
                messages = frames.feed(data)
            for first in range(0, len(messages), _MOST_TOGETHER):
                answers = await self._take_messages(
                    messages[first : first + _MOST_TOGETHER], address
                )
                writer.write(b"".join(framed(one) for one in answers))
                async with asyncio.timeout(self._limits.answer):
                    await writer.drain()

    async def _take_messages(
        self, messages: Sequence[tuple[bytes, bool]], address: str
    ) -> list[bytes]:
        """Take messages of a connection, in order; return what their sender is told."""
        judged = [self._judge(content, too_long=too_long) for content, too_long in messages]
        loop = asyncio.get_running_loop()
        waiting: list[_Waiting | None] = []
        for (content, _), (_, reason, _, is_taken) in zip(messages, judged, strict=True):
            if not is_taken:
                self.figures.refused[reason or ""] += 1
                waiting.append(None)
                continue
            entry = _Waiting((self._now(), address, content), loop.create_future())
            await self._queue.put(entry)
            waiting.append(entry)
        answers: list[bytes] = []
        for one, (header, problem, where, _) in zip(waiting, judged, strict=True):
            stored, reason, place = False, problem, where
            if one is not None:
                try:
                    await one.done
                except NevaError:
                    reason, place = "not-stored", ""
                    self.figures.refused[reason] += 1
                else:
                    stored = True
                    if reason is not None:
                        self.figures.dead[reason] += 1
            answers += acknowledgements(
                header,
                at=self._now(),
                stored=stored,
                reason=reason,
                place=place,
                is_error=self._profile.errors == "error",
            )
        return answers

    def _judge(
        self, content: bytes, *, too_long: bool
    ) -> tuple[Header | None, str | None, str, bool]:
        """Return the header, what is wrong and where, and whether the message is taken."""
        try:
            header = read_header(content)
        except UnreadableMessageError as error:
            return None, error.reason, error.field, False
        if not self._profile.accepts_sender(header.sender):
            return header, "sender-unknown", "MSH-3", False
        if too_long:
            return header, "too-long", "", False
        if not header.control:
            return header, "control-missing", "MSH-10", True
        try:
            interpret_raw(content, self._profile, zone=self._zone, arrived=self._now())
        except UnreadableMessageError as error:
            return header, error.reason, error.field, True
        except Exception:  # the doorway: what nobody foresaw stops no sender
            return header, "unreadable", "", True
        return header, None, "", True
