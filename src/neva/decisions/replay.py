"""Replay: what a rule would have done last year, had it been live.

Rules are asked every hour of every stay, each time with what had been recorded
by then and was not yet withdrawn. Nothing is shown to anybody; the same
suppression as at the bedside says which findings would have been cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.decisions.cards import Card, card_of, finding_of
from neva.decisions.rules import Rule
from neva.decisions.suppression import shown
from neva.definitions import model as m
from neva.definitions.binding import Binding, bind
from neva.definitions.columnar import Delays, missing_words
from neva.definitions.points import EachStay, EveryHours
from neva.definitions.run import Answers, Engine, answer, points_of
from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic

__all__ = [
    "ALERTS",
    "LOOKED",
    "Replay",
    "assumed_share",
    "cards_of",
    "chunks",
    "replay",
    "stays_with_outcome",
]

#: Columns of the findings of a replay.
ALERTS: Final[dict[str, Any]] = {
    "rule": pl.String,
    "version": pl.String,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "now": TIME,
    "severity": pl.Float64,
    "unit": pl.String,
    "shown": pl.Boolean,
    "quiet": pl.Boolean,
}

#: Points that are answered at once.
CHUNK_POINTS: Final = 300_000
#: Columns of what each rule looked at, stay by stay.
LOOKED: Final[dict[str, Any]] = {
    "rule": pl.String,
    "version": pl.String,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "points": pl.Int64,
    "unknown": pl.Int64,
    "raised": pl.Int64,
    "treated": pl.Int64,
    "limited": pl.Int64,
    "asked": pl.Int64,
}


@dataclass(frozen=True)
class Replay:
    """What rules would have shown.

    Attributes
    ----------
    alerts : polars.DataFrame
        One row for each point at which a rule had something to show; columns
        of ``ALERTS``. ``shown`` is false where suppression held it back
        (``quiet``). Sorted by rule, stay and time.
    looked : polars.DataFrame
        One row for each rule and stay in its population: ``points`` there,
        those where the rule was ``unknown`` because something is missing,
        ``raised``, and those that held but were ``treated`` or ``limited``;
        ``asked`` are its points with those where it is unknown whether the
        patient is in the population.
    cut : datetime
        The data cut.
    stays : polars.DataFrame
        ``stay_id``, ``subject_id``, ``start``, ``end``?, ``outcome_time``?
        (with hindsight) of every stay that was looked at.
    rules : tuple of Rule
    every_hours : float
    outcome : str or None
        The outcome's title.
    delays : dict of str to float
        Hours that were added where recording was assumed.
    assumed_share : float
        Share of the events used whose time of recording was assumed, 0-1.
    identity : str
        The hospital's version.
    zone : str
    synthetic : bool
    """

    alerts: pl.DataFrame
    looked: pl.DataFrame
    cut: datetime
    stays: pl.DataFrame
    rules: tuple[Rule, ...]
    every_hours: float
    outcome: str | None
    delays: dict[str, float]
    assumed_share: float
    identity: str
    zone: str
    synthetic: bool

    @property
    def is_optimistic(self) -> bool:
        """Whether something is taken as known at once although nobody recorded when."""
        return self.assumed_share > 0 and not self.delays

    def to_frame(self) -> pl.DataFrame:
        """Return ``alerts``."""
        return self.alerts


def _engine(outputs: Mapping[str, Any], delays: Delays | None) -> Engine:
    unknown = missing_words(outputs)
    if unknown and delays:
        message = (
            f"replay: delays need the columnar engine, which does not know {', '.join(unknown)}; "
            "leave out the delays or write the rule without these words"
        )
        raise UsageError(message)
    return "relational" if unknown else "columnar"


def assumed_share(snapshot: Snapshot, expressions: Iterable[Any], binding: Binding) -> float:
    """Return the share of the events that expressions use whose recording was assumed, 0-1."""
    codes: set[str] | None = set()
    for expression in expressions:
        for frame in m.walk(expression):
            if isinstance(frame, m.Frame) and frame.source == "events":
                own = binding.own_codes_of(frame)
                codes = None if codes is None or own is None else codes | own
    events = snapshot.stored("events").filter(pl.col("recorded") <= snapshot.now)
    events = events.select("code", "recorded_assumed")
    if codes is not None:
        events = events.filter(pl.col("code").is_in(sorted(codes)))
    share = events.select(pl.col("recorded_assumed").mean()).collect().item()
    return float(share or 0.0)


def chunks(points: pl.DataFrame, most: int = CHUNK_POINTS) -> Iterator[pl.DataFrame]:
    """Cut points between patients; they are sorted by patient."""
    ends = (
        points.select(pl.col("subject_id").rle_id().alias("run"))
        .with_row_index("at")
        .group_by("run", maintain_order=True)
        .agg(pl.len().alias("n"))
    )
    start, size = 0, 0
    for count in ends["n"]:
        if size and size + count > most:
            yield points[start : start + size]
            start, size = start + size, 0
        size += count
    if size:
        yield points[start : start + size]


def _read(answers: Answers, rule: Rule, place: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One rule's part of the answers: what it raises, and what it looked at."""
    names = {name: f"{place}|{name}" for name in rule.decides}
    frame = answers.frame.select(
        "subject_id", "stay_id", "now", *(pl.col(key).alias(name) for name, key in names.items())
    )

    def true(name: str) -> pl.Expr:
        return pl.col(name).fill_null(value=False) if name in names else pl.lit(value=False)

    holds = true("population") & true("condition")
    unsure = pl.col("condition").is_null() | (pl.col("population").is_null() & true("condition"))
    raises = holds & ~true("treated") & ~true("limited")
    inside = frame.filter(pl.col("population").fill_null(value=True))
    mark = (pl.lit(rule.id).alias("rule"), pl.lit(rule.version).alias("version"))
    looked = (
        inside.group_by("subject_id", "stay_id", maintain_order=True)
        .agg(
            true("population").sum().alias("points"),
            unsure.sum().alias("unknown"),
            raises.sum().alias("raised"),
            (holds & true("treated")).sum().alias("treated"),
            (holds & ~true("treated") & true("limited")).sum().alias("limited"),
            pl.len().alias("asked"),
        )
        .with_columns(*mark)
        .select(pl.col(name).cast(kind) for name, kind in LOOKED.items())
    )
    raised = inside.filter(raises).select(
        *mark,
        "subject_id",
        "stay_id",
        "now",
        pl.col("severity").fill_null(1.0),
        pl.col("unit").str.strip_prefix("UNIT//").alias("unit"),
    )
    return raised, looked


def replay(
    snapshot: Snapshot,
    rules: Sequence[Rule],
    *,
    every_hours: float = 1.0,
    outcome: Any = None,
    delays: Delays | None = None,
    points: pl.DataFrame | None = None,
    chunk_points: int = CHUNK_POINTS,
) -> Replay:
    """Run rules over the history of a hospital as if they had been live.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital; nothing after its cut is looked at.
    rules : sequence of Rule
        Of different ids or versions. The days on which they are in force are
        not looked at: this is what they would have done.
    every_hours : float
        How often each stay is looked at, from its start to its end.
    outcome : Feature, optional
        A time: when what the rules should warn of happened in a stay. It is
        asked with hindsight, at the data cut.
    delays : mapping of str to float, optional
        Hours after which events are taken to have been known, by pattern of
        code, where the source does not say when they were recorded.
    points : polars.DataFrame, optional
        Points instead of every so many hours; columns of
        ``neva.definitions.points.POINTS``.
    chunk_points : int
        Points that are answered at once.

    Returns
    -------
    Replay

    Raises
    ------
    UsageError
        Two rules are the same, or the outcome is no time.
    """
    keys = [(rule.id, rule.version) for rule in rules]
    if len(keys) != len(set(keys)):
        message = "replay: a rule is given twice; give each rule, or version of it, once"
        raise UsageError(message)
    if outcome is not None and outcome.value.type.name != "time":
        message = f"replay: the outcome must be a time; found a {outcome.value.type}"
        raise UsageError(message)
    outputs = {
        f"{place}|{name}": node
        for place, rule in enumerate(rules)
        for name, node in rule.decides.items()
    }
    engine = _engine(outputs, delays)
    binding = bind(snapshot)
    placed = (
        points_of(snapshot, EveryHours(hours=every_hours)) if points is None else points
    ).sort("subject_id", "stay_id", "now")
    found: list[list[pl.DataFrame]] = [[] for _ in rules]
    looked = []
    for part in chunks(placed, chunk_points):
        answers = answer(
            snapshot, outputs, points=part, engine=engine, binding=binding, delays=delays
        )
        for place, rule in enumerate(rules):
            raised, counted = _read(answers, rule, place)
            found[place].append(raised)
            looked.append(counted)
    alerts = []
    for rule, parts in zip(rules, found, strict=True):
        if not parts:
            continue
        whole = pl.concat(parts).sort("stay_id", "subject_id", "now")
        is_shown = pl.Series("shown", shown(whole, rule.quiet_hours))
        alerts.append(whole.with_columns(is_shown, quiet=~is_shown))
    return Replay(
        alerts=pl.concat(alerts).select(*ALERTS) if alerts else pl.DataFrame(schema=ALERTS),
        looked=pl.concat(looked) if looked else pl.DataFrame(schema=LOOKED),
        cut=snapshot.now,
        stays=stays_with_outcome(snapshot, placed, outcome),
        rules=tuple(rules),
        every_hours=every_hours,
        outcome=None if outcome is None else outcome.title or outcome.id,
        delays=dict(delays or {}),
        assumed_share=assumed_share(
            snapshot, (node for rule in rules for node in rule.outputs.values()), binding
        ),
        identity=snapshot.identity,
        zone=snapshot.zone,
        synthetic=is_synthetic(snapshot),
    )


def stays_with_outcome(snapshot: Snapshot, points: pl.DataFrame, outcome: Any) -> pl.DataFrame:
    """Return the stays of some points with the time of an outcome, asked with hindsight.

    Columns ``stay_id``, ``subject_id``, ``start``, ``end``?, ``outcome_time``?.
    """
    stays = (
        snapshot.stays()
        .select("stay_id", "subject_id", "start", "end")
        .collect()
        .join(points.select("stay_id").unique(), on="stay_id", how="semi")
        .sort("stay_id")
    )
    if outcome is None:
        return stays.with_columns(outcome_time=pl.lit(None, dtype=TIME))
    seen = answer(snapshot, {"outcome_time": outcome.value}, population=EachStay())
    return stays.join(
        seen.frame.select("stay_id", "outcome_time"),
        on="stay_id",
        how="left",
        maintain_order="left",
    )


def cards_of(
    snapshot: Snapshot,
    result: Replay,
    *,
    engine: Engine | None = None,
    name_of: Mapping[int, str] | None = None,
) -> list[Card]:
    """Make the cards that a replay would have shown, as the bedside would have made them.

    Parameters
    ----------
    snapshot : Snapshot
        The one that was replayed.
    result : Replay
    engine : str, optional
        By default the one of the replay.
    name_of : mapping of int to str, optional
        Names of subjects and stays; their numbers by default.

    Returns
    -------
    list of Card
        In the order of rule, stay and time. For reading and for tests; figures
        come from ``result`` itself.
    """
    made: list[Card] = []
    for rule in result.rules:
        alerts = result.alerts.filter(
            pl.col("rule") == rule.id, pl.col("version") == rule.version, "shown"
        )
        if alerts.is_empty():
            continue
        points = alerts.select(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("point_id"),
            "subject_id",
            "stay_id",
            "now",
            pl.col("now").alias("known"),
        )
        chosen = engine or _engine(rule.outputs, result.delays or None)
        answers = answer(
            snapshot,
            rule.outputs,
            points=points,
            engine=chosen,
            delays=result.delays or None,
        )
        for row in answers.frame.iter_rows(named=True):
            names = name_of or {}
            made.append(
                card_of(
                    finding_of(rule, row),
                    subject=names.get(row["subject_id"], str(row["subject_id"])),
                    stay=names.get(row["stay_id"], str(row["stay_id"])),
                    now=row["now"],
                    zone=result.zone,
                )
            )
    return made
