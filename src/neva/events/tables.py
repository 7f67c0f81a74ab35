"""Delta tables on disk: append, retract, restore, list files.

Only this module knows Delta Lake. Times are written as UTC microseconds and
``attributes`` as a Parquet MAP, so that DuckDB, Polars and Spark read the
files as they are.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError

from neva.events.schema import ATTRIBUTES, RETRACTIONS, Columns
from neva.files.whole import disk_problem, synchronise

__all__ = [
    "append",
    "compact",
    "file_list",
    "file_names",
    "forget_log",
    "log_names",
    "merge",
    "names_in",
    "restore",
    "scan",
    "sync",
    "version_of",
]

# Old versions stay readable as long as a manifest names them: Delta's own
# clean-up of its log after thirty days must not run. Checkpoints are made by `sync`.
_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
#: To open a table is to read its log since the last checkpoint: there is one after so many.
_CHECKPOINT_EVERY: Final = 20
#: Commits that are read one by one, from a version whose files are known.
_MOST_COMMITS: Final = 16
_MOST_NAMES: Final = 512
_COMMIT: Final = re.compile(r"[0-9]{20}\.json")
_WRITER: Final = WriterProperties(
    compression="ZSTD", compression_level=1, max_row_group_size=250_000
)
_FILE_BYTES: Final = 128 * 2**20
_MAP: Final = pa.map_(pa.string(), pa.string())


def arrow_schema(columns: Columns) -> pa.Schema:
    """Arrow schema of a table; ``attributes`` as a map, times as UTC microseconds."""
    empty = pl.DataFrame(schema=columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = []
    for field, dtype in zip(empty.schema, columns.values(), strict=True):
        if dtype == ATTRIBUTES:
            kind = _MAP
        elif pa.types.is_large_string(field.type):
            kind = pa.string()
        elif pa.types.is_large_list(field.type):
            kind = pa.list_(pa.string())
        else:
            kind = field.type
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


def _as_map(chunk: Any) -> Any:
    if chunk.null_count == len(chunk):
        return pa.nulls(len(chunk), _MAP)
    # Flattened without what a missing entry or a slice may hide in the child.
    lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    entries = chunk.flatten()
    return pa.MapArray.from_arrays(
        pa.array(offsets),
        entries.field("key").cast(pa.string()),
        entries.field("value").cast(pa.string()),
        mask=chunk.is_null() if chunk.null_count else None,
    )


def to_arrow(frame: pl.DataFrame, columns: Columns) -> pa.Table:
    """Turn a frame into an Arrow table of :func:`arrow_schema`."""
    schema = arrow_schema(columns)
    table = frame.select(list(columns)).to_arrow(compat_level=pl.CompatLevel.oldest())
    arrays = []
    for field, column in zip(schema, table.columns, strict=True):
        if column.null_count == len(column):
            # Most columns of most sources are empty: nothing to convert.
            arrays.append(pa.chunked_array([pa.nulls(len(column), field.type)]))
        elif field.type == _MAP:
            chunks = [_as_map(chunk) for chunk in column.chunks]
            arrays.append(pa.chunked_array(chunks, type=_MAP))
        else:
            arrays.append(column.cast(field.type))
    return pa.table(arrays, schema=schema)


def _guarded(path: Path, work: Callable[[], Any]) -> Any:
    """Run `work`; turn a full disk, whichever library met it, into our error."""
    try:
        return work()
    except (OSError, DeltaError) as error:
        problem = disk_problem(error, path)
        if problem is not None:
            raise problem from error
        raise


def append(path: Path, frames: Iterable[pl.DataFrame], columns: Columns, *, note: str) -> int:
    """Append frames as one commit, in their order.

    Parameters
    ----------
    path : Path
        The table's folder; made if it does not exist.
    frames : iterable of polars.DataFrame
        Consumed as they are written: one frame in memory at a time.
    columns : dict
        The table's columns and types.
    note : str
        Kept in the table's history; no patient data.

    Returns
    -------
    int
        The table's new version.
    """
    failure: list[BaseException] = []

    def batches() -> Iterator[Any]:
        try:
            for frame in frames:
                if frame.height:
                    yield from to_arrow(frame, columns).to_batches()
        except BaseException as error:  # the writer reports it as text only: keep the original
            failure.append(error)
            raise

    path.parent.mkdir(parents=True, exist_ok=True)
    reader = pa.RecordBatchReader.from_batches(arrow_schema(columns), batches())

    def write() -> None:
        write_deltalake(
            path if version_of(path) is None else DeltaTable(path),
            reader,
            mode="append",
            target_file_size=_FILE_BYTES,
            writer_properties=_WRITER,
            commit_properties=CommitProperties(custom_metadata={"note": note}),
            post_commithook_properties=_HOOKS,
        )

    try:
        _guarded(path, write)
    except BaseException:
        if failure:
            raise failure[0] from None
        raise
    return _written_version(path)


def compact(path: Path, target: int) -> int:
    """Put files that are smaller than a size together, up to it; larger ones stay.

    Parameters
    ----------
    path : Path
        The table's folder.
    target : int
        Bytes.

    Returns
    -------
    int
        The table's new version. What is replaced stays for the versions that name it.
    """
    table = DeltaTable(path)
    _guarded(
        path,
        lambda: table.optimize.compact(
            target_size=target,
            writer_properties=_WRITER,
            commit_properties=CommitProperties(custom_metadata={"note": "compaction"}),
            post_commithook_properties=_HOOKS,
        ),
    )
    return _written_version(path)


def names_in(path: Path, versions: Sequence[int]) -> set[str]:
    """List the files that some versions of a table hold, by name; the log is read once."""
    wanted = sorted({*versions})
    held = {*file_names(path, wanted[0])}
    found = {*held}
    for number in range(wanted[0] + 1, wanted[-1] + 1):
        # Only a checkpoint may be left of a commit.
        held = _names_after(held, path, number) or {*file_names(path, number)}
        if number in wanted:
            found |= held
    return found


def _commit_of(path: Path, version: int) -> Path:
    return path / "_delta_log" / f"{version:020d}.json"


def _names_after(held: Iterable[str], path: Path, version: int) -> set[str] | None:
    """What a table holds after a commit, of what it held before; None if the commit is gone."""
    try:
        lines = _commit_of(path, version).read_bytes().splitlines()
    except FileNotFoundError:
        return None
    names = {*held}
    for line in lines:
        action = json.loads(line)
        for kind in ("add", "remove"):
            if kind in action:
                name = unquote(action[kind]["path"]).rpartition("/")[2]
                (names.add if kind == "add" else names.discard)(name)
    return names


def log_names(path: Path, version: int) -> list[str]:
    """List what of a table's log is needed to read one version, by names in its folder."""
    log = path / "_delta_log"
    numbered = [(int(one.name[:20]), one.name) for one in log.glob(f"{'[0-9]' * 20}.*")]
    begun = [at for at, name in numbered if ".checkpoint" in name and at <= version]
    first = max(begun, default=0)
    return sorted(
        f"_delta_log/{name}"
        for at, name in numbered
        if first <= at <= version
        and (name.endswith(".json") or ".checkpoint" in name)
        and (".checkpoint" not in name or at == first)
    )


def forget_log(path: Path, oldest: int) -> int:
    """Delete what the log of a table holds only of versions before `oldest`; return how much.

    Older versions can no longer be read; `oldest` and those after it can.
    """
    log = path / "_delta_log"
    checkpoints = sorted(
        int(one.name[:20]) for one in log.glob(f"{'[0-9]' * 20}.checkpoint*.parquet")
    )
    usable = [number for number in checkpoints if number <= oldest]
    if not usable:
        return 0
    gone = 0
    for one in log.glob(f"{'[0-9]' * 20}.*"):
        if int(one.name[:20]) < usable[-1]:
            one.unlink()
            gone += 1
    return gone


def merge(path: Path, retractions: pl.DataFrame, *, note: str) -> int:
    """Set ``retracted`` of stored events; files without such an event stay.

    An end that is stored stays where it is earlier than the one given.

    Parameters
    ----------
    path : Path
        The events table.
    retractions : polars.DataFrame
        Columns ``event_id``, ``batch`` and ``recorded`` (of the stored row, once
        each), ``retracted``.

    Returns
    -------
    int
        The table's new version.
    """
    table = DeltaTable(path)
    source = retractions.select(list(RETRACTIONS)).to_arrow(compat_level=pl.CompatLevel.oldest())
    _guarded(
        path,
        lambda: (
            table.merge(
                source,
                "stored.event_id = said.event_id AND stored.batch = said.batch "
                "AND stored.recorded = said.recorded "
                "AND (stored.retracted IS NULL OR stored.retracted > said.retracted)",
                source_alias="said",
                target_alias="stored",
                writer_properties=_WRITER,
                commit_properties=CommitProperties(custom_metadata={"note": note}),
                post_commithook_properties=_HOOKS,
            )
            .when_matched_update({"retracted": "said.retracted"})
            .execute()
        ),
    )
    return _written_version(path)


def version_of(path: Path) -> int | None:
    """Latest version of the table on disk; None where there is none."""
    try:
        names = [one.name for one in (path / "_delta_log").iterdir()]
    except FileNotFoundError:
        return None
    return max((int(one[:20]) for one in names if _COMMIT.fullmatch(one)), default=None)


def _written_version(path: Path) -> int:
    """The version of a table that was just written to."""
    version = version_of(path)
    assert version is not None
    return version


#: A version of a table, and which commit that is: another table may come in its place.
_Named = tuple[Path, int, tuple[int, int]]
_names: dict[_Named, tuple[str, ...]] = {}
_names_lock = threading.Lock()


def _named(path: Path, version: int) -> _Named | None:
    try:
        written = _commit_of(path, version).stat()
    except FileNotFoundError:
        return None
    return path, version, (written.st_ino, written.st_mtime_ns)


def _names_from_log(path: Path, version: int) -> tuple[str, ...]:
    """Read what a version holds: from one a little older if that is known, else from the whole."""
    for older in range(version - 1, max(-1, version - 1 - _MOST_COMMITS), -1):
        key = _named(path, older)
        if key is None:
            break
        held: Iterable[str] | None = _names.get(key)
        if held is not None:
            for number in range(older + 1, version + 1):
                held = None if held is None else _names_after(held, path, number)
            if held is not None:
                return tuple(sorted(held))
    # Tables have no partitions: a file's name is all that its address must tell.
    uris = DeltaTable(path, version=version).file_uris()
    return tuple(sorted(uri.rpartition("/")[2] for uri in uris))


def file_names(path: Path, version: int) -> list[str]:
    """List the Parquet files of one version of a table, by their names in its folder."""
    key = _named(path, version)
    if key is None:
        return list(_names_from_log(path, version))
    if (known := _names.get(key)) is not None:
        return list(known)
    found = _names_from_log(path, version)
    with _names_lock:
        while len(_names) >= _MOST_NAMES:
            del _names[next(iter(_names))]
        _names[key] = found
    return list(found)


def sync(path: Path, before: int | None, version: int) -> None:
    """Have on disk what a table got since a version: files, commits and their folders.

    From time to time there is a checkpoint too, or reading the log would take ever longer.
    """
    known = set() if before is None else {*file_names(path, before)}
    log = path / "_delta_log"
    commits = range(0 if before is None else before + 1, version + 1)
    new = [path / name for name in file_names(path, version) if name not in known]
    new += [one for number in commits if (one := _commit_of(path, number)).exists()]
    if version // _CHECKPOINT_EVERY > (before or 0) // _CHECKPOINT_EVERY:
        _guarded(path, lambda: _add_checkpoint(path, version))
    for one in (*new, path, log):
        synchronise(one)


def _add_checkpoint(path: Path, version: int) -> None:
    """Add a checkpoint of a version: made aside, and on disk before it is in its place.

    A table whose newest checkpoint is cut off cannot be read.
    """
    log, aside = path / "_delta_log", path / "_checkpoint"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "_delta_log").mkdir(parents=True)
    for name in log_names(path, version):
        shutil.copyfile(path / name, aside / name)
    DeltaTable(aside, version=version).create_checkpoint()
    made = [*(aside / "_delta_log").glob(f"{version:020d}.checkpoint*")]
    made.append(aside / "_delta_log" / "_last_checkpoint")
    for one in made:
        synchronise(one)
    for one in made:
        one.replace(log / one.name)
    shutil.rmtree(aside)


def file_list(path: Path, version: int) -> list[str]:
    """List the Parquet files of one version of a table, as absolute paths."""
    return [str(path.absolute() / name) for name in file_names(path, version)]


def restore(path: Path, version: int | None) -> None:
    """Take a table back to `version`; do nothing if its content is that already.

    A table that no manifest names (`version` None) is emptied.
    """
    latest = version_of(path)
    if latest is None or latest == version:
        return
    table = DeltaTable(path)
    if version is None:
        if table.file_uris():
            table.delete(post_commithook_properties=_HOOKS)
        return
    if set(table.file_uris()) != set(DeltaTable(path, version=version).file_uris()):
        table.restore(version, post_commithook_properties=_HOOKS)


def scan(files: list[str], columns: Columns) -> pl.LazyFrame:
    """Scan Parquet files as a lazy frame with the table's columns and types."""
    if not files:
        return pl.LazyFrame(schema=columns)
    return pl.scan_parquet(files, glob=False, missing_columns="insert").select(
        pl.col(name).cast(dtype) for name, dtype in columns.items()
    )
