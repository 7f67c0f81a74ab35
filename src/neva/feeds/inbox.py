"""The inbox of a feed: what was taken is on disk before anybody is told so.

Records are appended to segments. Each has a length, a checksum and a header;
positions count from 1, without gaps. What a crash left half-written at the end
of the last segment is cut off at the next opening: nobody was told that it was
taken. A record that is damaged anywhere else is an error, never skipped in silence.

A segment's name is the position of its first record. Segments hold patients'
data: only their owner may read them, and they are overwritten before deletion.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from neva.errors import BadInputError, ConflictError
from neva.files.whole import disk_problem

__all__ = ["Inbox", "Reader", "Record", "read_positions", "segments_of", "shred", "whole_part"]

#: Begins each record: a mark, the lengths of header and content, and a checksum of both.
_HEAD: Final = struct.Struct(">4sIII")
_MARK: Final = b"NEV1"
#: A segment that has become so long is followed by a new one.
SEGMENT_BYTES: Final = 64_000_000
_ENDING: Final = ".inbox"
#: Longer records are damage, not records.
_MOST: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """Something that was taken.

    Attributes
    ----------
    position : int
        Counted from 1.
    arrived : datetime
        UTC.
    content : bytes
        As it came.
    peer : str
        From where.
    """

    position: int
    arrived: datetime
    content: bytes
    peer: str = ""


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{'[0-9]' * 16}{_ENDING}"))


def _first_of(segment: Path) -> int:
    return int(segment.name.removesuffix(_ENDING))


def segments_of(folder: Path) -> list[tuple[int, Path]]:
    """Return the segments of an inbox in order, each with the position of its first record."""
    return [(_first_of(one), one) for one in _segments(folder)]


def whole_part(segment: Path) -> tuple[int, int]:
    """Return how many bytes of a segment are whole records, and how many records they are.

    What follows is just being written, was never finished, or is damaged.
    """
    at = number = 0
    with segment.open("rb") as stream:
        while True:
            data = stream.read(_HEAD.size)
            if len(data) == _HEAD.size:
                _, header_bytes, content_bytes, _ = _HEAD.unpack(data)
                data += stream.read(min(header_bytes + content_bytes, _MOST))
            whole = _unpacked(data, 0)
            if whole is None:
                return at, number
            at, number = at + whole[2], number + 1


def _packed(arrived: datetime, peer: str, content: bytes) -> bytes:
    header = json.dumps([arrived.astimezone(UTC).isoformat(), peer]).encode()
    checksum = zlib.crc32(content, zlib.crc32(header))
    return _HEAD.pack(_MARK, len(header), len(content), checksum) + header + content


def _unpacked(data: bytes | memoryview, at: int) -> tuple[bytes, bytes, int] | None:
    """Return header, content and the end of the record at a place; None where there is no whole."""
    if at + _HEAD.size > len(data):
        return None
    mark, header_bytes, content_bytes, checksum = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + header_bytes + content_bytes
    if mark != _MARK or header_bytes + content_bytes > _MOST or end > len(data):
        return None
    header = bytes(data[at + _HEAD.size : at + _HEAD.size + header_bytes])
    content = bytes(data[at + _HEAD.size + header_bytes : end])
    if zlib.crc32(content, zlib.crc32(header)) != checksum:
        return None
    return header, content, end


def _damaged(segment: Path, at: int) -> BadInputError:
    return BadInputError(
        f"{segment}: a record of the inbox is damaged; found it at byte {at:,}; what was taken "
        "after it cannot be read; restore the file from a backup, or ask the senders to send "
        "again from then on"
    )


class Reader:
    """Reads records in order, and remembers where it is.

    Parameters
    ----------
    folder : Path
        Of the inbox.
    after : int
        The last position that is not wanted; 0: from the beginning.
    """

    def __init__(self, folder: Path, after: int) -> None:
        self._folder = folder
        self._after = after
        self._segment: Path | None = None
        self._at = 0
        self._next = 0

    def _enter(self, segment: Path) -> None:
        self._segment, self._at, self._next = segment, 0, _first_of(segment)

    def _find(self) -> bool:
        """Go to the segment of the next record that is wanted."""
        segments = _segments(self._folder)
        begun = [one for one in segments if _first_of(one) <= self._after + 1]
        if segments and not begun:
            message = (
                f"{self._folder}: messages are gone that were not applied; found the first at "
                f"{_first_of(segments[0])}, wanted {self._after + 1}; restore the folder from a "
                "backup"
            )
            raise BadInputError(message)
        if begun:
            self._enter(begun[-1])
        return bool(begun)

    def read(self, most: int, *, most_bytes: int = 64_000_000) -> list[Record]:
        """Read on.

        Parameters
        ----------
        most, most_bytes : int
            So many records at most, and about so many bytes.

        Returns
        -------
        list of Record
            Empty where nothing was taken since. What is just being written is left out.

        Raises
        ------
        BadInputError
            A record is damaged, or records that are wanted are gone.
        """
        found: list[Record] = []
        size = 0
        if self._segment is None and not self._find():
            return found
        while len(found) < most and size < most_bytes:
            record = self._record()
            if record is None:
                following = self._following()
                if following is None:
                    break
                self._enter(following)
                continue
            if record.position > self._after:
                found.append(record)
                size += len(record.content)
                self._after = record.position
        return found

    def _following(self) -> Path | None:
        segments = _segments(self._folder)
        return next((one for one in segments if _first_of(one) >= self._next and
                     one != self._segment), None)  # fmt: skip

    def _record(self) -> Record | None:
        """Read the record at hand; None at the end of what is there of the segment."""
        assert self._segment is not None
        try:
            stream = self._segment.open("rb")
        except FileNotFoundError:
            return None
        with stream:
            stream.seek(self._at)
            data = stream.read(_HEAD.size)
            if len(data) == _HEAD.size:
                _, header_bytes, content_bytes, _ = _HEAD.unpack(data)
                data += stream.read(min(header_bytes + content_bytes, _MOST))
        whole = _unpacked(data, 0)
        if whole is None:
            if data and self._following() is not None:
                raise _damaged(self._segment, self._at)
            return None
        header, content, length = whole
        arrived, peer = json.loads(header)
        record = Record(self._next, datetime.fromisoformat(arrived), content, peer)
        self._at, self._next = self._at + length, self._next + 1
        return record


def read_positions(folder: Path, positions: Sequence[int]) -> list[Record]:
    """Read the records of some positions; those of segments that are gone are missing."""
    found = []
    for wanted in sorted({*positions}):
        try:
            records = Reader(folder, wanted - 1).read(1)
        except BadInputError:
            continue
        found += [one for one in records if one.position == wanted]
    return found


class Inbox:
    """The inbox, open for taking; one process at a time.

    Parameters
    ----------
    folder : Path
        Made where it is not there, readable by its owner only.
    segment_bytes : int
        A segment that has become so long is followed by a new one.
    at_least : int
        The last position that is part of the store: where the end of the inbox was lost
        with a power cut after it was applied, and before anybody was told that it was
        taken, the next position comes after it.

    Raises
    ------
    ConflictError
        Another process takes for this feed, or the folder may not be written.
    BadInputError
        A record before the last is damaged.

    Attributes
    ----------
    position : int
        Of the last record; 0: none was ever taken.
    cut : int
        Bytes of an unfinished record that were cut off at the opening.
    """

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, at_least: int = 0
    ) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._broken = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            problem = disk_problem(error, folder)
            raise problem or ConflictError(f"{folder}: cannot be used; {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            message = (
                f"{folder}: another process takes messages for this feed; found its lock held; "
                "one listener may serve a feed: stop the other one"
            )
            raise ConflictError(message) from None
        try:
            self.position, self.cut = self._recover()
            if self.position < at_least:
                os.close(self._file)
                self.position = at_least
                self._open_segment(at_least + 1)
        except BaseException:
            os.close(self._lock)
            raise

    def _recover(self) -> tuple[int, int]:
        """Find the end; cut off what was never finished; open the last segment."""
        segments = _segments(self._folder)
        if not segments:
            self._open_segment(1)
            return 0, 0
        segment = segments[-1]
        data = segment.read_bytes()
        at, position = 0, _first_of(segment) - 1
        while (whole := _unpacked(data, at)) is not None:
            at, position = whole[2], position + 1
        # After a power cut a file may be longer than what reached the disk: the rest is zeros
        # or rubbish. A whole record behind it would mean damage, not an unfinished end.
        following = data.find(_MARK, at + 1)
        while following > -1:
            if _unpacked(data, following) is not None:
                raise _damaged(segment, at)
            following = data.find(_MARK, following + 1)
        self._file = os.open(segment, os.O_RDWR)
        cut = len(data) - at
        if cut:
            os.ftruncate(self._file, at)
            os.fsync(self._file)
        os.lseek(self._file, at, os.SEEK_SET)
        self._length = at
        return position, cut

    def _open_segment(self, first: int) -> None:
        path = self._folder / f"{first:016d}{_ENDING}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._length = 0
        directory = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def take(self, records: Sequence[tuple[datetime, str, bytes]]) -> int:
        """Write records, and have them on disk when this returns.

        Parameters
        ----------
        records : sequence of tuple
            When each arrived (aware), from where, and its content.

        Returns
        -------
        int
            Position of the last one.

        Raises
        ------
        BadInputError
            The disk is full; nothing of these records was taken.
        ConflictError
            The folder may not be written any more.
        """
        if self._broken:
            self._mend()
        try:
            if self._length >= self._segment_bytes:
                os.close(self._file)
                self._open_segment(self.position + 1)
            data = b"".join(_packed(*one) for one in records)
            self._write(data)
            os.fdatasync(self._file)
        except OSError as error:
            self._broken = True
            problem = disk_problem(error, self._folder)
            if problem is not None:
                raise problem from error
            raise
        self._length += len(data)
        self.position += len(records)
        return self.position

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _mend(self) -> None:
        """Cut off what a failed writing may have left, so that the next record begins clean."""
        os.ftruncate(self._file, self._length)
        os.lseek(self._file, self._length, os.SEEK_SET)
        self._broken = False

    def begin_segment(self) -> None:
        """Write what comes next into a new segment, so that the one before can be deleted.

        Raises
        ------
        OSError
            The folder may not be written, or the disk is full; nothing is lost.
        """
        if self._length and not self._broken:
            before = self._file
            self._open_segment(self.position + 1)
            os.close(before)

    def close(self) -> None:
        """Let another process take."""
        os.close(self._file)
        os.close(self._lock)


def shred(folder: Path, *, applied: int, older_than: datetime, keep: Sequence[int] = ()) -> int:
    """Overwrite and delete segments that were applied and are old.

    Parameters
    ----------
    folder : Path
    applied : int
        The last position that is part of the store.
    older_than : datetime
        Aware. A segment last written after it stays.
    keep : sequence of int
        Positions that are still needed (dead letters): their segments stay.

    Returns
    -------
    int
        How many segments are gone. The last one always stays.

    Notes
    -----
    Overwriting reaches the blocks of the file on file systems that write in place; on
    others (copy on write, flash) only encryption of the disk does.
    """
    segments = _segments(folder)
    gone = 0
    for segment, following in itertools.pairwise(segments):
        first, end = _first_of(segment), _first_of(following) - 1
        written = datetime.fromtimestamp(segment.stat().st_mtime, tz=UTC)
        if end > applied or written > older_than or any(first <= one <= end for one in keep):
            continue
        with segment.open("r+b") as file:
            left = segment.stat().st_size
            while left:
                left -= file.write(bytes(min(left, 1_000_000)))
            file.flush()
            os.fsync(file.fileno())
        segment.unlink()
        gone += 1
    return gone
