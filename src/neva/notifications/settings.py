"""Settings of notifications: who is told of which tasks, by which door."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from neva.errors import NotFoundError
from neva.files.yaml_lines import read_document
from neva.sources.csv.mapping import Duration
from neva.state.settings import is_loopback

__all__ = [
    "Channel",
    "MailServer",
    "NotificationSettings",
    "read_notification_settings",
    "read_secret",
]

Words = Annotated[str, Field(min_length=1, max_length=200)]
Address = Annotated[str, Field(pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$", max_length=254)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MailServer(_Part):
    """Where e-mail is handed over (SMTP)."""

    host: Words
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="none: only to this machine"
    )
    user: Words | None = None
    password_file: Path | None = Field(None, description="a file that only Neva's user reads")
    sender: Address = Field(description="the address in From")
    certificates: Path | None = Field(
        None, description="authorities to be trusted; by default those of the system"
    )

    @model_validator(mode="after")
    def _is_safe(self) -> MailServer:
        if self.security == "none" and not is_loopback(self.host):
            message = "security: none goes to this machine only; found another; use starttls or tls"
            raise ValueError(message)
        if (self.user is None) != (self.password_file is None):
            message = "user and password_file belong together; found one of them; give both"
            raise ValueError(message)
        return self


class Channel(_Part):
    """Who is told, by one door, of which tasks: of all, where nothing limits them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    email: tuple[Address, ...] = Field((), description="addresses")
    webhook: str | None = Field(None, description="an address: https, or of this machine")
    secret_file: Path | None = Field(None, description="what signs a webhook; 24 bytes or more")
    certificates: Path | None = Field(
        None, description="of a webhook: authorities to be trusted; by default well-known ones"
    )
    owners: tuple[Words, ...] | None = Field(None, description="whose tasks: roles of the rules")
    indicators: tuple[Literal["critical", "warning", "info"], ...] = ("critical",)
    units: tuple[Words, ...] | None = None
    rules: tuple[Words, ...] | None = None
    escalations_only: bool = Field(default=False, description="only what was handed up")
    most_per_hour: int = Field(60, ge=1, le=10_000, description="more wait")

    @field_validator("webhook")
    @classmethod
    def _is_safe(cls, address: str | None) -> str | None:
        if address is None:
            return None
        parts = urlsplit(address)
        is_here = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or is_here):
            message = "must be an https address, or http of this machine"
            raise ValueError(message)
        return address

    @model_validator(mode="after")
    def _one_door(self) -> Channel:
        if bool(self.email) == (self.webhook is not None):
            message = "a channel has either email or webhook; found both or none"
            raise ValueError(message)
        if self.webhook is not None and self.secret_file is None:
            message = "a webhook is signed; found no secret_file; give one"
            raise ValueError(message)
        return self


class NotificationSettings(_Part):
    """Doors by which people are told of tasks."""

    channels: tuple[Channel, ...] = Field(min_length=1)
    mail: MailServer | None = None
    pages: str | None = Field(None, description="address of the pages, for the link")
    language: Literal["en", "ru"] = "en"
    give_up_after: Duration = Field(timedelta(hours=12), description="what cannot be sent so long")

    @model_validator(mode="after")
    def _fits(self) -> NotificationSettings:
        names = [one.name for one in self.channels]
        if len(set(names)) < len(names):
            message = "channels: a name stands twice; give each its own"
            raise ValueError(message)
        if self.mail is None and any(one.email for one in self.channels):
            message = "mail: needed by channels with email; found none; say the mail server"
            raise ValueError(message)
        return self


def read_notification_settings(path: Path) -> NotificationSettings:
    """Read the settings from a YAML file.

    Raises
    ------
    NotFoundError
        There is no such file.
    MappingError
        It is wrong; the message names the line.
    """
    return read_document(path).read(NotificationSettings)


def read_secret(path: Path, *, shortest: int = 1) -> bytes:
    """Read a secret, at each use: it may be changed while Neva runs.

    Raises
    ------
    NotFoundError
        It cannot be read, or is too short.
    """
    try:
        found = path.read_bytes().strip()
    except OSError:
        found = b""
    if len(found) < shortest:
        message = (
            f"{path}: no secret there; found {len(found)} bytes; write at least {shortest} that "
            "nobody guesses"
        )
        raise NotFoundError(message)
    return found
