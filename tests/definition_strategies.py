"""Random definitions and random hospitals for them, made valid from the start.

A definition is drawn by the type it must have; a hospital is a handful of
tables with many ties, corrections, withdrawals and late records.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from neva.definitions import model as m
from neva.definitions.codelists import Codelist
from neva.definitions.local_time import FOREVER, moment
from neva.events.schema import TABLES, TIME
from neva.events.snapshot import Snapshot

# The clocks of Berlin were put forward on 2020-03-29 at 01:00 UTC.
START = datetime(2020, 3, 28, tzinfo=UTC)
ZONE = "Europe/Berlin"
#: Some with codes beside the event's own.
_ATTRIBUTES = [
    None,
    [{"key": "place", "value": "x"}],
    [{"key": "coding.2", "value": "A//b"}],
    [{"key": "coding.2", "value": "B//c"}, {"key": "coding.3", "value": "A//a1"},
     {"key": "place", "value": "x"}],
]  # fmt: skip
CODES = ["A//a", "A//a1", "A//b", "B//c", "B//d"]
PARENTS = {"A//a1": ["A//a"], "A//a": ["A//top"], "B//d": ["A//top"]}
UNITS = ["%", "1", "mg/L", "mg/dL", "mmol/L", None]
ROW_NUMBERS = ["value", "rank"]
ROW_TEXTS = ["code", "text", "comparator", "value_unit", "status", "reason", "event_id"]
ROW_TIMES = ["time", "end_time", "recorded"]

numbers_plain = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 2.0, 3.0, 93.0, 94.0, 97.5])
number_units = st.sampled_from(["1", "%", "mg/L", "mmol/L"])
few = st.integers(0, 2)


def times() -> st.SearchStrategy[datetime]:
    """Times on a coarse grid, so that many are equal, and some a microsecond beside it."""
    return st.builds(
        lambda half_hours, beside: START + timedelta(minutes=30 * half_hours, microseconds=beside),
        st.integers(0, 96),
        st.sampled_from([0, 0, 0, 0, -1, 1]),
    )


# ------------------------------------------------------------------- definitions


def _one_leaf(leaves: list[st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One alternative for all leaves: otherwise most of what is drawn is a leaf."""
    return st.one_of(leaves).map(lambda leaf: leaf)


def _named_by_content(codelist: Codelist) -> Codelist:
    """Two codelists of one definition that differ must differ in their ids."""
    mark = hashlib.sha256(codelist.model_dump_json().encode()).hexdigest()[:8]
    return codelist.model_copy(update={"id": f"list-{mark}"})


class Definitions:
    """Strategies for nodes; `row` and `item` say which leaves may stand there."""

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def number(
        self, unit: str, depth: int, *, row: str | None = None, item: Any = None, exact: bool = True
    ) -> st.SearchStrategy[Any]:
        leaves: list[st.SearchStrategy[Any]] = [
            *[st.builds(m.Number, value=numbers_plain, unit=st.just(unit))] * 4,
            st.just(m.Missing(of="number", unit=unit)),
        ]
        if row is not None and row == unit:
            leaves += [st.just(m.RowField(name="value", unit=unit))] * 3
        if unit == "1" and row is not None:
            leaves.append(st.just(m.RowField(name="rank")))
        if unit == "1" and item == "frame":
            leaves.append(st.just(m.ItemField(name="rank")))
        if item == "frame" and unit == "%":
            leaves.append(st.just(m.ItemField(name="value", unit="%")))
        if depth <= 0:
            return st.one_of(leaves)
        below = {"row": row, "item": item, "exact": exact}
        same = self.number(unit, depth - 1, **below)
        made = [
            _one_leaf(leaves),
            st.builds(
                m.Arithmetic,
                operation=st.sampled_from(["add", "subtract"]),
                left=same,
                right=same,
            ),
            st.builds(m.Function, name=st.sampled_from(["negate", "absolute", "floor"]), of=same),
            st.builds(
                m.Extreme,
                which=st.sampled_from(["least", "greatest"]),
                of=st.lists(same, min_size=1, max_size=3).map(tuple),
            ),
            st.builds(m.FirstKnown, of=st.lists(same, min_size=1, max_size=3).map(tuple)),
            self.case(same, depth, **below),
        ]
        if row is None:
            made.append(self.asked_number(unit, depth, item=item, exact=exact))
        if unit == "1":
            other = self.number("1", depth - 1, **below)
            made.append(
                st.builds(
                    m.Arithmetic,
                    operation=st.sampled_from(["multiply", "divide"]),
                    left=other,
                    right=other,
                )
            )
            made.append(
                st.builds(
                    m.ClockPart,
                    of=self.time(depth - 1, row=row, item=item),
                    part=st.sampled_from(["hour", "weekday", "month", "year"]),
                )
            )
            if not exact:
                made.append(
                    st.builds(
                        m.Function,
                        name=st.sampled_from(["exponential", "logarithm"]),
                        of=other,
                    )
                )
        if unit == "h":
            two = self.time(depth - 1, row=row, item=item)
            made += [st.builds(m.Elapsed, start=two, end=two)] * 2
        if unit == "d":
            two = self.time(depth - 1, row=row, item=item)
            made += [st.builds(m.CalendarDays, start=two, end=two)] * 2
        if unit == "a":
            made += [st.builds(m.Age, at=self.time(depth - 1, row=row, item=item))] * 2
        if unit == "1" and row != "%":
            made.append(
                st.builds(
                    m.Convert,
                    of=self.number("%", depth - 1, row=None, item=item),
                    unit=st.just("1"),
                )
            )
        return st.one_of(made)

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def asked_number(
        self, unit: str, depth: int, *, item: Any, exact: bool
    ) -> st.SearchStrategy[Any]:
        frame = self.frame(depth - 1, item=item)
        made: list[st.SearchStrategy[Any]] = []
        if unit in ("1", "%", "mg/L", "mmol/L"):
            made += [
                st.builds(
                    m.Pick,
                    frame=frame,
                    which=st.sampled_from(["first", "last", "highest", "lowest"]),
                    field=st.just("value"),
                    unit=st.just(unit),
                ),
                st.builds(
                    m.Pick,
                    frame=frame,
                    which=st.just("nth"),
                    n=st.sampled_from([1, 2, 3, -1, -2]),
                    field=st.just("value"),
                    unit=st.just(unit),
                ),
                st.builds(
                    m.Aggregate,
                    frame=frame,
                    how=st.sampled_from(
                        ["minimum", "maximum"] if exact else ["minimum", "maximum", "mean", "sum"]
                    ),
                    unit=st.just(unit),
                ),
            ]
            if item is None:
                made.append(
                    st.builds(
                        m.ForEach,
                        items=self.items(depth - 1),
                        value=self.number(unit, depth - 1, item="days"),
                        how=st.sampled_from(
                            ["minimum", "maximum"]
                            if exact
                            else ["sum", "mean", "minimum", "maximum"]
                        ),
                    )
                )
        if unit == "1":
            made.append(
                st.builds(m.Aggregate, frame=frame, how=st.sampled_from(["count", "codes"]))
            )
            made.append(
                st.builds(
                    m.Pick,
                    frame=frame,
                    which=st.sampled_from(["first", "last"]),
                    field=st.just("rank"),
                )
            )
            if item is None:
                made.append(self.for_each(depth, "count"))
        if unit == "h":
            made.append(st.builds(m.Aggregate, frame=frame, how=st.just("hours")))
            made.append(
                st.builds(
                    m.HoursWhere,
                    frame=frame,
                    condition=st.none() | self.boolean(depth - 1, row="%", item=item),
                    carry=st.sampled_from([0.5, 1.0, 3.0]),
                )
            )
        if unit == "mg/L/h" or not exact:
            slope = st.builds(m.Aggregate, frame=frame, how=st.just("slope"), unit=st.just("mg/L"))
            if unit == "mg/L/h":
                return slope
        return (
            st.one_of(made)
            if made
            else st.builds(m.Missing, of=st.just("number"), unit=st.just(unit))
        )

    def case(
        self, then: st.SearchStrategy[Any], depth: int, **below: Any
    ) -> st.SearchStrategy[Any]:
        below = {name: value for name, value in below.items() if name != "exact"}
        branch = st.builds(m.Branch, when=self.boolean(depth - 1, **below), then=then)
        return st.builds(
            m.Case, branches=st.lists(branch, min_size=1, max_size=3).map(tuple), otherwise=then
        )

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def time(
        self, depth: int, *, row: str | None = None, item: Any = None
    ) -> st.SearchStrategy[Any]:
        leaves = [
            st.sampled_from(["now", "stay_start", "stay_end", "death"]).map(
                lambda name: m.PointField(name=name)
            ),
            *[st.sampled_from(["now", "stay_start"]).map(lambda name: m.PointField(name=name))] * 3,
            st.builds(m.Moment, value=times()),
            st.just(m.Missing(of="time")),
        ]
        if row is not None:
            leaves += [st.sampled_from(ROW_TIMES).map(lambda name: m.RowField(name=name))] * 2
        if item is not None:
            names = ROW_TIMES if item == "frame" else ["time", "end_time"]
            leaves += [st.sampled_from(names).map(lambda name: m.ItemField(name=name))] * 3
        if depth <= 0:
            return st.one_of(leaves)
        same = self.time(depth - 1, row=row, item=item)
        made = [
            _one_leaf(leaves),
            st.builds(
                m.Shift,
                time=same,
                amount=st.builds(
                    m.Number,
                    value=st.sampled_from([-24.0, -1.0, 0.5, 1.0, 6.0]),
                    unit=st.just("h"),
                ),
                unit=st.just("hours"),
            ),
            st.builds(
                m.Shift,
                time=same,
                amount=st.builds(
                    m.Number, value=st.sampled_from([-1.0, 0.0, 1.0, 2.0]), unit=st.just("d")
                ),
                unit=st.just("days"),
            ),
            st.builds(m.StartOfDay, of=same),
            st.builds(
                m.Extreme,
                which=st.sampled_from(["least", "greatest"]),
                of=st.lists(same, min_size=1, max_size=3).map(tuple),
            ),
            st.builds(m.FirstKnown, of=st.lists(same, min_size=1, max_size=2).map(tuple)),
        ]
        if row is None:
            made.append(
                st.builds(
                    m.Pick,
                    frame=self.frame(depth - 1, item=item),
                    which=st.sampled_from(["first", "last", "highest", "lowest"]),
                    field=st.sampled_from(ROW_TIMES),
                    unit=st.just("%"),
                )
            )
        return st.one_of(made)

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def text(
        self, depth: int, *, row: str | None = None, item: Any = None
    ) -> st.SearchStrategy[Any]:
        leaves = [
            st.sampled_from(["stay_kind", "stay_source", "stay_outcome", "sex"]).map(
                lambda name: m.PointField(name=name)
            ),
            st.builds(m.Text, value=st.sampled_from(["x", "home", "female", "A//a"])),
            st.just(m.Missing(of="text")),
        ]
        if row is not None:
            leaves += [
                st.sampled_from(ROW_TEXTS).map(lambda name: m.RowField(name=name)),
                st.just(m.Attribute(key="place")),
            ] * 2
        if item == "frame":
            leaves += [st.sampled_from(ROW_TEXTS).map(lambda name: m.ItemField(name=name))] * 2
        if depth <= 0:
            return st.one_of(leaves)
        same = self.text(depth - 1, row=row, item=item)
        made = [_one_leaf(leaves), self.case(same, depth, row=row, item=item)]
        if row is None:
            made += [
                st.builds(
                    m.Pick,
                    frame=self.frame(depth - 1, item=item),
                    which=st.sampled_from(["first", "last"]),
                    field=st.sampled_from(ROW_TEXTS),
                )
            ] * 5
        return st.one_of(made)

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def boolean(
        self, depth: int, *, row: str | None = None, item: Any = None
    ) -> st.SearchStrategy[Any]:
        leaves = [
            st.builds(m.Flag, value=st.booleans()),
            st.just(m.Missing(of="boolean")),
        ]
        if depth <= 0:
            if row is not None:
                leaves.append(
                    st.builds(
                        m.Compare,
                        operation=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
                        left=self.number(row, 0, row=row, item=item),
                        right=self.number(row, 0, row=row, item=item),
                    )
                )
            return st.one_of(leaves)
        below = {"row": row, "item": item}
        same = self.boolean(depth - 1, **below)
        operation = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
        unit = row or "1"

        def compared(of: st.SearchStrategy[Any], operations: Any = operation) -> Any:
            return st.builds(m.Compare, operation=operations, left=of, right=of)

        made = [
            _one_leaf(leaves),
            compared(self.number(unit, depth - 1, **below)),
            compared(self.time(depth - 1, **below)),
            compared(self.text(depth - 1, **below), st.sampled_from(["==", "!="])),
            compared(self.number("h", depth - 1, **below)),
            compared(self.number("a", depth - 1, **below)),
            compared(self.number("d", depth - 1, **below)),
            st.builds(
                m.OneOf,
                of=self.text(depth - 1, **below),
                values=st.lists(st.sampled_from(["x", "home", "R//no"]), min_size=1).map(tuple),
            ),
            st.builds(m.AllOf, of=st.lists(same, min_size=1, max_size=3).map(tuple)),
            st.builds(m.AnyOf, of=st.lists(same, min_size=1, max_size=3).map(tuple)),
            st.builds(m.Not, of=same),
            st.builds(m.IsMissing, of=st.one_of(same, self.time(depth - 1, **below))),
            st.builds(m.FirstKnown, of=st.lists(same, min_size=1, max_size=2).map(tuple)),
            self.case(same, depth, **below),
        ]
        if row is not None:
            made += self.about_the_row()
        if row is None:
            made += [
                st.builds(
                    m.Aggregate, frame=self.frame(depth - 1, item=item), how=st.just("exists")
                )
            ] * 3
            if item is None:
                made.append(self.for_each(depth, "any"))
                made.append(self.for_each(depth, "all"))
        return st.one_of(made)

    def about_the_row(self) -> list[st.SearchStrategy[Any]]:
        """Plain conditions of rows, which would otherwise be rare."""
        name = st.sampled_from(ROW_TEXTS).map(lambda name: m.RowField(name=name))
        return [
            st.builds(
                m.OneOf,
                of=name,
                values=st.lists(
                    st.sampled_from(["x", "home", "R//no", "A//a", "done", "<", "mg/L"]), min_size=1
                ).map(tuple),
            ),
            st.builds(
                m.Compare,
                operation=st.sampled_from(["==", "!="]),
                left=name,
                right=st.sampled_from(["x", "A//a", "R//no"]).map(lambda text: m.Text(value=text)),
            ),
            st.builds(
                m.Compare,
                operation=st.sampled_from(["<=", "=="]),
                left=st.just(m.RowField(name="rank")),
                right=st.just(m.Number(value=1.0)),
            ),
        ]

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def for_each(self, depth: int, how: str) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.builds(
                m.ForEach,
                items=self.frame(depth - 1),
                value=self.boolean(depth - 1, item="frame"),
                how=st.just(how),
            ),
            st.builds(
                m.ForEach,
                items=self.items(depth - 1),
                value=self.boolean(depth - 1, item="days"),
                how=st.just(how),
            ),
        )

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def items(self, depth: int) -> st.SearchStrategy[Any]:
        time = self.time(max(depth - 1, 0))
        return st.one_of(
            st.builds(m.Days, start=time, end=time),
            st.builds(m.Every, hours=st.sampled_from([1.0, 6.0, 24.0]), start=time, end=time),
        )

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def frame(self, depth: int, *, item: Any = None) -> st.SearchStrategy[Any]:
        bound = st.builds(
            m.Bound,
            time=self.time(max(depth, 0), item=item),
            closed=st.booleans(),
            open_if_missing=st.booleans(),
        )
        codelists = st.builds(
            Codelist,
            id=st.just("list"),
            codes=st.lists(
                st.sampled_from(["A//a", "A//top", "B//*", "A//a*"]), min_size=1, max_size=2
            ).map(tuple),
            descendants=st.booleans(),
            excluding=st.sampled_from([(), ("A//a1",), ("B//*",)]),
        ).map(_named_by_content)
        bounds = st.lists(bound, max_size=2).map(tuple)
        where = st.none() if depth <= 0 else st.none() | self.boolean(depth - 1, row="%", item=item)
        events = st.builds(
            m.Frame,
            codes=st.lists(st.sampled_from(CODES), max_size=2).map(tuple),
            codelists=st.lists(codelists, max_size=1).map(tuple),
            where=where,
            statuses=st.sampled_from(
                [("done",), ("done",), ("not-done",), ("planned", "done"), ("cancelled", "done")]
            ),
            of_stay=st.booleans(),
            lower=bounds,
            upper=bounds,
            overlapping=st.booleans(),
        )
        others = st.builds(
            m.Frame,
            source=st.sampled_from(["movements", "stays"]),
            codes=st.sampled_from([(), ("UNIT//w",), ("STAY//inpatient",)]),
            codelists=st.sampled_from(
                [(), (Codelist(id="icu", codes=("UNITKIND//icu", "STAY//*")),)]
            ),
            where=where,
            lower=bounds,
            upper=bounds,
            overlapping=st.booleans(),
        )
        return st.one_of(events, events, others)

    @lru_cache(maxsize=None)  # noqa: B019, UP033
    def any(self, depth: int) -> st.SearchStrategy[Any]:
        return st.one_of(
            self.boolean(depth),
            self.time(depth),
            self.text(depth),
            *(
                self.number(unit, depth, exact=False)
                for unit in ("1", "%", "mg/L", "mmol/L", "h", "d", "a")
            ),
            self.asked_number("mg/L/h", depth, item=None, exact=False),
        )


_DEFINITIONS = Definitions()


def definitions(depth: int = 3) -> st.SearchStrategy[Any]:
    """Any expression."""
    return _DEFINITIONS.any(depth)


# --------------------------------------------------------------------- hospitals


@st.composite
def hospitals(draw: Any) -> dict[str, list[dict[str, Any]]]:
    """Rows of the stored tables of one to three patients."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("events", "stays", "movements", "subjects", "units", "codes")
    }
    batch = 1
    identifier = 100

    def kept(time: datetime) -> dict[str, Any]:
        delay = draw(st.sampled_from([0, 0, 0, 1, 6, 30]))
        recorded = time + timedelta(hours=delay)
        gone = draw(st.sampled_from([None, None, None, 1, 12]))
        return {
            "recorded": recorded,
            "recorded_assumed": False,
            "retracted": None if gone is None else recorded + timedelta(hours=gone),
            "batch": batch,
        }

    for subject in range(1, draw(st.integers(1, 3)) + 1):
        for _ in range(draw(st.integers(0, 2))):
            batch += 1
            tables["subjects"].append(
                {
                    "subject_id": subject,
                    "birth_date": draw(
                        st.sampled_from(
                            [
                                date(1950, 3, 28),
                                date(1980, 2, 29),
                                date(2002, 3, 29),
                                None,
                                date(2021, 1, 1),
                            ]
                        )
                    ),
                    "sex": draw(st.sampled_from(["female", "male", None])),
                    "death": draw(st.none() | times()),
                    **kept(draw(times())),
                }
            )
        stays = []
        for _ in range(draw(st.integers(0, 2))):
            identifier += 1
            stays.append(identifier)
            for _ in range(draw(st.integers(1, 2))):
                batch += 1
                start = draw(times())
                tables["stays"].append(
                    {
                        "stay_id": identifier,
                        "subject_id": subject,
                        "start": start,
                        "end": draw(
                            st.none()
                            | st.integers(-1, 60).map(lambda h, s=start: s + timedelta(hours=h))
                        ),
                        "precision": "instant",
                        "kind": draw(st.sampled_from(["inpatient", "emergency", None])),
                        "source": draw(st.sampled_from(["x", None])),
                        "outcome": draw(st.sampled_from(["home", None])),
                        **kept(start),
                    }
                )
        for _ in range(draw(st.integers(0, 3))):
            identifier += 1
            batch += 1
            start = draw(times())
            tables["movements"].append(
                {
                    "movement_id": identifier,
                    "stay_id": draw(st.sampled_from([*stays, None])),
                    "subject_id": subject,
                    "start": start,
                    "end": draw(
                        st.none()
                        | st.integers(0, 40).map(lambda h, s=start: s + timedelta(hours=h))
                    ),
                    "precision": "instant",
                    "unit": draw(st.sampled_from(["w", "icu-1", None])),
                    "bed": draw(st.sampled_from(["x", None])),
                    **kept(start),
                }
            )
        for _ in range(draw(st.integers(0, 12))):
            identifier += 1
            time = draw(times())
            unit = draw(st.sampled_from(UNITS))
            tables["events"].append(
                {
                    "event_id": identifier,
                    "subject_id": subject,
                    "stay_id": draw(st.sampled_from([*stays, None])),
                    "time": draw(st.sampled_from([time, time, time, time, None])),
                    "end_time": draw(
                        st.none() | st.integers(0, 40).map(lambda h, t=time: t + timedelta(hours=h))
                    ),
                    "precision": "instant",
                    "code": draw(st.sampled_from(CODES)),
                    "value": draw(st.none() | numbers_plain),
                    "comparator": draw(st.sampled_from([None, "<"])),
                    "value_unit": unit,
                    "text": draw(st.sampled_from([None, "x", "home"])),
                    "status": draw(
                        st.sampled_from(
                            ["done", "done", "done", "planned", "not-done", "cancelled"]
                        )
                    ),
                    "reason": draw(st.sampled_from([None, "R//no"])),
                    "rank": draw(st.sampled_from([None, 1, 2])),
                    "attributes": draw(st.sampled_from(_ATTRIBUTES)),
                    "sequence": draw(st.integers(0, 1)),
                    **kept(time),
                }
            )
    known = {"recorded": START, "recorded_assumed": False, "retracted": None, "batch": 1}
    tables["units"] = [
        {"unit": "icu-1", "name": None, "parent": "w", "kind": "icu", "specialty": None, **known}
    ]
    tables["codes"] = [
        {
            "code": code,
            "description": None,
            "parents": PARENTS.get(code),
            "molar_mass": 180.0 if code in ("A//a", "B//c") else None,
            "value_unit": None,
            **known,
        }
        for code in CODES
    ]
    return tables


@st.composite
def points(draw: Any, tables: dict[str, list[dict[str, Any]]]) -> pl.DataFrame:
    """Points of those patients at random times, some with a stay, some knowing everything."""
    subjects = {row["subject_id"] for name in tables for row in tables[name] if "subject_id" in row}
    found = []
    for subject in sorted(subjects):
        stays = sorted({row["stay_id"] for row in tables["stays"] if row["subject_id"] == subject})
        for _ in range(draw(st.integers(1, 2))):
            now = draw(times())
            known = draw(st.sampled_from([now, now, now, moment(FOREVER)]))
            found.append((subject, draw(st.sampled_from([*stays, None])), now, known))
    return pl.DataFrame(
        [(number, *row) for number, row in enumerate(found)],
        schema={
            "point_id": pl.Int64,
            "subject_id": pl.Int64,
            "stay_id": pl.Int64,
            "now": TIME,
            "known": TIME,
        },
        orient="row",
    )


def snapshot_of(
    tables: dict[str, list[dict[str, Any]]], *, as_of: datetime | None = None
) -> Snapshot:
    """A snapshot over files written straight from rows, without an import."""
    folder = Path(tempfile.mkdtemp(prefix="neva-test-"))
    files: dict[str, list[str]] = {}
    for name, rows in tables.items():
        frame = pl.DataFrame(rows, schema=TABLES[name], orient="row")
        path = folder / f"{name}.parquet"
        _write(name, frame, path)
        files[name] = [str(path)]
    return Snapshot(
        hospital="test",
        version=1,
        now=START + timedelta(hours=48) if as_of is None else as_of,
        as_of=as_of,
        zone=ZONE,
        cache=folder / "cache",
        _files=files,
    )


def _write(name: str, frame: pl.DataFrame, path: Path) -> None:
    if name != "events":
        frame.write_parquet(path)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    # As the store does: attributes are a map.
    table = frame.drop("attributes").to_arrow()
    maps = [
        None if pairs is None else [(pair["key"], pair["value"]) for pair in pairs]
        for pairs in frame["attributes"].to_list()
    ]
    column = pa.array(maps, type=pa.map_(pa.string(), pa.string()))
    table = table.append_column("attributes", column)
    pq.write_table(table, path)
