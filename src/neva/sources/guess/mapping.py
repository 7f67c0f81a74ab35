"""A first mapping for an unknown table, to be read and changed by a person.

What can be said with some certainty from the names and values of the columns
is written down; what cannot is left out, and a comment says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from neva.errors import BadInputError
from neva.sources.csv import files as csv_files
from neva.sources.csv.mapping import Mapping
from neva.sources.guess.columns import (
    MOST_OF,
    ColumnLook,
    ColumnValues,
    decimal_of,
    encoding_of,
    is_id_name,
    names_say,
    plain_name,
    separator_of,
    values_of,
)
from neva.sources.guess.sample import IS_TABLE_OF_TYPES, sampled
from neva.sources.guess.writing import Guess, written

__all__ = ["ROWS_READ", "GuessedMapping", "guess_mapping"]

#: Of a file, so many rows are looked at.
ROWS_READ: Final = 5_000
MOST_COLUMNS: Final = 1_000
_TIMES: Final = ("time", "end-time", "admission", "discharge", "recorded", "birth")
_ONE_OF: Final = (
    "patient", "stay", "row-id", "order", "unit", "value-unit", "code", "value", "text", "sex",
    *_TIMES,
)  # fmt: skip
_HOURS: Final = ("hour", "hour of day", "час", "stunde")
_CALENDAR: Final = (
    "year", "quarter", "month", "day", "weekday", *_HOURS, "год", "месяц", "день", "jahr", "monat",
)  # fmt: skip
_MISSING: Final = ("NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-", "—", "нет данных")
_NUMBERED_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class GuessedMapping:
    """What a table seems to be.

    Attributes
    ----------
    yaml : str
        A mapping that :func:`neva.sources.csv.source.open_csv` reads, with comments
        about what is assumed.
    columns : tuple of ColumnLook
        In the order of the file.
    rows : int
        So many were read.
    """

    yaml: str
    columns: tuple[ColumnLook, ...]
    rows: int


def _stub(name: str, **more: Any) -> Mapping:
    return Mapping.model_validate(
        {"neva": 1, "name": name, "tables": [{"recorded": {"after": "time"}}], **more}
    )


def _first_rows(path: Path, name: str) -> tuple[Mapping, pl.DataFrame]:
    """Read the first rows, and how the file is written."""
    with sampled(path, ROWS_READ) as sample:
        if path.suffix in IS_TABLE_OF_TYPES:
            mapping = _stub(name)
        else:
            content = sample.read_bytes()
            encoding = encoding_of(content)
            sign = separator_of(content.decode(encoding, "replace").removeprefix("\ufeff"))
            mapping = _stub(name, encoding=encoding, separator=sign)
        frame = next(csv_files.batches(sample, mapping), None)
        if frame is None or not frame.height:
            message = f"{path.name}: no rows; found a header at most; export it with its rows"
            raise BadInputError(message)
        frame = frame.head(ROWS_READ).drop("_row")
    if frame.width > MOST_COLUMNS:
        message = (
            f"{path.name}: too wide; found {frame.width:,} columns; give a table with at most "
            f"{MOST_COLUMNS:,}, or one row for each measurement"
        )
        raise BadInputError(message)
    return mapping.model_copy(update={"decimal": decimal_of(frame)}), frame


def _unusable(names: list[str]) -> set[str]:
    """Names that stand twice in the header, or are no names."""
    twice = {name.rpartition("_duplicated_")[0] for name in names if "_duplicated_" in name}
    return {
        name
        for name in names
        if not name.strip() or name in twice or name.rpartition("_duplicated_")[0] in twice - {""}
    }


def _believed(named: str | None, values: ColumnValues) -> str | None:
    """Return what the name says, where the values do not speak against it."""
    if named == "value" and values.numbers < 0.5:
        return "text"
    fractions = values.numbers >= MOST_OF and not values.whole
    is_order = values.numbers == 1.0 and values.whole and values.filled == 1.0
    speaks_against = (
        named in _TIMES
        or (named in ("code", "patient", "stay") and fractions)
        or (named == "order" and not is_order)
    )
    return None if speaks_against else named


def _first_look(name: str, values: ColumnValues) -> tuple[str, str]:
    """Say what one column looks like by itself."""
    named, _ = names_say(name)
    if not values.filled:
        return "empty", "empty"
    if values.formats is not None:
        return (named, "name-and-values") if named in _TIMES and named else ("time", "times")
    if (believed := _believed(named, values)) is not None:
        return believed, "name"
    if values.numbers >= MOST_OF and not is_id_name(name) and plain_name(name) not in _CALENDAR:
        return "measurement", "numbers"
    return ("text", "words") if values.length > 40 else ("attribute", "nothing")


class _Table:
    """The columns of one table, and what they are taken for."""

    def __init__(self, mapping: Mapping, frame: pl.DataFrame, zone: str) -> None:
        self.mapping, self.frame = mapping, frame
        self.bad = _unusable(frame.columns)
        self.values = {
            name: values_of(frame, name, mapping, zone) for name in frame.columns if name
        }
        self.looks = {
            name: ("empty", "twice") if name in self.bad else _first_look(name, self.values[name])
            for name in frame.columns
        }

    def of(self, look: str) -> list[str]:
        """Columns that look so, in the order of the file."""
        return [name for name, (found, _) in self.looks.items() if found == look]

    def one(self, look: str) -> str | None:
        """Return the column that looks so."""
        found = self.of(look)
        return found[0] if found else None

    def settle(self) -> None:
        """Leave one column of each kind, and make up what no name says."""
        if len(self.of("unit")) and self.one("value") and not self.one("value-unit"):
            for name in self.of("unit"):
                if plain_name(name) == "unit":
                    self.looks[name] = ("value-unit", "name")
        for look in _ONE_OF:
            ranked = sorted(self.of(look), key=lambda name: names_say(name)[1])
            for name in ranked[1:]:
                why = "times" if look in _TIMES else "nothing"
                self.looks[name] = ("attribute", why)
        row_id = self.one("row-id")
        if row_id and self.values[row_id].distinct < self.frame.height:
            self.looks[row_id] = ("attribute", "nothing")
        self._ids()
        self._states()
        self._codes()
        self._measurements()

    def _ids(self) -> None:
        if self.one("patient") or self.one("stay"):
            return
        ids = [
            name
            for name in (*self.of("attribute"), *self.of("row-id"))
            if is_id_name(name) and not (self.values[name].numbers and not self.values[name].whole)
        ]
        if len(ids) == 1:
            self.looks[ids[0]] = ("patient", "only-id")

    def _states(self) -> None:
        stems: dict[str, list[str]] = {}
        for name in self.of("measurement") + self.of("attribute"):
            stem = name.rstrip("0123456789")
            if stem and stem != name:
                stems.setdefault(stem, []).append(name)
        for stem, names in stems.items():
            numbers = {int(name.removeprefix(stem)[:9]) for name in names}
            # One after the other: "Interleukin 6" and "Interleukin 8" are no states.
            if any(numbers.issuperset(range(one, one + _NUMBERED_COLUMNS)) for one in numbers):
                self.looks |= dict.fromkeys(names, ("attribute", "states"))

    def _codes(self) -> None:
        code = self.one("code")
        if code is None and not self.of("measurement"):
            some = [
                name
                for name in self.of("attribute")
                if self.values[name].numbers < 0.5
                and 2 < self.values[name].distinct <= max(self.frame.height // 5, 20)
                and not is_id_name(name)
                and not self.is_constant(name)
                and self.looks[name][1] == "nothing"
            ]
            if len(some) == 1:
                code = some[0]
                self.looks[code] = ("code", "repeats")
        if code is None or self.one("value"):
            return
        codes_seen = {
            text.strip().casefold() for text in self.frame[code].drop_nulls().cast(pl.String)
        }
        for name in self.of("measurement"):
            if name.strip().casefold() in codes_seen:
                self.looks[name] = ("value", "code-name")

    def _measurements(self) -> None:
        has_states = any(why == "states" for _, why in self.looks.values())
        for name in self.of("measurement"):
            values = self.values[name]
            if self.one("code") or self.one("value") or has_states:
                self.looks[name] = ("attribute", "nothing")
            elif self.is_constant(name):
                self.looks[name] = ("attribute", "constant")
            elif values.distinct < 3 and values.filled > 0.9:
                self.looks[name] = ("attribute", "nothing")

    def is_constant(self, name: str) -> bool:
        """Whether a column does not change within a patient who has several rows."""
        subject = self.one("patient") or self.one("stay")
        if subject is None:
            return False
        held = self.frame.select(
            s=pl.col(subject).forward_fill() if self.is_sparse(subject) else pl.col(subject),
            v=pl.col(name).cast(pl.String),
        ).drop_nulls()
        kinds = held.group_by("s").agg(pl.col("v").n_unique(), pl.len())
        return bool(kinds.height) and bool((kinds["len"] > 1).any() and not (kinds["v"] > 1).any())

    def is_sparse(self, name: str) -> bool:
        """Whether a column is written only where it changes."""
        return self.values[name].filled < 0.5 and self.frame[name][0] is not None

    def missing(self) -> list[str]:
        """Texts that mean missing: only where numbers or times stand, and in no id."""
        texts = [name for name in self.frame.columns if self.frame[name].dtype == pl.String]
        ids = {name for look in ("patient", "stay", "row-id", "code") for name in self.of(look)}
        found = []
        for word in _MISSING:
            where = [name for name in texts if (self.frame[name] == word).any()]
            if (
                where
                and not ids.intersection(where)
                and any(
                    self.values[name].numbers > 0.3 or self.values[name].formats is not None
                    for name in where
                )
            ):
                found.append(word)
        return found

    def hours(self) -> str | None:
        """Return the column with the hour of the day, beside a column with the date."""
        time = self.one("time")
        if time is None or self.frame[time].dtype != pl.String:
            return None
        longest: Any = self.frame[time].str.len_chars().max()
        for name in self.frame.columns:
            if plain_name(name) in _HOURS and longest is not None and longest <= 10:
                hours = self.frame[name].cast(pl.Int64, strict=False)
                if hours.null_count() == 0 and hours.is_between(0, 23).all():
                    return name
        return None


def _words_missing(table: _Table, zone: str, missing: list[str]) -> _Table:
    """Look again with the words for missing read as missing."""
    texts = pl.col(pl.String)
    frame = table.frame.with_columns(pl.when(~texts.is_in(missing)).then(texts).name.keep())
    mapping = table.mapping.model_copy(update={"missing": ["", *missing]})
    again = _Table(mapping, frame, zone)
    again.settle()
    return again


def guess_mapping(
    path: Path, *, zone: str, name: str, assigners: Sequence[str] = ()
) -> GuessedMapping:
    """Guess what the columns of a table are, from its first rows.

    Parameters
    ----------
    path : Path
        CSV (plain or gzip), Excel or Parquet.
    zone : str
        The zone in which times without offset are read.
    name : str
        Name of the source: small letters, digits and hyphens.
    assigners : sequence of str
        Who gives patients' ids in the hospital so far; named in a comment. That
        ids of this table are theirs is never assumed: two persons would become one.

    Returns
    -------
    GuessedMapping

    Raises
    ------
    BadInputError
        The file is no table, or has no rows.

    Notes
    -----
    It is a proposal. It does not know codes of a terminology, does not join
    files, and takes nothing for the time of recording but a column whose name
    says so: otherwise rows count as known at their own time, which is an
    assumption and written down as one.
    """
    mapping, frame = _first_rows(path, name)
    table = _Table(mapping, frame, zone)
    table.settle()
    missing = table.missing()
    if missing:
        table = _words_missing(table, zone, missing)
    hours = table.hours()
    if hours is not None:
        table.looks[hours] = ("time", "hours")
    columns = tuple(
        ColumnLook(
            name=column,
            filled=values.filled if values else 0.0,
            distinct=values.distinct if values else 0,
            looks=table.looks[column][0],
            why=table.looks[column][1],
            examples=_examples(table.frame[column]),
        )
        for column in frame.columns
        for values in (table.values.get(column),)
    )
    looks = {one: [look.name for look in columns if look.looks == one] for one in _ONE_OF}
    subject = table.one("patient") or table.one("stay")
    guess = Guess(
        name=name,
        mapping=table.mapping,
        frame=table.frame,
        values=table.values,
        columns=looks,
        measurements=table.of("measurement"),
        attributes=table.of("attribute"),
        states=[one for one in table.of("attribute") if table.looks[one][1] == "states"],
        fill_down=[subject] if subject and table.is_sparse(subject) else [],
        hours=hours,
        unusable=sorted(table.bad),
        is_text=path.suffix not in IS_TABLE_OF_TYPES,
        assigners=assigners,
    )
    return GuessedMapping(written(guess), columns, frame.height)


def _examples(column: pl.Series) -> tuple[str, ...]:
    found = column.drop_nulls().unique(maintain_order=True).head(3).cast(pl.String)
    return tuple(text[:60] for text in found)
