"""The hospital as a MEDS dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from neva.events.clock import start_of_day
from neva.events.schema import TIME
from neva.exports.rows import Exported, Snapshot, events_by_subject, replacing

__all__ = ["export_meds"]

#: Version of the Medical Event Data Standard that is written.
MEDS_VERSION: Final = "0.4.0"
_SHARD: Final = 1_000_000  # events
_GENDER: Final = {"female": "GENDER//F", "male": "GENDER//M", "other": "GENDER//O"}
_COLUMNS: Final[dict[str, Any]] = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
    "text_value": pl.String,
    # Beyond the standard; they let our own import restore the events.
    "value": pl.Float64,
    "event_id": pl.Int64,
    "stay_id": pl.Int64,
    "end_time": TIME,
    "precision": pl.String,
    "recorded": TIME,
    "recorded_assumed": pl.Boolean,
    "comparator": pl.String,
    "value_unit": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "rank": pl.Int32,
    "sequence": pl.Int64,
    "attributes": pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
}


def export_meds(
    snapshot: Snapshot,
    destination: Path | str,
    *,
    shard: int = _SHARD,
    overwrite: bool = False,
) -> Exported:
    """Write a MEDS dataset: ``data/<n>.parquet``, ``metadata/codes.parquet``, ``dataset.json``.

    Parameters
    ----------
    snapshot : Snapshot
    destination : path
        The folder to make.
    shard : int
        Events per file; a subject is in one file only.
    overwrite : bool
        Replace a folder of that name.

    Returns
    -------
    Exported
        Rows of ``data`` and ``codes``.

    Raises
    ------
    neva.errors.ConflictError, neva.errors.NotFoundError
        The destination exists, or its parent does not.

    Notes
    -----
    Times are UTC without a mark, as the standard wants: import them with
    ``zone="UTC"``. Births, deaths and sexes of the subjects become the codes
    ``MEDS_BIRTH``, ``MEDS_DEATH`` and ``GENDER//F`` where the events lack them.
    What was not done has its status at the end of its code
    (``LOINC//2708-6//NOT-DONE``), since readers of MEDS take every row for a
    fact. Stays and movements have no place in MEDS; events keep ``stay_id``.
    ``numeric_value`` has 32 bits, ``value`` beside it all 64.
    """
    rows = {"data": 0, "codes": 0}
    with replacing(destination, overwrite=overwrite, folder=True) as folder:
        (folder / "data").mkdir()
        (folder / "metadata").mkdir()
        subjects = snapshot.subjects().collect(engine="streaming")
        used: set[str] = set()
        written: set[int] = set()
        number = 0
        for events in events_by_subject(snapshot, shard):
            people = events["subject_id"].unique()
            frame = _shard(
                events,
                subjects.filter(pl.col("subject_id").is_in(people.implode())),
                snapshot.zone,
            )
            written.update(people)
            number = _write(frame, folder, number)
            rows["data"] += frame.height
            used.update(frame["code"].unique())
        rest = subjects.filter(~pl.col("subject_id").is_in(list(written)))
        frame = _shard(snapshot.events().head(0).collect(), rest, snapshot.zone)
        if frame.height or not number:
            number = _write(frame, folder, number)
            rows["data"] += frame.height
            used.update(frame["code"].unique())
        rows["codes"] = _write_codes(snapshot, folder, used)
        (folder / "metadata" / "dataset.json").write_text(
            json.dumps(
                {
                    "dataset_name": "neva",
                    "dataset_version": snapshot.identity,
                    "etl_name": "neva",
                    "etl_version": "0.1.0",
                    "meds_version": MEDS_VERSION,
                    "code_modifiers": [],
                    "other_extension_columns": list(_COLUMNS)[5:],
                },
                indent=2,
            )
            + "\n",
            encoding="utf-8",
        )
    return Exported(Path(destination), "meds", rows)


def _shard(events: pl.DataFrame, subjects: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Rows of some subjects, those of their persons included, sorted by subject and time."""
    marked = events.with_columns(
        code=pl.when(pl.col("status") == "done")
        .then("code")
        .otherwise(pl.col("code") + "//" + pl.col("status").str.to_uppercase()),
        numeric_value=pl.col("value").cast(pl.Float32),
        text_value="text",
        time=pl.col("time").dt.replace_time_zone(None),
    )
    rows = pl.concat(
        [
            _facts(events, subjects, zone),
            marked.select(pl.col(n).cast(t) for n, t in _COLUMNS.items()),
        ]
    )
    return rows.sort("subject_id", "time", "sequence", nulls_last=False, maintain_order=True)


def _facts(events: pl.DataFrame, subjects: pl.DataFrame, zone: str) -> pl.DataFrame:
    known = events.filter(pl.col("code").str.contains("^(MEDS_BIRTH|MEDS_DEATH|GENDER)"))
    birth = subjects.filter(pl.col("birth_date").is_not_null()).with_columns(
        code=pl.lit("MEDS_BIRTH")
    )
    birth = birth.with_columns(
        time=start_of_day(birth["birth_date"], zone), precision=pl.lit("day")
    )
    death = subjects.filter(pl.col("death").is_not_null()).with_columns(
        code=pl.lit("MEDS_DEATH"),
        time="death",
        precision=pl.col("death_precision").fill_null("instant"),
    )
    sex = subjects.with_columns(
        code=pl.col("sex").replace_strict(_GENDER, default=None, return_dtype=pl.String),
        time=pl.lit(None, dtype=TIME),
        precision=pl.lit("none"),
    ).filter(pl.col("code").is_not_null())
    shared = ("subject_id", "code", "time", "precision", "recorded", "recorded_assumed")
    rows = pl.concat([part.select(shared) for part in (sex, birth, death)])
    rows = rows.join(
        known.select("subject_id", "code").unique(),
        on=["subject_id", "code"],
        how="anti",
        maintain_order="left",
    )
    rows = rows.with_columns(
        time=pl.col("time").dt.replace_time_zone(None),
        status=pl.lit("done"),
        sequence=pl.lit(-1, dtype=pl.Int64),
    )
    return rows.select(
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in _COLUMNS.items()
    )


def _write(frame: pl.DataFrame, folder: Path, number: int) -> int:
    table = frame.to_arrow()
    # The standard wants plain strings, not the large ones that Polars has.
    fields = [
        pa.field(
            f.name,
            pa.string()
            if pa.types.is_large_string(f.type) or str(f.type) == "string_view"
            else f.type,
        )
        for f in table.schema
    ]
    pq.write_table(table.cast(pa.schema(fields)), folder / "data" / f"{number}.parquet")
    return number + 1


def _write_codes(snapshot: Snapshot, folder: Path, used: set[str]) -> int:
    known = snapshot.codes().select("code", "description", "parents").collect(engine="streaming")
    names = pl.DataFrame({"code": sorted(used)}, schema={"code": pl.String})
    codes = names.join(known, on="code", how="full", coalesce=True).sort("code")
    table = codes.rename({"parents": "parent_codes"}).to_arrow()
    schema = pa.schema(
        [
            ("code", pa.string()),
            ("description", pa.string()),
            ("parent_codes", pa.list_(pa.string())),
        ]
    )
    pq.write_table(table.cast(schema), folder / "metadata" / "codes.parquet")
    return codes.height
