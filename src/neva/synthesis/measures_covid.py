"""The truth of the measures on COVID-19."""

from __future__ import annotations

import numpy as np
import polars as pl

from neva.synthesis.drawing import DAY, HOUR, MINUTE, NEVER, Times
from neva.synthesis.known import Known, Mask
from neva.synthesis.measures import Answers, Verdict, timed, verdict
from neva.synthesis.returns import days_later, second_midnight
from neva.synthesis.vocabulary import STRONGER_SUPPORT

__all__ = ["covid_measures"]

_PCR = "LOINC//94500-6"
#: Sets of codes of which each must be there on the first day.
_BASELINE = (
    ("LOINC//1988-5",),
    ("LOINC//6690-2",),
    ("LOINC//2532-0",),
    ("LOINC//14682-9", "LOINC//22664-7"),
    ("LOINC//2276-4",),
    ("LOINC//48065-7",),
    ("CARE//chest-imaging",),
    ("CARE//electrocardiogram",),
)
_HOLDS = 4 * HOUR


def _after(time: Times, span: int) -> Times:
    return np.where(time == NEVER, NEVER, time + span)


def covid_measures(known: Known, answers: Answers) -> None:
    """Add the answers of every ``covid19`` measure."""
    k = known
    detected = k.done & k.code(_PCR) & k.text("detected")
    detected &= (k.time >= k.at(k.start) - 14 * DAY) & (k.time <= k.at(k.limit))
    first_positive = k.first(detected)
    covid = k.inpatient & (first_positive != NEVER)
    oxygen = k.first(k.oxygen & k.inside)
    targeted = _flag(k, "CARE//saturation-target-88-92")

    answers.add("covid19.steroid-when-on-oxygen", _steroid(k, covid, oxygen))
    answers.add("covid19.no-steroid-without-oxygen", _no_steroid(k, covid, oxygen))
    answers.add("covid19.thromboprophylaxis-14-hours", _thromboprophylaxis(k, covid))
    answers.add("covid19.thromboprophylaxis-day-0-or-1", _by_the_next_day(k, covid))
    answers.add("covid19.il-6-or-jak-blocker-48-hours", _blocker(k, covid, oxygen))
    answers.add("covid19.4c-recordable-24-hours", _recordable(k, covid, oxygen))
    answers.add("covid19.no-antibiotic-without-evidence", _no_antibiotic(k, covid))
    answers.add("covid19.antibiotic-review-72-hours", _antibiotic_review(k, covid))
    answers.add("covid19.baseline-set-24-hours", _baseline(k, covid))
    answers.add("covid19.oxygen-in-target-range", _in_target_range(k, covid, oxygen, targeted))
    answers.add("covid19.review-after-news2", _review(k, covid))
    answers.add("covid19.hours-to-intensive-care", _hours_to_intensive_care(k, covid))
    died = k.outcome == "died"
    answers.add(
        "covid19.in-hospital-death",
        verdict(k, population=covid & k.is_over, met=died, failed=~died),
    )
    alive = np.isin(k.outcome, ("home", "care-facility"))
    until = _days_after_end(k, 30)
    answers.add(
        "covid19.readmission-30-days",
        timed(k, population=covid & k.is_over & alive, met=k.returns(until), due=until, late=True),
    )
    answers.add("covid19.progression", _progression(k, covid))
    days = np.where(k.is_over, (k.end - k.start) / DAY, np.nan)
    answers.add(
        "covid19.length-of-stay",
        verdict(k, population=covid & k.is_over, met=k.is_over, failed=~k.is_over, value=days),
    )
    late = first_positive > k.start + 7 * DAY
    answers.add("covid19.nosocomial", verdict(k, population=covid, met=late, failed=~late))


def _flag(k: Known, *codes: str, until: Times | None = None) -> Mask:
    there = k.done & k.code(*codes) & k.inside
    return k.any(there if until is None else there & (k.time <= k.at(until)))


def _days_after_end(k: Known, days: int) -> Times:
    there = np.where(k.end == NEVER, k.start, k.end)
    return np.where(k.end == NEVER, NEVER, days_later(there, days, k.zone))


def _steroid(k: Known, covid: Mask, oxygen: Times) -> Verdict:
    due = _after(oxygen, DAY)
    given = k.steroid & (k.time > k.at(k.start) - DAY) & (k.time <= k.at(due))
    given |= k.steroid & (k.time <= k.at(oxygen)) & (k.until > k.at(oxygen))
    return timed(
        k,
        population=covid & (oxygen != NEVER),
        excluded=_flag(
            k,
            "CARE//saturation-target-88-92",
            "CARE//palliative-care",
            "CARE//ceiling-of-care",
            "CARE//steroid-contraindicated",
            until=due,
        ),
        met=k.any(given),
        due=due,
        left=True,
    )


def _no_steroid(k: Known, covid: Mask, oxygen: Times) -> Verdict:
    before = (k.time > k.at(k.start) - 30 * DAY) & (k.time < k.at(k.start))
    needs_one = k.done & k.diagnosis("Z94", "J45", "E27")
    excluded = _flag(k, "CARE//other-steroid-indication")
    excluded |= k.any(needs_one) | k.any(k.steroid & before)
    given = k.any(k.steroid & k.inside)
    return verdict(
        k,
        population=covid & (oxygen == NEVER),
        excluded=excluded,
        met=~given & k.is_over,
        failed=given & k.is_over,
    )


def _thromboprophylaxis(k: Known, covid: Mask) -> Verdict:
    due = k.start + 14 * HOUR
    on_time = k.within(k.start, due)
    return _heparin_by(k, covid, due, on_time)


def _by_the_next_day(k: Known, covid: Mask) -> Verdict:
    due = second_midnight(k.start, k.zone)
    return _heparin_by(k, covid, due, k.within(k.start, due) & (k.time < k.at(due)))


def _heparin_by(k: Known, covid: Mask, due: Times, on_time: Mask) -> Verdict:
    flagged = k.done & k.code(
        "CARE//anticoagulation-therapeutic", "CARE//anticoagulant-contraindicated"
    )
    flagged &= k.within(k.start - DAY, due)
    refused = k.heparin & k.not_done & k.contraindicated & k.within(k.start, due)
    return timed(
        k,
        population=covid,
        excluded=k.any(flagged | refused),
        met=k.any(k.heparin & k.done & on_time),
        due=due,
        left=True,
    )


def _blocker(k: Known, covid: Mask, oxygen: Times) -> Verdict:
    low = k.first_saturation(below=92.0)
    far = np.iinfo(np.int64).max
    hypoxic = np.minimum(np.where(oxygen == NEVER, far, oxygen), np.where(low == NEVER, far, low))
    inflamed = k.first(k.done & k.code("LOINC//1988-5") & (k.value >= 75) & k.inside)
    inside = (k.time > k.at(k.start) - DAY) & (k.time <= k.at(k.limit))
    steroid = k.first(k.steroid & inside)
    all_three = (hypoxic != far) & (inflamed != NEVER) & (steroid != NEVER)
    since = np.maximum.reduce([hypoxic, inflamed, steroid, k.start])
    due = np.where(all_three, np.where(all_three, since, 0) + 2 * DAY, NEVER)
    given = k.done & k.code("ATC//L04AC07", "ATC//L04AF02") & k.within(k.start, due)
    return timed(
        k,
        population=covid & all_three,
        excluded=_flag(
            k,
            "CARE//palliative-care",
            "CARE//ceiling-of-care",
            "CARE//immunosuppressant-contraindicated",
            until=due,
        ),
        met=k.any(given),
        due=due,
        left=True,
    )


def _recordable(k: Known, covid: Mask, oxygen: Times) -> Verdict:
    due = k.start + DAY
    early = k.done & k.within(k.start, due)
    stop = _oxygen_stops(k)
    never = np.iinfo(np.int64).max
    on_air = k.saturation_by(np.where(oxygen == NEVER, due, np.minimum(due, oxygen)))
    on_air |= k.saturation_by(due, np.where(stop == NEVER, never, stop))
    complete = (k.adult >= 0) & k.has_sex & on_air
    for code in ("LOINC//22664-7", "LOINC//1988-5"):
        complete &= k.any(early & k.code(code))
    for code in ("LOINC//9279-1", "LOINC//9269-2"):
        complete &= k.charted_by(code, due)
    return timed(
        k, population=covid & (k.adult != 0), met=complete, due=due, adult=False, left=True
    )


def _no_antibiotic(k: Known, covid: Mask) -> Verdict:
    due = k.start + 2 * DAY
    early = k.done & k.within(k.start, due)
    evidence = k.code("CARE//bacterial-infection-suspected")
    evidence |= k.code("CARE//blood-culture") & k.text("positive")
    evidence |= k.code("LOINC//33959-8") & (k.value >= 0.5)
    given = k.any(k.antibiotic & early)
    closes = np.where(k.is_over, np.minimum(due, k.end), due)
    closed = closes <= k.cut
    return verdict(
        k,
        population=covid,
        excluded=k.any(evidence & early),
        met=~given & closed,
        failed=given & closed,
        due=closes,
    )


def _antibiotic_review(k: Known, covid: Mask) -> Verdict:
    first = k.first(k.antibiotic & k.inside)
    due = _after(first, 72 * HOUR)
    review = k.done & k.code("CARE//antibiotic-review", "CARE//antibiotic-stopped")
    after = review & (k.time > k.at(first))
    ended = k.is_over & (k.end < due)
    return timed(
        k,
        population=covid & (first != NEVER),
        excluded=ended & ~k.any(after & (k.time <= k.at(k.limit))),
        met=k.any(after & (k.time <= k.at(due))),
        due=due,
    )


def _baseline(k: Known, covid: Mask) -> Verdict:
    due = k.start + DAY
    early = k.done & k.within(k.start, due)
    complete = np.ones(k.size, dtype=bool)
    for codes in _BASELINE:
        complete &= k.any(early & k.code(*codes))
    return timed(k, population=covid, met=complete, due=due, left=True)


def _oxygen_stops(k: Known) -> Times:
    """When the last oxygen of each stay ended; -1 where that is not known."""
    episodes = pl.DataFrame({"row": k.row, "time": k.time, "until": k.until}).filter(
        pl.Series(k.oxygen & k.inside)
    )
    last = episodes.sort("row", "time").unique("row", keep="last", maintain_order=True)
    stop: Times = np.full(k.size, NEVER)
    stop[last["row"].to_numpy()] = last["until"].to_numpy()
    return stop


def _in_target_range(k: Known, covid: Mask, oxygen: Times, targeted: Mask) -> Verdict:
    stop = _oxygen_stops(k)
    leaves = np.where(k.is_over, k.end, k.cut)
    stop = np.where(stop == NEVER, leaves, np.minimum(stop, leaves))
    subjects = pl.DataFrame(
        {
            "subject": k.subject,
            "row": np.arange(k.size),
            "begun": oxygen,
            "stop": stop,
            "targeted": targeted,
        }
    ).filter(pl.col("begun") != NEVER)
    readings = (
        k.saturation.sort("subject", "time")
        .with_columns(following=pl.col("time").shift(-1).over("subject"))
        .with_columns(
            until=pl.min_horizontal(pl.col("time") + _HOLDS, "following"),
        )
        .join(subjects, on="subject")
        .with_columns(
            held=(pl.min_horizontal("until", "stop") - pl.max_horizontal("time", "begun")).clip(
                lower_bound=0
            )
        )
    )
    low = pl.when("targeted").then(88.0).otherwise(92.0)
    high = pl.when("targeted").then(92.0).otherwise(96.0)
    summed = readings.group_by("row").agg(
        held=pl.col("held").sum(),
        inside=pl.col("held").filter(pl.col("value").is_between(low, high)).sum(),
    )
    held, inside = np.zeros(k.size), np.zeros(k.size)
    held[summed["row"].to_numpy()] = summed["held"].to_numpy()
    inside[summed["row"].to_numpy()] = summed["inside"].to_numpy()
    some = held > 0
    return verdict(
        k,
        population=covid & (oxygen != NEVER),
        unknown=~some,
        met=some,
        failed=~some,
        value=np.where(some, inside / np.maximum(held, 1), np.nan),
    )


def _review(k: Known, covid: Mask) -> Verdict:
    alarm = k.first(k.done & k.code("CARE//news2") & (k.value >= 7) & k.inside)
    due = _after(alarm, 30 * MINUTE)
    reviewed = k.done & k.code("CARE//clinical-review") & k.within(alarm, due)
    return timed(k, population=covid & (alarm != NEVER), met=k.any(reviewed), due=due)


def _hours_to_intensive_care(k: Known, covid: Mask) -> Verdict:
    support = k.first(k.done & k.code(*STRONGER_SUPPORT) & k.inside)
    row, moved = k.intensive_moves
    counts = (support[row] != NEVER) & (moved >= support[row]) & (moved <= k.limit[row])
    counts &= moved >= k.start[row]
    far = np.iinfo(np.int64).max
    first = np.full(k.size, far)
    np.minimum.at(first, row[counts], moved[counts])
    there = first != far
    waited = np.where(there, first - support, 0) / HOUR
    return verdict(k, population=covid & there, met=there, failed=~there, value=waited)


def _progression(k: Known, covid: Mask) -> Verdict:
    mask = k.first(k.done & k.code("CARE//oxygen-nasal-or-mask") & k.inside)
    stronger = k.done & k.code(*STRONGER_SUPPORT) & k.inside
    before = k.any(stronger & (k.time < k.at(mask)))
    after = k.any(stronger & (k.time > k.at(mask)))
    return timed(
        k,
        population=covid & (mask != NEVER) & ~before,
        met=after | (k.is_over & (k.outcome == "died")),
        due=k.end,
        late=True,
    )
