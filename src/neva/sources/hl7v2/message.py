"""One HL7 v2 message: its characters, separators, segments and fields.

A message is cut at its own separators (MSH-1 and MSH-2) and nowhere else; a
field is looked into only when it is asked for, and escapes are undone last.
Why this is not a library: ``docs/decisions/hl7v2.md``.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["DELETED", "Header", "Message", "UnreadableMessageError", "read_header", "read_message"]

#: What a sender writes into a field to delete its value.
DELETED: Final = '""'

#: Table 0211: how a sender names its character set, and Python's name for it.
_CHARACTER_SETS: Final = {
    "": None,
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))},
}
_LINE_END: Final = re.compile(r"[\r\n]+")
_BYTES_LINE_END: Final = re.compile(rb"[\r\n]")
_SEGMENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
_UTF8_MARK: Final = codecs.BOM_UTF8


class UnreadableMessageError(Exception):
    """A message that cannot be read.

    Attributes
    ----------
    reason : str
        A key of :data:`neva.sources.hl7v2.reasons.REASONS`.
    field : str
        Where, as ``MSH-18``; empty for the whole message.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field or 'message'}: {reason}")
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says, as far as an acknowledgement and the order of messages need it.

    Attributes
    ----------
    separators : tuple of str
        Field, component, repetition, escape and subcomponent separator.
    application, facility : str
        MSH-3 and MSH-4: who sends, as written.
    receiving_application, receiving_facility : str
        MSH-5 and MSH-6.
    sent : str
        MSH-7.
    type : str
        MSH-9, its first two components: ``ADT^A01``, whatever the separators are.
    control : str
        MSH-10.
    processing, version : str
        MSH-11 and MSH-12.
    accept, application_accept : str
        MSH-15 and MSH-16.
    characters : str
        The first repetition of MSH-18.
    """

    separators: tuple[str, str, str, str, str]
    application: str
    facility: str
    receiving_application: str
    receiving_facility: str
    sent: str
    type: str
    control: str
    processing: str
    version: str
    accept: str
    application_accept: str
    characters: str

    @property
    def sender(self) -> str:
        """Application and facility, with ``^`` between them."""
        return f"{self.application}^{self.facility}"


def read_header(raw: bytes) -> Header:
    """Read the MSH segment alone.

    Parameters
    ----------
    raw : bytes
        The message, without the bytes that frame it.

    Raises
    ------
    UnreadableMessageError
        The message does not begin with a whole MSH segment.
    """
    raw = raw.removeprefix(_UTF8_MARK)
    end = _BYTES_LINE_END.search(raw)
    # Names of applications are text too, but nothing that is decided by them needs its letters.
    line = raw[: end.start() if end else len(raw)].decode("latin-1")
    if not line.startswith("MSH") or len(line) < 8:
        raise UnreadableMessageError("no-header")
    separator = line[3]
    fields = line.split(separator)
    marks = fields[1]
    if separator.isalnum() or len(marks) < 1 or len(set(separator + marks)) != len(marks) + 1:
        raise UnreadableMessageError("separators-unreadable", "MSH-2")
    four = marks + "^~\\&"[len(marks) :]
    component, repetition, escape, subcomponent = four[0], four[1], four[2], four[3]

    def field(number: int) -> str:
        return fields[number - 1] if len(fields) >= number else ""

    parts = [*field(9).split(component), ""]
    return Header(
        separators=(separator, component, repetition, escape, subcomponent),
        application=field(3),
        facility=field(4),
        receiving_application=field(5),
        receiving_facility=field(6),
        sent=field(7).split(component)[0],
        type="^".join(parts[:2]).rstrip("^"),
        control=field(10),
        processing=field(11).split(component)[0],
        version=field(12).split(component)[0],
        accept=field(15),
        application_accept=field(16),
        characters=field(18).split(repetition)[0].strip(),
    )


def _decoded(raw: bytes, header: Header, declared: str | None, *, trust: bool) -> str:
    raw = raw.removeprefix(_UTF8_MARK)
    if raw.isascii():
        return raw.decode("ascii")
    name = header.characters.upper()
    known = _CHARACTER_SETS.get(name, "")
    if not trust or (name == "" and declared is not None):
        known = declared
    elif known == "":
        raise UnreadableMessageError("character-set-unknown", "MSH-18")
    if known is None:
        raise UnreadableMessageError("character-set-missing", "MSH-18")
    try:
        return raw.decode(known)
    except UnicodeDecodeError:
        raise UnreadableMessageError("character-set-wrong", "MSH-18") from None


@dataclass(frozen=True, slots=True)
class Message:
    """A message, cut into segments and fields.

    Attributes
    ----------
    header : Header
    segments : list of list of str
        Each segment's fields as written, the first its name. Field *n* of a segment
        stands at place *n*, of MSH at *n* − 1.
    """

    header: Header
    segments: list[list[str]]

    def named(self, name: str) -> Iterator[list[str]]:
        """Yield the segments of a name, in order."""
        return (one for one in self.segments if one[0] == name)

    def first(self, name: str) -> list[str] | None:
        """Return the first segment of a name."""
        return next(self.named(name), None)

    def text(self, segment: list[str] | None, field: int, component: int = 1) -> str:
        """Return a component of the first repetition of a field, escapes undone.

        Parameters
        ----------
        segment : list of str or None
            One of `segments`; None: everything is empty.
        field, component : int
            Counted from 1.

        Returns
        -------
        str
            Empty where the sender said nothing; :data:`DELETED` where it deletes.
        """
        if segment is None or len(segment) <= field:
            return ""
        value = segment[field]
        if not value:
            return ""
        return self.component(value, component)

    def component(self, field: str, number: int = 1) -> str:
        """Return a component of a field's first repetition; of that the first subcomponent."""
        _, component, repetition, escape, subcomponent = self.header.separators
        if repetition in field:
            field = field.split(repetition, 1)[0]
        if component in field:
            parts = field.split(component, number)
            field = parts[number - 1] if len(parts) >= number else ""
        elif number > 1:
            return ""
        if subcomponent in field:
            field = field.split(subcomponent, 1)[0]
        return self.unescaped(field).strip() if escape in field else field.strip()

    def repetitions(self, segment: list[str] | None, field: int) -> list[str]:
        """Return the repetitions of a field, as written."""
        if segment is None or len(segment) <= field or not segment[field]:
            return []
        return segment[field].split(self.header.separators[2])

    def value(self, segment: list[str], field: int) -> str:
        """Return a whole field as text: repetitions as lines, escapes undone."""
        parts = self.repetitions(segment, field)
        return "\n".join(self.unescaped(one) for one in parts).strip()

    def unescaped(self, text: str) -> str:
        r"""Undo escapes: separators, ``\Xhh..\`` and line breaks; highlighting goes.

        Examples
        --------
        >>> message = read_message(b"MSH|^~\\&|LAB|H|||20260101||ORU^R01|1|P|2.5\r")
        >>> message.unescaped("a\\T\\b\\X41\\c\\.br\\d\\H\\e\\N\\")
        'a&bAc\nde'
        """
        escape = self.header.separators[3]
        if escape not in text:
            return text
        pieces = text.split(escape)
        found = [pieces[0]]
        at = 1
        while at < len(pieces):
            if at + 1 >= len(pieces):  # an escape that was never closed is text
                found.append(escape + pieces[at])
                break
            undone = self._escape(pieces[at])
            if undone is None:
                found.append(escape + pieces[at])
                at += 1
                continue
            found += [undone, pieces[at + 1]]
            at += 2
        return "".join(found)

    def _escape(self, code: str) -> str | None:
        field, component, repetition, escape, subcomponent = self.header.separators
        single = {
            "F": field, "S": component, "R": repetition, "E": escape, "T": subcomponent,
            "H": "", "N": "",
        }  # fmt: skip
        if code in single:
            return single[code]
        if code[:1] == "X" and len(code) % 2 == 1:
            try:
                return bytes.fromhex(code[1:]).decode("utf-8", errors="replace")
            except ValueError:
                return None
        if code.startswith("."):
            return "\n" if code[1:3] in ("br", "sp", "ce") else ""
        if code[:1] in ("C", "M", "Z") and code[1:].isalnum():
            return ""
        return None


def read_message(
    raw: bytes, *, declared: str | None = None, trust: bool = True, most_segments: int = 10_000
) -> Message:
    """Read a message.

    Parameters
    ----------
    raw : bytes
        Without the bytes that frame it. Segments end with CR; LF and CRLF are read too.
    declared : str, optional
        Python's name of the character set where MSH-18 says none.
    trust : bool
        False: what MSH-18 says is wrong, `declared` counts.
    most_segments : int
        A message of more is refused.

    Returns
    -------
    Message

    Raises
    ------
    UnreadableMessageError
        No header, letters that cannot be read, or lines that are no segments.
    """
    header = read_header(raw)
    text = _decoded(raw, header, declared, trust=trust)
    if "\x00" in text:
        raise UnreadableMessageError("binary-content")
    separator = header.separators[0]
    lines = [line for line in _LINE_END.split(text) if line and not line.isspace()]
    if len(lines) > most_segments:
        raise UnreadableMessageError("too-many-segments")
    segments = [line.split(separator) for line in lines]
    for fields in segments:
        if not _SEGMENT_NAME.match(fields[0]):
            raise UnreadableMessageError("segment-unreadable")
    if sum(fields[0] == "MSH" for fields in segments) != 1:
        raise UnreadableMessageError("two-messages")
    return Message(header, segments)
