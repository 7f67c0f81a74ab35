"""FHIR codings, references and times as the plain values of rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

from neva.events.clock import first_moment, instant
from neva.events.schema import OPEN_END

__all__ = [
    "OWN_SYSTEMS",
    "SYSTEM_URLS",
    "UNKNOWN",
    "Context",
    "Moment",
    "coded",
    "codings",
    "fhir_coding",
    "is_fhir_code",
    "is_known_system",
    "moment",
    "period",
    "system_url",
    "text_of",
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


@dataclass
class Context:
    """What one resource must know of others; all of it may be empty.

    Attributes
    ----------
    ids : dict
        ``fullUrl`` to resource id, where they differ.
    medications : dict
        Id of a Medication to its ``code``.
    locations : dict
        Id of a Location to the resource.
    ranks : dict
        Id of a Condition to its rank among the diagnoses of its encounter.
    systems : dict
        URLs of code systems to the short names that the hospital gives them.
    """

    ids: dict[str, str] = field(default_factory=dict)
    medications: dict[str, Any] = field(default_factory=dict)
    locations: dict[str, dict[str, Any]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    systems: dict[str, str] = field(default_factory=dict)

    def system(self, url: str | None) -> str:
        """Short name of a code system; the same for the same URL, always."""
        if not url:
            return "LOCAL"
        return self.systems.get(url) or _system(url)

    def id_of(self, reference: Any, expected: str | None = None) -> str | None:
        """Id that a Reference points to; None where it cannot be told.

        ``Patient/1``, absolute URLs with or without version, ``urn:uuid:`` and
        ``urn:oid:`` are understood. A search (``Patient?identifier=``) and a
        reference by identifier alone are not.
        """
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
    """Codes of a CodeableConcept with their displays; a bare text is a code too."""
    concept = concept or {}
    found = [
        (_code(each.get("system"), each["code"], context), each.get("display"))
        for each in concept.get("coding") or ()
        if each.get("code")
    ]
    if not found and concept.get("text"):
        found = [(f"FHIR-TEXT//{concept['text']}", concept["text"])]
    return found


def _code(url: str | None, code: str, context: Context) -> str:
    if url and url.startswith(_ESCAPED):
        return f"{unquote(url.removeprefix(_ESCAPED))}//{unquote(code)}"
    return f"{context.system(url)}//{code}"


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
