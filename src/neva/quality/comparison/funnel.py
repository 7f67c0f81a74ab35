"""Funnel plots: units compared with a reference, given their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from neva.errors import UsageError

__all__ = [
    "Funnel",
    "FunnelMethod",
    "binomial_limits",
    "funnel_proportions",
    "funnel_ratios",
    "over_dispersion",
    "poisson_limits",
]

FloatArray = npt.NDArray[np.float64]

FunnelMethod = Literal["exact", "arcsine", "log", "square-root"]

# Two-sided 95 % and 99.8 %: Spiegelhalter's two and three sigma.
Z_95: Final = 1.959963984540054
Z_998: Final = 3.090232306167813
_TAILS: Final = {"95": 0.025, "998": 0.001}
_Z: Final = {"95": Z_95, "998": Z_998}
# Share of units on each side that is trimmed before over-dispersion is measured.
TRIMMED: Final = 0.10
_CURVE_POINTS: Final = 200


@dataclass(frozen=True, eq=False)
class Funnel:
    """Units against a reference, with limits for their size.

    Attributes
    ----------
    kind : {"proportion", "ratio"}
    method : {"exact", "arcsine", "log", "square-root"}
    frame : polars.DataFrame
        One row a unit: ``unit``, ``events`` (numerator or observed), ``size``
        (denominator or expected), ``value`` (missing without size), ``z``,
        ``lower_95``, ``upper_95``, ``lower_998``, ``upper_998`` and ``flag``: ``in``,
        ``low-95``, ``high-95``, ``low-998``, ``high-998`` (strictly outside) or
        ``no-data``.
    curve : polars.DataFrame
        Limits to be drawn: ``size``, ``lower_95`` …, 200 sizes.
    reference : float
        What units are compared with.
    phi : float or None
        Mean of the trimmed z squared; 1 is chance alone. Missing for exact limits.
    tau2 : float
        Variance between units on the scale of the method that is added to
        chance; 0 for exact limits.
    left_out : int
        Units without an ordinary z (an observed count of 0 has no logarithm),
        which do not enter `phi` and `tau2`.
    """

    kind: Literal["proportion", "ratio"]
    method: FunnelMethod
    frame: pl.DataFrame
    curve: pl.DataFrame
    reference: float
    phi: float | None
    tau2: float
    left_out: int

    def to_frame(self) -> pl.DataFrame:
        """Return the units."""
        return self.frame

    @property
    def outside(self) -> pl.DataFrame:
        """Units outside the 99.8 % limits."""
        return self.frame.filter(pl.col("flag").is_in(["low-998", "high-998"]))


def binomial_limits(
    n: npt.ArrayLike, reference: float, tail: float
) -> tuple[FloatArray, FloatArray]:
    """Return exact limits of a proportion, interpolated between counts.

    Parameters
    ----------
    n : array_like of int, shape (k,)
        Denominators, at least 1.
    reference : float
        The proportion in control, 0-1.
    tail : float
        Probability beyond each limit.

    Returns
    -------
    lower, upper : arrays, shape (k,)
        Below: ``(r - a) / n`` with r the smallest count that has ``P(R <= r) >= tail``
        and ``a = (P(R <= r) - tail) / P(R = r)``; above: the same for the cases
        that are no events. Cut to [0, 1].

    Notes
    -----
    Counts are discrete: the probability of lying beyond either limit is below
    `tail`, never above. Taking both sides alike matters for small units: one
    event in one case is not outside of anything. The interpolation is that of
    Spiegelhalter's appendix from memory, not checked against its text.

    References
    ----------
    Spiegelhalter DJ (2005), doi:10.1002/sim.1970.

    Examples
    --------
    >>> lower, upper = binomial_limits([100], 0.2, 0.025)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.1197], [0.2865])
    """
    sizes = np.atleast_1d(np.asarray(n, dtype=np.float64))
    if reference in {0.0, 1.0}:  # nothing else can be observed
        return np.full_like(sizes, reference), np.full_like(sizes, reference)

    def below(proportion: float) -> FloatArray:
        count = stats.binom.ppf(tail, sizes, proportion)
        reached = stats.binom.cdf(count, sizes, proportion)
        mass = reached - stats.binom.cdf(count - 1, sizes, proportion)
        part = np.divide(reached - tail, mass, out=np.zeros_like(mass), where=mass > 0)
        cut: FloatArray = np.clip((count - part) / sizes, 0.0, 1.0)
        return cut

    return below(reference), 1.0 - below(1.0 - reference)


def poisson_limits(expected: npt.ArrayLike, tail: float) -> tuple[FloatArray, FloatArray]:
    """Return exact limits of observed over expected.

    Parameters
    ----------
    expected : array_like of float, shape (k,)
        Above 0.
    tail : float
        Probability beyond each limit.

    Returns
    -------
    lower, upper : arrays, shape (k,)
        Below: ``(r - a) / E`` with r the smallest count that has
        ``P(R <= r) >= tail`` and ``a = (P(R <= r) - tail) / P(R = r)``, R being
        Poisson with mean E; above alike, with the upper tail. Not below 0.

    Notes
    -----
    The range of counts where E is true; not the confidence limits of a mean for
    which E was counted. Interpolated as :func:`binomial_limits`.

    References
    ----------
    Spiegelhalter DJ (2005), doi:10.1002/sim.1970.

    Examples
    --------
    >>> lower, upper = poisson_limits([10.0], 0.025)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.3775], [1.716])
    """
    e = np.atleast_1d(np.asarray(expected, dtype=np.float64))
    low = stats.poisson.ppf(tail, e)
    reached = stats.poisson.cdf(low, e)
    part = (reached - tail) / stats.poisson.pmf(low, e)
    lower: FloatArray = np.maximum(low - part, 0.0) / e
    # The largest count that at least `tail` of the counts reach or pass.
    high = stats.poisson.isf(tail, e)
    high = np.where(stats.poisson.sf(high - 1, e) < tail, high - 1, high)
    high = np.maximum(high, 0.0)
    passed = stats.poisson.sf(high - 1, e)
    part = (passed - tail) / stats.poisson.pmf(high, e)
    upper: FloatArray = (high + part) / e
    return lower, upper


def _flags_by_tail(below: FloatArray, above: FloatArray, known: npt.NDArray[np.bool_]) -> pl.Series:
    """Flag units by the probability of so few, or so many, events as were seen."""
    flag = np.full(len(below), "in", dtype=object)
    for name in ("95", "998"):
        flag[above < _TAILS[name]] = f"high-{name}"
        flag[below < _TAILS[name]] = f"low-{name}"
    flag[~known] = "no-data"
    return pl.Series("flag", flag.tolist(), dtype=pl.String)


def over_dispersion(
    z: npt.ArrayLike, error: npt.ArrayLike, *, trim: Literal["truncate", "winsorise"]
) -> tuple[float, float]:
    """Estimate how much units vary beyond chance.

    Parameters
    ----------
    z : array_like of float, shape (n,)
        Standardised differences from the reference.
    error : array_like of float, shape (n,)
        Standard errors by chance alone, on the scale of the method.
    trim : {"truncate", "winsorise"}
        Units beyond the 10 % and 90 % quantiles of z (linear between values) are
        left out, or their z set to the quantile, so that the units one is
        looking for do not widen the limits that should find them.

    Returns
    -------
    phi : float
        Mean of z squared.
    tau2 : float
        0 if ``n phi < n - 1``, else
        ``(n phi - (n - 1)) / (sum w - sum w^2 / sum w)`` with ``w = 1 / error^2``;
        n and w are those of the units that were kept. 0 for a single unit.

    References
    ----------
    Spiegelhalter DJ (2005), doi:10.1002/sim.1970; DerSimonian R, Laird N (1986),
    doi:10.1016/0197-2456(86)90046-2.

    Examples
    --------
    >>> phi, tau2 = over_dispersion([-3, -1, 1, 3], [0.1] * 4, trim="winsorise")
    >>> round(phi, 2), round(tau2, 4)
    (3.38, 0.0351)
    """
    scores, errors = np.asarray(z, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if not len(scores):
        return 1.0, 0.0
    low, high = np.quantile(scores, [TRIMMED, 1 - TRIMMED])
    if trim == "truncate":
        kept = (scores >= low) & (scores <= high)
        scores, errors = scores[kept], errors[kept]
    else:
        scores = np.clip(scores, low, high)
    n = len(scores)
    if not n:
        return 1.0, 0.0
    phi = float(np.mean(scores**2))
    weights = 1 / errors**2
    spread = float(weights.sum() - (weights**2).sum() / weights.sum())
    if n < 2 or n * phi < n - 1:
        return phi, 0.0
    return phi, (n * phi - (n - 1)) / spread


def _columns(units: pl.DataFrame, events: str, size: str) -> tuple[FloatArray, FloatArray]:
    counts = units[events].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    sizes = units[size].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    wrong = ~(counts >= 0) | ~(sizes >= 0) | (counts != np.floor(counts))
    if wrong.any():
        raise UsageError(
            f"units: row {int(np.flatnonzero(wrong)[0]) + 1}: {events} or {size} is missing, "
            "negative or no whole count; leave the unit out or count it"
        )
    if units["unit"].is_duplicated().any():
        raise UsageError("units: a unit has more than one row; add its counts up")
    return counts, sizes


def _sizes_to_draw(sizes: FloatArray, least: float) -> FloatArray:
    known = sizes[sizes > 0]
    top = float(known.max()) * 1.05 if len(known) else least
    # Closer together where the funnel bends.
    return least + (max(top, least) - least) * np.linspace(0, 1, _CURVE_POINTS) ** 2


def _assembled(
    units: pl.DataFrame,
    counts: FloatArray,
    sizes: FloatArray,
    value: FloatArray,
    z: FloatArray,
    limits: dict[str, FloatArray],
) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"unit": units["unit"], "events": counts, "size": sizes, "value": value, "z": z, **limits}
    ).with_columns(pl.col("value", "z", *limits).fill_nan(None))
    flag = (
        pl.when(pl.col("value").is_null())
        .then(pl.lit("no-data"))
        .when(pl.col("value") > pl.col("upper_998"))
        .then(pl.lit("high-998"))
        .when(pl.col("value") < pl.col("lower_998"))
        .then(pl.lit("low-998"))
        .when(pl.col("value") > pl.col("upper_95"))
        .then(pl.lit("high-95"))
        .when(pl.col("value") < pl.col("lower_95"))
        .then(pl.lit("low-95"))
        .otherwise(pl.lit("in"))
    )
    return frame.with_columns(flag=flag)


def funnel_proportions(
    units: pl.DataFrame,
    *,
    reference: float | None = None,
    method: Literal["exact", "arcsine"] = "exact",
) -> Funnel:
    """Compare proportions of units with their common one or with a target.

    Parameters
    ----------
    units : polars.DataFrame
        ``unit``, ``numerator``, ``denominator``; one row a unit.
    reference : float, optional
        By default all numerators over all denominators.
    method : {"exact", "arcsine"}
        Exact binomial limits (chance alone), or limits on the arcsine scale
        with over-dispersion: ``sin²(asin √p0 ± z √(1/(4n) + tau2))``, phi and tau2
        from z winsorised at 10 %.

    Returns
    -------
    Funnel
        ``z`` is ``(asin √p - asin √p0) 2 √n`` for both methods.

    Notes
    -----
    A funnel plot of crude proportions compares units that may treat different
    patients; being outside is a reason to look, not a verdict. About one in 500
    units of a common process lies outside of 99.8 % limits.

    References
    ----------
    Spiegelhalter DJ (2005), doi:10.1002/sim.1970.

    Examples
    --------
    >>> units = pl.DataFrame({"unit": ["A", "B"], "numerator": [10, 45],
    ...                       "denominator": [100, 100]})
    >>> funnel_proportions(units, reference=0.2).frame.select("unit", "value", "flag").rows()
    [('A', 0.1, 'low-95'), ('B', 0.45, 'high-998')]
    """
    counts, sizes = _columns(units, "numerator", "denominator")
    if (counts > sizes).any():
        raise UsageError("units: a numerator above its denominator; a proportion cannot exceed 1")
    total = float(sizes.sum())
    p0 = reference if reference is not None else (float(counts.sum()) / total if total else 0.0)
    if not 0 <= p0 <= 1:
        raise UsageError(f"reference: {p0} is no proportion; give a number between 0 and 1")
    known = sizes > 0
    value = np.divide(counts, sizes, out=np.full_like(counts, np.nan), where=known)
    with np.errstate(divide="ignore"):
        error = 1 / (2 * np.sqrt(sizes))
    centre = float(np.arcsin(np.sqrt(p0)))
    z = np.full_like(value, np.nan)
    z[known] = (np.arcsin(np.sqrt(value[known])) - centre) / error[known]
    phi, tau2 = (
        over_dispersion(z[known], error[known], trim="winsorise")
        if method == "arcsine"
        else (None, 0.0)
    )

    def limits(n: FloatArray) -> dict[str, FloatArray]:
        found = {}
        for name in ("95", "998"):
            if method == "exact":
                low, high = binomial_limits(n, p0, _TAILS[name])
            else:
                half = _Z[name] * np.sqrt(1 / (4 * n) + tau2)
                low = np.sin(np.clip(centre - half, 0, np.pi / 2)) ** 2
                high = np.sin(np.clip(centre + half, 0, np.pi / 2)) ** 2
            found[f"lower_{name}"], found[f"upper_{name}"] = low, high
        return found

    drawn = _sizes_to_draw(sizes, 1.0)
    if method == "exact":
        drawn = np.unique(np.rint(drawn))
    at_units = limits(np.where(known, sizes, 1.0))
    frame = _assembled(units, counts, sizes, value, z, at_units)
    if method == "exact":
        n = np.where(known, sizes, 1.0)
        below, above = stats.binom.cdf(counts, n, p0), stats.binom.sf(counts - 1, n, p0)
        frame = frame.with_columns(_flags_by_tail(below, above, known))
    return Funnel(
        kind="proportion",
        method=method,
        frame=frame,
        curve=pl.DataFrame({"size": drawn, **limits(drawn)}),
        reference=p0,
        phi=phi,
        tau2=tau2,
        left_out=int((~known).sum()),
    )


def funnel_ratios(
    units: pl.DataFrame, *, method: Literal["exact", "log", "square-root"] = "exact"
) -> Funnel:
    """Compare observed with expected events of units: standardised ratios.

    Parameters
    ----------
    units : polars.DataFrame
        ``unit``, ``observed``, ``expected`` (sum of predicted probabilities, taken
        as known without error); one row a unit.
    method : {"exact", "log", "square-root"}
        exact: Poisson limits, chance alone. log (as the English SHMI):
        ``exp(± z √(1/E + tau2))``, with phi and tau2 after leaving out 10 % of units
        on each side. square-root (as the Care Quality Commission):
        ``(1 ± z √(1/(4E) + tau2))²``, with z winsorised at 10 %.

    Returns
    -------
    Funnel
        Reference 1. ``z`` is ``√E ln(O/E)`` for the log method and
        ``2 √E (√(O/E) - 1)`` otherwise.

    Notes
    -----
    Indirectly standardised ratios of two units should not be compared with
    each other when their case mix differs: each is compared with the reference.
    tau2 is an excuse as well as an estimate: with wide limits no unit stands
    out; show phi, and say which method was used.

    References
    ----------
    Spiegelhalter DJ (2005), doi:10.1002/sim.1970.

    Examples
    --------
    >>> units = pl.DataFrame({"unit": ["A", "B"], "observed": [10, 40],
    ...                       "expected": [12.0, 20.0]})
    >>> funnel_ratios(units).frame.select("unit", pl.col("value", "z").round(2), "flag").rows()
    [('A', 0.83, -0.6, 'in'), ('B', 2.0, 3.7, 'high-998')]
    """
    counts, sizes = _columns(units, "observed", "expected")
    if ((counts > 0) & (sizes == 0)).any():
        raise UsageError("units: events where none were expected; check the predictions")
    known = sizes > 0
    value = np.divide(counts, sizes, out=np.full_like(counts, np.nan), where=known)
    safe = np.where(known, sizes, 1.0)
    usable = known & (counts > 0) if method == "log" else known
    z = np.full_like(value, np.nan)
    if method == "log":
        error = 1 / np.sqrt(safe)
        z[usable] = np.log(value[usable]) / error[usable]
    else:
        error = 1 / (2 * np.sqrt(safe))
        z[usable] = (np.sqrt(value[usable]) - 1) / error[usable]
    phi: float | None = None
    tau2 = 0.0
    if method != "exact":
        trim: Literal["truncate", "winsorise"] = "truncate" if method == "log" else "winsorise"
        phi, tau2 = over_dispersion(z[usable], error[usable], trim=trim)

    def limits(e: FloatArray) -> dict[str, FloatArray]:
        found = {}
        for name in ("95", "998"):
            if method == "exact":
                low, high = poisson_limits(e, _TAILS[name])
            elif method == "log":
                half = _Z[name] * np.sqrt(1 / e + tau2)
                low, high = np.exp(-half), np.exp(half)
            else:
                half = _Z[name] * np.sqrt(1 / (4 * e) + tau2)
                low, high = np.maximum(1 - half, 0) ** 2, (1 + half) ** 2
            found[f"lower_{name}"], found[f"upper_{name}"] = low, high
        return found

    drawn = _sizes_to_draw(sizes, min(1.0, float(sizes[known].min())) if known.any() else 1.0)
    frame = _assembled(units, counts, sizes, value, z, limits(safe))
    if method == "exact":
        below, above = stats.poisson.cdf(counts, safe), stats.poisson.sf(counts - 1, safe)
        frame = frame.with_columns(_flags_by_tail(below, above, known))
    return Funnel(
        kind="ratio",
        method=method,
        frame=frame,
        curve=pl.DataFrame({"size": drawn, **limits(drawn)}),
        reference=1.0,
        phi=phi,
        tau2=tau2,
        left_out=int((~usable).sum()),
    )
