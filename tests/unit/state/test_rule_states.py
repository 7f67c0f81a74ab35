"""Which state a rule may be in, on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from neva.errors import ConflictError, UsageError

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
WHO = {"actor": "dr.a", "reason": "the board agreed", "at": AT}


def went(state, *steps, version="1", hash="h1"):  # noqa: A002
    for to in steps:
        state.rules.change("sepsis.lactate", version, hash, to, **WHO)


def test_a_rule_goes_from_draft_to_silent_to_live_to_retired(database):
    state = database.open()
    assert state.rules.state_of("sepsis.lactate") is None
    went(state, "draft", "silent", "live", "retired")
    assert state.rules.state_of("sepsis.lactate").state == "retired"
    assert state.rules.history("sepsis.lactate")["state"].to_list() == [
        "draft", "silent", "live", "retired",
    ]  # fmt: skip


def test_every_change_is_audited_with_actor_and_reason(database):
    state = database.open()
    went(state, "draft", "silent")
    rows = list(state.audit.rows())
    assert [(row.actor, row.action, row.why) for row in rows] == [
        ("dr.a", "rule-changed", "the board agreed")
    ] * 2
    assert '"from":"draft"' in rows[1].details
    assert '"to":"silent"' in rows[1].details


@pytest.mark.parametrize(
    ("steps", "to"),
    [
        ([], "silent"),
        ([], "live"),
        (["draft"], "live"),
        (["draft", "silent"], "draft"),
        (["draft", "silent", "live"], "draft"),
        (["draft", "retired"], "draft"),
        (["draft", "retired"], "live"),
        (["draft", "silent"], "silent"),
        (["draft", "silent", "live"], "live"),
    ],
)
def test_other_ways_are_refused_and_leave_no_trace(database, steps, to):
    state = database.open()
    went(state, *steps)
    before = (state.audit.head(), state.rules.state_of("sepsis.lactate"))
    with pytest.raises(ConflictError):
        went(state, to)
    assert (state.audit.head(), state.rules.state_of("sepsis.lactate")) == before


@pytest.mark.parametrize(("version", "content"), [("2", "h1"), ("1", "h2"), ("2", "h2")])
def test_a_live_rule_changes_its_definition_only_through_silence(database, version, content):
    state = database.open()
    went(state, "draft", "silent", "live")
    with pytest.raises(ConflictError, match="make the rule silent with the new version first"):
        went(state, "live", version=version, hash=content)
    went(state, "silent", version=version, hash=content)
    went(state, "live", version=version, hash=content)
    assert state.rules.state_of("sepsis.lactate").version == version


def test_only_the_version_that_was_silent_becomes_live(database):
    state = database.open()
    went(state, "draft", "silent")
    with pytest.raises(ConflictError, match="only what was silent becomes live"):
        went(state, "live", hash="h2")


def test_a_draft_and_a_silent_rule_may_be_edited(database):
    state = database.open()
    went(state, "draft")
    went(state, "draft", hash="h2")
    went(state, "silent", hash="h2")
    went(state, "silent", hash="h3")
    assert state.rules.state_of("sepsis.lactate").hash == "h3"


def test_a_live_rule_can_be_silenced_at_once(database):
    state = database.open()
    went(state, "draft", "silent", "live", "silent")
    assert state.rules.state_of("sepsis.lactate").is_evaluated


@pytest.mark.parametrize("empty", ["actor", "reason"])
def test_nobody_changes_a_rule_without_name_and_reason(database, empty):
    state = database.open()
    with pytest.raises(UsageError, match=empty):
        state.rules.change("r", "1", "h", "draft", **(WHO | {empty: " "}))


def test_an_unknown_state_is_refused_with_the_known_ones(database):
    with pytest.raises(UsageError, match="draft, silent, live, retired"):
        database.open().rules.change("r", "1", "h", "active", **WHO)


def test_times_come_back_in_utc(database):
    state = database.open()
    moscow = AT.astimezone(timezone(timedelta(hours=3)))
    state.rules.change("r", "1", "h", "draft", actor="a", reason="b", at=moscow)
    since = state.rules.state_of("r").since
    assert since == AT
    assert since.utcoffset() == timedelta(0)


def test_a_naive_time_is_our_bug(database):
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="naive"):
        database.open().rules.change("r", "1", "h", "draft", actor="a", reason="b", at=naive)


def test_all_lists_the_rules_by_id(database):
    state = database.open()
    for rule in ("b", "a"):
        state.rules.change(rule, "1", "h", "draft", **WHO)
    assert [one.rule for one in state.rules.all()] == ["a", "b"]
