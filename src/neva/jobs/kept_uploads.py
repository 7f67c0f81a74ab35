"""Uploaded files: received in a stream, kept for a day for whoever sent them, then deleted.

An upload is a folder of its own, named by a random id and readable by the
service only: the file, the mapping, what was guessed and shown.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from neva.errors import ConflictError, NotFoundError
from neva.files.whole import write_whole
from neva.jobs.results import results_folder
from neva.sources.csv.workbooks import write_as_csv
from neva.state import State, job_key
from neva.state.jobs import Job
from neva.state.settings import WebSettings

__all__ = ["KEPT_FOR", "MOST_WAITING", "Upload", "Uploads", "safe_name", "uploads_folder"]

#: An upload that was not imported is deleted after so long.
KEPT_FOR: Final = timedelta(days=1)
#: So many files of one person wait at once.
MOST_WAITING: Final = 5
_LONGEST_NAME: Final = 80
_TABLES: Final = (".csv", ".tsv", ".txt", ".xlsx")
_CHUNK: Final = 2**20


def uploads_folder(hospital: Path) -> Path:
    """Return the folder of uploads: beside the results, or NEVA_UPLOADS."""
    place = os.environ.get("NEVA_UPLOADS", "").strip()
    return Path(place) if place else results_folder(hospital).with_name("uploads")


def safe_name(name: str) -> str:
    r"""Make of what a browser calls a file a name that is only a name, of a table.

    Examples
    --------
    >>> safe_name("../../etc/passwd"), safe_name("C:\\data\\Май 2024.CSV"), safe_name("a.ods")
    ('passwd.csv', 'Май 2024.csv', 'a.ods.csv')
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = re.sub(r"[^\w .()-]", "_", last).strip(" .")
    stem, dot, ending = plain.rpartition(".")
    if not dot or f".{ending.lower()}" not in _TABLES:
        stem, ending = plain, "csv"
    return f"{stem[:_LONGEST_NAME].strip(' .') or 'upload'}.{ending.lower()}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that somebody sent.

    Attributes
    ----------
    id, name, by : str
        Random; the file's name, made safe; the account.
    at : datetime
        Aware.
    size, lines : int
    folder : Path
    """

    id: str
    name: str
    by: str
    at: datetime
    size: int
    lines: int
    folder: Path

    @property
    def file(self) -> Path:
        """The file itself."""
        return self.folder / "file" / self.name

    @property
    def key(self) -> str:
        """The key of the job that imports it: one at a time."""
        return job_key("import", {"upload": self.id})

    def mapping(self) -> str:
        """Return the mapping as it was saved last."""
        return (self.folder / "mapping.yaml").read_text(encoding="utf-8")

    def shown(self) -> dict[str, Any]:
        """Return what was guessed and previewed."""
        return self._stored_json("shown.json")

    def done(self) -> dict[str, Any]:
        """Return what the import did; empty before it."""
        return self._stored_json("done.json")

    def _stored_json(self, name: str) -> dict[str, Any]:
        try:
            held: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return held

    def keep_mapping(self, text: str) -> None:
        """Save the mapping."""
        write_whole(self.folder / "mapping.yaml", text.encode("utf-8", "replace"), private=True)

    def keep_shown(self, shown: dict[str, Any]) -> None:
        """Save what was guessed and previewed."""
        write_whole(
            self.folder / "shown.json", json.dumps(shown, default=_json_value), private=True
        )

    def finish(self, done: dict[str, Any]) -> None:
        """Delete the file and all values out of it; what the import did stays for the day."""
        write_whole(self.folder / "done.json", json.dumps(done, default=_json_value), private=True)
        shutil.rmtree(self.folder / "file", ignore_errors=True)
        for name in ("mapping.yaml", "shown.json"):
            (self.folder / name).unlink(missing_ok=True)


def mapping_hash(text: str) -> str:
    """Name the text of a mapping: only one that was previewed is imported."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def _json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Uploads:
    """The uploads of one hospital.

    Parameters
    ----------
    settings : WebSettings
    state : State
        For the jobs that import them.
    """

    def __init__(self, settings: WebSettings, state: State) -> None:
        self.folder = uploads_folder(settings.hospital)
        self._settings, self._state = settings, state

    def begin(self) -> tuple[str, Path]:
        """Make the folder of a new upload."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        new = secrets.token_hex(16)
        folder = self.folder / new
        folder.mkdir(mode=0o700)
        (folder / "file").mkdir(mode=0o700)
        return new, folder

    def keep(self, upload: Upload) -> None:
        """Write down whose an upload is; before that it does not exist."""
        held = {**asdict(upload), "at": upload.at.isoformat()}
        del held["folder"]
        write_whole(upload.folder / "upload.json", json.dumps(held), private=True)

    def as_text(self, upload: Upload) -> Upload:
        """Put the first sheet of a workbook, as CSV, in its place.

        Raises
        ------
        BadInputError
        """
        if upload.file.suffix != ".xlsx":
            return upload
        target = upload.file.with_suffix(".csv")
        write_as_csv(upload.file, target)
        upload.file.unlink()
        with target.open("rb") as file:
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
        made = replace(upload, name=target.name, size=target.stat().st_size, lines=lines)
        self.keep(made)
        return made

    def find(self, id_: str) -> Upload:
        """Return an upload.

        Raises
        ------
        NotFoundError
        """
        folder = self.folder / id_
        try:
            if not re.fullmatch(r"[0-9a-f]{32}", id_):
                raise ValueError
            held = json.loads((folder / "upload.json").read_text(encoding="utf-8"))
            held["at"] = datetime.fromisoformat(held["at"])
            return Upload(folder=folder, **held)
        except (OSError, ValueError):
            message = (
                "upload: there is none of that id, or it was deleted; found none; upload the "
                "file again"
            )
            raise NotFoundError(message) from None

    def of(self, account: str) -> list[Upload]:
        """Return somebody's uploads, the newest first."""
        found = []
        for folder in self.folder.glob("*/upload.json"):
            try:
                one = self.find(folder.parent.name)
            except NotFoundError:
                continue
            if one.by == account:
                found.append(one)
        return sorted(found, key=lambda one: (one.at, one.id), reverse=True)

    def own(self, id_: str, account: str) -> Upload:
        """Return an upload of somebody's own: nobody else sees values out of it.

        Raises
        ------
        NotFoundError
        """
        found = self.find(id_)
        if found.by != account:
            return self.find("")
        return found

    def refuse_more(self, account: str) -> None:
        """Refuse another file where too many wait.

        Raises
        ------
        ConflictError
        """
        waiting = sum(not one.done() for one in self.of(account))
        if waiting >= MOST_WAITING:
            message = (
                f"upload: too many files wait; found {waiting}; import or delete one of them first"
            )
            raise ConflictError(message)

    def job(self, upload: Upload) -> Job | None:
        """Return the last job that imported, or tried to import, an upload."""
        return self._state.jobs.last(upload.key)

    def delete(self, upload: Upload) -> None:
        """Delete an upload, unless it is being imported.

        Raises
        ------
        ConflictError
        """
        self.refuse_under_way(upload)
        shutil.rmtree(upload.folder, ignore_errors=True)

    def refuse_under_way(self, upload: Upload) -> None:
        """Refuse to change what is being imported, or was.

        Raises
        ------
        ConflictError
        """
        job = self.job(upload)
        if upload.done() or (job is not None and job.is_under_way):
            message = (
                "upload: it is being imported, or was; found a job; see the list of jobs or "
                "upload the file again"
            )
            raise ConflictError(message)

    def sweep(self) -> int:
        """Delete uploads older than a day, and what a broken connection left.

        Returns
        -------
        int
            So many were deleted.
        """
        deleted = 0
        for folder in self.folder.glob("*"):
            if not re.fullmatch(r"[0-9a-f]{32}", folder.name):
                continue
            try:
                one = self.find(folder.name)
            except NotFoundError:
                # Not received to its end: its age is that of the folder.
                try:
                    old = time.time() - folder.stat().st_mtime > KEPT_FOR.total_seconds()
                except OSError:
                    continue
            else:
                job = self.job(one)
                busy = job is not None and job.is_under_way
                old = not busy and self._settings.now() - one.at > KEPT_FOR
            if old:
                shutil.rmtree(folder, ignore_errors=True)
                deleted += 1
        return deleted


class HourlySweep:
    """Deletes old uploads once an hour, whoever looks at pages.

    Parameters
    ----------
    uploads : Uploads
    now : callable
        The clock.
    """

    def __init__(self, uploads: Uploads, now: Callable[[], datetime]) -> None:
        self._uploads, self._now = uploads, now
        self._hour: datetime | None = None

    def if_due(self) -> None:
        """Sweep if this hour has not been swept yet."""
        hour = self._now().replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour = hour
            self._uploads.sweep()
