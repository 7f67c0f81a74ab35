"""Evaluation of forecasts: rolling origins, fixed baselines, proper scores.

At every origin a forecast is made from what was known then, and so are the
baselines; later each is scored by what came. A forecast should beat "same
as now" and "same as a week ago", and its intervals are evaluated by how often they held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.events.schema import TIME
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.distributions import quantiles
from neva.statistics.scoring import (
    Reliability,
    Skill,
    crps,
    expected_crps,
    log_score,
    pinball,
    pit_values,
    reliability,
    skill,
)

__all__ = ["Evaluation", "ScoreCollection", "counts_at", "lost_at"]

Floats = npt.NDArray[np.float64]

#: Quantiles that are scored by themselves.
_LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_KEYS: Final = ("origin", "place", "horizon_hours", "model")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of forecasts and of baselines, occasion by occasion.

    Attributes
    ----------
    scores : polars.DataFrame
        One row a forecast: ``origin``, ``time`` (UTC), ``hour`` (local, of
        `time`), ``place``, ``horizon_hours``, ``model``, ``observed``,
        ``mean``, ``crps``, ``noise_floor`` (the score it expected of itself),
        ``log_score``, ``pinball`` (mean over five quantiles), ``in50``,
        ``in90``, ``width90``, ``transform`` (randomised probability integral).
    refused : polars.DataFrame
        ``origin``, ``time``, ``place``, ``reason``: occasions that could not be
        judged, or forecast.
    ours : str
        The name of the model that is judged; the others are baselines.
    what, identity, zone : str
    notes : tuple of str
    seed : int
        Of the block bootstrap.
    """

    scores: pl.DataFrame
    refused: pl.DataFrame
    ours: str
    what: str
    identity: str
    zone: str
    notes: tuple[str, ...] = ()
    seed: int = 1

    def to_frame(self) -> pl.DataFrame:
        """Return the scores."""
        return self.scores

    def summary(self, *by: str) -> pl.DataFrame:
        """Return mean scores of every model.

        Parameters
        ----------
        *by : str
            ``place``, ``horizon_hours``, ``hour``; the first two if none is
            given.

        Returns
        -------
        polars.DataFrame
            `by`, ``model``, ``occasions``, ``crps``, ``noise_floor``,
            ``log_score``, ``pinball``, ``coverage50``, ``coverage90`` with
            ``coverage90_low`` and ``coverage90_high`` (exact 95 % interval,
            occasions taken as independent), ``width90``, ``mae``, ``bias``
            (forecast minus observed).
        """
        from neva.statistics.intervals import proportion_interval

        keys = list(by or ("place", "horizon_hours"))
        table = (
            self.scores.group_by(*keys, "model", maintain_order=True)
            .agg(
                occasions=pl.len(),
                crps=pl.col("crps").mean(),
                noise_floor=pl.col("noise_floor").mean(),
                log_score=pl.col("log_score").mean(),
                pinball=pl.col("pinball").mean(),
                coverage50=pl.col("in50").mean(),
                coverage90=pl.col("in90").mean(),
                width90=pl.col("width90").mean(),
                mae=(pl.col("observed") - pl.col("mean")).abs().mean(),
                bias=(pl.col("mean") - pl.col("observed")).mean(),
                _in=pl.col("in90").sum(),
            )
            .sort(*keys, "model")
        )
        held = proportion_interval(table["_in"].to_numpy(), table["occasions"].to_numpy())
        return table.with_columns(
            coverage90_low=pl.Series(held.lower), coverage90_high=pl.Series(held.upper)
        ).drop("_in")

    def skills(self, *by: str) -> pl.DataFrame:
        """Return the skill against every baseline, with block-bootstrap intervals.

        Returns
        -------
        polars.DataFrame
            `by` (``place`` and ``horizon_hours`` if none is given),
            ``baseline``, ``occasions``, ``skill`` (1 is perfect, 0 no better)
            with ``skill_low`` and ``skill_high``, ``difference`` (of the mean
            CRPS, in patients; below 0 is better) with its interval,
            ``better`` (the interval excludes zero), ``worse``.
        """
        keys = list(by or ("place", "horizon_hours"))
        rng = np.random.default_rng(self.seed)
        rows = []
        mine = self.scores.filter(model=self.ours)
        pairs = ("origin", "time", "place", "horizon_hours")
        for baseline in self.scores["model"].unique(maintain_order=True):
            if baseline == self.ours:
                continue
            theirs = self.scores.filter(model=baseline).select(*pairs, other="crps")
            both = mine.join(theirs, on=pairs, how="inner").sort("origin", "time", "place")
            for key, part in both.group_by(*keys, maintain_order=True):
                # Occasions of one origin are alike: they are drawn together.
                by_origin = part.group_by("origin", maintain_order=True).agg(
                    pl.col("crps", "other").mean()
                )
                found: Skill = skill(by_origin["crps"], by_origin["other"], rng=rng)
                rows.append(
                    {
                        **dict(zip(keys, key, strict=True)),
                        "baseline": baseline,
                        "occasions": part.height,
                        "skill": found.value,
                        "skill_low": found.value_low,
                        "skill_high": found.value_high,
                        "difference": found.difference,
                        "difference_low": found.low,
                        "difference_high": found.high,
                        "better": found.high < 0,
                        "worse": found.low > 0,
                    }
                )
        return pl.DataFrame(rows).sort(*keys, "baseline") if rows else pl.DataFrame()

    def reliability(self, **chosen: object) -> Reliability:
        """Return how often the levels of our forecasts were reached (EPUDD and PIT)."""
        rows = self.scores.filter(model=self.ours, **chosen)
        return reliability(rows["transform"].to_numpy())


@dataclass(slots=True)
class ScoreCollection:
    """Collects forecasts and outcomes, and becomes an evaluation."""

    zone: str
    rng: np.random.Generator
    rows: list[dict[str, object]] = field(default_factory=list)
    refusals: list[dict[str, object]] = field(default_factory=list)

    def add(
        self,
        distribution: npt.ArrayLike,
        observed: int,
        *,
        origin: datetime,
        time: datetime,
        place: str,
        horizon_hours: float,
        model: str,
    ) -> None:
        """Score one forecast."""
        one = np.atleast_2d(np.asarray(distribution, dtype=np.float64))
        count = np.array([observed])
        ends = quantiles(one, [0.05, 0.25, 0.75, 0.95])[0]
        self.rows.append(
            {
                "origin": origin,
                "time": time,
                "hour": time.astimezone(ZoneInfo(self.zone)).hour,
                "place": place,
                "horizon_hours": float(horizon_hours),
                "model": model,
                "observed": int(observed),
                "mean": float((one @ np.arange(one.shape[1]))[0]),
                "crps": float(crps(one, count)[0]),
                "noise_floor": float(expected_crps(one)[0]),
                "log_score": float(log_score(one, count)[0]),
                "pinball": float(np.mean([pinball(one, count, level)[0] for level in _LEVELS])),
                "in50": bool(ends[1] <= observed <= ends[2]),
                "in90": bool(ends[0] <= observed <= ends[3]),
                "width90": int(ends[3] - ends[0]),
                "transform": float(pit_values(one, count, self.rng)[0]),
            }
        )

    def refuse(self, *, origin: datetime, time: datetime, place: str, reason: str) -> None:
        """Note an occasion that is not scored."""
        self.refusals.append({"origin": origin, "time": time, "place": place, "reason": reason})

    def evaluation(
        self, *, ours: str, what: str, identity: str, notes: Iterable[str] = ()
    ) -> Evaluation:
        """Return the evaluation of what was collected.

        Raises
        ------
        UsageError
            Nothing could be scored.
        """
        refused = pl.DataFrame(
            self.refusals,
            schema={"origin": TIME, "time": TIME, "place": pl.String, "reason": pl.String},
        )
        if not self.rows:
            reasons = "; ".join(sorted(set(refused["reason"])))
            message = (
                f"evaluation: nothing could be scored; found {refused.height} refusals: {reasons}; "
                "choose other origins"
            )
            raise UsageError(message)
        return Evaluation(
            scores=pl.DataFrame(self.rows, schema_overrides={"origin": TIME, "time": TIME}),
            refused=refused,
            ours=ours,
            what=what,
            identity=identity,
            zone=self.zone,
            notes=tuple(dict.fromkeys(notes)),
        )


def counts_at(
    sojourns: Sojourns, members: Mapping[str, Sequence[str]], times: Sequence[datetime]
) -> dict[str, npt.NDArray[np.int64]]:
    """Count who was in each place at each time: ``start <= time < end``, or open at *now*.

    Parameters
    ----------
    sojourns : Sojourns
    members : mapping of str to sequence of str
        The states that belong to each place.
    times : sequence of datetime
        Aware.
    """
    at = pl.Series(list(times), dtype=TIME).to_physical().to_numpy()
    now = pl.Series([sojourns.now], dtype=TIME).to_physical()[0]
    result = {}
    for place, states in members.items():
        rows = sojourns.frame.filter(pl.col("state").is_in(list(states)))
        starts = np.sort(rows["start"].to_physical().to_numpy())
        ends = rows["end"].to_physical().to_numpy()
        stays_open = (rows["next"].is_null() & ~rows["lost"]).to_numpy() & (ends >= now)
        ends = np.sort(np.where(stays_open, np.iinfo(np.int64).max, ends))
        result[place] = np.searchsorted(starts, at, side="right") - np.searchsorted(
            ends, at, side="right"
        )
    return result


def lost_at(
    sojourns: Sojourns, members: Mapping[str, Sequence[str]], times: Sequence[datetime]
) -> dict[str, npt.NDArray[np.int64]]:
    """Count those lost to follow-up in each place by each time."""
    at = pl.Series(list(times), dtype=TIME).to_physical().to_numpy()
    return {
        place: np.searchsorted(
            np.sort(
                sojourns.frame.filter("lost", pl.col("state").is_in(list(states)))["end"]
                .to_physical()
                .to_numpy()
            ),
            at,
            side="right",
        )
        for place, states in members.items()
    }
