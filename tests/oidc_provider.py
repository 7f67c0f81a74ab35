"""An OpenID provider of our own: a real server on this machine, whose answers can be made wrong."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from tests.doors import NOW
from tests.processes import wait_until_started
from tests.signing_keys import encoded, jwk, signed, with_hmac

CLIENT, SECRET = "neva", "the client's secret"


@dataclass
class LocalProvider:
    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk("rsa")])
    sign: Callable[[dict[str, Any]], str] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    without_id_token: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def id_token(self, nonce: str) -> str:
        now = int(NOW.timestamp())
        standard = {
            "iss": self.issuer, "aud": CLIENT, "sub": "s-1", "nonce": nonce, "iat": now,
            "exp": now + 300, "name": "Dr Adams", "preferred_username": "adams",
            "groups": ["doctors"],
        }  # fmt: skip
        claims = {key: one for key, one in (standard | self.claims).items() if one is not None}
        if self.sign:
            return self.sign(claims)
        return signed({"alg": "RS256", "kid": "rsa"}, claims, "rsa")


def unsigned(claims: dict[str, Any]) -> str:
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."


def with_secret(claims: dict[str, Any]) -> str:
    return with_hmac({"alg": "HS256", "kid": "rsa"}, claims, SECRET.encode())


def with_public_key(claims: dict[str, Any]) -> str:
    """The classic: the public key as the secret of an HMAC."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from tests.signing_keys import private_key

    text = (
        private_key("rsa")
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return with_hmac({"alg": "HS256", "kid": "rsa"}, claims, text)


def _application(provider: LocalProvider) -> FastAPI:
    application = FastAPI()

    @application.get("/.well-known/openid-configuration")
    def about() -> dict[str, Any]:
        provider.asked.append("about")
        at = provider.issuer
        told = {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks",
        }
        return told | provider.about

    @application.get("/jwks")
    def keys() -> dict[str, Any]:
        provider.asked.append("keys")
        return {"keys": provider.keys}

    @application.get("/authorize")
    def authorize(request: Request) -> Response:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        provider.codes[code] = query
        back = urlencode({"code": code, "state": query["state"]})
        return RedirectResponse(f"{query['redirect_uri']}?{back}", 303)

    @application.post("/token")
    def token(
        request: Request,
        code: str = Form(),
        code_verifier: str = Form(),
        redirect_uri: str = Form(),
        grant_type: str = Form(),
    ) -> Response:
        provider.asked.append("token")
        asked = provider.codes.pop(code, None)
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest())
        is_right = (
            asked is not None
            and grant_type == "authorization_code"
            and scheme == "Basic"
            and base64.b64decode(basic).decode() == f"{CLIENT}:{SECRET}"
            and challenge.rstrip(b"=").decode() == asked["code_challenge"]
            and redirect_uri == asked["redirect_uri"]
        )
        if not is_right:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        assert asked
        told = {"access_token": "a", "token_type": "Bearer", "expires_in": 60}
        if not provider.without_id_token:
            told["id_token"] = provider.id_token(asked["nonce"])
        return JSONResponse(told)

    return application


@contextmanager
def started_provider() -> Iterator[LocalProvider]:
    provider = LocalProvider()
    config = uvicorn.Config(
        _application(provider), host="127.0.0.1", port=0, log_level="critical", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until_started(server, thread)
    port = server.servers[0].sockets[0].getsockname()[1]
    provider.issuer = f"http://127.0.0.1:{port}"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(20)
