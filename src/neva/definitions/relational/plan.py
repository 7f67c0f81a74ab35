"""The relational engine's plan: statements, and the tables that they read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from neva.definitions import model as m
from neva.definitions.local_time import LocalClock

__all__ = [
    "FRAME_COLUMNS",
    "MORE_ROW_COLUMNS",
    "POINT_COLUMNS",
    "ROW_COLUMNS",
    "FrameUse",
    "Plan",
    "Schema",
    "plan_key",
]

#: Names and types of a table's columns.
Schema = dict[str, str]

POINT_COLUMNS: Final[Schema] = {
    "point_id": "int64",
    "subject_id": "int64",
    "stay_id": "int64",
    "now": "int64",
    "known": "int64",
    "stay_start": "int64",
    "stay_end": "int64",
    "stay_kind": "string",
    "stay_source": "string",
    "stay_outcome": "string",
    "sex": "string",
    "death": "int64",
    "birth": "int64",
}

#: Always there, and those that only some plans read.
ROW_COLUMNS: Final[Schema] = {
    "subject_id": "int64",
    "kind": "int32",
    "time": "int64",
    "recorded": "int64",
    "known_until": "int64",
    "planned": "boolean",
}
MORE_ROW_COLUMNS: Final[Schema] = {
    "position": "int64",
    "stay_id": "int64",
    "end_time": "int64",
    "value": "float64",
    "rank": "float64",
    "event_id": "string",
    "code": "string",
    "text": "string",
    "comparator": "string",
    "value_unit": "string",
    "status": "string",
    "reason": "string",
    "of_stays": "boolean",
}

FRAME_COLUMNS: Final[Schema] = {
    "pass_id": "int32",
    "frame": "int32",
    "window": "int32",
    "of_stay": "boolean",
    "overlapping": "boolean",
    "kind": "int32",
    "condition_factor": "float64",
    "condition_offset": "float64",
    "value_factor": "float64",
    "value_offset": "float64",
}

_USE_FIELDS: Final = ("pass_id", "number", "window", "condition_unit", "value_unit")


@dataclass(frozen=True)
class FrameUse:
    """A frame as one pass of the plan uses it."""

    pass_id: int
    number: int
    window: int
    frame: m.Frame
    condition_unit: str | None
    value_unit: str | None


@dataclass(frozen=True)
class Plan:
    """What the relational engine runs.

    Attributes
    ----------
    statements : tuple of (str, str)
        Name of a table and the query that makes it, in order.
    uses : tuple of FrameUse
        What the table ``frames`` must hold.
    row_columns : tuple of str
        Columns of ``timeline`` that the plan reads.
    attributes : tuple of str
        Keys of attributes that it reads, as columns ``attribute_0``, ...
    ordered : tuple of str
        Sources (events, movements, stays) whose rows need their position.
    result : str
        Table that holds the answers, one row for each point.
    types : dict of str to str
        Outputs and their column types.
    """

    statements: tuple[tuple[str, str], ...]
    uses: tuple[FrameUse, ...]
    row_columns: tuple[str, ...]
    attributes: tuple[str, ...]
    ordered: tuple[str, ...]
    result: str
    types: dict[str, str]

    def to_json(self) -> str:
        """Write the plan for a cache."""
        return json.dumps(
            {
                "statements": self.statements,
                "uses": [
                    {
                        **{name: getattr(use, name) for name in _USE_FIELDS},
                        "frame": use.frame.model_dump(mode="json"),
                    }
                    for use in self.uses
                ],
                "row_columns": self.row_columns,
                "attributes": self.attributes,
                "ordered": self.ordered,
                "result": self.result,
                "types": self.types,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan from a cache."""
        plain = json.loads(text)
        return cls(
            statements=tuple((name, query) for name, query in plain["statements"]),
            uses=tuple(
                FrameUse(
                    frame=m.Frame.model_validate(use["frame"]),
                    **{name: use[name] for name in _USE_FIELDS},
                )
                for use in plain["uses"]
            ),
            row_columns=tuple(plain["row_columns"]),
            attributes=tuple(plain["attributes"]),
            ordered=tuple(plain["ordered"]),
            result=plain["result"],
            types=plain["types"],
        )

    def to_sql(self) -> str:
        """Show the statements as one text."""
        return "\n\n".join(
            f"-- {name}\nCREATE TEMPORARY TABLE {name} AS\n{query};"
            for name, query in self.statements
        )


@lru_cache(maxsize=1)
def _compiler() -> str:
    """Name the compiler by its source: a plan of another one is not taken from a cache."""
    here = Path(__file__).parent
    files = [here.with_name("model.py"), *sorted(here.glob("*.py"))]
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()


def plan_key(outputs: Mapping[str, Any], clock: LocalClock, dialect: str) -> str:
    """Name a plan by what it is made from."""
    parts = [
        _compiler(),
        dialect,
        repr(clock),
        *(f"{name}={node.digest}" for name, node in outputs.items()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
