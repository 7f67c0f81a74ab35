"""The chain of the audit: each row's hash covers the row and the hash before it.

Somebody who can write to the database can rebuild a chain of plain hashes from
any row on. Two things make that visible: a head (number and hash of the last
row) noted somewhere else, and a key, kept in a file that the database's users
cannot read, with which the hashes are made (HMAC, RFC 2104).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neva.errors import BadInputError, NotFoundError, UsageError

__all__ = ["AuditKeys", "ChainFinding", "Head", "chain_findings", "read_audit_keys", "row_hash"]

#: What stands before the first row.
ORIGIN = "0" * 64

#: The seal of a row whose hash needs no key.
PLAIN = "sha256"

#: After so many findings the rest says nothing new.
MOST_FINDINGS = 100

_CONTENT = ("number", "at", "actor", "role", "action", "subject", "stay", "why", "details", "seal")


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of a chain: note it elsewhere, and give it to `verify` later.

    Attributes
    ----------
    number : int
        0 for an empty chain.
    hash : str
        64 hexadecimal digits.
    """

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def read(cls, text: str) -> Head:
        """Read ``NUMBER:HASH``.

        Raises
        ------
        UsageError
            It is not that.
        """
        number, _, value = text.strip().partition(":")
        is_hash = len(value) == 64 and set(value) <= set("0123456789abcdef")
        if not (number.isascii() and number.isdigit() and is_hash):
            message = (
                f"the expected head: not NUMBER:HASH; found {len(text.strip())} characters; "
                "write it as 'neva audit head' printed it"
            )
            raise UsageError(message)
        return cls(int(number), value)


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """Something wrong with the chain.

    Attributes
    ----------
    kind : str
        ``changed`` (the row does not match its hash), ``removed`` (numbers
        are missing before this row), ``unlinked`` (the row does not follow
        the one before: inserted, swapped, or the one before was rewritten),
        ``truncated`` (the expected head is beyond the end), ``rewritten``
        (the expected head has another hash), ``unsealed`` (a key is in use
        and the row was made without it), ``unknown-key``.
    number : int
        Of the row.
    what : str
        In words.
    """

    kind: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"row {self.number}: {self.kind}: {self.what}"


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """Keys that seal the audit; the last one seals new rows.

    Attributes
    ----------
    by_seal : mapping of str to bytes
        A seal is ``hmac-sha256:`` and the start of the key's own hash.
    """

    by_seal: Mapping[str, bytes] = field(repr=False)

    @property
    def seal(self) -> str:
        """The seal of new rows."""
        return list(self.by_seal)[-1]


def read_audit_keys(path: Path) -> AuditKeys:
    """Read a file of keys, one a line; the last one seals new rows.

    Raises
    ------
    NotFoundError
        The file is absent or not readable.
    BadInputError
        A line is shorter than 32 characters, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"{path}: the key of the audit cannot be read; found {type(error).__name__}; check "
            "the path and its rights"
        )
        raise NotFoundError(message) from None
    if not lines or min(map(len, lines)) < 32:
        message = (
            f"{path}: a key of the audit has at least 32 characters, one key a line; found "
            f"{len(lines)} keys, the shortest with {min(map(len, lines), default=0)}; make one "
            "with 'openssl rand -hex 32'"
        )
        raise BadInputError(message)
    return AuditKeys({_seal(line.encode()): line.encode() for line in lines})


def _seal(key: bytes) -> str:
    return f"hmac-sha256:{hashlib.sha256(b'neva audit key' + key).hexdigest()[:8]}"


def row_hash(row: Mapping[str, Any], previous: str, keys: AuditKeys | None) -> str | None:
    """Compute the hash of a row; None if its key is not known.

    SHA-256, or HMAC-SHA-256 where the row's seal names a key, over the JSON
    of the content as it is stored (`at` as text) and the hash before it, with
    sorted keys, without spaces, in ASCII.
    """
    content = {name: row[name] for name in _CONTENT}
    content["previous"] = previous
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except TypeError:
        # Somebody stored bytes where we store text.
        return ""
    if row["seal"] == PLAIN:
        return hashlib.sha256(text.encode()).hexdigest()
    key = keys.by_seal.get(row["seal"]) if keys else None
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest() if key else None


def chain_findings(
    rows: Iterable[Mapping[str, Any]], keys: AuditKeys | None, expected: Head | None
) -> list[ChainFinding]:
    """Walk a chain from its first row and say what is wrong with it.

    Parameters
    ----------
    rows : iterable of mapping
        By number; read once, none is kept.
    keys : AuditKeys, optional
        Without them rows that were sealed are checked for their links only,
        and each seal that cannot be checked is reported once.
    expected : Head, optional
        Noted elsewhere, earlier.
    """
    findings: list[ChainFinding] = []
    last = Head(0, ORIGIN)
    sealed_since: int | None = None
    unknown: set[str] = set()
    was_expected = expected is None or expected == last

    def find(kind: str, number: int, what: str) -> None:
        if len(findings) < MOST_FINDINGS:
            findings.append(ChainFinding(kind, number, what))

    for row in rows:
        number, seal = row["number"], str(row["seal"])
        for kind, what in _link_findings(row, last):
            find(kind, number, what)
        computed = row_hash(row, row["previous"], keys)
        if computed is None:
            if seal not in unknown:
                unknown.add(seal)
                find("unknown-key", number, f"sealed with {_seal_words(seal)}, which was not given")
        elif computed != row["hash"]:
            find("changed", number, "its content does not match its hash")
        if seal != PLAIN:
            sealed_since = sealed_since or number
        elif sealed_since is not None:
            find("unsealed", number, f"made without a key; rows are sealed since {sealed_since}")
        last = Head(number, row["hash"])
        if expected is not None and number == expected.number:
            was_expected = True
            if row["hash"] != expected.hash:
                find("rewritten", number, "its hash is not the one that was noted")
    if keys is not None and last.number and sealed_since is None:
        find("unsealed", last.number, "a key is in use, and no row is sealed with it")
    if expected is not None and not was_expected and last.number < expected.number:
        what = f"the chain ends here; row {expected.number} was noted"
        find("truncated", last.number, what)
    elif expected is not None and not was_expected:
        find("removed", expected.number, "this row was noted and is missing")
    return findings


def _link_findings(row: Mapping[str, Any], last: Head) -> Iterator[tuple[str, str]]:
    """Say what is wrong with the place of a row after the one before it."""
    missing = row["number"] - last.number - 1
    if missing > 0:
        yield "removed", f"{missing:,} rows before it are missing"
    elif missing < 0:
        yield "unlinked", "its number does not follow the previous one"
    if row["previous"] != last.hash and missing <= 0:
        yield "unlinked", "it does not follow the row before it"


def _seal_words(seal: str) -> str:
    kind, _, name = seal.partition(":")
    return f"key {name}" if kind == "hmac-sha256" else "something unknown"
