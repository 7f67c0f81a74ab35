"""What a replay says of its rules: burden, sensitivity, predictive value, lead time, overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.decisions.replay import Replay
from neva.decisions.rules import Rule
from neva.decisions.suppression import shown
from neva.errors import UsageError
from neva.statistics.intervals import proportion_interval, rate_interval

__all__ = ["Comparison", "Figures", "compare", "figures", "overlap", "sweep"]

FloatArray = npt.NDArray[np.float64]
#: Draws of patients for intervals of ratios.
DRAWS: Final = 1000
#: What can be said of the cards of one unit.
_OF_CARDS: Final = (
    "cards",
    "quiet",
    "stays_with_card",
    "cards_per_stay_with_card",
    "decided_cards",
    "late_cards",
    "true_cards",
    "ppv",
    "ppv_lower",
    "ppv_upper",
)
#: Thresholds of a sweep at most.
MOST_THRESHOLDS: Final = 20


@dataclass(frozen=True)
class Figures:
    """Figures of a replay.

    Attributes
    ----------
    rules : polars.DataFrame
        One row for each rule (and unit, where asked): ``rule``, ``version``,
        ``unit``?, ``stays`` and ``patient_days`` in its population, ``cards``
        that would have been shown, ``quiet`` (held back by suppression),
        ``cards_per_100_days`` with an interval over patients, ``stays_with_card``,
        ``cards_per_stay_with_card``, ``unknown_share`` of the points where the
        patient is in the population or may be. With an outcome:
        ``outcomes`` (stays), ``warned`` (a card within the horizon before it),
        ``sensitivity`` with its exact interval, ``decided_cards`` (their horizon
        lies before the data cut or the end of the stay, and they came before the
        outcome), ``true_cards``, ``ppv`` with an interval over patients,
        ``late_cards`` (at or after the outcome), ``lead_hours`` (median of the first
        card within the horizon) with quartiles.
    horizon_hours : float
    level : float
    optimistic : bool
        Recording times were assumed and no delay was added.
    """

    rules: pl.DataFrame
    horizon_hours: float
    level: float
    optimistic: bool

    def to_frame(self) -> pl.DataFrame:
        """Return ``rules``."""
        return self.rules


def _parts(result: Replay, rule: Rule) -> tuple[pl.DataFrame, pl.DataFrame]:
    own = (pl.col("rule") == rule.id) & (pl.col("version") == rule.version)
    return result.alerts.filter(own), result.looked.filter(own)


def figures(
    result: Replay,
    *,
    horizon_hours: float = 24.0,
    by_unit: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Figures:
    """Work out the figures of a replay.

    Parameters
    ----------
    result : Replay
    horizon_hours : float
        A card is true if the outcome follows within so many hours (the end
        included), and an outcome is warned of if a card came that close before.
    by_unit : bool
        Also a row for each unit where cards were shown; their sensitivity and
        patient-days are those of the whole, so only the cards' figures stand there.
    level : float
        Of the intervals.
    seed : int
        Of the draws of patients.

    Returns
    -------
    Figures
    """
    if not 0 < level < 1 or horizon_hours <= 0:
        message = (
            f"figures: level lies between 0 and 1 and the horizon is above 0; found {level:g} and "
            f"{horizon_hours:g}; give for example level 0.95, horizon 24"
        )
        raise UsageError(message)
    rows = []
    for rule in result.rules:
        alerts, looked = _parts(result, rule)
        name = {"rule": rule.id, "version": rule.version}
        whole = _one(result, alerts, looked, horizon_hours, level, seed)
        rows.append({**name, "unit": None, **whole})
        for unit in sorted(alerts["unit"].drop_nulls().unique()) if by_unit else ():
            part = _one(
                result,
                alerts.filter(pl.col("unit") == unit),
                looked,
                horizon_hours,
                level,
                seed,
            )
            rows.append(
                {
                    **name,
                    "unit": unit,
                    **dict.fromkeys(whole),
                    **{key: part.get(key) for key in _OF_CARDS},
                }
            )
    return Figures(
        rules=pl.DataFrame(rows, infer_schema_length=None),
        horizon_hours=horizon_hours,
        level=level,
        optimistic=result.is_optimistic,
    )


def overlap(result: Replay, *, within_hours: float = 1.0) -> pl.DataFrame:
    """Count how often two rules speak of the same stay.

    Parameters
    ----------
    result : Replay
    within_hours : float
        Cards so close together count as spoken at once.

    Returns
    -------
    polars.DataFrame
        ``rule``, ``other``, ``stays_of_rule``, ``stays_of_other``, ``stays_of_both``,
        ``cards_of_rule``, ``cards_at_once`` (of ``rule``, with one of ``other`` so close).
    """
    cards = {
        rule: _parts(result, rule)[0].filter("shown").select("stay_id", "now").sort("now")
        for rule in result.rules
    }
    rows = []
    for one, two in combinations(result.rules, 2):
        left, right = cards[one], cards[two]
        near = left.join_asof(
            right.with_columns(pl.col("now").alias("other")),
            on="now",
            by="stay_id",
            strategy="nearest",
            tolerance=f"{round(within_hours * 3.6e9)}us",
            check_sortedness=False,
        )
        rows.append(
            {
                "rule": one.id,
                "other": two.id,
                "stays_of_rule": left["stay_id"].n_unique(),
                "stays_of_other": right["stay_id"].n_unique(),
                "stays_of_both": left.join(right, on="stay_id", how="semi")["stay_id"].n_unique(),
                "cards_of_rule": left.height,
                "cards_at_once": near["other"].is_not_null().sum(),
            }
        )
    names = ("stays_of_rule", "stays_of_other", "stays_of_both", "cards_of_rule", "cards_at_once")
    return pl.DataFrame(
        rows, schema={"rule": pl.String, "other": pl.String, **dict.fromkeys(names, pl.Int64)}
    )


def sweep(
    result: Replay,
    rule: Rule,
    *,
    thresholds: Sequence[float] | None = None,
    horizon_hours: float = 24.0,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Raise a rule's threshold of severity step by step.

    Parameters
    ----------
    result : Replay
    rule : Rule
        One of the replay.
    thresholds : sequence of float, optional
        Findings of at least this severity count; by default up to twenty of
        the severities that occur. None lies below the rule's own threshold:
        what it did not raise is not known here.

    Returns
    -------
    polars.DataFrame
        ``threshold`` and the columns of :class:`Figures`.
    """
    alerts, looked = _parts(result, rule)
    if thresholds is None:
        values = alerts["severity"].unique().sort().to_numpy()
        if len(values) > MOST_THRESHOLDS:
            at = np.linspace(0, len(values) - 1, MOST_THRESHOLDS).round().astype(int)
            values = values[at]
        thresholds = [float(one) for one in values]
    rows = []
    for threshold in thresholds:
        left = alerts.filter(pl.col("severity") >= threshold)
        is_shown = pl.Series("shown", shown(left, rule.quiet_hours))
        left = left.with_columns(is_shown, quiet=~is_shown)
        rows.append(
            {
                "threshold": threshold,
                **_one(result, left, looked, horizon_hours, level, seed),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


@dataclass(frozen=True)
class Comparison:
    """Two versions of a rule on the same history.

    Attributes
    ----------
    cards : polars.DataFrame
        ``stay_id``, ``subject_id``, ``now``, ``of``: ``both``, ``first`` or
        ``second``; for each card that one of them would have shown.
    counts : dict of str to int
        By ``of``.
    figures : polars.DataFrame
        The figures of both, first and second row.
    """

    cards: pl.DataFrame
    counts: dict[str, int]
    figures: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return ``figures``."""
        return self.figures


def compare(
    result: Replay, first: Rule, second: Rule, *, horizon_hours: float = 24.0
) -> Comparison:
    """Compare two versions of a rule that were replayed together.

    Parameters
    ----------
    result : Replay
        Of both rules, and perhaps others.
    first, second : Rule
    horizon_hours : float
        See :func:`figures`.
    """
    parts = []
    for rule in (first, second):
        alerts, _ = _parts(result, rule)
        parts.append(alerts.filter("shown").select("subject_id", "stay_id", "now"))
    keys = ["subject_id", "stay_id", "now"]
    both = parts[0].join(parts[1], on=keys, how="semi").with_columns(of=pl.lit("both"))
    only = [
        parts[0].join(parts[1], on=keys, how="anti").with_columns(of=pl.lit("first")),
        parts[1].join(parts[0], on=keys, how="anti").with_columns(of=pl.lit("second")),
    ]
    cards = pl.concat([both, *only]).sort(keys)
    table = figures(result, horizon_hours=horizon_hours).rules
    own = [
        table.filter((pl.col("rule") == one.id) & (pl.col("version") == one.version))
        for one in (first, second)
    ]
    return Comparison(
        cards=cards,
        counts={"both": both.height, "first": only[0].height, "second": only[1].height},
        figures=pl.concat(own),
    )
