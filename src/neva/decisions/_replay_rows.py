"""The figures of one rule of a replay, in one row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.decisions.hindsight import tells_done
from neva.decisions.moments import JUST_BEFORE
from neva.decisions.outcomes import Outcome
from neva.decisions.replay import Replay, key_of
from neva.decisions.rules import Rule
from neva.statistics.intervals import proportion_interval, rate_interval

__all__ = ["Asking", "row_of"]

FloatArray = npt.NDArray[np.float64]
#: Draws of patients for intervals of ratios.
DRAWS: Final = 1000
_WHO: Final = ["subject_id", "stay_id"]


@dataclass(frozen=True)
class Asking:
    """How figures are asked for.

    Attributes
    ----------
    horizon_hours : float or None
        For all rules, instead of their own.
    level : float
        Of the intervals.
    seed : int
        Of the draws of patients.
    """

    horizon_hours: float | None
    level: float
    seed: int


def _ratio_interval(
    numerator: FloatArray, denominator: FloatArray, rng: np.random.Generator, level: float
) -> tuple[float | None, float | None]:
    """Interval of a ratio of sums by drawing patients with replacement."""
    kept = denominator > 0
    numerator, denominator = numerator[kept], denominator[kept]
    n = len(denominator)
    if n < 2:
        return None, None
    found = np.empty(DRAWS)
    step = max(1, 4_000_000 // n)
    for start in range(0, DRAWS, step):
        size = min(step, DRAWS - start)
        at = rng.integers(0, n, size=(size, n))
        found[start : start + size] = numerator[at].sum(axis=1) / denominator[at].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _by_patient(frame: pl.DataFrame, top: str, below: str) -> tuple[FloatArray, FloatArray]:
    sums = frame.group_by("subject_id", maintain_order=True).agg(
        pl.col(top).sum().cast(pl.Float64), pl.col(below).sum().cast(pl.Float64)
    )
    return sums[top].to_numpy(), sums[below].to_numpy()


def _exact(events: int, n: int, level: float) -> dict[str, float | None]:
    if not n:
        return {"estimate": None, "lower": None, "upper": None}
    found = proportion_interval([events], [n], level)
    return {
        "estimate": float(found.estimate[0]),
        "lower": float(found.lower[0]),
        "upper": float(found.upper[0]),
    }


def _one(
    result: Replay,
    alerts: pl.DataFrame,
    looked: pl.DataFrame,
    horizon_hours: float,
    level: float,
    seed: int,
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    cards = alerts.filter("shown")
    days = float(looked["points"].sum()) * result.every_hours / 24
    per_stay = looked.join(
        cards.group_by("stay_id").agg(pl.len().alias("cards")), on="stay_id", how="left"
    ).with_columns(
        pl.col("cards").fill_null(0), (pl.col("points") * result.every_hours / 24).alias("days")
    )
    low, high = _ratio_interval(*_by_patient(per_stay, "cards", "days"), rng, level)
    if cards.is_empty() and days:
        found = rate_interval([0], [days], level)
        low, high = 0.0, float(found.upper[0])
    with_card = cards["stay_id"].n_unique()
    asked = int(looked["asked"].sum())
    row: dict[str, Any] = {
        "stays": looked.filter(pl.col("points") > 0).height,
        "patient_days": days,
        "cards": cards.height,
        "quiet": alerts.height - cards.height,
        "cards_per_100_days": 100 * cards.height / days if days else None,
        "cards_per_100_days_lower": None if low is None else 100 * low,
        "cards_per_100_days_upper": None if high is None else 100 * high,
        "stays_with_card": with_card,
        "cards_per_stay_with_card": cards.height / with_card if with_card else None,
        "unknown_share": float(looked["unknown"].sum()) / asked if asked else None,
        "treated": int(looked["treated"].sum()),
        "limited": int(looked["limited"].sum()),
    }
    if result.outcome is not None:
        row |= _against_outcome(result, cards, looked, horizon_hours, level, rng)
    return row


def _against_outcome(
    result: Replay,
    cards: pl.DataFrame,
    looked: pl.DataFrame,
    horizon_hours: float,
    level: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    horizon = pl.duration(microseconds=round(horizon_hours * 3.6e9))
    stays = result.stays.join(
        looked.filter(pl.col("points") > 0).select("stay_id"), on="stay_id", how="semi"
    )
    timed = cards.join(
        result.stays.select("stay_id", "end", "outcome_time"), on="stay_id", how="left"
    ).with_columns(
        late=(pl.col("outcome_time") <= pl.col("now")).fill_null(value=False),
        true=(
            (pl.col("outcome_time") > pl.col("now"))
            & (pl.col("outcome_time") <= pl.col("now") + horizon)
        ).fill_null(value=False),
        decided=(pl.col("now") + horizon <= pl.lit(result.cut))
        | pl.col("end").is_not_null()
        | pl.col("outcome_time").is_not_null(),
    )
    first = (
        timed.filter("true")
        .group_by("stay_id")
        .agg((pl.col("outcome_time") - pl.col("now")).max().alias("lead"))
    )
    lead = first["lead"].dt.total_microseconds() / 3.6e9
    with_outcome = stays.filter(pl.col("outcome_time").is_not_null()).height
    warned = stays.join(first, on="stay_id", how="semi").height
    sensitivity = _exact(warned, with_outcome, level)
    judged = timed.filter(pl.col("decided") & ~pl.col("late"))
    low, high = _ratio_interval(
        *_by_patient(judged.with_columns(one=pl.lit(1)), "true", "one"), rng, level
    )
    hit = int(judged["true"].sum())
    return {
        "outcomes": with_outcome,
        "warned": warned,
        "sensitivity": sensitivity["estimate"],
        "sensitivity_lower": sensitivity["lower"],
        "sensitivity_upper": sensitivity["upper"],
        "decided_cards": judged.height,
        "late_cards": int(timed["late"].sum()),
        "true_cards": hit,
        "ppv": hit / judged.height if judged.height else None,
        "ppv_lower": low,
        "ppv_upper": high,
        "lead_hours": lead.median(),
        "lead_hours_lower_quartile": lead.quantile(0.25),
        "lead_hours_upper_quartile": lead.quantile(0.75),
    }


