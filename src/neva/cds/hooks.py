"""CDS Hooks 2.0: discovery and the answers of services, without a web server.

One service for each hook. A call becomes a patient's timeline, the rules of the
hook are evaluated by the reference engine, and what they raise becomes cards: of
live rules they are shown, of silent ones only logged. History that was not
sent makes an input unknown, never false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from neva.cds.fhir_server import FhirServers
from neva.cds.prefetch import PATIENT, Needs, needs_of
from neva.cds.record import BedsideRecord, bedside_record
from neva.cds.requests import Request
from neva.decisions.cards import Card, Finding, card_of, finding_of
from neva.decisions.rules import HOOKS, Hook, Rule
from neva.decisions.suppression import is_quiet
from neva.definitions.local_time import microseconds, moment
from neva.definitions.reference.engine import Place, Point, defect_of, evaluate
from neva.errors import NotFoundError
from neva.models.fitted_model import Model
from neva.models.rules import predicted

__all__ = ["Answer", "Preconditions", "RaisedCard", "Service", "Services"]

State = Literal["live", "silent"]
_TITLES: Final[dict[Hook, str]] = {
    "patient-view": "Neva: when a chart is opened",
    "encounter-start": "Neva: when a stay begins",
    "encounter-discharge": "Neva: before a patient goes home",
    "order-select": "Neva: while an order is chosen",
    "order-sign": "Neva: before orders are signed",
}


class Preconditions(Exception):  # noqa: N818  the status is called 412 Precondition Failed
    """What a service must have was neither sent nor could be fetched."""


@dataclass(frozen=True)
class Service:
    """One service of discovery.

    Attributes
    ----------
    id, title, description : str
    hook : str
    rules : tuple of (Rule, state)
    models : mapping of str to Model
        Models that speak through rules of theirs, by the rule's id.
    """

    id: str
    hook: Hook
    title: str
    description: str
    rules: tuple[tuple[Rule, State], ...]
    models: Mapping[str, Model] = field(default_factory=dict)

    @cached_property
    def needs(self) -> Needs:
        """What its rules need of a patient."""
        return needs_of([rule for rule, _ in self.rules])

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """Everything that its rules ask, under the rule's number and the output's name."""
        return {
            f"{number}|{name}": node
            for number, (rule, _) in enumerate(self.rules)
            for name, node in rule.outputs.items()
        }

    @cached_property
    def decides(self) -> dict[str, Any]:
        """The part of ``outputs`` that says which rules raise a card."""
        return {
            f"{number}|{name}": node
            for number, (rule, _) in enumerate(self.rules)
            for name, node in (rule.outputs if rule.id in self.models else rule.decides).items()
        }

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in the discovery document."""
        return {
            "hook": self.hook,
            "title": self.title,
            "description": self.description,
            "id": self.id,
            "prefetch": self.needs.templates,
        }


@dataclass(frozen=True)
class RaisedCard:
    """A card that a call raised, shown or not."""

    card: Card
    rule: Rule
    state: State
    shown: bool
    suppressed_because: str | None


@dataclass(frozen=True)
class Answer:
    """What a call gave.

    Attributes
    ----------
    raised : tuple of RaisedCard
        All of them; only those ``shown`` are in ``content``.
    findings : tuple of Finding
        Of every rule that was evaluated; with readings where it raises a card.
    content : dict
        The response as CDS Hooks writes it.
    record : BedsideRecord
    unknown : tuple of str
        Ids of rules of which it could not be told because something is missing.
    note : dict or None
        The card about the call itself that is shown where no rule has one: what
        could not be assessed, or read.
    """

    raised: tuple[RaisedCard, ...]
    findings: tuple[Finding, ...]
    content: dict[str, Any]
    record: BedsideRecord
    unknown: tuple[str, ...]
    note: dict[str, Any] | None = None


@dataclass(frozen=True)
class Services:
    """The services of a hospital.

    Attributes
    ----------
    rules : tuple of (Rule, state)
        Live and silent ones; others are not asked.
    place : Place
        The hospital's zone and codes.
    fhir_servers : FhirServers
        Where what was not sent may be fetched.
    models : mapping of str to Model
        Models that speak through rules of theirs, by the rule's id.
    """

    rules: tuple[tuple[Rule, State], ...]
    place: Place
    fhir_servers: FhirServers = field(default_factory=FhirServers)
    models: Mapping[str, Model] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, Service]:
        """Services by id; one for each hook that has a rule."""
        found = {}
        for hook in HOOKS:
            own = tuple((rule, state) for rule, state in self.rules if hook in rule.hooks)
            if not own:
                continue
            shown = [rule.title or rule.id for rule, state in own if state == "live"]
            words = "; ".join(shown) if shown else "no rule is live: it is asked in silence"
            found[f"neva-{hook}"] = Service(
                id=f"neva-{hook}",
                hook=hook,
                title=_TITLES[hook],
                description=f"Rules: {words}.",
                rules=own,
                models={rule.id: self.models[rule.id] for rule, _ in own if rule.id in self.models},
            )
        return found

    @property
    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        return {"services": [service.entry for service in self.by_id.values()]}

    def service(self, name: str) -> Service:
        """Return a service.

        Raises
        ------
        NotFoundError
            There is none of this id.
        """
        if name not in self.by_id:
            message = "service: there is none of this id; see the discovery document"
            raise NotFoundError(message)
        return self.by_id[name]

    def answer(
        self,
        service: Service,
        request: Request,
        *,
        now: datetime,
        last_raised: Mapping[str, tuple[datetime, float | None]] | None = None,
    ) -> Answer:
        """Answer a call.

        Parameters
        ----------
        service : Service
        request : Request
        now : datetime
            Aware.
        last_raised : mapping, optional
            When each rule last spoke for this stay, and how severe it was.

        Raises
        ------
        Preconditions
            Who the patient is was not sent, or nothing else was, and it could
            not be fetched.
        """
        record = self._record(service, request, now)
        reasons: dict[str, tuple[str, ...]] = {}
        findings = self._findings(service, record, now, reasons)
        notes = _notes(record)
        raised = []
        for finding, (rule, state) in zip(findings, service.rules, strict=True):
            if record.is_dead or not finding.raises or not rule.valid_on(self._today(now)):
                continue
            card = card_of(
                finding,
                subject=request.patient,
                stay=request.encounter,
                now=now,
                zone=self.place.zone,
                notes=(*reasons.get(rule.id, ()), *notes),
            )
            last, severity = (last_raised or {}).get(rule.id, (None, None))
            quiet = is_quiet(
                now,
                card.severity,
                last=last,
                last_severity=severity,
                quiet_hours=rule.quiet_hours,
            )
            raised.append(
                RaisedCard(
                    card=card,
                    rule=rule,
                    state=state,
                    shown=state == "live" and not quiet,
                    suppressed_because="quiet" if quiet else None,
                )
            )
        shown = [one.card.content for one in _ranked(raised) if one.shown]
        note = None
        if not shown and not record.is_dead:
            note = self._note(service, record, findings, now)
        return Answer(
            raised=tuple(raised),
            findings=tuple(findings),
            content={"cards": shown if note is None else [note]},
            record=record,
            unknown=tuple(one.rule.id for one in findings if one.is_unknown),
            note=note,
        )

    def _note(
        self, service: Service, record: BedsideRecord, findings: list[Finding], now: datetime
    ) -> dict[str, Any] | None:
        """Return a card that says what could not be assessed, where no other is shown."""
        live = {
            rule.id
            for rule, state in service.rules
            if state == "live" and rule.valid_on(self._today(now))
        }
        unknown = [one.rule for one in findings if one.rule.id in live and one.is_unknown]
        lacking = _lacking(record, unknown)
        if lacking:
            return _not_assessed_card(record, lacking, now)
        return _unreadable_card(record, now) if live and record.unreadable else None

    def _today(self, now: datetime) -> Any:
        return now.astimezone(ZoneInfo(self.place.zone)).date()

    def _record(self, service: Service, request: Request, now: datetime) -> BedsideRecord:
        made = self._record_of_request(service, request, request.prefetch, {}, now)
        if made.absent and self.fhir_servers.allows(request.fhir_server):
            assert request.fhir_server is not None  # an allowed one
            fetched = self.fhir_servers.fetch(
                request.fhir_server,
                made.absent,
                service.needs,
                patient=request.patient,
                token=request.access_token,
                now=now,
            )
            prefetch = {**request.prefetch, **fetched.prefetch}
            made = self._record_of_request(service, request, prefetch, fetched.since_by_key, now)
        wanted = {one.key for one in service.needs.searches}
        if PATIENT in made.absent or (wanted and wanted <= set(made.absent)):
            raise Preconditions
        return made

    def _record_of_request(
        self,
        service: Service,
        request: Request,
        prefetch: Mapping[str, Any],
        since_by_key: Mapping[str, datetime],
        now: datetime,
    ) -> BedsideRecord:
        return bedside_record(
            prefetch,
            service.needs,
            patient=request.patient,
            encounter=request.encounter,
            now=now,
            zone=self.place.zone,
            drafts=request.drafts,
            since_by_key=since_by_key,
        )

    def _findings(
        self,
        service: Service,
        record: BedsideRecord,
        now: datetime,
        reasons: dict[str, tuple[str, ...]],
    ) -> list[Finding]:
        at = microseconds(now)
        point = Point(at, at, record.stay_id)
        if defect_of(record.timeline, point, self.place.zone) is not None:
            return [finding_of(rule, {}) for rule, _ in service.rules]

        def answers(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
            own: list[dict[str, Any]] = [{} for _ in service.rules]
            found = evaluate(outputs, record.timeline, point, self.place, unsent=record.sent.lacks)
            for key, value in found.items():
                number, _, name = key.partition("|")
                is_time = value is not None and outputs[key].type.name == "time"
                own[int(number)][name] = moment(value) if is_time else value
            return own

        findings = []
        for (rule, _), own in zip(service.rules, answers(service.decides), strict=True):
            finding = own
            if rule.id in service.models:
                finding, moved = predicted(service.models[rule.id], own)
                reasons[rule.id] = tuple(f"Moved the prediction: {one}." for one in moved)
            findings.append(finding_of(rule, finding))
        # What a card shows is asked only of rules that raise one; models were asked whole.
        raising = {
            str(number)
            for number, one in enumerate(findings)
            if one.raises and one.rule.id not in service.models
        }
        shown = answers(
            {key: node for key, node in service.outputs.items() if key.partition("|")[0] in raising}
        )
        return [
            finding_of(one.rule, own) if str(number) in raising else one
            for number, (one, own) in enumerate(zip(findings, shown, strict=True))
        ]


def _ranked(raised: Iterable[RaisedCard]) -> list[RaisedCard]:
    order = {"critical": 0, "warning": 1, "info": 2}
    return sorted(
        raised, key=lambda one: (order[one.card.indicator], -one.card.severity, one.card.rule)
    )


def _notes(record: BedsideRecord) -> tuple[str, ...]:
    """What a reader of a card must know of what it was made from."""
    notes = []
    if record.unreadable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in record.unreadable.items())
        notes.append(f"Some of what was sent could not be read and is not in this card: {reasons}.")
    if record.absent:
        notes.append(f"Not sent, so unknown and not absent: {', '.join(record.absent)}.")
    if record.partial:
        notes.append(f"Sent only in part, so unknown beyond: {', '.join(record.partial)}.")
    return tuple(notes)


#: Prefetch keys as people say them, in English and in Russian.
_WORDS: Final = {
    "observations": ("observations", "наблюдения"),
    "conditions": ("diagnoses", "диагнозы"),
    "medication-requests": ("drug orders", "назначения лекарств"),
    "medication-administrations": ("drugs given", "введённые лекарства"),
    "procedures": ("procedures", "процедуры"),
    "immunizations": ("vaccinations", "прививки"),
    "encounters": ("stays", "госпитализации"),
}


def _lacking(record: BedsideRecord, rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    """Return the keys that were not sent, or only in part, with the rules they keep from telling.

    A rule of which it cannot be told for another reason (something is not recorded)
    is not among them.
    """
    incomplete = {*record.absent, *record.partial}
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for need in needs_of([rule]).searches:
            if need.key in incomplete:
                found.setdefault(need.key, []).append(rule)
    return found


def _not_assessed_card(
    record: BedsideRecord, lacking: Mapping[str, Sequence[Rule]], now: datetime
) -> dict[str, Any]:
    """Say that no card does not mean no risk: what could not be assessed, and why."""
    rules = {rule.id: rule for key in lacking for rule in lacking[key]}
    absent = [key for key in lacking if key in record.absent]
    partial = [key for key in lacking if key in record.partial]
    why, why_ru = [], []
    for keys, words, words_ru in (
        (absent, "not sent", "не переданы"),
        (partial, "sent only in part", "переданы не полностью"),
    ):
        if keys:
            why.append(f"{', '.join(_WORDS[key][0] for key in keys)} {words}")
            why_ru.append(f"{', '.join(_WORDS[key][1] for key in keys)} {words_ru}")
    titles = [rule.title or rule.id for rule in rules.values()]
    titles_ru = [rule.title_ru or rule.title or rule.id for rule in rules.values()]
    what = titles[0] if len(titles) == 1 else f"{len(titles)} rules"
    detail = [
        "No card does not mean that there is no risk.",
        *(f"- Could not be assessed: {title}." for title in titles),
        f"- Why: {'; '.join(why)}.",
        *(f"- {one}" for one in _notes(record)),
        "",
        "Отсутствие карточки не означает отсутствия риска.",
        *(f"- Не удалось оценить: {title}." for title in titles_ru),
        f"- Почему: {'; '.join(why_ru)}.",
    ]
    name = "|".join((*sorted(rules), *absent, "", *partial))
    summary = f"Could not be assessed: {what} ({'; '.join(why)})"
    return _note_card(summary, detail, f"not-assessed|{name}", record, now)


def _unreadable_card(record: BedsideRecord, now: datetime) -> dict[str, Any]:
    """Say that something could not be read where there is nothing else to say."""
    count = sum(record.unreadable.values())
    summary = f"{count} records sent could not be read; rules were asked of the rest"
    detail = [f"- {one}" for one in _notes(record)]
    return _note_card(summary, detail, f"unreadable|{count}", record, now)


#: A summary in CDS Hooks has fewer than 140 characters.
_LONGEST_SUMMARY: Final = 139


def _note_card(
    summary: str, detail: Iterable[str], name: str, record: BedsideRecord, now: datetime
) -> dict[str, Any]:
    """Make a card that is about the call, not about the patient."""
    from uuid import NAMESPACE_URL, uuid5

    named = f"neva-{name}|{record.timeline.subject_id}|{now.isoformat()}"
    if len(summary) > _LONGEST_SUMMARY:
        summary = summary[: _LONGEST_SUMMARY - 1] + "…"
    return {
        "uuid": str(uuid5(NAMESPACE_URL, named)),
        "summary": summary,
        "detail": "\n".join(detail),
        "indicator": "info",
        "source": {"label": "Neva"},
    }


def longest_quiet(rules: Sequence[tuple[Rule, State]]) -> timedelta:
    """Return how far back the log must be read for suppression."""
    return timedelta(hours=max((rule.quiet_hours for rule, _ in rules), default=0.0))
