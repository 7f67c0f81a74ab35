"""Hard cases of definitions and measures, each as small as it can be made."""

from __future__ import annotations

from typing import Any

from tests.people import People, both, hour

from neva.definitions.language import events, hours, stay


def asked(people: People, **outputs: Any) -> dict[str, Any]:
    """The answers of both engines at hour 20 of the first point."""
    found = both(people.snapshot(hour(20)), {name: one.node for name, one in outputs.items()})
    return found.frame.drop("point_id", "subject_id", "stay_id", "now").row(0, named=True)


def test_nothing_is_active_in_a_window_that_ends_before_it_begins() -> None:
    people = People()
    people.admit(1)
    people.event(1, 1, "A//x", until=50)
    rows = events("A//x").active_or_started_between(stay.start + hours(10), stay.start + hours(5))
    assert asked(people, any=rows.exists(), hours=rows.hours()) == {"any": False, "hours": 0.0}
