"""Writing whole definitions: ``feature``, ``score``, ``measure``, ``named``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from neva.definitions.documents import Feature, Measure, Named, Score
from neva.definitions.language import Boolean, Duration, Quantity, Time, Value, make
from neva.errors import UsageError

__all__ = ["feature", "measure", "named", "score"]


def named(name: str, of: Value, title: str = "", title_ru: str = "") -> Named:
    """Give an expression a name and titles."""
    return make(Named, name=name, title=title, title_ru=title_ru, of=of.node)


def _named(given: Mapping[str, Value] | Sequence[Named]) -> tuple[Named, ...]:
    if isinstance(given, Mapping):
        return tuple(named(name, of) for name, of in given.items())
    return tuple(given)


def _node(given: Value | None) -> Any:
    return None if given is None else given.node


def feature(id: str, of: Value, *, version: str, title: str = "", **words: Any) -> Feature:
    """Define one value at a point.

    Examples
    --------
    >>> from neva.definitions.language import *
    >>> feature("demo.age", subject.age_at(stay.start), version="1.0.0").id
    'demo.age'
    """
    return make(Feature, id=id, version=version, title=title, value=of.node, **words)


def score(
    id: str,
    *,
    version: str,
    items: Mapping[str, Quantity] | Sequence[Named],
    lowest: float,
    highest: float,
    **words: Any,
) -> Score:
    """Define points that add up; see :class:`neva.definitions.documents.Score`."""
    return make(
        Score, id=id, version=version, items=_named(items), lowest=lowest, highest=highest, **words
    )


def measure(
    id: str,
    *,
    version: str,
    population: Boolean,
    numerator: Boolean | None = None,
    observation: Quantity | None = None,
    per: Quantity | None = None,
    each: Literal["stay", "subject"] = "stay",
    exclusions: Mapping[str, Boolean] | Sequence[Named] = (),
    clock_start: Time | None = None,
    due: Duration | Time | None = None,
    decides_early: Literal["met", "failed", "never"] = "met",
    components: Mapping[str, Boolean] | Sequence[Named] = (),
    treated: Boolean | None = None,
    interval: Quantity | None = None,
    stratifiers: Mapping[str, Value] | Sequence[Named] = (),
    period_time: Time | None = None,
    better: Literal["higher", "lower", "neutral"] = "neutral",
    **words: Any,
) -> Measure:
    """Define a measure; see :class:`neva.definitions.documents.Measure`.

    Parameters
    ----------
    due : Duration or Time, optional
        A duration counts from `clock_start`.
    words
        ``title``, ``title_ru``, ``clock_title``, ``description``, ``evidence``,
        ``notes``.

    Raises
    ------
    UsageError
        The parts do not fit together, or there is no population.
    """
    if population is None:
        message = f"measure {id}: it has no population; say whom it is about"
        raise UsageError(message)
    if isinstance(due, Duration):
        if clock_start is None:
            message = f"measure {id}: due is a duration without clock_start; name when it begins"
            raise UsageError(message)
        due = clock_start + due
    return make(
        Measure,
        id=id,
        version=version,
        each=each,
        population=_node(population),
        numerator=_node(numerator),
        observation=_node(observation),
        per=_node(per),
        exclusions=_named(exclusions),
        clock_start=_node(clock_start),
        due=_node(due),
        decides_early=decides_early,
        components=_named(components),
        treated=_node(treated),
        interval=_node(interval),
        stratifiers=_named(stratifiers),
        period_time=_node(period_time),
        better=better,
        **words,
    )
