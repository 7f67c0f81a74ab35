"""HL7 version 2: messages and batch files read, and what they say turned into rows."""

from __future__ import annotations

from neva.sources.hl7v2.context import Interpreted
from neva.sources.hl7v2.interpretation import interpret
from neva.sources.hl7v2.message import Message, UnreadableMessageError, read_message
from neva.sources.hl7v2.profile import Profile, read_profile

__all__ = [
    "Interpreted",
    "Message",
    "Profile",
    "UnreadableMessageError",
    "interpret",
    "read_message",
    "read_profile",
]
