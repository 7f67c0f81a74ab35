"""What a message says: of persons, stays, results and orders, as rows under local ids."""

from __future__ import annotations

from datetime import datetime

from neva.sources.hl7v2.administration import SAYS_NOTHING, administration, demographics
from neva.sources.hl7v2.context import Context, Interpreted
from neva.sources.hl7v2.message import Message, UnreadableMessageError, read_message
from neva.sources.hl7v2.orders import appointment, medicines, orders
from neva.sources.hl7v2.profile import Profile
from neva.sources.hl7v2.results import diagnoses, results, site_segments

__all__ = ["interpret", "interpret_raw"]


def interpret_raw(
    raw: bytes, profile: Profile, *, zone: str, arrived: datetime
) -> tuple[Message, Interpreted]:
    """Read a message and say what it says; see :func:`interpret`."""
    message = read_message(raw, declared=profile.characters, trust=profile.trust_characters)
    return message, interpret(message, profile, zone=zone, arrived=arrived)


def interpret(message: Message, profile: Profile, *, zone: str, arrived: datetime) -> Interpreted:
    """Say what a message says.

    Parameters
    ----------
    message : Message
    profile : Profile
        Of the site.
    zone : str
        The hospital's, where the profile names none.
    arrived : datetime
        Aware: when the message arrived.

    Returns
    -------
    Interpreted

    Raises
    ------
    UnreadableMessageError
        It cannot be applied; nothing of it is.
    """
    kind, _, event = message.header.type.partition("^")
    if not kind:
        raise UnreadableMessageError("type-missing", "MSH-9")
    if not profile.accepts_sender(message.header.sender):
        raise UnreadableMessageError("sender-unknown", "MSH-3")
    context = Context(message, profile, zone=zone, arrived=arrived)
    if profile.ignores_type(message.header.type):
        return context.found
    for segment in message.segments:
        if segment[0][0] == "Z" and segment[0] not in profile.z_segments:
            context.doubt("segment-unknown", segment[0])
    if kind == "ADT":
        event = event or message.text(message.first("EVN"), 1)
        administration(context, event)
        if event not in SAYS_NOTHING:
            diagnoses(context)
    elif kind in ("ORU", "OUL"):
        results(context)
    elif kind in ("ORM", "OMG", "OML", "OMI", "OMP"):
        orders(context)
    elif kind in ("RDE", "RDS", "RAS", "RGV"):
        medicines(context)
    elif kind == "SIU":
        appointment(context)
    elif kind == "BAR":
        diagnoses(context)
    elif not any(segment[0] in profile.z_segments for segment in message.segments):
        raise UnreadableMessageError("type-unknown", "MSH-9")
    if profile.z_segments:
        site_segments(context)
    if kind in profile.persons_from and kind != "ADT":
        demographics(context)
    return context.found
