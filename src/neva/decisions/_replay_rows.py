"""The figures of one rule of a replay, in one row."""

from __future__ import annotations

from dataclasses import dataclass
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
    """Settings of the figures.

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


def row_of(
    result: Replay,
    rule: Rule,
    alerts: pl.DataFrame,
    looked: pl.DataFrame,
    asking: Asking,
) -> dict[str, Any]:
    """Calculate the figures of a rule; figures that do not apply are absent.

    Parameters
    ----------
    result : Replay
    rule : Rule
    alerts, looked : polars.DataFrame
        The parts of the replay that count.
    asking : Asking
    """
    key = key_of(rule)
    kind = result.moments[key]
    head: dict[str, Any] = {"asked_at": kind, "assessed": True}
    if kind != "hours":
        head["recorded"] = result.placed[key]
        if not head["recorded"] and alerts.is_empty():
            # Nothing that it could be asked about: no card is no finding.
            return head | {"assessed": False}
    rng = np.random.default_rng(asking.seed)
    cards = alerts.filter("shown")
    with_card = cards.select(_WHO).n_unique() if cards.height else 0
    asked = int(looked["asked"].sum())
    row = head | {
        "stays": looked.filter(pl.col("points") > 0).height,
        "cards": cards.height,
        "quiet": alerts.height - cards.height,
        **_burden(result, kind == "hours", cards, looked, asking, rng),
        "stays_with_card": with_card,
        "cards_per_stay_with_card": cards.height / with_card if with_card else None,
        "unknown_share": float(looked["unknown"].sum()) / asked if asked else None,
        "treated": int(looked["treated"].sum()),
        "limited": int(looked["limited"].sum()),
    }
    if key in result.judged_by:
        row |= _against_outcome(result, rule, cards, looked, asking, rng)
    if tells_done(rule):
        row |= _done(rule, cards, asking, rng)
    return row


def _burden(
    result: Replay,
    by_day: bool,
    cards: pl.DataFrame,
    looked: pl.DataFrame,
    asking: Asking,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Cards for every hundred patient-days, or for every hundred moments."""
    below = pl.col("points") * (result.every_hours / 24 if by_day else 1.0)
    per_stay = looked.join(
        cards.group_by(_WHO).agg(pl.len().alias("cards")), on=_WHO, how="left", nulls_equal=True
    ).with_columns(pl.col("cards").fill_null(0), below.alias("below"))
    moments = int(looked["points"].sum())
    total = moments * result.every_hours / 24 if by_day else moments
    low, high = _ratio_interval(*_by_patient(per_stay, "cards", "below"), rng, asking.level)
    if cards.is_empty() and total:
        low = 0.0
        high = (
            float(rate_interval([0], [total], asking.level).upper[0])
            if by_day
            else _exact(0, moments, asking.level)["upper"]
        )
    name, of = ("days", "patient_days") if by_day else ("moments", "moments")
    return {
        of: total,
        f"cards_per_100_{name}": 100 * cards.height / total if total else None,
        f"cards_per_100_{name}_lower": None if low is None else 100 * low,
        f"cards_per_100_{name}_upper": None if high is None else 100 * high,
    }


def horizon_of(outcome: Outcome, horizon_hours: float | None) -> float | None:
    """Return the hours within which an outcome counts; None: until the end of the stay."""
    return outcome.within_hours if horizon_hours is None else horizon_hours


def _against_outcome(
    result: Replay,
    rule: Rule,
    cards: pl.DataFrame,
    looked: pl.DataFrame,
    asking: Asking,
    rng: np.random.Generator,
) -> dict[str, Any]:
    key = key_of(rule)
    outcome = result.judged_by[key]
    hours = horizon_of(outcome, asking.horizon_hours)
    cut = pl.lit(result.cut)
    times = result.outcomes.filter(
        pl.col("rule") == rule.id, pl.col("version") == rule.version
    ).select("stay_id", "outcome_time")
    known = result.stays.join(times, on="stay_id", how="left", maintain_order="left")
    stays = known.join(
        looked.filter(pl.col("points") > 0).select("stay_id"), on="stay_id", how="semi"
    )
    never = pl.lit(value=False)
    within = timedelta(0)
    if hours is not None:
        # A moment lies just before what it is about: the hours run from that.
        early = timedelta(0) if result.moments[key] == "hours" else JUST_BEFORE
        within = timedelta(hours=hours) + early
    follows = pl.col("outcome_time") > pl.col("now")
    soon = pl.lit(value=True) if hours is None else pl.col("outcome_time") <= pl.col("now") + within
    is_over = never if hours is None else pl.col("now") + within <= cut
    if outcome.ends_with_stay:
        settled = pl.col("end").is_not_null() | pl.col("outcome_time").is_not_null()
        happened = pl.col("outcome_time").is_not_null()
        waited = settled
    else:
        # Counted when the wait is over, whatever was first: those to whom it has
        # happened would outweigh those to whom it still may.
        settled = never
        after = timedelta(hours=hours or 0.0)
        waited = (pl.col("end") + after <= cut).fill_null(value=False)
        happened = waited & (pl.col("outcome_time") <= pl.col("end") + after)
    timed = cards.join(
        known.select("stay_id", "end", "outcome_time"), on="stay_id", how="left"
    ).with_columns(
        late=(pl.col("outcome_time") <= pl.col("now")).fill_null(value=False),
        true=(follows & soon).fill_null(value=False),
        decided=(is_over | settled).fill_null(value=False),
    )
    first = (
        timed.filter("true", "decided")
        .group_by("stay_id")
        .agg((pl.col("outcome_time") - pl.col("now")).max().alias("lead"))
    )
    lead = first["lead"].dt.total_microseconds() / 3.6e9
    with_outcome = stays.filter(happened.fill_null(value=False))
    warned = with_outcome.join(first, on="stay_id", how="semi").height
    sensitivity = _exact(warned, with_outcome.height, asking.level)
    judged = timed.filter(pl.col("decided") & ~pl.col("late"))
    low, high = _ratio_interval(
        *_by_patient(judged.with_columns(one=pl.lit(1)), "true", "one"), rng, asking.level
    )
    hit = int(judged["true"].sum())
    return {
        "outcome": outcome.title,
        "outcome_ru": outcome.title_ru,
        "within_hours": hours,
        "decided_stays": stays.filter(waited).height,
        "outcomes": with_outcome.height,
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


def _done(
    rule: Rule, cards: pl.DataFrame, asking: Asking, rng: np.random.Generator
) -> dict[str, Any]:
    """How many cards were followed by the action they ask for, within the rule's time limit."""
    over = cards.drop_nulls("done")
    low, high = _ratio_interval(
        *_by_patient(over.with_columns(one=pl.lit(1)), "done", "one"), rng, asking.level
    )
    done = int(over["done"].sum())
    assert rule.act_within_minutes is not None  # see tells_done
    return {
        "done_within_hours": rule.act_within_minutes / 60,
        "over_cards": over.height,
        "done_cards": done,
        "done_share": done / over.height if over.height else None,
        "done_share_lower": low,
        "done_share_upper": high,
    }
