"""Signing in with an OpenID provider: authorization code, PKCE, and an ID token that is checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from neva.errors import ConflictError
from neva.state import Account
from neva.state.settings import is_loopback
from neva.web.pages import words_of
from neva.web.security.oidc_settings import OidcSettings, Place
from neva.web.security.sign_in import begin_session, is_secure, local_path, sign_in_page
from neva.web.server import Server

__all__ = ["ALGORITHMS", "Provider", "ProviderError", "oidc_routes"]

#: Signed with a key that only the provider has; never "none", never a shared secret.
ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
    "EdDSA",
)  # fmt: skip

#: On its way to the provider and back.
ON_THE_WAY: Final = ("neva_provider", "__Host-neva_provider")
BACK_WITHIN: Final = timedelta(minutes=10)

#: What the provider says of itself, and its keys, are read anew so often.
READ_EVERY: Final = timedelta(hours=1)
#: A key that is not known is looked for at most so often.
LOOK_EVERY: Final = timedelta(minutes=1)
#: Two machines' clocks differ.
LEEWAY_SECONDS: Final = 60
WAIT_SECONDS: Final = 10.0
LONGEST_SUBJECT: Final = 255
_LONGEST_ADDRESS: Final = 1500

_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class ProviderError(Exception):
    """The provider, or what came from it, cannot be trusted; the text names no value."""


class Provider:
    """An OpenID provider, with what it says of itself.

    Parameters
    ----------
    settings : OidcSettings
    redirect_uri : str
        Where the provider sends browsers back.
    """

    def __init__(self, settings: OidcSettings, redirect_uri: str) -> None:
        self.settings = settings
        self._redirect_uri = redirect_uri
        self._lock = threading.Lock()
        self._about: Mapping[str, Any] = {}
        self._about_at: datetime | None = None
        self._keys: KeySet | None = None
        self._keys_at: datetime | None = None

    def address(self, secret: str, state: str, now: datetime) -> str:
        """Return where to send a browser that has been given this secret."""
        about = self._read_about(now)
        with self._client() as client:
            address, _ = client.create_authorization_url(
                about["authorization_endpoint"],
                state=state,
                nonce=derived(secret, "nonce"),
                code_verifier=derived(secret, "verifier"),
            )
        return str(address)

    def claims(self, secret: str, code: str, now: datetime) -> Mapping[str, Any]:
        """Exchange a code for an ID token, and return its claims when it is what it must be.

        Raises
        ------
        ProviderError
        """
        about = self._read_about(now)
        try:
            with self._client() as client:
                token = client.fetch_token(
                    about["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=derived(secret, "verifier"),
                )
        except (AuthlibBaseError, httpx2.HTTPError, ValueError) as error:
            message = f"the code was not exchanged: {type(error).__name__}"
            raise ProviderError(message) from None
        raw = token.get("id_token")
        if not isinstance(raw, str):
            message = "the provider sent no ID token"
            raise ProviderError(message)
        return self._checked_claims(raw, derived(secret, "nonce"), token.get("access_token"), now)

    # ---------------------------------------------------------------- own parts

    def _client(self) -> OAuth2Client:
        return OAuth2Client(
            client_id=self.settings.client_id,
            client_secret=self.settings.secret,
            scope=" ".join(self.settings.scopes),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            timeout=WAIT_SECONDS,
            follow_redirects=False,
        )

    def _get(self, address: str) -> Any:
        try:
            answer = httpx2.get(address, timeout=WAIT_SECONDS, follow_redirects=False)
            answer.raise_for_status()
            content = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            message = f"the provider does not answer: {type(error).__name__}"
            raise ProviderError(message) from None
        if not isinstance(content, dict):
            message = "the provider answered with something else than an object"
            raise ProviderError(message)
        return content

    def _read_about(self, now: datetime) -> Mapping[str, Any]:
        with self._lock:
            if self._about_at is not None and abs(now - self._about_at) < READ_EVERY:
                return self._about
            issuer = self.settings.issuer
            about: Mapping[str, Any] = self._get(
                issuer.rstrip("/") + "/.well-known/openid-configuration"
            )
            if about.get("issuer") != issuer:
                message = "the provider calls itself otherwise than the settings do"
                raise ProviderError(message)
            for name in _ENDPOINTS:
                parts = urlsplit(str(about.get(name, "")))
                if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
                    message = f"the provider's {name} is no https address"
                    raise ProviderError(message)
            self._about, self._about_at = about, now
            return about

    def _read_keys(self, now: datetime, *, anew: bool = False) -> KeySet:
        about = self._read_about(now)
        with self._lock:
            age = None if self._keys_at is None else abs(now - self._keys_at)
            is_fresh = age is not None and age < (LOOK_EVERY if anew else READ_EVERY)
            if self._keys is None or not is_fresh:
                try:
                    self._keys = KeySet.import_key_set(self._get(about["jwks_uri"]))
                except (JoseError, ValueError, KeyError, TypeError):
                    message = "the provider's keys cannot be read"
                    raise ProviderError(message) from None
                self._keys_at = now
            return self._keys

    def _decoded(self, raw: str, now: datetime) -> jwt.Token:
        try:
            return jwt.decode(raw, self._read_keys(now), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError, TypeError):
            # The provider may have changed its keys since they were read.
            return jwt.decode(raw, self._read_keys(now, anew=True), algorithms=list(ALGORITHMS))

    def _checked_claims(
        self, raw: str, nonce: str, access_token: str | None, now: datetime
    ) -> Mapping[str, Any]:
        client_id = self.settings.client_id
        options = {
            "iss": {"essential": True, "value": self.settings.issuer},
            "aud": {"essential": True, "value": client_id},
            "sub": {"essential": True},
            "exp": {"essential": True},
            "iat": {"essential": True},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"nonce": nonce, "client_id": client_id, "access_token": access_token}
        try:
            token = self._decoded(raw, now)
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        except (AuthlibBaseError, JoseError, ValueError, TypeError, KeyError) as error:
            message = f"the ID token was refused: {type(error).__name__}"
            raise ProviderError(message) from None
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
            message = "the ID token names nobody"
            raise ProviderError(message)
        return dict(claims)


def derived(secret: str, what: str) -> str:
    """Return a value that only the browser with this secret leads to.

    State, nonce and verifier come from one secret in the browser's cookie, so
    nothing of them is stored here but a hash of the state.
    """
    return hmac.digest(secret.encode("utf-8", "replace"), what.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Journey:
    """A way to the provider and back, kept in the browser's cookie alone.

    The state that the provider gives back is derived from all of it: who
    changes a part of the cookie changes the state.

    Attributes
    ----------
    secret : str
        256 random bits.
    until : int
        Seconds of the epoch after which the way back is closed.
    where : str
        The requested page.
    """

    secret: str
    until: int
    where: str

    @property
    def state(self) -> str:
        """What the provider gives back."""
        return derived(self.secret, f"state {self.until} {self.where}")

    def cookie(self) -> str:
        """Write it for the cookie."""
        text = json.dumps([self.secret, self.until, self.where])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def journey_of(cookie: str | None) -> Journey | None:
    """Read what the browser holds; None if it is none of ours."""
    try:
        padded = (cookie or "") + "=" * (-len(cookie or "") % 4)
        secret, until, where = json.loads(base64.urlsafe_b64decode(padded.encode()))
    except (ValueError, TypeError):
        return None
    if not (isinstance(secret, str) and isinstance(until, int) and isinstance(where, str)):
        return None
    return Journey(secret, until, where)


def account_name(claims: Mapping[str, Any], issuer: str) -> str:
    """Name the account of a person of a provider.

    The provider's own name of the person decides who it is: it stands in the
    account's name as a hash, beside a name that people recognise.
    """
    mark = _mark(issuer, str(claims["sub"]))
    shown = _claim_text(claims, "preferred_username").casefold().split("@")[0]
    host = urlsplit(issuer).hostname or "provider"
    return f"{re.sub('[^a-z0-9._-]', '-', shown)[:64] or 'person'}-{mark}@{host}"


def _mark(issuer: str, subject: str) -> str:
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()[:16]


def account_of(
    server: Server, claims: Mapping[str, Any], issuer: str, place: Place, now: datetime
) -> Account | None:
    """Create the account of a person, or update it; None if it was disabled here."""
    ending = f"-{_mark(issuer, str(claims['sub']))}@"
    held = next(
        (one for one in server.state.accounts.all() if one.issuer == issuer and ending in one.name),
        None,
    )
    if held is not None and held.disabled:
        return None
    name = account_name(claims, issuer) if held is None else held.name
    shown = _claim_text(claims, "name") or _claim_text(claims, "preferred_username") or name
    wanted = (shown, place.role, place.units)
    if held is not None and (held.shown, held.role, held.units) == wanted:
        return held
    return server.state.accounts.put(
        name,
        shown=shown,
        role=place.role,
        units=place.units,
        issuer=issuer,
        actor=issuer,
        at=now,
    )


def oidc_routes(settings: OidcSettings, redirect_uri: str) -> APIRouter:
    """Make the routes: to the provider, and back.

    Parameters
    ----------
    settings : OidcSettings
    redirect_uri : str
        The address of the way back, as the provider knows it.
    """
    router = APIRouter(include_in_schema=False)
    provider = Provider(settings, redirect_uri)

    @router.get("/sign-in/oidc")
    def leave(request: Request) -> Response:
        now = request.app.state.server.clock()
        journey = Journey(
            secrets.token_urlsafe(32),
            int((now + BACK_WITHIN).timestamp()),
            local_path(request.query_params.get("next", "/now")[:_LONGEST_ADDRESS]),
        )
        try:
            address = provider.address(journey.secret, journey.state, now)
        except ProviderError as error:
            return _refusal_page(request, str(error))
        answer = RedirectResponse(address, status_code=303)
        answer.set_cookie(
            ON_THE_WAY[is_secure(request)],
            journey.cookie(),
            max_age=int(BACK_WITHIN.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=is_secure(request),
            path="/",
        )
        return answer

    @router.get("/sign-in/oidc/callback")
    def back(request: Request) -> Response:
        server: Server = request.app.state.server
        now, query = server.clock(), request.query_params
        journey = journey_of(request.cookies.get(ON_THE_WAY[is_secure(request)]))
        given = query.get("state", "").encode("utf-8", "replace")
        if journey is None or not hmac.compare_digest(given, journey.state.encode()):
            return _refusal_page(request, _NOT_OURS)
        until = datetime.fromtimestamp(journey.until, UTC)
        # Each way back is gone once only, whoever holds a copy of the cookie.
        if not server.state.tokens.take("sign-in/oidc", journey.state, until, now):
            return _refusal_page(request, _NOT_OURS)
        code = query.get("code")
        if not code or query.get("iss") not in {None, settings.issuer}:
            return _refusal_page(request, "the provider sent no code of its own")
        try:
            claims = provider.claims(journey.secret, code, now)
        except ProviderError as error:
            return _refusal_page(request, str(error))
        place = settings.place_of(claims)
        if place is None:
            return _refusal_page(request, "no role for this person", is_person=True)
        try:
            account = account_of(server, claims, settings.issuer, place, now)
        except ConflictError:
            # The last administrator, whom the provider would make something else.
            return _refusal_page(request, "the account cannot be changed", is_person=True)
        if account is None:
            return _refusal_page(request, "the account is disabled", is_person=True)
        server.state.audit.append(
            at=now, actor=account.name, role=account.role, action="login", why="provider"
        )
        return _forget(request, begin_session(request, account.name, journey.where))

    return router


_NOT_OURS: Final = "the way back was not ours, or old"


def _forget(request: Request, answer: Response) -> Response:
    answer.delete_cookie(
        ON_THE_WAY[is_secure(request)],
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
    return answer


def _refusal_page(request: Request, why: str, *, is_person: bool = False) -> Response:
    server: Server = request.app.state.server
    words = words_of(request)
    server.state.audit.append(at=server.clock(), actor="unknown", action="login-refused", why=why)
    problem = (
        words("This hospital account has no access here: ask an administrator.")
        if is_person
        else words("Signing in with the hospital's account did not work: try again.")
    )
    status = 403 if is_person else 400
    return _forget(request, sign_in_page(request, where="/now", problem=problem, status=status))


def _claim_text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value.strip()[:100] if isinstance(value, str) else ""
