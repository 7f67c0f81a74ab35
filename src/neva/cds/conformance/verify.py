"""Calls a CDS Hooks 2.0 service as a client would, and as a bad client would.

References
----------
HL7 CDS Hooks 2.0, https://cds-hooks.hl7.org/2.0/
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

from neva.cds.conformance.answers import judge_answer, judge_discovery
from neva.cds.conformance.report import ConformanceReport, Findings
from neva.cds.conformance.requests import Signer, hook_request, prefetch_for
from neva.errors import NotFoundError, UsageError

__all__ = ["service_base", "verify_service"]

#: "on the order of 500 ms"
FAST_SECONDS = 0.5

#: A service is given this long before it counts as not answering.
TIMEOUT_SECONDS = 30.0

_OK = 200
_MISSING_DATA = 412
_UNAUTHORISED = 401


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back; status 0: nothing did."""

    status: int
    document: Any = None
    is_json: bool = False
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_refusal(self) -> bool:
        # 401 says that the caller is not known, not that the request is wrong.
        return 400 <= self.status < 500 and self.status != _UNAUTHORISED

    @property
    def is_taken(self) -> bool:
        return 200 <= self.status < 300


def service_base(url: str) -> str:
    """Return the base of a service's URLs, whichever of them a user gave.

    Raises
    ------
    UsageError
        It is no http or https URL.

    Examples
    --------
    >>> service_base("https://cds.example/api/cds-services/")
    'https://cds.example/api'
    """
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
        # A password would be in the report; a query has no place in a base.
        is_url = is_url and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        is_url = False
    if not is_url:
        message = (
            "URL: not an http or https address without user, password and query; found other "
            "text; write https://host/base"
        )
        raise UsageError(message)
    return url.rstrip("/").removesuffix("/cds-services")


def verify_service(
    url: str,
    *,
    client: httpx.Client,
    prefetch: Mapping[str, Any] | None = None,
    patient: str = "neva-check-patient",
    signer: Signer | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
) -> ConformanceReport:
    """Check a CDS service against CDS Hooks 2.0.

    Parameters
    ----------
    url : str
        Base URL, or that of the discovery.
    client : httpx.Client
        Makes the calls; nothing but `url` and what is below it is called.
    prefetch : mapping, optional
        Data by prefetch key, or by service id and prefetch key.
    patient : str
        FHIR id of the patient.
    signer : Signer, optional
        Signs the calls; without it the checks of tokens are not made.
    now, clock : callable
        The time for tokens, and seconds for durations.

    Raises
    ------
    NotFoundError
        Nothing answers.
    UsageError
        `url` is no address.

    Notes
    -----
    The service is sent made-up requests, also wrong ones, and feedback on
    cards that nobody read: check a test installation, not the one in use.
    """
    return _Check(url, client, prefetch or {}, patient, signer, now, clock).run()


class _Check:
    """One run of all checks."""

    def __init__(
        self,
        url: str,
        client: httpx.Client,
        prefetch: Mapping[str, Any],
        patient: str,
        signer: Signer | None,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ):
        self.base = service_base(url)
        self.discovery = f"{self.base}/cds-services"
        self.client, self.given, self.patient = client, prefetch, patient
        self.signer, self.now, self.clock = signer, now, clock
        self.findings = Findings()
        self.cards = 0

    def send(
        self,
        method: str,
        url: str,
        content: Any = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        """Call; `token` "" is a good one, None is none."""
        sent = {"Accept": "application/json", **(headers or {})}
        if token == "" and self.signer is not None:
            token = self.signer.token(url, self.now())
        if token:
            sent["Authorization"] = f"Bearer {token}"
        body = None
        if content is not None:
            sent["Content-Type"] = "application/json"
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
        began = self.clock()
        try:
            answer = self.client.request(method, url, content=body, headers=sent)
        except (httpx.HTTPError, httpx.InvalidURL):
            return _Answer(0)
        seconds = self.clock() - began
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            document = json.loads(answer.content)
        except (ValueError, RecursionError):
            document = None
        return _Answer(
            answer.status_code,
            document,
            kind == "application/json" and document is not None,
            answer.text,
            answer.headers,
            seconds,
        )

    def address(self, service: Mapping[str, Any]) -> str:
        return f"{self.discovery}/{quote(service['id'], safe='', errors='replace')}"

    def run(self) -> ConformanceReport:
        expect = self.findings.expect
        answer = self.send("GET", self.discovery)
        if answer.status == 0:
            message = (
                f"{self.discovery}: does not answer; found no HTTP server that can be reached; "
                "check the address, the network and the certificate"
            )
            raise NotFoundError(message)
        place = f"GET /cds-services ({answer.status})"
        expect("tls.https", _is_private(self.base), self.base)
        services: list[dict[str, Any]] = []
        if expect("discovery.status", answer.status == _OK, place):
            expect("discovery.json", answer.is_json, place)
            services = judge_discovery(self.findings, answer.document)
        let_in: list[dict[str, Any]] = []
        for number, service in enumerate(services):
            cards, is_let_in = self.call(service)
            self.cards += len(cards)
            # A service that lets nobody in says nothing of how it answers.
            if is_let_in:
                self.refuse(service)
                self.feedback(service, cards)
                let_in.append(service)
            if number == 0:
                self.preflight(service)
                if self.signer is not None:
                    self.tokens(service, self.signer)
        if let_in:
            self.unknown(let_in)
        return self.findings.report(self.discovery, len(services), self.cards)

    def call(self, service: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """Make valid calls; return the cards of all of them, and whether one was let in."""
        expect = self.findings.expect
        full = prefetch_for(service, self.given, patient=self.patient)
        variants: dict[str, dict[str, Any]] = {"with all data": full} if full else {}
        if full:
            variants["with null data"] = dict.fromkeys(full)
        cards: list[dict[str, Any]] = []
        is_let_in = False
        first: _Answer | None = None
        for words, data in {**variants, "without prefetch": {}}.items():
            request = hook_request(service, patient=self.patient)
            if data:
                request["prefetch"] = data
            place = f"{service['id']}, {words}"
            answer = self.send("POST", self.address(service), request)
            first = first or answer
            is_let_in = is_let_in or answer.status != _UNAUTHORISED
            good = answer.status in (_OK, _MISSING_DATA)
            expect("call.status", good, f"{place} ({answer.status or 'no answer'})")
            expect("call.time", answer.seconds <= FAST_SECONDS, place)
            if answer.status == _OK:
                expect("call.json", answer.is_json, place)
                if answer.document is not None:
                    cards += judge_answer(self.findings, answer.document, place)
        request = hook_request(service, patient=self.patient)
        if full:
            request["prefetch"] = full
        request |= {"extension": {"org.example.check": "x"}, "unknownField": [1, {"a": None}]}
        request["context"] |= {"unknownField": "x"}
        answer = self.send("POST", self.address(service), request)
        if first is not None and first.status in (_OK, _MISSING_DATA):
            expect(
                "call.extra", answer.status == first.status, f"{service['id']} ({answer.status})"
            )
        return cards, is_let_in

    def refuse(self, service: Mapping[str, Any]) -> None:
        """Make wrong calls."""
        expect = self.findings.expect
        address, name = self.address(service), service["id"]
        for check, bodies in {
            "call.malformed": (b"{", b"", b"\xff\xfe{}", b'{"hook": "x",}'),
            "call.not-object": (b"[]", b"null", b'"text"'),
        }.items():
            for k, body in enumerate(bodies):
                answer = self.send("POST", address, body)
                place = f"{name}, body {k + 1} ({answer.status or 'no answer'})"
                expect(check, answer.is_refusal, place)
        for absent in ("hook", "hookInstance", "context"):
            request = hook_request(service, patient=self.patient)
            del request[absent]
            answer = self.send("POST", address, request)
            place = f"{name}, without {absent} ({answer.status or 'no answer'})"
            # 412 says that data are missing: that is another question.
            is_refusal = answer.is_refusal and answer.status != _MISSING_DATA
            if expect("call.missing", is_refusal, place):
                expect("call.missing-400", answer.status == 400, place)
        request = hook_request(service, patient=self.patient) | {"hook": "org.example.other-hook"}
        answer = self.send("POST", address, request)
        is_refusal = answer.is_refusal and answer.status != _MISSING_DATA
        expect("call.wrong-hook", is_refusal, f"{name} ({answer.status or 'no answer'})")

    def unknown(self, services: list[dict[str, Any]]) -> None:
        """Call a service that is not there."""
        request = hook_request(services[0], patient=self.patient)
        answer = self.send("POST", f"{self.discovery}/neva-check-{uuid4()}", request)
        place = f"an unknown service ({answer.status or 'no answer'})"
        self.findings.expect("call.unknown-service", answer.status == 404, place)

    def feedback(self, service: Mapping[str, Any], cards: list[dict[str, Any]]) -> None:
        """Post feedback, if the service takes any."""
        expect = self.findings.expect
        address, name = f"{self.address(service)}/feedback", service["id"]
        named = [one["uuid"] for one in cards if isinstance(one.get("uuid"), str)]
        first_card = named[0] if named else str(uuid4())
        suggestion = next(
            (
                one["uuid"]
                for shown in cards
                for one in (shown.get("suggestions") or [])
                if isinstance(one, dict) and isinstance(one.get("uuid"), str)
            ),
            str(uuid4()),
        )
        base = {"card": first_card, "outcomeTimestamp": _stamp(self.now())}
        coding = {"code": "other", "system": "https://example.org/reasons"}
        overridden = base | {
            "outcome": "overridden",
            "overrideReason": {"reason": coding, "userComment": "conformance check"},
        }
        accepted = base | {"outcome": "accepted", "acceptedSuggestions": [{"id": suggestion}]}
        plain = base | {"card": named[-1] if named else first_card, "outcome": "overridden"}
        first = self.send("POST", address, {"feedback": [overridden]})
        if first.status in (404, 405, 501):
            # "A CDS Service MAY support a feedback endpoint"
            return

        def taken(check: str, answer: _Answer) -> None:
            # A service may refuse feedback on a card that it never gave.
            if not named:
                return
            expect(check, answer.is_taken, f"{name} ({answer.status or 'no answer'})")

        taken("feedback.overridden", first)
        taken("feedback.again", self.send("POST", address, {"feedback": [overridden]}))
        taken("feedback.accepted", self.send("POST", address, {"feedback": [accepted]}))
        taken("feedback.several", self.send("POST", address, {"feedback": [plain, accepted]}))
        for k, body in enumerate((b"{", b"", b"\xff\xfe")):
            answer = self.send("POST", address, body)
            place = f"{name}, body {k + 1} ({answer.status or 'no answer'})"
            expect("feedback.malformed", answer.is_refusal, place)
        without: dict[str, Any] = {
            f"without {absent}": {"feedback": [{k: v for k, v in plain.items() if k != absent}]}
            for absent in ("card", "outcome", "outcomeTimestamp")
        }
        without["without feedback"] = {"other": []}
        for words, body in without.items():
            answer = self.send("POST", address, body)
            place = f"{name}, {words} ({answer.status or 'no answer'})"
            expect("feedback.missing", answer.is_refusal, place)

    def preflight(self, service: Mapping[str, Any]) -> None:
        """Ask as a browser does before it calls."""
        headers = {
            "Origin": "https://ehr.example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        answer = self.send("OPTIONS", self.address(service), token=None, headers=headers)
        allowed = answer.headers.get("access-control-allow-origin")
        good = answer.is_taken and allowed in ("*", "https://ehr.example.org")
        self.findings.expect("cors.preflight", good, f"{service['id']} ({answer.status})")

    def tokens(self, service: Mapping[str, Any], signer: Signer) -> None:
        """Call with wrong tokens."""
        address, now = self.address(service), self.now()
        at = int(now.timestamp())
        used = signer.token(address, now)
        self.send("POST", address, hook_request(service, patient=self.patient), token=used)
        wrong: dict[str, str | None] = {
            "token.absent": None,
            "token.expired": signer.token(address, now, exp=at - 3600, iat=at - 3660),
            "token.audience": signer.token(f"{self.base}/other", now),
            "token.issuer": signer.token(address, now, iss=f"https://{uuid4()}.example/"),
            "token.none": signer.unsigned(address, now),
            "token.symmetric": signer.symmetric(address, now),
            "token.reused": used,
            "token.kid": signer.with_kid(f"unknown-{uuid4()}", address, now),
            "token.signature": signer.forged(address, now),
        }
        refusals: dict[tuple[str, str], str] = {}
        for check, token in wrong.items():
            request = hook_request(service, patient=self.patient)
            answer = self.send("POST", address, request, token=token)
            place = f"{service['id']} ({answer.status or 'no answer'})"
            if self.findings.expect(check, answer.status == 401, place):
                refusals[answer.text, answer.headers.get("www-authenticate", "")] = check
        if refusals:
            place = f"{len(refusals)} different answers: {', '.join(refusals.values())}"
            self.findings.expect("token.no-detail", len(refusals) == 1, place)


def _stamp(now: datetime) -> str:
    return f"{(now - timedelta(seconds=1)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_private(base: str) -> bool:
    """Whether the way to the service is encrypted, or within this machine."""
    parts = urlsplit(base)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
