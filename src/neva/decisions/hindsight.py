"""What happened after the moments of a replay: outcomes, and the actions that cards asked for.

Both are asked with hindsight, at the data cut: what was recorded later counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl

from neva.decisions.outcomes import Outcome
from neva.decisions.rules import Rule
from neva.definitions.columnar.engine import missing_words
from neva.definitions.local_time import FOREVER, moment
from neva.definitions.points import EachStay
from neva.definitions.run import Engine, answer
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["OUTCOMES", "done_after", "outcome_times", "tells_done"]

#: Columns of when the outcomes of rules happened.
OUTCOMES: Final[dict[str, Any]] = {
    "rule": pl.String,
    "version": pl.String,
    "stay_id": pl.Int64,
    "outcome_time": TIME,
}

#: So often between a card and its deadline it is looked whether it was done.
LOOKS: Final = 12


def outcome_times(
    snapshot: Snapshot, outcomes: Mapping[tuple[str, str], Outcome], stays: pl.DataFrame
) -> pl.DataFrame:
    """Return when the outcome of each rule happened in each stay in which it did.

    Parameters
    ----------
    snapshot : Snapshot
    outcomes : mapping
        By id and version of the rule.
    stays : polars.DataFrame
        ``stay_id`` of those that are wanted.

    Returns
    -------
    polars.DataFrame
        Columns of ``OUTCOMES``.
    """
    if not outcomes:
        return pl.DataFrame(schema=OUTCOMES)
    features = list(dict.fromkeys(one.of for one in outcomes.values()))
    asked = {str(place): one.value for place, one in enumerate(features)}
    seen = answer(snapshot, asked, population=EachStay()).frame.join(
        stays.select("stay_id").unique(), on="stay_id", how="semi"
    )
    return pl.concat(
        seen.select(
            pl.lit(rule).alias("rule"),
            pl.lit(version).alias("version"),
            "stay_id",
            pl.col(str(features.index(one.of))).alias("outcome_time"),
        )
        .drop_nulls("outcome_time")
        .sort("stay_id")
        for (rule, version), one in outcomes.items()
    )


def tells_done(rule: Rule) -> bool:
    """Return whether a replay can tell that the action of a rule's card was done.

    It has a deadline, says when it is done, and warns of nothing: where it
    warns of an outcome, that is what it is assessed against.
    """
    return (
        rule.warns_of is None and rule.treated is not None and rule.act_within_minutes is not None
    )


def done_after(snapshot: Snapshot, rule: Rule, cards: pl.DataFrame) -> pl.Series:
    """Return for each card whether its action was done within its time limit.

    Parameters
    ----------
    snapshot : Snapshot
    rule : Rule
        One of which :func:`tells_done` is true.
    cards : polars.DataFrame
        ``subject_id``, ``stay_id``, ``now``.

    Returns
    -------
    polars.Series of bool
        Whether the rule counted as treated at one of twelve times up to the
        deadline, or to the end of the stay if that came first; missing while
        the deadline lies after the data cut and the stay goes on.
    """
    assert rule.treated is not None  # see tells_done
    assert rule.act_within_minutes is not None
    cut = pl.lit(snapshot.now, dtype=TIME)
    within = timedelta(minutes=rule.act_within_minutes)
    known = cut if snapshot.as_of is not None else pl.lit(moment(FOREVER), dtype=TIME)
    stays = snapshot.stays().select("stay_id", "end").collect()
    closing = (
        cards.select("subject_id", "stay_id", "now")
        .with_row_index("card")
        .join(stays, on="stay_id", how="left", maintain_order="left")
        .with_columns(last=pl.min_horizontal(pl.col("now") + within, "end", cut))
    )
    looks = pl.concat(
        [
            closing.with_columns(
                now=pl.min_horizontal(pl.col("now") + within * (number / LOOKS), "last"),
                known=known,
            )
            for number in range(1, LOOKS + 1)
        ]
    )
    points = (
        looks.sort("subject_id", "stay_id", "now")
        .with_row_index("point_id")
        .with_columns(pl.col("point_id").cast(pl.Int64))
    )
    asked = {"treated": rule.treated}
    engine: Engine = "relational" if missing_words(asked) else "columnar"
    seen = answer(
        snapshot,
        asked,
        points=points.select("point_id", "subject_id", "stay_id", "now", "known"),
        engine=engine,
    )
    done = (
        points.join(seen.frame.select("point_id", "treated"), on="point_id", how="left")
        .group_by("card")
        .agg(pl.col("treated").fill_null(value=False).any().alias("done"))
    )
    is_over = (pl.col("now") + within <= cut) | (pl.col("end") <= cut).fill_null(value=False)
    return (
        closing.join(done, on="card", how="left", maintain_order="left")
        .select(pl.when(is_over).then(pl.col("done").fill_null(value=False)).alias("done"))
        .to_series()
    )
