"""Figures of a replay: burden, sensitivity, predictive value, lead time, overlap of rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import polars as pl

from neva.decisions._replay_rows import Asking, row_of
from neva.decisions.moments import MOMENTS, Moments
from neva.decisions.replay import Replay
from neva.decisions.rules import Rule
from neva.decisions.suppression import shown
from neva.errors import UsageError

__all__ = ["Comparison", "Figures", "compare", "figures", "overlap", "sweep"]

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
    "over_cards",
    "done_cards",
    "done_share",
    "done_share_lower",
    "done_share_upper",
)
#: What says of a row how to read it.
_KINDS: Final = (
    "asked_at",
    "assessed",
    "outcome",
    "outcome_ru",
    "within_hours",
    "done_within_hours",
)
_NAMES: Final = ("rule", "version", "unit", "asked_at", "assessed")
#: What only rules that warn of something have, and what only the others.
_AGAINST: Final = frozenset(
    [
        *("outcome", "outcome_ru", "within_hours", "decided_stays", "outcomes", "warned"),
        *("sensitivity", "sensitivity_lower", "sensitivity_upper"),
        *("decided_cards", "late_cards", "true_cards", "ppv", "ppv_lower", "ppv_upper"),
        *("lead_hours", "lead_hours_lower_quartile", "lead_hours_upper_quartile"),
    ]
)
_DONE: Final = frozenset(
    [
        *("done_within_hours", "over_cards", "done_cards"),
        *("done_share", "done_share_lower", "done_share_upper"),
    ]
)
#: What only rules of an open chart have, and what only the others.
_BY_DAY: Final = ("patient_days", "cards_per_100_days")
_BY_MOMENT: Final = ("recorded", "moments", "cards_per_100_moments")
#: Thresholds of a sweep at most.
MOST_THRESHOLDS: Final = 20


@dataclass(frozen=True)
class Figures:
    """Figures of a replay.

    Attributes
    ----------
    rules : polars.DataFrame
        One row for each rule (and unit, where asked): ``rule``, ``version``,
        ``unit``?, ``asked_at`` (hours, starts, discharges, orders) and
        ``assessed``: false where no such moment is recorded, and then nothing
        else stands there. ``stays`` in its population, ``cards``
        that would have been shown, ``quiet`` (held back by suppression),
        ``stays_with_card``, ``cards_per_stay_with_card``, ``unknown_share`` of the
        points where the patient is in the population or may be.

        At hours: ``patient_days`` in its population, ``cards_per_100_days`` with an
        interval over patients. At other moments: how many are ``recorded``,
        ``moments`` in its population, ``cards_per_100_moments`` with an interval
        over patients. A figure of the other kind is missing: see :meth:`of`.

        With an outcome: its title ``outcome`` (and ``outcome_ru``), ``within_hours``
        (missing: until the end of the stay), ``outcomes`` (stays),
        ``decided_stays`` (of which it is known whether it happened), ``warned`` (a card within the
        horizon before it), ``sensitivity`` with its exact interval,
        ``decided_cards`` (their horizon lies before the data cut or, for outcomes
        of the stay, its end; and they came before the outcome), ``true_cards``,
        ``ppv`` with an interval over patients, ``late_cards`` (at or after the
        outcome), ``lead_hours`` (median of the first card within the horizon) with
        quartiles.

        Of rules that warn of nothing and have a deadline: ``done_within_hours``,
        ``over_cards`` (the deadline or the stay is over), ``done_cards`` and
        ``done_share`` with an interval over patients.
    horizon_hours : float or None
        What was asked for instead of the rules' own.
    level : float
    optimistic : bool
        Recording times were assumed and no delay was added.
    """

    rules: pl.DataFrame
    horizon_hours: float | None
    level: float
    optimistic: bool

    def to_frame(self) -> pl.DataFrame:
        """Return ``rules``."""
        return self.rules

    @property
    def kinds(self) -> tuple[Moments, ...]:
        """The kinds of moments that occur."""
        found = set() if self.rules.is_empty() else set(self.rules["asked_at"])
        return tuple(kind for kind in MOMENTS if kind in found)

    def of(self, kind: Moments) -> pl.DataFrame:
        """Return the rules that were asked at such moments, with their own columns."""
        others = _BY_MOMENT if kind == "hours" else _BY_DAY
        own = self.rules.filter(pl.col("asked_at") == kind)
        return own.select(
            name
            for name in own.columns
            if name.removesuffix("_lower").removesuffix("_upper") not in others
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return each row with the figures of its kind; no key stands for what it has none of."""
        kept = []
        for row in self.rules.to_dicts():
            others = _BY_MOMENT if row["asked_at"] == "hours" else _BY_DAY
            gone = {
                name for name in row if name.removesuffix("_lower").removesuffix("_upper") in others
            }
            if not row["assessed"]:
                gone = set(row) - {*_NAMES, "recorded"}
            elif row["unit"] is not None:
                gone |= set(row) - {*_NAMES, *_KINDS, *_OF_CARDS}
            if row.get("outcome") is None:
                gone |= _AGAINST
            if row.get("done_within_hours") is None:
                gone |= _DONE
            kept.append({name: value for name, value in row.items() if name not in gone})
        return kept


def _parts(result: Replay, rule: Rule) -> tuple[pl.DataFrame, pl.DataFrame]:
    own = (pl.col("rule") == rule.id) & (pl.col("version") == rule.version)
    return result.alerts.filter(own), result.looked.filter(own)


def figures(
    result: Replay,
    *,
    horizon_hours: float | None = None,
    by_unit: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Figures:
    """Calculate the figures of a replay.

    Parameters
    ----------
    result : Replay
    horizon_hours : float, optional
        A card is true if the outcome follows within so many hours (the end
        included), and an outcome is warned of if a card came that close before.
        Each rule's own by default.
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
    if not 0 < level < 1 or (horizon_hours is not None and horizon_hours <= 0):
        message = (
            f"figures: level lies between 0 and 1 and the horizon is above 0; found {level:g} and "
            f"{horizon_hours}; give for example level 0.95, horizon 24"
        )
        raise UsageError(message)
    asking = Asking(horizon_hours, level, seed)
    rows = []
    for rule in result.rules:
        alerts, looked = _parts(result, rule)
        name = {"rule": rule.id, "version": rule.version}
        whole = row_of(result, rule, alerts, looked, asking)
        rows.append({**name, "unit": None, **whole})
        for unit in sorted(alerts["unit"].drop_nulls().unique()) if by_unit else ():
            part = row_of(result, rule, alerts.filter(pl.col("unit") == unit), looked, asking)
            rows.append(
                {
                    **name,
                    "unit": unit,
                    **dict.fromkeys(whole),
                    **{key: part[key] for key in (*_KINDS, *_OF_CARDS) if key in part},
                }
            )
    return Figures(
        rules=pl.DataFrame(rows, infer_schema_length=None),
        horizon_hours=horizon_hours,
        level=level,
        optimistic=result.is_optimistic,
    )


def overlap(result: Replay, *, within_hours: float = 1.0) -> pl.DataFrame:
    """Count how often two rules raise a card for the same stay.

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
    horizon_hours: float | None = None,
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
    asking = Asking(horizon_hours, level, seed)
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
        row = row_of(result, rule, left, looked, asking)
        # What was done is known of the cards that were shown; here others would be.
        kept = {name: value for name, value in row.items() if name not in _DONE}
        rows.append({"threshold": threshold, **kept})
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
    result: Replay, first: Rule, second: Rule, *, horizon_hours: float | None = None
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
