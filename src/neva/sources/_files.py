"""Opening files, plain or compressed, with errors that a user can act on."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from neva.errors import BadInputError, NotFoundError

_GZIP = b"\x1f\x8b"


def existing(path: Path | str) -> Path:
    """Return the path, or say that nothing is there."""
    found = Path(path)
    if not found.exists():
        raise NotFoundError(f"{found}: no such file or folder; found nothing there; check the path")
    return found


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, unpacking gzip (known by its first bytes).

    A file that is empty, damaged or cut short raises BadInputError, also later
    while it is read inside the ``with``.
    """
    existing(path)
    if path.is_dir():
        raise BadInputError(f"{path}: must be a file; found a folder; name the file")
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
                yield cast(BinaryIO, unpacked)
        except EOFError as error:
            raise BadInputError(
                f"{path}: the compressed file is cut short; found no end of it; copy it again"
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadInputError(
                f"{path}: the compressed file is damaged; found wrong check sums; copy it again"
            ) from error


def stem_of(path: Path) -> str:
    """Return the file name without any of its endings."""
    return path.name.split(".")[0] or path.name
