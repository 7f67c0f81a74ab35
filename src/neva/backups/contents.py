"""What a backup holds: a list of files with their SHA-256, written last."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from neva.errors import BadInputError
from neva.files.whole import write_whole

__all__ = ["FORMAT", "Backup", "StoredFile", "StoredState", "read_contents", "write_contents"]

#: The format of a target and of the lists in it.
FORMAT: Final = 1


def _within(name: str) -> str:
    """Refuse a name that leads out of the hospital's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name or "\0" in name:
        message = "not a name within a folder"
        raise ValueError(message)
    return name


#: Of a file or folder, relative to the hospital's folder.
Name = Annotated[str, AfterValidator(_within)]


class StoredFile(BaseModel):
    """A file of the hospital, as it was.

    Attributes
    ----------
    sha256 : str
    size : int
        Bytes.
    mode : int
        Who may read and write it.
    modified : int
        Nanoseconds since 1970.
    seen : tuple of int or None
        When its content or place last changed, and its number on the disk: while both and the
        two above are the same, it is the same file. None: it was just being written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    mode: int
    modified: int
    seen: tuple[int, int] | None = None


class StoredState(BaseModel):
    """The application's database.

    Attributes
    ----------
    kind : str
        ``sqlite``: it is in the backup; ``postgresql``: it is not; ``none``: there was none.
    place : str
        Where it was, if not in the hospital's folder; without a password.
    head : str
        Number and hash of the last row of the audit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sqlite", "postgresql", "none"] = "none"
    place: str = ""
    head: str = ""


class Backup(BaseModel):
    """One backup.

    Attributes
    ----------
    id : str
        Its number and when it was made.
    number : int
        Counted from 1.
    neva : str
        Version of the Neva that made it.
    made : datetime
        When it was begun: what was acknowledged before is in it.
    hospital : str
        Id of the hospital.
    version : int
        Of the hospital.
    rows : dict of str to int
        Of each table, all revisions.
    applied : dict of str to str
        Up to where each feed is part of the version.
    taken : dict of str to int
        Up to where messages of each feed are in its inbox.
    state : StoredState
    folders : dict of str to int
        With who may read and write them; ``.`` is the hospital's own.
    files : dict of str to StoredFile
    problems : list of str
        What was not as it should be, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    number: int
    neva: str
    made: datetime
    hospital: str
    version: int
    rows: dict[str, int]
    applied: dict[str, str]
    taken: dict[str, int]
    state: StoredState
    folders: dict[Name, int]
    files: dict[Name, StoredFile]
    problems: list[str]

    @property
    def size(self) -> int:
        """Bytes of all of its files."""
        return sum(one.size for one in self.files.values())

    @property
    def objects(self) -> set[str]:
        """SHA-256 of all that it needs."""
        return {one.sha256 for one in self.files.values()}


def _checksum(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_contents(path: Path, backup: Backup) -> None:
    """Write what a backup holds, with a checksum; whole or not at all."""
    content = backup.model_dump(mode="json")
    document = {"format": FORMAT, "sha256": _checksum(content), "backup": content}
    write_whole(path, json.dumps(document, ensure_ascii=False, indent=1), private=True)


def read_contents(path: Path) -> Backup:
    """Read what a backup holds.

    Raises
    ------
    BadInputError
        The file is damaged, or a newer Neva wrote it.
    """
    try:
        document = json.loads(path.read_bytes())
        format_ = document["format"]
        if format_ == FORMAT:
            if _checksum(document["backup"]) != document["sha256"]:
                message = "another checksum"
                raise ValueError(message)
            return Backup.model_validate(document["backup"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"{path}: the list of a backup cannot be read; found {type(error).__name__}; take "
            "another backup, and move this file away (what only it names is then deleted)"
        )
        raise BadInputError(message) from None
    message = (
        f"{path}: another Neva wrote this backup; found format {str(format_)[:20]}, known is "
        f"{FORMAT}; use the Neva that wrote it, or a later one"
    )
    raise BadInputError(message)
