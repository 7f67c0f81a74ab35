"""Tokens of CDS clients: who is calling, by the rules of CDS Hooks 2.0.

The reading of a token is our own, because it is short and because libraries
are lenient where this must not be (duplicate claims, padding, types); the
signature itself is checked by PyJWT and `cryptography`.

References
----------
HL7 CDS Hooks 2.0, "Trusting CDS Clients", https://cds-hooks.hl7.org/2.0/
RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practices).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from neva.cds.client_keys import ALGORITHMS, ClientKeys, Clients, read_clients
from neva.errors import NevaError

__all__ = ["REASONS", "Client", "Clients", "Unauthorised", "read_clients", "verify"]

#: Why a token was refused; for counters, never for the caller.
REASONS = (
    "absent",
    "too-large",
    "malformed",
    "header",
    "algorithm",
    "issuer",
    "jku",
    "key",
    "signature",
    "claims",
    "audience",
    "expired",
    "not-yet",
    "lifetime",
    "tenant",
    "replayed",
)

#: Longer headers are not read. Web servers refuse about 8,190 bytes too.
LONGEST_HEADER = 8192

#: Longer names of a token are not; a UUID has 36 characters.
LONGEST_NAME = 1000

#: Whole numbers that JSON carries safely (RFC 8259); the year 285,428,751.
LARGEST_NUMBER = 2**53

_ALL_ALGORITHMS = frozenset(name for names in ALGORITHMS.values() for name in names)
_BEARER = re.compile(
    r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)"
)


class TokenStore(Protocol):
    """Where used tokens are remembered: :class:`neva.state.Tokens`."""

    def take(self, issuer: str, jti: str, expires: datetime, now: datetime) -> bool:
        """Use a token once; False if it was used before."""


class Unauthorised(NevaError):  # noqa: N818  the contract's word
    """The caller is not known. Answer with a bare 401.

    Its text is always the same. `code` is one of :data:`REASONS`, for
    counters; it says nothing of the token's content.
    """

    def __init__(self, code: str):
        super().__init__("unauthorised")
        self.code = code


@dataclass(frozen=True, slots=True)
class Client:
    """Who called.

    Attributes
    ----------
    issuer, name : str
        From the file of clients.
    tenant : str or None
        The organisation it speaks for, if its token names one.
    """

    issuer: str
    name: str
    tenant: str | None = None


def verify(
    authorization: str | None,
    clients: Clients,
    *,
    audience: str | Collection[str],
    tokens: TokenStore,
    now: datetime,
) -> Client:
    """Say who is calling, from the header ``Authorization``.

    Parameters
    ----------
    authorization : str or None
        The header; exactly one, ``Bearer`` and a JWT.
    clients : Clients
    audience : str or collection of str
        The URL of the endpoint that is called, exactly as clients know it;
        several if it is known under several. A token names exactly one.
    tokens : TokenStore
        Takes the token's ``jti``: last of all, once everything else is good,
        so that nobody without the key can use up names.
    now : datetime
        Aware.

    Returns
    -------
    Client

    Raises
    ------
    Unauthorised
        In every other case. The token is in no message.

    Notes
    -----
    Keys are found only by issuer and ``kid`` among those that were agreed;
    ``jku`` must equal the agreed one if a token has it, and is not opened;
    ``jwk``, ``x5c`` and ``x5u`` are ignored. The algorithm must belong to the
    key's type and be asymmetric. ``crit`` and ``b64`` are refused: this
    reader knows no extension.
    """
    header, claims, signed, signature = _parts_of_token(authorization)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALL_ALGORITHMS:
        raise Unauthorised("algorithm")
    if header.get("typ") != "JWT" or "crit" in header or "b64" in header:
        raise Unauthorised("header")
    issuer = claims.get("iss")
    client = clients.by_issuer.get(issuer) if isinstance(issuer, str) else None
    if client is None:
        raise Unauthorised("issuer")
    if "jku" in header and (client.jku is None or header["jku"] != client.jku):
        raise Unauthorised("jku")
    kid = header.get("kid")
    key = client.keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise Unauthorised("key")
    if algorithm not in key.algorithms:
        raise Unauthorised("algorithm")
    if not key.verifies(algorithm, signed, signature):
        raise Unauthorised("signature")
    expires = _times(claims, clients, now)
    _audience(claims, client, audience)
    tenant = _tenant(claims, client)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= LONGEST_NAME:
        raise Unauthorised("claims")
    if not tokens.take(client.issuer, jti, expires, now):
        raise Unauthorised("replayed")
    return Client(client.issuer, client.name, tenant)


def _parts_of_token(
    authorization: str | None,
) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Take a token apart: header, claims, what was signed, signature."""
    if not authorization:
        raise Unauthorised("absent")
    if len(authorization) > LONGEST_HEADER:
        raise Unauthorised("too-large")
    parts = _BEARER.fullmatch(authorization)
    if parts is None:
        raise Unauthorised("malformed")
    header, claims, signature = parts.groups()
    return (
        _object(_bytes(header)),
        _object(_bytes(claims)),
        f"{header}.{claims}".encode(),
        _bytes(signature),
    )


def _bytes(text: str) -> bytes:
    """Decode base64url; only its one way of writing (no padding, no spare bits)."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Unauthorised("malformed") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        raise Unauthorised("malformed")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        # Two readers would see two tokens (RFC 7519 section 4 lets us refuse).
        raise Unauthorised("malformed")
    return content


def _no_constant(_: str) -> Any:
    raise Unauthorised("malformed")


def _object(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise Unauthorised("malformed") from None
    if not isinstance(content, dict):
        raise Unauthorised("malformed")
    return content


def _numeric_claim(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unauthorised("claims")
    if not 0 <= value < LARGEST_NUMBER:
        raise Unauthorised("claims")
    return value


def _times(claims: dict[str, Any], clients: Clients, now: datetime) -> datetime:
    """Check the times; return when the token is refused for its age."""
    expires, issued = _numeric_claim(claims, "exp"), _numeric_claim(claims, "iat")
    begins = _numeric_claim(claims, "nbf") if "nbf" in claims else issued
    at, leeway = now.timestamp(), clients.leeway_seconds
    if expires <= issued:
        raise Unauthorised("claims")
    if at >= expires + leeway:
        raise Unauthorised("expired")
    if max(issued, begins) > at + leeway:
        raise Unauthorised("not-yet")
    if expires - issued > clients.lifetime_seconds:
        raise Unauthorised("lifetime")
    return datetime.fromtimestamp(expires, UTC) + timedelta(seconds=leeway)


def _audience(claims: dict[str, Any], client: ClientKeys, audience: str | Collection[str]) -> None:
    called = {audience} if isinstance(audience, str) else set(audience)
    named = claims.get("aud")
    if isinstance(named, list) and len(named) == 1:
        named = named[0]
    if not isinstance(named, str) or named not in called:
        raise Unauthorised("audience")
    if client.audiences and named not in client.audiences:
        raise Unauthorised("audience")


def _tenant(claims: dict[str, Any], client: ClientKeys) -> str | None:
    tenant = claims.get("tenant")
    if tenant is not None and (not isinstance(tenant, str) or not 0 < len(tenant) <= LONGEST_NAME):
        raise Unauthorised("claims")
    if client.tenants and tenant not in client.tenants:
        raise Unauthorised("tenant")
    return tenant
