"""The first rows of a table file, as a file of its own: what a preview before an import reads.

However large the file, so many lines and bytes are read and no more.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from neva.errors import BadInputError, NotFoundError

__all__ = ["IS_TABLE_OF_TYPES", "LONGEST_LINE", "first_lines", "sampled"]

#: A longer line is no line of a table.
LONGEST_LINE: Final = 2**20
_MOST_BYTES: Final = 16 * 2**20
#: Files that are no text; they are read as they are.
IS_TABLE_OF_TYPES: Final = (".xlsx", ".xls", ".parquet")


def first_lines(path: Path, rows: int, *, quote: bytes = b'"') -> bytes:
    """Return the header and the first rows of a text table, as bytes.

    A line break between quotation marks does not end a row. What is cut is cut
    between two rows.

    Parameters
    ----------
    path : Path
        CSV, plain or gzip, in an encoding in which a line break is one byte.
    rows : int
        So many, at most; fewer if they have more than 16 MB.
    quote : bytes

    Raises
    ------
    NotFoundError
    BadInputError
        It is empty, damaged, or has a line of more than :data:`LONGEST_LINE` bytes.
    """
    taken: list[bytes] = []
    pending: list[bytes] = []
    quotes = size = 0
    try:
        with (gzip.open if path.suffix == ".gz" else Path.open)(path, "rb") as file:
            while len(taken) <= rows and size < _MOST_BYTES:
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    break
                if len(line) > LONGEST_LINE:
                    raise BadInputError(
                        f"{path.name}: no table; found a line of more than {LONGEST_LINE:,} bytes; "
                        "give a table with one row a line"
                    )
                size += len(line)
                pending.append(line)
                quotes += line.count(quote)
                if quotes % 2 == 0:
                    taken.append(b"".join(pending))
                    pending = []
    except FileNotFoundError:
        message = f"{path.name}: no such file; found nothing there; check the path"
        raise NotFoundError(message) from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        message = f"{path.name}: cannot be read; found damaged gzip data; copy it again"
        raise BadInputError(message) from None
    # A quotation mark that nothing closes: the reader is to say so.
    whole = b"".join(taken) or b"".join(pending)
    if not whole.strip():
        message = f"{path.name}: cannot be read; found an empty file; export it again"
        raise BadInputError(message)
    return whole


@contextmanager
def sampled(path: Path, rows: int, *, quote: str = '"') -> Iterator[Path]:
    """Give the beginning of a table file as a file of the same name.

    Its folder is the caller's only (mode 0700), and gone afterwards. Excel and
    Parquet files are given as they are.

    Parameters
    ----------
    path : Path
    rows : int
    quote : str

    Raises
    ------
    BadInputError
        As :func:`first_lines`.
    """
    if path.suffix in IS_TABLE_OF_TYPES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="neva-sample-") as folder:
        target = Path(folder) / path.name.removesuffix(".gz")
        sign = quote.encode() if quote.isascii() else b'"'
        target.write_bytes(first_lines(path, rows, quote=sign))
        yield target
