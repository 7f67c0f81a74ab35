"""Who may see and do what: one table of roles and routes, and the guard that reads it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import Request

from neva.access.viewer import Viewer
from neva.errors import NevaError
from neva.state.accounts import ROLES
from neva.web.wallboards import WALLBOARD_COOKIE, is_of_a_wallboard

__all__ = [
    "ACCESS",
    "CHANGES",
    "COOKIES",
    "COUNTS",
    "LARGE_COUNTS",
    "NOTHING",
    "OWN_FILES",
    "PATIENTS",
    "ROLES",
    "SHOWN",
    "Forbidden",
    "SignInFirst",
    "cookie_name",
    "guard",
    "is_of_a_wall",
    "may",
    "shown",
    "viewer_of",
]


class Forbidden(NevaError):  # noqa: N818
    """The role, or the unit, does not allow it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "access: not allowed for this role or unit; found another one; ask an administrator"
        )


class SignInFirst(NevaError):  # noqa: N818
    """Nobody is signed in."""

    def __init__(self, where: str) -> None:
        super().__init__("sign in: nobody is signed in; found no session; sign in first")
        self.where = where


_ALL: Final = frozenset(ROLES)
_TREATS: Final = frozenset(("clinician",))
_RUNS: Final = frozenset(("administrator",))
_WORKS: Final = frozenset(("analyst", "clinician", "administrator"))
_LOADS: Final = frozenset(("analyst", "administrator"))
_GOVERNS: Final = frozenset(("clinician", "administrator"))
#: Everybody, signed in or not.
PUBLIC: Final[frozenset[str]] = frozenset(("public",))

#: Every route of the pages. A route that is not here is refused, and fails a
#: test; a page's twins ``.json`` and ``.csv`` follow it.
ACCESS: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("GET", "/"): PUBLIC,
    ("GET", "/sign-in"): PUBLIC,
    ("POST", "/sign-in"): PUBLIC,
    ("GET", "/sign-in/oidc"): PUBLIC,
    ("GET", "/sign-in/oidc/callback"): PUBLIC,
    ("POST", "/language"): PUBLIC,
    ("POST", "/sign-out"): _ALL,
    ("GET", "/now"): _ALL,
    ("GET", "/now/changes"): _ALL,
    ("GET", "/wallboard"): _ALL,
    ("GET", "/wallboard/changes"): _ALL,
    ("GET", "/wallboard/open"): PUBLIC,
    ("GET", "/work-list"): _TREATS,
    ("GET", "/work-list/changes"): _TREATS,
    ("POST", "/work-list/entries"): _TREATS,
    ("POST", "/work-list/entries/{entry}/withdraw"): _TREATS,
    ("POST", "/work-list/acknowledge"): _TREATS,
    ("GET", "/pathways"): _ALL,
    ("GET", "/pathways/compare"): _ALL,
    ("GET", "/pathways/case/{case}"): _TREATS,
    ("GET", "/quality"): _ALL,
    ("GET", "/quality/{programme}"): _ALL,
    ("GET", "/quality/{programme}/{measure}"): _ALL,
    ("GET", "/quality/{programme}/{measure}/patients"): _TREATS,
    ("GET", "/flow"): _ALL,
    ("GET", "/flow/scenarios"): _ALL,
    ("GET", "/flow/scenarios/{scenario}"): _ALL,
    ("POST", "/flow/scenarios"): _WORKS,
    ("POST", "/flow/scenarios/{scenario}/run"): _WORKS,
    ("GET", "/patient/{subject}"): _TREATS,
    ("GET", "/patient/{subject}/changes"): _TREATS,
    ("POST", "/patient/{subject}/purpose"): _TREATS,
    ("GET", "/decisions"): _ALL,
    ("GET", "/decisions/burden"): _ALL,
    ("GET", "/decisions/rules/{rule}"): _ALL,
    ("GET", "/decisions/models/{model}"): _ALL,
    ("POST", "/decisions/rules/{rule}/propose"): _GOVERNS,
    ("POST", "/decisions/proposals/{proposal}/confirm"): _GOVERNS,
    ("POST", "/decisions/proposals/{proposal}/decline"): _GOVERNS,
    ("GET", "/data"): _WORKS,
    ("GET", "/data/quarantine"): _LOADS,
    ("GET", "/data/feeds"): _WORKS,
    ("POST", "/data/feeds/{feed}/accept"): _LOADS,
    ("POST", "/data/feeds/{feed}/withdraw"): _LOADS,
    ("GET", "/data/upload"): _LOADS,
    ("POST", "/data/upload"): _LOADS,
    ("GET", "/data/upload/{upload}"): _LOADS,
    ("POST", "/data/upload/{upload}"): _LOADS,
    ("POST", "/data/upload/{upload}/import"): _LOADS,
    ("GET", "/definitions"): _ALL,
    ("GET", "/definitions/{definition}"): _ALL,
    ("GET", "/paper"): _ALL,
    ("GET", "/paper/bed-meeting"): _ALL,
    ("GET", "/paper/board-report"): _ALL,
    ("GET", "/paper/ward-handover"): _TREATS,
    ("GET", "/paper/discharges"): _TREATS,
    ("GET", "/paper/long-stays"): _TREATS,
    ("GET", "/paper/downtime-census"): _TREATS,
    ("GET", "/paper/mortality-review"): _TREATS,
    ("GET", "/jobs"): _WORKS,
    ("GET", "/jobs/{job}"): _ALL,
    ("POST", "/jobs/{job}/cancel"): _WORKS,
    ("GET", "/audit"): _RUNS,
    ("GET", "/accounts"): _RUNS,
    ("POST", "/accounts"): _RUNS,
    ("POST", "/accounts/{account}"): _RUNS,
}

#: Rows of patients: pseudonyms, beds, times, chances.
PATIENTS: Final = "patients"
#: How many patients, beds and moves: what a bed meeting counts, by unit and hour.
COUNTS: Final = "counts"
#: Counts of 5 or more: see :mod:`neva.statistics.disclosure`.
LARGE_COUNTS: Final = "counts of 5 or more"
#: What the same person uploaded, as long as it is not imported.
OWN_FILES: Final = "own files"
#: Nothing of patients.
NOTHING: Final = "nothing of patients"

#: What each page shows: to those who treat, and to the others. Its twins
#: ``.json`` and ``.csv`` show the same. A page that is not here is refused.
SHOWN: Final[dict[str, tuple[str, str]]] = {
    "/": (NOTHING, NOTHING),
    "/sign-in": (NOTHING, NOTHING),
    "/sign-in/oidc": (NOTHING, NOTHING),
    "/sign-in/oidc/callback": (NOTHING, NOTHING),
    "/now": (PATIENTS, COUNTS),
    "/now/changes": (NOTHING, NOTHING),
    "/wallboard": (COUNTS, COUNTS),
    "/wallboard/changes": (NOTHING, NOTHING),
    "/wallboard/open": (NOTHING, NOTHING),
    "/work-list": (PATIENTS, NOTHING),
    "/work-list/changes": (NOTHING, NOTHING),
    "/pathways": (PATIENTS, LARGE_COUNTS),
    "/pathways/compare": (COUNTS, LARGE_COUNTS),
    "/pathways/case/{case}": (PATIENTS, NOTHING),
    "/quality": (COUNTS, LARGE_COUNTS),
    "/quality/{programme}": (COUNTS, LARGE_COUNTS),
    "/quality/{programme}/{measure}": (COUNTS, LARGE_COUNTS),
    "/quality/{programme}/{measure}/patients": (PATIENTS, NOTHING),
    "/flow": (COUNTS, COUNTS),
    "/flow/scenarios": (COUNTS, COUNTS),
    "/flow/scenarios/{scenario}": (COUNTS, COUNTS),
    "/patient/{subject}": (PATIENTS, NOTHING),
    "/patient/{subject}/changes": (NOTHING, NOTHING),
    "/decisions": (COUNTS, LARGE_COUNTS),
    "/decisions/burden": (COUNTS, LARGE_COUNTS),
    "/decisions/rules/{rule}": (COUNTS, LARGE_COUNTS),
    "/decisions/models/{model}": (COUNTS, LARGE_COUNTS),
    "/data": (COUNTS, COUNTS),
    "/data/quarantine": (COUNTS, COUNTS),
    "/data/feeds": (COUNTS, COUNTS),
    "/data/upload": (OWN_FILES, OWN_FILES),
    "/data/upload/{upload}": (OWN_FILES, OWN_FILES),
    "/definitions": (NOTHING, NOTHING),
    "/definitions/{definition}": (NOTHING, NOTHING),
    "/paper": (NOTHING, NOTHING),
    "/paper/bed-meeting": (PATIENTS, COUNTS),
    "/paper/board-report": (COUNTS, LARGE_COUNTS),
    "/paper/ward-handover": (PATIENTS, NOTHING),
    "/paper/discharges": (PATIENTS, NOTHING),
    "/paper/long-stays": (PATIENTS, NOTHING),
    "/paper/downtime-census": (PATIENTS, NOTHING),
    "/paper/mortality-review": (PATIENTS, NOTHING),
    "/jobs": (NOTHING, NOTHING),
    "/jobs/{job}": (NOTHING, NOTHING),
    "/audit": (COUNTS, COUNTS),
    "/accounts": (NOTHING, NOTHING),
}

#: Where a page is told of changes: under its own address.
CHANGES: Final = "/changes"

#: Cookie of the session: without and with TLS.
COOKIES: Final = ("neva_session", "__Host-neva_session")


def cookie_name(request: Request) -> str:
    """Name the cookie of the session; with TLS it is bound to the host."""
    return COOKIES[request.app.state.server.settings.base_url.startswith("https://")]


def _template(path: str) -> str:
    for ending in (".json", ".csv"):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def may(role: str, method: str, path: str) -> bool:
    """Say whether a role may use a route, named by its template."""
    allowed = ACCESS.get(("GET" if method == "HEAD" else method, _template(path)))
    return allowed is not None and (allowed is PUBLIC or role in allowed)


def shown(role: str, path: str) -> str:
    """Say what a page, named by its template, shows to a role.

    Returns
    -------
    str
        :data:`PATIENTS`, :data:`COUNTS`, :data:`LARGE_COUNTS`, :data:`OWN_FILES`
        or :data:`NOTHING`; nothing where the role is not let in.
    """
    to_those_who_treat, to_others = SHOWN.get(_template(path), (NOTHING, NOTHING))
    if not may(role, "GET", path):
        return NOTHING
    return to_those_who_treat if role in _TREATS else to_others


def viewer_of(request: Request) -> Viewer:
    """Return who is signed in; the guard has let them in."""
    viewer: Viewer = request.state.viewer
    return viewer


#: In the query of what a page asks by itself: nobody sits before it, perhaps.
REFRESH: Final = "refresh"


def find_viewer(request: Request) -> Viewer | None:
    """Return who is signed in by the request's cookie, or None."""
    token = request.cookies.get(cookie_name(request))
    if not token:
        return None
    server = request.app.state.server
    is_act = REFRESH not in request.query_params
    session = server.state.sessions.find(token, at=server.clock(), is_act=is_act)
    if session is None:
        return None
    # The account is read each time: a change of role or a ban acts at once.
    account = server.state.accounts.get(session.account)
    if account is None or account.disabled:
        return None
    return Viewer(
        account.name, account.shown, account.role, account.units, session.id, session.csrf
    )


#: What a screen on a wall may ask for.
_WALLS: Final = ("/wallboard", "/wallboard/changes")
#: Shown on the wallboard without signing in, where the hospital chose so.
_WALL: Final = Viewer("wallboard", "", "viewer", None, "", "")


def is_of_a_wall(request: Request) -> bool:
    """Say whether a request comes from a screen that shows the wallboard without signing in."""
    settings = request.app.state.server.settings
    return settings.wallboard or is_of_a_wallboard(
        request.cookies.get(WALLBOARD_COOKIE), settings.wallboard_tokens
    )


def guard(request: Request) -> None:
    """Let in who may: a dependency of every page.

    Raises
    ------
    SignInFirst
        Nobody is signed in.
    Forbidden
        The role may not, or the route is not in the table.
    """
    path = request.scope["route"].path
    allowed = ACCESS.get(("GET" if request.method == "HEAD" else request.method, _template(path)))
    is_read = request.method in ("GET", "HEAD")
    if allowed is None or (is_read and _template(path) not in SHOWN):
        raise Forbidden
    viewer = find_viewer(request)
    request.state.viewer = viewer
    if allowed is PUBLIC:
        return
    if viewer is None:
        if _template(path) in _WALLS and is_of_a_wall(request):
            request.state.viewer = _WALL
            return
        query = request.url.query
        here = request.url.path + (f"?{query}" if query else "")
        where = here if request.method == "GET" else "/now"
        raise SignInFirst("/sign-in?next=" + quote(where, safe=""))
    if viewer.role not in allowed:
        raise Forbidden
