"""The hospital's record of every definition that produced a figure.

A figure names the id, version and content hash of its definition; the
definition itself, with its codelists, stays in the hospital, so that the
figure can be explained and made again when the file it came from is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from neva.definitions.documents import Document, content_hash, to_json
from neva.errors import ConflictError
from neva.events.hospital import Hospital
from neva.events.read_only import is_read_only
from neva.events.schema import TABLES
from neva.events.snapshot import Snapshot

__all__ = ["check_versions", "known_definitions", "record_definitions"]


def known_definitions(snapshot: Snapshot) -> pl.DataFrame:
    """Return the definitions that produced a figure in a hospital.

    Returns
    -------
    polars.DataFrame
        Columns ``definition`` (id), ``version``, ``hash`` (SHA-256 of the
        content), ``content`` (JSON) and ``used`` (datetime, UTC; when it was
        first recorded); one row for each id and version, in their order.
    """
    return snapshot.stored("definitions").sort("definition", "used", "version").collect()


def check_versions(snapshot: Snapshot, documents: Iterable[Document]) -> list[Document]:
    """Return the documents that are not recorded yet, each once.

    Raises
    ------
    ConflictError
        The id and version of one stand for other content, in the record or
        among the documents.
    """
    hashes: dict[tuple[str, str], tuple[str, str]] = {
        (name, version): (found, "in this hospital's record")
        for name, version, found in known_definitions(snapshot)
        .select("definition", "version", "hash")
        .iter_rows()
    }
    new = []
    for document in documents:
        key = (document.id, document.version)
        own = content_hash(document)
        known = hashes.get(key)
        if known is None:
            hashes[key] = (own, "among what was given")
            new.append(document)
        elif known[0] != own:
            message = (
                f"definition {document.id}, version {document.version}: the version stands for "
                f"other content; found {own[:12]}, {known[1]} it is {known[0][:12]}; raise the "
                "version of the changed definition"
            )
            raise ConflictError(message)
    return new


def record_definitions(hospital: Hospital, documents: Iterable[Document], now: datetime) -> int:
    """Keep the definitions that produced a figure, in one commit.

    What is kept already is not written again, and then the hospital is not
    locked and gets no new version.

    Parameters
    ----------
    hospital : Hospital
        Where the figure was made.
    documents : iterable of Document
        What produced it.
    now : datetime
        Aware; the time of the record.

    Returns
    -------
    int
        How many were new; 0 where the hospital may only be read.

    Raises
    ------
    ConflictError
        An id and version stand for other content; nothing is written. Or
        another process writes to the hospital.
    """
    given = list(documents)
    if is_read_only(hospital.path):
        # Figures carry the hashes of their definitions; only the hospital's list has no line.
        return 0
    if not check_versions(hospital.snapshot(), given):
        return 0
    with hospital.writer(purpose="recording definitions", now=now) as writer:
        # Somebody else may have written since the look without the lock.
        new = check_versions(writer.snapshot(), given)
        if new:
            rows = [
                {
                    "definition": one.id,
                    "version": one.version,
                    "hash": content_hash(one),
                    "content": to_json(one),
                    "used": now,
                }
                for one in new
            ]
            writer.append("definitions", [pl.DataFrame(rows, schema=TABLES["definitions"])])
            writer.commit()
    return len(new)
