"""Boundary cases are planted: exactly at a deadline, and a microsecond after it."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from neva.synthesis import Plan
from neva.synthesis.drawing import DAY, HOUR, MINUTE, NEVER, local_ticks
from neva.synthesis.generation import Generation
from neva.synthesis.known import known_rows
from neva.synthesis.vocabulary import ANTIBIOTICS, HEPARINS, OXYGEN, STEROIDS

PLAN = Plan(stays=6000, seed=5)
_, CUT = PLAN.microseconds()


@pytest.fixture(scope="module")
def generation():
    return Generation.of(PLAN)


@pytest.fixture(scope="module")
def blocks(generation):
    return list(generation.blocks())


@pytest.fixture(scope="module")
def rows(blocks):
    """Rows known at the data cut, with their stay's number and start."""
    parts = []
    for block, ledger in blocks:
        at = ledger["at"].to_numpy()
        whole = ledger.with_columns(
            number=pl.Series(block["number"][at]), start=pl.Series(block["start"][at])
        )
        parts.append(known_rows(whole, CUT).filter(pl.col("status") == "done"))
    return pl.concat(parts)


@pytest.fixture(scope="module")
def truth(generation, blocks):
    return pl.concat([generation.truth_of(*block) for block in blocks])


def first(rows, *codes):
    found = rows.filter(pl.col("code").is_in(list(codes)), pl.col("time") >= pl.col("start"))
    return found.group_by("number").agg(base=pl.col("time").min())


def offsets(rows, codes, base):
    """Microseconds from each stay's base to every row of these codes."""
    chosen = rows.filter(pl.col("code").is_in(list(codes)))
    return set(chosen.join(base, on="number").select(pl.col("time") - pl.col("base")).to_series())


def starts(rows):
    return rows.group_by("number").agg(base=pl.col("start").first())


def test_around_the_start_of_a_stay(rows):
    base = starts(rows)
    assert {-HOUR, -DAY, -DAY + 1, -30 * DAY, -30 * DAY + 1} <= offsets(rows, STEROIDS, base)
    assert {14 * HOUR - 1, 14 * HOUR, 14 * HOUR + 1} <= offsets(rows, HEPARINS, base)
    assert {2 * DAY, 2 * DAY + 1} <= offsets(rows, ANTIBIOTICS, base)
    flags = ["CARE//anticoagulation-therapeutic"]
    assert {-DAY, -DAY - 1, 14 * HOUR, 14 * HOUR + 1} <= offsets(rows, flags, base)
    tests = offsets(rows, ["LOINC//94500-6"], base)
    assert {-14 * DAY, -14 * DAY - 1, 7 * DAY, 7 * DAY + 1} <= tests
    images = ["CARE//chest-imaging", "CARE//electrocardiogram", "LOINC//2276-4"]
    assert {DAY, DAY + 1} <= offsets(rows, images, base)


def test_around_other_clocks(rows):
    oxygen = first(rows, *OXYGEN)
    assert {DAY - 1, DAY, DAY + 1, DAY + MINUTE} <= offsets(rows, STEROIDS, oxygen)
    antibiotic = first(rows, *ANTIBIOTICS)
    reviews = ["CARE//antibiotic-review", "CARE//antibiotic-stopped"]
    assert {0, 1, 72 * HOUR, 72 * HOUR + 1} <= offsets(rows, reviews, antibiotic)
    for clock in ("emergency-registration", "emergency-triage", "sepsis-triage"):
        base = first(rows, f"CARE//{clock}")
        assert {HOUR, HOUR + 1, HOUR + MINUTE} <= offsets(rows, ANTIBIOTICS, base)
    recognised = first(rows, "CARE//sepsis-triage")
    assert {3 * HOUR, 3 * HOUR + 1} <= offsets(rows, ["LOINC//2524-7"], recognised)
    alarms = rows.filter(pl.col("code") == "CARE//news2", pl.col("value") >= 7)
    review = offsets(rows, ["CARE//clinical-review"], first(alarms, "CARE//news2"))
    assert {0, 30 * MINUTE, 30 * MINUTE + 1} <= review
    procalcitonin = rows.filter(pl.col("code") == "LOINC//33959-8")["value"]
    assert {0.49, 0.5} <= set(procalcitonin)


def test_clocks_that_close_at_the_cut(truth):
    """One that closes at the data cut has failed; a microsecond later it is pending."""
    microsecond = timedelta(microseconds=1)
    clocks = truth.filter(pl.col("measure") == "covid19.thromboprophylaxis-14-hours")
    at = dict(clocks.filter(pl.col("due").is_not_null()).select("due", "status").iter_rows())
    assert at[PLAN.cut] == "failed"
    assert at[PLAN.cut + microsecond] == "pending"
    clocks = truth.filter(pl.col("measure") == "covid19.no-antibiotic-without-evidence")
    at = dict(clocks.filter(pl.col("due").is_not_null()).select("due", "status").iter_rows())
    assert at[PLAN.cut] == "met"
    assert at[PLAN.cut + microsecond] == "pending"


def test_eighteenth_birthdays(generation):
    stays = generation.journeys.filter(pl.col("category") == 0)
    today = local_ticks(stays["start"].to_numpy(), PLAN.zone) // DAY
    born = pl.Series(stays["birth_day"].cast(pl.Int32)).cast(pl.Date)
    turned = born.dt.offset_by("18y").cast(pl.Int32).to_numpy()
    assert {0, 1} <= set((turned - today).tolist())


def test_returns_at_the_last_moment(generation):
    stays = generation.journeys.sort("subject_number", "start")
    following = stays.select(
        "category",
        gap=pl.col("start").shift(-1).over("subject_number") - pl.col("end"),
    )
    gaps = set(following["gap"].drop_nulls())
    # Moscow has no clock change: 30 calendar days are 30 times 24 hours.
    assert {30 * DAY, 30 * DAY + 1, 28 * DAY, 28 * DAY + 1} <= gaps


def test_every_answer_of_each_measure_occurs(truth):
    kinds = truth.group_by("measure").agg(pl.col("status").unique().cast(pl.String))
    for measure, statuses in kinds.iter_rows():
        assert "outside" in statuses, measure
        assert {"met", "measured"} & set(statuses), measure
        if (
            measure.startswith("covid19.")
            and truth.filter(pl.col("measure") == measure, pl.col("value").is_not_null()).is_empty()
        ):
            assert "failed" in statuses, measure
            # What is recorded within a day is never unknown: an unknown age is not recorded.
            if measure != "covid19.4c-recordable-24-hours":
                assert "unknown" in statuses, measure


def test_recorded_totals_are_those_of_their_set(blocks):
    """NEWS2 by hand (Royal College of Physicians 2017), from the values beside it."""
    block, ledger = blocks[0]
    single = ledger.filter(pl.col("row_id").is_null(), pl.col("status") == "done")
    codes = {
        "LOINC//59408-5": "saturation", "LOINC//9279-1": "respiration", "LOINC//8867-4": "pulse",
        "LOINC//8480-6": "systolic", "LOINC//8310-5": "temperature", "CARE//news2": "total",
    }  # fmt: skip
    sets = (
        single.filter(pl.col("code").is_in(list(codes)))
        .with_columns(pl.col("code").replace(codes))
        .pivot("code", index=["at", "time"], values="value", aggregate_function="first")
        .join(single.filter(pl.col("code") == "CARE//acvpu").select("at", "time", "text"),
              on=["at", "time"])
        .drop_nulls()
    )  # fmt: skip
    assert sets.height > 3000
    for row in sets.sample(2000, seed=1).iter_rows(named=True):
        at, time = row["at"], row["time"]
        on = any(
            block[f"{name}_start"][at] != NEVER
            and block[f"{name}_start"][at] <= time < block[f"{name}_end"][at]
            for name in ("mask", "high_flow", "non_invasive", "invasive", "mask_again")
        )
        assert row["total"] == by_hand(row, on=on, second=bool(block["hypercapnic"][at]))


def by_hand(row, *, on, second):
    r, s, p, b, t = (
        row[name] for name in ("respiration", "saturation", "pulse", "systolic", "temperature")
    )
    total = 3 if r <= 8 or r >= 25 else 2 if r >= 21 else 1 if r <= 11 else 0
    if not second:
        total += 3 if s <= 91 else 2 if s <= 93 else 1 if s <= 95 else 0
    elif s <= 87:
        total += 3 if s <= 83 else 2 if s <= 85 else 1
    elif on:
        total += 3 if s >= 97 else 2 if s >= 95 else 1 if s >= 93 else 0
    total += 2 if on else 0
    total += 3 if b <= 90 or b >= 220 else 2 if b <= 100 else 1 if b <= 110 else 0
    total += 3 if p <= 40 or p >= 131 else 2 if p >= 111 else 1 if p <= 50 or p >= 91 else 0
    total += 0 if row["text"] == "A" else 3
    total += 3 if t <= 35.0 else 2 if t >= 39.1 else 1 if t <= 36.0 or t >= 38.1 else 0
    return total


def test_arrivals_have_a_rhythm(generation):
    stays = generation.journeys
    local = local_ticks(stays["start"].to_numpy(), PLAN.zone)
    hour, weekday = (local // HOUR) % 24, (local // DAY + 3) % 7
    elective = (stays["source"] == "elective").to_numpy()
    assert set(weekday[elective].tolist()) <= {0, 1, 2, 3, 4}
    walk_in = ~elective & ~np.isin(stays["category"].to_numpy(), [0, 1])
    by_hour = np.bincount(hour[walk_in], minlength=24)
    assert by_hour[9:13].sum() > 2 * by_hour[1:5].sum()
