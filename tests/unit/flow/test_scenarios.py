"""Scenarios: every change on a small hospital, and what no scenario can say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow_models import START, five_units

from neva.errors import BadInputError, UsageError
from neva.flow.simulation._model_arrays import Clock, beds_at
from neva.flow.simulation.hospital_model import Electives, Exit
from neva.flow.simulation.scenarios import Scenario, apply_scenario, check_units, read_scenario
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulated_log import event_log

DAY = 24
#: Weights of the hours of leaving: most in the afternoon.
HOURS = tuple(float(h) for h in (0,) * 8 + (1, 2, 3, 4, 6, 8, 8, 7, 5, 3, 2, 1) + (0,) * 4)


@pytest.fixture(scope="module")
def model():
    """Five units; those for surgery are planned; the discharged leave by the hour."""
    made = five_units()
    week = tuple(1.0 if h // 24 < 5 and h % 24 == 8 else 0.0 for h in range(168))
    made = made.with_class("surgery", arrivals=None, electives=Electives(week, rebook_days=7))
    return replace(made, exits=(Exit("discharged", HOURS), Exit("died")))


def scenario(*changes):
    return Scenario.model_validate({"name": "test", "changes": list(changes)})


def beds(model, unit, days=10):
    """Beds of a unit at every hour, from a Monday midnight on."""
    return beds_at(model.unit(unit).beds, Clock(START, days * DAY, "UTC"))[: days * DAY]


def changed_beds(model, unit, *changes):
    return beds(apply_scenario(scenario(*changes), model), unit)


# beds


def test_beds_more_and_fewer(model):
    assert (changed_beds(model, "icu", {"beds": {"unit": "icu", "add": 3}}) == 9).all()
    assert (changed_beds(model, "icu", {"beds": {"unit": "icu", "add": -2}}) == 4).all()
    assert (changed_beds(model, "icu", {"beds": {"unit": "icu", "add": -20}}) == 0).all()
    assert (changed_beds(model, "icu", {"beds": {"unit": "icu", "set": 9}}) == 9).all()
    assert (changed_beds(model, "icu", {"beds": {"unit": "icu", "set": 0}}) == 0).all()


@pytest.mark.parametrize(("change", "during"), [({"add": 3}, 9), ({"set": 2}, 2)])
def test_beds_for_a_period(model, change, during):
    hours = np.arange(10 * DAY)
    found = changed_beds(
        model, "icu", {"beds": {"unit": "icu", **change, "from_day": 1.5, "days": 3}}
    )
    inside = (hours >= 36) & (hours < 108)
    assert found.tolist() == np.where(inside, during, 6).tolist()


@pytest.mark.parametrize(
    ("told", "open_"),
    [
        ("8-20", range(8, 20)),
        ("22-6", (22, 23, 0, 1, 2, 3, 4, 5)),
        ("0-24", range(24)),
        ("20-24", range(20, 24)),
    ],
)
def test_beds_at_some_hours_of_the_day(model, told, open_):
    found = changed_beds(model, "ed", {"beds": {"unit": "ed", "add": 4, "hours_of_day": told}})
    assert found.tolist() == [16 if h % 24 in open_ else 12 for h in range(10 * DAY)]


def test_changes_of_beds_are_made_one_after_the_other(model):
    more, set_ = {"beds": {"unit": "icu", "add": 5}}, {"beds": {"unit": "icu", "set": 8}}
    assert (changed_beds(model, "icu", more, set_) == 8).all()
    assert (changed_beds(model, "icu", set_, more) == 13).all()
    by_day = {"beds": {"unit": "icu", "add": 2, "hours_of_day": "0-12"}}
    assert changed_beds(model, "icu", set_, by_day).tolist() == ([10] * 12 + [8] * 12) * 10


def test_beds_set_for_a_time_are_so_many_whatever_was_added(model):
    more = {"beds": {"unit": "icu", "add": 5, "days": 4}}
    set_ = {"beds": {"unit": "icu", "set": 7, "from_day": 2, "days": 4}}
    found = changed_beds(model, "icu", more, set_)
    assert found.tolist() == [11] * 48 + [7] * 96 + [6] * 96


def test_a_unit_with_added_beds_closes_wholly(model):
    found = changed_beds(
        model,
        "surgical",
        {"beds": {"unit": "surgical", "add": 5}},
        {"close": {"unit": "surgical", "to": ["medical"], "from_day": 2, "days": 1}},
    )
    assert found.tolist() == [23] * 48 + [0] * 24 + [23] * 168


# closing


def test_a_closed_unit_sends_its_patients_elsewhere(model):
    closed = apply_scenario(
        scenario({"close": {"unit": "surgical", "to": ["medical", "step-down"]}}), model
    )
    unit = closed.unit("surgical")
    assert (unit.when_full, unit.divert) == ("divert", ("medical", "step-down"))
    assert (beds(closed, "surgical") == 0).all()
    run = simulate(closed, start=START, days=30, seed=1, replications=2, hourly=False)
    assert run.figure("starts_per_day", "surgical").mean == 0
    assert run.figure("diverted", "surgical").mean > 0


def test_a_unit_that_diverts_closes_to_the_same_units(model):
    diverting = model.with_unit("surgical", when_full="divert", divert=("medical",))
    closed = apply_scenario(scenario({"close": {"unit": "surgical"}}), diverting)
    assert closed.unit("surgical").divert == ("medical",)


def test_a_closed_unit_needs_somewhere_to_send_patients(model):
    with pytest.raises(UsageError, match=r"change 1: close surgical: .*give to"):
        apply_scenario(scenario({"close": {"unit": "surgical"}}), model)


# patients


def test_more_arrivals_of_all_who_come_unplanned_and_for_a_time(model):
    more = apply_scenario(
        scenario({"arrivals": {"times": 1.5, "from_day": 2, "days": 3}}), model
    ).classes
    (surge,) = more[0].arrivals.surges
    assert (surge.factor, surge.from_hour, surge.until_hour) == (1.5, 48, 120)
    assert more[1] == model.classes[1]


def test_arrivals_twice_changed_are_multiplied(model):
    change = {"arrivals": {"times": 2, "class": "emergency"}}
    twice = apply_scenario(scenario(change, change), model)
    assert [s.factor for s in twice.classes[0].arrivals.surges] == [2, 2]


def test_more_planned_patients_in_every_week(model):
    more = apply_scenario(scenario({"electives": {"times": 1.5}}), model).classes[1]
    before = np.array(model.classes[1].electives.planned)
    assert more.electives.planned == pytest.approx(1.5 * before)
    assert more.electives.rebook_days == 7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arrivals": {"times": 2, "class": "surgery"}}, "use electives"),
        ({"electives": {"times": 2, "class": "emergency"}}, "use arrivals"),
        ({"arrivals": {"times": 2, "class": "aliens"}}, "found 'aliens'; give one of emergency"),
    ],
)
def test_planned_and_unplanned_are_told_apart(model, change, said):
    with pytest.raises(UsageError, match=said):
        apply_scenario(scenario(change), model)


def test_a_change_of_nobody_is_refused(model):
    unplanned = replace(five_units())
    with pytest.raises(UsageError, match="no planned arrivals"):
        apply_scenario(scenario({"electives": {"times": 2}}), unplanned)
    planned = model.with_class("emergency", arrivals=None)
    with pytest.raises(UsageError, match="no unplanned arrivals"):
        apply_scenario(scenario({"arrivals": {"times": 2}}), planned)


@pytest.mark.parametrize(
    ("chosen", "changes"),
    [
        ({}, lambda route: True),
        ({"unit": "icu"}, lambda route: route.unit == "icu"),
        ({"class": "surgery"}, lambda route: route.patient_class == "surgery"),
        (
            {"unit": "icu", "class": "surgery"},
            lambda route: (route.unit, route.patient_class) == ("icu", "surgery"),
        ),
    ],
)
def test_shorter_stays_of_those_chosen(model, chosen, changes):
    shorter = apply_scenario(scenario({"stay": {"times": 0.5, **chosen}}), model)
    for before, after in zip(model.routes, shorter.routes, strict=True):
        ratio = 0.5 if changes(before) else 1.0
        for old, new in zip(before.nexts, after.nexts, strict=True):
            assert new.stay.mean() == pytest.approx(ratio * old.stay.mean())
            assert (new.to, new.probability) == (old.to, old.probability)


@given(
    st.lists(st.integers(0, 5), min_size=24, max_size=24).filter(any),
    st.integers(0, 22).flatmap(lambda a: st.tuples(st.just(a), st.integers(a + 1, 23))),
    st.floats(0.1, 1.0),
)
def test_earlier_discharge_moves_weights_and_keeps_their_sum(weights, hours, share):
    first, last = hours
    hospital = replace(
        five_units(), exits=(Exit("discharged", tuple(map(float, weights))), Exit("died"))
    )
    change = {"discharge": {"before": last, "not_before": first, "share": share}}
    found = apply_scenario(scenario(change), hospital).exits[0].hours
    assert sum(found) == pytest.approx(sum(weights))
    inside = range(first, last)
    for hour in range(24):
        if hour not in inside:
            assert found[hour] == pytest.approx((1 - share) * weights[hour])
    if sum(weights[h] for h in inside):
        old = sum(weights[h] for h in inside)
        new = sum(found[h] for h in inside)
        for hour in inside:
            assert found[hour] == pytest.approx(weights[hour] * new / old)


def test_discharge_before_noon_is_before_noon_in_the_simulation(model):
    earlier = apply_scenario(scenario({"discharge": {"before": 12}}), model)
    log = simulate(earlier, start=START, days=20, seed=2, replications=1, log=True)
    rows = event_log(log).rows
    left = rows.filter((rows["kind"] == "leaves") & (rows["target"] == "discharged"))
    assert left.height > 50
    assert left["time"].dt.hour().is_between(7, 11).all()


def test_discharge_needs_an_exit_with_hours(model):
    with pytest.raises(UsageError, match="found 'died'; give one of discharged"):
        apply_scenario(scenario({"discharge": {"before": 12, "exit": "died"}}), model)
    with pytest.raises(UsageError, match="give one of none"):
        apply_scenario(scenario({"discharge": {"before": 12}}), five_units())


# rules and rooms


def test_what_happens_when_a_unit_is_full(model):
    refusing = apply_scenario(scenario({"full": {"unit": "icu", "then": "refuse"}}), model)
    assert (refusing.unit("icu").when_full, refusing.unit("icu").divert) == ("refuse", ())
    diverting = apply_scenario(
        scenario({"full": {"unit": "icu", "then": "divert", "to": ["step-down"]}}), model
    )
    assert diverting.unit("icu").divert == ("step-down",)


@pytest.mark.parametrize(
    "full",
    [
        {"unit": "icu", "then": "divert"},
        {"unit": "icu", "then": "divert", "to": ["icu"]},
        {"unit": "icu", "then": "wait", "to": ["step-down"]},
        {"unit": "icu", "then": "divert", "to": ["moon"]},
    ],
)
def test_a_rule_that_leads_nowhere_is_refused(model, full):
    with pytest.raises(UsageError, match=r"scenario 'test', change 1: .*; found .*; "):
        apply_scenario(scenario({"full": full}), model)


def test_rooms_and_isolation(model):
    changed = apply_scenario(
        scenario(
            {"rooms": {"unit": "medical", "side_rooms": 4, "bays": [6, 6]}},
            {"isolation": {"share": 0.1}},
            {"isolation": {"share": 0.3, "class": "surgery"}},
        ),
        model,
    )
    unit = changed.unit("medical")
    assert (unit.side_rooms, unit.bays, unit.side_rooms_for_isolation_only) == (4, (6, 6), False)
    assert [each.isolation for each in changed.classes] == [0.1, 0.3]


# what no scenario can say


def test_an_unknown_unit_names_those_that_are_known(model):
    for change in ({"beds": {"unit": "attic", "add": 1}}, {"close": {"unit": "attic"}}):
        with pytest.raises(
            UsageError, match=r"'test', change 2: .*'attic'; give one of ed, medical"
        ):
            apply_scenario(scenario({"stay": {"times": 1}}, change), model)


UNITS = {"cardiology": "Кардиология", "medical-1": "Medical ward 1", "medical-2": "Medical ward 2"}


@pytest.mark.parametrize(
    ("unit", "advice"),
    [
        ("cardiolgy", "did you mean cardiology?"),
        ("кардиалогия", "did you mean cardiology?"),
        ("MEDICAL-1", "did you mean medical-1 or medical-2?"),
        ("attic", "give one of cardiology, medical-1, medical-2"),
    ],
)
def test_a_misspelt_unit_is_refused_before_the_run(unit, advice):
    for change in (
        {"beds": {"unit": unit, "add": 1}},
        {"close": {"unit": "medical-1", "to": [unit]}},
    ):
        with pytest.raises(BadInputError) as caught:
            check_units(scenario({"stay": {"times": 1}}, change), UNITS)
        assert str(caught.value) == f"scenario: no such unit; found {unit!r}; {advice}"


def test_known_units_and_changes_of_the_whole_hospital_pass():
    one = scenario(
        {"stay": {"times": 0.9}},
        {"stay": {"times": 0.9, "unit": "medical-1"}},
        {"full": {"unit": "medical-1", "then": "divert", "to": ["medical-2", "cardiology"]}},
    )
    assert one.units == ("medical-1", "medical-2", "cardiology")
    check_units(one, UNITS)


def test_a_scenario_of_a_large_hospital_is_refused_in_few_words():
    with pytest.raises(BadInputError, match=r"unit-11 and 88 more$"):
        check_units(scenario({"full": {"unit": "x", "then": "wait"}}),
                    {f"unit-{n:02d}": "" for n in range(100)})  # fmt: skip


def test_beds_of_a_unit_that_takes_all_who_come(model):
    unlimited = model.with_unit("ed", beds=None)
    with pytest.raises(UsageError, match=r"beds of ed: it has none; .* give one of medical"):
        apply_scenario(scenario({"beds": {"unit": "ed", "add": 1}}), unlimited)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("changes: []", "name: Field required"),
        ("name: ''", "name: String should have at least 1"),
        ("", "the file: "),
        ("- a\n- b", "the file: "),
        ("name: x\nchanges:\n  - {}", "one change each; found none"),
        (
            "name: x\nchanges:\n  - stay: {times: 1}\n    electives: {times: 2}",
            "found electives, stay",
        ),
        ("name: x\nchanges:\n  - stays: {times: 1}", "changes.0.stays: Extra inputs"),
        ("name: x\nchanges:\n  - beds: {unit: a, plus: 1}", "changes.0.beds.plus: Extra"),
        ("name: x\nchanges:\n  - beds: {unit: a, set: -1}", "changes.0.beds.set: "),
        ("name: x\nchanges:\n  - beds: {unit: a}", "give either add or set"),
        ("name: x\nchanges:\n  - beds: {unit: a, add: 1, set: 2}", "give either add or set"),
        ("name: x\nchanges:\n  - beds: {unit: a, add: 1.5}", "changes.0.beds.add: "),
        ("name: x\nchanges:\n  - beds: {unit: a, add: 1, days: 0}", "changes.0.beds.days: "),
        ("name: x\nchanges:\n  - beds: {unit: a, add: 1, from_day: -1}", "beds.from_day: "),
        ("name: x\nchanges:\n  - beds: {unit: a, add: 1, hours_of_day: 8-99}", "from 0 to 24"),
        ("name: x\nchanges:\n  - beds: {unit: a, set: 1, hours_of_day: 8-20}", "goes with add"),
        ("name: x\nchanges:\n  - arrivals: {times: -1}", "changes.0.arrivals.times: "),
        ("name: x\nchanges:\n  - arrivals: {times: .nan}", "changes.0.arrivals.times: "),
        ("name: x\nchanges:\n  - arrivals: {times: 1, days: .inf}", "arrivals.days: "),
        ("name: x\nchanges:\n  - stay: {times: 0}", "changes.0.stay.times: "),
        ("name: x\nchanges:\n  - discharge: {before: 24}", "changes.0.discharge.before: "),
        ("name: x\nchanges:\n  - discharge: {before: 7}", "not_before must be earlier"),
        ("name: x\nchanges:\n  - isolation: {share: 1.1}", "isolation.share: "),
        ("name: x\nchanges:\n  - rooms: {unit: a, side_rooms: -1}", "rooms.side_rooms: "),
        ("name: x\nchanges:\n  - full: {unit: a, then: pray}", "changes.0.full.then: "),
        ("name: [", "not YAML; found an error in line 1"),
        ("name: x\nchanges:\n\t- a", "not YAML; found an error in line 3"),
        ("name: 2024-02-30", "not YAML; found a date"),
    ],
)
def test_a_file_that_is_no_scenario_says_where(tmp_path, content, said):
    file = tmp_path / "scenario.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError) as error:
        read_scenario(file)
    assert str(error.value).startswith(str(file))
    assert said in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadInputError, match="found FileNotFoundError"):
        read_scenario(tmp_path / "none.yaml")
    (tmp_path / "latin").write_bytes(b"name: \xfc")
    with pytest.raises(BadInputError, match="found UnicodeDecodeError"):
        read_scenario(tmp_path / "latin")


def test_a_hospital_that_cannot_be_is_refused_with_the_number_of_the_change(model):
    with pytest.raises(UsageError, match="scenario 'test', change 2: "):
        apply_scenario(
            scenario({"isolation": {"share": 0.5}}, {"rooms": {"unit": "medical", "bays": [0]}}),
            model,
        )


# reading back

MANY = """
name: ten beds more, and a shorter stay
about: asked for by the head of surgery
changes:
  - beds: {unit: medical, add: 10, from_day: 1, days: 30}
  - beds: {unit: icu, set: 0, days: 2}
  - beds: {unit: ed, add: 2, hours_of_day: 8-20}
  - close: {unit: surgical, to: [medical]}
  - arrivals: {times: 1.2, class: emergency}
  - electives: {times: 0}
  - stay: {times: 0.9, class: emergency, unit: icu}
  - discharge: {before: 12, share: 0.5}
  - full: {unit: icu, then: divert, to: [step-down]}
  - rooms: {unit: medical, side_rooms: 2, bays: [4, 4], only_for_isolation: true}
  - isolation: {share: 0.05}
"""


def test_a_scenario_is_read_back_equal(tmp_path, model):
    file = tmp_path / "many.yaml"
    file.write_text(MANY, encoding="utf-8")
    read = read_scenario(file)
    again = Scenario.from_json(read.to_json())
    assert again == read
    assert len(read.changes) == 11
    assert apply_scenario(again, model) == apply_scenario(read, model)


@pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ("[]", "not a scenario")])
def test_json_that_is_no_scenario(text, said):
    with pytest.raises(BadInputError, match=said):
        Scenario.from_json(text)


def test_a_scenario_without_changes_is_the_same_hospital(model):
    assert apply_scenario(scenario(), model) == model


def test_changes_that_change_nothing_give_the_identical_simulation(model):
    same = apply_scenario(
        scenario(
            {"beds": {"unit": "icu", "add": 0}},
            {"beds": {"unit": "medical", "set": 30}},
            {"beds": {"unit": "ed", "add": 0, "hours_of_day": "8-20"}},
            {"arrivals": {"times": 1, "from_day": 3, "days": 2}},
            {"electives": {"times": 1}},
            {"stay": {"times": 1}},
            {"full": {"unit": "icu", "then": "wait"}},
            {"isolation": {"share": 0}},
        ),
        model,
    )
    runs = [
        simulate(each, start=START, days=20, seed=3, replications=2, log=True)
        for each in (model, same)
    ]
    for one, other in zip(*(run.replicates for run in runs), strict=True):
        assert one.log["kind"].tolist() == other.log["kind"].tolist()
        assert np.allclose(one.log["time"], other.log["time"], rtol=0, atol=1e-9)
