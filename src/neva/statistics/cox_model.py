"""Results of a Cox regression: hazard ratios, baselines, hazards of given covariates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtri

from neva.errors import UsageError

__all__ = ["Baseline", "CoxModel", "PredictedHazard"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """Cumulative hazard of one stratum at the reference of the model.

    Attributes
    ----------
    times : array, shape (k,)
        Of events, ascending.
    hazard : array, shape (k,)
        Cumulative, at ``reference``: never of covariates 0, unless the
        reference says so.
    variance : array, shape (k,)
        Of the hazard if the coefficients were known.
    means : array, shape (k, p)
        Mean covariates of those at risk minus the reference, added up with
        increments of the hazard.
    """

    times: Floats
    hazard: Floats
    variance: Floats
    means: Floats


@dataclass(frozen=True, eq=False, slots=True)
class PredictedHazard:
    """Cumulative hazard for given covariates.

    Attributes
    ----------
    times, hazard, variance : arrays, shape (k,)
        The variance includes that of the coefficients.
    stratum : str
    """

    times: Floats
    hazard: Floats
    variance: Floats
    stratum: str

    def to_frame(self) -> pl.DataFrame:
        """Return ``time``, ``hazard``, ``variance``."""
        return pl.DataFrame({"time": self.times, "hazard": self.hazard, "variance": self.variance})


@dataclass(frozen=True, eq=False, slots=True)
class CoxModel:
    """A fitted model: hazard = baseline of the stratum * exp((x - reference) @ coefficients).

    Attributes
    ----------
    names : tuple of str, length p
    coefficients : array, shape (p,)
        Logarithms of hazard ratios per unit.
    covariance : array, shape (p, p)
        Inverse of the information matrix.
    robust_covariance : array, shape (p, p), or None
        Between clusters (Lin & Wei), if clusters were given.
    reference : array, shape (p,)
        Weighted means of the covariates; the baselines hold there.
    strata : tuple of str
    baselines : tuple of Baseline
        One a stratum.
    events : array of int, shape (strata,)
    log_likelihood, null_log_likelihood : float
        With these coefficients, and with all 0.
    ties : str
    iterations : int
    warnings : tuple of str
        What the reader must know.
    """

    names: tuple[str, ...]
    coefficients: Floats
    covariance: Floats
    robust_covariance: Floats | None
    reference: Floats
    strata: tuple[str, ...]
    baselines: tuple[Baseline, ...]
    events: npt.NDArray[np.int64]
    log_likelihood: float
    null_log_likelihood: float
    ties: str
    iterations: int
    warnings: tuple[str, ...]

    def relative_hazard(self, x: npt.ArrayLike) -> float:
        """Return the hazard at covariates `x`, shape (p,), relative to the reference."""
        return float(np.exp(self._beyond(x) @ self.coefficients))

    def _beyond(self, x: npt.ArrayLike) -> Floats:
        values = np.asarray(x, dtype=np.float64)
        if values.shape != self.reference.shape or not np.isfinite(values).all():
            message = (
                f"covariates: found shape {values.shape}, or missing ones; give "
                f"{len(self.names)} numbers: {', '.join(self.names)}"
            )
            raise UsageError(message)
        beyond: Floats = values - self.reference
        return beyond

    def cumulative_hazard(
        self, x: npt.ArrayLike, stratum: str | None = None, *, times: npt.ArrayLike | None = None
    ) -> PredictedHazard:
        """Return the cumulative hazard of a stratum for covariates `x`, shape (p,).

        Parameters
        ----------
        x : array_like, shape (p,)
            In the order of ``names`` and in the units that were fitted.
        stratum : str, optional
            Needed if there are several.
        times : array_like, shape (k,), optional
            By default all times of events.
        """
        if stratum is None and len(self.strata) == 1:
            stratum = self.strata[0]
        if stratum not in self.strata:
            message = f"stratum: found {stratum}; give one of the model's: {', '.join(self.strata)}"
            raise UsageError(message)
        base = self.baselines[self.strata.index(stratum)]
        beyond = self._beyond(x)
        relative = float(np.exp(beyond @ self.coefficients))
        from_coefficients = base.hazard[:, None] * beyond - base.means
        spread = np.einsum("ki,ij,kj->k", from_coefficients, self.covariance, from_coefficients)
        hazard, variance = relative * base.hazard, relative**2 * (base.variance + spread)
        if times is None:
            return PredictedHazard(base.times, hazard, variance, stratum)
        asked = np.asarray(times, dtype=np.float64)
        at = np.searchsorted(base.times, asked, side="right")
        return PredictedHazard(
            asked, np.append(0.0, hazard)[at], np.append(0.0, variance)[at], stratum
        )

    def to_frame(self, level: float = 0.95) -> pl.DataFrame:
        """Return ``covariate``, ``coefficient``, ``error``, ``hazard_ratio``, ``lower``, ``upper``.

        Errors are the robust ones where there are any.
        """
        used = self.covariance if self.robust_covariance is None else self.robust_covariance
        error = np.sqrt(np.diag(used))
        z = float(ndtri((1 + level) / 2))
        return pl.DataFrame(
            {
                "covariate": list(self.names),
                "coefficient": self.coefficients,
                "error": error,
                "hazard_ratio": np.exp(self.coefficients),
                "lower": np.exp(self.coefficients - z * error),
                "upper": np.exp(self.coefficients + z * error),
            }
        )
