"""Replay: what a rule would have done last year, had it been live.

Each rule is evaluated where CDS clients would call it: of an open chart every hour of
every stay, of a discharge or an order just before it; each time with what had
been recorded by then and was not yet withdrawn. Nothing is shown to anybody; the
same suppression as at the bedside says which findings would have been cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.decisions.cards import Card, card_of, finding_of
from neva.decisions.hindsight import done_after, outcome_times, tells_done
from neva.decisions.moments import Moments, Placed, moments_of, placed
from neva.decisions.outcomes import Outcome, judged_by
from neva.decisions.rules import Rule
from neva.decisions.suppression import shown
from neva.definitions import model as m
from neva.definitions.binding import Binding, bind
from neva.definitions.columnar.engine import Delays, missing_words
from neva.definitions.documents import Feature
from neva.definitions.run import Answers, Engine, answer
from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic

__all__ = [
    "ALERTS",
    "LOOKED",
    "Key",
    "Replay",
    "assumed_share",
    "cards_of",
    "chunks",
    "key_of",
    "replay",
    "stays_at",
    "with_done",
]

#: Id and version of a rule.
Key = tuple[str, str]

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
    "done": pl.Boolean,
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


def key_of(rule: Rule) -> Key:
    """Return a rule's id and version."""
    return rule.id, rule.version


@dataclass(frozen=True)
class Replay:
    """What rules would have shown.

    Attributes
    ----------
    alerts : polars.DataFrame
        One row for each point at which a rule had something to show; columns
        of ``ALERTS``. ``shown`` is false where suppression held it back
        (``quiet``). ``done``, of cards of rules that warn of nothing: whether
        what the card asks for was done within its time; missing where that is
        not over. Sorted by rule, stay and time.
    looked : polars.DataFrame
        One row for each rule and stay in its population: ``points`` there,
        those where the rule was ``unknown`` because something is missing,
        ``raised``, and those that held but were ``treated`` or ``limited``;
        ``asked`` are its points with those where it is unknown whether the
        patient is in the population.
    cut : datetime
        The data cut.
    stays : polars.DataFrame
        ``stay_id``, ``subject_id``, ``start``, ``end``? of every stay that was
        evaluated.
    rules : tuple of Rule
    moments : dict of (str, str) to {"hours", "starts", "discharges", "orders"}
        When each rule, by id and version, was asked.
    placed : dict of (str, str) to int
        At how many such moments, whether the patient was in its population or not.
    every_hours : float
        How often rules of an open chart were asked.
    judged_by : dict of (str, str) to Outcome
        The outcome by which each rule is judged; rules that warn of nothing are absent.
    is_own : bool
        These are the rules' own; otherwise one outcome was given for all, or none.
    outcomes : polars.DataFrame
        ``rule``, ``version``, ``stay_id``, ``outcome_time`` (with hindsight), of the
        stays in which the outcome of the rule happened.
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
    moments: dict[Key, Moments]
    placed: dict[Key, int]
    every_hours: float
    judged_by: dict[Key, Outcome]
    is_own: bool
    outcomes: pl.DataFrame
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


def _engine(
    outputs: Mapping[str, Any], delays: Delays | None, moments: Moments = "hours"
) -> Engine:
    unknown = missing_words(outputs)
    if unknown and delays:
        message = (
            f"replay: delays need the columnar engine, which does not know {', '.join(unknown)}; "
            "leave out the delays or write the rule without these words"
        )
        raise UsageError(message)
    if not unknown:
        return "columnar"
    # Drafts are in memory, where the database does not see them.
    return "reference" if moments == "orders" else "relational"


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


def _findings_of_rule(
    answers: Answers, rule: Rule, place: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One rule's part of the answers: its cards, and the points at which it was evaluated."""
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


def _asked(
    rules: Sequence[Rule],
    place: Placed,
    *,
    binding: Binding,
    delays: Delays | None,
    chunk_points: int,
) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
    """Evaluate rules at the same points: the cards of each, and the points evaluated."""
    outputs = {
        f"{number}|{name}": node
        for number, rule in enumerate(rules)
        for name, node in rule.decides.items()
    }
    engine = _engine(outputs, delays, place.moments)
    points = place.points.sort("subject_id", "stay_id", "now")
    found: list[list[pl.DataFrame]] = [[] for _ in rules]
    looked = []
    for part in chunks(points, chunk_points):
        answers = answer(
            place.snapshot, outputs, points=part, engine=engine, binding=binding, delays=delays
        )
        for number, rule in enumerate(rules):
            raised, counted = _findings_of_rule(answers, rule, number)
            found[number].append(raised)
            looked.append(counted)
    alerts = []
    for parts, rule in zip(found, rules, strict=True):
        raised_nothing = pl.DataFrame(schema=ALERTS).drop("shown", "quiet", "done")
        whole = pl.concat([raised_nothing, *parts]).sort("stay_id", "subject_id", "now")
        is_shown = pl.Series("shown", shown(whole, rule.quiet_hours))
        alerts.append(
            whole.with_columns(is_shown, quiet=~is_shown, done=pl.lit(None, dtype=pl.Boolean))
        )
    return alerts, looked


def _rules_by_moment(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Group rules that are evaluated at the same points; each rule of orders has its own."""
    groups: dict[Any, list[Rule]] = {}
    for rule in rules:
        kind = moments_of(rule)
        groups.setdefault(key_of(rule) if kind == "orders" else kind, []).append(rule)
    return list(groups.values())


def with_done(snapshot: Snapshot, rule: Rule, alerts: pl.DataFrame) -> pl.DataFrame:
    """Fill in for a rule's cards whether their action was done."""
    is_card = pl.col("shown") & pl.col("subject_id").is_not_null()
    cards = alerts.filter(is_card)
    if cards.is_empty() or not tells_done(rule):
        return alerts
    with_column = cards.with_columns(done=done_after(snapshot, rule, cards))
    return pl.concat([with_column, alerts.filter(~is_card)]).sort("stay_id", "subject_id", "now")


def replay(
    snapshot: Snapshot,
    rules: Sequence[Rule],
    *,
    every_hours: float = 1.0,
    outcome: Feature | Outcome | None = None,
    judge: bool = True,
    delays: Delays | None = None,
    points: pl.DataFrame | None = None,
    chunk_points: int = CHUNK_POINTS,
) -> Replay:
    """Run rules over the history of a hospital as if they had been live.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital; nothing after its cut is used.
    rules : sequence of Rule
        Of different ids or versions. The days on which they are in force are
        not considered: this is what they would have done. Each is evaluated at
        its own moments (:func:`neva.decisions.moments.moments_of`).
    every_hours : float
        How often each stay is evaluated, from its start to its end, for rules
        for an open record.
    outcome : Feature or Outcome, optional
        One that judges every rule instead of its own; a time, asked with
        hindsight, at the data cut.
    judge : bool
        False: no rule is assessed against an outcome.
    delays : mapping of str to float, optional
        Hours after which events are taken to have been known, by pattern of
        code, where the source does not say when they were recorded.
    points : polars.DataFrame, optional
        Points instead of every so many hours; columns of
        ``neva.definitions.points.POINTS``. For rules of an open chart only.
    chunk_points : int
        Points that are answered at once.

    Returns
    -------
    Replay

    Raises
    ------
    UsageError
        Two rules are the same, the outcome is no time, or points are given for
        a rule of discharges or orders.
    """
    keys = [key_of(rule) for rule in rules]
    if len(keys) != len(set(keys)):
        message = "replay: a rule is given twice; give each rule, or version of it, once"
        raise UsageError(message)
    kinds: dict[Key, Moments] = {key_of(rule): moments_of(rule) for rule in rules}
    elsewhere = [key for key, kind in kinds.items() if kind != "hours"]
    if points is not None and elsewhere:
        message = (
            f"replay: points stand for the hours of an open chart; found {elsewhere[0][0]}, which "
            f"is asked at {kinds[elsewhere[0]]}; leave it out, or the points"
        )
        raise UsageError(message)
    judging = judged_by({key_of(rule): rule.warns_of for rule in rules}, outcome) if judge else {}
    binding = bind(snapshot)
    alerts: dict[Key, pl.DataFrame] = {}
    looked, stays, counts = [], [], dict.fromkeys(keys, 0)
    for same_moment in _rules_by_moment(rules):
        place = (
            placed(snapshot, same_moment[0], binding, every_hours=every_hours)
            if points is None
            else Placed("hours", points, snapshot)
        )
        raised, counted = _asked(
            same_moment, place, binding=binding, delays=delays, chunk_points=chunk_points
        )
        alerts |= {
            key_of(rule): with_done(snapshot, rule, part)
            for rule, part in zip(same_moment, raised, strict=True)
        }
        counts |= {key_of(rule): place.points.height for rule in same_moment}
        looked += counted
        stays.append(place.points.select("stay_id"))
    nowhere = pl.DataFrame(schema={"stay_id": pl.Int64})
    whole = stays_at(snapshot, pl.concat([nowhere, *stays]))
    return Replay(
        alerts=pl.concat(
            [pl.DataFrame(schema=ALERTS), *(alerts[key].select(*ALERTS) for key in keys)]
        ),
        looked=pl.concat([pl.DataFrame(schema=LOOKED), *looked]),
        cut=snapshot.now,
        stays=whole,
        rules=tuple(rules),
        moments=kinds,
        placed=counts,
        every_hours=every_hours,
        judged_by=judging,
        is_own=outcome is None and judge,
        outcomes=outcome_times(snapshot, judging, whole),
        delays=dict(delays or {}),
        assumed_share=assumed_share(
            snapshot, (node for rule in rules for node in rule.outputs.values()), binding
        ),
        identity=snapshot.identity,
        zone=snapshot.zone,
        synthetic=is_synthetic(snapshot),
    )


def stays_at(snapshot: Snapshot, points: pl.DataFrame) -> pl.DataFrame:
    """Return the stays of some points: ``stay_id``, ``subject_id``, ``start``, ``end``?."""
    stays = snapshot.stays().select("stay_id", "subject_id", "start", "end").collect()
    return stays.join(points.select("stay_id").unique(), on="stay_id", how="semi").sort("stay_id")


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
        kind = result.moments[key_of(rule)]
        asked = placed(snapshot, rule, bind(snapshot)).snapshot if kind == "orders" else snapshot
        points = alerts.select(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("point_id"),
            "subject_id",
            "stay_id",
            "now",
            pl.col("now").alias("known"),
        )
        chosen = engine or _engine(rule.outputs, result.delays or None, kind)
        answers = answer(
            asked,
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
