"""The whole way from a hospital to a forecast of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from neva.census import units_above
from neva.errors import UsageError
from neva.events.hospital import Hospital
from neva.flow.forecast.arrivals import PLAIN, arrivals_of, holidays_of
from neva.flow.forecast.entry_history import LEARNT_DAYS, EntryHistory, entry_history, past_moments
from neva.flow.forecast.entry_learning import learn_entries
from neva.flow.forecast.evaluation import counts_at
from neva.flow.forecast.forecast import FlowModel, OccupancyForecast, fit_flow, forecast_flow
from neva.flow.forecast.rolling import members_of
from neva.flow.forecast.widening import learn_widening, widened
from neva.flow.stays.sojourns import Sojourns, known_sojourns

__all__ = ["forecast_hospital"]


def forecast_hospital(
    hospital: Hospital,
    at: datetime | None = None,
    *,
    by: str = "auto",
    states: Sequence[str] | None = None,
    hours: int = 168,
    country: str | None = None,
    model: str = PLAIN,
    look_back: int = 7,
    seed: int = 1,
    entries: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> OccupancyForecast:
    """Forecast the numbers of patients per place from what was known at a time.

    Parameters
    ----------
    hospital : Hospital
    at : datetime, optional
        Aware; the data cut if not given.
    by, states
        See :func:`neva.flow.sojourns_of`.
    hours : int
        How far to look; whole days where times are only known to the day.
    country : str, optional
        Whose public holidays count.
    model : str
        Of arrivals.
    look_back : int
        From so many earlier days a forecast is made as it would have been
        then, and its errors up to `at` widen this one. 0: none.
    seed : int
        Of what is drawn.
    entries : bool
        Use entries about the patients present (expected dates of discharge,
        medical fitness, delays, bed requests), weighted by how far they came true in the past.
    progress : callable, optional
        Called with days looked back and their number.

    Raises
    ------
    UsageError
        Nobody is present and none is expected, follow-up of most has ended, or
        too little is known to learn from (the message says the floor).
    """
    known = known_sojourns(hospital, at, by=by, states=states)
    _refuse_the_lost(known)
    step = 24 if known.precision == "day" else 1
    if hours < step or hours % step:
        message = (
            f"hours: must be a positive multiple of {step}; found {hours}; "
            "give how far to look in whole steps"
        )
        raise UsageError(message)
    steps = hours // step
    above = units_above(hospital.snapshot(as_of=at))
    days = hours // 24 + 2
    known_days = arrivals_of(known)
    last = known_days.today + timedelta(days=days)
    holidays = holidays_of(country, known_days.first, last) if country else None
    rng = np.random.default_rng(seed)
    past = []
    # Days whose far horizons have come too are looked at, every second one.
    farthest = look_back + max(1, hours // 24)
    looked = [*range(farthest, look_back, -2), *range(look_back, 0, -1)] if look_back else []
    history = None
    if entries and known.precision != "day":
        history = entry_history(
            hospital, past_moments(known.now, LEARNT_DAYS + max(looked, default=0))
        )
    for number, back in enumerate(looked):
        origin = known.now - timedelta(days=back)
        if known.precision == "day":
            origin += timedelta(days=1, hours=12)
        try:
            earlier = known_sojourns(hospital, origin, by=by, states=states)
            fitted = fit_flow(earlier, days=days, holidays=holidays, model=model)
            made = _forecast_with_entries(fitted, earlier, history, steps, above, rng, judge=False)
        except UsageError:
            # Too little was known by then; fewer errors are learnt from.
            continue
        past.append((made, counts_at(known, members_of(made.places, above), made.times)))
        if progress is not None:
            progress(number + 1, len(looked))
    fitted = fit_flow(known, days=days, holidays=holidays, model=model)
    forecast = _forecast_with_entries(fitted, known, history, steps, above, rng)
    return widened(forecast, learn_widening(past, before=known.now))


def _forecast_with_entries(
    model: FlowModel,
    known: Sojourns,
    history: EntryHistory | None,
    steps: int,
    above: Mapping[str, tuple[str, ...]],
    rng: np.random.Generator,
    *,
    judge: bool = True,
) -> OccupancyForecast:
    """A forecast that uses entries, where there are enough to learn from."""
    effects, note = None, ""
    if history is not None:
        effects, note = learn_entries(history, known, model.lengths, judge=judge)
    made = forecast_flow(
        model, known, steps=steps, above=above, rng=rng, effects=effects, history=history
    )
    return replace(made, notes=(*made.notes, note)) if note else made


def _refuse_the_lost(known: Sojourns) -> None:
    """Refuse a hospital whose follow-up has ended: it looks empty and is not."""
    month = known.now - timedelta(days=7)
    lost = int(known.frame.filter("lost")["end"].ge(month).sum())
    present = known.present().height
    if lost > present:
        message = (
            f"forecast: follow-up has ended for {lost} of {lost + present} patients in the last "
            "seven days; an emptying that is none would be forecast; choose an earlier time "
            "with --as-of"
        )
        raise UsageError(message)
