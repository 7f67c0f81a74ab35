"""A small CDS service that does everything right, or exactly one thing wrong."""

import base64
import contextlib
import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from neva.cds.client_keys import ClientKeys, Clients, VerifyingKey
from neva.cds.client_tokens import Unauthorised, verify
from neva.cds.conformance.requests import Signer
from tests.signing_keys import private_key

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ISSUER = "https://ehr.example/"

DISCOVERY: dict[str, Any] = {
    "services": [
        {
            "hook": "patient-view",
            "id": "sepsis",
            "title": "Sepsis",
            "description": "Says when lactate is due.",
            "prefetch": {
                "patient": "Patient/{{context.patientId}}",
                "lactate": "Observation?patient={{context.patientId}}&code=2524-7",
                "user": "{{context.userId}}",
                "role": "PractitionerRole?_id={{userPractitionerRoleId}}",
            },
        },
        {
            "hook": "encounter-discharge",
            "id": "discharge",
            "title": "Discharge",
            "description": "Says nothing.",
        },
    ]
}

CODING = {"code": "c", "system": "https://example.org/codes", "display": "words"}
RESOURCE = {"resourceType": "ServiceRequest", "id": "r1", "status": "draft"}
ANSWER: dict[str, Any] = {
    "cards": [
        {
            "uuid": "5a4e6f0e-0000-4000-8000-000000000001",
            "summary": "x" * 139,
            "detail": "**Lactate** was 4.",
            "indicator": "warning",
            "source": {
                "label": "Guideline",
                "url": "https://example.org/guideline",
                "icon": "https://example.org/icon.png",
                "topic": CODING,
            },
            "selectionBehavior": "at-most-one",
            "suggestions": [
                {
                    "label": "Order",
                    "uuid": "s1",
                    "isRecommended": True,
                    "actions": [
                        {"type": "create", "description": "Order it", "resource": RESOURCE},
                        {"type": "update", "description": "Change it", "resource": RESOURCE},
                        {
                            "type": "delete",
                            "description": "Remove it",
                            "resourceId": "ServiceRequest/r2",
                        },
                    ],
                },
                {"label": "Wait", "uuid": "s2", "isRecommended": False},
            ],
            "overrideReasons": [CODING],
            "links": [
                {"label": "Read", "url": "https://example.org/a", "type": "absolute"},
                {
                    "label": "App",
                    "url": "https://example.org/launch",
                    "type": "smart",
                    "appContext": "x",
                },
            ],
            "extension": {"org.example.a": 1},
        },
        {
            "uuid": "5a4e6f0e-0000-4000-8000-000000000002",
            "summary": "y",
            "indicator": "info",
            "source": {"label": "Guideline"},
        },
    ],
    "systemActions": [{"type": "update", "description": "Score", "resource": RESOURCE}],
}


def _set(*path: Any) -> Any:
    """A change that puts the last word where the others lead; `...` removes."""
    *way, name, value = path

    def change(document: Any) -> None:
        for step in way:
            document = document[step]
        if value is ...:
            del document[name]
        else:
            document[name] = value

    return change


def _of_card(*path: Any) -> Any:
    return _set("cards", 0, *path)


def _template(text: Any) -> Any:
    return _set("services", 0, "prefetch", "more", text)


#: How the discovery is broken, by the check that must see it.
BROKEN_DISCOVERY = {
    "discovery.services": lambda document: document["services"].append("x"),
    "discovery.required": _set("services", 1, "description", ...),
    "discovery.title": _set("services", 1, "title", ...),
    "discovery.unique": lambda document: document["services"].append(document["services"][0]),
    "discovery.not-empty": _set("services", 1, "title", ""),
    "discovery.prefetch": _template(7),
    "discovery.delimiters": _template("Observation?patient={{context.patientId}"),
    "discovery.tokens": _template("Observation?patient={{context.patient.id}}"),
    "discovery.hook-fields": _template("Observation?patient={{context.selections}}"),
    "discovery.queries": _template("https://fhir.example/Patient/1"),
}

#: How the answer is broken.
BROKEN_ANSWER = {
    "call.cards": lambda document: document["cards"].append("x"),
    "response.not-empty": _of_card("detail", ""),
    "response.extension": _of_card("extension", "x"),
    "card.summary": _of_card("summary", ...),
    "card.summary-length": _of_card("summary", "x" * 140),
    "card.detail": _of_card("detail", 7),
    "card.indicator": _of_card("indicator", "success"),
    "card.uuid": _of_card("uuid", 7),
    "card.uuid-unique": _set("cards", 1, "uuid", ANSWER["cards"][0]["uuid"]),
    "card.source": _of_card("source", "label", ...),
    "card.source-url": _of_card("source", "url", "guideline.html"),
    "card.topic": _of_card("source", "topic", {"code": "x"}),
    "card.override-reasons": _of_card(
        "overrideReasons", [{"code": "c", "system": "https://example.org/codes"}]
    ),
    "suggestion.list": lambda document: document["cards"][0]["suggestions"].append("x"),
    "suggestion.behavior": _of_card("selectionBehavior", ...),
    "suggestion.behavior-value": _of_card("selectionBehavior", "all"),
    "suggestion.label": _of_card("suggestions", 0, "label", ...),
    "suggestion.uuid": _of_card("suggestions", 1, "uuid", "s1"),
    "suggestion.recommended": _of_card("suggestions", 1, "isRecommended", "yes"),
    "suggestion.one-recommended": _of_card("suggestions", 1, "isRecommended", True),
    "action.list": lambda document: document["cards"][0]["suggestions"][0]["actions"].append("x"),
    "action.type": _of_card("suggestions", 0, "actions", 2, "type", "remove"),
    "action.description": _of_card("suggestions", 0, "actions", 0, "description", ...),
    "action.resource": _of_card("suggestions", 0, "actions", 0, "resource", "ServiceRequest/1"),
    "action.resource-id": _of_card("suggestions", 0, "actions", 2, "resourceId", ...),
    "action.reference": _of_card(
        "suggestions", 0, "actions", 2, "resourceId", "https://fhir.example/ServiceRequest/r2"
    ),
    "link.list": lambda document: document["cards"][0]["links"].append("x"),
    "link.label": _of_card("links", 0, "label", ...),
    "link.url": _of_card("links", 0, "url", "/guideline"),
    "link.type": _of_card("links", 1, "type", "app"),
    "link.app-context": _of_card("links", 0, "appContext", "x"),
    "system-action.list": lambda document: document["systemActions"].append("x"),
    "system-action.type": _set("systemActions", 0, "type", "remove"),
    "system-action.resource": _set("systemActions", 0, "resource", ...),
    "system-action.description": _set("systemActions", 0, "description", ...),
}

#: What is wrong in what the service does, not in what it says.
BROKEN_MANNERS = (
    "discovery.status", "discovery.json", "call.status", "call.json", "call.time", "call.extra",
    "call.unknown-service", "call.malformed", "call.not-object", "call.missing",
    "call.missing-400", "call.wrong-hook", "feedback.overridden", "feedback.accepted",
    "feedback.several", "feedback.again", "feedback.malformed", "feedback.missing",
    "token.absent", "token.expired", "token.audience", "token.issuer", "token.none",
    "token.symmetric", "token.reused", "token.kid", "token.signature", "token.no-detail",
    "cors.preflight", "tls.https",
)  # fmt: skip

BREAKAGES = (*BROKEN_DISCOVERY, *BROKEN_ANSWER, *BROKEN_MANNERS)

_CLIENT = httpx.Client

_CODES = {
    "absent": "token.absent",
    "expired": "token.expired",
    "audience": "token.audience",
    "issuer": "token.issuer",
    "replayed": "token.reused",
    "key": "token.kid",
    "signature": "token.signature",
}


def signer() -> Signer:
    return Signer(ISSUER, "p384", "ES384", private_key("p384"))


class Taken:
    def __init__(self) -> None:
        self.names: set[tuple[str, str]] = set()

    def take(self, issuer: str, jti: str, expires: datetime, now: datetime) -> bool:
        if (issuer, jti) in self.names:
            return False
        self.names.add((issuer, jti))
        return True


class CdsService:
    """Answers what a client sends; a transport hands it over without a socket."""

    def __init__(self, broken: str = "", *, needs_token: bool = False):
        assert broken in ("", *BREAKAGES)
        self.broken = broken
        self.base = f"{'http' if broken == 'tls.https' else 'https'}://cds.example/api"
        self.needs_token = needs_token
        self.seconds = 0.0
        self.requests: list[httpx.Request] = []
        self._tokens = Taken()
        self._posts: set[bytes] = set()
        public = VerifyingKey(frozenset({"ES384"}), private_key("p384").public_key())
        self._clients = Clients({ISSUER: ClientKeys(ISSUER, "record", {"p384": public})})

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer))

    def clock(self) -> float:
        return self.seconds

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.seconds += 0.6 if self.broken == "call.time" and request.method == "POST" else 0.1
        _, _, path = str(request.url).partition("/cds-services")
        if request.method == "OPTIONS":
            allowed = (
                {} if self.broken == "cors.preflight" else {"access-control-allow-origin": "*"}
            )
            return httpx.Response(204, headers=allowed)
        refused = self._refused(request) if self.needs_token else None
        if refused is not None:
            return refused
        if not path:
            return self._discovery()
        name, _, rest = path.strip("/").partition("/")
        if name not in {"sepsis", "discharge"}:
            return httpx.Response(400 if self.broken == "call.unknown-service" else 404)
        if rest == "feedback":
            return self._feedback(request)
        return self._call(name, request)

    def _refused(self, request: httpx.Request) -> httpx.Response | None:
        header = request.headers.get("authorization")
        try:
            verify(
                header,
                self._clients,
                audience=str(request.url),
                tokens=self._tokens,
                now=NOW + timedelta(seconds=1),
            )
        except Unauthorised as error:
            code = error.code
        else:
            return None
        check = _CODES.get(code)
        # An unsigned token has no signature, and so no form of ours.
        if code in {"algorithm", "malformed"}:
            first = str(header).removeprefix("Bearer ").partition(".")[0]
            with contextlib.suppress(ValueError):
                algorithm = json.loads(base64.urlsafe_b64decode(first + "=="))["alg"]
                check = "token.none" if algorithm == "none" else "token.symmetric"
        if check == self.broken:
            return None
        if self.broken == "token.no-detail":
            return httpx.Response(401, text=code)
        return httpx.Response(401, headers={"www-authenticate": "Bearer"})

    def _discovery(self) -> httpx.Response:
        document = copy.deepcopy(DISCOVERY)
        if self.broken in BROKEN_DISCOVERY:
            BROKEN_DISCOVERY[self.broken](document)
        if self.broken == "discovery.status":
            return httpx.Response(500)
        return self._json(document, is_json=self.broken != "discovery.json")

    def _json(self, document: Any, *, is_json: bool = True) -> httpx.Response:
        kind = "application/json; charset=utf-8" if is_json else "text/plain"
        return httpx.Response(
            200, content=json.dumps(document).encode(), headers={"content-type": kind}
        )

    def _body(self, request: httpx.Request, malformed: str, other: str) -> Any:
        """The object of a body, or the answer that refuses it."""
        try:
            document = json.loads(request.content)
        except ValueError:
            return httpx.Response(500 if self.broken == malformed else 400)
        if not isinstance(document, dict):
            return httpx.Response(500 if self.broken == other else 400)
        return document

    def _call(self, name: str, request: httpx.Request) -> httpx.Response:
        asked = self._body(request, "call.malformed", "call.not-object")
        if isinstance(asked, httpx.Response):
            return asked
        hook = {"sepsis": "patient-view", "discharge": "encounter-discharge"}[name]
        missing = [one for one in ("hook", "hookInstance", "context") if one not in asked]
        if missing and not (self.broken == "call.missing" and missing == ["hookInstance"]):
            return httpx.Response(422 if self.broken == "call.missing-400" else 400)
        if asked.get("hook", hook) != hook and self.broken != "call.wrong-hook":
            return httpx.Response(400)
        if "unknownField" in asked and self.broken == "call.extra":
            return httpx.Response(400)
        if name == "discharge":
            if self.broken == "call.status":
                return httpx.Response(500)
            return self._json({"cards": []}, is_json=self.broken != "call.json")
        prefetch = asked.get("prefetch", {})
        if "patient" not in prefetch and asked.get("hook") == hook and "hookInstance" in asked:
            return httpx.Response(412)
        if prefetch.get("patient") is None:
            return self._json({"cards": []})
        document = copy.deepcopy(ANSWER)
        if self.broken in BROKEN_ANSWER:
            BROKEN_ANSWER[self.broken](document)
        return self._json(document)

    def _feedback(self, request: httpx.Request) -> httpx.Response:
        posted = self._body(request, "feedback.malformed", "feedback.malformed")
        if isinstance(posted, httpx.Response):
            return posted
        entries = posted.get("feedback")
        needed = ("card", "outcome", "outcomeTimestamp")
        if not isinstance(entries, list) or not all(
            name in entry for entry in entries for name in needed
        ):
            return httpx.Response(200 if self.broken == "feedback.missing" else 400)
        again = request.content in self._posts
        self._posts.add(request.content)
        kind = {
            (True, "overridden", True): "feedback.again",
            (True, "overridden", False): "feedback.overridden",
            (True, "accepted", False): "feedback.accepted",
            (False, "overridden", False): "feedback.several",
        }.get((len(entries) == 1, entries[0]["outcome"], again))
        return httpx.Response(500 if kind == self.broken else 200)


def put_behind_httpx(service: CdsService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every `httpx.Client` that is made from now on talk to this service."""
    transport = httpx.MockTransport(service.answer)
    monkeypatch.setattr(httpx, "Client", lambda **_: _CLIENT(transport=transport))
