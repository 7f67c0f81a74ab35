"""Figures of what really ran: silent mode, live mode, feedback and override reasons.

The log of cards holds what a replay would have to guess, so the same figures
are worked out of it. What was asked depends on when charts were opened: a log
holds no card of a patient whose chart nobody opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.decisions.hindsight import outcome_times
from neva.decisions.moments import moments_of, placed
from neva.decisions.outcomes import Outcome, judged_by
from neva.decisions.replay import ALERTS, LOOKED, Replay, key_of, stays_at, with_done
from neva.decisions.rules import Rule
from neva.definitions.binding import bind
from neva.definitions.documents import Feature
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic

__all__ = ["FEEDBACK", "feedback_by_period", "replay_of_log"]

#: Columns of feedback by period.
FEEDBACK: Final[dict[str, Any]] = {
    "period": TIME,
    "rule": pl.String,
    "unit": pl.String,
    "cards_shown": pl.Int64,
    "accepted": pl.Int64,
    "overridden": pl.Int64,
    "without_feedback": pl.Int64,
    "reason": pl.String,
    "with_reason": pl.Int64,
}


def _integer_column(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64, strict=False)


def replay_of_log(
    log: pl.DataFrame,
    snapshot: Snapshot,
    rules: Sequence[Rule],
    *,
    first: datetime,
    last: datetime,
    outcome: Feature | Outcome | None = None,
    judge: bool = True,
) -> Replay:
    """Bring the log of cards into the form of a replay, so that it has the same figures.

    Parameters
    ----------
    log : polars.DataFrame
        ``State.cards.between(first, last)``; subjects and stays are pseudonyms
        of this hospital.
    snapshot : Snapshot
        The hospital, for patient-days and outcomes.
    rules : sequence of Rule
        Those whose cards are wanted.
    first, last : datetime
        Aware; the period [first, last).
    outcome, judge
        See :func:`neva.decisions.replay.replay`; each rule's own by default.

    Returns
    -------
    Replay
        ``shown`` means raised and not held back: a silent card is one that
        would have been shown. Patient-days are those of all stays within the
        period, discharges and orders all of the period, since the log does not
        know whom a rule's population would have held; ``unknown``, ``treated``
        and ``limited`` are not in a log and 0.
    """
    wanted = pl.DataFrame(
        {"rule": [one.id for one in rules], "version": [one.version for one in rules]},
        schema={"rule": pl.String, "version": pl.String},
    )
    alerts = (
        log.join(wanted, on=["rule", "version"], how="semi")
        .select(
            "rule",
            "version",
            _integer_column("subject").alias("subject_id"),
            _integer_column("stay").alias("stay_id"),
            "now",
            pl.col("severity").fill_null(1.0),
            "unit",
            pl.col("suppressed_because").is_null().alias("shown"),
            pl.col("suppressed_because").is_not_null().alias("quiet"),
            pl.lit(None, dtype=pl.Boolean).alias("done"),
        )
        .sort("rule", "version", "stay_id", "now")
        .select(*ALERTS)
    )
    begin, end = pl.lit(first, dtype=TIME), pl.lit(min(last, snapshot.now), dtype=TIME)
    binding = bind(snapshot)
    hours = _hours_of_stays(snapshot, begin, end)
    cards_by_rule, looked, points = [], [], [hours]
    kinds = {key_of(rule): moments_of(rule) for rule in rules}
    for rule in rules:
        own = (pl.col("rule") == rule.id) & (pl.col("version") == rule.version)
        cards_by_rule.append(with_done(snapshot, rule, alerts.filter(own)))
        asked = hours
        if kinds[key_of(rule)] != "hours":
            there = placed(snapshot, rule, binding).points
            asked = (
                there.filter(pl.col("now") >= begin, pl.col("now") < end)
                .group_by("subject_id", "stay_id", maintain_order=True)
                .agg(pl.len().cast(pl.Int64).alias("points"))
            )
            points.append(asked)
        looked.append(_looked(rule, asked))
    judging = judged_by({key_of(rule): rule.warns_of for rule in rules}, outcome) if judge else {}
    stays = stays_at(snapshot, pl.concat([one.select("stay_id") for one in points]))
    return Replay(
        alerts=pl.concat([pl.DataFrame(schema=ALERTS), *cards_by_rule]),
        looked=pl.concat([pl.DataFrame(schema=LOOKED), *looked]),
        cut=min(last, snapshot.now),
        stays=stays,
        rules=tuple(rules),
        moments=kinds,
        placed={
            key_of(rule): int(part["points"].sum())
            for rule, part in zip(rules, looked, strict=True)
        },
        every_hours=1.0,
        judged_by=judging,
        is_own=outcome is None and judge,
        outcomes=outcome_times(snapshot, judging, stays),
        delays={},
        assumed_share=0.0,
        identity=snapshot.identity,
        zone=snapshot.zone,
        synthetic=is_synthetic(snapshot),
    )


def _hours_of_stays(snapshot: Snapshot, begin: pl.Expr, end: pl.Expr) -> pl.DataFrame:
    """Hours of each stay within a period, begun ones whole, as ``points``."""
    return (
        snapshot.stays()
        .select("subject_id", "stay_id", "start", "end")
        .filter(pl.col("start") < end, pl.col("end").is_null() | (pl.col("end") > begin))
        .with_columns(
            hours=(
                pl.min_horizontal(pl.col("end").fill_null(end), end)
                - pl.max_horizontal("start", begin)
            ).dt.total_seconds()
            / 3600
        )
        .collect()
        .sort("stay_id")
        .select("subject_id", "stay_id", pl.col("hours").ceil().cast(pl.Int64).alias("points"))
    )


def _looked(rule: Rule, asked: pl.DataFrame) -> pl.DataFrame:
    """The stays and points at which a rule was evaluated, as far as a log tells."""
    nothing = ("unknown", "raised", "treated", "limited")
    return asked.with_columns(
        pl.lit(rule.id).alias("rule"),
        pl.lit(rule.version).alias("version"),
        *(pl.lit(0, dtype=pl.Int64).alias(name) for name in nothing),
        pl.col("points").alias("asked"),
    ).select(pl.col(name).cast(kind) for name, kind in LOOKED.items())


def feedback_by_period(
    log: pl.DataFrame, feedback: pl.DataFrame, *, zone: str, every: str = "1w"
) -> pl.DataFrame:
    """Count the responses to the cards that were shown, by period, rule and unit.

    Parameters
    ----------
    log, feedback : polars.DataFrame
        ``State.cards.between(...)`` and ``State.feedback.between(...)``.
    zone : str
        The hospital's zone: periods begin at its midnight.
    every : str
        ``1d``, ``1w`` (from Monday) or ``1mo``.

    Returns
    -------
    polars.DataFrame
        Columns of ``FEEDBACK``: one row for each period, rule, unit and override
        reason (missing: none was given). ``cards_shown``, ``accepted``,
        ``overridden`` and ``without_feedback`` are of the period, rule and unit.
        The last word on a card counts.
    """
    shown = log.filter("shown").select(
        "card",
        "rule",
        "unit",
        pl.col("now")
        .dt.convert_time_zone(zone)
        .dt.truncate(every)
        .dt.convert_time_zone("UTC")
        .alias("period"),
    )
    responses = (
        feedback.sort("outcome_at")
        .unique("card", keep="last", maintain_order=True)
        .select("card", "outcome", pl.coalesce("reason_code", "reason_display").alias("reason"))
    )
    joined = shown.join(responses, on="card", how="left")
    keys = ["period", "rule", "unit"]
    counts = joined.group_by(keys).agg(
        pl.len().alias("cards_shown"),
        (pl.col("outcome") == "accepted").sum().alias("accepted"),
        (pl.col("outcome") == "overridden").sum().alias("overridden"),
        pl.col("outcome").is_null().sum().alias("without_feedback"),
    )
    reasons = (
        joined.filter(pl.col("outcome") == "overridden")
        .group_by([*keys, "reason"])
        .agg(pl.len().alias("with_reason"))
    )
    return (
        counts.join(reasons, on=keys, how="left", nulls_equal=True)
        .with_columns(pl.col("with_reason").fill_null(0))
        .select(pl.col(name).cast(kind) for name, kind in FEEDBACK.items())
        .sort("period", "rule", "unit", "reason")
    )
