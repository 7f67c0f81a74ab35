"""``neva accounts``: who may sign in."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neva.cli.console import HospitalPath, Json, now, system_user, tell
from neva.errors import UsageError

if TYPE_CHECKING:
    from neva.state import Account, State

__all__ = ["app"]

app = typer.Typer(help="Who may sign in, and in which role.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="the name to sign in with")]
Role = Annotated[str | None, typer.Option(help="viewer, analyst, clinician or administrator")]
Units = Annotated[
    list[str] | None, typer.Option("--unit", metavar="UNIT", help="only these units; repeat it")
]
ShownName = Annotated[str | None, typer.Option("--shown-name", help="as shown on pages")]


def _open(hospital: Path) -> State:
    from neva.events.hospital import open_hospital
    from neva.state import open_state, state_of

    return open_state(state_of(open_hospital(hospital).path))


def _password() -> str:
    """Ask for a password twice; where nobody sits there, read a line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        message = "password: the two are not the same; found a difference; type it again"
        raise UsageError(message)
    return first


def _account_fields(account: Account) -> dict[str, Any]:
    return {
        "account": account.name,
        "name": account.shown,
        "role": account.role,
        "units": None if account.units is None else list(account.units),
        "disabled": account.disabled,
        "password": account.has_password,
        "issuer": account.issuer,
    }


def _line(account: Account) -> str:
    units = "all units" if account.units is None else ", ".join(account.units) or "no unit"
    marks = [
        account.role,
        units,
        *(["disabled"] if account.disabled else []),
        *([] if account.has_password or account.issuer else ["no password yet"]),
        *([f"by {account.issuer}"] if account.issuer else []),
    ]
    return f"{account.name}: {account.shown}; {'; '.join(marks)}"


def _changed(hospital: Path, name: str, given: dict[str, Any]) -> Account:
    """Change what was given, and keep the rest."""
    with _open(hospital) as state:
        return state.accounts.change(
            name,
            actor=f"{system_user()} (command line)",
            at=now(),
            **{
                field: value
                for field, value in given.items()
                if value is not None or field == "units"
            },
        )


@app.command()
def add(
    hospital: HospitalPath,
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, analyst, clinician or administrator")],
    shown_name: ShownName = None,
    unit: Units = None,
    no_password: Annotated[
        bool,
        typer.Option("--no-password", help="set a password later; nobody can sign in until then"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create an account; its password is prompted for, or read from standard input.

    Example: neva accounts add hospital dr.adams --role clinician --no-password
    """
    with _open(hospital) as state:
        made = state.accounts.put(
            name,
            role=role,
            shown=shown_name or "",
            units=unit,
            password=None if no_password else _password(),
            actor=f"{system_user()} (command line)",
            at=now(),
            new=True,
        )
    tell(as_json, _account_fields(made), f"made: {_line(made)}")


@app.command("list")
def list_(hospital: HospitalPath, as_json: Json = False) -> None:
    """List the accounts.

    Example: neva accounts list hospital
    """
    with _open(hospital) as state:
        found = state.accounts.all()
    text = "\n".join(map(_line, found)) or "no accounts; create one with 'neva accounts add'"
    tell(as_json, [_account_fields(one) for one in found], text)


@app.command()
def change(
    hospital: HospitalPath,
    name: Name,
    role: Role = None,
    shown_name: ShownName = None,
    unit: Units = None,
    all_units: Annotated[bool, typer.Option("--all-units", help="no limit to units")] = False,
    enable: Annotated[bool, typer.Option("--enable", help="enable the account again")] = False,
    as_json: Json = False,
) -> None:
    """Change an account; it takes effect at once, in open sessions too.

    Example: neva accounts change hospital dr.adams --role viewer
    """
    if unit and all_units:
        message = "--unit, --all-units: only one of them makes sense; found both; choose one"
        raise UsageError(message)
    given: dict[str, Any] = {"role": role, "shown": shown_name}
    if unit or all_units:
        given["units"] = unit if unit else None
    if enable:
        given["disabled"] = False
    changed = _changed(hospital, name, given)
    tell(as_json, _account_fields(changed), f"changed: {_line(changed)}")


@app.command()
def disable(hospital: HospitalPath, name: Name, as_json: Json = False) -> None:
    """Disable an account; its sessions end.

    Example: neva accounts disable hospital dr.adams
    """
    changed = _changed(hospital, name, {"disabled": True})
    tell(as_json, _account_fields(changed), f"disabled: {_line(changed)}")


@app.command()
def password(hospital: HospitalPath, name: Name, as_json: Json = False) -> None:
    """Give an account another password; its sessions end.

    It is prompted for, or read from standard input; never an argument.

    Example: neva accounts password hospital dr.adams
    """
    changed = _changed(hospital, name, {"password": _password()})
    tell(as_json, _account_fields(changed), f"password changed: {_line(changed)}")
