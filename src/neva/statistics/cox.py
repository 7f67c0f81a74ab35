"""Cox regression of one transition, or of several as strata.

Our own because no library at hand has all of it: statsmodels' ``PHReg`` takes
no case weights, lifelines' ``CoxPHFitter`` has Efron's ties only (and brings
matplotlib and autograd with it), scikit-survival has neither strata nor left
truncation and is GPL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import linalg

from neva.errors import UsageError
from neva.statistics import _cox_kernels as kernels
from neva.statistics.cox_model import Baseline, CoxModel

__all__ = [
    "FEW_EVENTS",
    "LEAST_EVENTS",
    "CoxModel",
    "cox",
]

Floats = npt.NDArray[np.float64]

#: Events per coefficient below which a model carries a warning (Peduzzi P et
#: al. 1995, doi:10.1016/0895-4356(95)00048-8).
FEW_EVENTS: Final = 10
#: Events per coefficient below which there is no model: with 5 to 9 it may
#: still do (Vittinghoff E, McCulloch CE 2007, doi:10.1093/aje/kwk052).
LEAST_EVENTS: Final = 5

#: Newton's steps; five or six are usual.
_STEPS = 50
#: Two rows seen whose hazards differ by more than exp(30): not a finite maximum.
_LARGEST_LINEAR = 30.0


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """Rows in order of strata, covariates centred at their means and scaled."""

    z: Floats
    entry: Floats
    exit: Floats
    event: npt.NDArray[np.bool_]
    weight: Floats
    bounds: npt.NDArray[np.int64]
    by_exit: npt.NDArray[np.int64]
    by_entry: npt.NDArray[np.int64]
    efron: bool

    def arguments(self, beta: Floats) -> tuple[object, ...]:
        return (
            self.z, self.z @ beta, self.weight, self.entry, self.exit, self.event, self.bounds,
            self.by_exit, self.by_entry, self.efron,
        )  # fmt: skip


def cox(
    entry: npt.ArrayLike,
    exit: npt.ArrayLike,  # noqa: A002  the word of Transitions
    event: npt.ArrayLike,
    covariates: npt.ArrayLike,
    *,
    names: Sequence[str],
    stratum: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    ties: Literal["efron", "breslow"] = "efron",
) -> CoxModel:
    """Fit Cox's model of proportional hazards.

    Parameters
    ----------
    entry, exit : array_like of float, shape (n,)
        At risk on ``(entry, exit]``; a later entry is left truncation.
    event : array_like of bool, shape (n,)
        Whether it happened at `exit`; other events are censoring.
    covariates : array_like of float, shape (n, p)
    names : sequence of str, length p
    stratum : array_like, shape (n,), optional
        Rows with equal values share a baseline; coefficients are common.
    weights : array_like of float, shape (n,), optional
        Above 0. The covariance takes them as numbers of cases; for weights of
        another kind give `cluster` and use the robust one.
    cluster : array_like, shape (n,), optional
        Whose row it is: adds a covariance that allows rows of one to depend
        on each other.
    ties : {"efron", "breslow"}

    Returns
    -------
    CoxModel

    Raises
    ------
    UsageError
        Too few events (:data:`LEAST_EVENTS` per coefficient), a stratum
        without any, covariates that repeat each other or do not vary, or a
        coefficient without a finite maximum.

    Notes
    -----
    Newton's iteration with halved steps from 0, on centred and scaled
    covariates: results equal ``coxph`` of R's survival. Proportionality is
    assumed, not tested.

    References
    ----------
    Cox DR (1972), doi:10.1111/j.2517-6161.1972.tb00899.x.
    Efron B (1977), doi:10.1080/01621459.1977.10480613.
    Lin DY, Wei LJ (1989), doi:10.1080/01621459.1989.10478874.

    Examples
    --------
    >>> import numpy as np
    >>> time = np.arange(1.0, 13.0)
    >>> treated = np.array([0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1])
    >>> model = cox(np.zeros(12), time, np.ones(12, bool), treated[:, None], names=["treated"])
    >>> model.to_frame().select("covariate", "hazard_ratio").row(0)[1] < 1
    True
    """
    if ties not in {"efron", "breslow"}:
        message = f"ties: no such way; found {ties!r}; give efron or breslow"
        raise UsageError(message)
    x = np.asarray(covariates, dtype=np.float64)
    columns = {"entry": entry, "exit": exit, "event": event}
    n = len(x)
    arrays = {key: np.asarray(value) for key, value in columns.items()}
    labels = np.zeros(n, dtype=np.int64) if stratum is None else np.asarray(stratum)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    arrays |= {"stratum": labels, "weights": weight}
    if cluster is not None:
        arrays["cluster"] = np.asarray(cluster)
    _check(x, arrays, names)
    found, number = np.unique(labels, return_inverse=True)
    strata = tuple(str(label) for label in found) if stratum is not None else ("all",)
    event_of = arrays["event"].astype(bool)
    events = np.bincount(number[event_of], minlength=len(strata))
    warnings = _enough(events, strata, len(names))

    reference = np.average(x, axis=0, weights=weight)
    scale = np.sqrt(np.average((x - reference) ** 2, axis=0, weights=weight))
    flat = [name for name, size in zip(names, scale, strict=True) if not size > 0]
    if flat:
        raise UsageError(f"covariates: {', '.join(flat)}: all values are equal; leave them out")
    order = np.argsort(number, kind="stable")
    inside = number[order]
    begin, end = (arrays[key].astype(np.float64)[order] for key in ("entry", "exit"))
    rows = _Rows(
        z=np.ascontiguousarray((x[order] - reference) / scale),
        entry=begin,
        exit=end,
        event=event_of[order],
        weight=weight[order],
        bounds=np.searchsorted(inside, np.arange(len(strata) + 1)),
        by_exit=np.lexsort((-end, inside)),
        by_entry=np.lexsort((-begin, inside)),
        efron=ties == "efron",
    )
    beta, information, values, steps = _newton(rows, names)
    inverse = linalg.inv(information)
    increments = kernels.baseline(*rows.arguments(beta))
    covariance = (inverse + inverse.T) / 2 / np.outer(scale, scale)
    robust = None
    if cluster is not None:
        change = _score_residuals(rows, beta, increments) @ inverse / scale
        _, owner = np.unique(arrays["cluster"][order], return_inverse=True)
        sums = np.zeros((owner.max() + 1, len(names)))
        np.add.at(sums, owner, change)
        robust = sums.T @ sums
    return CoxModel(
        names=tuple(names),
        coefficients=beta / scale,
        covariance=covariance,
        robust_covariance=robust,
        reference=reference,
        strata=strata,
        baselines=tuple(_baseline(increments, k, scale) for k in range(len(strata))),
        events=events,
        log_likelihood=values[-1],
        null_log_likelihood=values[0],
        ties=ties,
        iterations=steps,
        warnings=warnings,
    )


def _check(x: Floats, arrays: dict[str, npt.NDArray[np.generic]], names: Sequence[str]) -> None:
    if x.ndim != 2 or x.shape[1] != len(names) or not len(names):
        message = (
            f"covariates: found shape {x.shape} and {len(names)} names; give one column a name"
        )
        raise UsageError(message)
    for key, array in arrays.items():
        if array.shape != x.shape[:1]:
            message = (
                f"{key}: found shape {array.shape}; give one element for each of {len(x)} rows"
            )
            raise UsageError(message)
    wrong = ~np.isfinite(x).all(axis=1)
    begin, end = arrays["entry"].astype(np.float64), arrays["exit"].astype(np.float64)
    weight = arrays["weights"].astype(np.float64)
    wrong |= ~np.isfinite(begin) | ~np.isfinite(end) | (begin >= end)
    wrong |= ~np.isfinite(weight) | (weight <= 0)
    if wrong.any():
        message = (
            f"cox: row {int(np.flatnonzero(wrong)[0])} ({int(wrong.sum())} such): a covariate or "
            "time is missing, its exit is not after its entry, or its weight is not above 0; leave "
            "such rows out or fill them in"
        )
        raise UsageError(message)


def _enough(
    events: npt.NDArray[np.int64], strata: tuple[str, ...], coefficients: int
) -> tuple[str, ...]:
    empty = [name for name, count in zip(strata, events, strict=True) if not count]
    if empty:
        message = (
            f"cox: no events in {', '.join(empty)}; leave out what was never seen, or choose a "
            "longer period"
        )
        raise UsageError(message)
    total = int(events.sum())
    if total < LEAST_EVENTS * coefficients:
        message = (
            f"cox: too few events; found {total} for {coefficients} coefficients, below the floor "
            f"of {LEAST_EVENTS} for each; choose fewer covariates or a longer period"
        )
        raise UsageError(message)
    if total < FEW_EVENTS * coefficients:
        warning = (
            f"{total} events for {coefficients} coefficients are fewer than {FEW_EVENTS} for each: "
            "coefficients may be far off"
        )
        return (warning,)
    return ()


def _newton(rows: _Rows, names: Sequence[str]) -> tuple[Floats, Floats, tuple[float, float], int]:
    """Coefficients of scaled covariates, their information, first and last log-likelihood."""
    beta = np.zeros(len(names))
    null, gradient, information = kernels.likelihood(*rows.arguments(beta))
    _independent(information, names)
    width = rows.z.max(axis=0) - rows.z.min(axis=0)
    value = null
    for step_number in range(1, _STEPS + 1):
        try:
            step = linalg.solve(information, gradient, assume_a="pos")
        except linalg.LinAlgError:
            break
        size = 1.0
        while size > 1e-6:
            reached = kernels.likelihood(*rows.arguments(beta + size * step))
            # Near the maximum a full step may lose a rounding error.
            if reached[0] >= value - 1e-11 * max(1.0, abs(value)):
                break
            size /= 2
        beta = beta + size * step
        value, gradient, information = reached
        if np.max(np.abs(beta) * width) > _LARGEST_LINEAR:
            break
        if size == 1.0 and np.max(np.abs(step)) < 1e-9:
            return beta, information, (null, value), step_number
    largest = names[int(np.argmax(np.abs(beta) * width))]
    message = (
        f"cox: no finite maximum of the likelihood: the coefficient of {largest} keeps growing; "
        "one of its values has no events, or it orders all events; leave it out or join its values"
    )
    raise UsageError(message)


def _independent(information: Floats, names: Sequence[str]) -> None:
    """Refuse covariates that are sums of others, or constant among those at risk together."""
    size = np.sqrt(np.maximum(np.diag(information), 0))
    still = [name for name, one in zip(names, size, strict=True) if not one > 1e-7 * size.max()]
    if still:
        message = (
            f"covariates: {', '.join(still)}: equal for all who are at risk together; "
            "leave them out"
        )
        raise UsageError(message)
    correlation = information / np.outer(size, size)
    triangle, order = linalg.qr(correlation, mode="r", pivoting=True)
    lost = np.abs(np.diag(triangle)) < 1e-9
    if lost.any():
        repeated = ", ".join(sorted(names[k] for k in order[lost]))
        message = (
            f"covariates: they repeat each other (collinear); {repeated} follow from the others; "
            "leave them out"
        )
        raise UsageError(message)


def _baseline(increments: tuple[npt.NDArray[Any], ...], stratum: int, scale: Floats) -> Baseline:
    stratum_of, times, hazard, variance, means = increments[:5]
    here = np.flatnonzero(stratum_of == stratum)[::-1]
    return Baseline(
        times=times[here],
        hazard=np.cumsum(hazard[here]),
        variance=np.cumsum(variance[here]),
        means=np.cumsum(means[here], axis=0) * scale,
    )


def _score_residuals(rows: _Rows, beta: Floats, increments: tuple[npt.NDArray[Any], ...]) -> Floats:
    """What each row adds to the gradient, times its weight, shape (n, p).

    An event minus its expected covariates, minus what was expected of the row
    while it was at risk. A tied event is itself under only part of the hazard
    of its time.
    """
    stratum_of, times, hazard, _, means, own_hazard, own_means, compared = increments
    risk = np.exp(rows.z @ beta)
    residuals = np.zeros_like(rows.z)
    for stratum in range(len(rows.bounds) - 1):
        part = slice(rows.bounds[stratum], rows.bounds[stratum + 1])
        here = np.flatnonzero(stratum_of == stratum)[::-1]
        clock = times[here]
        total = np.append(0.0, np.cumsum(hazard[here]))
        total_means = np.vstack([np.zeros(rows.z.shape[1]), np.cumsum(means[here], axis=0)])
        event = rows.event[part]
        out = np.searchsorted(clock, rows.entry[part], side="right")
        # An event is under all hazard before its time, then under its own part.
        until = np.where(
            event,
            np.searchsorted(clock, rows.exit[part], side="left"),
            np.searchsorted(clock, rows.exit[part], side="right"),
        )
        at = here[np.minimum(until, len(here) - 1)]
        under = total[until] - total[out] + np.where(event, own_hazard[at], 0.0)
        under_means = (
            total_means[until] - total_means[out] + np.where(event[:, None], own_means[at], 0.0)
        )
        z = rows.z[part]
        seen = np.where(event[:, None], z - compared[at], 0.0)
        residuals[part] = seen - risk[part][:, None] * (z * under[:, None] - under_means)
    return residuals * rows.weight[:, None]
