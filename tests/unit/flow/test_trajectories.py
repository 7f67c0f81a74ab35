"""Trajectories: small hospitals by hand, and the embedded cohort as R has it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.hospitals import new_hospital, take_csv
from tests.multistate_data import numbers

from neva.errors import UsageError
from neva.flow.stays.landmark import landmark
from neva.flow.stays.sojourns import Sojourns, sojourns_of
from neva.flow.stays.trajectories import trajectories

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")


def day(number):
    return BEGIN + timedelta(days=number)


def sojourns(rows, *, now=100.0, precision="instant", zone="UTC"):
    """Sojourns from (case, state, start, end, next) or with (…, entered), in days."""
    made = []
    for case, state, start, end, after, *entered in rows:
        begun = entered[0] if entered else start
        made.append((case, case, "all", state, day(start), day(end), after, day(begun), False))
    schema = {
        "case": pl.Int64, "subject_id": pl.Int64, "class": pl.String, "state": pl.String,
        "start": TIME, "end": TIME, "next": pl.String, "entered": TIME, "lost": pl.Boolean,
    }  # fmt: skip
    frame = pl.DataFrame(made, schema=schema, orient="row").sort("case", "start")
    states = sorted(frame["state"].unique())
    exits = sorted(set(frame["next"].drop_nulls()) - set(states))
    return Sojourns(
        frame, tuple(states), tuple(exits), day(now), zone, "test", "patients by unit", precision
    )


FOUR = [
    (0, "ward", 0, 2, "icu"), (0, "icu", 2, 4, "ward"), (0, "ward", 4, 6, "home"),
    (1, "ward", 10, 13, "home"), (2, "ward", 20, 25, "home"), (3, "ward", 96, 100, None),
]  # fmt: skip


def at(found, days, state):
    row = found.to_frame().filter(pl.col("days") == days, pl.col("state") == state)
    return row["probability"].item()


def test_occupation_since_admission_by_hand():
    """The hand-made hospital of the Aalen-Johansen estimator, on four different dates."""
    found = trajectories(sojourns(FOUR), horizon_days=7, floor=4)
    assert [at(found, d, "ward") for d in (0, 2, 3, 4, 5, 6)] == pytest.approx(
        [1, 3 / 4, 1 / 2, 3 / 4, 3 / 8, 0]
    )
    assert [at(found, d, "home") for d in (2, 3, 5, 6)] == pytest.approx([0, 1 / 4, 5 / 8, 1])
    assert found.to_frame().group_by("days").agg(pl.col("probability").sum())[
        "probability"
    ].to_list() == pytest.approx([1] * 8)
    assert (found.cases, found.completed, found.never_left, found.left_at_once) == (4, 5, (), 0)
    counts = found.counts.filter(state="ward")
    assert counts.select("next", "sojourns").rows() == [("home", 3), ("icu", 1), (None, 1)]


def test_moves_and_those_at_risk_by_day():
    table = trajectories(sojourns(FOUR), horizon_days=7, floor=4).transition_table()
    ward = table.filter(state="ward", next="home", moves=1)
    assert ward.select("days", "at_risk").rows() == [(3, 3), (5, 2), (6, 1)]
    assert ward["hazard"].to_list() == pytest.approx([1 / 3, 1 / 2, 1])


def test_expected_days_in_each_state_add_up_to_the_horizon():
    found = trajectories(sojourns(FOUR), horizon_days=6, floor=4).expected_days()
    days = dict(found.iter_rows())
    assert days["ward"] == pytest.approx(2 + 0.75 + 0.5 + 0.75 + 0.375)
    assert sum(days.values()) == pytest.approx(6)


def test_incidence_of_leaving_counts_the_whole_stay():
    exits = trajectories(sojourns(FOUR), horizon_days=7, floor=4).exits()
    # 3 of 4 stay after day 3; of the two seen until day 5 one leaves.
    assert exits["days"].to_list() == [3, 5, 6]
    assert exits["incidence"].to_list() == pytest.approx([1 / 4, 5 / 8, 1])


def test_remaining_stay_by_state_and_time_spent():
    found = trajectories(sojourns(FOUR), horizon_days=30, floor=1)
    table = found.remaining((0, 3, 50))
    rows = {(r["state"], r["spent_days"]): r for r in table.iter_rows(named=True)}
    # From intensive care on day 2 until home on day 6.
    assert rows["icu", 0]["days"] == pytest.approx(4)
    # Sojourns in the ward until leaving: 6 (through intensive care), 2, 3, 5, more than 4.
    ward = rows["ward", 0]
    by_hand = 2 + 0.8 * 1 + 0.6 * 2 + 0.3 * 1
    assert (ward["sojourns"], ward["left"], ward["days"]) == (5, 4, pytest.approx(by_hand))
    assert ward["lower"] < by_hand < ward["upper"]
    assert (ward["to_days"], ward["beyond"]) == (6, 0)
    # After 3 days: one with 2 more, one censored after 1; the first-left is gone at 3.
    assert rows["ward", 3]["sojourns"] == 2
    assert rows["ward", 3]["days"] == pytest.approx(2)
    assert rows["ward", 50]["days"] is None
    with pytest.raises(UsageError, match="not negative"):
        found.remaining((-1,))


def test_one_who_is_observed_late_is_not_at_risk_before():
    rows = [*FOUR, (4, "ward", 40, 44.5, "home", 43.5)]
    table = trajectories(sojourns(rows), horizon_days=7, floor=4).transition_table()
    risk = table.filter(state="ward", next="home").select("days", "at_risk")
    # Seen from day 3.5 on: not yet when the step to day 4 begins.
    assert dict(risk.iter_rows()) == {0: 4, 1: 4, 2: 4, 3: 3, 4: 2, 5: 3, 6: 1, 7: 0}


def test_a_period_that_begins_in_the_middle_of_stays_keeps_their_time_since_admission():
    whole = sojourns(FOUR)
    part = whole.between(day(3), day(99))
    found = trajectories(part, horizon_days=7, floor=3)
    # Case 0 is in intensive care from day 2, seen from day 3; back in the ward on day 4.
    table = found.transition_table().filter(state="icu", moves=1)
    assert table.select("days", "next").rows() == [(4, "ward")]
    assert found.transitions.present(-1.0).tolist() == [0, 3, 0]


def test_who_leaves_in_the_moment_of_admission_is_in_no_state():
    rows = [*FOUR, (5, "ward", 50, 50, "home"), (6, "icu", 51, 51, None)]
    found = trajectories(sojourns(rows, precision="day"), horizon_days=7, floor=4)
    assert (found.left_at_once, found.passed_over) == (1, 0)
    # Six were admitted, five to the ward; one of those left on the day.
    assert [at(found, 0, s) for s in ("ward", "icu", "home")] == pytest.approx(
        [4 / 6, 1 / 6, 1 / 6]
    )
    assert found.exits().filter(days=0)["incidence"].to_list() == pytest.approx([1 / 6])


def test_calendar_days_are_counted_where_only_days_are_known():
    """The night to 31 March 2024 has 23 hours in Berlin: still one day."""
    begin, end = datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 3, 31, 22, tzinfo=UTC)
    rows = [(k, "ward", 0, 3, "home") for k in range(3)]
    made = sojourns(rows, precision="day", zone="Europe/Berlin")
    frame = made.frame.with_columns(
        start=pl.lit(begin, TIME), entered=pl.lit(begin, TIME), end=pl.lit(end, TIME)
    )
    from dataclasses import replace

    found = trajectories(replace(made, frame=frame), horizon_days=2, floor=1)
    assert [at(found, d, "ward") for d in (0, 1)] == [1, 0]


def test_a_state_that_nobody_left_is_said():
    rows = [*FOUR, (7, "rehabilitation", 95, 100, None)]
    found = trajectories(sojourns(rows), horizon_days=7, floor=4)
    assert found.never_left == ("rehabilitation",)
    assert at(found, 7, "rehabilitation") == pytest.approx(1 / 5)
    assert found.remaining().filter(state="rehabilitation")["days"].to_list() == [None]


def test_too_little_to_estimate_from_is_said():
    with pytest.raises(UsageError, match="found 5, below the floor of 20"):
        trajectories(sojourns(FOUR))
    with pytest.raises(UsageError, match="no departure yet"):
        trajectories(sojourns([(0, "ed", 0, 1, "ward"), (0, "ward", 1, 100, None)]))
    late = [(k, "ward", 0, 9, "home", 5) for k in range(30)]
    with pytest.raises(UsageError, match="no patient is observed from admission"):
        trajectories(sojourns(late))
    with pytest.raises(UsageError, match="a step above 0"):
        trajectories(sojourns(FOUR), horizon_days=0)


def test_landmark_by_hand():
    """On day 98 one is in the ward since two days: then comes what came to others after day 2."""
    found = trajectories(sojourns(FOUR), horizon_days=7, floor=4)
    later = landmark(found, day(98))
    assert later.at == day(98)
    assert later.groups.rows() == [("ward", 2.0, 1, 2)]
    # After day 2: 1 of 2 goes home on day 3; on day 4 one comes back, and so on.
    ward = later.to_frame().filter(then="ward").select("days", "expected")
    assert dict(ward.iter_rows())[1.0] == pytest.approx(1 / 2)
    np.testing.assert_allclose(later.expected.sum(axis=1), 1)
    assert later.few == 1
    with pytest.raises(UsageError, match="later than what is known"):
        landmark(found, day(200))


def test_landmark_looks_at_nothing_later():
    rng = np.random.default_rng(4)
    starts = np.sort(rng.uniform(0, 90, 60))
    past = [(k, "ward", s, s + 3 + k % 5, "home") for k, s in enumerate(starts)]
    rows = [(c, st, s, min(e, 100), n if e <= 100 else None) for c, st, s, e, n in past]
    early = [(c, st, s, min(e, 60), n if e < 60 else None) for c, st, s, e, n in past if s < 60]
    one = landmark(trajectories(sojourns(rows)), day(60))
    two = landmark(trajectories(sojourns(early, now=60)))
    assert one.groups.equals(two.groups)
    np.testing.assert_allclose(one.probability, two.probability)


def test_nobody_present_is_said():
    found = trajectories(sojourns(FOUR[:-1]), horizon_days=7, floor=4)
    with pytest.raises(UsageError, match="no patient is present"):
        landmark(found)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    hospital = new_hospital(tmp_path_factory.mktemp("cohort"), zone="Asia/Jerusalem")
    file = Path("src/neva/sources/data/israel-covid/covid_hosp_data.csv")
    take_csv(hospital, file, "israel-covid")
    return trajectories(sojourns_of(hospital.snapshot()))


R = numbers("trajectories_numbers.json")
EXACT = {"rtol": 1e-8, "atol": 1e-12}


def test_the_cohort_has_its_patients_deaths_and_open_stays(cohort):
    count = dict(cohort.counts.group_by("next").agg(pl.col("sojourns").sum()).iter_rows())
    assert cohort.sojourns.frame["subject_id"].n_unique() == 2675
    assert (count["died"], count[None]) == (200, 311)
    assert (cohort.cases, cohort.left_at_once, cohort.never_left) == (2787, 90, ())


def test_occupation_of_the_cohort_and_its_covariance_are_those_of_etm_and_survfit(cohort):
    days = R["days"].astype(int)
    found = cohort.occupation
    assert found.state_names == ("moderate", "severe", "died", "discharged")
    # R's first state is "arriving", which everybody has left by then.
    expected = R["occupation"].reshape(len(days), 5)
    np.testing.assert_allclose(expected[:, 0], 0, atol=1e-15)
    np.testing.assert_allclose(found.occupation[days], expected[:, 1:], **EXACT)
    covariance = R["covariance"].reshape(len(days), 5, 5)[:, 1:, 1:]
    np.testing.assert_allclose(found.covariance[days], covariance, rtol=1e-8, atol=1e-15)
    survfit = R["survfit"]["occupation"].reshape(len(days), 4)
    np.testing.assert_allclose(found.occupation[days], survfit, **EXACT)


def test_incidence_of_deaths_and_discharges_is_that_of_cmprsk(cohort):
    expected = R["incidence"]
    exits = cohort.incidence
    assert exits.causes == ("died", "discharged")
    at_days = np.searchsorted(exits.times, expected["days"], side="right") - 1
    shape = (len(at_days), 2)
    np.testing.assert_allclose(
        exits.incidence[at_days], expected["estimate"].reshape(shape), **EXACT
    )
    np.testing.assert_allclose(
        exits.variance[at_days], expected["variance"].reshape(shape), rtol=1e-8, atol=1e-15
    )


@pytest.mark.parametrize("state", ["moderate", "severe"])
@pytest.mark.parametrize("spent", [0, 7])
def test_remaining_days_are_restricted_means_of_survfit(cohort, state, spent):
    from neva.flow.stays.remaining import remaining_stay

    sojourned, mean, error = R["remaining"][f"{state}{spent}"]
    table = remaining_stay(cohort.sojourns, spent_days=(spent,), horizon_days=30)
    row = table.row(by_predicate=pl.col("state") == state, named=True)
    assert row["sojourns"] == sojourned
    assert row["days"] == pytest.approx(mean, rel=1e-9)
    assert (row["upper"] - row["lower"]) / (2 * 1.959964) == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize(
    ("date", "missed"), [((3, 31), 0.35), ((4, 7), 0.07), ((4, 14), 0.07), ((4, 20), 0.07)]
)
def test_a_week_later_about_as_many_are_still_there_as_a_landmark_says(cohort, date, missed):
    """In March patients began to be sent home sooner: nothing seen by then could tell."""
    found = landmark(cohort, datetime(2020, *date, 21, tzinfo=UTC))
    frame = cohort.sojourns.frame
    then = found.at + timedelta(days=7)
    here = frame.filter(pl.col("start") <= found.at, pl.col("end") > found.at)
    assert found.groups["patients"].sum() == here["case"].n_unique()
    later = frame.filter(pl.col("start") <= then, pl.col("end") > then)
    real = here.select("case").join(later, on="case").height
    staying = found.expected[7, :2].sum()
    assert abs(staying - real) < missed * real
