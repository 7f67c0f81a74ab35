"""Learning from the past how far entries came true.

Patients present at the same time of each of the last days, with the entries about
them then, and whether they left or moved in the hours after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit, logit

from neva.events.schema import TIME
from neva.flow.forecast.entry_effects import (
    CELLS,
    CONFIRMED,
    DELAYED,
    FIT,
    NO_DATE,
    REACH_HOURS,
    RELIABILITY,
    REQUEST_CELLS,
    SOON,
    EntryEffects,
    cells_of,
    request_cells,
    with_entries,
)
from neva.flow.forecast.entry_history import LEARNT_DAYS, EntryHistory
from neva.flow.stays._walking import LEAST_LEAVING, LEAST_WANTED
from neva.flow.stays.lengths import LengthModel
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.intervals import proportion_interval

__all__ = ["LEAST_PATIENTS", "learn_entries"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

#: Fewer patients with an entry of going home or a request, and nothing is learnt.
LEAST_PATIENTS: Final = 30
#: Patients at moments that are looked at, at most; the newest days are kept.
_MOST_ROWS: Final = 20_000
#: No date says something in a unit where so many of the patients have one.
_DATES_IN_USE: Final = 0.25
#: How far log odds may lie from those of lengths of stay, before anything was seen.
_PRIOR_SPREAD: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Landmarks:
    """Patients at moments, and what the length model says of their next hours.

    All of shape (rows, steps): the chance to leave and to go where they are
    wanted, whether they were seen at risk, and what happened.
    """

    rows: pl.DataFrame
    leave: Floats
    wanted: Floats
    other: Floats
    at_risk: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]
    came: npt.NDArray[np.bool_]
    strayed: npt.NDArray[np.bool_]
    dates_in_use: tuple[str, ...]


def learn_entries(
    history: EntryHistory, sojourns: Sojourns, lengths: LengthModel, *, judge: bool = True
) -> tuple[EntryEffects | None, str]:
    """Learn how far entries came true from the days before the *now* of some sojourns.

    Parameters
    ----------
    history : EntryHistory
        Its moments of the last :data:`LEARNT_DAYS` days before *now* are learnt from.
    sojourns : Sojourns
        As known at *now*.
    lengths : LengthModel
        Fitted to them, or earlier.
    judge : bool
        Say how reliable entries were; without it that table is empty.

    Returns
    -------
    effects : EntryEffects or None
        None where nothing could be learnt.
    note : str
        Why, or from how much it was learnt.
    """
    if sojourns.precision == "day":
        return None, "times are only known to the day: entries are not used"
    rows = _at_moments(history, sojourns, lengths)
    entered = history.frame.filter(pl.col("moment").is_in(rows["moment"].unique().implode()))
    patients = entered["subject_id"].n_unique()
    if patients < LEAST_PATIENTS:
        return None, (
            f"entries of {patients} patients in the past are fewer than {LEAST_PATIENTS}: "
            "expected discharges and bed requests are not used"
        )
    # The pace of the last days is no part of what entries are compared with.
    plain = replace(lengths, pace=np.ones_like(lengths.pace))
    seen = _landmarks(rows, entered, sojourns, plain)
    moments = sorted(rows["moment"].unique())
    later = moments[-max(1, len(moments) // 3)]
    effects = _fitted(seen, plain, sojourns.now, patients)
    if judge:
        effects = replace(effects, reliability=_reliability(seen, plain, later))
    return effects, (
        f"entries about {patients} patients on {len(moments)} days show how far "
        "expected discharges and bed requests come true"
    )


def _at_moments(history: EntryHistory, sojourns: Sojourns, lengths: LengthModel) -> pl.DataFrame:
    """Everybody present at each moment before *now*: one row a moment and patient."""
    since = sojourns.now - timedelta(days=LEARNT_DAYS)
    moments = [one for one in history.moments if since <= one < sojourns.now]
    frame = sojourns.frame.with_columns(phase=lengths.place(sojourns.frame)).filter(
        pl.col("phase") >= 0, pl.col("end") > pl.lit(since, dtype=TIME)
    )
    parts: list[pl.DataFrame] = []
    size = 0
    for moment in reversed(moments):
        at = pl.lit(moment, dtype=TIME)
        here = frame.filter(
            pl.col("start") <= at, pl.col("end") > at, pl.col("entered") <= at
        ).select("subject_id", "phase", "start", "end", "next", moment=at)
        size += here.height
        if parts and size > _MOST_ROWS:
            break
        parts.append(here)
    empty = frame.head(0).select(
        "subject_id", "phase", "start", "end", "next", moment=pl.lit(None, dtype=TIME)
    )
    return pl.concat([empty, *reversed(parts)]).sort("moment", "subject_id")


def _landmarks(
    rows: pl.DataFrame, entered: pl.DataFrame, sojourns: Sojourns, lengths: LengthModel
) -> _Landmarks:
    dated = (
        rows.join(entered, on=["moment", "subject_id"], how="left", maintain_order="left")
        .with_columns(_state=pl.Series(lengths.state_of[rows["phase"].to_numpy()]))
        .group_by("_state")
        .agg(pl.col("expected").is_not_null().mean())
    )
    in_use = tuple(
        sorted(
            lengths.states[state] for state, share in dated.iter_rows() if share >= _DATES_IN_USE
        )
    )
    steps = int(REACH_HOURS / lengths.step_hours)
    placed = with_entries(rows, entered, lengths, in_use).with_columns(
        _stays=(pl.col("end") - pl.col("moment")).dt.total_seconds() / 3600,
        _age=(pl.col("moment") - pl.col("start")).dt.total_seconds() / 3600,
    )
    chance, moving, share = lengths.leaving()
    phase = placed["phase"].to_numpy()[:, None]
    age = placed["_age"].to_numpy()[:, None] / lengths.step_hours
    half = (2 * (age + np.arange(steps)[None, :]) + 1 + 1e-9).astype(np.int64)
    band = lengths.band_of[phase, np.minimum(half, lengths.band_of.shape[1] - 1)]
    hours = np.stack(
        [_hours_of_week(one, steps, sojourns.zone) for one in placed["moment"].unique().sort()]
    )
    day = placed["moment"].rank("dense").to_numpy().astype(np.int64) - 1
    clock = hours[day]
    both = chance[phase, band, clock]
    move = both * moving[phase, band, clock]
    target = placed["wanted_state"].to_numpy()
    to = share[phase, band, np.maximum(target, 0)[:, None]]
    wanted = np.where(target[:, None] >= 0, move * to, 0.0)
    stays = placed["_stays"].to_numpy()[:, None] / lengths.step_hours
    number = np.arange(steps)[None, :]
    ended = placed["next"].is_not_null().to_numpy()[:, None]
    ends_here = (stays > number) & (stays <= number + 1) & ended
    # A step in which it is not seen whether they stayed is not looked at.
    at_risk = (stays >= number + 1) | ends_here
    exits = placed["next"].is_in(list(sojourns.exits)).fill_null(value=False).to_numpy()[:, None]
    wished = pl.Series(
        [None if one < 0 else lengths.states[one] for one in target], dtype=pl.String
    )
    there = (placed["next"] == wished).fill_null(value=False).to_numpy()[:, None]
    return _Landmarks(
        rows=placed,
        leave=np.maximum(both - move, LEAST_LEAVING),
        wanted=np.where(target[:, None] >= 0, np.maximum(wanted, LEAST_WANTED), 0.0),
        other=move - wanted,
        at_risk=at_risk,
        left=ends_here & exits,
        came=ends_here & there,
        strayed=ends_here & ~there,
        dates_in_use=in_use,
    )


def _hours_of_week(moment: datetime, steps: int, zone: str) -> Numbers:
    place = ZoneInfo(zone)
    middle = [(moment + timedelta(minutes=60 * k + 30)).astimezone(place) for k in range(steps)]
    return np.array([24 * time.weekday() + time.hour for time in middle], dtype=np.int64)


def _fitted(seen: _Landmarks, lengths: LengthModel, now: datetime, patients: int) -> EntryEffects:
    """Fit the effects to landmarks, without the reliability of entries."""
    steps = seen.leave.shape[1]
    cells = cells_of(seen.rows, steps, lengths.step_hours)[seen.at_risk]
    shift, covariance = _regressed(cells, seen.leave[seen.at_risk], seen.left[seen.at_risk], CELLS)
    asked = request_cells(seen.rows, steps, lengths.step_hours)
    inside = seen.at_risk & (asked < REQUEST_CELLS)
    away = np.clip(seen.leave + seen.other, LEAST_LEAVING, 1.0)
    requests = [
        _regressed(asked[inside][:, None], chance[inside], happened[inside], REQUEST_CELLS)
        for chance, happened in ((seen.wanted, seen.came), (away, seen.strayed))
    ]
    moments = seen.rows["moment"].unique().sort()
    return EntryEffects(
        shift=shift,
        covariance=covariance,
        request_shift=np.stack([one for one, _ in requests]),
        request_variance=np.stack([np.diag(one) for _, one in requests]),
        dates_in_use=seen.dates_in_use,
        reliability=pl.DataFrame(schema=RELIABILITY),
        now=now,
        first=moments[0],
        moments=len(moments),
        patients=patients,
    )


def _regressed(
    cells: Numbers, chance: Floats, happened: npt.NDArray[np.bool_], size: int
) -> tuple[Floats, Floats]:
    """Logistic regression of cells with an offset: log odds, and their covariance.

    `cells` has shape (rows, columns): those of a row that count, `size` for none.
    """
    names = [f"c{k}" for k in range(cells.shape[1])]
    table = (
        pl.DataFrame(
            {
                **{name: cells[:, k] for k, name in enumerate(names)},
                "offset": logit(np.clip(chance, LEAST_LEAVING, 1 - LEAST_LEAVING)),
                "happened": happened,
            }
        )
        .filter(pl.any_horizontal(pl.col(name) < size for name in names))
        # Rows of nearly the same chance are one.
        .group_by(*names, (pl.col("offset") * 10).round().cast(pl.Int32).alias("_grid"))
        .agg(pl.col("offset").mean(), pl.len().alias("n"), pl.col("happened").sum())
        .sort(*names, "_grid")
    )
    design = np.zeros((table.height, size + 1))
    for name in names:
        design[np.arange(table.height), table[name].to_numpy()] = 1.0
    design = design[:, :size]
    offset, n = table["offset"].to_numpy(), table["n"].to_numpy().astype(np.float64)
    events = table["happened"].to_numpy().astype(np.float64)
    prior = np.eye(size) / _PRIOR_SPREAD**2

    def gain(at: Floats) -> float:
        log_odds = offset + design @ at
        likelihood = events @ log_odds - n @ np.logaddexp(0.0, log_odds)
        return float(likelihood - at @ prior @ at / 2)

    beta = np.zeros(size)
    best = gain(beta)
    for _ in range(100):
        fitted = expit(offset + design @ beta)
        weight = n * fitted * (1 - fitted)
        hessian = (design.T * weight) @ design + prior
        step = np.linalg.solve(hessian, design.T @ (events - n * fitted) - prior @ beta)
        # The likelihood is concave: half a step that goes too far is one that does not.
        while (then := gain(beta + step)) < best - 1e-9 * abs(best):
            step = step / 2
        beta, best = beta + step, then
        if float(np.abs(step).max(initial=0.0)) < 1e-8:
            break
    return beta, np.linalg.inv(hessian) if size else prior


def _within_a_day(seen: _Landmarks, lengths: LengthModel, effects: EntryEffects | None) -> Any:
    """Chances to leave, and to be where they are wanted, within 24 hours."""
    steps = seen.leave.shape[1]
    day = int(24 / lengths.step_hours)
    leave, wanted, other = seen.leave, seen.wanted, seen.other
    if effects is not None:
        shift = np.append(effects.shift, 0.0)
        asked = request_cells(seen.rows, steps, lengths.step_hours)
        there, elsewhere = effects.of_requests(asked)
        cells = cells_of(seen.rows, steps, lengths.step_hours)
        weight = (
            leave * np.exp(shift[cells].sum(axis=2) + elsewhere),
            wanted * np.exp(there),
            other * np.exp(elsewhere),
        )
        total = np.clip(1 - leave - wanted - other, 0, 1) + sum(weight)
        leave, wanted, other = (one / total for one in weight)
    stays = np.cumprod(np.clip(1 - leave - wanted - other, 0, 1), axis=1)
    before = np.concatenate([np.ones((len(stays), 1)), stays[:, :-1]], axis=1)
    return (before * leave)[:, :day].sum(axis=1), (before * wanted)[:, :day].sum(axis=1)


def _reliability(seen: _Landmarks, lengths: LengthModel, later: datetime) -> pl.DataFrame:
    day = int(24 / lengths.step_hours)
    whole = seen.at_risk[:, :day]
    left = np.asarray(seen.left[:, :day].any(axis=1))
    came = np.asarray(seen.came[:, :day].any(axis=1))
    moved = ~whole.all(axis=1) & ~left & ~came
    # Not seen for the whole day, because *now* came first: not counted.
    known = left | came | whole.all(axis=1) | (moved & seen.rows["next"].is_not_null().to_numpy())
    frame = seen.rows.select(
        "moment", "subject_id", "date_kind", "readiness", "until", "wanted_state"
    ).with_columns(known=known, left=left, came=came)
    is_later = (frame["moment"] >= later).to_numpy()
    # What was not over when the later days began is not learnt from by those who judge them.
    span = pl.duration(hours=REACH_HOURS)
    is_before = frame.select(pl.col("moment") + span <= pl.lit(later, dtype=TIME)).to_series()
    before = _landmarks_where(seen, is_before.to_numpy())
    effects = _fitted(before, lengths, later, 0) if before.rows.height else None
    alone = _within_a_day(seen, lengths, None)
    both = _within_a_day(seen, lengths, effects) if effects is not None else None
    until, date = pl.col("until"), pl.col("date_kind")
    of = {
        "confirmed, within 24 hours": (date == CONFIRMED) & until.is_between(0, 24),
        "expected, within 24 hours": (date == SOON) & until.is_between(0, 24),
        "date passed": until < 0,
        "date later than 24 hours": until > 24,
        "no date": date == NO_DATE,
        "medically fit": pl.col("readiness") == FIT,
        "delayed": pl.col("readiness") == DELAYED,
        "bed requested": pl.col("wanted_state") >= 0,
    }
    rows = []
    for name, condition in of.items():
        chosen = frame.select((condition & pl.col("known")).fill_null(value=False)).to_series()
        mask = chosen.to_numpy()
        which = 1 if name == "bed requested" else 0
        true = (came if which else left)[mask]
        found = proportion_interval([int(true.sum())], [max(len(true), 1)])
        judged = mask & is_later
        rows.append(
            {
                "entry": name,
                "seen": len(true),
                "patients": frame.filter(chosen)["subject_id"].n_unique(),
                "came_true": int(true.sum()),
                "share": float(found.estimate[0]) if len(true) else None,
                "lower": float(found.lower[0]) if len(true) else None,
                "upper": float(found.upper[0]) if len(true) else None,
                "judged": int(judged.sum()),
                "judged_came_true": int((came if which else left)[judged].sum()),
                "by_lengths_alone": float(alone[which][judged].sum()),
                "with_entries": None if both is None else float(both[which][judged].sum()),
            }
        )
    return pl.DataFrame(rows, schema=RELIABILITY)


def _landmarks_where(seen: _Landmarks, mask: npt.NDArray[np.bool_]) -> _Landmarks:
    return _Landmarks(
        seen.rows.filter(pl.Series(mask)), seen.leave[mask], seen.wanted[mask], seen.other[mask],
        seen.at_risk[mask], seen.left[mask], seen.came[mask], seen.strayed[mask],
        seen.dates_in_use,
    )  # fmt: skip
