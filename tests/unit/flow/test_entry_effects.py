"""What entries say of who leaves: planted reliability found again, and nothing from later."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit
from tests.flows import BEGIN, invented

from neva.events.schema import TIME
from neva.flow.forecast import entry_learning as inside
from neva.flow.forecast.entry_history import ENTRY_ROWS, EntryHistory, past_moments
from neva.flow.forecast.entry_learning import learn_entries
from neva.flow.forecast.forecast import fit_flow, forecast_flow
from neva.flow.forecast.moves_ahead import moves_ahead

HOUR = timedelta(hours=1)


def rng(seed=1):
    return np.random.default_rng(seed)


def history_of(sojourns, *, confirmed=1.0, true=0.9, moment_days=50, seed=2, requests=True):
    """Entries on a ward: a share of tomorrow's leavers confirmed, of whom a share is right.

    Those of whom it is wrong are drawn from the ones who stay, with a date of
    the coming day. Of half of those in the emergency department who go to a
    unit within the day it is requested.
    """
    generator = rng(seed)
    rows = []
    moments = [BEGIN + timedelta(days=60 - k) for k in range(moment_days, -1, -1)]
    for moment in moments:
        at = pl.lit(moment, dtype=TIME)
        here = sojourns.frame.filter(pl.col("start") <= at, pl.col("end") > at)
        for row in here.iter_rows(named=True):
            if row["state"] == "ed":
                asked = requests and row["next"] in ("ward", "icu") and generator.random() < 0.5
                if asked:
                    rows.append((moment, row["subject_id"], None, False, False, False, row["next"]))
                continue
            leaves = row["next"] == "discharged" and row["end"] <= moment + 24 * HOUR
            # As many wrong ones as make the share of right ones.
            wrong = 0.3 * (1 - true) / true if true > 0 else 1.0
            said = generator.random() < (confirmed if leaves else wrong * 0.45)
            if said:
                when = (
                    row["end"] + timedelta(hours=float(generator.uniform(-1, 1)))
                    if leaves
                    else moment + timedelta(hours=float(generator.uniform(2, 22)))
                )
                rows.append((moment, row["subject_id"], when, True, False, False, None))
            elif generator.random() < 0.7:
                days = float(generator.uniform(1.2, 4))
                rows.append(
                    (moment, row["subject_id"], moment + timedelta(days=days), False,
                     bool(generator.random() < 0.2), False, None)
                )  # fmt: skip
    frame = pl.DataFrame(rows, schema=ENTRY_ROWS, orient="row").unique(
        ["moment", "subject_id"], maintain_order=True
    )
    return EntryHistory(tuple(moments), frame)


@pytest.fixture(scope="module")
def whole():
    """With two days that nobody knows yet."""
    return invented(62, seed=5, per_day=30)


@pytest.fixture(scope="module")
def known(whole):
    return whole.between(BEGIN - HOUR, BEGIN + timedelta(days=60))


@pytest.fixture(scope="module")
def model(known):
    return fit_flow(known, days=3)


@pytest.fixture(scope="module")
def history(whole):
    return history_of(whole)


@pytest.fixture(scope="module")
def effects(known, model, history):
    found, note = learn_entries(history, known, model.lengths)
    assert "42 days" in note
    return found


def of(effects, entry):
    return effects.reliability.row(by_predicate=pl.col("entry") == entry, named=True)


def test_the_share_of_confirmed_that_left_is_counted_as_a_person_would(known, history, effects):
    row = of(effects, "confirmed, within 24 hours")
    exits = {
        subject: (end, to)
        for subject, end, to in known.frame.filter(pl.col("next").is_not_null())
        .select("subject_id", "end", "next")
        .iter_rows()
        if to in known.exits
    }
    seen = left = 0
    for moment, subject, expected, confirmed in history.frame.select(
        "moment", "subject_id", "expected", "confirmed"
    ).iter_rows():
        if not confirmed or not known.now - timedelta(days=42) <= moment < known.now:
            continue
        if not timedelta(0) <= expected - moment <= 24 * HOUR:
            continue
        end, _ = exits.get(subject, (None, None))
        if end is None and moment + 24 * HOUR > known.now:
            continue
        seen += 1
        left += end is not None and end <= moment + 24 * HOUR
    assert (row["seen"], row["came_true"]) == (seen, left)
    assert row["lower"] < row["share"] < row["upper"]


@pytest.mark.parametrize(
    "entry", ["confirmed, within 24 hours", "date later than 24 hours", "bed requested"]
)
def test_days_that_were_not_learnt_from_come_as_expected(effects, entry):
    row = of(effects, entry)
    n, p = row["judged"], row["with_entries"] / row["judged"]
    spread = np.sqrt(n * p * (1 - p)) + 1
    assert abs(row["judged_came_true"] - row["with_entries"]) < 3.5 * spread
    alone = abs(row["judged_came_true"] - row["by_lengths_alone"])
    assert abs(row["judged_came_true"] - row["with_entries"]) < alone


def test_a_confirmed_patient_leaves_more_surely_and_both_chances_are_shown(
    known, model, history, effects
):
    """Was: a patient confirmed for 12:15 "leaves today: 26 %"."""
    moves = moves_ahead(model, known, steps=24, effects=effects, history=history)
    end = moves.patients.filter(pl.col("time") == known.now + 24 * HOUR)
    said = history.at(known.now)
    due = said.filter("confirmed")["subject_id"].implode()
    chosen = end.filter(pl.col("subject_id").is_in(due))
    assert chosen.height >= 3
    assert chosen["leaves_hospital"].mean() > 0.7
    # No entry makes sure: not more so than the patients it was learnt from.
    assert moves.patients["leaves_hospital"].max() <= effects.surest < 1
    assert chosen["leaves_hospital_by_lengths"].mean() < 0.5
    plain = moves_ahead(model, known, steps=24)
    alone = plain.patients.filter(pl.col("time") == known.now + 24 * HOUR)
    assert end["leaves_hospital_by_lengths"].to_list() == pytest.approx(
        alone["leaves_hospital"].to_list()
    )
    assert plain.patients["leaves_hospital_by_lengths"].is_null().all()
    made = forecast_flow(
        model, known, steps=24, draws=4, rng=rng(), effects=effects, history=history
    )
    bare = forecast_flow(model, known, steps=24, draws=4, rng=rng())
    assert made.mean_by_lengths == pytest.approx(bare.mean, rel=1e-6)
    assert bare.mean_by_lengths is None
    # The occupancy says the same as the patients.
    present = dict(known.present().group_by("state").len().iter_rows())
    for unit in known.states:
        rows = moves.units.filter(unit=unit).sort("time")
        expected = present.get(unit, 0) - rows["leaving"] + rows["coming"]
        mean = made.mean[made.places.index(unit)]
        assert expected.to_numpy() == pytest.approx(mean, rel=0.03, abs=0.15)


def test_entries_that_say_nothing_change_nothing(known, model):
    """Dates and fitness drawn without looking at who leaves: within what chance does."""
    generator = rng(3)
    rows = []
    for moment in past_moments(known.now):
        at = pl.lit(moment, dtype=TIME)
        here = known.frame.filter(pl.col("start") <= at, pl.col("end") > at)
        for subject in here["subject_id"]:
            when = moment + timedelta(hours=float(generator.uniform(0, 72)))
            rows.append((moment, subject, when, bool(generator.random() < 0.3), False, False, None))
    frame = pl.DataFrame(rows, schema=ENTRY_ROWS, orient="row")
    noise = EntryHistory(tuple(past_moments(known.now)), frame)
    found, _ = learn_entries(noise, known, model.lengths)
    sure = np.sqrt(np.diag(found.covariance)) < 0.4
    assert sure.sum() >= 8
    z = found.shift[sure] / np.sqrt(np.diag(found.covariance))[sure]
    assert np.abs(z).max() < 4
    made = forecast_flow(model, known, steps=24, draws=0, rng=rng(), effects=found, history=noise)
    assert made.mean[:, 23] == pytest.approx(made.mean_by_lengths[:, 23], rel=0.1, abs=0.6)


def test_nothing_after_now_is_learnt_from(known, history):
    """The same past with another future gives the same effects."""
    at = BEGIN + timedelta(days=50)
    before = known.between(BEGIN - HOUR, at)
    lengths = fit_flow(before, days=3).lengths
    found, _ = learn_entries(history, before, lengths)
    cut = EntryHistory(
        tuple(one for one in history.moments if one <= at),
        history.frame.filter(pl.col("moment") <= pl.lit(at, dtype=TIME)),
    )
    again, _ = learn_entries(cut, before, lengths)
    assert found.shift.tolist() == again.shift.tolist()
    assert found.reliability.equals(again.reliability)
    assert found.now == at


def test_too_few_entries_are_said_and_not_learnt_from(known, model, history):
    few = EntryHistory(history.moments, history.frame.head(10))
    found, note = learn_entries(few, known, model.lengths)
    assert found is None
    assert "fewer than 30" in note
    none = EntryHistory((), history.frame.clear())
    assert learn_entries(none, known, model.lengths)[0] is None


def test_a_request_shows_the_way_even_where_nobody_went_yet(known, model, effects):
    """From the ward to the emergency department: no such move in the past."""
    lengths = model.lengths
    ward, ed = lengths.states.index("ward"), lengths.states.index("ed")
    patient = known.present().filter(pl.col("state") == "ward").head(1)
    subject = patient["subject_id"][0]
    asked = pl.DataFrame(
        [(known.now, subject, None, False, False, False, "ed")], schema=ENTRY_ROWS, orient="row"
    )
    wish = EntryHistory((known.now,), asked)
    moves = moves_ahead(model, known, steps=12, effects=effects, history=wish)
    mine = moves.patients.filter(pl.col("subject_id") == subject).sort("time")
    assert lengths.rates[ward, :, ed].sum() == 0
    bare = moves_ahead(model, known, steps=12)
    before = bare.patients.filter(pl.col("subject_id") == subject).sort("time")
    there = mine["leaves_unit"] - mine["leaves_hospital"]
    assert (there > (before["leaves_unit"] - before["leaves_hospital"])).all()


def test_regression_is_that_of_every_row_written_out():
    """Newton on grouped rows against gradient ascent on single ones."""
    generator = rng(4)
    size, rows = 5, 4000
    cells = generator.integers(0, size + 1, (rows, 2))
    cells[:, 1] = np.where(cells[:, 0] == cells[:, 1], size, cells[:, 1])
    chance = expit(generator.normal(-3, 0.5, rows))
    truth = np.append(generator.normal(0, 1, size), 0.0)
    happened = generator.random(rows) < expit(logit(chance) + truth[cells].sum(axis=1))
    found, covariance = inside._regressed(cells, chance, happened, size)
    design = np.zeros((rows, size + 1))
    for k in range(2):
        design[np.arange(rows), cells[:, k]] = 1.0
    design = design[:, :size]
    beta = np.zeros(size)
    for _ in range(20_000):
        fitted = expit(logit(chance) + design @ beta)
        beta += 0.002 * (design.T @ (happened - fitted) - beta / 4)
    assert found == pytest.approx(beta, abs=0.01)
    assert np.abs(found - truth[:size]).max() < 4 * np.sqrt(np.diag(covariance)).max()
