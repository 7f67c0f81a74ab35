"""Tokens of a FHIR server: by a secret, or by a signed assertion (SMART Backend Services)."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, RSAKey, import_key
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neva.errors import BadInputError, NotFoundError
from neva.sources.fhir.server import read_json, unlogged

__all__ = ["OAuth", "assertion", "fetched_token", "key_set", "read_secret", "signing_key"]

_SECONDS: Final = 60.0
_OK: Final = 200
#: A token is fetched anew so long before it ends.
_BEFORE_END: Final = timedelta(seconds=30)
#: An assertion holds so long; five minutes are the most that servers take.
_HOLDS: Final = timedelta(minutes=4)
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MOST_BYTES: Final = 1_000_000
#: What signs by the kind of key.
_ALGORITHMS: Final = {"RSA": "RS384", "P-384": "ES384"}
_SHORTEST_RSA: Final = 2048
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class OAuth(BaseModel):
    """Client credentials (OAuth 2): with a secret, or with a private key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_url: str | None = Field(
        None, description="with a private key by default what the server itself names"
    )
    client_id: str
    secret_file: Path | None = Field(None, description="a file that only the feed's user reads")
    private_key_file: Path | None = Field(
        None, description="a private key in PEM or JWK: RSA of 2048 bits or more, or EC P-384"
    )
    key_id: str | None = Field(None, description="`kid`; by default the key's thumbprint")
    scope: str | None = None

    @model_validator(mode="after")
    def _one_proof(self) -> OAuth:
        if (self.secret_file is None) == (self.private_key_file is None):
            message = "needs one proof; give either secret_file or private_key_file"
            raise ValueError(message)
        if self.private_key_file is None and (self.token_url is None or self.key_id is not None):
            message = "with secret_file token_url is needed, and key_id means nothing"
            raise ValueError(message)
        return self


def read_secret(path: Path) -> str:
    """Read a secret from a file.

    Raises
    ------
    NotFoundError
        There is none.
    """
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if not found:
        message = f"{path}: no secret there; found nothing that can be read; check the path"
        raise NotFoundError(message)
    return found


def signing_key(oauth: OAuth) -> tuple[RSAKey | ECKey, str, str]:
    """Read the private key; return it, its algorithm and its id.

    Raises
    ------
    NotFoundError
        There is no file.
    BadInputError
        It is no private key that servers must take.
    """
    assert oauth.private_key_file is not None
    path = oauth.private_key_file
    text = read_secret(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # what is too short is refused below
        key = _of_jwk(text) if text.startswith("{") else _of_pem(text)
    algorithm = None
    if key is not None and key.is_private:
        kind = "RSA" if isinstance(key, RSAKey) else str(key.curve_name)
        is_short = isinstance(key, RSAKey) and key.raw_value.key_size < _SHORTEST_RSA
        algorithm = None if is_short else _ALGORITHMS.get(kind)
    if key is None or algorithm is None:
        message = (
            f"{path}: no private key that can sign; found something else; write one of RSA with "
            f"{_SHORTEST_RSA} bits or more, or of EC P-384, in PEM or as a JWK, without a password"
        )
        raise BadInputError(message)
    return key, algorithm, oauth.key_id or str(key.kid or key.thumbprint())


def _of_pem(text: str) -> RSAKey | ECKey | None:
    for kind in (RSAKey, ECKey):
        try:
            return kind.import_key(text)
        except (JoseError, ValueError, TypeError):
            continue
    return None


def _of_jwk(text: str) -> RSAKey | ECKey | None:
    try:
        found = import_key(json.loads(text))
    except (JoseError, ValueError, TypeError):
        return None
    return found if isinstance(found, (RSAKey, ECKey)) else None


def key_set(oauth: OAuth) -> dict[str, Any]:
    """Return the public key as a set of keys, as it is registered at a server.

    Raises
    ------
    NotFoundError, BadInputError
        As :func:`signing_key`.
    """
    key, algorithm, given = signing_key(oauth)
    public = {name: one for name, one in key.as_dict(private=False).items() if name != "key_ops"}
    return {"keys": [{**public, "kid": given, "use": "sig", "alg": algorithm}]}


def assertion(oauth: OAuth, token_url: str, now: datetime) -> str:
    """Sign who asks for a token, for one request.

    Parameters
    ----------
    oauth : OAuth
    token_url : str
        Whom it is for.
    now : datetime
        Aware.
    """
    key, algorithm, given = signing_key(oauth)
    claims = {
        "iss": oauth.client_id,
        "sub": oauth.client_id,
        "aud": token_url,
        "iat": int(now.timestamp()),
        "exp": int((now + _HOLDS).timestamp()),
        "jti": uuid.uuid4().hex,
    }
    header = {"alg": algorithm, "kid": given, "typ": "JWT"}
    return jwt.encode(header, claims, key, algorithms=[algorithm])


def fetched_token(
    oauth: OAuth, base: str, now: datetime, check: Callable[[str, str], None]
) -> tuple[str, datetime | None]:
    """Fetch a token; return it, and until when it is used (None: until it is refused).

    Parameters
    ----------
    oauth : OAuth
    base : str
        Of the FHIR server, which may say where its tokens come from.
    now : datetime
        Aware.
    check : callable
        Raises where a name has an address to which no secret may go.

    Raises
    ------
    BadInputError
        None came.
    """
    try:
        if oauth.secret_file is not None:
            assert oauth.token_url is not None
            given = _by_secret(oauth, oauth.token_url, read_secret(oauth.secret_file))
        else:
            given = _by_assertion(oauth, oauth.token_url or _named_by(base, check), now)
        token, seconds = given["access_token"], given.get("expires_in")
        if not isinstance(token, str) or not token or not token.isascii():
            raise ValueError
        if str(given.get("token_type", "bearer")).lower() != "bearer":
            raise ValueError
        ends = None
        if seconds is not None:
            ends = now + min(timedelta(seconds=int(seconds)), _NEVER - now) - _BEFORE_END
    except (
        AuthlibBaseError, httpx.HTTPError, httpx2.HTTPError, KeyError, TypeError, ValueError,
        OverflowError,
    ) as error:  # fmt: skip
        message = (
            f"oauth: no token came; found {type(error).__name__}; check token_url, client_id, "
            "scope, and the secret or the key registered at the server"
        )
        raise BadInputError(message) from None
    return token, ends


def _by_secret(oauth: OAuth, token_url: str, secret: str) -> Mapping[str, Any]:
    with OAuth2Client(
        client_id=oauth.client_id,
        client_secret=secret,
        scope=oauth.scope,
        timeout=_SECONDS,
        follow_redirects=False,
    ) as client:
        given: Mapping[str, Any] = client.fetch_token(token_url, grant_type="client_credentials")
    return given


def _by_assertion(oauth: OAuth, token_url: str, now: datetime) -> Mapping[str, Any]:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": _ASSERTION,
        "client_assertion": assertion(oauth, token_url, now),
    }
    if oauth.scope:
        form["scope"] = oauth.scope
    return _object("POST", token_url, form)


def _named_by(base: str, check: Callable[[str, str], None]) -> str:
    """Ask a FHIR server where its tokens come from."""
    found = _object("GET", base + ".well-known/smart-configuration")["token_endpoint"]
    if not isinstance(found, str):
        raise TypeError
    check("token_endpoint of the server", found)
    return found


def _object(method: str, address: str, form: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    content = bytearray()
    # Redirects are not followed: the assertion could go anywhere.
    with unlogged(), httpx.stream(
        method, address, data=form, timeout=_SECONDS,
        headers={"Accept": "application/json"},
    ) as answer:  # fmt: skip
        if answer.status_code != _OK:
            message = "refused"
            raise ValueError(message)
        for part in answer.iter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                message = "too long"
                raise ValueError(message)
    found = read_json(content)
    if not isinstance(found, Mapping):
        message = "no object"
        raise TypeError(message)
    return found
