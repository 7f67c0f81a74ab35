"""Codes of operational entries about a stay, from people or from other systems.

Each *kind* of entry is one kind of event, of code ``NEVA//…``; the ceiling of
care alone uses the codes that rules and measures already look for
(``CARE//ceiling-of-care``, ``CARE//palliative-care``), so that an entered
ceiling silences them as a delivered one does. Of several events of one kind
and stay the last one recorded counts, unless it was withdrawn.

An event of a kind that lasts has an end, ``OPEN_END`` or none: it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "ADMISSION_PLANNED",
    "BED_REQUESTED",
    "CEILINGS",
    "CEILING_CODES",
    "DELAYED",
    "DELAY_GROUPS",
    "DELAY_REASONS",
    "DISCHARGE_EXPECTED",
    "HANDOVER_NOTE",
    "ISOLATION_KINDS",
    "ISOLATION_NEEDED",
    "KINDS",
    "MEDICALLY_FIT",
    "NOT_FOR_RESUSCITATION",
    "OPERATIONAL_CODES",
    "PRIORITIES",
    "RETURN_EXPECTED",
    "Kind",
    "descriptions",
]

DISCHARGE_EXPECTED: Final = "NEVA//discharge-expected"
#: From a leave of absence; told by other systems only.
RETURN_EXPECTED: Final = "NEVA//return-expected"
MEDICALLY_FIT: Final = "NEVA//medically-fit"
DELAYED: Final = "NEVA//discharge-delayed"
ISOLATION_NEEDED: Final = "NEVA//isolation-needed"
BED_REQUESTED: Final = "NEVA//bed-requested"
ADMISSION_PLANNED: Final = "NEVA//admission-planned"
HANDOVER_NOTE: Final = "NEVA//handover-note"
#: No resuscitation says nothing of other treatment: no rule falls silent for it.
NOT_FOR_RESUSCITATION: Final = "CARE//not-for-resuscitation"

#: Ceilings that can be entered: value -> (code, in words). Full escalation is a
#: code of its own that limits nothing.
CEILINGS: Final[dict[str, tuple[str, str]]] = {
    "full-escalation": ("CARE//full-escalation", "for full escalation"),
    "no-intensive-care": ("CARE//ceiling-of-care", "not for intensive care"),
    "ward-based-care": ("CARE//ceiling-of-care", "ward-based care"),
    "palliative-care": ("CARE//palliative-care", "palliative care"),
}
CEILING_CODES: Final = tuple(dict.fromkeys(code for code, _ in CEILINGS.values()))

#: Groups of reasons for delay, in words. A hospital may add reasons, not groups.
DELAY_GROUPS: Final[dict[str, str]] = {
    "care-package": "waiting for care package",
    "rehabilitation": "rehabilitation bed",
    "transport": "transport",
    "medicines": "medicines to take out",
    "investigation": "investigation",
    "specialist-review": "specialist review",
    "choice": "family or patient choice",
    "housing": "housing",
    "other": "other",
}
#: Reasons for delay: code -> (group, in words).
DELAY_REASONS: Final[dict[str, tuple[str, str]]] = {
    "DELAY//care-package-assessment": ("care-package", "assessment for a care package"),
    "DELAY//care-package-start": ("care-package", "start of the care package"),
    "DELAY//care-home-place": ("care-package", "place in a care home"),
    "DELAY//rehabilitation-bed": ("rehabilitation", "rehabilitation bed"),
    "DELAY//transport": ("transport", "transport"),
    "DELAY//other-hospital-bed": ("transport", "bed in another hospital"),
    "DELAY//medicines-to-take-out": ("medicines", "medicines to take out"),
    "DELAY//investigation": ("investigation", "investigation or result"),
    "DELAY//specialist-review": ("specialist-review", "specialist review"),
    "DELAY//family-choice": ("choice", "family choice"),
    "DELAY//patient-choice": ("choice", "patient choice"),
    "DELAY//housing": ("housing", "housing"),
    "DELAY//other": ("other", "other reason"),
}
ISOLATION_KINDS: Final[dict[str, str]] = {
    "ISOLATION//contact": "contact isolation",
    "ISOLATION//droplet": "droplet isolation",
    "ISOLATION//airborne": "airborne isolation",
    "ISOLATION//protective": "protective isolation",
}
#: Of a request for a bed; the first is the most urgent.
PRIORITIES: Final = ("immediate", "urgent", "routine")

#: What the value of an entry is.
_Value = Literal["confirmed", "reason", "isolation", "unit", "ceiling", "text", "none"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entry.

    Attributes
    ----------
    name : str
        ``expected-discharge``, …: the word of the state, the pages and the store.
    code : str
        Of its events; of a ceiling the code follows from the value.
    title : str
        In words.
    value : str
        What `value` of an entry holds: ``confirmed`` (yes or no), ``reason``
        (of delay), ``isolation`` (its kind), ``unit``, ``ceiling``, ``text``, ``none``.
    status : str
        Of its events. What is planned may lie after *now*.
    lasts : bool
        It goes on until an end.
    """

    name: str
    code: str
    title: str
    value: _Value
    status: Literal["done", "planned"] = "done"
    lasts: bool = False


KINDS: Final[dict[str, Kind]] = {
    one.name: one
    for one in (
        Kind("expected-discharge", DISCHARGE_EXPECTED, "expected discharge", "confirmed",
             status="planned"),
        Kind("medically-fit", MEDICALLY_FIT, "medically fit since", "none", lasts=True),
        Kind("delay", DELAYED, "reason for delay", "reason", lasts=True),
        Kind("isolation", ISOLATION_NEEDED, "need for isolation", "isolation", lasts=True),
        Kind("bed-request", BED_REQUESTED, "request for a bed", "unit", lasts=True),
        Kind("ceiling", "CARE//ceiling-of-care", "ceiling of care", "ceiling"),
        Kind("resuscitation", NOT_FOR_RESUSCITATION, "not for resuscitation", "none"),
        Kind("planned-admission", ADMISSION_PLANNED, "planned admission", "unit",
             status="planned"),
        Kind("handover-note", HANDOVER_NOTE, "handover note", "text"),
    )
}  # fmt: skip

#: Every code that is read as an entry.
OPERATIONAL_CODES: Final = tuple(
    dict.fromkeys((*(one.code for one in KINDS.values()), *CEILING_CODES))
)


def descriptions() -> dict[str, str]:
    """Return every operational code, with those of reasons and isolation, in words.

    Examples
    --------
    >>> descriptions()["DELAY//transport"]
    'transport'
    """
    return {
        **{one.code: one.title for one in KINDS.values()},
        "CARE//ceiling-of-care": "ceiling of care",
        "CARE//palliative-care": "palliative care",
        "CARE//full-escalation": "for full escalation",
        **{code: words for code, (_, words) in DELAY_REASONS.items()},
        **ISOLATION_KINDS,
    }
