"""The import of a file that somebody uploaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

from neva.events.hospital import Hospital
from neva.intake.importing import OnChange, import_delivery
from neva.intake.preview import opened
from neva.jobs.kept_uploads import Uploads
from neva.state import State
from neva.state.settings import WebSettings

__all__ = ["import_upload"]


def import_upload(
    hospital: Hospital,
    state: State,
    settings: WebSettings,
    upload: str,
    *,
    on_change: OnChange,
    actor: str,
    progress: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Import a file by its mapping, in one commit; then delete the file.

    A file whose import fails or is cancelled stays for its day, so that the
    mapping can be mended.

    Parameters
    ----------
    hospital : Hospital
    state : State
        For the audit.
    settings : WebSettings
    upload : str
        Its id.
    on_change : {"refuse", "replace", "extend"}
        As of :func:`neva.intake.importing.import_delivery`.
    actor : str
        Who asked for it.
    progress : callable
        Called with rows done, rows in all (about) and words.

    Returns
    -------
    dict
        ``batch``, ``version``, ``counts``, ``refusals`` and
        ``already_imported``; no value of a row.

    Raises
    ------
    neva.errors.NevaError
        The file or mapping is wrong, or differs from what was imported under its name.
    """
    uploads = Uploads(settings, state)
    found = uploads.find(upload)
    done = found.done()
    if done:
        return done  # imported by a worker that was lost before it could say so

    def report_rows(rows: int) -> None:
        progress(min(rows, found.lines), found.lines, "reading rows")

    with opened(found.file, found.mapping(), zone=hospital.settings.zone) as delivery:
        summary = import_delivery(
            hospital,
            delivery,
            label=found.name,
            now=settings.now().astimezone(UTC),
            on_change=on_change,
            progress=report_rows,
        )
    content = {
        "batch": summary.batch,
        "version": summary.version,
        "already_imported": summary.already_imported,
        "counts": summary.counts,
        "refusals": summary.refusals,
    }
    state.audit.append(
        at=settings.now(),
        actor=actor,
        action="imported",
        why="upload of a file",
        details={"batch": summary.batch, "rows": summary.total("read"),
                 "refused": summary.total("refused")},
    )  # fmt: skip
    found.finish(content)
    return content
