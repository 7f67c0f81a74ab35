"""Length of stay, with those still in hospital counted as such."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.census.intervals import Intervals

__all__ = ["LengthOfStay", "kaplan_meier", "length_of_stay"]


@dataclass(frozen=True, slots=True)
class LengthOfStay:
    """Length of stay per place.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a place: ``place``; ``intervals`` (all); ``ended`` and ``open``
        (still there at *now*, or lost to follow-up); ``mean_days`` of the ended
        ones only; ``q25_days``, ``median_days``, ``q75_days``, ``p90_days`` of
        the Kaplan-Meier estimate, in which open ones count for as long as they
        were seen (missing where fewer than that share are known to have ended).
    curves : polars.DataFrame
        The estimate itself: ``place``, ``days``, ``share`` (still there after
        so many days), from ``(0, 1)`` on.
    precision : str
        ``day``: whole days only are meaningful.
    identity : str
        The view of the data.
    """

    frame: pl.DataFrame
    curves: pl.DataFrame
    precision: str
    identity: str

    def to_frame(self) -> pl.DataFrame:
        """Return the table."""
        return self.frame


def kaplan_meier(
    durations: npt.NDArray[np.float64], ended: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Estimate the share still present after each time (Kaplan & Meier 1958).

    Parameters
    ----------
    durations : array, shape (n,)
        Time until the end, or until last seen.
    ended : array of bool, shape (n,)
        Whether it ended.

    Returns
    -------
    times, survival : arrays, shape (k,)
        Distinct times of ends, ascending, and the share that stays longer.
        Those last seen at a time count as at risk at it.

    References
    ----------
    Kaplan EL, Meier P (1958), doi:10.1080/01621459.1958.10501452.

    Examples
    --------
    >>> import numpy as np
    >>> times, share = kaplan_meier(np.array([1., 2., 2., 5.]), np.array([True, True, False, True]))
    >>> times.tolist(), share.round(3).tolist()
    ([1.0, 2.0, 5.0], [0.75, 0.5, 0.0])
    """
    times, ends = np.unique(durations[ended], return_counts=True)
    at_risk = len(durations) - np.searchsorted(np.sort(durations), times, side="left")
    shares: npt.NDArray[np.float64] = np.cumprod(
        1 - ends / np.maximum(at_risk, 1), dtype=np.float64
    )
    return times, shares


def _quantile(times: np.ndarray, survival: np.ndarray, share: float) -> float | None:
    """Return the first time at which at least `share` have ended; as R's survfit.

    Where the curve runs flat exactly at ``1 - share``, the middle of the flat
    piece, as for the median of an even number.
    """
    level = 1 - share
    reached = np.flatnonzero(survival <= level + 1e-12)
    if not len(reached):
        return None
    at = int(reached[0])
    if abs(survival[at] - level) < 1e-12 and at + 1 < len(times):
        return float((times[at] + times[at + 1]) / 2)
    return float(times[at])


def length_of_stay(intervals: Intervals) -> LengthOfStay:
    """Describe how long the intervals of each place last.

    Notes
    -----
    Leaving out patients still present makes stays look short, most of all
    in a wave; the Kaplan-Meier estimate does not. It assumes that being still present says
    nothing about the remaining length of stay.
    """
    rows = []
    curves = []
    frame = intervals.frame.with_columns(
        days=(
            intervals.on_clock(intervals.frame["end"])
            - intervals.on_clock(intervals.frame["start"])
        )
        / 86_400e6,
        ended=~pl.col("open") & ~pl.col("lost"),
    )
    for place in sorted(frame["place"].unique()):
        inside = frame.filter(pl.col("place") == place)
        days, ended = inside["days"].to_numpy(), inside["ended"].to_numpy()
        times, survival = kaplan_meier(days, ended)
        curves.append(
            pl.DataFrame(
                {
                    "place": pl.repeat(place, len(times) + 1, eager=True),
                    "days": np.concatenate([[0.0], times]),
                    "share": np.concatenate([[1.0], survival]),
                }
            )
        )
        quantiles = {
            name: _quantile(times, survival, share)
            for name, share in (
                ("q25_days", 0.25),
                ("median_days", 0.5),
                ("q75_days", 0.75),
                ("p90_days", 0.9),
            )
        }
        rows.append(
            {
                "place": place,
                "intervals": len(days),
                "ended": int(ended.sum()),
                "open": int((~ended).sum()),
                "mean_days": float(days[ended].mean()) if ended.any() else None,
                **quantiles,
            }
        )
    schema = {
        "place": pl.String,
        "intervals": pl.Int64,
        "ended": pl.Int64,
        "open": pl.Int64,
        **dict.fromkeys(
            ("mean_days", "q25_days", "median_days", "q75_days", "p90_days"), pl.Float64
        ),
    }
    return LengthOfStay(
        frame=pl.DataFrame(rows, schema=schema),
        curves=pl.concat(curves)
        if curves
        else pl.DataFrame(schema={"place": pl.String, "days": pl.Float64, "share": pl.Float64}),
        precision=intervals.precision,
        identity=intervals.identity,
    )
