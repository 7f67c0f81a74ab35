"""Requests of CDS Hooks 2.0: what they must contain, checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from neva.decisions.rules import Hook
from neva.errors import BadInputError

__all__ = ["CONTEXT", "Request", "read_request"]

#: Fields of the context that each hook requires, and their JSON types.
CONTEXT: Final[dict[Hook, dict[str, type[Any]]]] = {
    "patient-view": {"userId": str, "patientId": str},
    "encounter-start": {"userId": str, "patientId": str, "encounterId": str},
    "encounter-discharge": {"userId": str, "patientId": str, "encounterId": str},
    "order-select": {"userId": str, "patientId": str, "selections": list, "draftOrders": dict},
    "order-sign": {"userId": str, "patientId": str, "draftOrders": dict},
}
#: Ids of FHIR resources are short; longer ones are a mistake or an attack.
LONGEST_ID: Final = 256
#: What may follow "Bearer" in a header (RFC 6750).
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_WORDS: Final[dict[type[Any], str]] = {str: "a text", list: "an array", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Request:
    """A call of a service, checked.

    Attributes
    ----------
    hook, hook_instance : str
    user, patient : str
    encounter : str or None
    drafts : tuple
        Resources of draft orders; for order-select only those selected.
    prefetch : mapping
        As sent; empty if it was not.
    fhir_server : str or None
    access_token : str or None
        Never logged.
    """

    hook: Hook
    hook_instance: str
    user: str
    patient: str
    encounter: str | None
    drafts: tuple[Any, ...]
    prefetch: Mapping[str, Any]
    fhir_server: str | None = None
    access_token: str | None = field(default=None, repr=False)


def _request_error(place: str, wanted: str) -> BadInputError:
    # What was found is not said: it may be a patient's.
    return BadInputError(
        f"request: {place} must be {wanted}; found something else or nothing; see the hook's "
        "definition in CDS Hooks 2.0"
    )


def _required_text(holder: Mapping[str, Any], name: str, place: str, *, longest: int = 2048) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise _request_error(f"{place}{name}", "a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _request_error(f"{place}{name}", "whole characters") from None
    if "\x00" in value:
        raise _request_error(f"{place}{name}", "a text without NUL")
    return value


def _id(holder: Mapping[str, Any], name: str) -> str:
    text = _required_text(holder, name, "context.", longest=LONGEST_ID)
    # Some clients send a reference where the specification wants an id.
    return text.rsplit("/", 1)[-1] or text


def _drafts(hook: Hook, context: Mapping[str, Any]) -> tuple[Any, ...]:
    bundle = context.get("draftOrders")
    if not isinstance(bundle, Mapping):
        return ()
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise _request_error("context.draftOrders.entry", "an array")
    found = [one.get("resource") for one in entries if isinstance(one, Mapping)]
    if hook != "order-select":
        return tuple(found)
    chosen = {one for one in context["selections"] if isinstance(one, str)}
    return tuple(
        one
        for one in found
        if isinstance(one, Mapping) and f"{one.get('resourceType')}/{one.get('id')}" in chosen
    )


def read_request(content: Any, hook: Hook) -> Request:
    """Check the body of a call.

    Parameters
    ----------
    content : JSON
        The body as parsed.
    hook : str
        Of the service that is called.

    Raises
    ------
    BadInputError
        A required field is absent or of the wrong type; the message names it
        and never its content.
    """
    if not isinstance(content, Mapping):
        raise _request_error("the body", "an object")
    if _required_text(content, "hook", "") != hook:
        raise _request_error("hook", f"{hook}, the hook of this service")
    instance = _required_text(content, "hookInstance", "", longest=LONGEST_ID)
    context = content.get("context")
    if not isinstance(context, Mapping):
        raise _request_error("context", "an object")
    for name, kind in CONTEXT[hook].items():
        if not isinstance(context.get(name), kind):
            raise _request_error(f"context.{name}", _WORDS[kind])
    prefetch = content.get("prefetch")
    if prefetch is not None and not isinstance(prefetch, Mapping):
        raise _request_error("prefetch", "an object")
    server = content.get("fhirServer")
    if server is not None:
        server = _required_text(content, "fhirServer", "")
    authorization = content.get("fhirAuthorization")
    token = None
    if authorization is not None:
        if not isinstance(authorization, Mapping):
            raise _request_error("fhirAuthorization", "an object")
        if server is None:
            raise _request_error("fhirServer", "given where fhirAuthorization is")
        token = _required_text(authorization, "access_token", "fhirAuthorization.", longest=100_000)
        if not _TOKEN.fullmatch(token):
            raise _request_error("fhirAuthorization.access_token", "a bearer token")
        bearer = authorization.get("token_type")
        if not isinstance(bearer, str) or bearer.lower() != "bearer":
            raise _request_error("fhirAuthorization.token_type", "Bearer")
    encounter = context.get("encounterId")
    return Request(
        hook=hook,
        hook_instance=instance,
        user=_required_text(context, "userId", "context.", longest=LONGEST_ID),
        patient=_id(context, "patientId"),
        encounter=None if encounter is None else _id(context, "encounterId"),
        drafts=_drafts(hook, context),
        prefetch=prefetch or {},
        fhir_server=server,
        access_token=token,
    )
