"""Rules: when a card is shown to a clinician, to whom, and what it says.

A rule is a definition like any other: frozen, versioned, hashed, saved to JSON
and back. What it may read and what it may propose is checked when it is
created: no card proposes stopping a drug or fills in a dose, and one that
proposes an anticoagulant shows what must be known before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from neva.decisions.outcomes import Outcome
from neva.definitions import model as m
from neva.definitions.documents import Document, validated
from neva.definitions.language import Boolean, Quantity, Row, Value, make, movements, now

__all__ = [
    "ANTICOAGULANT_NEEDS",
    "HOOKS",
    "Escalation",
    "Hook",
    "Input",
    "OverrideReason",
    "Rule",
    "Suggestion",
    "from_json",
    "read",
    "rule",
]

Hook = Literal[
    "patient-view", "encounter-start", "encounter-discharge", "order-select", "order-sign"
]
HOOKS: Final[tuple[Hook, ...]] = (
    "patient-view",
    "encounter-start",
    "encounter-discharge",
    "order-select",
    "order-sign",
)

#: The longest summary of a card: CDS Hooks wants fewer than 140 characters.
LONGEST_SUMMARY: Final = 139

#: What a card that proposes an anticoagulant must show, known or not.
ANTICOAGULANT_NEEDS: Final = ("platelets", "egfr", "bleeding", "current-anticoagulant")

#: An amount; what follows it tells a concentration or a filtration (mg/L, mL/min), which
#: are measured, from a dose (mg/kg, mg/h), which is given.
_DOSE = re.compile(
    r"\d\s*(mg|mcg|µg|ug|g|mL|IU|units?|мг|мкг|г|мл|МЕ|ед)\b"
    r"(?!\s*/\s*(dL|L|mL|mmol|дл|л|мл|ммоль)\b)(?!(?<=mL|мл)\s*/\s*(min|мин)\b)",
    re.IGNORECASE,
)
_STOPPING = re.compile(r"\b(stop|discontinue|withdraw|cease|отмен\w+|прекрат\w+)\b", re.IGNORECASE)
_PLACE = re.compile(r"\{([a-z0-9-]+)\}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Part):
    """A value of the patient that a card shows.

    Attributes
    ----------
    name, title, title_ru : str
        `name` is used in the texts of the card as ``{name}``.
    of : Expression
        Its value: number, text, boolean or time.
    time : Expression, optional
        When it was measured or started.
    incomplete : Expression, optional
        True where `of` is only a lower limit: shown as "at least".
    largest_age_hours : float, optional
        An older one counts as missing, and the card says so.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    title_ru: str = ""
    of: m.Expression
    time: m.Expression | None = None
    incomplete: m.Expression | None = None
    largest_age_hours: float | None = Field(default=None, gt=0)


class Suggestion(_Part):
    """Something to order with one click: a draft, without a dose, that a person completes.

    Attributes
    ----------
    label : str
        What the button says.
    resource : {"MedicationRequest", "ServiceRequest"}
        The draft order.
    code, display : str
        ``SYSTEM//code`` and its words.
    """

    label: str = Field(min_length=1, max_length=80)
    resource: Literal["MedicationRequest", "ServiceRequest"]
    code: str = Field(pattern=r"^[^/]+//.+$")
    display: str = Field(min_length=1)


class OverrideReason(_Part):
    """A reason for not following a card."""

    code: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    display: str = Field(min_length=1)


class Escalation(_Part):
    """Who is notified next when nobody has acted."""

    after_minutes: float = Field(gt=0)
    owner: str = Field(min_length=1)


class Rule(Document):
    """When a card is shown, to whom, and what it says.

    Attributes
    ----------
    hooks : tuple of str
        CDS Hooks at which it is evaluated. One of patient-view or encounter-start
        feeds the work list too; the others speak of an order or a discharge.
    population : Expression
        Whom it is about; unknown counts as no.
    condition : Expression
        When it holds; unknown counts as no, and is counted.
    treated : Expression, optional
        True: what the card asks for has been done; the card is not shown and
        its line on the work list is cleared.
    limited : Expression, optional
        True: a ceiling of care or a refusal is recorded that the card respects.
    severity : Expression
        A number, 1 where nothing is said; a card is shown again within
        `quiet_hours` only if this has risen.
    critical_from : float, optional
        From which severity on the card is ``critical`` rather than `indicator`.
    indicator : {"info", "warning", "critical"}
    summary : str
        Under 140 characters once filled in; ``{name}`` stands for an input.
    detail : str
        Markdown; what the guideline says.
    logic : str
        The condition in a sentence, where its words in full are too long for a
        card; ``neva decide explain`` gives these.
    inputs : tuple of Input
        What it rests on; shown with values and times, or as missing.
    source, source_url : str
        Whose guidance it is.
    suggestions, override_reasons
        See their classes.
    proposes : {"anticoagulant"} or None
        Which safety rules its inputs must meet.
    owner : str
        Who acts.
    act_within_minutes : float, optional
        The deadline on the work list.
    escalation : tuple of Escalation
        The next tiers, in the order of time.
    quiet_hours : float
        It is not shown again for the same stay within so many hours, unless worse.
    stage : {"policy", "scale", "model"}
        A known policy or scale first, a trained model second.
    valid_from, valid_until : date, optional
        Days of the hospital's calendar, both included.
    warns_of : Outcome, optional
        What it should warn of, by which a replay judges it. None: it warns of
        nothing, as a check of an order or a reminder of a step. Not in the
        content hash: the card does at the bedside what it did before.
    validation : str
        Where it was validated; "not validated here" unless somebody did it.
    intended_use : str
    """

    JUDGING: ClassVar[frozenset[str]] = frozenset({"warns_of"})

    kind: Literal["rule"] = "rule"
    hooks: tuple[Hook, ...] = ("patient-view",)
    population: m.Expression
    condition: m.Expression
    treated: m.Expression | None = None
    limited: m.Expression | None = None
    severity: m.Expression = m.Number(value=1.0, unit="1")
    critical_from: float | None = None
    indicator: Literal["info", "warning", "critical"] = "info"
    summary: str = Field(min_length=1, max_length=LONGEST_SUMMARY)
    detail: str = ""
    logic: str = ""
    inputs: tuple[Input, ...] = ()
    source: str = Field(min_length=1)
    source_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    suggestions: tuple[Suggestion, ...] = ()
    override_reasons: tuple[OverrideReason, ...] = ()
    proposes: Literal["anticoagulant"] | None = None
    owner: str = Field(min_length=1)
    act_within_minutes: float | None = Field(default=None, gt=0)
    escalation: tuple[Escalation, ...] = ()
    quiet_hours: float = Field(default=24.0, ge=0)
    stage: Literal["policy", "scale", "model"] = "policy"
    valid_from: date | None = None
    valid_until: date | None = None
    warns_of: Outcome | None = None
    validation: str = "not validated here"
    intended_use: str = (
        "For qualified clinicians, beside their own assessment; it does not replace it."
    )

    def _expressions(self) -> Iterable[m.Node]:
        yield from super()._expressions()
        for one in self.inputs:
            for part in (one.of, one.time, one.incomplete):
                if part is not None:
                    yield part

    @model_validator(mode="after")
    def _types(self) -> Rule:
        for name in ("population", "condition", "treated", "limited"):
            part = getattr(self, name)
            if part is not None and part.type.name != "boolean":
                message = f"{name} must be a boolean; found a {part.type}"
                raise ValueError(message)
        if self.severity.type != m.number_in("1"):
            message = (
                f"severity must be a number without a unit; found a {self.severity.type}; "
                "divide it by a quantity of that unit"
            )
            raise ValueError(message)
        names = [one.name for one in self.inputs]
        if len(names) != len(set(names)):
            message = "two inputs have one name"
            raise ValueError(message)
        for text in (self.summary, self.detail, self.logic):
            for place in _PLACE.findall(text):
                if place not in names:
                    message = f"the text names the input {{{place}}} that the rule does not have"
                    raise ValueError(message)
        if list(self.escalation) != sorted(self.escalation, key=lambda one: one.after_minutes):
            message = "escalation: the tiers must come in the order of time"
            raise ValueError(message)
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            message = "valid_until lies before valid_from"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _safe(self) -> Rule:
        words: tuple[str, ...] = (self.title, self.title_ru, self.summary, self.detail, self.logic)
        words += tuple(one.label for one in self.suggestions)
        words += tuple(one.display for one in self.suggestions)
        words += tuple(one.display for one in self.override_reasons)
        for text in words:
            if _DOSE.search(text):
                message = "a card states no dose; name the drug and point to the guideline"
                raise ValueError(message)
            if _STOPPING.search(text):
                message = "a card proposes no stopping of a drug; ask for a review instead"
                raise ValueError(message)
        codes = [one.code for one in self.suggestions if one.resource == "MedicationRequest"]
        drugs = [code for code in codes if code.startswith("ATC//B01A")]
        if drugs and self.proposes != "anticoagulant":
            message = 'a card that proposes an anticoagulant says so: proposes="anticoagulant"'
            raise ValueError(message)
        if self.proposes == "anticoagulant":
            absent = set(ANTICOAGULANT_NEEDS) - {one.name for one in self.inputs}
            if absent:
                message = (
                    "a card that proposes an anticoagulant shows platelets, eGFR, bleeding and "
                    f"present anticoagulants, known or not; it lacks {', '.join(sorted(absent))}"
                )
                raise ValueError(message)
        return self

    @property
    def outputs(self) -> dict[str, Any]:
        """What must be answered at a point, by short names.

        ``population``, ``condition``, ``severity``, ``unit``, ``kind`` (of the
        stay); ``treated``, ``limited`` where the rule has them; and for each
        input ``input.<name>``, ``time.<name>``, ``incomplete.<name>``.
        """
        found = {
            "population": self.population,
            "condition": self.condition,
            "severity": self.severity,
            "unit": UNIT,
        }
        for name in ("treated", "limited"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        for one in self.inputs:
            found[f"input.{one.name}"] = one.of
            if one.time is not None:
                found[f"time.{one.name}"] = one.time
            if one.incomplete is not None:
                found[f"incomplete.{one.name}"] = one.incomplete
        return found

    @property
    def decides(self) -> dict[str, Any]:
        """The part of ``outputs`` that says whether and how strongly it holds."""
        wanted = ("population", "condition", "severity", "treated", "limited", "unit")
        return {name: node for name, node in self.outputs.items() if name in wanted}

    def valid_on(self, day: date) -> bool:
        """Return whether the rule is in force on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day <= self.valid_until
        )


#: The unit where the patient is: the last movement that is going on.
UNIT: Final = movements().active_at(now).last().code.node

_ADAPTER: TypeAdapter[Rule] = TypeAdapter(Rule)


def from_json(text: str | bytes, *, name: str = "rule") -> Rule:
    """Read a rule from JSON (``neva.definitions.documents.to_json`` writes it).

    Raises
    ------
    BadInputError
        It is not a rule; the message names the place.
    """
    made: Rule = validated(_ADAPTER, text, name=name, what="rule")
    return made


def read(
    name: str,
    title: str,
    of: Value | Row,
    unit: str | None = None,
    *,
    time: Value | None = None,
    incomplete: Boolean | None = None,
    age: float | None = None,
    title_ru: str = "",
) -> Input:
    """Write an input: an expression, or a row whose value in `unit` (or text) is shown.

    Parameters
    ----------
    name, title, title_ru : str
        See :class:`Input`.
    of : Value or Row
        A row gives its value, or its text without `unit`, and its time.
    time : Value, optional
        When, for an expression.
    incomplete : Boolean, optional
        True where the value is only a lower limit.
    age : float, optional
        ``largest_age_hours``.
    """
    if isinstance(of, Row):
        shown: Value = of.text if unit is None else of.value(unit)
        when: Value | None = of.time
    else:
        shown, when = of, time
    return make(
        Input,
        name=name,
        title=title,
        title_ru=title_ru,
        of=shown.node,
        time=None if when is None else when.node,
        incomplete=None if incomplete is None else incomplete.node,
        largest_age_hours=age,
    )


def rule(
    id: str,
    *,
    version: str,
    population: Boolean,
    condition: Boolean,
    treated: Boolean | None = None,
    limited: Boolean | None = None,
    severity: Quantity | None = None,
    override: Mapping[str, str] | None = None,
    **words: Any,
) -> Rule:
    """Define a rule; see :class:`Rule`.

    Parameters
    ----------
    override : mapping of str to str, optional
        Override reasons: code to words.
    words
        The other attributes of :class:`Rule`.
    """
    parts = {"treated": treated, "limited": limited, "severity": severity}
    return make(
        Rule,
        id=id,
        version=version,
        population=population.node,
        condition=condition.node,
        override_reasons=tuple(
            OverrideReason(code=code, display=text) for code, text in (override or {}).items()
        ),
        **{name: part.node for name, part in parts.items() if part is not None},
        **words,
    )
