"""The compiled simulation against an obvious one, and laws of any hospital."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.reference_simulation import Reference

from neva.flow.simulation.hospital_model import (
    BedChange,
    Beds,
    Electives,
    Exit,
    HospitalModel,
    Incoming,
    InitialPatient,
    Next,
    PatientClass,
    Route,
    Surge,
    Unit,
)
from neva.flow.simulation.kernel import KINDS
from neva.flow.simulation.simulate import simulate
from neva.flow.stays.stay_length import StayLength

UNITS = ("ed", "ward", "icu")
EXITS = ("discharged", "died")


@st.composite
def beds(draw):
    number = st.integers(0, 4)
    week = draw(st.one_of(st.tuples(number), st.lists(number, min_size=24, max_size=24).map(tuple)))
    changes = draw(
        st.lists(
            st.builds(
                BedChange,
                from_hour=st.sampled_from([0.0, 7.5, 30.0]),
                until_hour=st.sampled_from([31.0, 47.25, np.inf]),
                add=st.integers(-2, 2),
                beds=st.one_of(st.none(), number),
            ),
            max_size=2,
        )
    )
    return Beds(week, tuple(changes))


@st.composite
def units(draw, name):
    rule = draw(st.sampled_from(["wait", "refuse", "divert"]))
    others = [other for other in UNITS if other != name]
    has_beds = draw(st.integers(0, 4)) > 0
    return Unit(
        name,
        draw(beds()) if has_beds else None,
        kind=name,
        when_full=rule,
        divert=tuple(draw(st.permutations(others))) if rule == "divert" else (),
        then=draw(st.sampled_from(["wait", "refuse"])),
        bays=tuple(draw(st.lists(st.integers(1, 2), max_size=2))) if has_beds else (),
        side_rooms=draw(st.integers(0, 1)) if has_beds else 0,
        side_rooms_for_isolation_only=draw(st.booleans()),
    )


def shares(draw, number):
    weights = [draw(st.integers(1, 5)) for _ in range(number)]
    return [weight / sum(weights) for weight in weights]


STAYS = st.one_of(
    st.integers(0, 12).map(StayLength.deterministic),
    st.lists(st.floats(0, 40), min_size=2, max_size=5).map(lambda x: StayLength(tuple(sorted(x)))),
)


@st.composite
def routes(draw, patient_class, unit, came_from=None):
    targets = [name for name in UNITS if name != unit]
    chosen = [*draw(st.permutations(targets))[: draw(st.integers(0, 2))], *EXITS]
    return Route(
        patient_class,
        unit,
        tuple(
            Next(to, share, draw(STAYS))
            for to, share in zip(chosen, shares(draw, len(chosen)), strict=True)
        ),
        came_from,
    )


@st.composite
def classes(draw, name):
    rates = st.sampled_from([0.0, 0.2, 0.8])
    arrivals = Incoming(
        draw(st.one_of(st.tuples(rates), st.lists(rates, min_size=24, max_size=24).map(tuple))),
        tuple(
            draw(
                st.lists(
                    st.builds(
                        Surge,
                        factor=st.sampled_from([0.0, 0.5, 2.0]),
                        from_hour=st.sampled_from([0.0, 5.3, 20.0]),
                        until_hour=st.sampled_from([24.0, 40.1]),
                    ),
                    max_size=2,
                )
            )
        ),
        draw(st.sampled_from([0.0, 0.3])),
    )
    planned = tuple(draw(st.sampled_from([0.0, 0.5, 1.0, 2.3])) for _ in range(24))
    electives = st.builds(
        Electives, planned=st.just(planned), rebook_days=st.sampled_from([None, 1])
    )
    return PatientClass(
        name,
        tuple(zip(UNITS, shares(draw, 3), strict=True)),
        arrivals=arrivals,
        electives=draw(st.one_of(st.none(), electives)),
        priority=draw(st.integers(0, 2)),
        isolation=draw(st.sampled_from([0.0, 0.3])),
        female=0.5,
    )


@st.composite
def hospitals(draw):
    names = ["a", "b"][: draw(st.integers(1, 2))]
    flags = st.one_of(st.none(), st.booleans())
    initial = draw(
        st.lists(
            st.builds(
                InitialPatient,
                patient_class=st.sampled_from(names),
                unit=st.sampled_from(UNITS),
                elapsed_hours=st.sampled_from([0.0, 1.0, 12.0, 30.0, 100.0]),
                is_female=flags,
                is_isolated=flags,
                came_from=st.sampled_from([None, "outside", *UNITS]),
            ),
            min_size=1,
            max_size=6,
        )
    )
    hours = draw(st.one_of(st.none(), st.just((0.0,) * 9 + (1.0, 2.0, 3.0) + (0.0,) * 12)))
    past = draw(st.one_of(st.none(), st.just((0.0,) * 5 + (1.0, 4.0) * 8 + (0.0,) * 3)))
    return HospitalModel(
        units=tuple(draw(units(name)) for name in UNITS),
        exits=(Exit("discharged", hours, past), Exit("died")),
        classes=tuple(draw(classes(name)) for name in names),
        routes=tuple(
            draw(routes(name, unit, came))
            for name in names
            for unit in UNITS
            for came in [None, *draw(st.sets(st.sampled_from(["outside", *UNITS]), max_size=2))]
        ),
        initial=tuple(initial),
    )


STARTS = st.sampled_from(
    [
        (datetime(2024, 1, 1, tzinfo=UTC), "UTC"),
        (datetime(2024, 3, 30, 17, 22, 8, tzinfo=UTC), "Europe/Berlin"),
        (datetime(2024, 10, 26, 3, 0, tzinfo=UTC), "Asia/Kolkata"),
    ]
)


def readable(run):
    """The log of the only replicate, as the reference writes it."""
    names = [*run.model.states, None]
    return [
        (row["time"], int(row["case"]), KINDS[row["kind"]], names[row["origin"]],
         names[row["target"]])
        for row in run.replicates[0].log
    ]  # fmt: skip


@given(hospitals(), STARTS, st.integers(0, 2**63))
def test_the_compiled_simulation_writes_the_log_of_the_obvious_one(model, when, seed):
    start, zone = when
    run = simulate(
        model, start=start, zone=zone, days=3, seed=seed, replications=1, log=True, threads=1
    )
    expected = Reference(model, start, 3, seed, 0, zone)
    assert expected.run() == readable(run)
    assert expected.swaps == run.replicates[0].swaps
