"""Signing in and out, and the choice of a language."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from neva.languages.language import LANGUAGES
from neva.state.addresses import address_of
from neva.state.attempts import DEVICE_KNOWN_FOR
from neva.web.pages import ViewModel, render, words_of
from neva.web.security.access import Forbidden, cookie_name, viewer_of
from neva.web.security.forms import posted
from neva.web.wallboards import WALLBOARD_COOKIE, is_of_a_wallboard

__all__ = ["begin_session", "is_secure", "local_path", "routes", "sign_in_page"]

_YEAR: Final = int(timedelta(days=365).total_seconds())
#: Cookie of a device at which somebody has signed in: without and with TLS.
_DEVICE: Final = ("neva_device", "__Host-neva_device")
#: Where too many passwords are being checked: come back after so long.
_BUSY: Final = timedelta(seconds=2)
routes = APIRouter()


def local_path(text: str) -> str:
    """Keep a path of this host; anything else leads to the first page.

    >>> local_path("/quality?x=1"), local_path("//evil.example/"), local_path("https://evil")
    ('/quality?x=1', '/now', '/now')
    """
    safe = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if safe and "\\" not in text else "/now"


def is_secure(request: Request) -> bool:
    """Say whether people reach the pages by TLS."""
    base_url: str = request.app.state.server.settings.base_url
    return base_url.startswith("https://")


def begin_session(request: Request, account: str, where: str) -> Response:
    """Start a session with a new token, whatever the browser held before."""
    server = request.app.state.server
    old = getattr(request.state, "viewer", None)
    if old is not None:
        server.state.sessions.end(old.session)
    token, _ = server.state.sessions.begin(account, at=server.clock())
    answer = RedirectResponse(local_path(where), status_code=303)
    answer.set_cookie(
        cookie_name(request),
        token,
        httponly=True,
        samesite="lax",
        secure=is_secure(request),
        path="/",
    )
    return answer


def sign_in_page(request: Request, *, where: str, problem: str = "", status: int = 200) -> Response:
    """Show the form of signing in, with what went wrong."""
    words = words_of(request)
    server = request.app.state.server
    return render(
        request,
        "sign_in.html",
        view=ViewModel(
            words("Sign in"),
            {
                "next": local_path(where),
                "problem": problem,
                "oidc": server.settings.oidc is not None,
                "demo": server.settings.open_demo and server.is_synthetic,
            },
            status=status,
        ),
    )


@routes.get("/")
def first(request: Request) -> Response:
    """Lead to the first page."""
    return RedirectResponse("/now" if request.state.viewer else "/sign-in", status_code=303)


@routes.get("/wallboard/open")
def open_wallboard(request: Request) -> Response:
    """Let a screen in that has a token of its own; the address does not keep it."""
    tokens = request.app.state.server.settings.wallboard_tokens
    token = request.query_params.get("token")
    if not is_of_a_wallboard(token, tokens):
        raise Forbidden
    answer = RedirectResponse("/wallboard", status_code=303)
    answer.set_cookie(
        WALLBOARD_COOKIE,
        str(token),
        max_age=_YEAR,
        httponly=True,
        samesite="strict",
        secure=is_secure(request),
        path="/wallboard",
    )
    return answer


@routes.get("/sign-in")
def ask(request: Request) -> Response:
    """Ask for name and password."""
    return sign_in_page(request, where=request.query_params.get("next", "/now"))


@routes.post("/sign-in")
async def sign_in(request: Request, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Check name and password."""
    server, words = request.app.state.server, words_of(request)
    name, at = str(form.get("name", "")).strip()[:200], server.clock()
    where, address = str(form.get("next", "/now")), address_of(request)
    device = request.cookies.get(_DEVICE[is_secure(request)])
    is_known = await run_in_threadpool(server.state.devices.knows, device, name, at=at)
    known = device if is_known else None
    if server.passwords.is_full(is_known=is_known):
        return await run_in_threadpool(_come_back, request, where, _BUSY, status=503)
    wait = await run_in_threadpool(server.state.attempts.begin, name, address, at=at, device=known)
    if wait:
        return await run_in_threadpool(_come_back, request, where, wait, status=429)
    account = await server.passwords.verify(
        server.state.accounts, name, str(form.get("password", "")), is_known=is_known
    )
    if account is None:

        def refused() -> Response:
            # Not the name that was typed: it may be a password in the wrong field.
            server.state.audit.append(
                at=at, actor="unknown", action="login-refused", why="wrong name or password"
            )
            problem = words("Name or password is wrong.")
            return sign_in_page(request, where=where, problem=problem, status=401)

        return await run_in_threadpool(refused)

    def let_in() -> Response:
        server.state.attempts.succeeded(name, address, device=known)
        server.state.audit.append(
            at=at, actor=account.name, role=account.role, action="login", why="password"
        )
        answer = begin_session(request, account.name, where)
        answer.set_cookie(
            _DEVICE[is_secure(request)],
            server.state.devices.remember(device, account.name, at=at),
            max_age=int(DEVICE_KNOWN_FOR.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=is_secure(request),
            path="/",
        )
        return answer

    return await run_in_threadpool(let_in)


def _come_back(request: Request, where: str, wait: timedelta, *, status: int) -> Response:
    """Ask for patience: nothing was checked."""
    seconds = ceil(wait.total_seconds())
    problem = words_of(request).several(
        "Wait %(n)s second, then sign in again.", "Wait %(n)s seconds, then sign in again.", seconds
    )
    answer = sign_in_page(request, where=where, problem=problem, status=status)
    answer.headers["Retry-After"] = str(seconds)
    return answer


@routes.post("/sign-out")
def sign_out(
    request: Request,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """End the session."""
    server, viewer = request.app.state.server, viewer_of(request)
    server.state.sessions.end(viewer.session)
    server.state.audit.append(
        at=server.clock(), actor=viewer.account, role=viewer.role, action="logout", why="asked"
    )
    answer = RedirectResponse("/sign-in", status_code=303)
    # Browsers refuse to change a cookie bound to the host without its flags.
    answer.delete_cookie(
        cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )
    return answer


@routes.post("/language")
def choose(request: Request, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Keep the language that somebody chose."""
    answer = RedirectResponse(local_path(str(form.get("next", "/now"))), status_code=303)
    if form.get("language") in LANGUAGES:
        answer.set_cookie(
            "neva_language",
            str(form["language"]),
            max_age=_YEAR,
            samesite="lax",
            httponly=True,
            secure=is_secure(request),
        )
    return answer
