"""``neva backup``: backups of a hospital that works on, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from neva.cli.console import HospitalPath, Json, now, progress, system_user, table, tell
from neva.errors import NevaError

if TYPE_CHECKING:
    from neva.backups import Backup, BackupSummary

__all__ = ["app"]

app = typer.Typer(
    help="Backups of a hospital, taken while it works: create, list, verify, restore.",
    no_args_is_help=True,
)

TargetPath = Annotated[
    Path, typer.Argument(metavar="TARGET", help="folder that holds the backups of one hospital")
]
Chosen = Annotated[
    str | None,
    typer.Option("--backup", metavar="ID", help="id or number; the newest by default"),
]


@app.command()
def create(
    hospital: HospitalPath,
    target: TargetPath,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="delete older backups: so many of the newest stay (all)"),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="read everything back and open it as a hospital before it counts",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Back up a hospital while feeds write and pages read; only what is new is stored.

    Example: neva backup create hospital backups --keep 30
    """
    from neva.backups import create_backup

    with progress("backing up", of="bytes") as update:
        done = create_backup(hospital, target, now=now(), keep=keep, verify=verify, progress=update)
    content = {**_described(done.backup), "new_files": done.new_files,
               "new_bytes": done.new_bytes, "verified": done.is_verified, "mended": done.mended,
               "forgotten": done.forgotten, "freed_bytes": done.freed,
               "seconds": done.seconds}  # fmt: skip
    tell(as_json, content, lambda: _text_of(done))
    try:
        _audit(hospital, done)
    except NevaError as error:
        message = f"the backup is there, but the audit does not tell of it: {error}"
        raise type(error)(message) from None


def _text_of(done: BackupSummary) -> str:
    backup = done.backup
    lines = [
        (
            f"backup {backup.id}: hospital version {backup.version}, {len(backup.files):,} files, "
            f"{_size(backup.size)}; new: {done.new_files:,} files, {_size(done.new_bytes)}; "
            f"{done.seconds:.1f} s, {'verified' if done.is_verified else 'not verified'}"
        ),
        *_state_lines(backup),
        *(f"in doubt: {one}" for one in backup.problems),
    ]
    if done.mended:
        lines.append(f"{done.mended:,} damaged files of earlier backups were stored again")
    if done.forgotten:
        lines.append(f"older backups deleted: {', '.join(done.forgotten)}")
    return "\n".join(lines)


def _state_lines(backup: Backup) -> list[str]:
    """Say what of the state is not in the backup."""
    state = backup.state
    if state.kind == "postgresql":
        return [f"the state is in PostgreSQL ({state.place}) and NOT in this backup: use pg_dump"]
    if state.kind == "none":
        return ["no state: there is none in the folder, and NEVA_STATE names no other here"]
    return [f"the state was at {state.place}"] if state.place else []


def _audit(hospital: Path, done: BackupSummary) -> None:
    """Tell the audit, where there is a state that may be written."""
    from neva.events.hospital import open_hospital
    from neva.events.read_only import is_read_only
    from neva.state import open_state, state_of

    where = state_of(open_hospital(hospital).path)
    if isinstance(where, Path) and (not where.exists() or is_read_only(where.parent)):
        return
    with open_state(where) as state:
        state.audit.append(
            at=now(),
            actor=f"{system_user()} (command line)",
            action="backed-up",
            why="a backup of the hospital was taken",
            details={
                "backup": done.backup.id,
                "version": done.backup.version,
                "forgotten": done.forgotten,
            },
        )


def _size(number: int) -> str:
    """Write a number of bytes as people do."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return f"{number} bytes"


def _described(backup: Backup) -> dict[str, object]:
    return {
        "backup": backup.id,
        "number": backup.number,
        "made": backup.made,
        "neva": backup.neva,
        "hospital": backup.hospital,
        "version": backup.version,
        "rows": backup.rows,
        "feeds": {
            feed: {"applied": backup.applied.get(feed, "0"), "taken": backup.taken.get(feed)}
            for feed in sorted({*backup.applied, *backup.taken})
        },
        "state": backup.state.model_dump(),
        "files": len(backup.files),
        "bytes": backup.size,
        "problems": backup.problems,
    }


@app.command(name="list")
def list_(target: TargetPath, as_json: Json = False) -> None:
    """List the backups of a folder.

    Example: neva backup list backups
    """
    from neva.backups import open_target

    with open_target(target) as place:
        backups, problems = place.backups()

    def text() -> str:
        frame = pl.DataFrame(
            [
                (one.id, one.made, one.version, one.rows.get("events", 0), len(one.files),
                 _size(one.size), "not in it" if one.state.kind == "postgresql" else
                 "none" if one.state.kind == "none" else "in it", len(one.problems))
                for one in backups
            ],
            schema=["backup", "made", "version", "events", "files", "size", "state", "in doubt"],
            orient="row",
        )  # fmt: skip
        head = table(frame, rows=1000) if backups else "no backup yet"
        return "\n".join([head, *(f"damaged: {one}" for one in problems)])

    tell(as_json, {"backups": [_described(one) for one in backups], "problems": problems}, text)


@app.command()
def verify(
    target: TargetPath,
    backup: Chosen = None,
    every: Annotated[bool, typer.Option("--all", help="all backups")] = False,
    as_json: Json = False,
) -> None:
    """Verify a backup: compare every checksum, and open it as a hospital; nothing is written.

    Example: neva backup verify backups
    """
    from neva.backups import verify_backups

    with progress("verifying", of="bytes") as update:
        verified = verify_backups(target, backup=backup, every=every, progress=update)
    lines = [
        f"backup {one.id} is whole: hospital version {one.version}, {len(one.files):,} files, "
        f"{_size(one.size)}"
        for one in verified
    ]
    tell(as_json, [_described(one) for one in verified], "\n".join(lines) or "no backup yet")


@app.command()
def restore(
    target: TargetPath,
    hospital: Annotated[
        Path, typer.Argument(metavar="NEW_HOSPITAL", help="folder that is absent or empty")
    ],
    backup: Chosen = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into a new folder; every checksum is compared before it is there.

    Example: neva backup restore backups restored
    """
    import os

    from neva.backups import restore_backup

    with progress("restoring", of="bytes") as update:
        done = restore_backup(
            target,
            hospital,
            backup=backup,
            actor=f"{system_user()} (command line)",
            now=now(),
            progress=update,
        )
    one = done.backup

    def text() -> str:
        lines = [
            (
                f"{hospital}: backup {one.id}, hospital version {one.version}, "
                f"{len(one.files):,} files, {_size(one.size)}; {done.seconds:.1f} s"
            )
        ]
        lines += [
            f"feed {feed}: {number:,} messages in its inbox wait to be applied"
            for feed, number in done.waiting.items()
            if number
        ]
        if one.state.kind == "postgresql":
            lines.append(
                f"the state was in PostgreSQL ({one.state.place}) and is not in the backup: "
                "restore it with pg_restore"
            )
        elif one.state.place:
            lines.append(
                f"the state was at {one.state.place} and is now state.sqlite in the folder: move "
                "it to where NEVA_STATE names it"
            )
        elif one.state.kind == "sqlite" and os.environ.get("NEVA_STATE", "").strip():
            lines.append("NEVA_STATE names another state than the one that was restored")
        if done.problem:
            lines.append(f"the audit does not tell of the restore: {done.problem}")
        lines += [f"in doubt when it was made: {problem}" for problem in one.problems]
        return "\n".join(lines)

    content = {**_described(one), "folder": hospital, "waiting": done.waiting,
               "problem": done.problem, "seconds": done.seconds}  # fmt: skip
    tell(as_json, content, text)
