"""Ward entries about beds and discharges: generated beside the hospital, never into it.

Every part has a stream of its own, so that a hospital made with operations has
the same patients, beds and treatment as one made without. The planted sense:
expected dates that come true within a day or two and are confirmed on the eve,
long stays of which four in five say why they go on, requests for the beds that
boarders later got, isolation of COVID patients from their test on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events import operational_codes as codes
from neva.events.schema import ATTRIBUTES
from neva.synthesis.drawing import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    Times,
    as_time,
    choose,
    generator,
    hours,
    local_ticks,
)
from neva.synthesis.movements import Movements
from neva.synthesis.plan import Plan
from neva.synthesis.units import WITHOUT_BEDS

__all__ = ["closed_bed_rows", "operation_code_rows", "operation_rows", "planned_rows"]

#: Shares of reasons for delay, and the least share of those fit who have one recorded.
_REASONS: Final = {
    "DELAY//care-package-start": 0.26,
    "DELAY//care-home-place": 0.14,
    "DELAY//rehabilitation-bed": 0.18,
    "DELAY//transport": 0.06,
    "DELAY//medicines-to-take-out": 0.08,
    "DELAY//investigation": 0.10,
    "DELAY//specialist-review": 0.08,
    "DELAY//family-choice": 0.05,
    "DELAY//housing": 0.03,
    "DELAY//other": 0.02,
}
_REASON_GIVEN: Final = 0.8
#: Share of stays of five days or more that end with waiting, medically fit.
_WAITS: Final = 0.6
_CONFIRMED: Final = 0.75
_ISOLATED: Final = 0.85
#: Share of beds that are closed at the data cut, of those that nobody will lie in soon.
_CLOSED: Final = 0.06
_FIRST_SEQUENCE: Final = 1000
_SEQUENCE: Final = {
    code: number for number, code in enumerate(codes.OPERATIONAL_CODES, _FIRST_SEQUENCE)
}


def operation_code_rows(plan: Plan) -> pl.DataFrame:
    """Return the rows of ``codes`` of what operations write, none that are described already."""
    described = {
        code: words
        for code, words in codes.descriptions().items()
        if code not in ("CARE//ceiling-of-care", "CARE//palliative-care")
    }
    return pl.DataFrame(
        {"code": list(described), "description": list(described.values())}
    ).with_columns(recorded=pl.lit(plan.begins))


def _attributes(**columns: str) -> pl.Expr:
    if not columns:
        return pl.lit(None, dtype=ATTRIBUTES)
    return pl.concat_list(
        pl.struct(pl.lit(key).alias("key"), pl.col(name).alias("value"))
        for key, name in columns.items()
    ).cast(ATTRIBUTES)


def _operational_rows(
    stays: pl.DataFrame,
    code: str,
    *,
    time: Times,
    recorded: Times,
    end: Times | None = None,
    status: str = "done",
    reason: Any = None,
    **attributes: Any,
) -> pl.DataFrame:
    """Rows of one code, in microseconds; one for each row of `stays`."""
    frame = stays.select("stay", "subject").with_columns(
        code=pl.lit(code),
        time=pl.Series(time, dtype=pl.Int64),
        recorded=pl.Series(recorded, dtype=pl.Int64),
        end_time=pl.Series(np.full(len(time), NEVER) if end is None else end, dtype=pl.Int64),
        status=pl.lit(status),
        reason=pl.Series(reason, dtype=pl.String)
        if reason is not None
        else pl.lit(None, dtype=pl.String),
        **{f"_{key}": pl.Series(values, dtype=pl.String) for key, values in attributes.items()},
    )
    attribute_columns = _attributes(**{key: f"_{key}" for key in attributes})
    return frame.with_columns(attributes=attribute_columns).drop(f"_{key}" for key in attributes)


def _stays_where(stays: pl.DataFrame, mask: npt.NDArray[np.bool_]) -> pl.DataFrame:
    return stays.filter(pl.Series(mask))


def _midday(day_of: Times, rng: np.random.Generator, zone: str) -> Times:
    """A time between 11:00 and 16:00 of the hospital's clock on the day of each time."""
    shown = local_ticks(day_of, zone) % DAY
    quarter = rng.integers(44, 64, len(day_of)) * 15 * MINUTE
    return day_of - shown + quarter


def _expected(plan: Plan, stays: pl.DataFrame) -> list[pl.DataFrame]:
    rng = generator(plan.seed, "operations-expected")
    start, end = stays["start"].to_numpy(), stays["end"].to_numpy()
    size = len(start)
    wrong = np.round(rng.normal(0, 1.3, size)).astype(np.int64) * DAY
    first = start + hours(rng.uniform(14, 26, size))
    guess = np.maximum(_midday(end + wrong, rng, plan.zone), first + 4 * HOUR)
    confirmed = rng.random(size) < _CONFIRMED
    eve = end - hours(rng.uniform(13, 22, size))
    when = end + hours(rng.uniform(-2, 1.5, size))
    when -= when % (15 * MINUTE)
    died = stays["died"].to_numpy()
    early = first < end
    late = confirmed & ~died & (eve > first)
    one, two = _stays_where(stays, early), _stays_where(stays, late)
    return [
        _operational_rows(one, codes.DISCHARGE_EXPECTED, time=guess[early], recorded=first[early],
              status="planned", confirmed=["no"] * one.height),
        _operational_rows(two, codes.DISCHARGE_EXPECTED, time=np.maximum(when, eve + HOUR)[late],
              recorded=eve[late], status="planned", confirmed=["yes"] * two.height),
    ]  # fmt: skip


def _delays(plan: Plan, stays: pl.DataFrame) -> list[pl.DataFrame]:
    rng = generator(plan.seed, "operations-delays")
    start, end = stays["start"].to_numpy(), stays["end"].to_numpy()
    size, length = len(start), end - start
    fit = end - (length * rng.uniform(0.2, 0.6, size)).astype(np.int64)
    fit -= fit % (5 * MINUTE)
    known = fit + hours(rng.uniform(0.2, 3, size))
    why = known + hours(rng.uniform(1, 28, size))
    draws, gives_reason = rng.random(size), rng.random(size) < _REASON_GIVEN
    reasons = np.array(list(_REASONS))[choose(rng, list(_REASONS.values()), size)]
    waits = (length >= 5 * DAY) & ~stays["died"].to_numpy() & (draws < _WAITS) & (known < end)
    with_reason = waits & gives_reason & (why < end)
    one, two = _stays_where(stays, waits), _stays_where(stays, with_reason)
    return [
        _operational_rows(
            one, codes.MEDICALLY_FIT, time=fit[waits], recorded=known[waits], end=end[waits]
        ),
        _operational_rows(two, codes.DELAYED,
            time=known[with_reason], recorded=why[with_reason], end=end[with_reason],
            reason=reasons[with_reason].tolist(),
        ),
    ]  # fmt: skip


def _isolation(plan: Plan, stays: pl.DataFrame) -> list[pl.DataFrame]:
    rng = generator(plan.seed, "operations-isolation")
    start, end = stays["start"].to_numpy(), stays["end"].to_numpy()
    tested, size = stays["pcr"].to_numpy(), len(start)
    since = np.maximum(start, tested) + hours(rng.uniform(0.5, 6, size))
    since -= since % MINUTE
    kinds = np.where(rng.random(size) < 0.8, "ISOLATION//droplet", "ISOLATION//airborne")
    chosen = (tested != NEVER) & (rng.random(size) < _ISOLATED) & (since < end)
    some = _stays_where(stays, chosen)
    return [
        _operational_rows(some, codes.ISOLATION_NEEDED, time=since[chosen], recorded=since[chosen],
              end=end[chosen], reason=kinds[chosen].tolist()),
    ]  # fmt: skip


def _requests(plan: Plan, stays: pl.DataFrame, movements: Movements) -> list[pl.DataFrame]:
    """Requests for the bed that a patient of the emergency department got next."""
    rng = generator(plan.seed, "operations-requests")
    frame = movements.frame.sort("number", "place")
    nexts = frame.with_columns(
        _next=pl.col("unit").shift(-1).over("number"),
        _waited=pl.col("end") - pl.col("start"),
    ).filter(pl.col("unit") == "ed", pl.col("_next").is_not_null(), pl.col("_next") != "ed")
    nexts = nexts.filter(~pl.col("_next").is_in(["theatre"])).join(
        stays.select("number", "stay", "subject", "pcr"), on="number", how="inner",
        maintain_order="left",
    )  # fmt: skip
    start, end = nexts["start"].to_numpy(), nexts["end"].to_numpy()
    size = len(start)
    asked = start + ((end - start) * rng.uniform(0.1, 0.4, size)).astype(np.int64)
    asked -= asked % MINUTE
    asked = np.maximum(asked, start)
    units = nexts["_next"].to_list()
    intensive = np.array([unit.startswith("icu") for unit in units], dtype=bool)
    draw = rng.random(size)
    priority = np.where(intensive, "immediate", np.where(draw < 0.3, "urgent", "routine"))
    covid = nexts["pcr"].to_numpy() != NEVER
    side = np.where(covid | (rng.random(size) < 0.08), "yes", "no")
    return [
        _operational_rows(nexts, codes.BED_REQUESTED, time=asked, recorded=asked + MINUTE, end=end,
              unit=units, priority=priority.tolist(), side_room=side.tolist()),
    ]  # fmt: skip


def operation_rows(plan: Plan, journeys: pl.DataFrame, movements: Movements) -> pl.DataFrame:
    """Return the events of operations that were known at the data cut.

    Parameters
    ----------
    plan : Plan
    journeys : polars.DataFrame
        See :func:`neva.synthesis.journeys.journeys`.
    movements : Movements

    Returns
    -------
    polars.DataFrame
        Delivered rows of ``events``. What lasts beyond the cut has no end yet.
    """
    _, cut = plan.microseconds()
    stays = journeys.filter(pl.col("kind") == "inpatient")
    parts = [
        *_expected(plan, stays),
        *_delays(plan, stays),
        *_isolation(plan, stays),
        *_requests(plan, stays, movements),
    ]
    rows = pl.concat(parts).filter(
        pl.col("recorded") <= cut, (pl.col("status") == "planned") | (pl.col("time") <= cut)
    )
    ended = (pl.col("end_time") != NEVER) & (pl.col("end_time") <= cut)
    return _delivered(
        rows.with_columns(
            end_time=pl.when(ended).then("end_time").otherwise(NEVER),
            row_id=pl.concat_str(pl.lit("operation-"), pl.int_range(pl.len()).cast(pl.String)),
        )
    )


def _delivered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        time=as_time(rows["time"].to_numpy()),
        end_time=as_time(rows["end_time"].to_numpy()),
        recorded=as_time(rows["recorded"].to_numpy()),
        recorded_assumed=pl.lit(value=False),
        precision=pl.lit("minute"),
        sequence=pl.col("code").replace_strict(_SEQUENCE, return_dtype=pl.Int64),
    )


def planned_rows(bookings: pl.DataFrame) -> pl.DataFrame:
    """Return planned admissions for those booked on theatre lists: two hours before, surgical.

    Parameters
    ----------
    bookings : polars.DataFrame
        Events of :func:`neva.synthesis.tables.booking_rows`.
    """
    return bookings.select(
        "subject",
        "recorded",
        "recorded_assumed",
        "status",
        time=pl.col("time") - pl.duration(hours=2),
        code=pl.lit(codes.ADMISSION_PLANNED),
        sequence=pl.lit(_SEQUENCE[codes.ADMISSION_PLANNED], dtype=pl.Int64),
        attributes=pl.lit([{"key": "unit", "value": "surgical"}], dtype=ATTRIBUTES),
    )


def closed_bed_rows(plan: Plan, movements: Movements) -> pl.DataFrame:
    """Return rows of ``beds``: some beds closed in the days before the cut, none with a patient."""
    rng = generator(plan.seed, "operations-beds")
    begins, cut = plan.microseconds()
    lain = movements.frame.filter(pl.col("bed").is_not_null())
    last = dict(lain.group_by("bed").agg(pl.col("end").max()).iter_rows())
    rows = []
    for bed in movements.beds:
        since = cut - int(rng.integers(3, 60)) * HOUR
        draw = float(rng.random())
        if (
            bed.unit in WITHOUT_BEDS
            or bed.opens >= since - DAY
            or last.get(bed.bed, begins) > since
        ):
            continue
        # Beds that nobody lies in later are few: of them a larger share is closed.
        if draw < 4 * _CLOSED:
            fixed = (bed.unit, bed.bed, bed.side_room, bed.isolation, bed.sex)
            rows.append((*fixed, bed.opens, since, "staffed", since))
            rows.append((*fixed, since, NEVER, "closed", since))
    frame = pl.DataFrame(
        rows,
        schema={
            "unit": pl.String, "bed": pl.String, "side_room": pl.Boolean, "isolation": pl.Boolean,
            "sex": pl.String, "start": pl.Int64, "end": pl.Int64, "state": pl.String,
            "recorded": pl.Int64,
        },
        orient="row",
    )  # fmt: skip
    return frame.with_columns(
        as_time(frame[name].to_numpy()).alias(name) for name in ("start", "end", "recorded")
    )
