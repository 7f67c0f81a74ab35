"""FHIR codings, references and times as the plain values of rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from neva.events.clock import first_moment, instant
from neva.events.schema import OPEN_END

__all__ = [
    "OWN_SYSTEMS",
    "SYSTEM_URLS",
    "UNKNOWN",
    "Context",
    "Moment",
    "Within",
    "coded",
    "codings",
    "fhir_coding",
    "is_fhir_code",
    "is_known_system",
    "moment",
    "period",
    "system_of",
    "system_url",
    "text_of",
    "token_of",
]

#: Short names of code systems and their URLs.
SYSTEM_URLS: Final = {
    "LOINC": "http://loinc.org",
    "SNOMED": "http://snomed.info/sct",
    "RxNorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ICD10": "http://hl7.org/fhir/sid/icd-10",
    "ICD10CM": "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD10GM": "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "ICD10PCS": "http://www.cms.gov/Medicare/Coding/ICD10",
    "ICD9CM": "http://hl7.org/fhir/sid/icd-9-cm",
    "ICD11": "http://id.who.int/icd/release/11/mms",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "ATC": "http://www.whocc.no/atc",
    "UCUM": "http://unitsofmeasure.org",
    "NDC": "http://hl7.org/fhir/sid/ndc",
    "CPT4": "http://www.ama-assn.org/go/cpt",
    "HCPCS": "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "OPS": "http://fhir.de/CodeSystem/bfarm/ops",
    "UNII": "http://fdasis.nlm.nih.gov",
    "HPO": "http://human-phenotype-ontology.org",
}
_SHORT_NAMES: Final = {
    **{url: short for short, url in SYSTEM_URLS.items()},
    "http://fhir.de/CodeSystem/dimdi/icd-10-gm": "ICD10GM",
    "http://fhir.de/CodeSystem/dimdi/ops": "OPS",
    "http://fhir.de/CodeSystem/bfarm/atc": "ATC",
    "http://hl7.org/fhir/sid/icd-9-cm/diagnosis": "ICD9CM",
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.88": "RxNorm",
    "urn:oid:2.16.840.1.113883.6.3": "ICD10",
    "urn:oid:2.16.840.1.113883.6.90": "ICD10CM",
}


#: Under this our export writes code systems that it knows no URL of; the rest
#: is their name. It resolves nowhere (RFC 2606).
OWN_SYSTEMS: Final = "https://neva.invalid/CodeSystem/"

# A code as FHIR allows it: words with one space between them. Other codes are
# written with percent signs, under a system that says so.
_FHIR_CODE: Final = re.compile(r"\S+(\s\S+)*")
_ESCAPED: Final = OWN_SYSTEMS + "escaped/"

# HL7 gives each last part once; an OID is all in its last part.
_UNIQUE_LAST_PART: Final = re.compile(
    r"https?://(terminology\.)?hl7\.org/(fhir/)?(CodeSystem/|sid/)?[^/]+/?$|urn:"
)


def is_known_system(url: str | None) -> bool:
    """Say whether a code system has a short name of its own."""
    return not url or url.startswith(OWN_SYSTEMS) or url.rstrip("/") in _SHORT_NAMES


def system_url(name: str) -> str:
    """Give the URL of a code system: the published one, else one of our own.

    >>> system_url("LOINC"), system_url("lab A")
    ('http://loinc.org', 'https://neva.invalid/CodeSystem/lab%20A')
    """
    return SYSTEM_URLS.get(name) or OWN_SYSTEMS + quote(name, safe="")


def is_fhir_code(text: str) -> bool:
    """Say whether FHIR's type ``code`` can hold a text."""
    return _FHIR_CODE.fullmatch(text) is not None


def fhir_coding(system: str, code: str) -> tuple[str, str]:
    """Give system and code of a Coding; `codings` reads them back as they were.

    >>> fhir_coding("DRUG", "15mg  daily")
    ('https://neva.invalid/CodeSystem/escaped/DRUG', '15mg%20%20daily')
    """
    if is_fhir_code(code):
        return system_url(system), code
    return _ESCAPED + quote(system, safe=""), quote(code, safe="")


@lru_cache(maxsize=4096)
def _system(url: str) -> str:
    known = _SHORT_NAMES.get(url.rstrip("/"))
    if known:
        return known
    if url.startswith(OWN_SYSTEMS):
        return unquote(url.removeprefix(OWN_SYSTEMS))
    last = re.split(r"[/#|:]", url.rstrip("/"))[-1]
    short = re.sub(r"[^\w.]+", "-", last).upper() or "LOCAL"
    if _UNIQUE_LAST_PART.match(url) and short not in SYSTEM_URLS:
        return short
    # Two hospitals may both have a system ".../ward": the end of a hash of
    # the URL keeps them apart, whatever else is read with them.
    return f"{short}-{hashlib.sha256(url.encode()).hexdigest()[:6].upper()}"


#: The systems that ready definitions name, in the order in which one of several
#: codings becomes the code; other known systems follow, and local ones come last.
_SYSTEM_ORDER: Final = (
    "CARE",
    "LOINC",
    "ATC",
    "ICD10",
    "ICD10GM",
    "ICD10CM",
    "ICD11",
    "ICD9CM",
    "OPS",
    "ICD10PCS",
    "RxNorm",
    "CVX",
    "SNOMED",
)
#: The codes that the profiles of vital signs of FHIR R4 require. Others of LOINC may
#: stand beside them, and say the same more finely.
_VITAL_SIGNS: Final = frozenset(
    f"LOINC//{code}"
    for code in (
        "85353-1", "9279-1", "8867-4", "2708-6", "8310-5", "8302-2", "9843-4", "29463-7",
        "39156-5", "85354-9", "8480-6", "8462-4",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Within:
    """What the parts of a stay tell of it.

    Attributes
    ----------
    kind : str or None
        The kind of the part that is most of a stay in hospital.
    start, end : datetime or None
        The first start of a part, and the last end.
    """

    kind: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass
class Context:
    """What one resource must know of others; all of it may be empty.

    Attributes
    ----------
    ids : dict
        ``fullUrl`` to resource id, where they differ.
    medications : dict
        Id of a Medication to its ``code``.
    unusable : set
        Ids of Medications that may not be read: a modifier of theirs is not known.
    locations : dict
        Id of a Location to the resource.
    ranks : dict
        Id of a Condition to its rank among the diagnoses of its encounter.
    systems : dict
        URLs of code systems to the short names that the hospital gives them.
    preferred : tuple of str
        Code systems, by short name or URL, whose coding is the code where a
        concept has several; before the order that holds otherwise.
    identified : dict
        Type, system (None: any) and value of an identifier to the id of the
        resource that has it; None where several have it.
    stays : dict
        Id of an Encounter that is part of another to the id of the stay; None
        where its ``partOf`` cannot be followed.
    within : dict
        Id of a stay to what its parts tell of it.
    covered : dict
        Id of an Encounter to the times at which its parts say where the patient was.
    last_known : dict
        Id of a stay that is over without an end to the latest time known of it.
    persons : dict
        Id of a Patient to that of the record that took its place.
    """

    ids: dict[str, str] = field(default_factory=dict)
    medications: dict[str, Any] = field(default_factory=dict)
    unusable: set[str] = field(default_factory=set)
    locations: dict[str, dict[str, Any]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    systems: dict[str, str] = field(default_factory=dict)
    preferred: tuple[str, ...] = ()
    identified: dict[tuple[str, str | None, str], str | None] = field(default_factory=dict)
    stays: dict[str, str | None] = field(default_factory=dict)
    within: dict[str, Within] = field(default_factory=dict)
    covered: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)
    last_known: dict[str, datetime] = field(default_factory=dict)
    persons: dict[str, str] = field(default_factory=dict)
    _precedence: dict[str, tuple[int, bool]] = field(default_factory=dict, repr=False)

    def system(self, url: str | None) -> str:
        """Short name of a code system; the same for the same URL, always."""
        if not url:
            return "LOCAL"
        return self.systems.get(url) or _system(url)

    def precedence(self, code: str) -> tuple[int, bool]:
        """Sort key of the codes of one concept: the first of them becomes the code."""
        known = self._precedence.get(code)
        if known is None:
            known = self._precedence[code] = self._precedence_of(code)
        return known

    def _precedence_of(self, code: str) -> tuple[int, bool]:
        system = code.partition("//")[0]
        chosen = [self.system(one) if ":" in one else one for one in self.preferred]
        order = [*chosen, *(one for one in _SYSTEM_ORDER if one not in chosen)]
        last = len(order) + (system not in SYSTEM_URLS)
        place = order.index(system) if system in order else last
        return place, code not in _VITAL_SIGNS

    def id_of(self, reference: Any, expected: str | None = None) -> str | None:
        """Id that a Reference points to; None where it cannot be told.

        ``Patient/1``, absolute URLs with or without version, ``urn:uuid:`` and
        ``urn:oid:`` are understood. A search by identifier
        (``Patient?identifier=…``) and a reference by identifier alone are
        understood where the delivery has exactly one such resource.
        """
        token = token_of(reference, expected)
        if token is not None:
            return self.identified.get(token)
        text: str | None = (reference or {}).get("reference")
        if not text or "?" in text or text.startswith("#"):
            return None
        if text in self.ids:
            return self.ids[text]
        if text.startswith("urn:"):
            return text.rsplit(":", 1)[-1]
        parts = text.split("/_history/")[0].rstrip("/").split("/")
        if expected is not None and len(parts) > 1 and parts[-2] != expected:
            return None
        return parts[-1] or None

    def stay_of(self, reference: Any) -> str | None:
        """Id of the stay that a reference to an Encounter is about: the whole, not a part."""
        found = self.id_of(reference, "Encounter")
        return None if found is None else self.stays.get(found, found)


def token_of(reference: Any, expected: str | None = None) -> tuple[str, str | None, str] | None:
    """Type, system and value by which a Reference names a resource; None where it does not.

    >>> token_of({"reference": "Patient?identifier=https://example.org/mrn|12"})
    ('Patient', 'https://example.org/mrn', '12')
    >>> token_of({"identifier": {"value": "12"}}, "Patient")
    ('Patient', None, '12')
    """
    if not isinstance(reference, Mapping):
        return None
    text = reference.get("reference")
    if isinstance(text, str) and text:
        path, is_search, query = text.partition("?")
        kind = path.rstrip("/").rsplit("/", 1)[-1]
        asked = parse_qsl(query, keep_blank_values=True) if is_search else []
        if len(asked) != 1 or asked[0][0] != "identifier" or expected not in (None, kind):
            return None
        before, has_system, after = asked[0][1].partition("|")
        return (kind, before, after) if has_system else (kind, None, before)
    identifier = reference.get("identifier")
    stated = reference.get("type") or expected
    if not isinstance(identifier, Mapping) or not isinstance(stated, str):
        return None
    if expected is not None and stated != expected:
        return None
    value, given = identifier.get("value"), identifier.get("system")
    if not isinstance(value, str) or not value or not isinstance(given, str | None):
        return None
    return stated, given, value


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as FHIR writes it: exact, to the day, or (``partial``) only year or month."""

    time: datetime | None = None
    precision: str | None = None
    reason: str | None = None
    partial: str | None = None


_NOTHING: Final = Moment()
#: In the place of a partial time: the resource says that it is not known.
UNKNOWN: Final = "unknown"
_PARTIAL: Final = re.compile(r"\d{4}(-\d{2})?")


def moment(text: Any, zone: str) -> Moment:
    """Read a FHIR date, dateTime or instant.

    Examples
    --------
    >>> moment("2020-03", "Europe/Berlin").partial
    '2020-03'
    >>> moment("2020-03-01", "Europe/Berlin").precision
    'day'
    """
    if text is None or text == "":
        return _NOTHING
    if not isinstance(text, str):
        return Moment(reason="time-unreadable")
    try:
        if len(text) == 10:
            return Moment(first_moment(date.fromisoformat(text), zone), "day")
        if len(text) < 10:
            if _PARTIAL.fullmatch(text):
                return Moment(partial=text)
            return Moment(reason="time-unreadable")
        # A leap second is read as the second before it.
        read = datetime.fromisoformat(text.replace(":60", ":59", 1) if ":60" in text else text)
        precision = "minute" if len(text) < 17 or text[16] != ":" else "instant"
        if read.tzinfo is not None:
            return Moment(read.astimezone(UTC), precision)
        time, reason = instant(read, zone)
        return Moment(time, precision if time else None, reason)
    except (ValueError, OverflowError):
        return Moment(reason="time-unreadable")


#: Statuses of what is over, whether or not its end is told.
_OVER: Final = frozenset(
    ("completed", "stopped", "cancelled", "revoked", "not-done", "not-taken", "entered-in-error")
)


#: Choices of time of what was seen or done, rather than of what began to be so.
_OBSERVED: Final = frozenset(("effective", "performed", "occurrence"))


def period(
    resource: Mapping[str, Any], stem: str, zone: str, *, open_end: bool = False
) -> tuple[Moment, Moment]:
    """Read a choice of time, ``<stem>DateTime``, ``Period``, ``Instant`` or ``Timing``.

    With `open_end` a period without an end has ``OPEN_END`` as its end, unless
    the resource's status says that it is over.
    """
    open_end = open_end and resource.get("status") not in _OVER
    for ending in ("DateTime", "Instant"):
        if f"{stem}{ending}" in resource:
            return moment(resource[f"{stem}{ending}"], zone), _NOTHING
    if f"{stem}Period" in resource:
        span = resource[f"{stem}Period"]
        begin, end = moment(span.get("start"), zone), moment(span.get("end"), zone)
        if begin == _NOTHING and end.time is not None and stem in _OBSERVED:
            return end, _NOTHING  # when it began is not told; it was so at the end
        if open_end and begin.time is not None and end == _NOTHING:
            # The standard: a period without an end is going on.
            end = Moment(OPEN_END, begin.precision)
        return begin, end
    if f"{stem}Timing" in resource:
        return moment((resource[f"{stem}Timing"].get("event") or [None])[0], zone), _NOTHING
    if f"_{stem}DateTime" in resource:
        # Only an extension: the standard's way to say that the time is not known.
        return Moment(partial=UNKNOWN), _NOTHING
    return _NOTHING, _NOTHING


def codings(concept: Mapping[str, Any] | None, context: Context) -> list[tuple[str, str | None]]:
    """Codes of a CodeableConcept with their displays; a bare text is a code too.

    The order of codings has no meaning in FHIR: they come in the order of
    `Context.precedence`, whatever order they were written in.
    """
    concept = concept or {}
    found = [
        (_code(each.get("system"), each["code"], context), each.get("display"))
        for each in concept.get("coding") or ()
        if each.get("code")
    ]
    if len(found) > 1:
        found.sort(key=lambda pair: context.precedence(pair[0]))
    if not found and concept.get("text"):
        found = [(f"FHIR-TEXT//{concept['text']}", concept["text"])]
    return found


def _code(url: str | None, code: str, context: Context) -> str:
    if url and url.startswith(_ESCAPED):
        return f"{unquote(url.removeprefix(_ESCAPED))}//{unquote(code)}"
    return f"{context.system(url)}//{code}"


def system_of(concept: Any, code: str, context: Context) -> str | None:
    """URL of the system of a code among the codings of a concept."""
    for each in concept.get("coding") or () if isinstance(concept, Mapping) else ():
        if each.get("code") and _code(each.get("system"), each["code"], context) == code:
            url: str | None = each.get("system")
            return url
    return None


def coded(concept: Any, context: Context) -> str | None:
    """First code of a CodeableConcept, or of the first of a list of them."""
    if isinstance(concept, list):
        concept = concept[0] if concept else None
    found = codings(concept, context)
    return found[0][0] if found else None


def text_of(concept: Any) -> str | None:
    """Words of a CodeableConcept: its text, a display, or the code."""
    if isinstance(concept, list):
        concept = concept[0] if concept else None
    if not concept:
        return None
    if concept.get("text"):
        return str(concept["text"])
    for each in concept.get("coding") or ():
        if each.get("display") or each.get("code"):
            return str(each.get("display") or each["code"])
    return None
