"""The endpoints of CDS Hooks 2.0."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from neva.cds.client_tokens import Unauthorised
from neva.cds.hooks import Preconditions
from neva.cds.service import Bedside
from neva.errors import BadInputError, ConflictError, NotFoundError

__all__ = ["MOST_BYTES", "cds_router"]

#: A call with two hundred resources has some 200 kB.
MOST_BYTES: Final = 20_000_000
#: A hundred entries with the longest comments.
MOST_BYTES_OF_FEEDBACK: Final = 2_000_000
#: What a proxy writes into what it passes on.
_PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")

_STRING: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}
_CALL_SCHEMA: Final = {
    "type": "object",
    "required": ["hook", "hookInstance", "context"],
    "properties": {
        "hook": _STRING,
        "hookInstance": _STRING,
        "fhirServer": _STRING,
        "fhirAuthorization": _OBJECT,
        "context": _OBJECT,
        "prefetch": _OBJECT,
    },
}
_FEEDBACK_SCHEMA: Final = {
    "type": "object",
    "required": ["feedback"],
    "properties": {"feedback": {"type": "array", "items": _OBJECT}},
}


def _body(schema: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The body is not what the hook requires."},
    401: {"description": "The caller is not known."},
    404: {"description": "There is no such service."},
    413: {"description": "The body is too large."},
}


class _TooLargeError(Exception):
    """The body has more bytes than may be sent."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


async def _json(request: Request, most: int) -> Any:
    """Read the body as JSON, strictly.

    Raises
    ------
    BadInputError
        It is not JSON.
    _TooLargeError
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            # Sent in pieces, its length is not said before.
            raise _TooLargeError
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        message = "request: the body is not JSON; found something else; send UTF-8 JSON"
        raise BadInputError(message) from None


def _problem(error: Exception, status: int) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=status)


def cds_router(bedside: Bedside) -> APIRouter:
    """Return the endpoints for a bedside."""

    def from_this_machine(request: Request) -> None:
        """Refuse what a proxy passed on where only this machine may call."""
        settings = bedside.settings
        is_open = settings.clients is not None or settings.open_to_everyone
        if not is_open and any(name in request.headers for name in _PASSED_ON):
            raise HTTPException(401)

    router = APIRouter(tags=["CDS Hooks"], dependencies=[Depends(from_this_machine)])

    @router.get("/cds-services", summary="Discovery")
    def discovery() -> JSONResponse:
        return JSONResponse(bedside.services().discovery)

    async def answered(request: Request, service_id: str, what: str) -> Response:
        most = MOST_BYTES if what == "call" else MOST_BYTES_OF_FEEDBACK
        size = request.headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > most:
            return Response(status_code=413)
        path = f"/cds-services/{service_id}" + ("" if what == "call" else "/feedback")
        headers = request.headers.getlist("authorization")
        try:
            # The caller first: to somebody unknown nothing else is said.
            client = await run_in_threadpool(
                bedside.who, headers[0] if len(headers) == 1 else None, path
            )
            content = await _json(request, most)
            made = bedside.call if what == "call" else bedside.feedback
            found = await run_in_threadpool(made, service_id, content, client)
        except Unauthorised:
            return Response(status_code=401)
        except _TooLargeError:
            return Response(status_code=413)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except NotFoundError as error:
            return _problem(error, 404)
        except BadInputError as error:
            return _problem(error, 400)
        except Preconditions:
            return Response(status_code=412)
        except ConflictError as error:
            # The database is busy: the caller may try again.
            return _problem(error, 503)
        return JSONResponse(found) if what == "call" else Response(status_code=200)

    @router.post(
        "/cds-services/{service_id}",
        summary="Call a service",
        openapi_extra=_body(_CALL_SCHEMA),
        responses={
            **_PROBLEMS,
            412: {"description": "What the service needs was not sent and cannot be fetched."},
        },
    )
    async def call(service_id: str, request: Request) -> Response:
        return await answered(request, service_id, "call")

    @router.post(
        "/cds-services/{service_id}/feedback",
        summary="Say what became of cards",
        openapi_extra=_body(_FEEDBACK_SCHEMA),
        responses=_PROBLEMS,
    )
    async def feedback(service_id: str, request: Request) -> Response:
        return await answered(request, service_id, "feedback")

    return router
