"""The clients that may call: their issuers, and the public keys they sign with.

The file is local, and so are the keys: nothing is fetched when a token comes,
so nobody can make this machine open an address (``jku`` in a token is compared
with what was agreed, never opened).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

import yaml
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from neva.errors import BadInputError, NotFoundError

__all__ = ["ALGORITHMS", "ClientKeys", "Clients", "VerifyingKey", "read_clients"]

#: Which algorithms a key may be used with, by its type and curve (RFC 7518,
#: RFC 8037). A key never serves two families: that is what key confusion needs.
ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}

#: NIST SP 800-131A rev. 2: shorter RSA keys are not for signatures.
SHORTEST_RSA_BITS = 2048

#: Between a client's clock and ours.
LEEWAY_SECONDS = 30
LONGEST_LEEWAY_SECONDS = 120

#: From `iat` to `exp`: a token is made for one call.
LIFETIME_SECONDS = 300
LONGEST_LIFETIME_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the algorithms it may be used with."""

    algorithms: frozenset[str]
    key: Any = field(repr=False)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is of this key, by an algorithm that is its own."""
        if algorithm not in self.algorithms:
            return False
        try:
            return bool(get_default_algorithms()[algorithm].verify(signed, self.key, signature))
        except (PyJWTError, ValueError, TypeError):
            return False


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What was agreed with one client.

    Attributes
    ----------
    issuer : str
        ``iss`` of its tokens.
    name : str
        For people.
    keys : mapping of str to VerifyingKey
        By ``kid``.
    jku : str or None
        The only address that its tokens may name; it is not opened.
    audiences : frozenset of str
        The endpoints it may call; empty: all.
    tenants : frozenset of str
        The organisations it may speak for; empty: any or none.
    """

    issuer: str
    name: str
    keys: Mapping[str, VerifyingKey]
    jku: str | None = None
    audiences: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Clients:
    """All clients that may call.

    Attributes
    ----------
    by_issuer : mapping of str to ClientKeys
    leeway_seconds, lifetime_seconds : int
        How far clocks may differ; how long a token may be good for.
    """

    by_issuer: Mapping[str, ClientKeys]
    leeway_seconds: int = LEEWAY_SECONDS
    lifetime_seconds: int = LIFETIME_SECONDS


def read_clients(path: Path) -> Clients:
    """Read the file of clients (YAML or JSON).

    Parameters
    ----------
    path : Path
        ``clients``: a list, each with ``issuer``, ``jwks`` (a JWK Set, or the
        name of a file beside this one), and optionally ``name``, ``jku``,
        ``audiences``, ``tenants``. Optionally ``leeway_seconds`` (at most
        120) and ``lifetime_seconds`` (at most 3,600) for all.

    Raises
    ------
    NotFoundError
        A file is absent.
    BadInputError
        The content is wrong: an unknown word, a key without ``kid``, two keys
        with one ``kid``, a private or symmetric key, a short RSA key.

    Examples
    --------
    .. code-block:: yaml

        clients:
          - issuer: https://ehr.hospital.example/
            name: the hospital's record
            jwks: ehr-keys.json
            audiences: [https://neva.hospital.example/cds-services/sepsis]
    """
    content = _parsed(path)
    known = {"clients", "leeway_seconds", "lifetime_seconds"}
    if not isinstance(content, dict) or set(content) - known or "clients" not in content:
        _refuse_key(
            path, "must hold 'clients'", "other words", f"known are {', '.join(sorted(known))}"
        )
    found = content["clients"]
    if not isinstance(found, list) or not found:
        _refuse_key(path, "clients: must be a list", "none", "write at least one")
    clients = [_client(path, f"clients[{k}]", one) for k, one in enumerate(found)]
    by_issuer = {client.issuer: client for client in clients}
    if len(by_issuer) < len(clients):
        _refuse_key(path, "two clients have one issuer", f"{len(clients)} clients", "join them")
    return Clients(
        by_issuer,
        _seconds(path, content, "leeway_seconds", LEEWAY_SECONDS, LONGEST_LEEWAY_SECONDS),
        _seconds(path, content, "lifetime_seconds", LIFETIME_SECONDS, LONGEST_LIFETIME_SECONDS),
    )


def _refuse_key(path: Path, what: str, found: str, do: str) -> Never:
    message = f"{path}: {what}; found {found}; {do}"
    raise BadInputError(message)


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"{path}: no such file; found nothing there; check the path"
        raise NotFoundError(message) from None
    except (OSError, UnicodeDecodeError):
        message = f"{path}: cannot be read; found no text; check the file and its rights"
        raise BadInputError(message) from None
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        message = f"{path}: not YAML or JSON; found other text; check the file"
        raise BadInputError(message) from None


def _seconds(path: Path, content: dict[str, Any], name: str, usual: int, most: int) -> int:
    value = content.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        _refuse_key(path, f"{name}: must be a whole number", "another value", f"write 0 to {most}")
    return int(value)


def _client(path: Path, where: str, one: Any) -> ClientKeys:
    known = {"issuer", "name", "jwks", "jku", "audiences", "tenants"}
    if not isinstance(one, dict) or set(one) - known or not {"issuer", "jwks"} <= set(one):
        do = f"issuer and jwks are needed; known are {', '.join(sorted(known))}"
        _refuse_key(path, f"{where}: not a client", "other words", do)
    for name in ("issuer", "name", "jku"):
        if name in one and (not isinstance(one[name], str) or not one[name]):
            _refuse_key(
                path, f"{where}.{name}: must be text", "another value", "write it in quotes"
            )
    jwks = one["jwks"]
    source = path
    if isinstance(jwks, str):
        source = path.parent / jwks
        jwks = _parsed(source)
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list) or not jwks["keys"]:
        _refuse_key(source, f"{where}: not a JWK Set", "no list of keys", 'write {"keys": [...]}')
    keys: dict[str, VerifyingKey] = {}
    for k, jwk in enumerate(jwks["keys"]):
        kid, key = _key(source, f"{where}: keys[{k}]", jwk)
        if kid in keys:
            _refuse_key(source, f"{where}: two keys have one kid", "it twice", "name them apart")
        keys[kid] = key
    return ClientKeys(
        issuer=one["issuer"],
        name=str(one.get("name", one["issuer"])),
        keys=keys,
        jku=one.get("jku"),
        audiences=_texts(path, f"{where}.audiences", one.get("audiences")),
        tenants=_texts(path, f"{where}.tenants", one.get("tenants")),
    )


def _texts(path: Path, where: str, value: Any) -> frozenset[str]:
    values = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
        _refuse_key(path, f"{where}: must be a list of texts", "another value", "write [a, b]")
    return frozenset(values)


def _key(path: Path, where: str, jwk: Any) -> tuple[str, VerifyingKey]:
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or not jwk["kid"]:
        _refuse_key(path, f"{where}: a key needs a kid", "none", "ask the client for its JWK Set")
    if set(jwk) & {"d", "p", "q", "k"}:
        do = "ask the client for its public keys, and tell it that this one is no longer secret"
        _refuse_key(path, f"{where}: only public keys belong here", "a private or shared one", do)
    kind, curve = jwk.get("kty"), jwk.get("crv") if jwk.get("kty") != "RSA" else None
    allowed = ALGORITHMS.get((kind, curve)) if isinstance(kind, str) else None
    if allowed is None:
        do = "known are RSA, EC (P-256, P-384, P-521) and OKP (Ed25519, Ed448)"
        _refuse_key(path, f"{where}: not a key that can sign", "another type or curve", do)
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        _refuse_key(path, f"{where}: the key is not for signatures", "another use", "leave it out")
    if "alg" in jwk:
        if jwk["alg"] not in allowed:
            do = f"this type of key goes with {', '.join(allowed)}"
            _refuse_key(path, f"{where}: alg does not fit the key", "another algorithm", do)
        allowed = (jwk["alg"],)
    try:
        key = get_default_algorithms()[allowed[0]].from_jwk(dict(jwk))
    except (PyJWTError, ValueError, TypeError):
        message = f"{path}: {where}: not a public key; found numbers that make none; ask again"
        raise BadInputError(message) from None
    if kind == "RSA" and key.key_size < SHORTEST_RSA_BITS:
        do = f"ask for one of at least {SHORTEST_RSA_BITS:,} bits"
        _refuse_key(path, f"{where}: the RSA key is too short", f"{key.key_size:,} bits", do)
    return jwk["kid"], VerifyingKey(frozenset(allowed), key)
