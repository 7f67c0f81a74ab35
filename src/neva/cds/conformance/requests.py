"""Requests to a CDS service: valid ones from its hook, and tokens, good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from neva.cds.conformance.hooks import hook_context
from neva.errors import BadInputError, NotFoundError

__all__ = ["Signer", "hook_request", "prefetch_for", "read_signer"]

_TEMPLATE_TYPE = re.compile(r"([A-Z][A-Za-z]+)([/?])")


def hook_request(service: Mapping[str, Any], *, patient: str) -> dict[str, Any]:
    """Make a valid request to a service, without prefetched data."""
    return {
        "hook": service["hook"],
        "hookInstance": str(uuid4()),
        "context": hook_context(service, patient=patient),
    }


def prefetch_for(
    service: Mapping[str, Any], given: Mapping[str, Any], *, patient: str
) -> dict[str, Any]:
    """Return data for every key that a service asks for.

    Parameters
    ----------
    service : mapping
        From the discovery.
    given : mapping
        Values by prefetch key, or such mappings by service id. What is not
        given is made up: a patient without a name, an empty search.
    patient : str
        FHIR id.
    """
    templates = service.get("prefetch")
    if not isinstance(templates, dict):
        return {}
    own = given.get(str(service["id"]))
    if not isinstance(own, dict) or "resourceType" in own:
        own = {}
    made = {}
    for key, template in templates.items():
        if key in own or key in given:
            made[key] = own.get(key, given.get(key))
        else:
            made[key] = _resource(str(template), patient)
    return made


def _resource(template: str, patient: str) -> dict[str, Any]:
    kind = _TEMPLATE_TYPE.match(template)
    if kind and kind[2] == "?":
        return {"resourceType": "Bundle", "type": "searchset", "total": 0}
    name = kind[1] if kind else "Practitioner"
    if name == "Patient":
        return {
            "resourceType": "Patient",
            "id": patient,
            "gender": "female",
            "birthDate": "1950-01-01",
        }
    return {"resourceType": name, "id": f"neva-check-{name.lower()}"}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs tokens as a CDS client would.

    Attributes
    ----------
    issuer, kid, algorithm : str
    key : private key
    """

    issuer: str
    kid: str
    algorithm: str
    key: Any = field(repr=False)

    def token(self, audience: str, now: datetime, **changes: Any) -> str:
        """Make a token for one call; `changes` of the claims make a bad one."""
        return self._signed(self.header(), self.claims(audience, now) | changes)

    def header(self) -> dict[str, Any]:
        """Return the header of a good token."""
        return {"alg": self.algorithm, "typ": "JWT", "kid": self.kid}

    def claims(self, audience: str, now: datetime) -> dict[str, Any]:
        """Return the claims of a good token, good for a minute."""
        at = int(now.timestamp())
        return {
            "iss": self.issuer,
            "aud": audience,
            "iat": at,
            "exp": at + 60,
            "jti": str(uuid4()),
        }

    def with_kid(self, kid: str, audience: str, now: datetime) -> str:
        """Make a token that names another key."""
        return self._signed(self.header() | {"kid": kid}, self.claims(audience, now))

    def unsigned(self, audience: str, now: datetime) -> str:
        """Make a token with the algorithm none."""
        return f"{self._content(self.header() | {'alg': 'none'}, self.claims(audience, now))}."

    def symmetric(self, audience: str, now: datetime) -> str:
        """Make a token with HS256, the public key's PEM being the secret."""
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        content = self._content(self.header() | {"alg": "HS256"}, self.claims(audience, now))
        signature = hmac.new(public, content.encode(), hashlib.sha256).digest()
        return f"{content}.{_encoded(signature)}"

    def forged(self, audience: str, now: datetime) -> str:
        """Make a token whose signature is of other content."""
        _, _, signature = self.token(audience, now).rpartition(".")
        return f"{self._content(self.header(), self.claims(audience, now))}.{signature}"

    def _content(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))

    def _signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        content = self._content(header, claims)
        algorithm = get_default_algorithms()[self.algorithm]
        return f"{content}.{_encoded(algorithm.sign(content.encode(), self.key))}"


def read_signer(path: Path, *, issuer: str, kid: str) -> Signer:
    """Read a private key: PEM without a password, or a JWK.

    Raises
    ------
    NotFoundError, BadInputError
        The file is absent, or holds no private key that can sign.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = (
            f"{path}: the key cannot be read; found {type(error).__name__}; check the path and "
            "its rights"
        )
        raise NotFoundError(message) from None
    key: Any = None
    named: str | None = None
    try:
        if data.lstrip().startswith(b"{"):
            content = json.loads(data)
            named = content.get("alg")
            # PyJWT guesses no algorithm for Ed448.
            key = PyJWK(content, "EdDSA" if content.get("kty") == "OKP" else named).key
        else:
            key = serialization.load_pem_private_key(data, password=None)
    except (PyJWTError, ValueError, TypeError, KeyError):
        key = None
    algorithm = _algorithm(key)
    if algorithm is not None and named is not None:
        algorithm = named
    if algorithm is None:
        message = (
            f"{path}: not a private key for signatures; found other content; give a PEM file "
            "without a password, or a JWK: RSA, EC (P-256, P-384, P-521) or Ed25519"
        )
        raise BadInputError(message)
    return Signer(issuer, kid, algorithm, key)


def _algorithm(key: Any) -> str | None:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS384"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curves = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        return curves.get(key.curve.name)
    is_edwards = isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    return "EdDSA" if is_edwards else None
