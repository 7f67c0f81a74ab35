"""Running definitions: a whole hospital by the relational engine, or patient by patient.

Both engines take the same outputs and points and give the same table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import polars as pl

from neva.definitions import model as m
from neva.definitions.binding import Binding, bind, hierarchy_of
from neva.definitions.columnar.engine import Delays, answer_points, missing_words
from neva.definitions.local_time import FOREVER, LocalClock, clock_of, microseconds
from neva.definitions.points import (
    AtEach,
    EachStay,
    EachSubject,
    Population,
    points_of_stays,
    points_of_subjects,
)
from neva.definitions.reference.engine import (
    DEFECTS,
    MOST_DAYS,
    Place,
    Point,
    defect_of,
    evaluate,
    rows_of,
)
from neva.definitions.reference.timeline import Timeline, timelines
from neva.definitions.relational.compiler import compile_plan
from neva.definitions.relational.plan import POINT_COLUMNS, Plan, plan_key
from neva.definitions.relational.warehouse import DuckWarehouse, Warehouse
from neva.definitions.revisions import revised
from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["Answers", "Engine", "answer", "plan_of", "points_of"]

Engine = Literal["relational", "reference", "columnar"]

_DTYPES: Final[dict[str, Any]] = {
    "boolean": pl.Boolean,
    "number": pl.Float64,
    "time": TIME,
    "text": pl.String,
}


#: Columns that every answer has.
_KEYS: Final = frozenset(["point_id", "subject_id", "stay_id", "now"])


@dataclass(frozen=True)
class Answers:
    """What definitions answered at each point.

    Attributes
    ----------
    frame : polars.DataFrame
        ``point_id``, ``subject_id``, ``stay_id``?, ``now``, and one column for
        each output: boolean, float64, datetime (UTC) or string; missing is
        unknown. In the order of ``point_id``.
    errors : polars.DataFrame
        Points that were not evaluated, because what is known of the patient
        contradicts itself: ``point_id``, ``subject_id``, ``stay_id``,
        ``reason`` (a key of ``neva.definitions.reference.engine.DEFECTS``).
    units : dict of str to str
        Units of the numbers, by output.
    engine : str
        Which engine answered.
    """

    frame: pl.DataFrame
    errors: pl.DataFrame
    units: dict[str, str]
    engine: str

    def to_frame(self) -> pl.DataFrame:
        """Return ``frame``."""
        return self.frame


def points_of(snapshot: Snapshot, population: Any) -> pl.DataFrame:
    """Build a population; columns of ``neva.definitions.points.POINTS``."""
    if isinstance(population, EachSubject):
        return points_of_subjects(snapshot)
    if isinstance(population, AtEach):
        return _points_at_each(snapshot, population)
    return points_of_stays(snapshot, population)


def _points_at_each(snapshot: Snapshot, population: AtEach) -> pl.DataFrame:
    # A question for each row whose answer is no number but the row itself
    # does not exist; the rows are few, and the reference engine finds them.
    parents, masses = hierarchy_of(snapshot)
    place = Place(snapshot.zone, parents, masses)
    cut = microseconds(snapshot.now)
    known = FOREVER if snapshot.as_of is None else cut
    found = []
    for subject, timeline in sorted(timelines(snapshot).items()):
        rows = rows_of(population.frame, timeline, Point(cut, known), place) or []
        for row in rows:
            at = max(row.time, row.recorded)
            if at <= cut:
                found.append((subject, row.stay_id, at))
    frame = pl.DataFrame(
        found, schema={"subject_id": pl.Int64, "stay_id": pl.Int64, "now": pl.Int64}, orient="row"
    )
    return (
        frame.unique()
        .sort("subject_id", "stay_id", "now")
        .with_row_index("point_id")
        .select(
            pl.col("point_id").cast(pl.Int64),
            "subject_id",
            "stay_id",
            pl.col("now").cast(TIME),
            pl.col("now").cast(TIME).alias("known"),
        )
    )


def _as_known(points: pl.LazyFrame, revisions: pl.LazyFrame, *keys: str) -> pl.LazyFrame:
    return points.join(revisions, on=list(keys), how="inner").filter(
        pl.col("recorded") <= pl.col("known"), pl.col("known_until") > pl.col("known")
    )


def _context(snapshot: Snapshot, points: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add what is known of stay and patient to points; set aside what contradicts itself."""
    base = points.lazy().with_columns(pl.col("now", "known").dt.epoch("us"))
    stays = _as_known(
        base.select("point_id", "subject_id", "stay_id", "now", "known"),
        revised(snapshot, "stays", "stay_id").select(
            "subject_id",
            "stay_id",
            "start",
            "end",
            "kind",
            "source",
            "outcome",
            "recorded",
            "known_until",
        ),
        "subject_id",
        "stay_id",
    ).select(
        "point_id",
        pl.col("start").dt.epoch("us").alias("stay_start"),
        pl.col("end").dt.epoch("us").alias("_end"),
        pl.col("kind").alias("stay_kind"),
        pl.col("source").alias("stay_source"),
        pl.col("outcome").alias("stay_outcome"),
    )
    subjects = _as_known(
        base.select("point_id", "subject_id", "now", "known"),
        revised(snapshot, "subjects", "subject_id").select(
            "subject_id", "birth_date", "sex", "death", "recorded", "known_until"
        ),
        "subject_id",
    ).select("point_id", "birth_date", "sex", "death")
    joined = base.join(stays, on="point_id", how="left").join(subjects, on="point_id", how="left")
    zone = snapshot.zone
    today = pl.col("now").cast(TIME).dt.convert_time_zone(zone).dt.date()
    born = pl.col("birth_date")
    defect = (
        pl.when(born > today)
        .then(pl.lit("birth-after-now"))
        .when(today.dt.year() - born.dt.year() > 130)
        .then(pl.lit("age-above-130"))
        .when(pl.col("death").dt.convert_time_zone(zone).dt.date() < born)
        .then(pl.lit("death-before-birth"))
        .when(pl.col("_end") < pl.col("stay_start"))
        .then(pl.lit("end-before-start"))
        .when(pl.col("stay_start") >= pl.col("death").dt.epoch("us") + 86_400_000_000)
        .then(pl.lit("stay-after-death"))
    )
    whole = joined.with_columns(_defect=defect).collect()
    errors = whole.filter(pl.col("_defect").is_not_null()).select(
        "point_id", "subject_id", "stay_id", pl.col("_defect").alias("reason")
    )
    seen = pl.col("stay_start") <= pl.col("now")
    over = pl.col("_end") <= pl.col("now")
    kept = (
        whole.filter(pl.col("_defect").is_null())
        .with_columns(
            pl.when(seen & over).then("_end").alias("stay_end"),
            pl.when(seen & over).then("stay_outcome").alias("stay_outcome"),
            pl.when(seen).then("stay_kind").alias("stay_kind"),
            pl.when(seen).then("stay_source").alias("stay_source"),
            pl.when(seen).then("stay_start").alias("stay_start"),
            pl.when(pl.col("death").dt.epoch("us") <= pl.col("now"))
            .then(pl.col("death").dt.epoch("us"))
            .alias("death"),
            (born.dt.year() * 10_000 + born.dt.month().cast(pl.Int32) * 100 + born.dt.day())
            .cast(pl.Int64)
            .alias("birth"),
        )
        .select(list(POINT_COLUMNS))
    )
    return kept, errors


#: Years before and after those of the hospital that a shift may reach at most.
_MOST_YEARS: Final = math.ceil(MOST_DAYS / 365)


def _reach(output: Any) -> int:
    """How many years the shifts of an expression lead away from times of the record."""
    found: dict[str, float] = {}
    for node in m.walk(output):
        own = 0.0
        if isinstance(node, m.Shift):
            amount = node.amount
            per_year = 8760.0 if node.unit == "hours" else 365.0
            own = (
                abs(amount.value) / per_year if isinstance(amount, m.Number) else float(_MOST_YEARS)
            )
        # Parts come before wholes.
        below = max((found[part.digest] for part in m.children(node)), default=0.0)
        found[node.digest] = below + own
    return min(math.ceil(found[output.digest]), _MOST_YEARS)


def _clock(snapshot: Snapshot, outputs: Mapping[str, Any], latest: datetime) -> LocalClock:
    """Return the hospital's clock over the years that can matter.

    Nothing after the latest point is looked at but what is planned, and that
    no further than shifts may reach: an end in the year 9999 says "open".
    """
    years = [snapshot.now.year, latest.year]
    for table, start in (("events", "time"), ("stays", "start"), ("movements", "start")):
        first = snapshot.stored(table).select(pl.col(start).min()).collect().item()
        if first is not None:
            years.append(first.year)
    last = (
        snapshot.stored("events")
        .filter(pl.col("status") == "planned")
        .select(pl.max_horizontal(pl.col("time").max(), pl.col("end_time").max()))
        .collect()
        .item()
    )
    if last is not None:
        years.append(min(last.year, max(years) + _MOST_YEARS))
    for output in outputs.values():
        years += [node.value.year for node in m.walk(output) if isinstance(node, m.Moment)]
    reach = max((_reach(output) for output in outputs.values()), default=0)
    return clock_of(snapshot.zone, min(years) - reach - 2, max(years) + reach + 3)


@lru_cache(maxsize=64)
def _kept_plan(key: str) -> list[Plan]:
    del key
    return []


def plan_of(
    snapshot: Snapshot,
    outputs: Mapping[str, Any],
    warehouse: Warehouse | None = None,
    *,
    latest: datetime | None = None,
) -> Plan:
    """Compile expressions for a hospital, or take the plan from its cache.

    The plan depends on the definitions and the hospital's zone, not on its
    patients or codes; `latest` is the last point that is asked for, the data
    cut by default.
    """
    engine = DuckWarehouse() if warehouse is None else warehouse
    clock = _clock(snapshot, outputs, snapshot.now if latest is None else latest)
    key = plan_key(outputs, clock, engine.dialect)
    kept = _kept_plan(key)
    if not kept:
        file = snapshot.cache / "plans" / f"{key}.json"
        try:
            kept.append(Plan.from_json(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            plan = compile_plan(outputs, clock=clock, sql=engine.sql)
            kept.append(plan)
            _keep(file, plan.to_json())
    return kept[0]


def _keep(file: Any, text: str) -> None:
    """Write a file whole; a cache that cannot be written is no cache."""
    draft = file.with_suffix(f".{datetime.now(UTC).timestamp()}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)


def answer(
    snapshot: Snapshot,
    outputs: Mapping[str, Any],
    *,
    population: Population | None = None,
    points: pl.DataFrame | None = None,
    engine: Engine = "relational",
    warehouse: Warehouse | None = None,
    binding: Binding | None = None,
    delays: Delays | None = None,
) -> Answers:
    """Evaluate expressions at every point of a population.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital; rows recorded after its ``as_of`` are never looked at.
    outputs : mapping of str to expression
        Nodes of :mod:`neva.definitions.model`.
    population : Population, optional
        Each stay at the data cut by default.
    points : polars.DataFrame, optional
        Points themselves instead; columns of ``neva.definitions.points.POINTS``.
    engine : {"relational", "reference", "columnar"}
        The relational one for a hospital, the reference for few patients, the
        columnar one for many points of the same patients (a replay); it does
        not know every word (:func:`neva.definitions.columnar.engine.missing_words`).
    warehouse : Warehouse, optional
        Where the relational engine runs; DuckDB by default.
    binding : Binding, optional
        The hospital's codes if they were read before.
    delays : mapping of str to float, optional
        Columnar engine only: hours after which events whose recording was
        assumed are taken to have been known, by pattern of code.

    Returns
    -------
    Answers

    Raises
    ------
    UsageError
        An output is called as a column of every answer, or the columnar engine
        is asked for words that it does not know.
    """
    taken = _KEYS & set(outputs)
    if taken:
        message = (
            f"outputs: a column of every answer has this name; found {sorted(taken)[0]!r}; "
            "call the output something else"
        )
        raise UsageError(message)
    placed = points_of(snapshot, population or EachStay()) if points is None else points
    if engine == "reference":
        frame, errors = _by_reference(snapshot, outputs, placed)
    elif engine == "columnar":
        frame, errors = _by_column(snapshot, outputs, placed, binding, delays)
    else:
        context, errors = _context(snapshot, placed)
        place = DuckWarehouse() if warehouse is None else warehouse
        last = placed["now"].max()
        # A database does not tell A from a; numbers it does.
        numbered = {str(number): node for number, node in enumerate(outputs.values())}
        plan = plan_of(
            snapshot, numbered, place, latest=last if isinstance(last, datetime) else None
        )
        bound = bind(snapshot) if binding is None else binding
        answers = place.run(plan, snapshot, bound, context)
        frame = placed.join(answers, on="point_id", how="inner").select(
            "point_id",
            "subject_id",
            "stay_id",
            "now",
            *(
                pl.col(f"out_{number}").cast(_DTYPES[node.type.name]).alias(name)
                for number, (name, node) in enumerate(outputs.items())
            ),
        )
    return Answers(
        frame=frame.sort("point_id"),
        errors=errors.sort("point_id"),
        units={
            name: node.type.unit or "1"
            for name, node in outputs.items()
            if node.type.name == "number"
        },
        engine=engine,
    )


def _by_column(
    snapshot: Snapshot,
    outputs: Mapping[str, Any],
    points: pl.DataFrame,
    binding: Binding | None,
    delays: Delays | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    unknown = missing_words(outputs)
    if unknown:
        message = (
            f"the columnar engine does not know: {', '.join(unknown)}; "
            'use the engine "relational" for these definitions'
        )
        raise UsageError(message)
    context, errors = _context(snapshot, points)
    last = points["now"].max()
    latest = last if isinstance(last, datetime) else snapshot.now
    answers = answer_points(
        snapshot,
        outputs,
        context,
        binding=bind(snapshot) if binding is None else binding,
        clock=_clock(snapshot, outputs, latest),
        delays=delays,
    )
    frame = points.join(answers, on="point_id", how="inner").select(
        "point_id",
        "subject_id",
        "stay_id",
        "now",
        *(pl.col(name).cast(_DTYPES[node.type.name]).alias(name) for name, node in outputs.items()),
    )
    return frame, errors


def _by_reference(
    snapshot: Snapshot, outputs: Mapping[str, Any], points: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    parents, masses = hierarchy_of(snapshot)
    place = Place(snapshot.zone, parents, masses)
    people = timelines(snapshot, points["subject_id"].to_list())
    rows, errors = [], []
    for point_id, subject, stay, now, known in points.iter_rows():
        point = Point(microseconds(now), microseconds(known), stay)
        # A point may be given for somebody of whom nothing is recorded.
        timeline = people.get(subject) or Timeline(subject)
        reason = defect_of(timeline, point, snapshot.zone)
        if reason is not None:
            assert reason in DEFECTS  # each has its words
            errors.append((point_id, subject, stay, reason))
            continue
        found = evaluate(outputs, timeline, point, place)
        rows.append((point_id, subject, stay, microseconds(now), *found.values()))
    keys: dict[str, Any] = {"point_id": pl.Int64, "subject_id": pl.Int64, "stay_id": pl.Int64}
    plain = {
        name: pl.Int64 if node.type.name == "time" else _DTYPES[node.type.name]
        for name, node in outputs.items()
    }
    frame = pl.DataFrame(rows, schema={**keys, "now": pl.Int64, **plain}, orient="row")
    frame = frame.with_columns(
        pl.col("now").cast(TIME),
        *(pl.col(n).cast(TIME) for n, node in outputs.items() if node.type.name == "time"),
    )
    return frame, pl.DataFrame(errors, schema={**keys, "reason": pl.String}, orient="row")
