"""Opening files, plain or compressed, with errors that a user can act on."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from neva.errors import BadInputError, NevaError, NotFoundError

#: What is raised while a damaged archive, or one of another make, is unpacked.
NOT_UNPACKED = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError)
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# What is packed far beyond this is made to fill a disk or a memory: a log of
# one event repeated a million times is packed a hundred times.
_MOST_PACKED = 200
_ALWAYS_UNPACKED = 256 * 2**20
_CHUNK = 2**20


def existing(path: Path | str) -> Path:
    """Return the path, or say that nothing is there."""
    found = Path(path)
    if not found.exists():
        raise NotFoundError(f"{found}: no such file or folder; found nothing there; check the path")
    return found


def utf8_text(path: Path, error: type[NevaError] = BadInputError) -> str:
    """Return a small file's text.

    Raises
    ------
    NotFoundError
        There is no such file.
    NevaError
        Of the kind given: it is not UTF-8, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"{path}: no such file; found nothing there; check the path"
        raise NotFoundError(message) from None
    except UnicodeDecodeError as wrong:
        message = (
            f"{path.name}: not UTF-8 text; found a wrong byte at {wrong.start}; save it as UTF-8"
        )
        raise error(message) from None
    except OSError as wrong:
        message = f"{path}: cannot be read; found {type(wrong).__name__}; give a file"
        raise error(message) from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, unpacking gzip (known by its first bytes).

    A file that is empty, damaged, cut short or holds far more than a file of its
    size raises BadInputError, also later while it is read inside the ``with``.
    """
    existing(path)
    if path.is_dir():
        raise BadInputError(f"{path}: must be a file; found a folder; name the file")
    refuse_zip(path)
    with path.open("rb") as plain:
        start = plain.read(2)
        plain.seek(0)
        if not start:
            raise BadInputError(f"{path}: nothing to read; found an empty file; copy it again")
        if start != _GZIP:
            yield plain
            return
        try:
            with gzip.GzipFile(fileobj=plain) as unpacked:
                yield io.BufferedReader(_Bounded(cast("IO[bytes]", unpacked), path))
        except EOFError as error:
            raise BadInputError(
                f"{path}: the compressed file is cut short; found no end of it; copy it again"
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadInputError(
                f"{path}: the compressed file is damaged; found wrong check sums; copy it again"
            ) from error


def is_zip(path: Path) -> bool:
    """Say whether a file is a zip archive, by its first bytes."""
    with path.open("rb") as plain:
        return plain.read(4) in _ZIP


def refuse_zip(path: Path) -> None:
    """Say of a zip archive, whatever its name, what to do with it."""
    if is_zip(path):
        raise BadInputError(
            f"{path}: must be the file itself; found a zip archive; unpack it, and name what is "
            "in it"
        )


class _Bounded(io.RawIOBase):
    """Reads a packed stream, but not without end."""

    def __init__(self, packed: IO[bytes], path: Path) -> None:
        self._packed, self._path = packed, path
        self._left = most_unpacked(path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._packed.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise too_packed(self._path)
        buffer[: len(data)] = data
        return len(data)


def refuse_too_packed(path: Path) -> None:
    """Read a packed file to its end, for libraries that would unpack all of it at once.

    Raises
    ------
    BadInputError
        It is damaged, or holds far more than a file of its size.
    """
    with opened(path) as stream:
        while stream.read(_CHUNK):
            pass


def most_unpacked(size: int) -> int:
    """Return how many bytes at most are unpacked from so many."""
    return max(_ALWAYS_UNPACKED, _MOST_PACKED * size)


def too_packed(path: Path) -> BadInputError:
    """Return what is said of an archive that holds far more than its size."""
    return BadInputError(
        f"{path}: too much in an archive of its size; found more than "
        f"{most_unpacked(path.stat().st_size):,} bytes in it; unpack it yourself, and name what is "
        "in it, if you trust it"
    )


@contextmanager
def opened_in_zip(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    """Open the one file of a zip archive whose name has one of these endings.

    Parameters
    ----------
    path : path
        An archive.
    endings : tuple of str
        In lower case; what ends ``.gz`` is unpacked.

    Yields
    ------
    name : str
        Of the file within the archive.
    stream : binary file
        Its bytes.

    Raises
    ------
    BadInputError
        None or several of such names are in it, it is encrypted, damaged, or
        holds far more than an archive of its size; the last also later, while
        it is read inside the ``with``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [
                member
                for member in archive.infolist()
                if member.filename.lower().endswith(endings) and "__MACOSX" not in member.filename
            ]
            if len(found) != 1:
                names = ", ".join(repr(member.filename[:80]) for member in found[:5])
                what = f"{len(found)}: {names}" if found else "none"
                raise BadInputError(
                    f"{path}: an archive must hold one file {' or '.join(endings)}; found {what}; "
                    "unpack it and name one"
                )
            refuse_encrypted(path, found)
            with archive.open(found[0]) as member:
                stream: IO[bytes] = member
                if found[0].filename.lower().endswith(".gz"):
                    stream = gzip.GzipFile(fileobj=member)  # type: ignore[assignment]
                yield found[0].filename, io.BufferedReader(_Bounded(stream, path))
    except (
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        gzip.BadGzipFile,
        NotImplementedError,
    ) as error:
        raise damaged_zip(path) from error


def refuse_encrypted(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Say of an archive that needs a password what to do with it."""
    if any(member.flag_bits & 1 for member in members):
        raise BadInputError(
            f"{path}: the archive cannot be opened; found that it needs a password; unpack it and "
            "name what is in it"
        )


def damaged_zip(path: Path) -> BadInputError:
    """Return what is said of an archive that cannot be read to its end."""
    return BadInputError(
        f"{path}: not a zip, damaged or cut short; found {path.stat().st_size:,} bytes; copy it "
        "again, or unpack it and name what is in it"
    )


def stem_of(path: Path) -> str:
    """Return the file name without any of its endings."""
    return path.name.split(".")[0] or path.name
