"""What a CDS client is asked to send: templates derived from the definitions.

Nobody writes a prefetch template by hand: the codes and look-backs that rules
name say which resources are needed and how far back. A template is a hint; how
far what was sent reaches is worked out from what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from neva.decisions.rules import Hook, Rule
from neva.definitions import model as m
from neva.sources.fhir.codes import system_url

__all__ = ["ENCOUNTERS", "PATIENT", "SORTED", "Need", "Needs", "kinds_of_system", "needs_of"]

PATIENT: Final = "patient"
#: Entries of a search at most; a bundle that is full may lack older ones.
MOST_ENTRIES: Final = 1000
#: A search names codes only up to this length of its URL.
LONGEST_CODES: Final = 1500

_DRUGS: Final = ("MedicationRequest", "MedicationAdministration")
_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "ATC": _DRUGS,
    "RxNorm": _DRUGS,
    "NDC": _DRUGS,
    "ICD10": ("Condition",),
    "ICD10CM": ("Condition",),
    "ICD10GM": ("Condition",),
    "ICD9CM": ("Condition",),
    "ICD11": ("Condition",),
    "HPO": ("Condition",),
    "CPT4": ("Procedure",),
    "HCPCS": ("Procedure",),
    "ICD10PCS": ("Procedure",),
    "OPS": ("Procedure",),
    "CVX": ("Immunization",),
}
ENCOUNTERS: Final = "encounters"
_KEYS: Final = {
    "Observation": "observations",
    "Condition": "conditions",
    "MedicationRequest": "medication-requests",
    "MedicationAdministration": "medication-administrations",
    "Procedure": "procedures",
    "Immunization": "immunizations",
    "Encounter": ENCOUNTERS,
}
#: The search parameter of time of types that always have that time. A condition,
#: an order or a procedure may lack it, and a search by it would not find them.
_DATES: Final = {
    "Observation": "date",
    "MedicationAdministration": "effective-time",
    "Immunization": "date",
}
#: Types whose searches are sorted by time, the newest first.
SORTED: Final = ("Observation", "Procedure", "Immunization", "Encounter")


def kinds_of_system(system: str) -> tuple[str, ...]:
    """Return the types of resources in which codes of a system are sent."""
    return _KINDS.get(system, ("Observation",))


@dataclass(frozen=True, slots=True)
class Need:
    """One search.

    Attributes
    ----------
    key : str
        The prefetch key.
    kind : str
        Type of resource.
    codes : tuple of str or None
        Codes asked for; None: all.
    look_back_hours : float or None
        How far back; None: everything.
    """

    key: str
    kind: str
    codes: tuple[str, ...] | None
    look_back_hours: float | None

    @property
    def template(self) -> str:
        """The prefetch template, without a date: the specification has no arithmetic on dates."""
        return f"{self.kind}?{self._query('{{context.patientId}}')}"

    def query(self, patient: str, since: str | None = None) -> str:
        """Return the search that we make ourselves, from a date on."""
        # A comma would name two patients, and the rest would end the parameter.
        plain = quote(re.sub(r"([\\,$|])", r"\\\1", patient), safe="-._~")
        text = f"{self.kind}?{self._query(plain)}"
        return text if since is None else f"{text}&{_DATES[self.kind]}=ge{since}"

    @property
    def is_dated(self) -> bool:
        """Whether our own search may be limited to a time without missing anything."""
        return self.look_back_hours is not None and self.kind in _DATES

    def _query(self, patient: str) -> str:
        parts = [f"patient={patient}"]
        if self.codes is not None:
            parts.append("code=" + ",".join(_token(code) for code in self.codes))
        if self.kind in SORTED:
            parts.append("_sort=-date")
        parts.append(f"_count={MOST_ENTRIES}")
        return "&".join(parts)


def _token(code: str) -> str:
    system, _, text = code.partition("//")
    url = system_url(system)
    # Commas and bars part tokens in FHIR, the rest parts URLs.
    plain = quote(text.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|"), safe="-._~")
    return f"{url}|{plain}"


@dataclass(frozen=True)
class Needs:
    """All that the rules of a service need.

    Attributes
    ----------
    searches : tuple of Need
        By key.
    """

    searches: tuple[Need, ...]
    _frames: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def templates(self) -> dict[str, str]:
        """The prefetch templates, the patient first."""
        return {
            PATIENT: "Patient/{{context.patientId}}",
            **{one.key: one.template for one in self.searches},
        }

    def keys_of(self, frame: m.Frame) -> tuple[str, ...]:
        """Return the keys that a frame's rows are sent under."""
        known = self._frames.get(frame.digest)
        if known is None:
            known = tuple(sorted({_KEYS[kind] for kind in _kinds(frame)}))
            self._frames[frame.digest] = known
        return known


def _codes(frame: m.Frame) -> tuple[str, ...]:
    return (*frame.codes, *(code for one in frame.codelists for code in one.codes))


def _kinds(frame: m.Frame) -> set[str]:
    if frame.source in ("movements", "stays"):
        return {"Encounter"}
    codes = _codes(frame)
    if not codes:
        return set(_KEYS)
    return {kind for code in codes for kind in kinds_of_system(code.partition("//")[0])}


def _look_back(frame: m.Frame) -> float | None:
    """Hours before now that a frame reaches; None where it cannot be told."""
    if frame.overlapping:
        return None
    hours = [
        -bound.time.amount.value * (24 if bound.time.unit == "days" else 1)
        for bound in frame.lower
        if isinstance(bound.time, m.Shift)
        and bound.time.time == m.PointField(name="now")
        and isinstance(bound.time.amount, m.Number)
        and not bound.open_if_missing
    ]
    return min(hours) if hours else None


def _frames(expressions: Iterable[Any]) -> dict[str, m.Frame]:
    return {
        node.digest: node
        for expression in expressions
        for node in m.walk(expression)
        if isinstance(node, m.Frame)
    }


def _codes_asked(frame: m.Frame, kind: str) -> set[str] | None:
    """Return the codes of a frame by which a kind is searched for; None: all of the kind."""
    own = {code for code in _codes(frame) if kind in kinds_of_system(code.partition("//")[0])}
    if kind not in ("Observation", "Procedure") or not own:
        return None
    return None if any(code.endswith("*") for code in own) else own


def _named(codes: set[str] | None) -> tuple[str, ...] | None:
    """Return codes in order; None: all, or so many that an address would not hold them."""
    if codes is None or sum(len(_token(code)) + 1 for code in codes) > LONGEST_CODES:
        return None
    return tuple(sorted(codes))


def needs_of(rules: Sequence[Rule], hook: Hook | None = None) -> Needs:
    """Derive what rules need of a patient.

    Parameters
    ----------
    rules : sequence of Rule
    hook : str, optional
        Only the rules of this hook.

    Examples
    --------
    >>> from neva.decisions.rules import rule
    >>> from neva.definitions.language import *
    >>> low = events("LOINC//59408-5").within(hours(24)).last().value("%") < 92
    >>> one = rule("demo.low", version="1.0.0", population=low, condition=low,
    ...            summary="Low", source="demo", owner="nurse")
    >>> needs_of([one]).searches[1].look_back_hours
    24.0
    """
    chosen = [rule for rule in rules if hook is None or hook in rule.hooks]
    codes: dict[str, set[str] | None] = {}
    backs: dict[str, float | None] = {}
    # The stay itself is always needed: the point stands in it.
    codes["Encounter"], backs["Encounter"] = None, None
    for frame in _frames(node for rule in chosen for node in rule.outputs.values()).values():
        back = _look_back(frame)
        for kind in _kinds(frame):
            own = _codes_asked(frame, kind)
            if kind in codes:
                before, known = codes[kind], backs[kind]
                codes[kind] = None if own is None or before is None else before | own
                backs[kind] = None if back is None or known is None else max(back, known)
            else:
                codes[kind], backs[kind] = own, back
    searches = [
        Need(_KEYS[kind], kind, _named(asked), backs[kind]) for kind, asked in sorted(codes.items())
    ]
    return Needs(tuple(searches))
