from dataclasses import replace

import pytest
from tests.flow_models import five_units, one_ward

from neva.errors import UsageError
from neva.flow.simulation.hospital_model import (
    Beds,
    Electives,
    Exit,
    Incoming,
    InitialPatient,
    Next,
    Unit,
)
from neva.flow.stays.stay_length import StayLength

DAY = StayLength.deterministic(24)


def refused(change, *said):
    with pytest.raises(UsageError) as error:
        change(five_units())
    text = str(error.value)
    assert text.count(";") >= 2
    assert "found" in text
    for word in said:
        assert word in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: Beds((-1,)), "must not be negative"),
        (lambda m: Beds((1, 2)), "not a week"),
        (lambda m: m.with_unit("icu", when_full="divert", divert=("attic",)), "attic"),
        (lambda m: m.with_unit("icu", when_full="divert"), "diverts nowhere"),
        (lambda m: m.with_unit("attic"), "ed, medical, surgical"),
        (lambda m: m.with_unit("icu", beds=None, side_rooms=1), "unlimited"),
        (lambda m: m.with_class("surgery", first=(("attic", 1.0),)), "attic"),
        (lambda m: m.with_class("surgery", first=(("ed", 0.5),)), "sum to one"),
        (lambda m: m.with_class("surgery", female=1.5), "not a share"),
        (lambda m: m.with_class("surgery", arrivals=Incoming((-0.1,))), "must not be negative"),
        (lambda m: m.with_class("surgery", arrivals=Incoming((1,), (), -1)), "dispersion"),
        (lambda m: m.with_class("surgery", electives=Electives((1,), 0)), "no time"),
        (lambda m: m.with_exit("died", hours=(1.0,)), "not a day"),
        (lambda m: m.with_route(lambda n: replace(n, probability=0.4), unit="icu"), "sum to one"),
        (lambda m: m.with_route(lambda n: replace(n, to="icu"), unit="icu"), "its own unit"),
        (
            lambda m: m.with_route(
                lambda n: replace(n, to="step-down" if n.to == "died" else n.to), unit="icu"
            ).with_route(lambda n: replace(n, to="icu"), unit="step-down"),
            "never left",
        ),
        (lambda m: replace(m, routes=m.routes[1:]), "no route"),
        (lambda m: replace(m, routes=(*m.routes, m.routes[0])), "twice"),
        (lambda m: replace(m, units=(*m.units, m.units[0])), "names"),
        (lambda m: replace(m, deadlock="pray"), "swap or refuse"),
        (lambda m: replace(m, initial=(InitialPatient("surgery", "ed", 1.0),)), "no route"),
        (lambda m: replace(m, initial=(InitialPatient("surgery", "icu", -1.0),)), "negative"),
        (lambda m: one_ward(3, 0.0, DAY), "nobody to simulate"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, said):
    refused(change, said)


@pytest.mark.parametrize("hours", [(1.0,), (2.0, 1.0), (-1.0, 1.0), (0.0, float("inf"))])
def test_a_table_that_is_no_distribution_is_refused(hours):
    with pytest.raises(UsageError):
        StayLength(hours)


def test_scenarios_are_replacements():
    model = five_units()
    more = model.with_unit("icu", beds=model.unit("icu").beds.plus_at(4, range(20, 24)))
    assert [more.unit("icu").beds.week[h] for h in (19, 20, 23, 24, 44)] == [6, 10, 10, 6, 10]
    shorter = model.with_route(lambda n: replace(n, stay=n.stay.times(0.9)), unit="medical")
    assert shorter.routes[1].nexts[0].stay.mean() == pytest.approx(81)
    assert model == five_units()


@pytest.mark.parametrize(
    "stay", [StayLength.exponential(30), StayLength.lognormal(30, 1.1), StayLength((30, 30))]
)
def test_constructors_have_the_mean_asked_for(stay):
    assert stay.mean() == pytest.approx(30)


def test_the_share_that_stays_longer_inverts_the_quantiles():
    stay = StayLength((0.0, 5.0, 5.0, 5.0, 25.0))
    assert stay.longer_than([0, 2.5, 5, 15, 25]).tolist() == [1, 0.875, 0.25, 0.125, 0]
    assert stay.quantile(0.875) == 15


def test_exits_and_units_may_not_share_a_name():
    with pytest.raises(UsageError, match="differ"):
        replace(one_ward(1, 1.0, DAY), exits=(Exit("ward"), Exit("discharged")))


def test_a_route_may_lead_to_an_unknown_state_no_more_than_to_itself():
    with pytest.raises(UsageError, match="ward, discharged"):
        one_ward(1, 1.0, DAY).with_route(lambda n: Next("heaven", 1.0, DAY))


def test_rooms_need_beds():
    with pytest.raises(UsageError, match="rooms"):
        Unit("ward", Beds.always(3), bays=(0,))
