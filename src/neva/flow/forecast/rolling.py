"""Rolling origins: what would have been forecast then, by the forecast and the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from neva.census.occupancy import LOST_LIMIT
from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.flow.forecast.arrivals import PLAIN, ArrivalModel, Arrivals, DailyArrivals, fit_arrivals
from neva.flow.forecast.baselines import (
    ARRIVAL_BASELINES,
    BY_LENGTHS,
    EXPECTED_CHANGE,
    PERSISTENCE,
    ets,
    expected_change,
    persistence,
    poisson,
)
from neva.flow.forecast.entry_history import EntryHistory
from neva.flow.forecast.entry_learning import learn_entries
from neva.flow.forecast.evaluation import Evaluation, ScoreCollection, counts_at, lost_at
from neva.flow.forecast.forecast import (
    ALL,
    FlowModel,
    OccupancyForecast,
    fit_flow,
    forecast_flow,
    restarted,
)
from neva.flow.forecast.widening import Widening, learn_widening, widened
from neva.flow.stays.sojourns import Sojourns

__all__ = ["WEEKDAY_HOUR", "evaluate_arrivals", "evaluate_flow", "members_of"]

#: Mean of the last eight same weekdays at the same hour, Poisson.
WEEKDAY_HOUR: Final = "weekday-and-hour mean"
_WEEKS: Final = 8
#: Past changes that a baseline looks at.
_CHANGES: Final = 28
Progress = Callable[[int, int], None]


def evaluate_arrivals(
    arrivals: Arrivals,
    *,
    first: date,
    ahead: Sequence[int] = (1,),
    holidays: Mapping[date, str] | None = None,
    model: str = PLAIN,
    refit_days: int = 28,
    with_ets: bool = False,
    hourly: bool = False,
    seed: int = 1,
    identity: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Forecast daily arrivals from every day of a period, and evaluate the forecasts.

    Parameters
    ----------
    arrivals : Arrivals
    first : date
        The first day that is forecast; until the last complete day.
    ahead : sequence of int
        Days ahead: 1 is the day that begins at the origin.
    holidays : mapping of date to str, optional
    model : str
        See :func:`fit_arrivals`.
    refit_days : int
        The model is refitted after so many days; what it starts from is
        always the origin's.
    with_ets : bool
        Evaluate exponential smoothing too (slow; needs the extra ``forecast``).
    hourly : bool
        Evaluate the counts of local hours, not of days; compared with the same
        hour last week and the mean of that weekday and hour (both Poisson).
    seed : int
    identity : str
        Of the data.
    progress : callable, optional
        Called with origins done and their number.

    Returns
    -------
    Evaluation
        With the one place ``arrivals``.

    Raises
    ------
    UsageError
        No complete day lies on or after `first`, or too little before it.
    """
    daily = arrivals.daily
    begin = (first - arrivals.first).days
    if not 0 <= begin < len(daily):
        message = (
            f"first: must be one of the days known; found {first.isoformat()}, known "
            f"{arrivals.first.isoformat()} and {len(daily)} days on; choose one of them"
        )
        raise UsageError(message)
    scores = ScoreCollection(arrivals.zone, np.random.default_rng(seed))
    fits: tuple[ArrivalModel, int] | None = None
    baselines = {**ARRIVAL_BASELINES, **({"ETS": ets} if with_ets else {})}
    for k in range(begin, len(daily)):
        day = arrivals.first + timedelta(days=k)
        origin = first_moment(day, arrivals.zone)
        known = arrivals.known_at(origin)
        if fits is None or k - fits[1] >= refit_days:
            fits = fit_arrivals(known, days=max(ahead), holidays=holidays, model=model), k
        ours = replace(fits[0], arrivals=known).forecast(max(ahead))
        past = known.daily.astype(np.float64)
        for days in ahead:
            at = k + days - 1
            if at >= len(daily):
                continue
            target = first_moment(arrivals.first + timedelta(days=at), arrivals.zone)
            if hourly:
                _judge_hours(scores, arrivals, known, ours, days, at, origin, model)
                continue
            forecasts = {model: ours.distribution(days - 1)}
            forecasts |= {name: make(past, days) for name, make in baselines.items()}
            for name, distribution in forecasts.items():
                scores.add(
                    distribution,
                    int(daily[at]),
                    origin=origin,
                    time=target,
                    place=arrivals.what,
                    horizon_hours=24.0 * days,
                    model=name,
                )
        if progress is not None:
            progress(k - begin + 1, len(daily) - begin)
    return scores.evaluation(ours=model, what=arrivals.what, identity=identity)


def _judge_hours(
    scores: ScoreCollection,
    arrivals: Arrivals,
    known: Arrivals,
    ours: DailyArrivals,
    days: int,
    at: int,
    origin: datetime,
    model: str,
) -> None:
    """Score the hours of one day; an hour that the clocks leave out is not scored."""
    past = known.complete.astype(np.float64)
    # The latest known day of the same weekday, and all of them.
    same = past[::-1][(7 * -(-days // 7) - days) % 7 :: 7]
    day = arrivals.first + timedelta(days=at)
    begin = first_moment(day, arrivals.zone)
    place = ZoneInfo(arrivals.zone)
    shown = {
        (begin + timedelta(hours=k)).astimezone(place).hour: begin + timedelta(hours=k)
        for k in range(25)
        if (begin + timedelta(hours=k)).astimezone(place).date() == day
    }
    for hour, time in sorted(shown.items()):
        forecasts = {model: ours.hourly(days - 1, hour)}
        if len(same):
            forecasts["same hour last week"] = poisson(same[0, hour])
            forecasts[WEEKDAY_HOUR] = poisson(same[:, hour].mean())
        for name, distribution in forecasts.items():
            scores.add(
                distribution,
                int(arrivals.hourly[at, hour]),
                origin=origin,
                time=time,
                place=f"{arrivals.what} per hour",
                horizon_hours=24.0 * days,
                model=name,
            )


def evaluate_flow(
    known_at: Callable[[datetime], Sojourns],
    truth: Sojourns,
    *,
    origins: Sequence[datetime],
    horizons: Sequence[int],
    above: Mapping[str, tuple[str, ...]] | None = None,
    holidays: Mapping[date, str] | None = None,
    model: str = PLAIN,
    refit_days: float = 7.0,
    widen: bool = True,
    history: EntryHistory | None = None,
    seed: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """Forecast the number of patients per place from every origin, and evaluate the forecasts.

    Parameters
    ----------
    known_at : callable
        From an origin to the sojourns as known then, and to no later row.
    truth : Sojourns
        As known last: what came.
    origins : sequence of datetime
        Aware, ascending.
    horizons : sequence of int
        In steps: hours, or days where times are only known to the day.
    above : mapping of str to tuple of str, optional
        Units above units.
    holidays, model
        Of arrivals.
    refit_days : float
        The model is refitted after so many days.
    widen : bool
        Widen each forecast by the errors of earlier ones whose targets had
        come by its origin.
    history : EntryHistory, optional
        Entries at the origins and on the days before them. The forecast
        uses it, and is compared with the one from lengths of stay alone.
    seed : int
    progress : callable, optional

    Returns
    -------
    Evaluation
        Refused are targets after the last known time, and those of places of
        which more than :data:`neva.census.occupancy.LOST_LIMIT` were lost to
        follow-up by then: an emptying that is none.
    """
    scores = ScoreCollection(truth.zone, np.random.default_rng(seed))
    rng = np.random.default_rng([seed, 1])
    fitted: tuple[FlowModel, datetime] | None = None
    steps = max(horizons)
    past: dict[str, list[tuple[OccupancyForecast, dict[str, np.ndarray]]]] = {}
    notes: list[str] = []
    ours = "forecast"
    for number, origin in enumerate(origins):
        known = known_at(origin)
        if known.now > origin:
            message = (
                f"evaluation: the past must not know what comes; found {known.now.isoformat()} at "
                f"the origin {origin.isoformat()}; cut the sojourns there"
            )
            raise UsageError(message)
        try:
            if fitted is None or (origin - fitted[1]) / timedelta(days=1) >= refit_days:
                days = steps // 24 + 2 if known.precision != "day" else steps
                fitted = (
                    fit_flow(known, days=days, holidays=holidays, model=model),
                    origin,
                )
            current = fitted[0] if fitted[1] == origin else restarted(fitted[0], known)
            raws = {ours: forecast_flow(current, known, steps=steps, above=above, rng=rng)}
            if history is not None:
                effects, _ = learn_entries(history, known, current.lengths, judge=False)
                raws[BY_LENGTHS] = raws[ours]
                raws[ours] = forecast_flow(
                    current, known, steps=steps, above=above, rng=rng, effects=effects,
                    history=history,
                )  # fmt: skip
        except UsageError as error:
            scores.refuse(origin=origin, time=origin, place=ALL, reason=str(error))
            continue
        raw = raws[ours]
        notes += raw.notes
        members = members_of(raw.places, above)
        happened = counts_at(truth, members, raw.times)
        lost = lost_at(truth, members, raw.times)
        forecasts = {}
        for name, one in raws.items():
            earlier = past.setdefault(name, [])
            learnt = learn_widening(earlier, before=known.now) if widen else Widening.none()
            forecasts[name] = widened(one, learnt)
            earlier.append((one, happened))
        present_before = _present_before(known, members)
        for horizon in horizons:
            time = raw.times[horizon - 1]
            for place in raw.places:
                reason = _reason(
                    truth, time, happened[place][horizon - 1], lost[place][horizon - 1]
                )
                if reason:
                    scores.refuse(origin=origin, time=time, place=place, reason=reason)
                    continue
                present = int(raw.present[raw.places.index(place)])
                for name, distribution in {
                    **{one: made.of(place, horizon) for one, made in forecasts.items()},
                    **_baselines(present_before[place], present, horizon, raw),
                }.items():
                    scores.add(
                        distribution,
                        int(happened[place][horizon - 1]),
                        origin=origin,
                        time=time,
                        place=place,
                        horizon_hours=horizon * (24.0 if truth.precision == "day" else 1.0),
                        model=name,
                    )
        if progress is not None:
            progress(number + 1, len(origins))
    return scores.evaluation(ours=ours, what=truth.what, identity=truth.identity, notes=notes)


def members_of(
    places: Sequence[str], above: Mapping[str, tuple[str, ...]] | None
) -> dict[str, list[str]]:
    """Return the states that belong to every place of a forecast."""
    states = [p for p in places if p != ALL and not _is_parent(p, above)]
    return {
        place: (
            states
            if place == ALL
            else [s for s in states if s == place or place in (above or {}).get(s, ())]
        )
        for place in places
    }


def _is_parent(place: str, above: Mapping[str, tuple[str, ...]] | None) -> bool:
    return any(place in parents for parents in (above or {}).values())


def _reason(truth: Sojourns, time: datetime, present: int, lost: int) -> str:
    if time > truth.now:
        return "after the last known time"
    if lost > LOST_LIMIT * max(present + lost, 1):
        return "too many lost to follow-up"
    return ""


def _present_before(known: Sojourns, members: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Numbers present at steps before now, the latest last, over some weeks."""
    step = timedelta(days=1) if known.precision == "day" else timedelta(hours=1)
    span = _WEEKS * 7 if known.precision == "day" else _WEEKS * 168
    begin = known.frame["entered"].min()
    assert isinstance(begin, datetime)
    count = min(span, max(0, int((known.now - begin) / step)))
    if known.precision == "day":
        today = known.now.astimezone(ZoneInfo(known.zone)).date()
        times = [first_moment(today - timedelta(days=k), known.zone) for k in range(count, -1, -1)]
    else:
        times = [known.now - step * k for k in range(count, -1, -1)]
    return counts_at(known, members, times)


def _baselines(
    history: np.ndarray, present: int, horizon: int, forecast: OccupancyForecast
) -> dict[str, np.ndarray]:
    """Distributions of the baselines from the numbers up to now."""
    step_hours = int(forecast.step_hours)
    day, week = 24 // step_hours, 168 // step_hours
    last = len(history) - 1
    # The same hour of day, so many days back: how it changed over the horizon.
    starts = np.arange(last - horizon, -1, -1)
    starts = starts[(last - starts) % day == 0][:_CHANGES]
    changes = history[starts + horizon] - history[starts]
    same = np.arange(last + horizon - week * -(-horizon // week), -1, -week)[:_WEEKS]
    mean = history[same].mean() if len(same) else present
    return {
        PERSISTENCE: persistence(present),
        EXPECTED_CHANGE: expected_change(present, changes),
        WEEKDAY_HOUR: poisson(mean),
    }
