"""Nothing that becomes known after *now* changes an answer at *now*."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.definition_strategies import definitions, hospitals, points, snapshot_of
from tests.property.test_engines_agree import differences

from neva.definitions.run import answer

FUTURE = timedelta(days=40)


def known_by(tables: dict[str, list[dict[str, Any]]], now: datetime) -> dict[str, Any]:
    """The tables as they stood at a time: nothing recorded later, no later withdrawal."""
    return {
        name: [
            {**row, "retracted": None}
            if row["retracted"] is not None and row["retracted"] > now
            else row
            for row in rows
            if row["recorded"] <= now
        ]
        for name, rows in tables.items()
    }


def changed_later(
    tables: dict[str, list[dict[str, Any]]], now: datetime, shift: timedelta
) -> dict[str, Any]:
    """Ends, deaths and outcomes that lie after now, made others."""
    changed: dict[str, Any] = {}
    for name, rows in tables.items():
        changed[name] = []
        for row in rows:
            new = dict(row)
            for column in ("end_time", "end", "death"):
                if new.get(column) is not None and new[column] > now:
                    new[column] += shift
                    if column == "end" and "outcome" in new:
                        new["outcome"] = "another"
            changed[name].append(new)
    return changed


def earliest(at: pl.DataFrame) -> pl.DataFrame:
    """Points that know what was known at their *now*, and no more."""
    return at.with_columns(known=pl.col("now"))


@pytest.mark.parametrize("engine", ["relational", "reference"])
@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_what_becomes_known_later_changes_nothing(engine: Any, data: st.DataObject) -> None:
    tables = data.draw(hospitals(), label="tables")
    asked = data.draw(st.lists(definitions(), min_size=4, max_size=4), label="definitions")
    at = earliest(data.draw(points(tables), label="points"))
    last = at["now"].max()
    if not isinstance(last, datetime):
        return
    outputs = {f"o{number}": node for number, node in enumerate(asked)}
    # Every point on its own: what is later for one is not for another.
    point = at.sample(1, seed=0)
    now = point["now"][0]
    before = known_by(tables, now)
    after = changed_later(tables, now, FUTURE)
    snapshots = [snapshot_of(before), snapshot_of(after), snapshot_of(after, as_of=now)]
    try:
        answers = [answer(snapshot, outputs, points=point, engine=engine) for snapshot in snapshots]
        for other in answers[1:]:
            assert answers[0].errors.equals(other.errors)
            assert differences(answers[0].frame, other.frame) == []
    finally:
        for snapshot in snapshots:
            shutil.rmtree(snapshot.cache.parent, ignore_errors=True)
