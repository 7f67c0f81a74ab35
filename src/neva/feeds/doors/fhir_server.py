"""A FHIR server that is polled: its settings, its token, one page at a time, patiently."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode, urljoin

import httpx
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neva.errors import BadInputError, UsageError
from neva.feeds.doors.fhir_tokens import OAuth, fetched_token, read_secret
from neva.files.yaml_lines import read_document
from neva.sources.csv.mapping import Duration
from neva.sources.fhir.server import ACCEPT, next_link, read_json, stays_under, unlogged
from neva.state.settings import is_loopback

__all__ = ["FhirClient", "ServerSettings", "read_server_settings"]

_LOG = logging.getLogger("neva.feeds")
#: Bytes of one page at most.
MOST_BYTES: Final = 100_000_000
_SECONDS: Final = 60.0
#: A request is made so often; between two is waited a second, then two, ...
_ATTEMPTS: Final = 6
#: However long a server wants to be left alone, it is asked again after so many seconds.
_LONGEST_WAIT: Final = 300.0
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_UNAUTHORIZED: Final = 401
_OK: Final = 200
_CREATED: Final = 201


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Part):
    """How a FHIR server is polled."""

    name: str = Field("fhir", pattern=r"^[a-z0-9][a-z0-9-]*$", description="the logical source")
    assigner: str | None = Field(None, description="who gave the ids; by default the name")
    systems: dict[str, str] = Field(
        default_factory=dict, description="short names of the hospital's code systems, by URL"
    )
    prefer: str | None = Field(None, description="code systems that come first, by commas")
    resources: list[str] | None = Field(None, description="types; by default all that are read")
    page: int = Field(200, ge=1, le=5000, description="`_count`: resources of a page")
    overlap: Duration = Field(
        timedelta(minutes=5),
        description="so long before the last change is read again: changes become visible late",
    )
    includes: bool = Field(
        default=True, description="ask for what a resource must know of others with it"
    )
    deletions: bool | None = Field(
        None, description="ask `_history` for deletions; by default where the server has it"
    )
    token_file: Path | None = Field(None, description="a file with a bearer token")
    oauth: OAuth | None = None

    @model_validator(mode="after")
    def _one_token(self) -> ServerSettings:
        if self.token_file is not None and self.oauth is not None:
            message = "only one of token_file and oauth makes sense; found both; choose one"
            raise ValueError(message)
        return self


def read_server_settings(path: Path | None) -> ServerSettings:
    """Read the settings of a server; those that hold where no file is given.

    Raises
    ------
    NotFoundError
        There is no such file.
    MappingError
        It is wrong; the message names the line.
    """
    return ServerSettings() if path is None else read_document(path).read(ServerSettings)


class FhirClient:
    """Asks a FHIR server; what it logs or raises holds no value and no address but the base.

    Parameters
    ----------
    server : str
        Its base URL.
    settings : ServerSettings
    stop : threading.Event
        Set: waiting ends.

    Raises
    ------
    UsageError
        The address is none, or a token would go over a line that anybody can read.
    """

    def __init__(self, server: str, settings: ServerSettings, stop: threading.Event) -> None:
        self.base = server.rstrip("/") + "/"
        self._settings = settings
        self._stop = stop
        self._token: str | None = None
        self._token_ends: datetime | None = None
        self._check_address("--server", server)
        if settings.oauth is not None and settings.oauth.token_url is not None:
            self._check_address("oauth.token_url", settings.oauth.token_url)
        self._client = httpx.Client(timeout=_SECONDS, headers=ACCEPT)

    def _check_address(self, name: str, address: str) -> None:
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
            message = f"{name}: not the address of a server; write https://HOST/PATH"
            raise UsageError(message)
        has_secret = self._settings.token_file is not None or self._settings.oauth is not None
        if url.scheme == "http" and has_secret and not is_loopback(url.host):
            message = (
                f"{name}: a token would be sent unencrypted; found http://{url.host}; use https"
            )
            raise UsageError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._client.close()

    def address(self, path: str, *parameters: tuple[str, str]) -> str:
        """Return an address under the base."""
        query = urlencode(parameters, safe=":,")
        return urljoin(self.base, path) + (f"?{query}" if query else "")

    def following(self, about: str, bundle: Mapping[str, Any]) -> str | None:
        """Return the address of the next page.

        Raises
        ------
        BadInputError
            It leads to another server, or to another part of this one.
        """
        try:
            link = next_link(bundle)
        except ValueError:
            message = (
                f"{about}: the answer cannot be read; found links that are none; ask who runs "
                f"{self.base}"
            )
            raise BadInputError(message) from None
        if link is None:
            return None
        if not stays_under(self.base, link):
            message = (
                f"{about}: the next page is at another place; found a link that leads away from "
                f"{self.base}; give the address by which the server names itself as --server"
            )
            raise BadInputError(message)
        return urljoin(self.base, link)

    def bundle(self, about: str, address: str) -> Mapping[str, Any]:
        """Ask for a page.

        Raises
        ------
        BadInputError
            It is no Bundle, or none came.
        """
        found = self.get(about, address)
        if not isinstance(found, Mapping) or found.get("resourceType") != "Bundle":
            message = f"{about}: the answer is no Bundle; found something else; check --server"
            raise BadInputError(message)
        return found

    def send(self, method: str, path: str, resource: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write a resource, as the feed's own subscriptions are.

        Parameters
        ----------
        method : str
            ``POST`` or ``PUT``.
        path : str
            Under the base.
        resource : mapping

        Returns
        -------
        mapping
            The resource as the server has it now; where it answers with nothing, as it was sent.

        Raises
        ------
        BadInputError
            It was refused, or no answer came.
        """
        about = path.partition("/")[0]
        content = json.dumps(resource).encode()
        outcome, found = "", bytearray()
        try:
            status, found, _ = self._ask(about, self.address(path), method, content)
        except httpx.HTTPError as error:
            outcome = f"no answer ({type(error).__name__})"
        else:
            outcome = "" if status in (_OK, _CREATED) else f"status {status}"
        if outcome:
            message = (
                f"{about}: the server did not take it; found {outcome}; check what this client may "
                "write"
            )
            raise BadInputError(message)
        try:
            answer = read_json(found) if found else resource
        except (ValueError, RecursionError):
            answer = resource
        return answer if isinstance(answer, Mapping) else resource

    def get(
        self,
        about: str,
        address: str,
        *,
        may_lack: bool = False,
        gone: Sequence[int] = (),
        attempts: int | None = None,
    ) -> Any:
        """Ask for something; wait and ask again where the server is too busy or not well.

        Parameters
        ----------
        about : str
            What it is, for messages.
        address : str
        may_lack : bool
            None where the server refuses: not every server has it.
        gone : sequence of int
            Statuses for which None is returned too.
        attempts : int, optional
            How often it is asked for at most.

        Raises
        ------
        BadInputError
            It was refused, or did not come.
        """
        found, renewed = "nothing", False
        most = _ATTEMPTS if attempts is None else attempts
        for attempt in range(most):
            try:
                status, content, wanted = self._ask(about, address)
            except httpx.HTTPError as error:
                found, wanted = f"no answer ({type(error).__name__})", None
            else:
                if status == _OK:
                    try:
                        return read_json(content)
                    except (ValueError, RecursionError):
                        message = (
                            f"{about}: the answer cannot be read; found no JSON; check --server"
                        )
                        raise BadInputError(message) from None
                if status == _UNAUTHORIZED and self._settings.oauth is not None and not renewed:
                    self._token, renewed = None, True
                    continue
                if status != _TOO_MANY and status < _SERVER_ERROR:
                    if may_lack or status in gone:
                        return None
                    message = (
                        f"{about}: the server refused; found status {status}; check --server, the "
                        "token and its rights, and --resources"
                    )
                    raise BadInputError(message)
                found = f"status {status}"
            if attempt + 1 == most or self._stop.is_set():
                break
            wait = min(2.0**attempt if wanted is None else wanted, _LONGEST_WAIT)
            _LOG.warning("%s: %s; asked again in %.0f seconds", about, found, wait)
            self._stop.wait(wait)
        message = (
            f"{about}: the server did not answer; found {found} after {attempt + 1} requests; "
            f"see whether {self.base} runs"
        )
        raise BadInputError(message)

    def _ask(
        self, about: str, address: str, method: str = "GET", content: bytes | None = None
    ) -> tuple[int, bytearray, float | None]:
        """Return status, content, and how long the server wants to be left alone."""
        token = self._bearer()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if content is not None:
            headers["Content-Type"] = ACCEPT["Accept"]
        found = bytearray()
        # Redirects are not followed: they could lead anywhere.
        with (
            unlogged(),
            self._client.stream(method, address, headers=headers, content=content) as answer,
        ):
            for part in answer.iter_bytes() if answer.status_code in (_OK, _CREATED) else ():
                found += part
                if len(found) > MOST_BYTES:
                    message = (
                        f"{about}: a page is too large; found more than {MOST_BYTES >> 20} MB; "
                        "set a smaller `page`"
                    )
                    raise BadInputError(message)
            return answer.status_code, found, _retry_after(answer.headers.get("Retry-After"))

    def _bearer(self) -> str | None:
        settings = self._settings
        if settings.token_file is not None:
            return read_secret(settings.token_file)  # it may be written anew at any time
        if settings.oauth is None:
            return None
        now = datetime.now(UTC)
        if self._token is None or (self._token_ends is not None and now >= self._token_ends):
            self._token, self._token_ends = fetched_token(
                settings.oauth, self.base, now, self._check_address
            )
        return self._token


def _retry_after(written: str | None) -> float | None:
    """Read ``Retry-After``: seconds, or a time of HTTP."""
    if written is None:
        return None
    if written.strip().isdecimal():
        return float(written)
    try:
        until = parsedate_to_datetime(written)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
