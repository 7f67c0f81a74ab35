"""A site's profile: which fields, tables, codes and habits its HL7 v2 messages have."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from neva.errors import UsageError
from neva.events.clock import zone_named
from neva.files.yaml_lines import read_document

__all__ = ["CODE_SYSTEMS", "KINDS", "Place", "Profile", "SubjectField", "ZSegment", "read_profile"]

_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9]\d?\d?)(?:\.([1-9]\d?))?\Z")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


class Place(tuple[str, int, int]):
    """A place in a message, as ``PV1-3.1``: segment, field, component."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Place:
        """Read a place.

        Raises
        ------
        ValueError
            It is not written so.
        """
        found = _PLACE.match(text)
        if found is None:
            raise ValueError(f"no place in a message; found {text!r}; write PV1-3.1")
        return cls((found.group(1), int(found.group(2)), int(found.group(3) or 1)))


def _is_place(text: str) -> str:
    Place.of(text)
    return text


_PlaceText = Annotated[str, AfterValidator(_is_place)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectField(_Part):
    """Which repetition of PID-3 names the patient.

    Attributes
    ----------
    type : str or None
        PID-3.5, as ``MR``. None: any.
    authority : str or None
        PID-3.4, its first part. None: any.
    """

    type: str | None = None
    authority: str | None = None


class ZSegment(_Part):
    """Where a site's own segment holds an event; each a number of a field.

    Attributes
    ----------
    id, code : int
        Its own id, unique among the segments of this name; its code.
    value, unit, comparator, text, time, end, status, reason, rank, attributes, precision,
    sequence : int, optional
        As in the events of the store. Each repetition of `attributes` is a key and its value.
        Status: ``done``, ``planned``, ``not-done``,
        ``cancelled``; ``withdrawn`` withdraws what was told under this id.
    """

    id: int
    code: int
    value: int | None = None
    unit: int | None = None
    comparator: int | None = None
    text: int | None = None
    time: int | None = None
    end: int | None = None
    status: int | None = None
    reason: int | None = None
    rank: int | None = None
    attributes: int | None = None
    precision: int | None = None
    sequence: int | None = None


#: Table 0004, as far as it is in use.
_KINDS: Final = {
    "I": "inpatient", "E": "emergency", "O": "outpatient", "P": "inpatient", "R": "outpatient",
    "B": "inpatient", "C": "outpatient",
}  # fmt: skip
#: Table 0001.
_SEXES: Final = {
    "M": "male", "F": "female", "O": "other", "A": "other", "N": "other", "U": "unknown",
}  # fmt: skip
#: Table 0396, as far as it is in use.
_CODE_SYSTEMS: Final = {
    "LN": "LOINC", "LOINC": "LOINC", "I10": "ICD10", "I10C": "ICD10CM", "I9C": "ICD9CM",
    "SCT": "SNOMED", "SNM": "SNOMED", "ATC": "ATC", "RXNORM": "RXNORM", "NDC": "NDC",
    "CVX": "CVX", "UCUM": "UCUM",
}  # fmt: skip


#: Names of code systems in the store, and kinds of stays, that a site's word may stand for.
CODE_SYSTEMS: Final = tuple(sorted({*_CODE_SYSTEMS.values()}))
KINDS: Final = ("inpatient", "emergency", "day", "observation", "outpatient", "virtual")


class Profile(_Part):
    """What is said of a site's messages.

    Attributes
    ----------
    name : str
        Of the feed; part of the identity of its events.
    assigner : str
        Who gave its record and visit numbers: two sources speak of one patient only
        under the same assigner.
    zone : str or None
        IANA name, of times for which a message gives no offset. None: the hospital's.
    senders : tuple of str
        ``application^facility`` (MSH-3 and MSH-4) of those who may send; ``*`` stands for
        any text. Empty: anybody.
    characters : str or None
        Character set where MSH-18 names none (``windows-1251``).
    trust_characters : bool
        False: what MSH-18 says is wrong, `characters` counts always.
    recorded : {"arrived", "sent"}
        When rows were known: when the message arrived, or MSH-7.
    subject : SubjectField
    stay : str
        Where the visit number is: ``PV1-19``, ``PID-18``, …
    unit, bed : tuple of str
        Where a location's unit and bed are, within a field like PV1-3; several parts are
        joined by ``^``.
    cancel_time : {"of-event", "of-cancelling"}
        What EVN-6 of A11, A12, A13 and their like is: the time of what is cancelled, or
        of the cancelling.
    update_moves : bool
        Whether A08 with another place is a transfer.
    empty_fields : {"unchanged", "deleted"}
        What an empty field of a segment that is there says.
    kinds, sexes, sources, outcomes, code_systems : mapping of str to str
        The site's words and what they are in the store; what is missing of kinds, sexes
        and code systems is as in HL7's tables.
    sequence : mapping of str to int
        By segment (OBX, RXA, DG1) the field with the place among events of one time.
    death_precision : str or None
        How exactly a time of death is known, where it is less than it is written.
    without_code_system : str or None
        The system of codes that name none; None: the feed's own name.
    z_segments : mapping of str to ZSegment
    ignored_types : tuple of str
        Types (``MDM^T02``, ``ADT^*``) that are acknowledged and say nothing here.
    persons_from, stays_from : tuple of str
        Message types that may change demographics and stays: who wins when two feeds speak
        of one thing. Of stays only ``ADT`` can; an empty list leaves them to other feeds.
    same_control : {"refuse", "accept"}
        A control id again, with other content.
    errors : {"error", "accept"}
        How a message that is stored as a dead letter is acknowledged.
    keep_days : int
        How long messages are kept after they were applied.
    most_messages : int
    most_seconds : float
        A commit comes after so many messages, or so long, whichever is first.
    most_bytes : int
        Longer messages are refused.
    """

    name: str
    assigner: str
    zone: str | None = None
    senders: tuple[str, ...] = ()
    characters: str | None = None
    trust_characters: bool = True
    recorded: Literal["arrived", "sent"] = "arrived"
    subject: SubjectField = SubjectField()
    stay: _PlaceText = "PV1-19"
    unit: tuple[_PlaceText, ...] = ("PV1-3.1",)
    bed: tuple[_PlaceText, ...] = ("PV1-3.2", "PV1-3.3")
    cancel_time: Literal["of-event", "of-cancelling"] = "of-event"
    update_moves: bool = False
    empty_fields: Literal["unchanged", "deleted"] = "unchanged"
    kinds: Mapping[str, str] = Field(default_factory=dict)
    sexes: Mapping[str, str] = Field(default_factory=dict)
    sources: Mapping[str, str] = Field(default_factory=dict)
    outcomes: Mapping[str, str] = Field(default_factory=dict)
    code_systems: Mapping[str, str] = Field(default_factory=dict)
    sequence: Mapping[str, int] = Field(default_factory=dict)
    death_precision: Literal["instant", "minute", "day"] | None = None
    without_code_system: str | None = None
    z_segments: Mapping[str, ZSegment] = Field(default_factory=dict)
    ignored_types: tuple[str, ...] = ()
    persons_from: tuple[str, ...] = ("ADT",)
    stays_from: tuple[str, ...] = ("ADT",)
    same_control: Literal["refuse", "accept"] = "refuse"
    errors: Literal["error", "accept"] = "error"
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 14
    most_messages: Annotated[int, Field(ge=1, le=100_000)] = 1000
    most_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    most_bytes: Annotated[int, Field(ge=1000, le=200_000_000)] = 16_000_000

    @field_validator("unit", "bed", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, given: str) -> str:
        if not _NAME.match(given):
            raise ValueError(
                f"the name becomes a folder's; found {given!r}; use small letters, digits, - . _"
            )
        return given

    @field_validator("characters")
    @classmethod
    def _is_character_set(cls, given: str | None) -> str | None:
        if given is not None:
            try:
                codecs.lookup(given)
            except LookupError:
                raise ValueError(
                    f"no such character set; found {given!r}; write windows-1251, cp866, utf-8"
                ) from None
        return given

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, given: str | None) -> str | None:
        if given is not None:
            try:
                zone_named(given)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return given

    @cached_property
    def stay_place(self) -> Place:
        """Where the visit number is."""
        return Place.of(self.stay)

    @cached_property
    def unit_components(self) -> tuple[int, ...]:
        """Components of a location that make its unit."""
        return tuple(Place.of(one)[2] for one in self.unit)

    @cached_property
    def bed_components(self) -> tuple[int, ...]:
        """Components of a location that make its bed."""
        return tuple(Place.of(one)[2] for one in self.bed)

    @cached_property
    def all_kinds(self) -> dict[str, str]:
        """Kinds of stay by patient class, HL7's table under the site's own."""
        return {**_KINDS, **self.kinds}

    @cached_property
    def all_sexes(self) -> dict[str, str]:
        """Sexes by the sender's word."""
        return {**_SEXES, **self.sexes}

    @cached_property
    def all_code_systems(self) -> dict[str, str]:
        """The store's names of code systems, by the sender's."""
        return {**_CODE_SYSTEMS, **self.code_systems}

    @cached_property
    def _sender_patterns(self) -> list[re.Pattern[str]]:
        return [
            re.compile(re.escape(one).replace(r"\*", ".*") + r"\Z", re.DOTALL)
            for one in self.senders
        ]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Profile:
        """Copy it with changes; what follows from them is worked out anew."""
        del deep  # nothing in it can be changed
        return Profile.model_validate({**self.model_dump(), **(update or {})})

    def accepts_sender(self, sender: str) -> bool:
        """Whether ``application^facility`` may send."""
        return not self.senders or any(one.match(sender) for one in self._sender_patterns)

    def ignores_type(self, kind: str) -> bool:
        """Whether messages of a type say nothing here by the site's own word."""
        return kind in self.ignored_types or f"{kind.partition('^')[0]}^*" in self.ignored_types


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Parameters
    ----------
    path : Path
        YAML.

    Raises
    ------
    NotFoundError
        There is no such file.
    MappingError
        It cannot be read; the message names the line.
    """
    return read_document(path).read(Profile)
