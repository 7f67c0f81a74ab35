"""Settings of the web server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from neva.state.addresses import read_networks

__all__ = ["WebSettings", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class WebSettings:
    """How the hospital is served.

    Attributes
    ----------
    hospital : Path
        The folder.
    state : Path or str, optional
        The application's database; that of the hospital by default.
    programmes : tuple of str
        Whose rules may be asked.
    models : tuple of Path
        Saved models to serve; one locked to demonstration runs in silence only.
    host, port
        Where to listen.
    base_url : str
        The address under which clients know the service; part of what their
        tokens are for.
    clients : Path, optional
        Who may call CDS Hooks. Without it only this machine may; where others can
        reach the service (:attr:`is_reachable_by_others`), there are then no such services.
    open_to_everyone : bool
        CDS Hooks answers any caller, without a token, from any address: for an isolated network.
    trusted_proxies : tuple of str
        Addresses or networks (CIDR) of the proxies before this service. Only what
        one of these says of where a request comes from (`X-Forwarded-For`, read
        from the right) is believed.
    fhir_servers : tuple of str
        From where what was not sent may be fetched.
    origins : tuple of str
        Web pages of other addresses that may call from a browser.
    assigner : str
        Who gave the patients' ids that clients send; as in the import of the
        same system, so that pseudonyms agree.
    now : callable
        The clock.
    clock : {"wall", "data"}
        Where *now* of the pages is: the time of day, or the data cut (for
        demonstrations and studies; every page says so).
    language : str
        Of who has chosen none and whose browser asks for none.
    wallboard : bool
        Whether the wallboard, which has no patient on it, is shown to everybody
        who can reach the address.
    wallboard_tokens : Path, optional
        A file with file with a token for each wallboard screen; see
        :mod:`neva.web.wallboards`.
    oidc : Path, optional
        A YAML file that names the provider of identities; see docs/web.md.
    downtime : Path, optional
        A folder for the census of each hour, with names: best on a machine that
        works without the network. The worker writes it and keeps the last 48.
    notifications : Path, optional
        A YAML file: who is told of which tasks, by e-mail or webhook; see
        docs/notifications.md.
    upload_bytes : int
        Of a file that is sent by a browser, at most.
    open_demo : bool
        A demonstration on synthetic patients: accounts of each role exist, and
        the page of signing in says their password. Refused for real patients.
    """

    hospital: Path
    state: Path | str | None = None
    programmes: tuple[str, ...] = ("acute-care", "covid19", "sepsis")
    models: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8321
    base_url: str = "http://127.0.0.1:8321"
    clients: Path | None = None
    fhir_servers: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    assigner: str = "fhir"
    now: Callable[[], datetime] = field(default=_clock, repr=False)
    clock: Literal["wall", "data"] = "wall"
    language: str = "en"
    wallboard: bool = False
    wallboard_tokens: Path | None = None
    oidc: Path | None = None
    downtime: Path | None = None
    notifications: Path | None = None
    upload_bytes: int = 500_000_000
    open_demo: bool = False
    open_to_everyone: bool = False
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "trusted_proxies", read_networks(self.trusted_proxies))

    @property
    def is_reachable_by_others(self) -> bool:
        """Whether other machines can reach the service.

        They can if it listens to others, if the address that people know is not
        of this machine, or if a proxy stands before it.
        """
        return (
            not is_loopback(self.host)
            or not is_loopback(urlsplit(self.base_url).hostname or "")
            or bool(self.trusted_proxies)
        )

    @property
    def has_cds_hooks(self) -> bool:
        """Whether CDS Hooks is served: to clients with tokens, to this machine, or to all."""
        return self.clients is not None or not self.is_reachable_by_others or self.open_to_everyone
