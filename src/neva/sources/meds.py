"""MEDS datasets (Medical Event Data Standard) as rows.

MEDS is our own event table with fewer columns, so nothing is looked up row by
row: whole Parquet batches pass through as columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from neva.errors import BadInputError, UsageError
from neva.events.clock import to_utc, zone_named
from neva.events.schema import ROWS, TIME
from neva.files.opening import existing, stem_of
from neva.sources._frames import ALWAYS, attributes_from_columns, quarantined
from neva.sources._times import repeated_hours
from neva.sources.rows import Delivery, Rows, conform

__all__ = ["open_meds"]

_BATCH: Final = 500_000
_STANDARD: Final = ("subject_id", "time", "code", "numeric_value", "text_value")
_NEEDED: Final = ("subject_id", "time", "code")
#: Columns that our own export adds; they fill the columns of the same name.
_OWN: Final = {
    "stay_id": "stay",
    "value": "value",
    "end_time": "end_time",
    "precision": "precision",
    "recorded": "recorded",
    "recorded_assumed": "recorded_assumed",
    "comparator": "comparator",
    "value_unit": "value_unit",
    "status": "status",
    "reason": "reason",
    "rank": "rank",
    "sequence": "sequence",
    "event_id": "row_id",
}
_TEXT: Final = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_NUMBER: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
#: What a column of the standard may be, and the stay that our export adds.
_TYPES: Final[dict[str, tuple[tuple[Callable[[pa.DataType], bool], ...], str, str]]] = {
    "subject_id": ((*_NUMBER, *_TEXT), "an id", "int64"),
    "time": ((pa.types.is_timestamp, pa.types.is_date), "a time", "timestamp[us]"),
    "code": (_TEXT, "a text", "string"),
    "numeric_value": (_NUMBER, "a number", "float"),
    "text_value": (_TEXT, "a text", "string"),
    "stay_id": ((*_NUMBER, *_TEXT), "an id", "int64"),
}
_OWN_TIMES: Final = ("end_time", "recorded")
_DAMAGED: Final = (pa.ArrowException, OSError, UnicodeDecodeError)
_OTHER_TYPES: Final = (pl.exceptions.PolarsError, TypeError, OverflowError)
_BIRTH: Final = "MEDS_BIRTH"
_DEATH: Final = "MEDS_DEATH"
_GENDER: Final = "GENDER//"
_SEX: Final = {"F": "female", "M": "male", "FEMALE": "female", "MALE": "male", "O": "other"}
# Whole numbers above this may have lost digits in a 64-bit float.
_EXACT_IN_FLOAT: Final = 2**53


def open_meds(
    path: Path | str,
    *,
    zone: str,
    mapping: Path | str | None = None,
    name: str | None = None,
    assigner: str | None = None,
    batch: int = _BATCH,
) -> Delivery:
    """Open a MEDS dataset, or one Parquet file of its schema.

    Parameters
    ----------
    path : path
        A folder with ``data/**/*.parquet`` and perhaps
        ``metadata/codes.parquet``, a folder of Parquet files, or one file.
        Columns ``subject_id``, ``time``, ``code``; perhaps ``numeric_value``,
        ``text_value`` and others.
    zone : str
        IANA name of the zone of the times, which MEDS writes without one. An
        export of Neva's own is read as UTC, which it is written in.
    mapping : path, optional
        Not used by this source: the standard says what the columns mean.
    name, assigner : str, optional
        The logical source and who gave its ids; by default ``meds`` and the
        name of the folder.
    batch : int
        Rows per batch.

    Returns
    -------
    Delivery
        Tables ``codes``, ``events``, ``subjects`` and ``quarantine``. Order is
        ``position``: the place in the file, after the time.

    Raises
    ------
    neva.errors.BadInputError
        No Parquet file, a file that cannot be read, a missing column or one of
        another type.

    Notes
    -----
    A missing time means a static fact: precision ``none``. Columns beyond the
    standard become attributes, except those that our export writes.
    ``MEDS_BIRTH``, ``MEDS_DEATH`` and ``GENDER//F`` (``M``, ``O``) are events and
    also fill the subject.
    ``recorded`` is the event's time, assumed; static facts are known from the
    subject's first time on.
    """
    zone_named(zone)
    if mapping is not None:
        raise UsageError(
            f"--mapping: the meds source takes none, the standard says what columns mean; found "
            f"{mapping}; leave it out"
        )
    place = existing(path)
    root, files = _data_files(place)
    for file in files:
        _check_columns(file)
    if _is_our_export(root):
        zone = "UTC"  # MEDS writes times without a zone; our export writes UTC
    codes = root / "metadata" / "codes.parquet"
    described = codes if codes.is_file() else None
    return Delivery(
        name=name or "meds",
        assigner=assigner or name or stem_of(place),
        kind="meds",
        files=(*files, *([described] if described else [])),
        rows=_delivered_rows(root, files, described, zone, batch),
    )


def _data_files(place: Path) -> tuple[Path, tuple[Path, ...]]:
    if place.is_file():
        return place.parent / ".", (place,)
    data = place / "data"
    files = tuple(sorted((data if data.is_dir() else place).rglob("*.parquet")))
    files = tuple(
        file
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(place).parts)
        and file.relative_to(place).parts[0] != "metadata"
    )
    if not files:
        raise BadInputError(
            f"{place}: not a MEDS dataset; found no Parquet file in data/; name the folder of one"
        )
    return place, files


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except _DAMAGED:
        raise BadInputError(
            f"{file}: not Parquet, damaged or cut short; found {file.stat().st_size:,} bytes; "
            "copy it again"
        ) from None


def _check_columns(file: Path) -> None:
    with _opened(file) as opened:
        schema = opened.schema_arrow
    missing = [name for name in _NEEDED if name not in schema.names]
    if missing:
        raise BadInputError(
            f"{file}: the column {', '.join(missing)} is missing; found "
            f"{', '.join(schema.names)[:300]}; a MEDS table has subject_id, time and code"
        )
    for name, (fits, must, write) in _TYPES.items():
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not pa.types.is_null(kind) and not any(fit(kind) for fit in fits):
            raise BadInputError(
                f"{file}: the column {name} must be {must}; found {kind}; write it as {write}"
            )


def _is_our_export(root: Path) -> bool:
    try:
        described = json.loads((root / "metadata" / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("etl_name") == "neva"


def _delivered_rows(
    root: Path, files: tuple[Path, ...], described: Path | None, zone: str, batch: int
) -> Iterator[Rows]:
    if described is not None:
        yield Rows("codes", _codes(described), origin="codes")
    people: list[pl.DataFrame] = []
    for file in files:
        label = str(file.relative_to(root)) if file.is_relative_to(root) else file.name
        before = 0
        with _opened(file) as opened:
            try:
                for part in opened.iter_batches(batch_size=batch):
                    frame = pl.DataFrame(pa.Table.from_batches([part]))
                    events, refused, warned = _events(frame, label, before, zone)
                    before += frame.height
                    people.append(_people(events))
                    yield Rows("events", events, origin="data")
                    if refused.height:
                        yield Rows(
                            "quarantine", quarantined(refused, table="events"), origin="data"
                        )
                    if warned.height:
                        yield Rows("warnings", warned, origin="data")
            except _DAMAGED:
                raise BadInputError(
                    f"{file}: not read to its end; found it damaged or cut short; copy it again"
                ) from None
            except _OTHER_TYPES:
                raise BadInputError(
                    f"{file}: a column is of another type than it should be; found one that cannot "
                    "be read as such; see the standard, or leave out the columns beyond it"
                ) from None
        if len(people) > 1:
            people = [_merged(people)]
    if people:
        yield Rows("subjects", _subjects(_merged(people), zone), origin="data")


def _codes(file: Path) -> pl.DataFrame:
    try:
        with _opened(file) as opened:
            frame = pl.DataFrame(opened.read())
    except _DAMAGED:
        raise _damaged_codes(file) from None
    if "code" not in frame.columns:
        raise BadInputError(
            f"{file}: the column code is missing; found {', '.join(frame.columns)[:300]}; "
            "write the codes again, or take the file away"
        )
    try:
        return conform(
            "codes",
            frame.select(
                pl.col("code").cast(pl.String),
                *(
                    pl.col(theirs).cast(dtype).alias(ours)
                    for theirs, ours, dtype in (
                        ("description", "description", pl.String),
                        ("parent_codes", "parents", pl.List(pl.String)),
                        ("molar_mass", "molar_mass", pl.Float64),
                    )
                    if theirs in frame.columns
                ),
                recorded=pl.lit(ALWAYS, dtype=TIME),
                recorded_assumed=pl.lit(True),
                file=pl.lit(f"metadata/{file.name}"),
                row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
            ),
        )
    except _OTHER_TYPES:
        raise _damaged_codes(file) from None


def _damaged_codes(file: Path) -> BadInputError:
    return BadInputError(
        f"{file}: the codes cannot be read; found a damaged file, or columns of other types; write "
        "the codes again, or take the file away"
    )


def _events(
    frame: pl.DataFrame, file: str, before: int, zone: str
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Give one batch its columns; the rows refused, and those in doubt."""
    schema = frame.schema
    own = {ours: theirs for theirs, ours in _OWN.items() if theirs in schema}
    others = [name for name in schema if name not in _STANDARD and name not in _OWN]
    subject = pl.col("subject_id")
    is_whole: pl.Expr = pl.lit(True)
    if schema["subject_id"].is_float():
        is_whole = ((subject == subject.floor()) & subject.is_finite()).fill_null(value=True)
        if frame.select((subject.abs() >= _EXACT_IN_FLOAT).any()).item():
            raise BadInputError(
                f"{file}: subject_id has lost digits; found floating-point numbers beyond 2^53; "
                "write it as int64"
            )
        subject = subject.cast(pl.Int64, strict=False)

    moment = frame["time"]
    reason: pl.Series | None = None
    precision = "instant"
    if isinstance(moment.dtype, pl.Date):
        precision = "day"
    if isinstance(moment.dtype, pl.Datetime) and moment.dtype.time_zone is not None:
        time = moment.dt.convert_time_zone("UTC").cast(TIME)
    else:
        read = to_utc(moment, zone, nonexistent="forward" if precision == "day" else "quarantine")
        time, reason = read.struct.field("time"), read.struct.field("reason")
    is_static = moment.is_null()
    frame = frame.with_columns(
        time.alias("_time"),
        is_static.alias("_static"),
        (reason if reason is not None else pl.Series([None] * frame.height, dtype=pl.String)).alias(
            "reason_"
        ),
        pl.int_range(before + 1, before + 1 + frame.height, dtype=pl.Int64, eager=True).alias(
            "_row"
        ),
    )

    def given(ours: str, dtype: pl.DataType | type[pl.DataType], default: pl.Expr) -> pl.Expr:
        if ours not in own:
            return default
        column = pl.col(own[ours])
        if dtype == TIME and isinstance(schema[own[ours]], pl.Datetime):
            column = _aware(column, schema[own[ours]], zone)
        if dtype == pl.String and schema[own[ours]].is_float():
            # An empty cell made it a float column: 10.0 is the stay 10.
            whole = column.cast(pl.Int64, strict=False)
            column = (
                pl.when(whole == column)
                .then(whole.cast(pl.String))
                .otherwise(column.cast(pl.String))
            )
        return pl.coalesce(column.cast(dtype), default)

    nothing = pl.lit(None)
    columns = {
        "subject": subject.cast(pl.String),
        "stay": given("stay", pl.String, nothing.cast(pl.String)),
        "time": pl.col("_time"),
        "end_time": given("end_time", TIME, nothing.cast(TIME)),
        "precision": pl.when("_static")
        .then(pl.lit("none"))
        .otherwise(given("precision", pl.String, pl.lit(precision))),
        "code": _code(own),
        "value": given("value", pl.Float64, _numeric(schema)),
        "comparator": given("comparator", pl.String, nothing.cast(pl.String)),
        "value_unit": given("value_unit", pl.String, nothing.cast(pl.String)),
        "text": pl.col("text_value").cast(pl.String)
        if "text_value" in schema
        else nothing.cast(pl.String),
        "status": given("status", pl.String, pl.lit("done")),
        "reason": given("reason", pl.String, nothing.cast(pl.String)),
        "rank": given("rank", pl.Int32, nothing.cast(pl.Int32)),
        "attributes": _attributes(schema, others),
        "sequence": given("sequence", pl.Int64, pl.col("_row") - 1),
        "row_id": given("row_id", pl.String, pl.lit(None, dtype=pl.String))
        if "row_id" in own
        else pl.format("{}#{}", pl.lit(file), "_row"),
        "recorded": given("recorded", TIME, pl.col("_time")),
        "recorded_assumed": given(
            "recorded_assumed",
            pl.Boolean,
            pl.col(own["recorded"]).is_null() if "recorded" in own else pl.lit(True),
        ),
        "file": pl.lit(file),
        "row": pl.col("_row"),
        "_refused": pl.coalesce(
            pl.when(~is_whole).then(pl.lit("value-unreadable")), pl.col("reason_")
        ),
    }
    events = frame.select(**columns)
    if is_static.any() and "recorded" not in own:
        events = _static_known(events)
    taken = events.filter(pl.col("_refused").is_null())
    refused = events.filter(pl.col("_refused").is_not_null()).select(
        "file",
        "row",
        field=pl.when(pl.col("_refused") == "value-unreadable")
        .then(pl.lit("subject_id"))
        .otherwise(pl.lit("time")),
        reason="_refused",
    )
    return conform("events", taken), refused, _clock_warnings(frame, events, zone, own)


def _clock_warnings(
    frame: pl.DataFrame, events: pl.DataFrame, zone: str, own: dict[str, str]
) -> pl.DataFrame:
    """Warn of local times that the clock showed twice, or never; times with a zone are neither."""
    taken = events["_refused"].is_null()
    warned = []
    for ours, theirs in (("time", "time"), *((one, own[one]) for one in _OWN_TIMES if one in own)):
        naive = frame[theirs]
        if not isinstance(naive.dtype, pl.Datetime) or naive.dtype.time_zone is not None:
            continue
        rows, time = events.filter(taken), events[ours].filter(taken)
        twice = repeated_hours(rows, zone, table="events", field=theirs, time=time)
        shown = time.dt.convert_time_zone(zone).dt.replace_time_zone(None)
        skipped = (shown != naive.filter(taken).cast(pl.Datetime("us"))).fill_null(value=False)
        never = rows.filter(skipped).select(
            "file",
            "row",
            table=pl.lit("events"),
            field=pl.lit(theirs),
            reason=pl.lit("time-skipped"),
        )
        warned += [twice, never]
    return pl.concat(warned) if warned else pl.DataFrame(schema=ROWS["warnings"])


def _code(own: dict[str, str]) -> pl.Expr:
    """Take the code; our export marks in it what was not done, for readers without status."""
    code = pl.col("code").cast(pl.String)
    if "status" not in own:
        return code
    status = pl.col(own["status"])
    mark = pl.lit("//") + status.str.to_uppercase()
    return (
        pl.when((status != "done") & code.str.ends_with(mark))
        .then(code.str.slice(0, code.str.len_chars() - mark.str.len_chars()))
        .otherwise(code)
    )


def _numeric(schema: pl.Schema) -> pl.Expr:
    """Read a 32-bit number by its shortest decimal: 81.3 stays 81.3, not 81.30000305."""
    if "numeric_value" not in schema:
        return pl.lit(None, dtype=pl.Float64)
    column = pl.col("numeric_value")
    if schema["numeric_value"] == pl.Float32:
        return column.map_batches(_shortest, return_dtype=pl.Float64, is_elementwise=True)
    return column.cast(pl.Float64)


def _shortest(numbers: pl.Series) -> pl.Series:
    single = numbers.fill_null(0.0).to_numpy()
    double = single.astype(np.float64)
    left = np.isfinite(single)
    # Most values have few decimals; dividing by a power of ten is exact enough
    # to give the very number that the decimal means.
    for decimals in range(5):
        scale = 10.0**decimals
        where = np.flatnonzero(left)
        rounded = np.rint(double[where] * scale) / scale
        fits = rounded.astype(np.float32) == single[where]
        double[where[fits]] = rounded[fits]
        left[where[fits]] = False
    where = np.flatnonzero(left)
    if len(where):
        double[where] = pl.Series(single[where]).cast(pl.String).cast(pl.Float64).to_numpy()
    return pl.select(
        pl.when(pl.lit(numbers.is_not_null())).then(pl.lit(pl.Series(double)))
    ).to_series()


def _static_known(events: pl.DataFrame) -> pl.DataFrame:
    """Let static facts be known from the subject's first time on."""
    first = (
        events.filter(
            pl.col("subject").is_in(
                events.filter(pl.col("time").is_null())["subject"].unique().implode()
            )
        )
        .group_by("subject")
        .agg(pl.col("time").min().alias("_first"))
    )
    return events.join(first, on="subject", how="left", maintain_order="left").with_columns(
        recorded=pl.coalesce("recorded", "_first")
    )


def _aware(column: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.dt.convert_time_zone("UTC").cast(TIME)
    return to_utc(column, zone, nonexistent="forward").struct.field("time")


def _attributes(schema: pl.Schema, others: list[str]) -> pl.Expr:
    """Columns beyond the standard as attributes; our export's map comes back whole."""
    if others == ["attributes"] and isinstance(schema["attributes"], pl.List):
        return pl.col("attributes")
    return attributes_from_columns(
        {
            name: (
                pl.col(name).dt.to_string("iso")
                if schema[name].is_temporal()
                else pl.col(name).struct.json_encode()
                if isinstance(schema[name], pl.Struct)
                else pl.col(name).cast(pl.List(pl.String)).list.join(" ")
                if isinstance(schema[name], pl.List)
                else pl.col(name).cast(pl.String)
            )
            for name in others
        }
    )


def _people(events: pl.DataFrame) -> pl.DataFrame:
    """First time, birth and death of the subjects of one batch."""
    code = pl.col("code")
    kinds = {kind: code.str.starts_with(kind) for kind in (_BIRTH, _DEATH, _GENDER)}
    # Few rows say something about the person: only those are grouped with conditions.
    facts = (
        events.filter(pl.any_horizontal(kinds.values()))
        .group_by("subject")
        .agg(
            pl.col("time").filter(kinds[_BIRTH]).min().alias("birth"),
            pl.col("time").filter(kinds[_DEATH]).min().alias("death"),
            pl.col("precision").filter(kinds[_DEATH]).first().alias("death_precision"),
            code.filter(kinds[_GENDER]).first().alias("sex"),
        )
    )
    first = events.group_by("subject").agg(pl.col("time").min().alias("first"))
    return first.join(facts, on="subject", how="left")


def _merged(people: list[pl.DataFrame]) -> pl.DataFrame:
    return (
        pl.concat(people)
        .group_by("subject")
        .agg(
            pl.col("first", "birth", "death").min(),
            pl.col("death_precision", "sex").drop_nulls().first(),
        )
        .sort("subject")
    )


def _subjects(people: pl.DataFrame, zone: str) -> pl.DataFrame:
    def local_day(time: datetime) -> date:
        return time.astimezone(zone_named(zone)).date()

    days = [None if time is None else local_day(time) for time in people["birth"]]
    return conform(
        "subjects",
        people.with_columns(
            birth_date=pl.Series(days, dtype=pl.Date),
            sex=pl.col("sex")
            .str.strip_prefix(_GENDER)
            .str.to_uppercase()
            .replace_strict(_SEX, default="unknown", return_dtype=pl.String),
            row_id="subject",
            recorded="first",
            recorded_assumed=pl.lit(True),
        ),
    )
