"""Pseudonyms, and the only way back.

A local id (a record number, a visit number) never enters a table of the
store. Its pseudonym is a keyed hash: HMAC-SHA-256 (RFC 2104) under a key of
the hospital's own, cut to 63 bits. The pairs stand in ``identities/``, a
table of its own with its own permissions (owner only), which analyses never
open.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from neva.errors import ConflictError, NotFoundError
from neva.events.schema import Columns

__all__ = ["IDENTITIES", "MERGED", "Pseudonyms", "create_key", "read_key"]

#: Kind of a pair whose local id is a record that was merged into the one of the pseudonym.
MERGED: Final = "merged-subject"
#: Columns of the identities table. ``kind`` is ``subject``, ``stay`` or
#: :data:`MERGED`; ``assigner`` is who gave the local id.
IDENTITIES: Final[Columns] = {
    "kind": pl.String,
    "assigner": pl.String,
    "local_id": pl.String,
    "pseudonym": pl.Int64,
}


def create_key(path: Path) -> None:
    """Make a new random key of 32 bytes at `path`, readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> bytes:
    """Read a hospital's key.

    Raises
    ------
    NotFoundError
        The key is gone: no row can be added without it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        message = (
            f"{path}: the hospital's pseudonym key is missing; found no file; restore it from "
            "a backup (without it, no row can be joined to what is already stored)"
        )
        raise NotFoundError(message) from None


class Pseudonyms:
    """Gives pseudonyms during one import and remembers the new pairs.

    Parameters
    ----------
    key : bytes
        The hospital's key.
    assigner : str
        Who gave the local ids.
    merged : polars.DataFrame, optional
        Pairs of kind :data:`MERGED` that are stored: such a record's rows are
        those of the record it was merged into, also when a later delivery
        names it without a word of that.
    """

    def __init__(self, key: bytes, assigner: str, merged: pl.DataFrame | None = None) -> None:
        self._key = key
        self._assigner = assigner
        self._merged = {} if merged is None else self._last_of(merged)
        self._new_merges: dict[str, int] = {}
        self._known = {
            kind: pl.DataFrame(schema={"local_id": pl.String, "pseudonym": pl.Int64})
            for kind in ("subject", "stay")
        }

    def one(self, kind: str, local_id: str) -> int:
        """Pseudonym of one local id: an integer of 63 bits."""
        # The assigner's length goes first: no part can pass for the end of another.
        message = f"{kind}\x1f{len(self._assigner)}\x1f{self._assigner}\x1f{local_id}".encode()
        return int.from_bytes(hmac.digest(self._key, message, "sha256")[:8], "big") >> 1

    def _last_of(self, merged: pl.DataFrame) -> dict[int, int]:
        """Follow merges of merges to the record that is left."""
        mine = merged.filter(pl.col("kind") == MERGED, pl.col("assigner") == self._assigner)
        into = {
            self.one("subject", local_id): pseudonym
            for local_id, pseudonym in mine.select("local_id", "pseudonym").iter_rows()
        }
        last = {}
        for first, following in into.items():
            seen, at = {first}, following
            while at in into and at not in seen:
                seen.add(at)
                at = into[at]
            if at != first:
                last[first] = at
        return last

    def follow(self, merged: Mapping[int, int]) -> None:
        """Let records be others' from now on: pseudonym of the merged to that of the last one."""
        self._merged = {**self._merged, **merged}

    def own(self, kind: str, local_ids: pl.Series) -> pl.Series:
        """Pseudonyms of a column of local ids as they are, whatever was merged; remembered."""
        self.of(kind, local_ids)
        found = local_ids.to_frame("local_id").join(
            self._known[kind], on="local_id", how="left", maintain_order="left"
        )
        return found["pseudonym"]

    def current(self, kind: str, local_id: str) -> int:
        """Pseudonym under which one local id's rows stand: of a merged record, the other's."""
        own = self.one(kind, local_id)
        return self._merged.get(own, own) if kind == "subject" else own

    def are_merged(self, local_ids: pl.Series) -> pl.Series:
        """Say of local ids of subjects whether they are records that were merged into others."""
        raw = {one for one in local_ids.unique().drop_nulls() if self._is_merged(one)}
        return local_ids.is_in(list(raw)).fill_null(value=False)

    def _is_merged(self, local_id: str) -> bool:
        return bool(self._merged) and self.one("subject", local_id) in self._merged

    def merge(self, local_id: str, into: str) -> None:
        """Remember from the next import on that a record was merged into another."""
        self._new_merges[local_id] = self.current("subject", into)

    def of(self, kind: str, local_ids: pl.Series) -> pl.Series:
        """Pseudonyms of a column of local ids.

        Parameters
        ----------
        kind : str
            ``subject`` or ``stay``.
        local_ids : polars.Series
            Dtype String; missing stays missing.

        Returns
        -------
        polars.Series
            Dtype Int64, same length.
        """
        known = self._known[kind]
        new = (
            local_ids.unique()
            .drop_nulls()
            .to_frame("local_id")
            .join(known, on="local_id", how="anti")
        )
        if new.height:
            given = [self.one(kind, local_id) for local_id in new["local_id"].to_list()]
            known = pl.concat([known, new.with_columns(pseudonym=pl.Series(given, dtype=pl.Int64))])
            self._known[kind] = known
        found = local_ids.to_frame("local_id").join(
            known, on="local_id", how="left", maintain_order="left"
        )
        if kind == "subject" and self._merged:
            return found["pseudonym"].replace(self._merged)
        return found["pseudonym"]

    def pairs(self) -> pl.DataFrame:
        """All pairs that were asked for, with the columns of ``IDENTITIES``."""
        return pl.concat(
            known.select(
                kind=pl.lit(kind),
                assigner=pl.lit(self._assigner),
                local_id="local_id",
                pseudonym="pseudonym",
            )
            for kind, known in self._known.items()
        )

    def new_pairs(self, stored: pl.LazyFrame) -> pl.DataFrame:
        """Return the pairs that `stored` lacks, after a check for collisions.

        Raises
        ------
        ConflictError
            Two local ids share a pseudonym (expected once in some 10^9
            hospitals of a million patients).
        """
        asked = self.pairs()
        on = ["kind", "assigner", "local_id"]
        held = stored.join(asked.lazy(), on=["kind", "pseudonym"], how="semi").collect()
        both = pl.concat([held, asked.join(held, on=on, how="anti")])
        if both.select(pl.struct("kind", "pseudonym").n_unique()).item() != both.height:
            message = (
                "identities: two local ids have the same pseudonym under this hospital's key; "
                "found on import; create the hospital again with another key"
            )
            raise ConflictError(message)
        merges = pl.DataFrame(
            {
                "kind": [MERGED] * len(self._new_merges),
                "assigner": [self._assigner] * len(self._new_merges),
                "local_id": list(self._new_merges),
                "pseudonym": list(self._new_merges.values()),
            },
            schema=IDENTITIES,
        )
        stored_merges = stored.filter(pl.col("kind") == MERGED).collect()
        new = merges.join(stored_merges, on=list(IDENTITIES), how="anti")
        return pl.concat([asked.join(held, on=on, how="anti"), new])
