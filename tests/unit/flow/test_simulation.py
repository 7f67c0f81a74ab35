"""The simulation against closed forms, another program, and laws.

Statistical comparisons use seeds and replications for which chance alone
fails one in a thousand or less (intervals of at least 99.9 %), unless said otherwise.
"""

import csv
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ciw
import numpy as np
import pytest
from scipy import optimize, stats
from tests.flow_models import START, five_units, one_ward

from neva.errors import UsageError
from neva.flow.simulation.hospital_model import (
    Beds,
    Electives,
    Exit,
    HospitalModel,
    Incoming,
    InitialPatient,
    Next,
    PatientClass,
    Route,
    Unit,
)
from neva.flow.simulation.kernel import KINDS
from neva.flow.simulation.simulate import HalfWidth, simulate
from neva.flow.simulation.simulated_log import event_log
from neva.flow.stays.stay_length import StayLength

SHARED = Path(os.environ.get("NEVA_SHARED", Path(__file__).resolve().parents[4] / "shared"))


def interval(values, confidence=0.999):
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1)
    half /= np.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def assert_inside(expected, values, confidence=0.999):
    low, high = interval(values, confidence)
    assert low <= expected <= high


def erlang_b(servers, load):
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked


# closed forms


def test_waiting_is_that_of_erlang_c():
    model = one_ward(20, 18.0, StayLength.exponential(1))
    run = simulate(
        model, start=START, days=300, warm_up_days=10, seed=11, replications=40, hourly=False
    )
    blocked = erlang_b(20, 18)
    waits = blocked / (1 - 0.9 * (1 - blocked))
    assert waits == pytest.approx(0.5508, abs=1e-4)
    assert_inside(waits, run.values("waited_share", "ward"))
    # The mean wait, 0.2754 mean stays at this load.
    assert waits / (20 - 18) == pytest.approx(0.2754, abs=1e-4)
    assert_inside(waits / 2, run.values("wait_hours", "ward"))
    assert_inside(18.0, run.values("occupied_beds", "ward"))
    assert_inside(18 / 2 * waits, run.values("queue_outside", "ward"))


@pytest.mark.parametrize("beds", [6, 10, 20, 50])
def test_loss_is_that_of_erlang_b(beds):
    # So many arrive that 85 % of the beds are occupied by those who are not refused.
    load = optimize.brentq(lambda a: a * (1 - erlang_b(beds, a)) - 0.85 * beds, 0.5, 3 * beds)
    run = simulate(
        one_ward(beds, load / 48, StayLength.lognormal(48, 0.7), when_full="refuse"),
        start=START,
        days=2000,
        warm_up_days=40,
        seed=3,
        replications=30,
        hourly=False,
    )
    expected = erlang_b(beds, load)
    table = SHARED / "facts" / "erlang_bed_pools.csv"
    if table.exists():
        with table.open() as file:
            rows = {int(row["beds"]): row for row in csv.DictReader(file)}
        told = float(rows[beds]["p_all_beds_full_at_85pct_occupancy_erlang_loss"])
        assert expected == pytest.approx(told, abs=5e-5)
    assert_inside(expected, run.values("full_share", "ward"))
    assert_inside(
        expected, run.values("refused", "ward") / (2000 * run.values("arrivals_per_day", "ward"))
    )


def test_occupancy_without_limit_is_the_integral_of_arrivals_and_survival():
    """M_t/G/infinity (Eick, Massey & Whitt 1993, doi:10.1287/opre.41.4.731)."""
    stay = StayLength.lognormal(30, 0.9)
    rates = tuple(2 + 1.5 * np.sin(2 * np.pi * h / 24) for h in range(24))
    model = one_ward(None, 1.0, stay)
    arrivals = Incoming(rates, dispersion=0.1).during(1.5, 120, 150)
    model = model.with_class("all", arrivals=arrivals)
    run = simulate(model, start=START, days=10, seed=8, replications=400)
    fine = 20
    grid = np.arange(0, 240, 1 / fine) + 0.5 / fine
    rate = np.array(rates)[(grid % 24).astype(int)] * np.where((grid >= 120) & (grid < 150), 1.5, 1)
    counts = np.stack([one.hourly[0] for one in run.replicates])
    for hour in (24, 60, 121, 150, 200, 239):
        past = grid < hour
        expected = (rate[past] * stay.longer_than(hour - grid[past])).sum() / fine
        assert_inside(expected, counts[:, hour], confidence=0.9999)


def test_dispersion_is_that_of_a_negative_binomial_day():
    model = one_ward(None, 2.0, StayLength.deterministic(0), dispersion=0.2)
    run = simulate(model, start=START, days=3000, seed=8, replications=1, log=True)
    log = run.replicates[0].log
    days = np.bincount(log["time"][log["kind"] == KINDS.index("arrives")].astype(int) // 24)
    assert days.mean() == pytest.approx(48, rel=0.03)
    assert days.var() == pytest.approx(48 + 0.2 * 48**2, rel=0.12)


@pytest.mark.parametrize("elapsed", [0.0, 20.0, 90.0])
def test_the_rest_of_a_stay_is_conditional_on_what_has_passed(elapsed):
    """Initial patients leave as those of the distribution who stayed at least as long."""
    long, short = StayLength.lognormal(60, 0.8), StayLength.exponential(20)
    model = HospitalModel(
        units=(Unit("ward", None),),
        exits=(Exit("discharged"), Exit("died")),
        classes=(PatientClass("all", (("ward", 1.0),)),),
        routes=(Route("all", "ward", (Next("discharged", 0.7, long), Next("died", 0.3, short))),),
        initial=(InitialPatient("all", "ward", elapsed),) * 4000,
    )
    run = simulate(model, start=START, days=60, seed=2, replications=1, log=True)
    left = [0.7 * float(long.longer_than(elapsed)), 0.3 * float(short.longer_than(elapsed))]
    log = run.replicates[0].log
    log = log[log["kind"] == KINDS.index("leaves")]
    died = log["target"] == 2
    assert stats.binomtest(int(died.sum()), len(log), left[1] / sum(left)).pvalue > 1e-3

    def by(hours):
        share = np.asarray(long.longer_than(elapsed + hours)) / long.longer_than(elapsed)
        return 1 - share

    assert stats.kstest(log["time"][~died], by).pvalue > 1e-3


# another program


def in_ciw(network, *, days, warm_up, seeds):
    found = []
    for seed in seeds:
        ciw.seed(seed)
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_time((days + warm_up) * 24)
        records = simulation.get_all_records(only=["service"])
        found.append([r for r in records if r.exit_date > warm_up * 24])
    return found


def test_blocking_in_a_tandem_line_equals_that_of_ciw():
    """Before the second station are two places to wait, which here are a unit of their own."""
    days, warm_up = 80, 5
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(0.8), None],
        service_distributions=[ciw.dists.Exponential(0.55), ciw.dists.Exponential(0.5)],
        number_of_servers=[2, 2],
        queue_capacities=[float("inf"), 2],
        routing=[[0.0, 1.0], [0.0, 0.0]],
    )
    theirs = in_ciw(network, days=days, warm_up=warm_up, seeds=range(12))
    model = HospitalModel(
        units=(
            Unit("first", Beds.always(2)),
            Unit("between", Beds.always(2)),
            Unit("second", Beds.always(2)),
        ),
        exits=(Exit("out"),),
        classes=(PatientClass("all", (("first", 1.0),), arrivals=Incoming((0.8,))),),
        routes=(
            Route("all", "first", (Next("between", 1.0, StayLength.exponential(1 / 0.55)),)),
            Route("all", "between", (Next("second", 1.0, StayLength.deterministic(0)),)),
            Route("all", "second", (Next("out", 1.0, StayLength.exponential(2)),)),
        ),
    )
    run = simulate(
        model,
        start=START,
        days=days,
        warm_up_days=warm_up,
        seed=1,
        replications=100,
        hourly=False,
    )
    blocked = [sum(r.time_blocked for r in one if r.node == 1) / days for one in theirs]
    ours = run.values("boarding_hours_per_day", "first")
    assert ours.mean() > 1  # there is blocking to compare
    assert stats.ttest_ind(blocked, ours, equal_var=False).pvalue > 1e-3
    busy = [sum(r.service_time for r in one if r.node == 2) / (days * 24) for one in theirs]
    assert stats.ttest_ind(busy, run.values("occupied_beds", "second")).pvalue > 1e-3


def five_in_ciw(scale):
    def after(hours):
        return ciw.dists.Exponential(1 / hours)

    return ciw.create_network(
        arrival_distributions=[
            ciw.dists.Exponential(1.1 * scale),
            None,
            ciw.dists.Exponential(0.1 * scale),
            None,
            None,
        ],
        service_distributions=[after(5), after(90), after(70), after(60), after(40)],
        number_of_servers=[12, 30, 18, 6, 8],
        queue_capacities=[float("inf"), 0, float("inf"), 0, 0],
        routing=[
            [0.0, 0.26, 0.07, 0.05, 0.0],
            [0.0] * 5,
            [0.0, 0.0, 0.0, 0.1, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.85],
            [0.0, 0.7, 0.0, 0.0, 0.0],
        ],
    )


def test_blocking_in_a_hospital_of_five_units_equals_that_of_ciw():
    """Stays here do not depend on where they lead, as in Ciw.

    In Ciw the surgical ward has room to wait for arrivals from outside, and
    patients from the emergency department use it too: here it is a hall without
    limit before the ward.
    """
    days, warm_up = 60, 20
    means = {"ed": 5, "medical": 90, "surgical": 70, "icu": 60, "step-down": 40}
    model = five_units()
    routes = tuple(
        replace(
            route,
            nexts=tuple(
                replace(n, stay=StayLength.exponential(means[route.unit])) for n in route.nexts
            ),
        )
        for route in model.routes
    )
    hall = Unit("hall", None)  # the room to wait before the surgical ward
    routes = tuple(
        replace(
            r,
            nexts=tuple(
                replace(n, to="hall") if r.unit == "ed" and n.to == "surgical" else n
                for n in r.nexts
            ),
        )
        for r in routes
    )
    through = Next("surgical", 1.0, StayLength.deterministic(0))
    model = replace(
        model,
        units=(*model.units, hall),
        routes=(*routes, *(Route(each.name, "hall", (through,)) for each in model.classes)),
    ).with_class("surgery", first=(("hall", 1.0),))
    run = simulate(
        model,
        start=START,
        days=days,
        warm_up_days=warm_up,
        seed=5,
        replications=150,
        hourly=False,
    )
    theirs = in_ciw(five_in_ciw(1.0), days=days, warm_up=warm_up, seeds=range(16))
    for node, name in enumerate(means, start=1):
        blocked = [sum(r.time_blocked for r in one if r.node == node) / days for one in theirs]
        ours = run.values("boarding_hours_per_day", name)
        if max(blocked) > 0 or ours.any():
            assert stats.ttest_ind(blocked, ours, equal_var=False).pvalue > 1e-3, name
    ed = [sum(r.waiting_time for r in one if r.node == 1) / sum(r.node == 1 for r in one)
          for one in theirs]  # fmt: skip
    assert stats.ttest_ind(ed, run.values("wait_hours", "ed"), equal_var=False).pvalue > 1e-3


# cycles


def feeding_each_other(deadlock):
    """Two single beds; everybody goes to the other and then leaves."""
    return HospitalModel(
        units=(Unit("a", Beds.always(1)), Unit("b", Beds.always(1))),
        exits=(Exit("out"),),
        classes=(
            PatientClass("from a", (("a", 1.0),)),
            PatientClass("from b", (("b", 1.0),)),
        ),
        routes=(
            Route("from a", "a", (Next("b", 1.0, StayLength.deterministic(2)),)),
            Route("from a", "b", (Next("out", 1.0, StayLength.deterministic(5)),)),
            Route("from b", "b", (Next("a", 1.0, StayLength.deterministic(3)),)),
            Route("from b", "a", (Next("out", 1.0, StayLength.deterministic(5)),)),
        ),
        initial=(InitialPatient("from a", "a", 0.0), InitialPatient("from b", "b", 0.0)),
        deadlock=deadlock,
    )


def rows_of(run):
    names = [*run.model.states, None]
    return [
        (float(r["time"]), int(r["case"]), KINDS[r["kind"]], names[r["origin"]], names[r["target"]])
        for r in run.replicates[0].log
    ]


def test_two_who_want_each_others_bed_swap():
    model = feeding_each_other("swap")
    run = simulate(model, start=START, days=1, seed=1, replications=1, log=True)
    assert rows_of(run) == [
        (0.0, 0, "present", None, "a"),
        (0.0, 1, "present", None, "b"),
        (2.0, 0, "ready", "a", "b"),
        (3.0, 1, "ready", "b", "a"),
        (3.0, 1, "starts", "b", "a"),
        (3.0, 0, "starts", "a", "b"),
        (8.0, 0, "leaves", "b", "out"),
        (8.0, 1, "leaves", "a", "out"),
    ]
    assert run.figure("swaps").mean == 1
    assert run.figure("boarding_hours_per_day", "a").mean == 1


def test_a_cycle_is_refused_by_name_where_swaps_are_forbidden():
    with pytest.raises(UsageError, match=r"b > a > b 3\.0 h after the start"):
        simulate(feeding_each_other("refuse"), start=START, days=1, seed=1, replications=1)


# laws


def surging():
    """Five units with schedules, rooms, electives, hours of leaving and people present."""
    model = five_units(scale=1.1)
    model = replace(
        model,
        initial=(InitialPatient("emergency", "icu", 30.0),) * 9,
        exits=(
            Exit("discharged", hours=tuple(float(9 <= h < 17) for h in range(24))),
            Exit("died"),
        ),
    )
    model = model.with_unit("medical", bays=(4, 4, 6, 6), side_rooms=4)
    model = model.with_unit("surgical", when_full="divert", divert=("medical",), then="refuse")
    model = model.with_unit("icu", beds=Beds.always(6).plus_at(2, range(8, 20)))
    return model.with_class(
        "surgery",
        isolation=0.1,
        electives=Electives(tuple(3.0 if h == 8 else 0.0 for h in range(24)), rebook_days=7),
    )


@pytest.fixture(scope="module")
def surge():
    return simulate(surging(), start=START, days=60, seed=9, replications=2, log=True)


def test_patients_are_conserved(surge):
    """Who got a bed left, or is still there; who came got a bed, was lost, or still waits."""
    for one in surge.replicates:
        log, kinds = one.log, one.log["kind"]

        def cases(*names, log=log, kinds=kinds):
            return set(log["case"][np.isin(kinds, [KINDS.index(n) for n in names])].tolist())

        came, placed, gone = (
            cases("arrives", "present"),
            cases("starts", "present"),
            cases("leaves"),
        )
        lost = cases("refused", "cancelled") - placed
        still_waiting = came - placed - lost
        assert gone <= placed
        assert still_waiting <= cases("waits")
        change = np.zeros(len(surge.model.units), dtype=int)
        for row in log[np.isin(kinds, [KINDS.index(n) for n in ("present", "starts", "leaves")])]:
            if row["origin"] >= 0:
                change[row["origin"]] -= 1
            if row["target"] < change.size:
                change[row["target"]] += 1
        assert len(placed) - len(gone) == change.sum()
        assert one.exits.sum() == len(gone)


def test_no_unit_fills_beyond_its_beds(surge):
    """Rebuilt from the log: a bed is only ever taken where one is free, at any moment."""
    for one in surge.replicates:
        occupied = np.zeros(len(surge.model.units), dtype=int)
        for time in np.unique(one.log["time"]):
            rows = one.log[one.log["time"] == time]
            before = occupied.copy()
            for row in rows:
                moves = row["kind"] in (KINDS.index("starts"), KINDS.index("leaves"))
                if moves and row["origin"] >= 0:
                    occupied[row["origin"]] -= 1
                if row["kind"] in (KINDS.index("starts"), KINDS.index("present")):
                    occupied[row["target"]] += 1
            if time == 0:
                continue
            for u, unit in enumerate(surge.model.units):
                week = unit.beds.week
                beds = week[int(time) % len(week)]
                assert occupied[u] <= max(beds, before[u])


def test_fewer_beds_put_nobody_out(surge):
    """Nine are in an intensive care of six to eight beds at the start."""
    assert surge.figure("most_occupied", "icu").mean == 9
    assert surge.figure("over_beds_hours", "icu").mean > 0


def test_bays_hold_one_sex_and_side_rooms_only_those_who_need_them():
    model = one_ward(6, 1.0, StayLength.exponential(10)).with_unit(
        "ward", bays=(2, 2), side_rooms=2, side_rooms_for_isolation_only=True
    )
    model = model.with_class("all", isolation=0.2)
    run = simulate(model, start=START, days=60, seed=4, replications=1, log=True)
    log, cases = run.replicates[0].log, run.replicates[0].cases
    inside: set[int] = set()
    waited_with_a_free_bed = 0
    for row in log:
        case = int(row["case"])
        if row["kind"] == KINDS.index("starts"):
            inside.add(case)
        elif row["kind"] == KINDS.index("leaves"):
            inside.remove(case)
        elif row["kind"] == KINDS.index("waits"):
            waited_with_a_free_bed += len(inside) < 6
        isolated = sum(int(cases["isolated"][c]) for c in inside)
        women = sum(int(cases["female"][c] and not cases["isolated"][c]) for c in inside)
        men = len(inside) - isolated - women
        assert isolated <= 2
        assert -(-women // 2) + -(-men // 2) <= 2
    assert waited_with_a_free_bed > 0


def test_schedules_are_followed_on_the_hospitals_clocks():
    """No bed by night, refusals only then; on the day of summer time too."""
    model = one_ward(1, 5.0, StayLength.deterministic(0), when_full="refuse")
    model = model.with_unit("ward", beds=Beds(tuple(int(8 <= h < 20) for h in range(24))))
    start = datetime(2024, 3, 30, 12, 30, tzinfo=UTC)
    run = simulate(
        model, start=start, days=3, zone="Europe/Berlin", seed=1, replications=1, log=True
    )
    hours_of_kind: dict[str, set[int]] = {}
    rows = event_log(run).rows
    local = rows["time"].dt.convert_time_zone("Europe/Berlin").dt.hour()
    for kind, hour in zip(rows["kind"], local, strict=True):
        hours_of_kind.setdefault(kind, set()).add(hour)
    assert hours_of_kind["starts"] == set(range(8, 20))
    assert hours_of_kind["refused"] == set(range(20, 24)) | set(range(8))


def test_patients_leave_at_the_hours_given():
    model = one_ward(50, 1.0, StayLength.lognormal(40, 0.5)).with_exit(
        "discharged", hours=tuple(float(h in (9, 10, 11)) for h in range(24))
    )
    run = simulate(model, start=START, days=30, seed=1, replications=1, log=True)
    log = run.replicates[0].log
    times = log["time"][log["kind"] == KINDS.index("leaves")]
    assert set((times % 24).astype(int)) == {9, 10, 11}
    assert run.figure("leaving_hours_per_day", "ward").mean > 0


def test_planned_patients_are_cancelled_where_no_bed_is_free_and_come_again():
    stay = (Next("out", 1.0, StayLength.deterministic(30)),)
    model = HospitalModel(
        units=(Unit("ward", Beds.always(1)),),
        exits=(Exit("out"),),
        classes=(
            PatientClass(
                "planned",
                (("ward", 1.0),),
                electives=Electives(tuple(float(h in (8, 32)) for h in range(168)), rebook_days=3),
            ),
        ),
        routes=(Route("planned", "ward", stay),),
    )
    run = simulate(model, start=START, days=6, seed=1, replications=1, log=True)
    assert [row[:3] for row in rows_of(run)] == [
        (8.0, 0, "arrives"),
        (8.0, 0, "starts"),
        (32.0, 1, "arrives"),
        (32.0, 1, "cancelled"),
        (38.0, 0, "leaves"),
        (104.0, 1, "arrives"),
        (104.0, 1, "starts"),
        (134.0, 1, "leaves"),
    ]
    assert run.figure("cancelled", "ward").mean == 1


# common random numbers


def test_the_same_seed_gives_the_same_run_whatever_the_threads():
    several = [
        simulate(five_units(), start=START, days=20, seed=7, replications=4, log=True, threads=n)
        for n in (1, 2)
    ]
    for one, other in zip(*(run.replicates for run in several), strict=True):
        assert np.array_equal(one.log, other.log)
    assert several[0].to_frame().equals(several[1].to_frame())


def test_a_change_that_changes_nothing_gives_the_identical_log():
    model = surging()
    icu = model.unit("icu")
    same = model.with_unit("icu", beds=icu.beds.plus(0)).with_class(
        "emergency", arrivals=model.patient_class("emergency").arrivals.during(1.0, 10, 40)
    )
    # A class more does not move the patients of the others.
    same = replace(
        same,
        classes=(*same.classes, PatientClass("none", (("ed", 1.0),), arrivals=Incoming((0.0,)))),
        routes=(
            *same.routes,
            Route("none", "ed", (Next("died", 1.0, StayLength.deterministic(1)),)),
            *(
                Route("none", u.name, (Next("died", 1.0, StayLength.deterministic(1)),))
                for u in same.units
                if u.name != "ed"
            ),
        ),
    )
    logs = [
        simulate(each, start=START, days=30, seed=3, replications=1, log=True).replicates[0].log
        for each in (model, same)
    ]
    assert logs[0]["case"].tolist() == logs[1]["case"].tolist()
    assert logs[0]["kind"].tolist() == logs[1]["kind"].tolist()
    assert np.allclose(logs[0]["time"], logs[1]["time"], rtol=0, atol=1e-9)


def test_the_same_patients_make_differences_sharper():
    days = 60
    fewer, more = (
        one_ward(20 + n, 0.36, StayLength.lognormal(48, 1.0), when_full="refuse") for n in (0, 1)
    )
    kwargs = {"start": START, "days": days, "warm_up_days": 10, "replications": 40, "hourly": False}
    base = simulate(fewer, seed=1, **kwargs).values("refused", "ward")
    paired = simulate(more, seed=1, **kwargs).values("refused", "ward")
    apart = simulate(more, seed=2, **kwargs).values("refused", "ward")
    assert np.var(paired - base) < 0.25 * np.var(apart - base)
    assert (paired - base).mean() < 0


def test_a_surge_keeps_the_patients():
    """The same patients come, only sooner: the same sexes and stays in the same order."""
    stay = StayLength.lognormal(48, 1.0)
    base = one_ward(None, 0.5, stay)
    surge = base.with_class("all", arrivals=Incoming((0.5,)).during(2.0))
    few, many = (
        simulate(m, start=START, days=d, seed=1, replications=1, log=True).replicates[0]
        for m, d in ((base, 20), (surge, 10))
    )
    # Times of arrival are halved exactly, so the cases are the same.
    arrivals = [one.log["time"][one.log["kind"] == 1] for one in (few, many)]
    assert arrivals[0].size == arrivals[1].size
    assert np.allclose(arrivals[0], 2 * arrivals[1])
    size = arrivals[0].size
    assert (few.cases["female"][:size] == many.cases["female"][:size]).all()


# the interface


def test_replications_are_made_until_the_interval_is_as_narrow_as_asked():
    model = one_ward(20, 0.36, StayLength.exponential(48))
    asked = HalfWidth("occupied_beds", 0.2, unit="ward", maximum=400)
    run = simulate(model, start=START, days=60, seed=1, half_width=asked)
    found = run.figure("occupied_beds", "ward")
    assert run.width_reached is True
    assert found.upper - found.mean <= 0.2
    assert 10 < run.replications < 400
    missed = simulate(
        model,
        start=START,
        days=60,
        seed=1,
        half_width=HalfWidth("occupied_beds", 0.001, unit="ward", maximum=20),
    )
    assert missed.width_reached is False
    assert missed.replications == 20


def test_occupancy_over_time_has_quantiles_and_the_risk_of_being_full():
    run = simulate(
        one_ward(5, 0.2, StayLength.exponential(24)), start=START, days=4, seed=1, replications=50
    )
    hourly = run.occupancy()
    assert hourly.columns == ["unit", "time", "mean", "q05", "q50", "q95", "full"]
    assert hourly.height == 96
    assert (hourly["q05"] <= hourly["q95"]).all()
    counts = np.stack([one.hourly[0] for one in run.replicates])
    assert hourly["full"].to_list() == (counts >= 5).mean(axis=0).tolist()
    daily = run.occupancy(every="1d", quantiles=(0.5,))
    assert daily.height == 4
    assert daily["mean"][1] == pytest.approx(counts[:, 24:48].mean())


def test_the_profile_of_the_day_is_of_counted_hours():
    run = simulate(
        one_ward(None, 1.0, StayLength.deterministic(12)),
        start=START,
        days=40,
        warm_up_days=1.5,
        seed=1,
        replications=20,
    )
    profile = run.by_hour_of_day()
    assert profile["occupied"].mean() == pytest.approx(12, rel=0.03)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"start": datetime(2024, 1, 1)}, "aware"),  # noqa: DTZ001
        ({"days": 0}, "days > 0"),
        ({"replications": 0}, "1 or more"),
        ({"half_width": HalfWidth("beauty", 1.0)}, "occupied_beds"),
        ({"half_width": HalfWidth("occupancy", 1.0, unit="attic")}, "ward"),
    ],
)
def test_what_cannot_be_simulated_is_refused(settings, said):
    given = {"start": START, "days": 3, "seed": 1} | settings
    with pytest.raises(UsageError, match=said):
        simulate(one_ward(2, 0.1, StayLength.exponential(10)), **given)


def test_figures_know_their_units():
    run = simulate(five_units(), start=START, days=3, seed=1, replications=3)
    frame = run.to_frame()
    assert frame.columns == ["unit", "figure", "mean", "lower", "upper", "deviation"]
    assert frame.filter(figure="occupied_beds").height == 6
    with pytest.raises(UsageError, match="stay_hours"):
        run.figure("beauty")
    assert run.exits().height == 4


def test_the_most_patients_are_of_counted_time():
    model = replace(
        one_ward(None, 0.001, StayLength.deterministic(30)),
        initial=(InitialPatient("all", "ward", 0.0),) * 7
        + (InitialPatient("all", "ward", 20.0),) * 4,
    )
    settings = {"start": START, "seed": 1, "replications": 1}
    assert simulate(model, days=1, **settings).figure("most_occupied", "ward").mean == 11
    later = simulate(model, days=1, warm_up_days=0.5, **settings)
    assert later.figure("most_occupied", "ward").mean == 7


# those who are there at the start


def there(stay, elapsed, exit_, *, patients=400):
    """A ward without arrivals: who is there, for how long, and how they leave."""
    model = one_ward(None, 1.0, stay)
    return replace(
        model,
        exits=(exit_,),
        classes=(replace(model.classes[0], arrivals=None),),
        initial=(InitialPatient("all", "ward", elapsed),) * patients,
    )


def leaving_hours(model, start=START):
    run = simulate(model, start=start, days=30, seed=3, replications=1, log=True)
    log = run.replicates[0].log
    return log["time"][log["kind"] == KINDS.index("leaves")] - run.clock.start


EVERY_HOUR = Exit("discharged", hours=(1.0,) * 24)


def test_who_is_ready_at_the_start_waits_no_longer_than_until_the_hour_comes():
    """Ready after 36 hours, there for 40: they would have left within 24 of being ready."""
    left = leaving_hours(there(StayLength.deterministic(36), 40.0, EVERY_HOUR))
    assert len(left) == 400
    assert left.max() <= 20.0
    assert left.mean() == pytest.approx(10.0, abs=4 * 20 / np.sqrt(12 * 400))


def test_those_there_at_the_start_leave_at_the_rate_of_their_whole_stay():
    """Ready after an exponential time, then gone within a day: many are ready by now.

    Of those who are there after ten days the chance to stay ten hours more is
    that of the whole stay, told by its closed form.
    """
    mean, elapsed, model = 96.0, 240.0, StayLength.exponential(96.0)
    left = leaving_hours(there(model, elapsed, EVERY_HOUR, patients=4000))

    def longer(time):
        # The time of readiness and an even wait of up to a day: a convolution.
        waits = (np.arange(2400) + 0.5) / 100
        return np.exp(-(time - waits) / mean).mean()

    for hours in (6.0, 12.0, 24.0, 72.0):
        expected = longer(elapsed + hours) / longer(elapsed)
        found = (left > hours).sum() / 4000
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000) + 0.005, hours


def test_who_is_ready_by_the_hours_of_the_past_leaves_at_the_new_ones():
    """At two in the afternoon half are ready; from now on patients leave from eight to nine."""
    morning = tuple(float(hour == 8) for hour in range(24))
    exit_ = replace(EVERY_HOUR, hours=morning, past_hours=EVERY_HOUR.hours)
    left = leaving_hours(
        there(StayLength.deterministic(36), 48.0, exit_), start=START + timedelta(hours=14)
    )
    assert left.min() >= 18.0
    assert left.max() <= 19.0
