"""Files of HL7 v2 messages: MLLP frames, one message after the other, or batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["FileContent", "cut_file"]

_START: Final = b"\x0b"
_END: Final = b"\x1c"
_MESSAGE: Final = re.compile(rb"(?:(?<=[\r\n])|\A)(?=MSH)")
_BATCH_SEGMENT: Final = re.compile(rb"(?:(?<=[\r\n])|\A)(FHS|BHS|BTS|FTS)([^\r\n]*)[\r\n]*")


@dataclass(slots=True)
class FileContent:
    """The messages of a file.

    Attributes
    ----------
    messages : list of bytes
        In order.
    ignored : int
        Bytes that belong to no message.
    incomplete : int
        Frames that were begun and never ended; they are no messages.
    promised : int or None
        How many messages the batch trailers (BTS-1) say there are.
    """

    messages: list[bytes] = field(default_factory=list)
    ignored: int = 0
    incomplete: int = 0
    promised: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, as far as the file itself can say."""
        return not self.incomplete and self.promised in (None, len(self.messages))


def _frames(content: bytes, found: FileContent) -> Iterator[bytes]:
    at = 0
    while True:
        start = content.find(_START, at)
        if start < 0:
            found.ignored += len(content[at:].strip(b"\r\n"))
            return
        found.ignored += len(content[at:start].strip(b"\r\n"))
        end = content.find(_END, start)
        following = content.find(_START, start + 1)
        if end < 0 or -1 < following < end:
            found.incomplete += 1
            at = following if following > -1 else len(content)
            continue
        yield content[start + 1 : end]
        at = end + 1 + (content[end + 1 : end + 2] == b"\r")


def cut_file(content: bytes) -> FileContent:
    r"""Cut a file into its messages.

    Parameters
    ----------
    content : bytes
        MLLP frames, or messages one after the other, each beginning with MSH on a line
        of its own, with batch and file headers and trailers or without.

    Returns
    -------
    FileContent

    Examples
    --------
    >>> cut_file(b"BHS|^~\\&\rMSH|^~\\&|A\rMSH|^~\\&|B\rBTS|3\r").is_whole
    False
    """
    found = FileContent()
    if _START in content:
        found.messages = list(_frames(content, found))
        return found
    content = content.removeprefix(b"\xef\xbb\xbf")
    for segment in _BATCH_SEGMENT.finditer(content):
        if segment.group(1) == b"BTS":
            count = segment.group(2)[1:].split(segment.group(2)[:1] or b"|")[0].strip()
            if count.isdigit():
                found.promised = (found.promised or 0) + int(count)
    content = _BATCH_SEGMENT.sub(b"", content)
    first, *messages = _MESSAGE.split(content)
    found.ignored = len(first.strip())
    found.messages = messages
    return found
