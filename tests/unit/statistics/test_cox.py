"""Cox regression: small cases by hand, and what is refused or warned of."""

import numpy as np
import pytest

from neva.errors import UsageError
from neva.statistics.cox import FEW_EVENTS, LEAST_EVENTS, cox
from neva.statistics.cox_transitions import cox_transitions
from neva.statistics.multistate import aalen_johansen, nelson_aalen
from neva.statistics.transitions import Transitions

STATES = ("ward", "icu", "home")


def paired(copies=6):
    """Two alike groups: the coefficient is 0 and every hazard is Nelson and Aalen's."""
    entry = np.tile([0.0, 0, 0, 0, 1, 3], copies)
    leaving = np.tile([2.0, 3, 4, 5, 4, 6], copies)
    origin = np.tile([0, 0, 0, 0, 1, 1], copies)
    target = np.tile([1, 2, 1, -1, 2, 2], copies)
    group = np.repeat(np.arange(copies) % 2, 6).astype(float)
    return Transitions(entry, leaving, origin, target, STATES), group[:, None] + 50


def test_a_covariate_without_effect_leaves_the_estimates_without_covariates():
    seen, group = paired()
    model = cox_transitions(seen, group, names=["group"], ties="breslow")
    plain = nelson_aalen(seen)
    for way, (h, j) in enumerate(zip(plain.origin, plain.target, strict=True)):
        found = model.cumulative_hazard([51], STATES[h], STATES[j], times=plain.times)
        np.testing.assert_allclose(found.hazard, plain.hazard[:, way], rtol=1e-9)
    occupied = model.occupation([51], initial=[1, 0, 0])
    expected = aalen_johansen(seen, initial=[1, 0, 0], covariance=False)
    np.testing.assert_allclose(occupied.occupation, expected.at(occupied.times), atol=1e-9)
    later = model.occupation([51], initial=[0, 1, 0], start=3, times=[3, 4, 9])
    assert later.occupation[0].tolist() == [0, 1, 0]
    np.testing.assert_allclose(later.occupation.sum(axis=1), 1)


def test_two_groups_by_hand():
    """Without ties, from time 1 on: Breslow's first denominator is 6 + 6 * ratio."""
    time = np.arange(1.0, 13)
    group = np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 0])
    model = cox(np.zeros(12), time, np.ones(12, bool), group[:, None], names=["group"])
    ratio = np.exp(model.coefficients[0])
    none = model.cumulative_hazard([0], times=[0.5, 1])
    assert none.hazard.tolist() == pytest.approx([0, 1 / (6 + 6 * ratio)])
    both = [model.cumulative_hazard([k]).hazard[0] for k in (0, 1)]
    assert both[1] / both[0] == pytest.approx(ratio)
    assert model.relative_hazard([1]) / model.relative_hazard([0]) == pytest.approx(ratio)


def test_hazards_above_one_let_all_leave():
    seen, group = paired()
    risk = group + np.where(seen.target == 1, 0.2, 0.0)[:, None] + np.linspace(0, 0.3, 36)[:, None]
    model = cox_transitions(seen, risk, names=["risk"])
    for x in (51, 60):
        found = model.occupation([x], initial=[1, 0, 0])
        assert (found.occupation >= 0).all()
        np.testing.assert_allclose(found.occupation.sum(axis=1), 1)


@pytest.fixture
def many():
    rng = np.random.default_rng(7)
    x = rng.normal((60, 2000), 1.0, size=(120, 2))
    time = rng.exponential(np.exp(-0.3 * (x[:, 0] - 60)))
    return {"entry": np.zeros(120), "exit": time, "event": rng.random(120) < 0.8, "covariates": x}


def changed(many, **more):
    settings = {"names": ["age", "year"]} | more
    return cox(**(many | settings))


def test_few_events_are_warned_of_and_fewer_refused(many):
    event = np.zeros(120, bool)
    event[: FEW_EVENTS * 2] = True
    assert changed(many, event=event).warnings == ()
    event[0] = False
    (warning,) = changed(many, event=event).warnings
    assert "19 events for 2 coefficients are fewer than 10" in warning
    event[LEAST_EVENTS * 2 :] = False
    with pytest.raises(UsageError, match="found 9 for 2 coefficients, below the floor of 5"):
        changed(many, event=event)


def test_covariates_that_repeat_each_other_are_named(many):
    x = many["covariates"]
    both = np.column_stack([x, x[:, 0] + 2 * x[:, 1]])
    with pytest.raises(UsageError, match="repeat each other"):
        changed(many, covariates=both, names=["age", "year", "sum"])
    flat = np.column_stack([x, np.full(120, 3.0)])
    with pytest.raises(UsageError, match="flat: all values are equal"):
        changed(many, covariates=flat, names=["age", "year", "flat"])
    stratum = np.arange(120) % 2
    within = np.column_stack([x, stratum])
    with pytest.raises(UsageError, match="which: equal for all who are at risk together"):
        changed(many, covariates=within, names=["age", "year", "which"], stratum=stratum)


def test_a_likelihood_without_a_maximum_names_the_covariate(many):
    never = many["event"].astype(float)
    x = np.column_stack([many["covariates"], never])
    with pytest.raises(UsageError, match="coefficient of never keeps growing"):
        changed(many, covariates=x, names=["age", "year", "never"])
    order = np.argsort(np.argsort(many["exit"])).astype(float)
    with pytest.raises(UsageError, match="no finite maximum"):
        changed(many, covariates=order[:, None], names=["order"])


def test_a_stratum_without_events_is_named(many):
    stratum = np.where(np.arange(120) < 10, "night", "day")
    event = many["event"] & (stratum == "day")
    with pytest.raises(UsageError, match="no events in night"):
        changed(many, event=event, stratum=stratum)


def test_what_cannot_be_is_refused(many):
    with pytest.raises(UsageError, match="give efron or breslow"):
        changed(many, ties="exact")
    with pytest.raises(UsageError, match="give one column a name"):
        changed(many, names=["age"])
    with pytest.raises(UsageError, match="event: found shape"):
        changed(many, event=[True])
    with pytest.raises(UsageError, match=r"row 0 \(120 such\)"):
        changed(many, entry=many["exit"])
    model = changed(many, stratum=np.arange(120) % 2)
    with pytest.raises(UsageError, match="stratum: found None; give one of the model's: 0, 1"):
        model.cumulative_hazard([60, 2000])
    with pytest.raises(UsageError, match="give 2 numbers: age, year"):
        model.cumulative_hazard([60], "1")


def test_transitions_that_were_never_seen_are_named():
    seen, group = paired()
    with pytest.raises(UsageError, match="no events in icu to ward"):
        cox_transitions(seen, group, names=["group"], possible=[("icu", "ward")])
    with pytest.raises(UsageError, match="no such state: moon"):
        cox_transitions(seen, group, names=["group"], possible=[("icu", "moon")])
    with pytest.raises(UsageError, match="ward to icu: covariates: group: all values are equal"):
        cox_transitions(seen, np.ones((36, 1)), names=["group"])
    with pytest.raises(UsageError, match="give one row each"):
        cox_transitions(seen, group[:3], names=["group"])
    still = Transitions([0.0], [1.0], [0], [-1], STATES)
    with pytest.raises(UsageError, match="no transition was seen"):
        cox_transitions(still, [[1.0]], names=["group"])
    model = cox_transitions(seen, group, names=["group"], possible=[("ward", "icu")])
    with pytest.raises(UsageError, match="found ward to home; give one of: ward to icu"):
        model.cumulative_hazard([50], "ward", "home")
    with pytest.raises(UsageError, match="no distribution"):
        model.occupation([50], initial=[1, 1, 0])
