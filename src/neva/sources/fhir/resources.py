"""FHIR R4 resources as rows: one pure function, for bulk import and bedside alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from neva.events.schema import ATTRIBUTES, ROWS, TIME
from neva.sources.fhir.codes import Context
from neva.sources.fhir.events import EVENT_READERS
from neva.sources.fhir.guards import other_version, unknown_modifier
from neva.sources.fhir.reading import Reading, RefusedError, Resource, RowsByTable
from neva.sources.fhir.stays import encounter_rows, location_rows, patient_rows

__all__ = ["HANDLED", "rows_of"]

_MALFORMED: Final = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


_TYPES: Final[dict[Any, type]] = {
    pl.String: str,
    pl.Float64: float,
    pl.Int32: int,
    pl.Int64: int,
    pl.Boolean: bool,
    pl.Date: date,
    TIME: datetime,
}
#: Table to column to Python type; attributes are lists and checked apart.
_TYPES_BY_TABLE: Final = {
    table: {
        name: list if dtype == ATTRIBUTES else _TYPES.get(dtype) for name, dtype in columns.items()
    }
    for table, columns in ROWS.items()
}
_LARGEST_RANK: Final = 2**31 - 1


def _check_types(rows: RowsByTable) -> None:
    """Refuse what JSON allows and a column does not: numbers as text, half characters."""
    for table, found in rows.items():
        wanted = _TYPES_BY_TABLE[table]
        for row in found:
            for name, value in row.items():
                if value is None:
                    continue
                kind = type(value)
                if kind is not wanted[name]:
                    raise TypeError(name)
                if kind is list:
                    for pair in value:
                        pair["value"].encode()  # a lone surrogate has no UTF-8
                elif kind is str and not value.isascii():
                    value.encode()
                elif name == "rank" and not 0 < value <= _LARGEST_RANK:
                    raise ValueError(name)


def rows_of(
    resource: Resource,
    *,
    zone: str,
    context: Context | None = None,
    received: datetime | None = None,
) -> RowsByTable:
    """Turn one FHIR R4 resource into rows.

    Parameters
    ----------
    resource : mapping
        The resource as parsed JSON.
    zone : str
        IANA name of the zone of dates and of times without offset.
    context : Context, optional
        What is known of other resources.
    received : datetime, optional
        Aware. When an ``entered-in-error`` counts as withdrawn if the resource
        does not say when it was changed; by default 1 January 1900, that is,
        as if it had never been believed.

    Returns
    -------
    dict
        Table to rows; each row has columns of ``ROWS[table]``, without ``file``
        and ``row``, which the caller knows. A resource of a kind that is not
        handled gives no rows.

    Notes
    -----
    Never raises for what stands in a resource: one that is malformed gives a
    row of ``quarantine``, with the field and a reason code, never its value.

    Examples
    --------
    >>> rows = rows_of(
    ...     {
    ...         "resourceType": "Observation",
    ...         "id": "1",
    ...         "status": "final",
    ...         "code": {"coding": [{"system": "http://loinc.org", "code": "2708-6"}]},
    ...         "subject": {"reference": "Patient/7"},
    ...         "effectiveDateTime": "2021-03-01T10:00:00+01:00",
    ...         "valueQuantity": {"value": 92, "code": "%", "system": "http://unitsofmeasure.org"},
    ...     },
    ...     zone="Europe/Berlin",
    ... )
    >>> [(row["subject"], row["code"], row["value"], row["value_unit"]) for row in rows["events"]]
    [('7', 'LOINC//2708-6', 92.0, '%')]
    """
    try:
        handler = _HANDLERS.get(resource["resourceType"])
        if handler is None:
            return {}
        given = resource.get("id")
        if not isinstance(given, str) or not given:
            raise RefusedError("id", "resource-unreadable", _table_of(resource))
        if (other := other_version(resource)) is not None:
            raise RefusedError(other[1], other[0], _table_of(resource))
        if (place := unknown_modifier(resource)) is not None:
            raise RefusedError(place, "modifier-unknown", _table_of(resource))
        rows = handler(resource, Reading(zone, context or Context(), received))
        _check_types(rows)
        return rows
    except RefusedError as refused:
        return {
            "quarantine": [
                {"table": refused.table, "field": refused.field, "reason": refused.reason}
            ]
        }
    except _MALFORMED:
        return {"quarantine": [{"table": "events", "field": None, "reason": "resource-unreadable"}]}


_TABLE_BY_TYPE: Final = {"Patient": "subjects", "Encounter": "stays", "Location": "units"}


def _table_of(resource: Resource) -> str:
    kind = resource["resourceType"]
    return _TABLE_BY_TYPE.get(kind, "events")


_HANDLERS: Final[dict[str, Callable[[Resource, Reading], RowsByTable]]] = {
    "Patient": patient_rows,
    "Encounter": encounter_rows,
    "Location": location_rows,
    **EVENT_READERS,
}
#: Kinds of resources that give rows; others give none.
HANDLED: Final = frozenset(_HANDLERS)
