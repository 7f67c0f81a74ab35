"""The command line: ``neva``. Parses, calls, prints; nobody imports it.

Exit codes: 0 done; 1 our bug; 2 usage; 3 bad input; 4 not found; 5 conflict.
Results go to standard output (``--json`` for machines), progress and errors
to standard error.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer
from polars.exceptions import PanicException

from neva.cli import (
    accounts,
    audit,
    backup,
    cds_verify,
    decide,
    define,
    feed,
    flow,
    identities,
    notifications,
    pathways,
    quality,
    report,
    serve,
    store,
    synthesis,
)
from neva.errors import NevaError
from neva.files.whole import disk_problem

__all__ = ["app", "main"]

app = typer.Typer(
    name="neva",
    help="What a hospital already records, turned into decisions.",
    no_args_is_help=True,
    add_completion=False,
    # Tracebacks with local variables would show patients' data.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
store.add_to(app)
synthesis.add_to(app)
app.add_typer(pathways.app, name="pathways")
app.add_typer(flow.app, name="flow")
app.add_typer(feed.app, name="feed")
app.add_typer(quality.app, name="quality")
app.add_typer(define.app, name="define")
app.add_typer(decide.app, name="decide")
app.add_typer(audit.app, name="audit")
app.add_typer(backup.app, name="backup")
app.add_typer(accounts.app, name="accounts")
app.add_typer(identities.app, name="identities")
app.add_typer(notifications.app, name="notifications")
cds_verify.add_to(app)
serve.add_to(app)
report.add_to(app)


def main() -> None:
    """Run the command line; turn errors into messages and exit codes."""
    try:
        app()
    except NevaError as error:
        sys.stderr.write(f"neva: {error}\n")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
    # The doorway: what nobody foresaw is our bug.
    except (Exception, PanicException) as error:
        told_of_disk = disk_problem(error)
        if told_of_disk is not None:
            sys.stderr.write(f"neva: {told_of_disk}\n")
            sys.exit(told_of_disk.exit_code)
        # The text of a foreign error may quote a row, so only its kind is shown.
        frames = "".join(traceback.format_tb(error.__traceback__))
        message = (
            str(error) if os.environ.get("NEVA_DEBUG") else "(text hidden; NEVA_DEBUG=1 shows it)"
        )
        sys.stderr.write(
            f"neva: this is a bug in Neva, please report it\n{frames}{type(error).__name__}: "
            f"{message}\n"
        )
        sys.exit(1)
