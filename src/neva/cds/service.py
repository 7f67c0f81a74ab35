"""The bedside service behind the web server: rules and their states, calls, feedback, storage."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from neva.cds.client_tokens import Client, Clients, read_clients, verify
from neva.cds.fhir_server import FhirServers
from neva.cds.hooks import Answer, Service, Services, longest_quiet
from neva.cds.requests import read_request
from neva.decisions.cards import hash_of
from neva.decisions.rules import Rule
from neva.definitions.binding import hierarchy_of
from neva.definitions.programme import load_programme
from neva.definitions.reference.engine import Place
from neva.errors import BadInputError
from neva.events.hospital import open_hospital
from neva.events.identities import Pseudonyms
from neva.models.artefact import artefact_hash
from neva.models.families import load_for_use
from neva.models.fitted_model import Model
from neva.models.rules import rule_of_model
from neva.state import CardEntry, State, open_state, state_of
from neva.state.settings import WebSettings

__all__ = ["ABOUT_THE_CALL", "Bedside"]

#: In the log of cards, in the place of a rule: a card that says what could not be assessed.
ABOUT_THE_CALL: Final = "neva.about-the-call"

#: A state is read anew so often; a change reaches the bedside within this time.
STATES_FOR: Final = timedelta(seconds=5)


class Bedside:
    """The services of one hospital, with what they keep.

    Parameters
    ----------
    settings : WebSettings
    fhir_servers : FhirServers, optional
        For tests.
    """

    def __init__(self, settings: WebSettings, fhir_servers: FhirServers | None = None) -> None:
        self.settings = settings
        self.hospital = open_hospital(settings.hospital)
        self.state: State = open_state(
            settings.state if settings.state is not None else state_of(settings.hospital)
        )
        self.clients: Clients | None = (
            None if settings.clients is None else read_clients(settings.clients)
        )
        snapshot = self.hospital.snapshot()
        parents, masses = hierarchy_of(snapshot)
        self._place = Place(snapshot.zone, parents, masses)
        self._known_identities: int | None = None
        self._pseudonyms = self._pseudonyms_now()
        self._fhir_servers = fhir_servers or FhirServers(settings.fhir_servers)
        self.rules: dict[str, Rule] = {
            rule.id: rule for name in settings.programmes for rule in load_programme(name).rules
        }
        self._models: dict[str, Model] = {}
        self.model_cards: dict[str, str] = {}
        for folder in settings.models:
            model = load_for_use(folder)
            rule = rule_of_model(model, artefact=artefact_hash(folder))
            self._models[rule.id], self.rules[rule.id] = model, rule
            card = folder / "MODEL-CARD.md"
            self.model_cards[rule.id] = card.read_text(encoding="utf-8") if card.exists() else ""
        self._lock = threading.Lock()
        self._read_at: datetime | None = None
        self._services = Services((), self._place, self._fhir_servers, self._models)

    @property
    def models(self) -> dict[str, Model]:
        """The models that may be asked, by the id of their rule."""
        return self._models

    def close(self) -> None:
        """Close the database."""
        self.state.close()

    # ------------------------------------------------------------------- rules

    def _pseudonyms_now(self) -> Pseudonyms:
        self._known_identities = self.hospital.manifest().identities
        return self.hospital.pseudonyms(self.settings.assigner)

    def services(self) -> Services:
        """Return the services as the rules' states are now.

        A rule whose content is not the one that was made silent or live is not
        asked at all.
        """
        now = self.settings.now()
        with self._lock:
            if self._read_at is None or abs(now - self._read_at) >= STATES_FOR:
                chosen = []
                for state in self.state.rules.all():
                    rule = self.rules.get(state.rule)
                    if rule is None or not state.is_evaluated or hash_of(rule) != state.hash:
                        continue
                    model = self._models.get(rule.id)
                    locked = model is not None and model.demonstration_only
                    is_live = state.state == "live" and not locked
                    chosen.append((rule, "live" if is_live else "silent"))
                if tuple(chosen) != self._services.rules:
                    self._services = Services(
                        tuple(chosen),  # type: ignore[arg-type]
                        self._place,
                        self._fhir_servers,
                        self._models,
                    )
                self._read_at = now
            return self._services

    def changed_rules(self) -> list[str]:
        """Return rules that are silent or live with another content than the installed one."""
        return [
            state.rule
            for state in self.state.rules.all()
            if state.is_evaluated
            and state.rule in self.rules
            and hash_of(self.rules[state.rule]) != state.hash
        ]

    # ------------------------------------------------------------------- calls

    def who(self, authorization: str | None, path: str) -> Client | None:
        """Say who calls; None where every caller is this machine.

        Raises
        ------
        neva.cds.client_tokens.Unauthorised
        """
        if self.clients is None:
            return None
        return verify(
            authorization,
            self.clients,
            audience=self.settings.base_url.rstrip("/") + path,
            tokens=self.state.tokens,
            now=self.settings.now(),
        )

    def call(self, service_id: str, content: Any, client: Client | None) -> dict[str, Any]:
        """Answer a call, log its cards and audit it, in one transaction.

        Raises
        ------
        NotFoundError, BadInputError, neva.cds.hooks.Preconditions
        """
        services = self.services()
        service = services.service(service_id)
        request = read_request(content, service.hook)
        now = self.settings.now()
        if self.hospital.manifest().identities != self._known_identities:
            # An import may have merged records of one person since.
            self._pseudonyms = self._pseudonyms_now()
        subject = str(self._pseudonyms.current("subject", request.patient))
        stay = (
            None
            if request.encounter is None
            else str(self._pseudonyms.one("stay", request.encounter))
        )
        last = self.state.cards.last_raised(
            subject, stay, since=now - longest_quiet(service.rules), until=now
        )
        answer = services.answer(service, request, now=now, last_raised=last)
        self._keep(service, answer, subject, stay, now, request.user, client)
        return answer.content

    def _keep(
        self,
        service: Service,
        answer: Answer,
        subject: str,
        stay: str | None,
        now: datetime,
        user: str,
        client: Client | None,
    ) -> None:
        entries = [
            CardEntry(
                card=one.card.uuid,
                rule=one.card.rule,
                version=one.card.version,
                hash=one.card.hash,
                subject=subject,
                stay=stay,
                unit=one.card.unit,
                now=now,
                hook=service.hook,
                state=one.state,
                indicator=one.card.indicator,
                severity=one.card.severity,
                shown=one.shown,
                suppressed_because=one.suppressed_because,
                inputs_hash=one.card.inputs_hash,
                service=service.id,
                client=None if client is None else client.issuer,
                tenant=None if client is None else client.tenant,
            )
            for one in answer.raised
        ]
        if answer.note is not None:
            # Shown like another, so it can be answered, and counts as a burden.
            entries.append(
                CardEntry(
                    card=answer.note["uuid"],
                    rule=ABOUT_THE_CALL,
                    version="1.0.0",
                    hash="none",
                    subject=subject,
                    stay=stay,
                    now=now,
                    hook=service.hook,
                    state="live",
                    indicator=answer.note["indicator"],
                    shown=True,
                    inputs_hash="none",
                    service=service.id,
                    client=None if client is None else client.issuer,
                    tenant=None if client is None else client.tenant,
                )
            )
        actor = user if client is None else f"{client.name}: {user}"
        why = f"CDS Hooks {service.hook}"
        with self.state.transaction() as connection:
            written = self.state.cards.record(
                entries, actor=actor, why=why, at=now, within=connection
            )
            if not written:
                self.state.audit.append(
                    at=now,
                    actor=actor,
                    action="evaluated",
                    subject=subject,
                    stay=stay,
                    why=why,
                    details={"rules": len(service.rules), "unknown": list(answer.unknown)},
                    within=connection,
                )

    def feedback(self, service_id: str, content: Any, client: Client | None) -> Mapping[str, int]:
        """Keep feedback on cards of this service that this client was given.

        The same post again changes nothing.

        Raises
        ------
        NotFoundError, BadInputError
        """
        service = self.services().service(service_id)
        posted = content.get("feedback") if isinstance(content, Mapping) else None
        if not isinstance(posted, list):
            message = "feedback: the body must hold an array; found none; see CDS Hooks 2.0"
            raise BadInputError(message)
        receipt = self.state.feedback.record(
            service.id,
            posted,
            at=self.settings.now(),
            actor="cds-client" if client is None else client.name,
            client=None if client is None else client.issuer,
            tenant=None if client is None else client.tenant,
        )
        return {"new": receipt.new, "repeated": receipt.repeated}
