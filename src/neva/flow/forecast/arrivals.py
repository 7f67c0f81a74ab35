"""Arrivals: how many patients come, by local day and hour, and how many will.

The plain model is a negative binomial regression of daily counts. It leans on
the last known weeks (an offset, so that without anything to learn it says
"as many as last week") and learns weekday, season, growth and holidays around
that; a small penalty holds back what few days teach. A profile shares each
day out over its hours. Another regressor can take the place of the regression
through the door ``neva.models``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.counts import CountRegression, count_regression
from neva.statistics.distributions import sum_of_negative_binomials
from neva.statistics.models import Regressor, load_model

__all__ = [
    "LEAST_ARRIVALS",
    "LEAST_DAYS",
    "PROFILE_PRIOR",
    "ArrivalModel",
    "Arrivals",
    "DailyArrivals",
    "arrivals_of",
    "fit_arrivals",
    "holidays_of",
]

Floats = npt.NDArray[np.float64]

#: Fewer days, or arrivals, and there is no model.
LEAST_DAYS: Final = 14
LEAST_ARRIVALS: Final = 30
PLAIN: Final = "negative-binomial"

#: A season is learnt from so many days on: two of each.
_DAYS_FOR_SEASONS: Final = 550
_WAVES: Final = 3
#: Priors: standard deviations of logarithmic effects.
_WEEKDAY_SD: Final = 0.3
_HOLIDAY_SD: Final = 0.3
_SEASON_SD: Final = 0.2
_LEVEL_SD: Final = 0.5
_GROWTH_SD: Final = 0.5
#: In a short history nothing but a steady level is taken for granted.
_SHORT_DRIFT_SD: Final = 0.02
_SHORT_LEVEL_SD: Final = 0.05
_SHORT_GROWTH_SD: Final = 0.05
_LATELY: Final = 0.5
_LATELY_SD: Final = 0.3
#: What the level may drift over the days forecast, before anything is seen.
_UNKNOWN_LEVEL_SD: Final = 0.1
#: How fast older days lose weight where the history is short: a wave, not a habit.
_SHORT_DAYS: Final = 180
_SHORT_HALF_LIFE: Final = 21.0
#: A weekday's hour profile is drawn to that of all days as if by so many arrivals.
PROFILE_PRIOR: Final = 200.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Counts of arrivals by local day and hour.

    Attributes
    ----------
    first : date
        The first local day.
    hourly : array of int64, shape (days, 24)
        By hour of the local clock; the hour that the clocks repeat holds both.
        Days are complete but perhaps the last. All in hour 0 where only days
        are known.
    zone : str
    until : datetime
        Aware; nothing is known from then on.
    by_day : bool
        Only days are known.
    what : str
        In words.
    """

    first: date
    hourly: npt.NDArray[np.int64]
    zone: str
    until: datetime
    by_day: bool = False
    what: str = "arrivals"

    @property
    def today(self) -> date:
        """The local day of `until`: the first that is not complete."""
        return self.until.astimezone(ZoneInfo(self.zone)).date()

    @property
    def complete(self) -> npt.NDArray[np.int64]:
        """Counts of complete days, shape (days, 24)."""
        return self.hourly[: max(0, (self.today - self.first).days)]

    @property
    def daily(self) -> npt.NDArray[np.int64]:
        """Totals of complete days, shape (days,)."""
        totals: npt.NDArray[np.int64] = self.complete.sum(axis=1)
        return totals

    @property
    def so_far(self) -> int:
        """Arrivals of today before `until`."""
        return int(self.hourly[len(self.complete) :].sum())

    def to_frame(self) -> pl.DataFrame:
        """Return columns ``day`` and ``arrivals``, complete days only."""
        days = [self.first + timedelta(days=k) for k in range(len(self.daily))]
        return pl.DataFrame(
            {"day": days, "arrivals": self.daily}, schema_overrides={"day": pl.Date}
        )

    def known_at(self, until: datetime) -> Arrivals:
        """Return what was known at an earlier time, at the start of a local hour.

        For a day that is only known as a whole, nothing is known before its end.
        """
        until = min(until, self.until)
        local = until.astimezone(ZoneInfo(self.zone))
        days = (local.date() - self.first).days
        hourly = self.hourly[: max(days, 0) + 1].copy()
        if days < len(hourly):
            hourly[max(days, 0), local.hour if days >= 0 and not self.by_day else 0 :] = 0
        return Arrivals(self.first, hourly, self.zone, until, self.by_day, self.what)


def arrivals_of(
    sojourns: Sojourns, *, only: pl.Expr | None = None, since: datetime | None = None
) -> Arrivals:
    """Count the arrivals of cases: the start of the first sojourn of each.

    Parameters
    ----------
    sojourns : Sojourns
    only : polars.Expr, optional
        A condition on first sojourns: ``pl.col("class") == "elective"``.
    since : datetime, optional
        Aware; from the first arrival if not given.
    """
    firsts = sojourns.frame.group_by("case", maintain_order=True).first()
    begins = firsts["start"].min() if since is None else since
    assert isinstance(begins, datetime)
    if only is not None:
        firsts = firsts.filter(only)
    local = firsts["start"].dt.convert_time_zone(sojourns.zone)
    place = ZoneInfo(sojourns.zone)
    first = begins.astimezone(place).date()
    by_day = sojourns.precision == "day"
    # A day that is known is known as a whole.
    until = sojourns.now + timedelta(days=1) if by_day else sojourns.now
    days = (until.astimezone(place).date() - first).days + 1
    at = pl.DataFrame({"day": local.dt.date(), "hour": local.dt.hour()}).with_columns(
        number=(pl.col("day") - pl.lit(first)).dt.total_days()
    )
    at = at.filter(pl.col("number").is_between(0, days - 1))
    hourly = np.zeros((days, 24), dtype=np.int64)
    hours = np.zeros(at.height, dtype=np.int64) if by_day else at["hour"].to_numpy()
    np.add.at(hourly, (at["number"].to_numpy(), hours), 1)
    return Arrivals(first, hourly, sojourns.zone, until, by_day)


def holidays_of(country: str, first: date, last: date) -> dict[date, str]:
    """Return the public holidays of a country, by the ``holidays`` package.

    Parameters
    ----------
    country : str
        ISO 3166 code, ``RU``; with a subdivision ``US-IA``.

    Raises
    ------
    UsageError
        The country is not known.
    """
    import holidays

    code, _, part = country.partition("-")
    try:
        named = holidays.country_holidays(
            code, subdiv=part or None, years=range(first.year, last.year + 1)
        )
    except NotImplementedError as error:
        message = (
            f"holidays: country not known; found {country!r}; give an ISO code such as RU or US-IA"
        )
        raise UsageError(message) from error
    return {
        day: name.split(";")[0].replace(" (observed)", "")
        for day, name in named.items()
        if first <= day <= last
    }


@dataclass(frozen=True, slots=True)
class _Features:
    """What is known of a day `horizon` days before it: offset, columns, their priors."""

    offset: Floats
    columns: Floats
    penalty: Floats


@dataclass(frozen=True, slots=True)
class DailyArrivals:
    """Forecast of daily arrivals.

    Attributes
    ----------
    first : date
        The first day forecast; it may be today, in part.
    mean : array, shape (days,)
        Of whole days.
    shape : array, shape (days,)
        The variance is ``mean + mean**2 / shape``, parameter uncertainty
        included.
    profile : array, shape (days, 24)
        Shares of the day's arrivals by local hour.
    zone : str
    """

    first: date
    mean: Floats
    shape: Floats
    profile: Floats
    zone: str

    def distribution(self, day: int) -> Floats:
        """Return the distribution of the count of the `day`-th day."""
        return sum_of_negative_binomials([self.mean[day]], [self.shape[day]])

    def hourly(self, day: int, hour: int) -> Floats:
        """Return the distribution of the count of one local hour."""
        return sum_of_negative_binomials(
            [self.mean[day] * self.profile[day, hour]], [self.shape[day]]
        )

    def to_frame(self) -> pl.DataFrame:
        """Return columns ``day``, ``mean``, ``q05``, ``q50``, ``q95``."""
        from neva.statistics.distributions import quantiles

        ends = [quantiles(self.distribution(k), [0.05, 0.5, 0.95]) for k in range(len(self.mean))]
        days = [self.first + timedelta(days=k) for k in range(len(self.mean))]
        return pl.DataFrame(
            {"day": days, "mean": self.mean},
            schema_overrides={"day": pl.Date},
        ).with_columns(
            **{name: pl.Series([int(end[k]) for end in ends]) for k, name in enumerate(_NAMES)}
        )


_NAMES: Final = ("q05", "q50", "q95")


@dataclass(frozen=True, slots=True)
class ArrivalModel:
    """A fitted model of arrivals.

    Attributes
    ----------
    arrivals : Arrivals
        What it was fitted to, and what it starts from.
    holidays : mapping of date to str
    name : str
        ``negative-binomial``, or that of another regressor.
    profile : array, shape (7, 24)
        Shares by local hour, from Monday on.
    fits : tuple
        For one day ahead, two, and so on: coefficients and shape.
    level_sd : float
        How far the level of all days together was from what was forecast,
        beyond what independent days explain; a standard deviation of logarithms.
    """

    arrivals: Arrivals
    holidays: Mapping[date, str]
    name: str
    profile: Floats
    fits: tuple[CountRegression | tuple[Regressor, float], ...]
    level_sd: float

    def drift(self, ahead: int) -> float:
        """Return the standard deviation of the logarithmic level, `ahead` days on."""
        return self.level_sd * math.sqrt(ahead / len(self.fits))

    def forecast(self, days: int) -> DailyArrivals:
        """Forecast from today on.

        Parameters
        ----------
        days : int
            At most as many as the model was fitted for. Day 0 is today, as a
            whole day, seen from its beginning; what has come of it by now is
            for the reader to take off.
        """
        if days > len(self.fits):
            message = (
                f"days: beyond what the model was fitted for; found {days}, fitted {len(self.fits)}"
                "; fit it for more days"
            )
            raise UsageError(message)
        known = self.arrivals.daily.astype(np.float64)
        today = self.arrivals.first + timedelta(days=len(known))
        names = _names_of(self.holidays)
        mean, shape = np.empty(days), np.empty(days)
        for ahead in range(1, days + 1):
            at = np.array([len(known) + ahead - 1])
            features = _features(known, self.arrivals.first, at, ahead, self.holidays, names)
            fit = self.fits[ahead - 1]
            if isinstance(fit, tuple):
                model, spread = fit
                base = np.exp(features.offset)
                relative = model.predict(np.column_stack([features.columns, features.offset]))
                mean[ahead - 1], shape[ahead - 1] = (base * relative)[0], spread
                continue
            mean[ahead - 1] = fit.mean(features.columns, features.offset)[0]
            row = features.columns[0]
            uncertain = float(row @ fit.covariance @ row)
            shape[ahead - 1] = 1 / (1 / fit.shape + uncertain)
        weekdays = [(today + timedelta(days=k)).weekday() for k in range(days)]
        return DailyArrivals(today, mean, shape, self.profile[weekdays], self.arrivals.zone)


def _names_of(holidays: Mapping[date, str]) -> list[str]:
    return sorted(set(holidays.values()))


def _features(
    known: Floats,
    first: date,
    days: npt.NDArray[np.int64],
    ahead: int,
    holidays: Mapping[date, str],
    names: list[str],
) -> _Features:
    """Describe days by what was known `ahead` days before them, and by the calendar."""
    sums = np.concatenate([[0.0], np.cumsum(known)])
    last = days - ahead + 1  # days before this one were known

    def level(until: npt.NDArray[np.int64], width: int) -> Floats:
        begin = np.maximum(until - width, 0)
        found: Floats = (sums[until] - sums[begin] + 0.5) / np.maximum(until - begin, 1)
        return found

    week, before = level(last, 7), level(np.maximum(last - 7, 1), 7)
    month = level(last, 28)
    long = len(known) >= _SHORT_DAYS
    dates = [first + timedelta(days=int(k)) for k in days]
    weekday = np.array([day.weekday() for day in dates])
    columns = [np.ones(len(days)), np.log(month / week)]
    spread = [1.0 if long else _SHORT_DRIFT_SD, _LEVEL_SD if long else _SHORT_LEVEL_SD]
    growth = np.clip(np.log(week / before), -1.0, 1.0)
    columns.append(growth)
    spread.append(_GROWTH_SD if long else _SHORT_GROWTH_SD)
    offset = np.log(week)
    if not long:
        # In a wave a week is old: half-way to the last three days, to begin with.
        lately = np.log(level(last, 3) / week)
        offset = offset + _LATELY * lately
        columns.append(lately)
        spread.append(_LATELY_SD)
    if long:
        yesterday = level(last, 1)
        columns.append(np.log(yesterday / week))
        spread.append(_LEVEL_SD)
    for k in range(7):
        columns.append((weekday == k) - 1 / 7)
        spread.append(_WEEKDAY_SD)
    if len(known) >= _DAYS_FOR_SEASONS:
        angle = 2 * np.pi * np.array([day.timetuple().tm_yday for day in dates]) / 365.25
        for k in range(1, _WAVES + 1):
            columns += [np.sin(k * angle), np.cos(k * angle)]
            spread += [_SEASON_SD, _SEASON_SD]
        quarter = level(last, 91)
        columns.append(np.log(quarter / week))
        spread.append(_LEVEL_SD)
    named = [holidays.get(day) for day in dates]
    previous = [holidays.get(day - timedelta(days=1)) for day in dates]
    for name in names:
        columns.append(np.array([found == name for found in named], dtype=np.float64))
        spread.append(_HOLIDAY_SD)
    if names:
        columns.append(np.array([found is not None for found in previous], dtype=np.float64))
        spread.append(_HOLIDAY_SD)
    return _Features(
        offset=offset,
        columns=np.column_stack(columns),
        penalty=1 / np.square(spread),
    )


def fit_arrivals(
    arrivals: Arrivals,
    *,
    days: int = 8,
    holidays: Mapping[date, str] | None = None,
    model: str = PLAIN,
) -> ArrivalModel:
    """Fit a model of arrivals.

    Parameters
    ----------
    arrivals : Arrivals
        The past; days that are not complete are not learnt from.
    days : int
        How many days will be forecast, today included: each number of days
        ahead has a fit of its own, from what would have been known then.
    holidays : mapping of date to str, optional
        Public holidays, of the past and of the days to come.
    model : str
        ``negative-binomial``, or the name of a regressor (``neva.models``).

    Raises
    ------
    UsageError
        There are fewer than :data:`LEAST_DAYS` complete days or
        :data:`LEAST_ARRIVALS` arrivals.
    """
    known = arrivals.daily.astype(np.float64)
    if len(known) < LEAST_DAYS or known.sum() < LEAST_ARRIVALS:
        message = (
            f"{arrivals.what}: too few to forecast from; found {int(known.sum())} in {len(known)} "
            f"complete days; the floor is {LEAST_ARRIVALS} in {LEAST_DAYS} days"
        )
        raise UsageError(message)
    held = dict(holidays or {})
    names = _names_of(held)
    fits: list[CountRegression | tuple[Regressor, float]] = []
    means = np.full((days, len(known)), np.nan)
    for ahead in range(1, days + 1):
        # The first days have no weeks before them to be described by.
        start = min(7 + ahead - 1, len(known) - 7)
        at = np.arange(max(start, ahead), len(known))
        features = _features(known, arrivals.first, at, ahead, held, names)
        age = len(known) - at
        short = len(known) < _SHORT_DAYS
        weights = 0.5 ** (age / _SHORT_HALF_LIFE) if short else np.ones(len(at))
        if model == PLAIN:
            fit = count_regression(
                features.columns,
                known[at],
                offset=features.offset,
                weights=weights,
                penalty=features.penalty,
            )
            fits.append(fit)
            means[ahead - 1, at] = fit.mean(features.columns, features.offset)
        else:
            other, shape = _fit_other(model, features, known[at])
            fits.append((other, shape))
            design = np.column_stack([features.columns, features.offset])
            means[ahead - 1, at] = np.exp(features.offset) * other.predict(design)
    spread = np.array([fit[1] if isinstance(fit, tuple) else fit.shape for fit in fits])
    return ArrivalModel(
        arrivals, held, model, _profile(arrivals), tuple(fits), _level_sd(known, means, spread)
    )


def _level_sd(known: Floats, means: Floats, shapes: Floats) -> float:
    """Spread of the totals of all days ahead, beyond that of independent days."""
    ahead = len(means)
    origins = np.arange(len(known) - ahead + 1)
    # From an origin, the first day ahead has the forecast for one day, and so on.
    rows = np.arange(ahead)[:, None]
    predicted = means[rows, origins + rows]
    happened = known[origins + rows]
    usable = np.isfinite(predicted).all(axis=0)
    if not usable.any():
        return _UNKNOWN_LEVEL_SD
    mean = predicted[:, usable].sum(axis=0)
    apart = (happened[:, usable].sum(axis=0) / mean - 1) ** 2
    chance = 1 / mean + (predicted[:, usable] ** 2 / shapes[:, None]).sum(axis=0) / mean**2
    # Overlapping totals: few of them are independent, so a little is added.
    few = usable.sum() / ahead
    excess = max(0.0, float((apart - chance).mean()))
    return math.sqrt((few * excess + _UNKNOWN_LEVEL_SD**2) / (few + 1))


def _fit_other(model: str, features: _Features, counts: Floats) -> tuple[Regressor, float]:
    """Fit a regressor to counts relative to last week's; its spread from days held out."""
    design = np.column_stack([features.columns, features.offset])
    relative = counts / np.exp(features.offset)
    cut = max(len(counts) * 4 // 5, 1)
    trial = load_model(model)
    trial.fit(design[:cut], relative[:cut])
    predicted = np.exp(features.offset[cut:]) * np.maximum(trial.predict(design[cut:]), 1e-9)
    held = count_regression(
        np.ones((len(counts) - cut, 1)), counts[cut:], offset=np.log(predicted), penalty=1e6
    )
    final = load_model(model)
    final.fit(design, relative)
    return final, held.shape if math.isfinite(held.shape) else math.inf


def _profile(arrivals: Arrivals) -> Floats:
    """Shares of a day by hour, for each weekday, drawn to those of all days."""
    counts = arrivals.complete.astype(np.float64)
    weekday = (arrivals.first.weekday() + np.arange(len(counts))) % 7
    by_weekday = np.stack([counts[weekday == k].sum(axis=0) for k in range(7)])
    everyday = by_weekday.sum(axis=0)
    prior = np.zeros(24) if arrivals.by_day else np.full(24, 1 / 24)
    shares = (everyday + 24 * prior) / (everyday.sum() + 24 * prior.sum())
    mixed: Floats = (by_weekday + PROFILE_PRIOR * shares) / (
        by_weekday.sum(axis=1, keepdims=True) + PROFILE_PRIOR
    )
    return mixed
