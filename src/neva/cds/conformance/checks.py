"""Requirements on a CDS Hooks 2.0 service: every check, in words, with its source.

Levels: a check of level SHALL that fails is a failure; of level SHOULD, a
warning. Where the specification leaves a status code open, the check asks for
what HTTP (RFC 9110) says and names that as its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CHECKS", "Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement.

    Attributes
    ----------
    id : str
        Stable; ``group.name``.
    level : str
        ``SHALL`` or ``SHOULD``.
    sentence : str
        What must hold.
    section : str
        Of CDS Hooks 2.0, or an RFC.
    """

    id: str
    level: str
    sentence: str
    section: str


_SECTIONS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "Discovery": (("discovery.status", "SHALL", "GET /cds-services answers 200"),),
    "Use of JSON": (
        ("discovery.json", "SHALL", "the discovery is application/json"),
        ("call.json", "SHALL", "the answer is application/json"),
    ),
    "Discovery: Response": (
        ("discovery.services", "SHALL", "it is an object with an array `services` of objects"),
        ("discovery.required", "SHALL", "each service has hook, description and id, as text"),
        ("discovery.title", "SHOULD", "each service has a title"),
        ("discovery.unique", "SHALL", "each id names one service"),
        ("discovery.prefetch", "SHALL", "prefetch is an object of texts"),
    ),
    "Null and empty JSON elements": (
        ("discovery.not-empty", "SHALL", "nothing in it is null or empty"),
        (
            "response.not-empty",
            "SHALL",
            "nothing in the answer is null or empty, but the array of cards",
        ),
    ),
    "Prefetch tokens": (
        ("discovery.delimiters", "SHALL", "prefetch tokens stand between {{ and }}"),
        (
            "discovery.tokens",
            "SHALL",
            "a prefetch token is context.field of the first level, or one of the user's",
        ),
        ("discovery.hook-fields", "SHALL", "a prefetch token names a field that its hook offers"),
    ),
    "Prefetch query restrictions": (
        (
            "discovery.queries",
            "SHOULD",
            "a prefetch template is a relative read or search of one type",
        ),
    ),
    "CDS Service Response": (
        (
            "call.status",
            "SHALL",
            "a valid request is answered with 200, or 412 where data are missing",
        ),
    ),
    "HTTP Response": (
        ("call.cards", "SHALL", "the answer is an object with an array `cards` of objects"),
    ),
    "Providing FHIR Resources to a CDS Service": (
        ("call.time", "SHOULD", "the answer comes within 500 ms"),
    ),
    "Extensions": (
        ("call.extra", "SHALL", "unknown fields and extensions change nothing"),
        ("response.extension", "SHALL", "an extension is an object"),
    ),
    "RFC 9110, 15.5.5 (404 Not Found)": (
        ("call.unknown-service", "SHALL", "an unknown service is answered with 404"),
    ),
    "RFC 9110, 15.5 (Client Error 4xx)": (
        ("call.malformed", "SHALL", "a body that is not JSON is answered with 4xx"),
        ("call.not-object", "SHALL", "a body that is no object is answered with 4xx"),
        ("feedback.malformed", "SHALL", "feedback that is not JSON is answered with 4xx"),
        ("feedback.missing", "SHALL", "feedback without a required field is answered with 4xx"),
    ),
    "Calling a CDS Service: HTTP Request": (
        (
            "call.missing",
            "SHALL",
            "a request without hook, hookInstance or context is answered with 4xx",
        ),
        (
            "call.wrong-hook",
            "SHOULD",
            "a request of a hook that the service is not for is answered with 4xx",
        ),
    ),
    "RFC 9110, 15.5.1 (400 Bad Request)": (
        (
            "call.missing-400",
            "SHOULD",
            "a request without a required field is answered with 400 exactly",
        ),
    ),
    "Card Attributes": (
        ("card.summary", "SHALL", "a card has a summary, as text"),
        ("card.summary-length", "SHALL", "a summary has fewer than 140 characters"),
        ("card.detail", "SHALL", "a detail is text"),
        ("card.indicator", "SHALL", "a card's indicator is info, warning or critical"),
        ("card.uuid", "SHALL", "a card's uuid is text"),
        ("card.uuid-unique", "SHALL", "no two cards of an answer have one uuid"),
        ("suggestion.list", "SHALL", "suggestions are an array of objects"),
        ("suggestion.behavior", "SHALL", "a card with suggestions has a selectionBehavior"),
        ("suggestion.behavior-value", "SHALL", "selectionBehavior is at-most-one or any"),
        ("link.list", "SHALL", "links are an array of objects"),
    ),
    "Source": (
        ("card.source", "SHALL", "a card has a source with a label"),
        ("card.source-url", "SHALL", "url and icon of a source are absolute URLs"),
    ),
    "Coding": (("card.topic", "SHALL", "a topic is a Coding with code and system"),),
    "Reasons for rejecting a card": (
        (
            "card.override-reasons",
            "SHALL",
            "override reasons are Codings with code, system and display",
        ),
    ),
    "Suggestion": (
        ("suggestion.label", "SHALL", "a suggestion has a label"),
        ("suggestion.uuid", "SHALL", "a suggestion's uuid is text, and of one suggestion only"),
        ("suggestion.recommended", "SHALL", "isRecommended is true or false"),
        (
            "suggestion.one-recommended",
            "SHALL",
            "several suggestions are recommended only where any may be chosen",
        ),
        ("action.list", "SHALL", "actions are an array of objects"),
    ),
    "Action": (
        ("action.type", "SHALL", "an action's type is create, update or delete"),
        ("action.description", "SHALL", "a suggestion's action has a description"),
        ("action.resource", "SHALL", "create and update carry a FHIR resource"),
        ("action.resource-id", "SHOULD", "delete names the resource with resourceId"),
        ("action.reference", "SHALL", "resourceId is a relative reference"),
    ),
    "Link": (
        ("link.label", "SHALL", "a link has a label"),
        ("link.url", "SHALL", "a link's url is an absolute URL"),
        ("link.type", "SHALL", "a link's type is absolute or smart"),
        ("link.app-context", "SHALL", "appContext is text, and only of smart links"),
    ),
    "System Action": (
        ("system-action.list", "SHALL", "systemActions are an array of objects"),
        ("system-action.type", "SHALL", "a system action's type is create, update or delete"),
        (
            "system-action.resource",
            "SHALL",
            "a system action that creates or updates carries a FHIR resource",
        ),
        ("system-action.description", "SHOULD", "a system action has a description"),
    ),
    "Feedback": (
        ("feedback.overridden", "SHALL", "feedback on an overridden card is taken (2xx)"),
    ),
    "Suggestion accepted": (
        ("feedback.accepted", "SHALL", "feedback on an accepted suggestion is taken (2xx)"),
        ("feedback.several", "SHALL", "feedback on several cards in one post is taken (2xx)"),
        ("feedback.again", "SHALL", "the same feedback again is taken (2xx)"),
    ),
    "Trusting CDS Clients": (
        ("token.absent", "SHALL", "a call without a token is answered with 401"),
        ("token.expired", "SHALL", "an expired token is answered with 401"),
        ("token.audience", "SHALL", "a token for another endpoint is answered with 401"),
        ("token.issuer", "SHALL", "a token of an unknown issuer is answered with 401"),
        ("token.reused", "SHALL", "a token that was used before is answered with 401"),
        ("token.kid", "SHALL", "a token with an unknown kid is answered with 401"),
        ("token.signature", "SHALL", "a token with a wrong signature is answered with 401"),
    ),
    "JWT Signing Algorithm": (
        ("token.none", "SHALL", "an unsigned token (none) is answered with 401"),
        (
            "token.symmetric",
            "SHALL",
            "a token signed with HS256 (the public key as secret) is answered with 401",
        ),
    ),
    "RFC 6750, 3.1": (
        ("token.no-detail", "SHOULD", "every 401 reads the same, and says nothing of the reason"),
    ),
    "Cross-Origin Resource Sharing": (
        (
            "cors.preflight",
            "SHOULD",
            "a browser's preflight is answered with Access-Control-Allow-Origin",
        ),
    ),
    "Security and Safety": (
        ("tls.https", "SHOULD", "the service is reached over https, unless it is on this machine"),
    ),
}

_GROUPS = (
    "discovery", "call", "response", "card", "suggestion", "action", "link", "system-action",
    "feedback", "token", "cors", "tls",
)  # fmt: skip

_FOUND = [
    Check(name, level, sentence, section)
    for section, checks in _SECTIONS.items()
    for name, level, sentence in checks
]

#: All checks by id, in the order of the report.
CHECKS: Mapping[str, Check] = {
    check.id: check
    for check in sorted(_FOUND, key=lambda check: _GROUPS.index(check.id.partition(".")[0]))
}
