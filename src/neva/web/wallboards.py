"""Wallboard screens: each has a token of its own, which opens the wallboard and nothing else."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from pathlib import Path
from typing import Final

from neva.errors import BadInputError, NotFoundError

__all__ = ["WALLBOARD_COOKIE", "is_of_a_wallboard", "read_wallboard_tokens"]

WALLBOARD_COOKIE: Final = "neva_wallboard"
#: A shorter token could be guessed.
_SHORTEST: Final = 32


def read_wallboard_tokens(path: Path) -> frozenset[str]:
    """Read the tokens of a hospital's screens: the SHA-256 of each.

    Parameters
    ----------
    path : Path
        A file with one token of at least 32 characters on a line; empty lines and
        those that begin with ``#`` are left out.

    Raises
    ------
    NotFoundError
        There is no such file.
    BadInputError
        It cannot be read as text, or a token is too short.
    """
    try:
        found = path.stat()
        return _wallboard_names(path, (found.st_ino, found.st_mtime_ns, found.st_size))
    except FileNotFoundError:
        message = f"{path}: no tokens of wallboards; found no file; write one token a line"
        raise NotFoundError(message) from None
    except (OSError, ValueError) as error:
        message = (
            f"{path}: the tokens of wallboards cannot be read; found {type(error).__name__}; write "
            "one token a line, in a file that the service may read"
        )
        raise BadInputError(message) from None


@lru_cache(maxsize=4)
def _wallboard_names(path: Path, _: tuple[int, ...]) -> frozenset[str]:
    kept = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        token = line.strip()
        if not token or token.startswith("#"):
            continue
        if len(token) < _SHORTEST:
            message = (
                f"{path}: line {number}: a token has at least {_SHORTEST} characters; found "
                f"{len(token)}; make one with: openssl rand -hex 24"
            )
            raise BadInputError(message)
        kept.add(_hash(token))
    return frozenset(kept)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def is_of_a_wallboard(token: str | None, tokens: Path | None) -> bool:
    """Say whether a token opens the wallboard; a line taken out of the file closes it at once."""
    if not token or tokens is None:
        return False
    hashed = _hash(token)
    return any(hmac.compare_digest(hashed, one) for one in read_wallboard_tokens(tokens))
