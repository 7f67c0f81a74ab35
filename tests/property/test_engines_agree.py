"""The relational, the columnar and the reference engine give the same answers."""

import math
import shutil
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.definition_strategies import definitions, hospitals, points, snapshot_of

from neva.definitions import model as m
from neva.definitions.columnar.engine import missing_words
from neva.definitions.run import answer

#: Several definitions are asked of each hospital: a plan costs more than an answer.
AT_ONCE = 5


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return left == right


def differences(left: pl.DataFrame, right: pl.DataFrame) -> list[str]:
    assert left.columns == right.columns
    return [
        f"{name} at point {row}: {one!r} against {other!r}"
        for name in left.columns
        for row, (one, other) in enumerate(zip(left[name], right[name], strict=True))
        if not same(one, other)
    ]


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_engines_give_the_same_answers(data: st.DataObject) -> None:
    tables = data.draw(hospitals(), label="tables")
    asked = data.draw(
        st.lists(definitions(), min_size=AT_ONCE, max_size=AT_ONCE), label="definitions"
    )
    at = data.draw(points(tables), label="points")
    snapshot = snapshot_of(tables)
    try:
        outputs = {f"o{number}": node for number, node in enumerate(asked)}
        reference = answer(snapshot, outputs, points=at, engine="reference")
        relational = answer(snapshot, outputs, points=at)
        assert reference.errors.equals(relational.errors)
        assert differences(reference.frame, relational.frame) == []
        known = {name: node for name, node in outputs.items() if not missing_words({name: node})}
        columnar = answer(snapshot, known, points=at, engine="columnar")
        assert reference.errors.equals(columnar.errors)
        kept = reference.frame.select(columnar.frame.columns)
        assert differences(kept, columnar.frame) == []
    finally:
        shutil.rmtree(snapshot.cache.parent, ignore_errors=True)


#: Nodes that a definition can be made of; frames, bounds and branches among them.
KINDS = sorted(
    name
    for name, kind in vars(m).items()
    if isinstance(kind, type) and issubclass(kind, m.Node) and "kind" in kind.model_fields
)


def drawn() -> list[m.Node]:
    found: list[m.Node] = []

    @settings(
        max_examples=4000,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(definitions())
    def collect(node: Any) -> None:
        found.extend(m.walk(node))

    collect()
    return found


@pytest.fixture(scope="module")
def nodes() -> list[m.Node]:
    return drawn()


@pytest.mark.nightly
def test_every_kind_of_node_is_drawn(nodes: list[m.Node]) -> None:
    assert set(KINDS) - {type(node).__name__ for node in nodes} == set()


@pytest.mark.nightly
def test_every_way_of_asking_is_drawn(nodes: list[m.Node]) -> None:
    """Every choice of every field that has choices."""
    missing = []
    for name in KINDS:
        kind = getattr(m, name)
        for field, about in kind.model_fields.items():
            choices = getattr(about.annotation, "__args__", ())
            if not choices or not all(isinstance(choice, str) for choice in choices):
                continue
            seen = {getattr(node, field) for node in nodes if type(node) is kind}
            # Months and years, or an item's rank, are rare; all must come up.
            missing += [f"{name}.{field}={choice}" for choice in set(choices) - seen]
    assert [one for one in missing if not one.startswith("ItemField.name")] == []
