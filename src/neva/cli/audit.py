"""``neva audit``: the audit trail, and whether it is intact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neva.cli.console import Json, now, system_user, tell
from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.files.whole import whole_file, write_whole

if TYPE_CHECKING:
    from neva.state import Head, State

__all__ = ["app"]

app = typer.Typer(
    help="The audit trail: who did what, and whether it is intact.", no_args_is_help=True
)

Where = Annotated[
    str,
    typer.Argument(metavar="WHERE", help="a hospital's folder, a SQLite file, a PostgreSQL URL"),
]
Key = Annotated[
    Path | None, typer.Option(help="file with the key that seals the audit; or NEVA_AUDIT_KEY")
]


def _open(where: str, key: Path | None) -> State:
    from neva.state import open_state, state_named

    return open_state(state_named(where), create=False, audit_key=key)


def _expected(head: Path | None, expect: str | None) -> Head | None:
    from neva.state import Head

    if head is not None and expect is not None:
        message = "--head, --expect: only one of them makes sense; found both; choose one"
        raise UsageError(message)
    if expect is not None:
        return Head.read(expect)
    if head is None:
        return None
    try:
        text = head.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"{head}: no such file; found nothing there; check the path"
        raise NotFoundError(message) from None
    except (OSError, UnicodeDecodeError):
        message = f"{head}: cannot be read; found no text; write it with 'neva audit head --out'"
        raise BadInputError(message) from None
    return Head.read(text)


@app.command()
def verify(
    where: Where,
    head: Annotated[
        Path | None, typer.Option(help="file with a head saved by 'neva audit head'")
    ] = None,
    expect: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="a head noted earlier")
    ] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Check that no row of the audit was changed, removed, inserted or swapped.

    Rows removed from the end are seen only against a head noted earlier
    elsewhere. Exit code 3: the chain is broken.

    Example: neva audit verify hospital
    """
    expected = _expected(head, expect)
    with _open(where, key) as state:
        findings = state.audit.verify(expected)
        found = state.audit.head()
        place = state.where
    content: dict[str, Any] = {
        "where": place,
        "rows": found.number,
        "head": str(found),
        "expected": str(expected) if expected else None,
        "whole": not findings,
        "findings": findings,
    }

    def text() -> str:
        lines = [f"{place}: {found.number:,} rows, head {found}"]
        if findings:
            lines += [f"the chain is broken: {len(findings)} findings", *map(str, findings)]
        else:
            lines.append("the chain is intact")
            if expected is None:
                lines.append(
                    "not checked: whether rows are missing at the end; give a head noted earlier "
                    "(--head or --expect)"
                )
        return "\n".join(lines)

    tell(as_json, content, text)
    if findings:
        raise typer.Exit(BadInputError.exit_code)


@app.command("head")
def head_(
    where: Where,
    out: Annotated[Path | None, typer.Option(help="write it into this file too")] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Print the number and hash of the last row, to be noted elsewhere.

    Example: neva audit head hospital
    """
    with _open(where, key) as state:
        found = state.audit.head()
    if out is not None:
        write_whole(out, f"{found}\n")
    tell(as_json, found, str(found))


@app.command()
def export(
    where: Where,
    out: Annotated[Path, typer.Option(metavar="FILE.ndjson", help="must not exist")],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Export the audit as FHIR R4 AuditEvent resources, one a line.

    The export itself is audited first, and is in the file.

    Example: neva audit export hospital --out audit.ndjson
    """
    from neva.state import audit_event

    if out.exists():
        message = f"{out}: exists already; found a file there; choose another name"
        raise ConflictError(message)
    if not out.resolve().parent.is_dir():
        message = f"{out}: its folder is absent; found nothing there; check the path"
        raise NotFoundError(message)
    written = 0
    with _open(where, key) as state:
        last = state.audit.append(
            at=now(), actor=system_user(), action="exported", why="the audit was exported"
        )
        with whole_file(out) as draft, draft.open("w", encoding="utf-8") as file:
            for row in state.audit.rows(last=last.number):
                file.write(json.dumps(audit_event(row), ensure_ascii=False) + "\n")
                written += 1
    content = {"file": out, "rows": written, "head": str(last)}
    tell(as_json, content, f"written: {out} ({written:,} events, head {last})")
