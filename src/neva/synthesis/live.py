"""The synthetic hospital at work: its messages sent over MLLP, as time goes by."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Literal
from urllib.parse import urlsplit

from neva.errors import NotFoundError, UsageError
from neva.synthesis.messages import Message, Traffic, frame

__all__ = ["Address", "Pace", "Patience", "Report", "Sender"]

_END: Final = b"\x1c\r"
_ACCEPTED: Final = ("AA", "CA")
#: Messages that wait for a connection at most; and that are written as text at once.
_WAITING: Final = 500
#: Pauses between attempts to connect, in seconds: each twice the one before.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a receiver listens."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address:
        """Read ``HOST:PORT``.

        Raises
        ------
        UsageError
            It is none.

        Examples
        --------
        >>> Address.read("[::1]:2575")
        Address(host='::1', port=2575)
        """
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or not port or parts.netloc != text or "@" in text:
            message = f"--to: must be HOST:PORT; found {text!r}; write for example localhost:2575"
            raise UsageError(message)
        return cls(host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How hospital time goes by.

    Attributes
    ----------
    speed : float
        Hours of the hospital in an hour: 60 is an hour a minute; 0: each message as
        soon as the one before is acknowledged.
    begin : datetime, optional
        Hospital time from which on messages are sent at that speed; by default that
        of the first.
    until : datetime, optional
        Hospital time before which it ends; by default the last message.
    earlier : {"send", "skip"}
        What is told before `begin` is sent first, as fast as it is acknowledged; or
        left out, where a receiver has it already.
    """

    speed: float = 0.0
    begin: datetime | None = None
    until: datetime | None = None
    earlier: Literal["send", "skip"] = "send"

    def __post_init__(self) -> None:
        if not 0 <= self.speed < float("inf"):
            message = f"speed: must not be negative; found {self.speed}; give 0 or more"
            raise UsageError(message)
        if self.begin is not None and self.until is not None and self.until <= self.begin:
            message = (
                f"until: must lie after begin; found {self.until.isoformat()}; give a later one"
            )
            raise UsageError(message)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a sender waits for an acknowledgement before it sends again, and in all."""

    acknowledged_within: timedelta = timedelta(seconds=10)
    gives_up_after: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Report:
    """What was sent and answered.

    Attributes
    ----------
    messages : int
        Messages that were acknowledged, repetitions that belong to the traffic
        included.
    repeated : int
        How many of them were such repetitions.
    answers : dict of str to int
        By the code of the acknowledgement (MSA-1): AA, AE, AR ...
    resent : int
        Sent once more because no acknowledgement came.
    connected : int
        How often a connection was opened.
    triggers : dict of str to int
        Messages by trigger.
    first, last : datetime or None
        Hospital times of the first and the last one acknowledged.
    seconds : float
        How long it took.
    """

    messages: int
    repeated: int
    answers: dict[str, int]
    resent: int
    connected: int
    triggers: dict[str, int]
    first: datetime | None
    last: datetime | None
    seconds: float


@dataclass
class _Tally:
    answers: Counter[str] = field(default_factory=Counter)
    triggers: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    resent: int = 0
    connected: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, message: Message, answer: str) -> None:
        self.answers[answer] += 1
        self.triggers[message.trigger] += 1
        self.repeated += message.repeated
        self.first = min(self.first or message.at, message.at)
        self.last = max(self.last or message.at, message.at)


class _Connection:
    """One connection: a message at a time, each until it is acknowledged."""

    def __init__(self, address: Address, patience: Patience, tally: _Tally) -> None:
        self._address = address
        self._patience = patience
        self._tally = tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def deliver(self, message: Message) -> str:
        """Send a message until there is an answer to it; return the answer's code."""
        gives_up = time.monotonic() + self._patience.gives_up_after.total_seconds()
        pause, sent = _FIRST_PAUSE, False
        while True:
            try:
                within = self._patience.acknowledged_within.total_seconds()
                async with asyncio.timeout(within):
                    reader, writer = await self._open()
                    self._tally.resent += sent
                    sent = True
                    writer.write(frame(message.content))
                    await writer.drain()
                    return await _answer(reader, message.control_id)
            except (OSError, EOFError, asyncio.LimitOverrunError) as error:
                # A timeout is an OSError, too.
                self._drop()
                if time.monotonic() > gives_up:
                    raise NotFoundError(self._unanswered(error)) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _unanswered(self, error: Exception) -> str:
        waited = self._patience.gives_up_after.total_seconds()
        return (
            f"{self._address}: no acknowledgement for {waited:g} seconds; found "
            f"{type(error).__name__}; start the receiver there, or give the address of another"
        )

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._address.host, self._address.port)
            self._tally.connected += 1
        return self._streams

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def close(self) -> None:
        """End the connection in good order."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, control_id: str) -> str:
    """Wait for the acknowledgement of a message; those of others are late ones, and pass."""
    while True:
        block = await reader.readuntil(_END)
        for line in block.split(b"\r"):
            fields = line.split(b"|")
            if fields[0] == b"MSA" and len(fields) > 2:
                if fields[2].strip() == control_id.encode():
                    return fields[1].decode("ascii", "replace")
                break


class Sender:
    """Sends the messages of a synthetic hospital to a receiver.

    Parameters
    ----------
    traffic : Traffic
        The messages.
    address : Address
        Of the receiver.
    pace : Pace, optional
        How fast, from when, until when.
    connections : int
        At least one. What is told of a patient goes over one of them, in order.
    patience : Patience, optional
        How long to wait.
    progress : callable, optional
        Called with the number of messages acknowledged so far.
    """

    def __init__(
        self,
        traffic: Traffic,
        address: Address,
        *,
        pace: Pace | None = None,
        connections: int = 1,
        patience: Patience | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if connections < 1:
            message = f"connections: too few; found {connections}; give 1 or more"
            raise UsageError(message)
        self._traffic = traffic
        self._pace = pace or Pace()
        self._progress = progress
        self._tally = _Tally()
        self._connections = [
            _Connection(address, patience or Patience(), self._tally) for _ in range(connections)
        ]
        self._queues: list[asyncio.Queue[Message | None]] = []
        self._began = time.monotonic()

    def run(self) -> Report:
        """Send everything that is to be sent.

        Raises
        ------
        NotFoundError
            No acknowledgement came for too long.
        """
        asyncio.run(self.send())
        return self.report()

    async def send(self) -> None:
        """Send within a loop that is running already; see :meth:`run`."""
        self._began = time.monotonic()
        self._queues = [asyncio.Queue(_WAITING) for _ in self._connections]
        try:
            async with asyncio.TaskGroup() as tasks:
                for connection, queue in zip(self._connections, self._queues, strict=True):
                    tasks.create_task(self._work(connection, queue))
                tasks.create_task(self._produce())
        except ExceptionGroup as group:
            unanswered, others = group.split(NotFoundError)
            if unanswered is None or others is not None:
                raise
            raise unanswered.exceptions[0] from None

    def report(self) -> Report:
        """Return what has been sent and answered so far."""
        tally = self._tally
        return Report(
            messages=tally.answers.total(),
            repeated=tally.repeated,
            answers=dict(sorted(tally.answers.items())),
            resent=tally.resent,
            connected=tally.connected,
            triggers=dict(sorted(tally.triggers.items())),
            first=tally.first,
            last=tally.last,
            seconds=time.monotonic() - self._began,
        )

    async def _work(self, connection: _Connection, queue: asyncio.Queue[Message | None]) -> None:
        while True:
            message = await queue.get()
            if message is None:
                await connection.close()
                return
            self._tally.add(message, await connection.deliver(message))
            if self._progress is not None:
                self._progress(self._tally.answers.total())
            queue.task_done()

    async def _produce(self) -> None:
        pace = self._pace
        if pace.begin is not None and pace.earlier == "send":
            await self._hand_out(self._traffic.between(None, pace.begin), speed=0)
            # Time starts when everything before is known.
            await asyncio.gather(*(queue.join() for queue in self._queues))
        await self._hand_out(self._traffic.between(pace.begin, pace.until), speed=pace.speed)
        for queue in self._queues:
            await queue.put(None)

    async def _hand_out(self, messages: Iterator[Message], *, speed: float) -> None:
        began, begin = time.monotonic(), self._pace.begin
        # Text is written in a thread: acknowledgements do not wait for it.
        while some := await asyncio.to_thread(lambda: list(islice(messages, _WAITING))):
            begin = begin or some[0].at
            for message in some:
                if speed:
                    due = began + (message.at - begin).total_seconds() / speed
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._queues[message.lane % len(self._queues)].put(message)
