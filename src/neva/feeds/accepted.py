"""What users of the feed desk accepted: meanings of words that the site's profile does not name.

It stands beside the feed's inbox and under the site's profile: what the profile says wins.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from neva.errors import BadInputError, NotFoundError
from neva.files.whole import disk_problem, write_whole
from neva.sources.hl7v2.profile import CODE_SYSTEMS, KINDS, Profile

__all__ = ["ABOUT", "Accepted", "accept", "meanings", "read_accepted", "with_accepted", "withdraw"]

_FILE: Final = "accepted.json"
_MOST: Final = 1_000
#: What can be accepted: the doubt that asks for it, and the part of the profile. A word that is
#: so long was cut off where it was counted.
ABOUT: Final = {"code-system-unknown": ("code_systems", 40), "class-unknown": ("kinds", 20)}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A word and what it means.

    Attributes
    ----------
    part : {"code_systems", "kinds"}
        Of the profile.
    word : str
        As senders write it.
    meaning : str
    by : str
        The account.
    at : str
        ISO 8601.
    """

    part: str
    word: str
    meaning: str
    by: str
    at: str


def meanings(part: str, word: str) -> list[str]:
    """Return what a word of a part of the profile may mean."""
    if part == "kinds":
        return list(KINDS)
    own = [word] if word not in CODE_SYSTEMS else []
    return [*CODE_SYSTEMS, "LOCAL", *(one for one in own if one != "LOCAL")]


def read_accepted(folder: Path) -> list[Accepted]:
    """Read what was accepted for the feed of a folder.

    Raises
    ------
    BadInputError
        The file is damaged.
    """
    path = folder / _FILE
    try:
        found = [Accepted(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
        for one in found:
            datetime.fromisoformat(one.at)
            "".join((one.part, one.word, one.meaning, one.by))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        message = (
            f"{path}: what was accepted at the feed desk cannot be read; found something else; "
            "restore the file from a backup, or delete it and accept again"
        )
        raise BadInputError(message) from None
    return found


def with_accepted(profile: Profile, folder: Path) -> Profile:
    """Return a profile with what was accepted for its feed under it.

    Raises
    ------
    BadInputError
        The file is damaged.
    """
    found = read_accepted(folder)
    if not found:
        return profile
    by_part: dict[str, dict[str, str]] = {"code_systems": {}, "kinds": {}}
    for one in found:
        if one.meaning in meanings(one.part, one.word):
            by_part.setdefault(one.part, {})[one.word] = one.meaning
    return profile.model_copy(
        update={
            "code_systems": {**by_part["code_systems"], **profile.code_systems},
            "kinds": {**by_part["kinds"], **profile.kinds},
        }
    )


@contextmanager
def _changing(folder: Path) -> Iterator[list[Accepted]]:
    """Read, let the list be changed, and write it; one at a time."""
    try:
        lock = os.open(folder / "accepted.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        problem = disk_problem(error, folder)
        message = f"{folder}: cannot be written; found {error.strerror}; check its rights"
        raise problem or BadInputError(message) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = read_accepted(folder)
        yield found
        content = json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=1)
        write_whole(folder / _FILE, content, private=True)
    finally:
        os.close(lock)


def accept(folder: Path, part: str, word: str, meaning: str, *, by: str, at: datetime) -> Accepted:
    """Accept a meaning; one that was accepted before is replaced.

    Raises
    ------
    BadInputError
        The word cannot mean that, or there are too many.
    """
    if meaning not in meanings(part, word):
        message = "meaning: none that can be chosen; found another; choose one of those offered"
        raise BadInputError(message)
    new = Accepted(part, word, meaning, by, at.isoformat())
    with _changing(folder) as found:
        found[:] = [one for one in found if (one.part, one.word) != (part, word)]
        if len(found) >= _MOST:
            message = (
                f"accepted: too many; found {_MOST:,}; write them into the profile, and withdraw "
                "them here"
            )
            raise BadInputError(message)
        found.append(new)
    return new


def withdraw(folder: Path, part: str, word: str) -> Accepted:
    """Take a meaning back; return it.

    Raises
    ------
    NotFoundError
        It was not accepted.
    """
    with _changing(folder) as found:
        gone = [one for one in found if (one.part, one.word) == (part, word)]
        if not gone:
            message = "accepted: no such word; found nothing; load the page anew"
            raise NotFoundError(message)
        found.remove(gone[0])
    return gone[0]
