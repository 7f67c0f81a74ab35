"""Acknowledgements: what a sender is told of its message, in original and enhanced mode."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from neva.sources.hl7v2.message import Header
from neva.sources.hl7v2.reasons import REASONS

__all__ = ["acknowledgements", "framed"]

START: Final = b"\x0b"
END: Final = b"\x1c\r"

#: HL7 table 0357 for what we say.
_CODES: Final = {
    "type-unknown": "200", "type-missing": "101", "control-missing": "101",
    "subject-missing": "101", "stay-missing": "101", "time-missing": "101",
    "code-missing": "101", "merge-missing": "101", "control-repeated": "205",
    "too-long": "207", "sender-unknown": "207",
}  # fmt: skip


def framed(message: bytes) -> bytes:
    """Put a message between the bytes that frame it on the wire."""
    return START + message + END


def _wanted(condition: str, *, is_error: bool) -> bool:
    """Whether an acknowledgement is asked for, by MSH-15 or MSH-16 (table 0155)."""
    return condition in ("AL", "ER" if is_error else "SU")


def _escaped(text: str, header: Header) -> str:
    field, component, repetition, escape, subcomponent = header.separators
    text = text.replace(escape, f"{escape}E{escape}")
    for mark, name in ((field, "F"), (component, "S"), (repetition, "R"), (subcomponent, "T")):
        text = text.replace(mark, f"{escape}{name}{escape}")
    return text


def _one(header: Header | None, code: str, reason: str | None, place: str, at: datetime) -> bytes:
    if header is None:
        marks = ("|", "^", "~", "\\", "&")
        header = Header(marks, "", "", "", "", "", "", "", "P", "2.5", "", "", "")
    field, component = header.separators[:2]
    event = header.type.partition("^")[2]
    kind = component.join(part for part in ("ACK", event, "ACK" if event else "") if part)
    # Of the answer nothing but its own control id must be new.
    own = f"N{at:%Y%m%d%H%M%S%f}"
    msh = [
        f"MSH{field}{''.join(header.separators[1:])}", header.receiving_application,
        header.receiving_facility, header.application, header.facility,
        at.strftime("%Y%m%d%H%M%S%z"), "", kind, own, header.processing or "P",
        header.version or "2.5",
    ]  # fmt: skip
    msa = ["MSA", code, header.control]
    segments = [field.join(msh), field.join(msa)]
    if reason is not None:
        text = _escaped(REASONS.get(reason, reason), header)
        name, _, number = place.partition("-")
        where = component.join(part for part in (name, "1", number.split(".")[0]) if part)
        error = ["ERR", "", where if name else "", _CODES.get(reason, "207"), "E", "", "", "", text]
        segments.append(field.join(error))
    return ("\r".join(segments) + "\r").encode("latin-1", errors="replace")


def acknowledgements(
    header: Header | None,
    *,
    at: datetime,
    stored: bool,
    reason: str | None = None,
    place: str = "",
    is_error: bool = False,
) -> list[bytes]:
    """Say what became of a message.

    Parameters
    ----------
    header : Header or None
        Of the message; None: it has none that can be read.
    at : datetime
        Aware: now.
    stored : bool
        It is in the inbox, on disk.
    reason, place : str
        Why it cannot be applied or was not taken, and where; a key of ``REASONS``.
    is_error : bool
        A stored message with a reason is acknowledged as an error.

    Returns
    -------
    list of bytes
        In original mode one answer: AA, AE or AR. In enhanced mode (MSH-15 or MSH-16
        filled) those that are asked for: CA or CR, then AA, AE or AR.
    """
    refused = not stored
    application = "AR" if refused else ("AE" if reason is not None and is_error else "AA")
    explained = reason if application != "AA" else None
    if header is None or not (header.accept or header.application_accept):
        return [_one(header, application, explained, place, at)]
    found = []
    if _wanted(header.accept, is_error=refused):
        found.append(
            _one(header, "CR" if refused else "CA", reason if refused else None, place, at)
        )
    if _wanted(header.application_accept, is_error=application != "AA") and not (refused and found):
        found.append(_one(header, application, explained, place, at))
    return found
