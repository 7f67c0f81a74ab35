"""Event logs in XES (IEEE 1849) as rows.

A trace becomes a subject and a stay, an event becomes an event. The file is
read in a stream by expat: nested attributes keep their path, a document type
declaration is refused, and only one trace is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal
from xml.parsers import expat

import polars as pl

from neva.errors import BadInputError, UsageError
from neva.events.clock import in_order, read_iso, zone_named
from neva.events.schema import TIME
from neva.files.opening import existing, is_zip, opened, opened_in_zip, stem_of
from neva.sources._frames import (
    BATCH,
    attributes_from_lists,
    new_codes,
    quarantined,
    system_name,
)
from neva.sources._times import event_end, repeated_hours
from neva.sources.rows import Delivery, Rows, conform
from neva.sources.xes_lifecycle import Lifecycles

__all__ = ["open_xes"]

_ATTRIBUTE_TAGS: Final = frozenset(
    ("string", "date", "int", "float", "boolean", "id", "list", "container")
)
#: Standard lifecycle model: what each transition says about the activity.
_STATUS_BY_TRANSITION: Final = {
    "schedule": "planned",
    "assign": "planned",
    "reassign": "planned",
    "withdraw": "cancelled",
    "ate_abort": "cancelled",
    "pi_abort": "cancelled",
    "autoskip": "not-done",
    "manualskip": "not-done",
}
#: Our own keys (written by the export): they fill columns of the event.
_OWN: Final = ("code", "value", "comparator", "unit", "text", "status", "reason", "rank")
_COLUMNS: Final = (
    "case",
    "subject",
    "trace",
    "position",
    "row",
    "is_timed",
    "name",
    "instance",
    "time_text",
    "start_text",
    "transition",
    "identity",
    "value_text",
    *_OWN,
    "precision_text",
    "recorded_text",
)
_NO_TEXT: Final = ("trace", "position", "row", "is_timed")
_CHUNK: Final = 1 << 18  # bytes
_ENDINGS: Final = (".xes", ".xes.gz")
#: Children of <log> in an object-centric log, and in no other.
_OBJECT_CENTRIC_TAGS: Final = frozenset(("object-types", "event-types", "objects", "events"))


def open_xes(
    path: Path | str,
    *,
    zone: str,
    mapping: Path | str | None = None,
    system: str | None = None,
    case: Literal["both", "stay", "subject"] = "both",
    subject: str | None = None,
    activity: str = "concept:name",
    value: str | None = None,
    name: str | None = None,
    assigner: str | None = None,
    batch: int = BATCH,
) -> Delivery:
    """Open an event log in XES 1.0 or 2.0, plain, gzipped or in a zip.

    Parameters
    ----------
    path : path
        A ``.xes`` or ``.xes.gz`` file, or a zip archive with one of them.
    zone : str
        IANA name of the zone of time stamps without offset.
    mapping : path, optional
        Not used by this source: its settings say everything.
    system : str, optional
        Code system of the activities. By default the log's ``concept:name``,
        else the file's name; in upper case.
    case : {"both", "stay", "subject"}
        What a trace is: a stay and its subject (one id), a stay of the subject
        that the trace attribute `subject` names, or a subject without stays.
    subject : str, optional
        Key of the trace attribute that holds the subject's id.
    activity : str
        Key of the event attribute that names the activity.
    value : str, optional
        Key of the event attribute that becomes the event's number.
    name, assigner : str, optional
        The logical source and who gave its ids; by default the file's name.
    batch : int
        Events per batch.

    Returns
    -------
    Delivery
        Tables ``events``, ``subjects``, ``stays``, ``codes`` and
        ``quarantine``. Order is ``position``: the place in the trace, from 0.

    Raises
    ------
    neva.errors.BadInputError
        The file is empty, damaged, not XML, no event log or an object-centric
        one, or declares a document type (which could make it read other
        files); an archive holds several logs, or needs a password.
    neva.errors.UsageError
        A setting or the zone is unknown.

    Notes
    -----
    ``recorded`` is the event's time, assumed: XES does not say when something
    was known. Defaults declared in ``<global>`` are not applied: they say what
    a missing mandatory attribute would mean, and a missing one is a fault of
    the log, not a value.
    """
    zone_named(zone)
    if mapping is not None:
        raise UsageError(
            f"--mapping: the xes source takes none, but settings; found {mapping}; write for "
            "example --set case=subject"
        )
    if case not in ("both", "stay", "subject"):
        raise UsageError(f"case: must be both, stay or subject; found {case!r}; choose one of them")
    if case == "stay" and subject is None:
        raise UsageError(
            "case: a trace that is a stay needs its subject; found no subject=; give the key of "
            "the trace's attribute with the patient's id"
        )
    file = existing(path)
    with _stream(file) as stream:  # an early word about empty and damaged files
        _refuse_objects(file, stream.read(_CHUNK))
    log = _Log(file, activity=activity, value=value, subject=subject)
    return Delivery(
        name=name or stem_of(file),
        assigner=assigner or name or stem_of(file),
        kind="xes",
        files=(file,),
        rows=_delivered_rows(
            log, zone=zone, system=system, has_stays=case != "subject", batch=batch
        ),
    )


@contextmanager
def _stream(file: Path) -> Iterator[BinaryIO]:
    if file.is_file() and is_zip(file):
        with opened_in_zip(file, _ENDINGS) as (_, stream):
            yield stream
    else:
        with opened(file) as stream:
            yield stream


def _object_centric(file: Path, form: str) -> BadInputError:
    return BadInputError(
        f"{file}: an event log must say of each event which case it belongs to; found an "
        f"object-centric log ({form}), which does not; choose the objects that are the cases, "
        "flatten the log by them, for example with pm4py.ocel_flattening, and import what that "
        "writes as XES or CSV"
    )


def _refuse_objects(file: Path, start: bytes) -> None:
    """Tell an object-centric log in JSON or SQLite, which is no XML, by its first bytes."""
    if start.startswith(b"SQLite format 3"):
        raise _object_centric(file, "a SQLite database, as of OCEL 2.0")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        for key, form in ((b'"objectTypes"', "2.0"), (b'"eventTypes"', "2.0"), (b'"ocel:', "1.0")):
            if key in start:
                raise _object_centric(file, f"OCEL {form}, JSON")
        raise BadInputError(
            f"{file}: an event log in XES is XML; found JSON; export the log as XES, or import it "
            "through another source"
        )


class _Log:
    """The reading of one file: expat's callbacks and the columns they fill."""

    def __init__(
        self, file: Path, *, activity: str, value: str | None, subject: str | None
    ) -> None:
        self.file = file
        self.log: dict[str, str] = {}
        self.events_in_case: dict[str, int] = {}
        self._activity, self._value, self._subject = activity, value, subject
        self._path: list[str] = []
        self._depth = 0
        self._ignored = 0
        self._traces = 0
        self._row = 0
        self._target: dict[str, str] = self.log
        self._trace: dict[str, str] = {}
        self._events: list[dict[str, str]] = []
        self.clear()

    def clear(self) -> None:
        self.columns: dict[str, list[Any]] = {column: [] for column in _COLUMNS}
        self.counts: list[int] = []
        self.keys: list[str] = []
        self.values: list[str] = []

    def batches(self, size: int) -> Iterator[None]:
        """Read on; stop at every batch of about `size` events and at the end."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            with _stream(self.file) as stream:
                while chunk := stream.read(_CHUNK):
                    parser.Parse(chunk, False)
                    if len(self.counts) >= size:
                        yield
                        self.clear()
                parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise BadInputError(
                f"{self.file}: line {error.lineno}: not well-formed XML; found "
                f"{expat.errors.messages[error.code]}; export the log again"
            ) from error
        except (LookupError, ValueError) as error:
            raise BadInputError(
                f"{self.file}: the text cannot be read; found an encoding that is not known; "
                "save the log as UTF-8"
            ) from error
        yield

    def _refuse_doctype(self, *_: object) -> None:
        raise BadInputError(
            f"{self.file}: a document type could make the reader open other files or fill the "
            "memory; found <!DOCTYPE ...>, which no event log needs; remove it"
        )

    def _start(self, tag: str, given: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        self._depth += 1
        if self._depth == 1 and tag != "log":
            raise BadInputError(
                f"{self.file}: the root element must be <log>; found <{tag[:40]}>; "
                "choose an XES file"
            )
        if self._depth == 2 and tag in _OBJECT_CENTRIC_TAGS:
            raise _object_centric(self.file, "OCEL, XML")
        if self._ignored:
            self._ignored += 1
        elif tag in _ATTRIBUTE_TAGS:
            key = given.get("key", "")
            if self._path:
                key = f"{self._path[-1]}/{key}"
            self._path.append(key)
            text = given.get("value")
            if text is not None:
                if key in self._target:
                    # A list may hold the same key many times; a map may not.
                    place = 2
                    while f"{key}#{place}" in self._target:
                        place += 1
                    key = f"{key}#{place}"
                self._target[key] = text
        elif tag == "event":
            self._target = {}
            self._events.append(self._target)
        elif tag == "trace":
            self._target = self._trace = {}
            self._events = []
        elif tag not in ("log", "values"):
            self._ignored = 1  # extension, global, classifier

    def _end(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        self._depth -= 1
        if self._ignored:
            self._ignored -= 1
        elif tag in _ATTRIBUTE_TAGS:
            self._path.pop()
        elif tag == "event":
            self._target = self._trace
        elif tag == "trace":
            self._end_trace()
            self._target = self.log

    def _end_trace(self) -> None:
        self._traces += 1
        trace = self._trace
        case = trace.pop("concept:name", None) or f"trace-{self._traces}"
        # Our own export names the subject of a stay.
        own = trace.pop("neva:subject", None)
        subject = trace.get(self._subject) if self._subject else own or case
        is_timed = any("time:timestamp" in e or "start_timestamp" in e for e in self._events)
        first = self.events_in_case.get(case, 0)
        self.events_in_case[case] = first + len(self._events)
        add = {column: values.append for column, values in self.columns.items()}
        for position, event in enumerate(self._events, first):
            self._row += 1
            add["case"](case)
            add["subject"](subject)
            add["trace"](self._traces)
            add["instance"](event.get("concept:instance"))
            add["position"](position)
            add["row"](self._row)
            add["is_timed"](is_timed)
            add["value_text"](event.get(self._value) if self._value else None)
            add["name"](event.pop(self._activity, None))
            add["time_text"](event.pop("time:timestamp", None))
            add["start_text"](event.pop("start_timestamp", None))
            add["transition"](event.get("lifecycle:transition"))
            add["identity"](event.pop("neva:id", None) or event.pop("identity:id", None))
            for column in _OWN:
                add[column](event.pop(f"neva:{column}", None))
            add["precision_text"](event.pop("neva:precision", None))
            add["recorded_text"](event.pop("neva:recorded", None))
            if position == first and trace:
                event.update((f"case:{key}", text) for key, text in trace.items())
            self.counts.append(len(event))
            self.keys.extend(event)
            self.values.extend(event.values())
        self._events = []
        self._trace = {}


def _delivered_rows(
    log: _Log, *, zone: str, system: str | None, has_stays: bool, batch: int
) -> Iterator[Rows]:
    known_codes: set[str] = set()
    known_subjects: set[str] = set()
    stays: list[pl.DataFrame] = []
    lifecycles = Lifecycles()
    for _ in log.batches(batch):
        if not log.counts:
            continue
        prefix = system_name(system or log.log.get("concept:name") or stem_of(log.file))
        events = _events(log, zone, prefix or "XES", has_stays=has_stays)
        refused = events.filter(pl.col("refused").is_not_null())
        events = events.filter(pl.col("refused").is_null())
        warned = [_repeated(events, zone)]
        events, unpaired = lifecycles.joined(events, zone)
        warned.append(unpaired)
        if has_stays:
            stays.append(_trace_stays(events))
        subjects = events.group_by("subject", maintain_order=True).agg(
            pl.col("time").min().alias("recorded"), pl.col("file").first()
        )
        subjects = subjects.filter(~pl.col("subject").is_in(known_subjects))
        known_subjects.update(subjects["subject"])
        subjects = subjects.with_columns(recorded_assumed=pl.lit(True))
        yield Rows("subjects", conform("subjects", subjects), origin="trace")
        codes = dict(events.select("code", "name").unique("code").sort("code").iter_rows())
        described = new_codes(codes, known_codes, file=log.file.name)
        if described is not None:
            yield Rows("codes", described, origin="event")
        yield Rows("events", conform("events", events), origin="event")
        if refused.height:
            yield Rows(
                "quarantine",
                quarantined(refused.with_columns(reason="refused"), table="events"),
                origin="event",
            )
        doubts = pl.concat(warned)
        if doubts.height:
            yield Rows("warnings", doubts, origin="event")
    if stays:
        # A trace name may come twice, so stays are known only at the end.
        merged = (
            pl.concat(stays)
            .group_by("stay", maintain_order=True)
            .agg(
                pl.col("subject", "precision", "file").first(),
                pl.col("start").min(),
                pl.col("end").max(),
            )
            .with_columns(row_id="stay", recorded="start", recorded_assumed=pl.lit(True))
        )
        yield Rows("stays", conform("stays", merged), origin="trace")


def _events(log: _Log, zone: str, system: str, *, has_stays: bool) -> pl.DataFrame:
    """Give one batch its columns; ``refused`` is the reason why a row is not taken."""
    text_columns = {
        name: pl.Series(values, dtype=pl.String)
        for name, values in log.columns.items()
        if name not in _NO_TEXT
    }
    frame = pl.DataFrame(
        {
            **text_columns,
            **{name: log.columns[name] for name in _NO_TEXT},
            "attributes": attributes_from_lists(log.counts, log.keys, log.values),
        }
    )
    start, stamp = frame["start_text"], frame["time_text"]
    begin = pl.select(pl.coalesce(start, stamp)).to_series()
    finish = pl.select(pl.when(start.is_not_null()).then(stamp)).to_series()
    begun, ended = read_iso(begin, zone), read_iso(finish, zone)
    value_text = pl.coalesce("value", "value_text")
    return (
        frame.with_columns(
            begin=begun,
            finish=ended,
            known=read_iso(frame["recorded_text"], zone),
            # Such an event has its start and end already, or was ours.
            is_whole=pl.col("start_text").is_not_null() | pl.col("code").is_not_null(),
            number=value_text.cast(pl.Float64, strict=False),
            value_text=value_text,
        )
        .with_columns(
            time=pl.Series(
                in_order(
                    begun.struct.field("time"),
                    begin,
                    zone,
                    whose=frame["case"],
                    order=frame["position"],
                )
            ),
            end_time=event_end(
                ended.struct.field("time"),
                ended.struct.field("precision"),
                begun.struct.field("precision"),
                zone,
            ),
            precision=pl.when("is_timed")
            .then(
                pl.coalesce(
                    "precision_text", pl.col("begin").struct.field("precision"), pl.lit("instant")
                )
            )
            .otherwise(pl.lit("none")),
            code=pl.coalesce("code", pl.lit(f"{system}//") + pl.col("name")),
            status=pl.coalesce(
                "status",
                pl.col("transition")
                .str.to_lowercase()
                .replace_strict(_STATUS_BY_TRANSITION, default="done")
                .fill_null("done"),
            ),
            rank=pl.col("rank").cast(pl.Int32, strict=False),
            stay=pl.col("case") if has_stays else pl.lit(None, pl.String),
            sequence=pl.col("position"),
            row_id=pl.coalesce("identity", pl.format("{}/{}", "position", "case")),
            file=pl.lit(log.file.name),
            value_unit="unit",
            value="number",
        )
        .with_columns(
            recorded=pl.coalesce(pl.col("known").struct.field("time"), "time"),
            recorded_assumed=pl.col("known").struct.field("time").is_null(),
            refused=pl.coalesce(
                pl.when(pl.col("subject").is_null() | (pl.col("subject") == "")).then(
                    pl.lit("subject-missing")
                ),
                pl.when(pl.col("code").is_null() | (pl.col("name") == "")).then(
                    pl.lit("code-missing")
                ),
                pl.col("begin").struct.field("reason"),
                pl.col("finish").struct.field("reason"),
                pl.when(
                    pl.col("is_timed") & pl.col("time").is_null() & (pl.col("precision") != "none")
                ).then(pl.lit("time-missing")),
                pl.when(pl.col("value_text").is_not_null() & pl.col("number").is_null()).then(
                    pl.lit("value-unreadable")
                ),
            ),
        )
        .with_columns(
            field=pl.col("refused").replace_strict(
                {
                    "subject-missing": "concept:name of the trace",
                    "code-missing": "concept:name",
                    "value-unreadable": "value",
                },
                default="time:timestamp",
            )
        )
    )


def _repeated(events: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Warn of times in an hour that the clock showed twice."""
    begun = events.select(pl.coalesce("start_text", "time_text")).to_series()
    ended = events.select(pl.when(pl.col("start_text").is_not_null()).then("time_text")).to_series()
    return pl.concat(
        repeated_hours(
            events,
            zone,
            table="events",
            field=field,
            time=time,
            written=written,
            precision=events[moment].struct.field("precision"),
        )
        for field, time, written, moment in (
            ("time:timestamp", events["time"], begun, "begin"),
            ("time:timestamp", events["end_time"], ended, "finish"),
        )
    ).unique(maintain_order=True)


def _trace_stays(events: pl.DataFrame) -> pl.DataFrame:
    """One row per trace that has times: from its first to its last."""
    return (
        events.filter(pl.col("time").is_not_null())
        .group_by("stay", maintain_order=True)
        .agg(
            pl.col("subject", "file").first(),
            pl.col("time").min().alias("start"),
            pl.max_horizontal("time", pl.coalesce("end_time", "time")).max().alias("end"),
            pl.when((pl.col("precision") == "day").any())
            .then(pl.lit("day"))
            .otherwise(pl.lit("instant"))
            .first()
            .alias("precision"),
        )
        .cast({"start": TIME, "end": TIME})
    )
