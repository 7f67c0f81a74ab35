"""What the columns of the state hold: moments, words, and JSON in one fixed form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from neva.errors import UsageError

__all__ = [
    "Moment",
    "Words",
    "canonical_json",
    "clean",
    "moment_text",
    "required_words",
    "units_of",
    "utc",
]

#: A key of a row may not be longer: an index of PostgreSQL takes 2,704 bytes.
LONGEST_KEY = 500


def utc(time: datetime, name: str = "at") -> datetime:
    """Return an aware time in UTC; a naive one is our bug."""
    if time.tzinfo is None:
        message = f"{name}: a naive time; give an aware one"
        raise ValueError(message)
    return time.astimezone(UTC)


def moment_text(time: datetime) -> str:
    """Write a time as it is stored: UTC, microseconds, always 27 characters.

    Examples
    --------
    >>> moment_text(datetime(2026, 1, 1, 8, tzinfo=UTC))
    '2026-01-01T08:00:00.000000Z'
    """
    return utc(time).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace what a database cannot hold (NUL, lone surrogates) with U+FFFD.

    Examples
    --------
    >>> clean("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return _UNSTORABLE.sub("\ufffd", text)


def required_words(text: str, name: str, *, longest: int = 2000) -> str:
    """Return the text, cleaned; it must say something.

    Raises
    ------
    UsageError
        It is empty or too long.
    """
    words = clean(text).strip()
    if not words:
        message = f"{name}: must not be empty; found nothing; say it in a few words"
        raise UsageError(message)
    if len(words) > longest:
        message = f"{name}: too long; found {len(words):,} characters; at most {longest:,}"
        raise UsageError(message)
    return words


def units_of(stored: str | None) -> tuple[str, ...] | None:
    """Read the units that an account is limited to; None: it is not."""
    return None if stored is None else tuple(json.loads(stored))


def _json_checked(value: Any, path: str) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {
            clean(str(key)): _json_checked(item, f"{path}.{key}") for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_json_checked(item, path) for item in value]
    message = f"{path}: holds a {type(value).__name__}; only text, whole numbers, true and false"
    raise ValueError(message)


def canonical_json(value: Any, name: str = "details") -> str:
    """Write JSON in its one form: sorted keys, no spaces, ASCII, no fractions.

    Equal values give equal bytes, so the text can be hashed. A fraction has
    more than one way to be written (and would be a clinical value), so it is
    refused: a :class:`ValueError`, because that is a bug of the caller.

    Examples
    --------
    >>> canonical_json({"rules": ["a"], "cards": 2})
    '{"cards":2,"rules":["a"]}'
    """
    return json.dumps(
        _json_checked(value, name), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )


class Moment(TypeDecorator[datetime]):
    """An aware time, stored as text of fixed width, which sorts as time does."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write it."""
        return None if value is None else moment_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read it."""
        return None if value is None else datetime.fromisoformat(value)


class Words(TypeDecorator[str]):
    """Text from outside, cleaned of what a database cannot hold."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write it."""
        return None if value is None else clean(value)
