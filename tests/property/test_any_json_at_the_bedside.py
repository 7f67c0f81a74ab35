"""Whatever JSON is sent: an answer, never a failure of ours."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bedside_patients import (
    NOW,
    PATIENT,
    SERVICE,
    STAY,
    bundle,
    call,
    dose,
    encounter,
    observations,
    order,
    patient,
    prefetch,
)
from tests.bedsides import served
from tests.hospitals import new_hospital

REFUSED = (400, 412)
REAL = [patient(), encounter(), dose("d"), order("o"), *observations()]
KEYS = sorted(prefetch())

TEXTS = (
    f"{PATIENT} {STAY} \ud800 \x00 Bundle Observation Patient/1 0001-01-01 2026-01-05 final next "
    "9999-12-31T23:59:59+14:00 0001-01-01T00:00:00-14:00 0001-01-02T00:00:00Z"
).split(" ")
NAMES = [
    "resourceType",
    "id",
    "entry",
    "resource",
    "link",
    "relation",
    "total",
    "subject",
    "reference",
    "code",
    "coding",
    "value",
    "period",
    "meta",
    "status",
    "text",
]
texts = st.text(max_size=8) | st.sampled_from(TEXTS)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts
    | st.just(10**400)
    | st.just(float("inf"))
)
names = st.sampled_from(NAMES)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | texts, inner, max_size=5),
    max_leaves=12,
)


def _places(value, way=()):
    """All places inside a JSON value."""
    if way:
        yield way
    if isinstance(value, dict):
        steps = list(value.items())
    elif isinstance(value, list):
        steps = list(enumerate(value))
    else:
        return
    for step, inner in steps:
        yield from _places(inner, (*way, step))


@st.composite
def mutated(draw):
    """A real resource with something else in some of its places."""
    made = json.loads(json.dumps(draw(st.sampled_from(REAL))))
    for _ in range(draw(st.integers(1, 3))):
        ways = list(_places(made))
        *way, last = draw(st.sampled_from(ways))
        holder = made
        for step in way:
            holder = holder[step]
        if draw(st.booleans()):
            holder[last] = draw(anything)
        elif isinstance(holder, dict):
            del holder[last]
    return made


sent = st.dictionaries(
    st.sampled_from(KEYS) | texts,
    anything | mutated() | st.lists(mutated() | anything, max_size=4).map(bundle),
    max_size=5,
)


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


@settings(max_examples=120)
@given(sent)
def test_any_prefetch_is_answered(bedside, prefetched):
    answer = bedside.post(SERVICE, call({**prefetch(), **prefetched}))
    assert answer.status_code in (200, *REFUSED)
    if answer.status_code == 200:
        assert isinstance(answer.json()["cards"], list)


@settings(max_examples=40)
@given(sent)
def test_any_prefetch_alone_is_answered(bedside, prefetched):
    assert bedside.post(SERVICE, call(prefetched)).status_code in (200, *REFUSED)


@settings(max_examples=60)
@given(drafts=anything | st.lists(mutated() | anything, max_size=4).map(bundle), chosen=anything)
def test_any_draft_is_answered(bedside, drafts, chosen):
    context = {
        "userId": "Practitioner/1",
        "patientId": PATIENT,
        "encounterId": STAY,
        "draftOrders": drafts,
        "selections": chosen,
    }
    for hook in ("order-sign", "order-select"):
        body = call(hook=hook, context=context)
        assert bedside.post(f"neva-{hook}", body).status_code in (200, *REFUSED)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(call())), anything, max_size=4), anything)
def test_any_body_is_answered(bedside, changes, instead):
    whole = call()
    assert bedside.post(SERVICE, {**whole, **changes}).status_code in (200, *REFUSED)
    assert bedside.post(SERVICE, instead).status_code in REFUSED
    context = {**whole["context"], **(instead if isinstance(instead, dict) else {})}
    assert bedside.post(SERVICE, {**whole, "context": context}).status_code in (200, *REFUSED)


@settings(max_examples=60)
@given(anything, anything)
def test_any_feedback_is_answered(bedside, content, entry):
    for body in (content, {"feedback": content}, {"feedback": [entry]}):
        assert bedside.post(f"{SERVICE}/feedback", body).status_code in (200, 400)
    assert bedside.bedside.state.audit.verify() == []
