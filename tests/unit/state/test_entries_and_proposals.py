"""What people enter, propose and keep, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from neva.errors import ConflictError, NotFoundError

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
CANARY = "CANARY7731"


def enter(state, entry="e1"):
    state.entries.add(
        id=entry, subject="7", stay="9", kind="handover-note", value=CANARY, details={"a": CANARY},
        start=None, end=None, actor="adams", role="clinician", at=AT,
    )  # fmt: skip


def propose(state, actor="adams"):
    return state.proposals.make("r", "1", "h", "draft", reason="tested", actor=actor, at=AT)


def test_an_entry_is_kept_and_audited_without_its_value(database):
    state = database.open()
    enter(state)
    held = state.entries.get("e1")
    assert (held.subject, held.stay, held.kind, held.value) == ("7", "9", "handover-note", CANARY)
    assert state.entries.get("none") is None
    row = list(state.audit.rows())[-1]
    assert (row.action, row.subject, row.stay) == ("entered", "7", "9")
    assert CANARY not in str(row)


def test_an_entry_is_given_to_the_store_until_it_has_it_as_it_is(database):
    state = database.open()
    enter(state)
    waiting = state.entries.unflushed()
    state.entries.withdraw("e1", actor="adams", at=LATER)
    # Written while it was withdrawn: it has to be written again.
    state.entries.flushed(waiting)
    assert [one.id for one in state.entries.unflushed()] == ["e1"]
    state.entries.flushed(state.entries.unflushed())
    assert state.entries.unflushed() == []


def test_a_withdrawal_happens_once(database):
    state = database.open()
    enter(state)
    for actor in ("adams", "baker"):
        state.entries.withdraw("e1", actor=actor, at=LATER)
    written = [(row.action, row.actor) for row in state.audit.rows()]
    assert written[1:] == [("entry-withdrawn", "adams")]
    with pytest.raises(NotFoundError):
        state.entries.withdraw("none", actor="adams", at=LATER)


def test_another_person_confirms_and_the_rule_changes(database):
    state = database.open()
    made = propose(state)
    assert [one.id for one in state.proposals.open("r")] == [made.id]
    with pytest.raises(ConflictError):
        state.proposals.answer(made.id, confirm=True, actor="adams", at=LATER)
    answered = state.proposals.answer(made.id, confirm=True, actor="baker", at=LATER)
    assert (answered.answer, answered.answered_by) == ("confirmed", "baker")
    assert [(one.rule, one.state) for one in state.rules.all()] == [("r", "draft")]
    assert state.proposals.open() == []
    with pytest.raises(ConflictError):
        state.proposals.answer(made.id, confirm=False, actor="carter", at=LATER)


def test_a_declined_proposal_changes_nothing(database):
    state = database.open()
    made = propose(state)
    state.proposals.answer(made.id, confirm=False, actor="baker", at=LATER)
    assert state.rules.all() == []
    with pytest.raises(NotFoundError):
        state.proposals.answer("none", confirm=True, actor="baker", at=LATER)


def test_a_what_if_that_was_shared_never_changes(database):
    state = database.open()
    first, second = (
        state.scenarios.save("two beds", text, hospital="h", actor="a", at=AT)
        for text in ("beds: 2", "beds: 3")
    )
    assert first.id != second.id
    assert state.scenarios.get(first.id).text == "beds: 2"
    assert len(state.scenarios.all()) == 2
    with pytest.raises(NotFoundError):
        state.scenarios.get("none")
