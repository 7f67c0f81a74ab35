"""The web application: what is served, and how errors are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from neva.cds.fhir_server import FhirServers
from neva.cds.service import Bedside
from neva.errors import BadInputError, ConflictError, NevaError, NotFoundError, UsageError
from neva.state.settings import WebSettings
from neva.web.cds import cds_router
from neva.web.errors import OurBugs
from neva.web.metrics import Metrics
from neva.web.pages import Pages, ViewModel, render, words_of
from neva.web.security.access import Forbidden, SignInFirst, guard
from neva.web.security.headers import Headers
from neva.web.security.oidc import oidc_routes
from neva.web.security.oidc_settings import read_oidc_settings
from neva.web.security.sign_in import local_path
from neva.web.security.sign_in import routes as sign_in_routes
from neva.web.server import Server
from neva.web.turns import Turns
from neva.web.views import (
    data,
    decisions,
    definitions,
    feeds,
    flow,
    jobs,
    now,
    paper,
    pathways,
    patient,
    quality,
    uploads,
    wallboard,
    work_list,
)
from neva.web.wallboards import read_wallboard_tokens

__all__ = ["create_application"]

_STATUS: dict[type[NevaError], int] = {
    Forbidden: 403,
    NotFoundError: 404,
    ConflictError: 409,
    BadInputError: 400,
    UsageError: 400,
}


def _status(error: NevaError) -> int:
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status
    return 400


def create_application(
    settings: WebSettings, *, fhir_servers: FhirServers | None = None
) -> FastAPI:
    """Make the application that a server such as uvicorn runs.

    Parameters
    ----------
    settings : WebSettings
    fhir_servers : FhirServers, optional
        For tests.
    """
    if settings.wallboard_tokens is not None:
        read_wallboard_tokens(settings.wallboard_tokens)  # a wrong file is told now
    bedside = Bedside(settings, fhir_servers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        bedside.close()

    application = FastAPI(
        title="Neva",
        description="Decision support from what a hospital already records.",
        lifespan=lifespan,
        # Pages with scripts of other hosts: there is no internet.
        docs_url=None,
        redoc_url=None,
    )
    server = Server(bedside)
    metrics = Metrics(server)
    application.state.bedside, application.state.server = bedside, server
    if settings.origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    application.add_middleware(Turns)
    application.add_middleware(OurBugs)
    application.add_middleware(metrics.middleware)
    application.add_middleware(Headers, base_url=settings.base_url)
    if settings.trusted_proxies:
        application.add_middleware(
            ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)
        )

    @application.get("/health", summary="Is it running, and with which rules")
    def health(response: Response) -> dict[str, Any]:
        services, work = bedside.services(), server.worker()
        if work["is_silent"]:
            response.status_code = 503  # monitors look at this number
        return {
            "status": "no worker" if work["is_silent"] else "ok",
            "worker_seen": work["seen"],
            "live": sorted(rule.id for rule, state in services.rules if state == "live"),
            "silent": sorted(rule.id for rule, state in services.rules if state == "silent"),
            "changed": sorted(bedside.changed_rules()),
        }

    @application.get("/metrics", summary="Counts for Prometheus; nothing of a patient")
    def measured() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @application.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return RedirectResponse("/static/neva.svg", status_code=308)

    if settings.has_cds_hooks:
        application.include_router(cds_router(bedside))
    application.include_router(_pages().router, dependencies=[Depends(guard)])
    if settings.oidc is not None:
        back = settings.base_url.rstrip("/") + "/sign-in/oidc/callback"
        provider = oidc_routes(read_oidc_settings(settings.oidc), back)
        application.include_router(provider, dependencies=[Depends(guard)])
    application.mount(
        "/static",
        StaticFiles(directory=str(resources.files("neva.web") / "static")),
        name="static",
    )
    _tell_errors(application)
    return application


def _pages() -> Pages:
    pages = Pages()
    pages.router.include_router(sign_in_routes, include_in_schema=False)
    for view in (
        now, wallboard, work_list, pathways, quality, flow, patient, decisions, data, feeds,
        definitions,
        paper, jobs, uploads,
    ):  # fmt: skip
        view.add_to(pages)
    return pages


def _came_from(request: Request) -> str:
    """Return the page of this host that a form stood on, or nothing."""
    referer = urlsplit(request.headers.get("referer", ""))
    if referer.netloc.lower() != request.headers.get("host", "").lower():
        return ""
    where = local_path(referer.path + (f"?{referer.query}" if referer.query else ""))
    return "" if where == request.url.path else where


def _tell_errors(application: FastAPI) -> None:
    def error_response(request: Request, message: str, status: int) -> Response:
        wants_page = "text/html" in request.headers.get(
            "accept", ""
        ) and not request.url.path.endswith((".json", ".csv"))
        if not wants_page or request.url.path.startswith("/cds-services"):
            return JSONResponse({"error": message}, status_code=status)
        words = words_of(request)
        title = {403: words("Not allowed"), 404: words("Not found")}.get(status, words("Error"))
        view = ViewModel(title, {"problem": message, "back": _came_from(request)}, status=status)
        viewer = getattr(request.state, "viewer", None)
        return render(request, "problem.html", view=view, viewer=viewer)

    @application.exception_handler(SignInFirst)
    def sign_in_first(request: Request, error: SignInFirst) -> Response:
        if request.url.path.endswith((".json", ".csv")):
            return JSONResponse({"error": str(error)}, status_code=401)
        return RedirectResponse(error.where, status_code=303)

    @application.exception_handler(NevaError)
    def problem(request: Request, error: NevaError) -> Response:
        return error_response(request, str(error), _status(error))

    @application.exception_handler(HTTPException)
    def http_problem(request: Request, error: HTTPException) -> Response:
        return error_response(request, str(error.detail), error.status_code)

    @application.exception_handler(RequestValidationError)
    def unreadable(request: Request, _: RequestValidationError) -> Response:
        return error_response(
            request, "request: cannot be read; found another form; see the page", 422
        )
