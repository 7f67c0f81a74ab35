"""Settings of an OpenID provider: where it is, and what its claims mean here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from neva.errors import BadInputError, NotFoundError
from neva.state.settings import is_loopback

__all__ = ["OidcSettings", "Place", "RoleOf", "read_oidc_settings"]

Words = Annotated[str, Field(min_length=1, max_length=500)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoleOf(_Model):
    """Whoever has this value of the claim gets this role."""

    value: Words
    role: Literal["viewer", "analyst", "clinician", "administrator"]


class Place(_Model):
    """The role and units of a user here."""

    role: str
    units: tuple[str, ...] | None


class OidcSettings(_Model):
    """A provider.

    Attributes
    ----------
    issuer : str
        Its address, exactly as it calls itself; https, except on this machine.
    client_id : str
    client_secret_file : Path
        Readable by Neva's user only.
    name : str
        What stands on the button.
    scopes : tuple of str
    claim : str
        The claim of the ID token that says groups; a dotted path goes into
        mappings (``realm_access.roles``).
    roles : tuple of RoleOf
        The first whose value somebody has is theirs; nobody else comes in.
    units : mapping of str to list of str, optional
        Which units a value opens. Without it everybody sees all units; with
        it, whoever has none of its values sees none.
    """

    issuer: Words
    client_id: Words
    client_secret_file: Path
    name: Words = "OpenID"
    scopes: tuple[str, ...] = ("openid", "profile")
    claim: Words = "groups"
    roles: tuple[RoleOf, ...] = Field(min_length=1)
    units: Mapping[str, tuple[str, ...]] | None = None

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        is_here = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or is_here):
            message = "must be an https address"
            raise ValueError(message)
        return issuer

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        return scopes if "openid" in scopes else ("openid", *scopes)

    @property
    def secret(self) -> str:
        """The client's secret, read anew: it may be changed while the service runs."""
        try:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            message = (
                f"{self.client_secret_file}: the client's secret cannot be read; found "
                f"{type(error).__name__}; check the path and its rights"
            )
            raise NotFoundError(message) from None

    def place_of(self, claims: Mapping[str, Any]) -> Place | None:
        """Say what somebody with these claims may be here; None: nothing.

        Examples
        --------
        >>> settings = OidcSettings(
        ...     issuer="https://id.example", client_id="neva", client_secret_file="secret",
        ...     roles=({"value": "doctors", "role": "clinician"},), units={"icu": ("ICU",)})
        >>> settings.place_of({"groups": ["icu", "doctors"]})
        Place(role='clinician', units=('ICU',))
        """
        found: Any = claims
        for part in [self.claim] if self.claim in claims else self.claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        values = [found] if isinstance(found, str) else found
        if not isinstance(values, list):
            return None
        held = {value for value in values if isinstance(value, str)}
        role = next((one.role for one in self.roles if one.value in held), None)
        if role is None:
            return None
        if self.units is None:
            return Place(role=role, units=None)
        opened = {unit for value, units in self.units.items() if value in held for unit in units}
        return Place(role=role, units=tuple(sorted(opened)))


def read_oidc_settings(path: Path) -> OidcSettings:
    """Read the settings of a provider (YAML).

    Raises
    ------
    NotFoundError
        There is no such file.
    BadInputError
        It says something else; the message names the field, not its value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"{path}: no such file; found nothing there; check the path"
        raise NotFoundError(message) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"{path}: is not YAML; found {type(error).__name__}; mend the file"
        raise BadInputError(message) from None
    try:
        made = OidcSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        message = f"{path}: {where}: cannot be used; found: {first['msg']}; mend the file"
        raise BadInputError(message) from None
    if made.client_secret_file.is_absolute():
        return made
    return made.model_copy(update={"client_secret_file": path.parent / made.client_secret_file})
