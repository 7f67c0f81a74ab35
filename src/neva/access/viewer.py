"""The viewer of a page: name, role and units."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Viewer"]


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user who is signed in.

    Attributes
    ----------
    account, name : str
        Under which they sign in, and what pages call them.
    role : str
        One of :data:`neva.state.accounts.ROLES`.
    units : tuple of str or None
        Whose patients they may see; None: all.
    session, csrf : str
    """

    account: str
    name: str
    role: str
    units: tuple[str, ...] | None
    session: str
    csrf: str
