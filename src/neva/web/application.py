"""The web application: what is served, and how errors are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from neva.decisions.fhir_server import FhirServers
from neva.web.bedside import Bedside
from neva.web.cds import cds_router
from neva.web.errors import OurBugs
from neva.web.settings import WebSettings

__all__ = ["create_application"]


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
    application.state.bedside = bedside
    application.add_middleware(OurBugs)
    if settings.origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )

    @application.get("/health", summary="Is it running, and with which rules")
    def health() -> dict[str, Any]:
        services = bedside.services()
        return {
            "status": "ok",
            "live": sorted(rule.id for rule, state in services.rules if state == "live"),
            "silent": sorted(rule.id for rule, state in services.rules if state == "silent"),
            "changed": sorted(bedside.changed_rules()),
        }

    application.include_router(cds_router(bedside))
    return application
