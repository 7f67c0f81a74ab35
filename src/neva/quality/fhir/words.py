"""Names that Neva's measures have in FHIR R4: systems, codes, extensions, ids.

Names of HL7 are as published for FHIR R4 (4.0.1). Names of our own stand under
``https://neva.invalid/``, which resolves nowhere (RFC 2606), as in the export
of events.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final
from urllib.parse import quote

from neva.definitions.documents import Document, Measure

__all__ = [
    "BASE_URL",
    "LANGUAGE",
    "OWN",
    "POPULATIONS",
    "Resource",
    "canonical",
    "computable_name",
    "concept",
    "extension",
    "is_fhir_id",
    "is_masked",
    "masked",
    "measure_url",
    "own_concept",
    "resource_id",
    "scoring_of",
    "terminology",
]

Resource = dict[str, Any]

#: What canonical URLs begin with unless the hospital names its own.
BASE_URL: Final = "urn:neva"
OWN: Final = "https://neva.invalid/"
#: Media type of the language that criteria are written in: names of parts.
LANGUAGE: Final = "text/x-neva"

#: Codes of ``http://terminology.hl7.org/CodeSystem/measure-population`` in R4.
POPULATIONS: Final = {
    "initial-population": "Initial Population",
    "numerator": "Numerator",
    "numerator-exclusion": "Numerator Exclusion",
    "denominator": "Denominator",
    "denominator-exclusion": "Denominator Exclusion",
    "denominator-exception": "Denominator Exception",
    "measure-population": "Measure Population",
    "measure-population-exclusion": "Measure Population Exclusion",
    "measure-observation": "Measure Observation",
}
_FHIR_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def is_fhir_id(text: str) -> bool:
    """Say whether FHIR allows a text as the id of a resource."""
    return _FHIR_ID.fullmatch(text) is not None


def resource_id(text: str, kind: str) -> str:
    """Give the id of a resource: the text where FHIR allows it, else a hash of it.

    >>> resource_id("covid19.steroid-when-on-oxygen", "measure")
    'covid19.steroid-when-on-oxygen'
    >>> resource_id("list of ours", "codelist")
    'codelist-2c44b91b6140917b'
    """
    if is_fhir_id(text):
        return text
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def canonical(base_url: str, kind: str, name: str) -> str:
    """Make a canonical URL, without version.

    >>> canonical("urn:neva", "Measure", "stroke.x")
    'urn:neva:Measure:stroke.x'
    >>> canonical("https://hospital.example/fhir/", "ValueSet", "list of ours")
    'https://hospital.example/fhir/ValueSet/list%20of%20ours'
    """
    mark = ":" if base_url.startswith("urn:") else "/"
    return mark.join((base_url.rstrip(":/"), kind, quote(name, safe="")))


def measure_url(measure: Measure, base_url: str) -> str:
    """Give the canonical of a measure with its version: what reports name."""
    return f"{canonical(base_url, 'Measure', measure.id)}|{measure.version}"


def terminology(system: str) -> str:
    """Give the URL of a code system of HL7's."""
    return f"http://terminology.hl7.org/CodeSystem/{system}"


def concept(system: str, code: str, display: str | None = None, text: str = "") -> Resource:
    """Make a CodeableConcept of one of HL7's code systems."""
    coding = {"system": terminology(system), "code": code}
    if display:
        coding["display"] = display
    return {"coding": [coding], **({"text": text} if text.strip() else {})}


def own_concept(kind: str, code: str, text: str = "") -> Resource:
    """Make a CodeableConcept of a code of our own: the name of a part of a measure."""
    coding = {"system": f"{OWN}CodeSystem/{kind}", "code": code}
    return {"coding": [coding], **({"text": text} if text.strip() else {})}


def extension(name: str, **value: Any) -> Resource:
    """Make an extension of our own; `value` is one ``value…`` or ``extension``."""
    return {"url": f"{OWN}StructureDefinition/{name}", **value}


def masked(reason: str = "masked") -> Resource:
    """Make what stands where a value is withheld: data-absent-reason."""
    return {"extension": [{"url": _ABSENT, "valueCode": reason}]}


def is_masked(element: Any) -> bool:
    """Say whether an element says of itself that its value is withheld."""
    found = element.get("extension") if isinstance(element, dict) else None
    return any(
        isinstance(one, dict) and one.get("url") == _ABSENT and one.get("valueCode") == "masked"
        for one in found or ()
    )


def scoring_of(measure: Measure) -> str:
    """Give the code of a measure's scoring: proportion, ratio or continuous-variable."""
    if measure.numerator is not None:
        return "proportion"
    return "continuous-variable" if measure.per is None else "ratio"


def computable_name(document: Document) -> str:
    """Make a name that is an identifier in most languages (rule mea-0).

    >>> from types import SimpleNamespace
    >>> computable_name(SimpleNamespace(id="covid19.steroid-when-on-oxygen"))
    'Covid19SteroidWhenOnOxygen'
    """
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[.-]+", document.id))
    return (name if name[:1].isalpha() else f"M{name}")[:255]
