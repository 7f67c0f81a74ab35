"""Expected outcomes: prediction models, their recalibration, observed over expected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import special

from neva.errors import UsageError
from neva.statistics.calibration import calibration, logistic_recalibration
from neva.statistics.intervals import rate_interval

__all__ = [
    "CalibrationRow",
    "ExpectedModel",
    "ExpectedOutcomes",
    "Period",
    "Recalibration",
    "observed_expected",
    "recalibrate",
]

FloatArray = npt.NDArray[np.float64]

Probability = Annotated[float, Field(gt=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Period(_Frozen):
    """Days from `start` up to, not including, `end`."""

    start: date
    end: date

    @model_validator(mode="after")
    def _forwards(self) -> Period:
        if self.end <= self.start:
            raise ValueError(f"period ends on {self.end}, not after its start {self.start}")
        return self

    def holds(self, other: Period) -> bool:
        """Whether the other period lies inside this one.

        Examples
        --------
        >>> year = Period(start=date(2023, 1, 1), end=date(2024, 1, 1))
        >>> year.holds(Period(start=date(2023, 7, 1), end=date(2024, 1, 1)))
        True
        """
        return self.start <= other.start and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


class CalibrationRow(_Frozen):
    """One group of the calibration table that a recalibrated model carries."""

    group: int
    n: int
    events: int
    predicted: float
    observed: float
    lower: float
    upper: float


class Recalibration(_Frozen):
    """How a model was fitted to local data, and how well it agreed before and after.

    Attributes
    ----------
    intercept, slope : float
        New linear predictor = intercept + slope * that of the model before.
    slope_was_fitted : bool
        Else it was left at 1.
    period, population
        Of the cases it was fitted to.
    n, events, missing : int
        Cases used, outcomes among them, cases left out for lack of a predictor
        or outcome.
    ratio_before : float or None
        Observed over expected of the model as it was.
    slope_before : float or None
        Calibration slope of the model as it was; missing where it cannot be fitted.
    c_statistic : float or None
    brier_before, brier_after : float or None
    table : tuple of CalibrationRow
        After recalibration, on the same cases: optimistic.
    previous_version : str
    """

    intercept: float
    slope: float
    slope_was_fitted: bool
    period: Period
    population: str
    n: int
    events: int
    missing: int
    ratio_before: float | None
    slope_before: float | None
    c_statistic: float | None
    brier_before: float | None
    brier_after: float | None
    table: tuple[CalibrationRow, ...]
    previous_version: str


class ExpectedModel(_Frozen):
    """A model that gives each case the probability of one outcome.

    Attributes
    ----------
    id, version : str
    outcome : str
        What it predicts, by the name that outcomes have in the project's
        definitions; using it for another one is refused.
    source : str
        Publication, with DOI.
    developed_on : str
        Patients and years that it was made from.
    predictor : {"linear", "probability", "score"}
        What its input is. linear: a linear predictor (log odds) that is read from
        the column `column`, or computed from `coefficients`; probability: a
        probability in that column; score: a score that `lookup` turns into a
        probability.
    column : str
        Name of the input column; not used with coefficients.
    intercept : float
    coefficients : tuple of (column, coefficient)
    lookup : tuple of (score, probability)
        Probabilities strictly between 0 and 1. A score that is not in it has no
        prediction.
    recalibration : Recalibration or None

    Examples
    --------
    >>> model = ExpectedModel(
    ...     id="example.mortality", version="1.0.0", outcome="death-in-hospital",
    ...     source="invented for this example", developed_on="nobody", predictor="score",
    ...     column="points", lookup=((0, 0.02), (1, 0.1), (2, 0.3)))
    >>> found = model.expect(pl.DataFrame({"points": [0, 2, 7]}), outcome="death-in-hospital")
    >>> found.frame["expected"].round(6).to_list(), found.missing
    ([0.02, 0.3, None], 1)
    >>> ExpectedModel.model_validate_json(model.model_dump_json()) == model
    True
    """

    id: str
    version: str
    outcome: str
    source: str
    developed_on: str
    predictor: Literal["linear", "probability", "score"]
    column: str = "predictor"
    intercept: float = 0.0
    coefficients: tuple[tuple[str, float], ...] = ()
    lookup: tuple[tuple[float, Probability], ...] = ()
    recalibration: Recalibration | None = None

    @model_validator(mode="after")
    def _whole(self) -> ExpectedModel:
        if (self.predictor == "score") != bool(self.lookup):
            raise ValueError("a lookup belongs to predictor 'score', and to no other")
        if self.coefficients and self.predictor != "linear":
            raise ValueError("coefficients belong to predictor 'linear'")
        if len({score for score, _ in self.lookup}) < len(self.lookup):
            raise ValueError("lookup: a score has two probabilities")
        return self

    def check_outcome(self, outcome: str) -> None:
        """Refuse any outcome but the model's own.

        Raises
        ------
        UsageError
        """
        if outcome != self.outcome:
            raise UsageError(
                f"model {self.id} {self.version} predicts {self.outcome!r}, not {outcome!r}; "
                "an expected number of one outcome says nothing of another: choose a model "
                f"of {outcome!r}, or measure {self.outcome!r}"
            )

    def linear_predictor(self, frame: pl.DataFrame) -> FloatArray:
        """Return log odds, shape (rows,); NaN where an input is missing.

        Raises
        ------
        UsageError
            If a column is absent or holds no probabilities.
        """
        names = [name for name, _ in self.coefficients] or [self.column]
        absent = [name for name in names if name not in frame.columns]
        if absent:
            raise UsageError(
                f"model {self.id} {self.version} needs the column {absent[0]!r}, which the "
                f"table lacks (it has {', '.join(frame.columns)}); add it"
            )
        inputs = {
            name: frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in names
        }
        first = inputs[names[0]]
        if self.coefficients:
            base = np.full(frame.height, self.intercept)
            for name, coefficient in self.coefficients:
                base = base + coefficient * inputs[name]
        elif self.predictor == "score":
            logits = {score: float(special.logit(p)) for score, p in self.lookup}
            base = np.array([logits.get(float(x), np.nan) for x in first]) + self.intercept
        elif self.predictor == "probability":
            if ((first <= 0) | (first >= 1)).any():
                raise UsageError(
                    f"model {self.id} {self.version}: {self.column} has values that are not "
                    "strictly between 0 and 1; give probabilities"
                )
            base = special.logit(first) + self.intercept
        else:
            base = first + self.intercept
        if self.recalibration is not None:
            base = self.recalibration.intercept + self.recalibration.slope * base
        return np.asarray(base, dtype=np.float64)

    def expect(
        self,
        frame: pl.DataFrame,
        *,
        outcome: str,
        period: Period | None = None,
        population: str | None = None,
    ) -> ExpectedOutcomes:
        """Predict each row of a table.

        Parameters
        ----------
        frame : polars.DataFrame
            With the columns that the model reads.
        outcome : str
            The outcome to be compared with; must be the model's own.
        period, population
            Of the cases; compared with those that the model was recalibrated on.

        Returns
        -------
        ExpectedOutcomes
        """
        self.check_outcome(outcome)
        probability = pl.Series("expected", special.expit(self.linear_predictor(frame)))
        predicted = frame.with_columns(probability.fill_nan(None))
        warnings = []
        local = self.recalibration
        if local is None:
            warnings.append("not-recalibrated")
        else:
            if period is None or not local.period.holds(period):
                warnings.append("other-period")
            if population is None or population != local.population:
                warnings.append("other-population")
        return ExpectedOutcomes(
            model=self,
            frame=predicted,
            missing=predicted["expected"].null_count(),
            warnings=tuple(warnings),
        )


@dataclass(frozen=True, eq=False)
class ExpectedOutcomes:
    """Predictions of a model for the rows of a table.

    Attributes
    ----------
    model : ExpectedModel
    frame : polars.DataFrame
        The table with ``expected`` (probability 0-1, missing without input).
    missing : int
        Rows without prediction.
    warnings : tuple of str
        ``not-recalibrated`` (never fitted to local data); ``other-period`` and
        ``other-population`` (recalibrated, but on others, or it was not said which
        these are): O/E then mixes quality with drift of the model.
    """

    model: ExpectedModel
    frame: pl.DataFrame
    missing: int
    warnings: tuple[str, ...]

    def to_frame(self) -> pl.DataFrame:
        """Return the table."""
        return self.frame


def recalibrate(
    model: ExpectedModel,
    cases: pl.DataFrame,
    *,
    outcome: str,
    period: Period,
    population: str,
    version: str,
    fit_slope: bool = False,
    groups: int = 10,
) -> ExpectedModel:
    """Fit a model's intercept, and its slope if wished, to local cases.

    Parameters
    ----------
    model : ExpectedModel
    cases : polars.DataFrame
        Columns that the model reads, and ``outcome`` (0, 1 or boolean; missing rows
        are left out and counted).
    outcome : str
        Name of the outcome; must be the model's own.
    period, population
        Of the cases; the new model warns when it is used on others.
    version : str
        Of the new model; must differ.
    fit_slope : bool
        Intercept alone needs few events; the slope needs a hundred or more.
    groups : int
        Of the calibration table.

    Returns
    -------
    ExpectedModel
        With its :class:`Recalibration`; recalibrating it again composes both.

    Notes
    -----
    After recalibration on all units together O/E is 1 over all of them: it can
    tell units and months from each other, but not whether the hospital does
    better than others.

    References
    ----------
    Cox DR (1958), doi:10.1093/biomet/45.3-4.562; Steyerberg EW (2009), Clinical
    Prediction Models.
    """
    model.check_outcome(outcome)
    if version == model.version:
        raise UsageError(f"version: {version} is the version before; give the new model another")
    predictor = model.linear_predictor(cases)
    happened = cases["outcome"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    kept = ~np.isnan(predictor) & ~np.isnan(happened)
    x, y = predictor[kept], happened[kept]
    fit = logistic_recalibration(y, x, fixed_slope=None if fit_slope else 1.0)
    if fit.intercept is None or fit.slope is None:
        raise UsageError(
            f"model {model.id} {model.version} cannot be recalibrated on these {len(y)} cases with "
            f"{int(y.sum())} events ({fit.problem}); take a longer period"
        )
    before = calibration(y, special.expit(x), groups=groups)
    after = calibration(y, special.expit(fit.intercept + fit.slope * x), groups=groups)
    # What is fitted to the predictor as it is now, written for the model's own:
    # a + b (a0 + b0 x) = (a + b a0) + (b b0) x.
    old = model.recalibration
    intercept = fit.intercept + (fit.slope * old.intercept if old else 0.0)
    slope = fit.slope * (old.slope if old else 1.0)
    rows = after.curve.select(CalibrationRow.model_fields.keys()).iter_rows(named=True)
    return model.model_copy(
        update={
            "version": version,
            "recalibration": Recalibration(
                intercept=intercept,
                slope=slope,
                slope_was_fitted=fit_slope,
                period=period,
                population=population,
                n=len(y),
                events=int(y.sum()),
                missing=int((~kept).sum()),
                ratio_before=before.ratio,
                slope_before=before.recalibration.slope,
                c_statistic=before.c_statistic,
                brier_before=before.brier,
                brier_after=after.brier,
                table=tuple(CalibrationRow(**row) for row in rows),
                previous_version=model.version,
            ),
        }
    )


def observed_expected(cases: pl.DataFrame, *, level: float = 0.95) -> pl.DataFrame:
    """Compare observed with expected events per unit.

    Parameters
    ----------
    cases : polars.DataFrame
        One row a case: ``unit``, ``outcome`` (0, 1 or boolean), ``expected``
        (probability); a case without outcome or expected is counted and left
        out of both sums.
    level : float
        Of the exact Poisson intervals, which take E as known without error.

    Returns
    -------
    polars.DataFrame
        ``unit``, ``cases``, ``missing_outcome``, ``missing_expected`` (of those with an
        outcome), ``observed``, ``expected``, ``ratio`` (missing where nothing is
        expected), ``lower``, ``upper``; by unit.

    Examples
    --------
    >>> cases = pl.DataFrame({"unit": ["A", "A", "B", "B"], "outcome": [1, 0, 1, 0],
    ...                       "expected": [0.3, 0.2, 0.1, None]})
    >>> observed_expected(cases).select("unit", "cases", "missing_expected", "observed",
    ...                                 "expected", "ratio").rows()
    [('A', 2, 0, 1, 0.5, 2.0), ('B', 2, 1, 1, 0.1, 10.0)]
    """
    no_outcome = pl.col("outcome").is_null()
    no_expected = pl.col("expected").is_null()
    used = ~no_outcome & ~no_expected
    table = (
        cases.with_columns(pl.col("outcome").cast(pl.Int64), pl.col("expected").cast(pl.Float64))
        .group_by("unit")
        .agg(
            cases=pl.len().cast(pl.Int64),
            missing_outcome=no_outcome.sum().cast(pl.Int64),
            missing_expected=(no_expected & ~no_outcome).sum().cast(pl.Int64),
            observed=pl.col("outcome").filter(used).sum(),
            expected=pl.col("expected").filter(used).sum(),
        )
        .sort("unit")
    )
    found = rate_interval(table["observed"].to_numpy(), table["expected"].to_numpy(), level)
    extra: dict[str, Any] = {
        "ratio": pl.Series(found.estimate).fill_nan(None),
        "lower": pl.Series(found.lower),
        "upper": pl.Series(found.upper),
    }
    return table.with_columns(**extra)
