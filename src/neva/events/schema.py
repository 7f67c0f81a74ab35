"""The tables of a hospital: their columns and types.

Two families of schemas stand here, and every other module takes them from
here: the tables as *stored* (``TABLES``) and the rows as a source *delivers*
them (``ROWS``), with local ids still as text. The import (``events.intake``)
turns the second into the first.

Types are Polars types. All times are UTC with microseconds. A column whose
name ends a ``?`` in the comments may be missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import polars as pl

__all__ = [
    "ATTRIBUTES",
    "CODINGS",
    "EVENT_ROW",
    "KEYS",
    "OPEN_END",
    "ORDER",
    "PRECISIONS",
    "REASONS",
    "RETRACTIONS",
    "ROWS",
    "STATUSES",
    "TABLES",
    "TIME",
    "Columns",
    "attribute",
    "other_codes",
]

#: The end of what is said to be going on: later than any end that is known.
OPEN_END: Final = datetime(9999, 1, 1, tzinfo=UTC)

TIME: Final = pl.Datetime("us", "UTC")
#: A map of text to text; stored as Parquet MAP, read by Polars as this list.
ATTRIBUTES: Final = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
#: Attributes that hold the codes beside an event's own: other systems' words for the
#: same thing. What asks for one of them finds the event.
CODINGS: Final = tuple(f"coding.{place}" for place in range(2, 10))

#: ``none``: the order is known (``sequence``), the time is not.
PRECISIONS: Final = ("instant", "minute", "day", "none")
STATUSES: Final = ("done", "planned", "not-done", "cancelled")

#: The total order of events of one subject. ``code`` and ``value`` matter only
#: where the source gave no order (equal ``sequence``); ``event_id`` ends ties.
ORDER: Final = ("time", "sequence", "code", "value", "event_id")

#: Column names and types of one table.
Columns = dict[str, pl.DataType | type[pl.DataType]]

_BOOKKEEPING: Final[Columns] = {
    "recorded": TIME,
    "recorded_assumed": pl.Boolean,
    "retracted": TIME,  # ?
    "batch": pl.Int64,
}

TABLES: Final[dict[str, Columns]] = {
    "events": {
        "event_id": pl.Int64,
        "subject_id": pl.Int64,
        "stay_id": pl.Int64,  # ?
        "time": TIME,  # ? only with precision "none"
        "end_time": TIME,  # ?
        "precision": pl.String,
        "recorded": TIME,
        "recorded_assumed": pl.Boolean,
        "retracted": TIME,  # ?
        "code": pl.String,
        "value": pl.Float64,  # ? finite
        "comparator": pl.String,  # ?
        "value_unit": pl.String,  # ? UCUM
        "text": pl.String,  # ?
        "status": pl.String,
        "reason": pl.String,  # ? a code
        "rank": pl.Int32,  # ?
        "attributes": ATTRIBUTES,  # ?
        "sequence": pl.Int64,
        "batch": pl.Int64,
    },
    "subjects": {
        "subject_id": pl.Int64,
        "birth_date": pl.Date,  # ?
        "sex": pl.String,  # ? female, male, other, unknown
        "death": TIME,  # ?
        "death_precision": pl.String,  # ?
        **_BOOKKEEPING,
    },
    "stays": {
        "stay_id": pl.Int64,
        "subject_id": pl.Int64,
        "start": TIME,
        "end": TIME,  # ? open
        "precision": pl.String,
        "kind": pl.String,  # ? emergency, inpatient, day, outpatient, virtual
        "source": pl.String,  # ? where from
        "outcome": pl.String,  # ? where to
        **_BOOKKEEPING,
    },
    "movements": {
        "movement_id": pl.Int64,
        "stay_id": pl.Int64,  # ?
        "subject_id": pl.Int64,
        "start": TIME,
        "end": TIME,  # ? open
        "precision": pl.String,
        "unit": pl.String,  # ?
        "bed": pl.String,  # ?
        **_BOOKKEEPING,
    },
    "units": {
        "unit": pl.String,
        "name": pl.String,  # ?
        "parent": pl.String,  # ?
        "kind": pl.String,  # ? ward, ed, icu, theatre, ...
        "specialty": pl.String,  # ?
        **_BOOKKEEPING,
    },
    "beds": {
        "unit": pl.String,
        "bed": pl.String,
        "start": TIME,
        "end": TIME,  # ?
        "state": pl.String,  # open, staffed, closed
        "side_room": pl.Boolean,  # ?
        "isolation": pl.Boolean,  # ?
        "sex": pl.String,  # ?
        **_BOOKKEEPING,
    },
    "codes": {
        "code": pl.String,
        "description": pl.String,  # ?
        "parents": pl.List(pl.String),  # ?
        "molar_mass": pl.Float64,  # ? g/mol
        "value_unit": pl.String,  # ? the canonical UCUM unit of its values
        **_BOOKKEEPING,
    },
    "quarantine": {
        "batch": pl.Int64,
        "file": pl.String,
        "row": pl.Int64,  # ? counted from 1, the header not counted
        "table": pl.String,
        "field": pl.String,  # ?
        "reason": pl.String,  # one of REASONS
    },
    # Rows that were taken, though something about them is in doubt.
    "warnings": {
        "batch": pl.Int64,
        "file": pl.String,
        "row": pl.Int64,  # ? counted from 1, the header not counted
        "table": pl.String,
        "field": pl.String,  # ?
        "reason": pl.String,  # one of WARNINGS
    },
    "batches": {
        "batch": pl.Int64,
        "source": pl.String,
        "kind": pl.String,  # csv, xes, omop, fhir, meds, synthetic
        "file": pl.String,
        "sha256": pl.String,
        "bytes": pl.Int64,
        "mapping": pl.String,  # ? its content, as JSON
        "imported": TIME,
        "replaces": pl.Int64,  # ? the batch that this one replaced
        "rows_read": pl.Int64,
        "rows_added": pl.Int64,
        "rows_known": pl.Int64,
        "rows_revised": pl.Int64,
        "rows_retracted": pl.Int64,
        "rows_refused": pl.Int64,
        "order": pl.String,  # column, position, none
    },
    # Every message of a live feed: what became of it. A later row of a position counts.
    "messages": {
        "feed": pl.String,
        "position": pl.Int64,  # its place in the feed's inbox
        "sender": pl.String,
        "type": pl.String,  # ADT^A01
        "control": pl.Int64,  # hash of sender and control id
        "content": pl.Int64,  # hash of its bytes
        "sent": TIME,  # ?
        "arrived": TIME,
        "outcome": pl.String,  # applied, duplicate, ignored, refused
        "reason": pl.String,  # ?
        "field": pl.String,  # ?
        "batch": pl.Int64,
    },
    # What messages of a live feed say of persons and stays: the statements from which
    # subjects, stays and movements follow. '""' in a text deletes it.
    "patient_messages": {
        "message_id": pl.Int64,
        "subject_id": pl.Int64,  # as the message named the patient, before any merge
        "stay_id": pl.Int64,  # ?
        "from_subject_id": pl.Int64,  # ? the record that is merged into this one
        "from_stay_id": pl.Int64,  # ? the visit that is merged into this one
        "event": pl.String,  # A01
        "time": TIME,
        "precision": pl.String,
        "recorded": TIME,
        "position": pl.Int64,
        "unit": pl.String,  # ?
        "bed": pl.String,  # ?
        "prior_unit": pl.String,  # ?
        "prior_bed": pl.String,  # ?
        "kind": pl.String,  # ?
        "source": pl.String,  # ?
        "outcome": pl.String,  # ?
        "start": TIME,  # ? of the stay
        "start_precision": pl.String,  # ?
        "end": TIME,  # ?
        "end_precision": pl.String,  # ?
        "birth_date": pl.String,  # ? ISO 8601
        "sex": pl.String,  # ?
        "death": pl.String,  # ? ISO 8601
        "death_precision": pl.String,  # ?
        "batch": pl.Int64,
    },
    # What is in doubt of messages that were taken: never a patient's value.
    "message_doubts": {
        "feed": pl.String,
        "type": pl.String,
        "reason": pl.String,
        "about": pl.String,  # a code system, a class, a segment
        "number": pl.Int64,
        "last": pl.Int64,  # position of the last one
        "batch": pl.Int64,
    },
    # What is in doubt of stays, by all that was told of each. The last row of a stay, reason and
    # thing counts.
    "stay_doubts": {
        "feed": pl.String,
        "stay_id": pl.Int64,
        "reason": pl.String,
        "about": pl.String,  # A13
        "is_open": pl.Boolean,  # false: a later message resolved it
        "batch": pl.Int64,
    },
    "definitions": {
        "definition": pl.String,
        "version": pl.String,
        "hash": pl.String,
        "content": pl.String,  # JSON
        "used": TIME,
    },
}

#: What identifies the thing that a row of an append-only table describes.
KEYS: Final = {
    "events": ("event_id",),
    "subjects": ("subject_id",),
    "stays": ("stay_id",),
    "movements": ("movement_id",),
    "units": ("unit",),
    "beds": ("unit", "bed", "start"),
    "codes": ("code",),
}

#: What names one stored row of the events: an event has one for each of its states.
EVENT_ROW: Final = ("event_id", "batch", "recorded")
#: When stored rows of events end.
RETRACTIONS: Final[Columns] = {
    "event_id": pl.Int64,
    "batch": pl.Int64,
    "recorded": TIME,
    "retracted": TIME,
}

# What every delivered row may say about itself beside its content.
_DELIVERED: Final[Columns] = {
    "row_id": pl.String,  # ? the source's own id, unique in its table
    "recorded": TIME,  # ? missing: the import time, assumed
    "recorded_assumed": pl.Boolean,  # ? missing: true where recorded is missing
    "retracted": TIME,  # ?
    "file": pl.String,
    "row": pl.Int64,  # ?
}

#: Rows as a source delivers them. A source may leave out any column that it
#: has nothing for; the intake adds it as missing.
ROWS: Final[dict[str, Columns]] = {
    "events": {
        "subject": pl.String,
        "stay": pl.String,  # ?
        "time": TIME,
        "end_time": TIME,  # ?
        "precision": pl.String,  # ? missing: instant
        "code": pl.String,
        "value": pl.Float64,  # ?
        "comparator": pl.String,  # ?
        "value_unit": pl.String,  # ?
        "text": pl.String,  # ?
        "status": pl.String,  # ? missing: done
        "reason": pl.String,  # ?
        "rank": pl.Int32,  # ?
        "attributes": ATTRIBUTES,  # ?
        "sequence": pl.Int64,  # ? missing: 0
        **_DELIVERED,
    },
    "subjects": {
        "subject": pl.String,
        "birth_date": pl.Date,
        "sex": pl.String,
        "death": TIME,
        "death_precision": pl.String,
        **_DELIVERED,
    },
    "stays": {
        "stay": pl.String,
        "subject": pl.String,
        "start": TIME,
        "end": TIME,
        "precision": pl.String,
        "kind": pl.String,
        "source": pl.String,
        "outcome": pl.String,
        **_DELIVERED,
    },
    "movements": {
        "stay": pl.String,
        "subject": pl.String,
        "start": TIME,
        "end": TIME,
        "precision": pl.String,
        "unit": pl.String,
        "bed": pl.String,
        **_DELIVERED,
    },
    "units": {
        "unit": pl.String,
        "name": pl.String,
        "parent": pl.String,
        "kind": pl.String,
        "specialty": pl.String,
        **_DELIVERED,
    },
    "beds": {
        "unit": pl.String,
        "bed": pl.String,
        "start": TIME,
        "end": TIME,
        "state": pl.String,
        "side_room": pl.Boolean,
        "isolation": pl.Boolean,
        "sex": pl.String,
        **_DELIVERED,
    },
    "codes": {
        "code": pl.String,
        "description": pl.String,
        "parents": pl.List(pl.String),
        "molar_mass": pl.Float64,
        "value_unit": pl.String,
        **_DELIVERED,
    },
    # Rows that the source itself could not read.
    "quarantine": {
        "file": pl.String,
        "row": pl.Int64,
        "table": pl.String,
        "field": pl.String,
        "reason": pl.String,
    },
}

ROWS["warnings"] = ROWS["quarantine"]
# What the source says that it has deleted: it withdraws what was imported of it.
ROWS["deletions"] = {
    "kind": pl.String,  # the source's own kind (Observation)
    "row_id": pl.String,
    "file": pl.String,
    "row": pl.Int64,
}

# Records of one person: what is stored of ``subject`` belongs to ``into``.
ROWS["merges"] = {
    "subject": pl.String,
    "into": pl.String,
    "file": pl.String,
    "row": pl.Int64,
}

#: Reason codes of the quarantine and what they mean.
REASONS: Final = {
    "subject-missing": "the row names no subject",
    "subject-unknown": "the row refers to a subject that is not in the extract",
    "stay-missing": "a stay or movement without its id",
    "code-missing": "the row has no code",
    "time-missing": "the row has no time",
    "time-unreadable": "the time could not be read with the declared formats",
    "time-ambiguous": "this local time occurred twice and the order does not tell which",
    "time-nonexistent": "this local time did not exist (the clocks went forward)",
    "time-beyond-import": "the time lies more than a day after the import (a mistyped year?)",
    "time-too-early": "the time lies before 1900 (a mistyped year, or a spreadsheet's zero date?)",
    "end-before-start": "the end lies before the start",
    "value-unreadable": "a number could not be read, or the mapping does not know the text",
    "value-not-finite": "a number is infinite or not a number",
    "status-unknown": "the status is unknown to the mapping and the standard",
    "id-duplicate": "two rows of one file have the same id and different content",
    "resource-unreadable": "the resource or record is not well formed",
    "reference-unresolved": "the row refers to something that is not in the extract",
    "modifier-unknown": "an unknown modifier extension may reverse the meaning",
    "version-later": "a resource of FHIR R5; FHIR R4 and R4B are read",
    "version-earlier": "a resource of FHIR STU3; FHIR R4 and R4B are read",
}

#: Reason codes of warnings: the row was taken, and this is in doubt.
WARNINGS: Final = {
    "unit-unknown": "the unit of measurement is not known: the value is kept as text",
    "unit-not-convertible": "the unit measures something else than the code's: kept as text",
    "time-repeated": "the clock showed this local time twice: read as the first, unless the order "
    "of rows told",
    "time-skipped": "the clock never showed this local time: read as an hour later",
    "end-unknown": "a stay that is over without an end: it ends at the latest time known of it",
    "stay-unresolved": "the row names a stay that cannot be found: it is taken without a stay",
    "subject-merged": "the record of a person was merged into another: its rows go to that one",
    "deletion-unmatched": "the deletion of something that was never imported",
    "activity-unpaired": "a start without its completion, or the reverse: kept as a moment",
}


def attribute(key: str) -> pl.Expr:
    """Return the text of an attribute of each row; missing where it has none.

    Examples
    --------
    >>> row = {"attributes": [{"key": "panel", "value": "LOINC//85354-9"}]}
    >>> rows = pl.DataFrame([row], schema={"attributes": ATTRIBUTES})
    >>> rows.select(attribute("panel"), other=attribute("method")).row(0)
    ('LOINC//85354-9', None)
    """
    held = pl.element().filter(pl.element().struct.field("key") == key)
    return pl.col("attributes").list.eval(held.struct.field("value")).list.first()


def other_codes() -> pl.Expr:
    """Return the codes beside each row's own, as one text with a line for each; empty: none.

    Examples
    --------
    >>> row = {"attributes": [{"key": "coding.2", "value": "SNOMED//91302008"}]}
    >>> rows = pl.DataFrame([row, {"attributes": None}], schema={"attributes": ATTRIBUTES})
    >>> rows.select(other_codes())["other_codes"].to_list()
    ['SNOMED//91302008', '']
    """
    held = pl.element().filter(pl.element().struct.field("key").is_in(list(CODINGS)))
    listed = pl.col("attributes").list.eval(held.struct.field("value"))
    return listed.list.join("\n").fill_null("").alias("other_codes")
