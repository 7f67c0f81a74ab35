"""Case by case: VLAD and the risk-adjusted CUSUM, with limits from simulation."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError

__all__ = [
    "CusumLimit",
    "RiskAdjustedCusum",
    "Vlad",
    "cusum_limit_for_arl",
    "cusum_run_length",
    "cusum_weights",
    "risk_adjusted_cusum",
    "vlad",
]

FloatArray = npt.NDArray[np.float64]

# A simulated series that has not signalled after so many times the wanted run
# length is cut off, and counted.
_LONGEST = 30


def _cases(cases: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the cases with outcome and expected, and how many have not both."""
    extra = [pl.col("time")] if "time" in cases.columns else []
    table = cases.select(
        pl.col("outcome").cast(pl.Float64), pl.col("expected").cast(pl.Float64), *extra
    )
    whole = table.filter(pl.col("outcome").is_not_null() & pl.col("expected").is_not_null())
    if not whole["outcome"].is_in([0.0, 1.0]).all():
        raise UsageError("outcome: has values other than 0 and 1; leave out unknown outcomes first")
    if not whole["expected"].is_between(0, 1).all():
        raise UsageError("expected: has values that are not probabilities, 0 to 1")
    if extra and not whole["time"].is_sorted():
        raise UsageError(
            "time: cases are not in order of time; sort them, and say how ties are cut"
        )
    return whole.with_row_index("case", offset=1), table.height - whole.height


@dataclass(frozen=True, eq=False)
class Vlad:
    """Variable life-adjusted display.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a case: ``case`` (from 1), ``time`` if given, ``outcome``, ``expected``,
        ``saved``: cumulated expected minus observed events; rising is better than
        expected.
    left_out : int
        Cases without outcome or expected.
    """

    frame: pl.DataFrame
    left_out: int

    def to_frame(self) -> pl.DataFrame:
        """Return the cases."""
        return self.frame


def vlad(cases: pl.DataFrame) -> Vlad:
    """Cumulate expected minus observed events, case by case.

    Parameters
    ----------
    cases : polars.DataFrame
        In order of time: ``outcome`` (0, 1 or boolean), ``expected``
        (probability), and ``time`` if known.

    Returns
    -------
    Vlad

    Notes
    -----
    For unwanted events. The line wanders by chance alone, ever further, and has
    no valid limits of its own: read it beside the CUSUM, which has.

    References
    ----------
    Lovegrove J, Valencia O, Treasure T, Sherlaw-Johnson C, Gallivan S (1997),
    doi:10.1016/S0140-6736(97)06507-0.

    Examples
    --------
    >>> cases = pl.DataFrame({"outcome": [0, 1, 0], "expected": [0.1, 0.2, 0.3]})
    >>> vlad(cases).frame["saved"].round(3).to_list()
    [0.1, -0.7, -0.4]
    """
    whole, left_out = _cases(cases)
    return Vlad(
        whole.with_columns(saved=(pl.col("expected") - pl.col("outcome")).cum_sum()), left_out
    )


def cusum_weights(expected: npt.ArrayLike, odds_ratio: float) -> tuple[FloatArray, FloatArray]:
    """Return log-likelihood ratios of a changed against an unchanged odds of the event.

    Parameters
    ----------
    expected : array_like of float, shape (n,)
        Probabilities of the event.
    odds_ratio : float
        Change to be found: 2 for doubled, 0.5 for halved odds.

    Returns
    -------
    with_event, without : arrays, shape (n,)
        ``ln(R / (1 - p + R p))`` and ``ln(1 / (1 - p + R p))``.

    References
    ----------
    Steiner SH, Cook RJ, Farewell VT, Treasure T (2000),
    doi:10.1093/biostatistics/1.4.441.

    Examples
    --------
    >>> event, none = cusum_weights([0.1], 2)
    >>> event.round(5).tolist(), none.round(5).tolist()
    ([0.59784], [-0.09531])
    """
    if not odds_ratio > 0 or odds_ratio == 1:
        raise UsageError(f"odds_ratio: {odds_ratio} is no change to look for; give 2, say, or 0.5")
    p = np.asarray(expected, dtype=np.float64)
    without: FloatArray = -np.log1p((odds_ratio - 1) * p)
    return np.log(odds_ratio) + without, without


@dataclass(frozen=True, eq=False)
class RiskAdjustedCusum:
    """CUSUMs for a worse and for a better outcome.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a case: ``case``, ``time`` if given, ``outcome``, ``expected``,
        ``worse`` (0 or above), ``better`` (0 or below, the second CUSUM
        mirrored), ``signal``: ``worse``, ``better``, ``both`` or missing. At a signal the
        value is the one that exceeded the limit; if `reset`, the next case starts from 0.
    odds_ratio_worse, odds_ratio_better : float
    limit_worse, limit_better : float
        Both positive; `better` signals below minus its limit.
    reset : bool
    left_out : int
        Cases without outcome or expected.
    """

    frame: pl.DataFrame
    odds_ratio_worse: float
    odds_ratio_better: float
    limit_worse: float
    limit_better: float
    reset: bool
    left_out: int

    def to_frame(self) -> pl.DataFrame:
        """Return the cases."""
        return self.frame


def _path(
    weights: FloatArray, limit: float, *, reset: bool
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    values = np.zeros(len(weights))
    above = np.zeros(len(weights), dtype=np.bool_)
    current = 0.0
    for at, weight in enumerate(weights):
        current = max(0.0, current + weight)
        values[at], above[at] = current, current > limit
        if above[at] and reset:
            current = 0.0
    return values, above


def risk_adjusted_cusum(
    cases: pl.DataFrame,
    *,
    limit_worse: float,
    limit_better: float,
    odds_ratio_worse: float = 2.0,
    odds_ratio_better: float = 0.5,
    reset: bool = True,
) -> RiskAdjustedCusum:
    """Follow outcomes case by case until there is evidence that the odds have changed.

    Parameters
    ----------
    cases : polars.DataFrame
        As for :func:`vlad`.
    limit_worse, limit_better : float
        Signal when a CUSUM exceeds its limit; from :func:`cusum_limit_for_arl` on the
        hospital's own case mix.
    odds_ratio_worse, odds_ratio_better : float
        Above and below 1.
    reset : bool
        Start again from 0 after a signal; else the CUSUM goes on, and every case
        above the limit is a signal.

    Returns
    -------
    RiskAdjustedCusum

    Notes
    -----
    ``X = max(0, X + W)`` with the weights of :func:`cusum_weights`. A CUSUM signals in
    the end even if nothing changed: the limit fixes how seldom. When case mix
    changes, false alarms may become almost twice as frequent (Wittenberg 2022):
    simulate the limit again. A signal calls for a review of data, case mix and care,
    in that order.

    References
    ----------
    Steiner SH, Cook RJ, Farewell VT, Treasure T (2000),
    doi:10.1093/biostatistics/1.4.441; Wittenberg P (2022), Stat Methods Med Res
    31:779-800, PMC9014690.

    Examples
    --------
    >>> cases = pl.DataFrame({"outcome": [1, 1, 0], "expected": [0.1, 0.1, 0.1]})
    >>> found = risk_adjusted_cusum(cases, limit_worse=1.0, limit_better=1.0)
    >>> found.frame.select(pl.col("worse", "better").round(3), "signal").rows()
    [(0.598, 0.0, None), (1.196, 0.0, 'worse'), (0.0, -0.051, None)]
    """
    if odds_ratio_worse <= 1 or not 0 < odds_ratio_better < 1:
        raise UsageError(
            f"odds ratios: {odds_ratio_worse} for worse and {odds_ratio_better} for better; "
            "worse must be above 1 and better between 0 and 1"
        )
    if limit_worse <= 0 or limit_better <= 0:
        raise UsageError("limits: must be above 0; the one for better is given without its sign")
    whole, left_out = _cases(cases)
    p = whole["expected"].to_numpy()
    happened = whole["outcome"].to_numpy() == 1
    columns: dict[str, Any] = {}
    signals = {}
    for name, ratio, limit, sign in (
        ("worse", odds_ratio_worse, limit_worse, 1.0),
        ("better", odds_ratio_better, limit_better, -1.0),
    ):
        event, none = cusum_weights(p, ratio)
        values, signals[name] = _path(np.where(happened, event, none), limit, reset=reset)
        columns[name] = pl.Series(sign * values + 0.0)
    words = np.array([None, "worse", "better", "both"], dtype=object)
    found = words[signals["worse"].astype(int) + 2 * signals["better"].astype(int)]
    frame = whole.with_columns(**columns, signal=pl.Series(found.tolist(), dtype=pl.String))
    return RiskAdjustedCusum(
        frame=frame,
        odds_ratio_worse=odds_ratio_worse,
        odds_ratio_better=odds_ratio_better,
        limit_worse=limit_worse,
        limit_better=limit_better,
        reset=reset,
        left_out=left_out,
    )


@nb.njit(cache=True, nogil=True)
def _run_lengths(actual, with_event, without, seeds, limit, longest):
    """Cases until the CUSUM exceeds the limit, one for each seed; -1 if cut off.

    A case is drawn from the case mix with replacement and has its event with
    probability `actual`. Numbers come from splitmix64, so that the same seed
    meets the same cases whatever the limit.
    """
    size = np.uint64(len(actual))
    lengths = np.empty(len(seeds), dtype=np.int64)
    for k in range(len(seeds)):
        state = seeds[k]
        current = 0.0
        lengths[k] = -1
        for case in range(1, longest + 1):
            state = state + np.uint64(0x9E3779B97F4A7C15)
            z = state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
            # The upper half of the bits chooses the case, the lower its outcome.
            chosen = ((z >> np.uint64(32)) * size) >> np.uint64(32)
            draw = (np.float64(z & np.uint64(0xFFFFFFFF)) + 0.5) / 4294967296.0
            at = np.int64(chosen)
            weight = with_event[at] if draw < actual[at] else without[at]
            current = max(0.0, current + weight)
            if current > limit:
                lengths[k] = case
                break
    return lengths


@dataclass(frozen=True, slots=True)
class CusumLimit:
    """A limit and how long a CUSUM runs with it.

    Attributes
    ----------
    limit : float
    mean_run_length, standard_error : float
        Cases until a signal, with the Monte-Carlo error of this estimate.
    replications : int
    cut_off : int
        Simulated series that did not signal in 30 times the wanted run length; they
        count as that long, and the mean is then too low.
    odds_ratio : float
        Change that the CUSUM looks for.
    true_odds_ratio : float
        Change in the simulated cases; 1 is none.
    """

    limit: float
    mean_run_length: float
    standard_error: float
    replications: int
    cut_off: int
    odds_ratio: float
    true_odds_ratio: float

    def to_frame(self) -> pl.DataFrame:
        """Return one row."""
        return pl.DataFrame([{name: getattr(self, name) for name in self.__slots__}])


def _mix(expected: npt.ArrayLike) -> FloatArray:
    p = np.asarray(expected, dtype=np.float64).ravel()
    if not len(p) or not ((p > 0) & (p < 1)).all():
        raise UsageError(
            "expected: the case mix is empty or has values that are not strictly between 0 and 1"
        )
    return p


def _simulated(
    p: FloatArray,
    seeds: npt.NDArray[np.uint64],
    limit: float,
    longest: int,
    odds_ratio: float,
    true_odds_ratio: float,
) -> CusumLimit:
    event, none = cusum_weights(p, odds_ratio)
    actual = true_odds_ratio * p / (1 - p + true_odds_ratio * p)
    lengths = _run_lengths(actual, event, none, seeds, limit, longest)
    cut_off = int((lengths < 0).sum())
    run = np.where(lengths < 0, longest, lengths).astype(np.float64)
    return CusumLimit(
        limit=limit,
        mean_run_length=float(run.mean()),
        standard_error=float(run.std(ddof=1) / np.sqrt(len(run))),
        replications=len(run),
        cut_off=cut_off,
        odds_ratio=odds_ratio,
        true_odds_ratio=true_odds_ratio,
    )


def cusum_run_length(
    expected: npt.ArrayLike,
    *,
    odds_ratio: float,
    limit: float,
    rng: np.random.Generator,
    true_odds_ratio: float = 1.0,
    replications: int = 2000,
    longest: int = 1_000_000,
) -> CusumLimit:
    """Estimate how many cases pass until a CUSUM with this limit signals.

    Parameters
    ----------
    expected : array_like of float, shape (n,)
        The case mix: probabilities of past cases, drawn from with replacement.
    odds_ratio, limit : float
        Of the CUSUM.
    rng : numpy.random.Generator
    true_odds_ratio : float
        1 for false alarms; another for the time until a change is found.
    replications : int
        At least 2.
    longest : int
        Series are cut off after so many cases.

    Examples
    --------
    >>> found = cusum_run_length([0.1], odds_ratio=2, limit=0.5, rng=np.random.default_rng(1))
    >>> abs(found.mean_run_length - 10) < 4 * found.standard_error
    True
    """
    if replications < 2:
        raise UsageError(f"replications: {replications}; give at least 2")
    seeds = rng.integers(0, 2**64, size=replications, dtype=np.uint64)
    return _simulated(_mix(expected), seeds, limit, longest, odds_ratio, true_odds_ratio)


def cusum_limit_for_arl(
    expected: npt.ArrayLike,
    *,
    arl: float,
    odds_ratio: float = 2.0,
    rng: np.random.Generator,
    replications: int = 2000,
) -> CusumLimit:
    """Find the limit with which false alarms come every `arl` cases on average.

    Parameters
    ----------
    expected : array_like of float, shape (n,)
        The hospital's own case mix: probabilities of past cases.
    arl : float
        Wanted in-control average run length, cases.
    odds_ratio : float
        Change that the CUSUM looks for; above 1 for worse, below 1 for better.
    rng : numpy.random.Generator
        Seeded by the caller.
    replications : int
        Simulated series; the standard error is about ``arl / sqrt(replications)``.

    Returns
    -------
    CusumLimit
        The mean run length is estimated with other random numbers than the limit
        was found with, so its difference from `arl` is honest.

    Notes
    -----
    The limit is found by halving an interval; every trial meets the same cases,
    so that the run length never falls when the limit rises. The case mix is
    taken to stay what it was, and the probabilities to be right.

    Examples
    --------
    >>> found = cusum_limit_for_arl([0.05, 0.1, 0.2], arl=500, rng=np.random.default_rng(1),
    ...                             replications=500)
    >>> abs(found.mean_run_length - 500) < 5 * found.standard_error
    True
    """
    p = _mix(expected)
    if arl < 2:
        raise UsageError(f"arl: {arl} cases between false alarms; give at least 2")
    if replications < 2:
        raise UsageError(f"replications: {replications}; give at least 2")
    longest = int(_LONGEST * arl)
    seeds = rng.integers(0, 2**64, size=2 * replications, dtype=np.uint64)
    search, check = seeds[:replications], seeds[replications:]

    def length(limit: float) -> float:
        return _simulated(p, search, limit, longest, odds_ratio, 1.0).mean_run_length

    low, high = 0.0, 1.0
    while length(high) < arl:
        low, high = high, high + 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) < arl else (low, middle)
        if high - low < 1e-4 * high:
            break
    return _simulated(p, check, high, longest, odds_ratio, 1.0)
