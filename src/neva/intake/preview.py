"""A dry run: what the first rows of a file would become by a mapping.

It is an import like any other, into a hospital of its own that is deleted
afterwards; nothing is written into, or read from, the real one.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from neva.errors import MappingError, NevaError
from neva.events.hospital import Hospital, create_hospital
from neva.files.yaml_lines import Document
from neva.intake.importing import import_delivery
from neva.sources.csv.mapping import Mapping
from neva.sources.csv.source import open_csv
from neva.sources.guess.sample import sampled
from neva.sources.rows import Delivery

__all__ = [
    "CANNOT_BE_APPLIED",
    "LONGEST_MAPPING",
    "Preview",
    "PreviewEvent",
    "Refusal",
    "check_mapping_text",
    "opened",
    "preview",
]

LONGEST_MAPPING: Final = 100_000
_LONGEST_TEXT: Final = 5_000
_DEEPEST: Final = 20
_EVENTS_SHOWN: Final = 50
_ROWS_NAMED: Final = 20
_CODES_SHOWN: Final = 30
_WHAT: Final = "mapping.yaml"
#: Encodings of text; Python's codecs know others, some of which are none.
_ENCODINGS: Final = re.compile(
    r"ascii|utf-8(-sig)?|cp\d+|iso8859-\d+|koi8-[ru]|mac-\w+|latin-1|big5|gb\w+|shift_jis|euc_\w+"
)
#: What the reader of tables raises when a mapping asks for what cannot be done.
CANNOT_BE_APPLIED: Final = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    ValueError,
    TypeError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class PreviewEvent:
    """An event as it would be stored. `patient` counts from 1 in the order of the rows."""

    patient: int
    time: datetime | None
    code: str
    comparator: str | None
    value: float | None
    value_unit: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Rows refused for one reason.

    Attributes
    ----------
    table, field, reason : str
        `reason` is a key of :data:`neva.events.schema.REASONS`.
    count : int
    rows : tuple of int
        The first of them, counted from 1 without the header.
    """

    table: str
    field: str
    reason: str
    count: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What the first rows would become.

    Attributes
    ----------
    problem : str or None
        What is wrong with the mapping or file, with the line; then all else is empty.
    patients, rows : int
        Patients found, and rows read, in the sample.
    events : tuple of PreviewEvent
        The first fifty, in the order of the rows; values of patients' rows.
    counts : dict of str to dict of str to int
        For each table: rows ``read``, ``added``, ``known``, ``refused``, ...
    refusals : tuple of Refusal
    codes : tuple of (str, int)
        The most frequent.
    """

    problem: str | None = None
    patients: int = 0
    rows: int = 0
    events: tuple[PreviewEvent, ...] = field(default=(), repr=False)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    codes: tuple[tuple[str, int], ...] = ()


def _mapping_error(what: str, found: str, do: str, line: int | None = None) -> MappingError:
    where = _WHAT if line is None else f"{_WHAT}:{line}"
    return MappingError(f"{where}: {what}; found {found}; {do}")


def check_mapping_text(text: str) -> Mapping:
    """Check a mapping that somebody sends: its YAML first, then what it says.

    Aliases (a short text may stand for a huge one), deep nesting, very long texts and
    joins of other files are refused.

    Parameters
    ----------
    text : str

    Returns
    -------
    Mapping

    Raises
    ------
    MappingError
    """
    if len(text) > LONGEST_MAPPING:
        raise _mapping_error(
            "too long", f"{len(text):,} characters", f"at most {LONGEST_MAPPING:,}"
        )
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise _mapping_error("an alias", "*name", "write out what it stands for", line)
            if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
                raise _mapping_error("a tag", "!name", "write plain texts and numbers", line)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEEPEST:
                    raise _mapping_error(
                        "nested too deep", f"{depth} levels", "see docs/sources", line
                    )
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_TEXT:
                raise _mapping_error(
                    "a text too long", f"{len(event.value):,} characters", "cut it", line
                )
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _refuse_odd_keys(node)
        document = Document(_WHAT, text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise _mapping_error(
            "not YAML", "a mistake in how it is written", "mend it", line
        ) from None
    except ValueError:
        # A day such as 2024-02-30 is read as a date, and is none.
        raise _mapping_error(
            "not YAML", "a date or number that is none", "put it in quotes"
        ) from None
    mapping = document.read(Mapping)
    _refuse_elsewhere(document, mapping)
    return mapping


def _refuse_odd_keys(node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                raise _mapping_error(
                    "a key that is no text", "a list or table", "write a text", line
                )
            _refuse_odd_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_odd_keys(item)


def _refuse_elsewhere(document: Document, mapping: Mapping) -> None:
    """Refuse what would read other files, or other than text."""
    for number, table in enumerate(mapping.tables):
        if table.join:
            what = "one file is uploaded; found a join of another; use `neva import` for folders"
            raise document.error(("tables", number, "join"), what)
    try:
        name = codecs.lookup(mapping.encoding).name
    except (LookupError, ValueError):
        name = ""
    if not _ENCODINGS.fullmatch(name):
        what = "no such encoding; found another; write for example utf-8 or windows-1251"
        raise document.error(("encoding",), what)


@contextmanager
def opened(path: Path, mapping_yaml: str, *, zone: str) -> Iterator[Delivery]:
    """Open a file by the text of a mapping.

    Parameters
    ----------
    path : Path
    mapping_yaml : str
    zone : str

    Yields
    ------
    Delivery

    Raises
    ------
    MappingError
        It is wrong, or asks for what cannot be done with these columns.
    BadInputError
    """
    check_mapping_text(mapping_yaml)
    with tempfile.TemporaryDirectory(prefix="neva-mapping-") as folder:
        file = Path(folder) / _WHAT
        file.write_text(mapping_yaml, encoding="utf-8")
        try:
            yield open_csv(path, zone=zone, mapping=file)
        except CANNOT_BE_APPLIED as error:
            # The text of a foreign error may quote a cell: only its kind is told.
            raise MappingError(
                f"{_WHAT}: it cannot be applied to {path.name}; found {type(error).__name__} while "
                "reading; check formats of times, regular expressions, `separator` and `quote`"
            ) from None


def preview(
    path: Path, mapping_yaml: str, *, zone: str, rows: int = 2000, now: datetime | None = None
) -> Preview:
    """Say what the first rows of a file would become by a mapping.

    Parameters
    ----------
    path : Path
        The file.
    mapping_yaml : str
        The mapping's text.
    zone : str
        The hospital's time zone.
    rows : int
        So many rows are read, however long the file is.
    now : datetime, optional
        Aware: the time of the dry run; the present by default.

    Returns
    -------
    Preview
        Its `problem` says in words what is wrong where nothing could be read.

    Notes
    -----
    Patients' pseudonyms are those of the temporary hospital and say nothing in
    another. Rows beyond the first may still be refused at the import, and are
    then in quarantine.
    """
    now = now or datetime.now(UTC)
    try:
        mapping = check_mapping_text(mapping_yaml)
        with (
            sampled(path, rows, quote=mapping.quote) as sample,
            tempfile.TemporaryDirectory(prefix="neva-preview-") as folder,
            opened(sample, mapping_yaml, zone=zone) as delivery,
        ):
            hospital = create_hospital(Path(folder) / "hospital", zone=zone, now=now)
            summary = import_delivery(
                hospital, delivery, label=path.name, now=now, most_refused=None
            )
            return _preview_of_hospital(hospital, summary.counts)
    except NevaError as error:
        return Preview(problem=str(error))


def _preview_of_hospital(hospital: Hospital, counts: dict[str, dict[str, int]]) -> Preview:
    snapshot = hospital.snapshot()
    # The rows as stored, in the order of the file where it decides.
    events = snapshot.stored("events").sort("sequence", "time", "code", nulls_last=True).collect()
    numbers: dict[Any, int] = {}
    for subject in events["subject_id"]:
        numbers.setdefault(subject, len(numbers) + 1)
    shown = tuple(
        PreviewEvent(numbers[subject], *rest)
        for subject, *rest in events.head(_EVENTS_SHOWN)
        .select("subject_id", "time", "code", "comparator", "value", "value_unit", "text")
        .iter_rows()
    )
    refused = (
        snapshot.quarantine()
        .collect()
        .group_by("table", "field", "reason")
        .agg(pl.len().alias("count"), pl.col("row").drop_nulls().unique().sort().head(_ROWS_NAMED))
        .sort(["count", "table", "field", "reason"], descending=[True, False, False, False])
    )
    codes = events["code"].value_counts(sort=True).sort(["count", "code"], descending=[True, False])
    return Preview(
        patients=len(set(numbers) | set(_subjects(hospital))),
        # Each table is made of the same rows.
        rows=max((count.get("read", 0) for count in counts.values()), default=0),
        events=shown,
        counts=counts,
        refusals=tuple(
            Refusal(
                row["table"] or "events", row["field"] or "", row["reason"], row["count"],
                tuple(row["row"]),
            )
            for row in refused.iter_rows(named=True)
        ),
        codes=tuple(codes.head(_CODES_SHOWN).iter_rows()),
    )  # fmt: skip


def _subjects(hospital: Hospital) -> list[int]:
    snapshot = hospital.snapshot()
    found: set[int] = set()
    for table in ("subjects", "stays", "movements"):
        found |= set(snapshot.stored(table).select("subject_id").collect().to_series())
    return sorted(found)
