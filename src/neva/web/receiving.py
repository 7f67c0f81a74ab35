"""An uploaded file: received in pieces, checked while it arrives, kept only if complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from neva.errors import BadInputError, NevaError
from neva.jobs.kept_uploads import Upload, Uploads, safe_name
from neva.sources.guess.sample import LONGEST_LINE
from neva.web.security.access import viewer_of
from neva.web.security.forms import check_token

__all__ = ["received"]

#: Of a form beside its file.
_MOST_AROUND: Final = 64_000
_LONGEST_FIELD: Final = 10_000
_MOST_PARTS: Final = 20
#: So many bytes of a refused form are read to its end.
_DRAINED: Final = 64_000_000
_WORKBOOK: Final = b"PK\x03\x04"
#: First bytes of what is no text, and what to do instead.
_NOT_TEXT: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a ZIP archive, or a workbook whose name does not end in .xlsx"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)


def _upload_error(found: str) -> BadInputError:
    return BadInputError(
        f"upload: only tables are taken, CSV or .xlsx; found {found}; save it as CSV in UTF-8 or "
        "Windows-1251"
    )


@dataclass
class _Table:
    """Writes a file while it comes, and refuses what is no table."""

    path: Path
    size: int = 0
    lines: int = 0
    _since: int = 0
    _head: bytes = b""
    _file: Any = None

    def open(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        if len(self._head) < 8:
            self._head = (self._head + data[:8])[:8]
            for start, name in _NOT_TEXT:
                if self._head.startswith(start) and not self._is_workbook:
                    raise _upload_error(name)
        self.size += len(data)
        if self._is_workbook:
            self._file.write(data)
            return
        if b"\0" in data:
            raise _upload_error("binary data (a byte of zero)")
        # The longest line counts: whoever reads the table later holds a line in memory.
        parts = data.split(b"\n")
        longest = max(self._since + len(parts[0]), *(len(part) for part in parts[1:]), 0)
        if longest > LONGEST_LINE:
            raise _upload_error(f"a line of more than {LONGEST_LINE:,} bytes")
        self._since = self._since + len(data) if len(parts) == 1 else len(parts[-1])
        self.lines += len(parts) - 1
        self._file.write(data)

    @property
    def _is_workbook(self) -> bool:
        """Whether it is opened elsewhere, within limits; here it is only kept."""
        return self.path.suffix == ".xlsx" and _WORKBOOK.startswith(self._head[:4])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass
class _Parts:
    """What the parser of the form calls."""

    folder: Path
    allow: Callable[[str], None]
    fields: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    file: _Table | None = None
    _headers: dict[str, bytes] = field(default_factory=dict)
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _field: str = ""
    _held: bytearray = field(default_factory=bytearray)
    _in_file: bool = False
    _count: int = 0

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, a, b: self._header[0].extend(data[a:b]),
            "on_header_value": lambda data, a, b: self._header[1].extend(data[a:b]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            message = "form: too many fields; found more than 20; use the form of the page"
            raise BadInputError(message)
        self._headers = {}

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        # A browser sends a name of no letters where nothing was chosen.
        self._in_file = bool(options.get(b"filename"))
        self._held = bytearray()
        if not self._in_file:
            return
        # Nothing of a file is kept before its form is known to be the session's own.
        self.allow(self.fields.get("csrf", ""))
        if self.file is not None:
            message = "upload: one file at a time; found two; send one after the other"
            raise BadInputError(message)
        self.name = safe_name(options[b"filename"].decode("utf-8", "replace"))
        self.file = _Table(self.folder / "file" / self.name)
        self.file.open()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self.file is not None:
            self.file.write(data[start:end])
            return
        self._held += data[start:end]
        if len(self._held) > _LONGEST_FIELD:
            message = "form: a field is too long; found more than 10,000 bytes; shorten it"
            raise BadInputError(message)

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._field] = self._held.decode("utf-8", "replace")


def _parser(request: Request, parts: _Parts) -> MultipartParser:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        message = "form: of another kind; found no form with a file; use the form of the page"
        raise BadInputError(message)
    return MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]


def _length(request: Request, most: int) -> int:
    """Read how much is announced; what is not announced is not taken."""
    try:
        length = int(request.headers.get("content-length", ""))
    except ValueError:
        length = -1
    if length < 0:
        raise HTTPException(
            411, "upload: its length is not announced; found no Content-Length; use a browser"
        )
    if length > most + _MOST_AROUND:
        raise HTTPException(
            413, f"upload: too large; found {length:,} bytes; at most {most:,} are taken, so "
            "import it with `neva import`"
        )  # fmt: skip
    return length


class _Stream:
    """What comes of a form, no more than was announced."""

    def __init__(self, request: Request, length: int) -> None:
        self._parts = request.stream()
        self._length, self._got = length, 0

    async def parts(self) -> AsyncIterator[bytes]:
        async for data in self._parts:
            self._got += len(data)
            if self._got > self._length:
                message = "form: longer than announced; found more bytes; send it anew"
                raise BadInputError(message)
            yield data

    async def drain(self) -> None:
        """Read what a browser still sends, so that it gets to see why it was refused."""
        if self._length > _DRAINED:
            return
        with suppress(ClientDisconnect):
            async for data in self._parts:
                self._got += len(data)
                if self._got > _DRAINED:
                    return


def _whole(request: Request, parts: _Parts, id_: str, account: str, at: datetime) -> Upload:
    """Say what was received; a form without a file, or with an empty one, is refused."""
    if parts.file is None or parts.name is None:
        check_token(request, parts.fields.get("csrf", ""))
        message = "upload: no file; found none in the form; choose one"
        raise BadInputError(message)
    parts.file.close()
    if not parts.file.size:
        raise _upload_error("an empty file")
    return Upload(id_, parts.name, account, at, parts.file.size, parts.file.lines, parts.folder)


async def received(
    request: Request, uploads: Uploads, *, most: int
) -> tuple[Upload, dict[str, str]]:
    """Receive a form with one file, and keep the file.

    The form's token comes first: nothing is written before it was checked.

    Parameters
    ----------
    request : Request
        Of somebody who is signed in.
    uploads : Uploads
    most : int
        Bytes of the file.

    Returns
    -------
    upload : Upload
    fields : dict of str to str
        Of the form.

    Raises
    ------
    BadInputError
        It is no form with a table.
    neva.web.security.access.Forbidden
        The form is not of this session.
    starlette.exceptions.HTTPException
        Its length is not announced (411) or too large (413).
    """
    length = _length(request, most)
    viewer, server = viewer_of(request), request.app.state.server
    stream = _Stream(request, length)
    folder: Path | None = None
    parts: _Parts | None = None
    try:
        uploads.refuse_more(viewer.account)
        id_, folder = uploads.begin()
        if shutil.disk_usage(folder).free < 2 * length:
            message = (
                "upload: the disk of the service is almost full; found too little room; ask an "
                "administrator"
            )
            raise BadInputError(message)
        parts = _Parts(folder, lambda token: check_token(request, token))
        parser = _parser(request, parts)
        async for data in stream.parts():
            parser.write(data)
        parser.finalize()
        upload = _whole(request, parts, id_, viewer.account, server.clock())
        uploads.keep(upload)
    except BaseException as error:
        # Whatever ends it, a broken connection too: nothing stays.
        if parts is not None and parts.file is not None:
            parts.file.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FormParserError):
            await stream.drain()
            message = "form: cannot be read; found a form that is not well formed; send it anew"
            raise BadInputError(message) from None
        if isinstance(error, NevaError):
            await stream.drain()
        raise
    return upload, parts.fields
