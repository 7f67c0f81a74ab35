"""Why a message, or a part of one, was not taken; and what is in doubt of those that were."""

from __future__ import annotations

from typing import Final

__all__ = ["DOUBTS", "REASONS"]

#: Why a message goes to the dead letters.
REASONS: Final = {
    "no-header": "it does not begin with an MSH segment",
    "separators-unreadable": "MSH-1 and MSH-2 do not name five different separators",
    "character-set-unknown": "MSH-18 names a character set that is not known",
    "character-set-missing": "letters beyond ASCII without a character set in MSH-18: the "
    "profile must name it",
    "character-set-wrong": "it holds bytes that are no letters of its character set",
    "binary-content": "it holds zero bytes",
    "segment-unreadable": "a line does not begin with the name of a segment",
    "too-many-segments": "it has more segments than a message may have",
    "two-messages": "it holds a second MSH segment",
    "too-long": "it is longer than a message may be",
    "control-missing": "MSH-10 is empty",
    "control-repeated": "MSH-10 was used before, for a message of other content",
    "sender-unknown": "MSH-3 and MSH-4 are not among the senders of the profile",
    "type-missing": "MSH-9 is empty",
    "type-unknown": "messages of this type are not read",
    "subject-missing": "no patient identifier of the kind that the profile names",
    "stay-missing": "no visit number where the event is about a stay",
    "merge-missing": "no prior identifier in MRG",
    "merge-circular": "a record would be merged into itself",
    "time-missing": "no time of the event",
    "time-unreadable": "a time is not written as HL7 writes times",
    "time-imprecise": "a time is less exact than a day",
    "time-nonexistent": "this local time did not exist (the clocks went forward)",
    "time-beyond-import": "a time of what has happened lies more than a day after the message "
    "arrived (a mistyped year?)",
    "time-too-early": "a time lies before 1900 (a mistyped year?)",
    "code-missing": "an observation or order without a code",
    "file-refused": "a file of the folder could not be taken: its reason stands beside it",
    "not-stored": "it could not be written to disk: send it again",
    "unreadable": "the message could not be interpreted",
}

#: What is in doubt of a message that was taken.
DOUBTS: Final = {
    "code-missing": "an observation without a code: it is left out",
    "code-system-unknown": "the profile does not name this code system: the code is kept under "
    "the system's own name",
    "code-system-missing": "a code without a system: kept under the feed's own name",
    "class-unknown": "the profile does not know this patient class: the kind of the stay is open",
    "status-unknown": "a status that is not in HL7's table: taken as final",
    "value-unreadable": "a number that cannot be read as one: kept as text",
    "birth-impossible": "a date of birth to come, or before 1880: not taken",
    "birth-imprecise": "a date of birth without its day: not taken",
    "subject-other": "stays of which messages name another patient: those messages change nothing",
    "admission-unseen": "stays whose admission no message told",
    "cancel-unmatched": "stays with a cancellation of something that no message told",
    "sent-ahead": "sent later than it arrived: the sender's clock is ahead",
    "segment-unknown": "a site's own segment that the profile does not name",
}
