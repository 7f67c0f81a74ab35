"""The card log and the feedback on cards, on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.command_line import CANARY

from neva.errors import BadInputError, ConflictError, UsageError
from neva.state import CardEntry, FeedbackEntry, FeedbackReceipt
from neva.state.feedback import MOST_ENTRIES, MOST_PER_CARD

AT = datetime(2026, 1, 1, 8, tzinfo=UTC)
LATER = AT + timedelta(days=1)
ENTRY = CardEntry(
    card="c1", rule="sepsis.lactate", version="1", hash="h", subject="p1", stay="s1", unit="ICU",
    now=AT, hook="patient-view", state="live", indicator="warning", shown=True, inputs_hash="i",
    work_key="w", service="svc",
)  # fmt: skip
POST = {"card": "c1", "outcome": "overridden", "outcomeTimestamp": "2026-01-01T08:05:00Z"}


def audited(state):
    return [(row.action, row.subject, row.stay) for row in state.audit.rows()]


def test_cards_come_back_as_they_were_written(database):
    state = database.open()
    silent = replace(ENTRY, card="c2", state="silent", shown=False, stay=None, unit=None, hook=None)
    assert state.cards.record([ENTRY, silent]) == 2
    frame = state.cards.between(AT, LATER)
    rows = [CardEntry(**row) for row in frame.iter_rows(named=True)]
    assert rows == [ENTRY, silent]


def test_ids_that_are_numbers_are_kept_as_text(database):
    state = database.open()
    state.cards.record([replace(ENTRY, subject=17, stay=5)])
    assert state.cards.between(AT, LATER).select("subject", "stay").row(0) == ("17", "5")


def test_between_is_half_open(database):
    state = database.open()
    state.cards.record([ENTRY, replace(ENTRY, card="c2", now=LATER)])
    assert state.cards.between(AT, LATER)["card"].to_list() == ["c1"]
    assert state.cards.between(LATER, LATER).height == 0


def test_a_call_is_one_row_of_the_audit_however_many_cards(database):
    state = database.open()
    state.cards.record([replace(ENTRY, card=f"c{k}") for k in range(500)], actor="ehr")
    assert audited(state) == [("card-shown", "p1", "s1")]
    row = next(state.audit.rows())
    assert row.actor == "ehr"
    assert '"cards":500' in row.details


def test_cards_that_nobody_saw_are_not_said_to_be_shown(database):
    state = database.open()
    state.cards.record([replace(ENTRY, state="silent", shown=False)])
    assert audited(state) == [("evaluated", "p1", "s1")]


def test_cards_of_several_patients_name_none_in_the_audit(database):
    state = database.open()
    state.cards.record([ENTRY, replace(ENTRY, card="c2", subject="p2")])
    assert audited(state) == [("card-shown", None, "s1")]


def test_no_card_writes_nothing(database):
    state = database.open()
    assert state.cards.record([]) == 0
    assert audited(state) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "silent"},
        {"suppressed_because": "seen"},
        {"state": "draft", "shown": False},
        {"now": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)
def test_an_impossible_card_is_our_bug(wrong):
    with pytest.raises(ValueError, match=r"state|shown|now"):
        replace(ENTRY, **wrong)


def test_several_writes_in_one_transaction_are_kept_together_or_not_at_all(database):
    state = database.open()

    def write(fail):
        with state.transaction() as within:
            state.cards.record([ENTRY], within=within)
            state.audit.append(at=AT, actor="ehr", action="viewed", why="care", within=within)
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        write(fail=True)
    assert (audited(state), state.cards.between(AT, LATER).height) == ([], 0)
    write(fail=False)
    assert [row[0] for row in audited(state)] == ["card-shown", "viewed"]


# --- feedback


def test_feedback_on_a_known_card_is_kept(database):
    state = database.open()
    state.cards.record([ENTRY])
    entry = POST | {
        "overrideReason": {
            "reason": {"code": "r1", "system": "urn:x", "display": "No time"},
            "userComment": "Ж \x00",
        }
    }
    assert state.feedback.record("svc", [entry], at=AT) == FeedbackReceipt(1, 0)
    row = state.feedback.between(AT, LATER).row(0, named=True)
    assert row == {
        "service": "svc", "card": "c1", "outcome": "overridden", "accepted_suggestions": [],
        "reason_code": "r1", "reason_system": "urn:x", "reason_display": "No time",
        "comment": "Ж �", "outcome_at": AT + timedelta(minutes=5), "received": AT,
        "times_received": 1, "card_known": True,
    }  # fmt: skip


def test_the_same_post_again_is_counted_and_not_written_again(database):
    state = database.open()
    state.cards.record([ENTRY])
    state.feedback.record("svc", [POST], at=AT)
    again = state.feedback.record("svc", [POST, POST], at=LATER)
    assert again == FeedbackReceipt(0, 2)
    frame = state.feedback.between(AT, LATER + timedelta(days=1))
    assert frame["times_received"].to_list() == [3]
    assert frame["received"].to_list() == [AT]


def test_another_offset_of_the_same_moment_is_the_same_post(database):
    state = database.open()
    state.cards.record([ENTRY])
    state.feedback.record("svc", [POST], at=AT)
    moscow = POST | {"outcomeTimestamp": "2026-01-01T11:05:00+03:00"}
    assert state.feedback.record("svc", [moscow], at=AT).repeated == 1


def test_a_second_thought_about_a_card_is_kept_too(database):
    state = database.open()
    state.cards.record([ENTRY])
    accepted = POST | {"outcome": "accepted", "acceptedSuggestions": [{"id": "s1"}]}
    state.feedback.record("svc", [POST], at=AT)
    assert state.feedback.record("svc", [accepted], at=AT).new == 1
    assert state.feedback.between(AT, LATER)["accepted_suggestions"].to_list() == [[], ["s1"]]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"card": "another"}, {}),
        ({"service": "other"}, {}),
        ({"service": None}, {}),
        ({"state": "silent", "shown": False}, {}),
        ({"shown": False, "suppressed_because": "quiet"}, {}),
        ({"client": "iss"}, {}),
        ({}, {"client": "iss"}),
        ({"client": "iss"}, {"client": "other"}),
        ({"client": "iss", "tenant": "a"}, {"client": "iss"}),
        ({"client": "iss", "tenant": "a"}, {"client": "iss", "tenant": "b"}),
    ],
)
def test_feedback_on_a_card_that_this_service_did_not_give_this_client_is_refused(
    database, given, asked
):
    state = database.open()
    state.cards.record([replace(ENTRY, **given), replace(ENTRY, card="mine", **asked)])
    with pytest.raises(BadInputError, match=r"feedback\[1\]\.card"):
        state.feedback.record("svc", [POST | {"card": "mine"}, POST], at=AT, **asked)
    assert state.feedback.between(AT, LATER).height == 0
    state.feedback.record("svc", [POST | {"card": "mine"}], at=AT, **asked)


@pytest.mark.parametrize("time", ["1900-01-01T00:00:00Z", "2099-01-01T00:00:00Z",
                                  "2026-01-01T07:54:59Z", "2026-01-01T09:05:01Z"])  # fmt: skip
def test_feedback_of_a_time_before_the_card_or_after_now_is_refused(database, time):
    state = database.open()
    state.cards.record([ENTRY])
    with pytest.raises(BadInputError, match="outcomeTimestamp"):
        state.feedback.record(
            "svc", [POST | {"outcomeTimestamp": time}], at=AT + timedelta(hours=1)
        )
    # Clocks differ by minutes.
    for near in ("2026-01-01T07:55:00Z", "2026-01-01T09:05:00Z"):
        posted = [POST | {"outcomeTimestamp": near}]
        assert state.feedback.record("svc", posted, at=AT + timedelta(hours=1)).new == 1


def test_a_post_of_ten_thousand_entries_is_refused(database):
    state = database.open()
    state.cards.record([ENTRY])
    with pytest.raises(BadInputError, match="too many entries"):
        state.feedback.record("svc", [POST] * 10_000, at=AT)
    assert state.feedback.record("svc", [POST] * MOST_ENTRIES, at=AT).new == 1


def test_one_card_has_a_few_answers_and_not_a_thousand(database):
    state = database.open()
    state.cards.record([ENTRY])

    def said(number):
        entry = POST | {"overrideReason": {"userComment": f"thought {number}"}}
        return state.feedback.record("svc", [entry], at=AT)

    for number in range(MOST_PER_CARD):
        assert said(number).new == 1
    with pytest.raises(BadInputError, match="one card"):
        said(MOST_PER_CARD)
    assert said(0).repeated == 1
    assert state.feedback.between(AT, LATER).height == MOST_PER_CARD


def test_a_comment_is_not_in_the_audit(database):
    state = database.open()
    entry = POST | {"overrideReason": {"userComment": CANARY}}
    state.cards.record([ENTRY])
    state.feedback.record("svc", [entry], at=AT)
    assert all(CANARY not in str(row) for row in state.audit.rows())


def test_null_is_read_as_absent():
    empty = {"acceptedSuggestions": None, "overrideReason": None}
    assert FeedbackEntry.read(POST | empty) == FeedbackEntry.read(POST)
    nothing = {"overrideReason": {"reason": None, "userComment": None}}
    assert FeedbackEntry.read(POST | nothing) == FeedbackEntry.read(POST)


def test_what_the_specification_does_not_name_is_ignored():
    assert FeedbackEntry.read(POST | {"extension": {"x": 1}, "user": None}).card == "c1"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"card": None}, "card"),
        ({"card": 7}, "card"),
        ({"card": ""}, "card"),
        ({"card": "x" * 201}, "card"),
        ({"outcome": CANARY}, "outcome"),
        ({"outcome": None}, "outcome"),
        ({"outcome": "accepted"}, "acceptedSuggestions"),
        ({"outcome": "accepted", "acceptedSuggestions": []}, "acceptedSuggestions"),
        ({"acceptedSuggestions": {"id": CANARY}}, "acceptedSuggestions"),
        ({"acceptedSuggestions": [CANARY]}, "acceptedSuggestions"),
        ({"acceptedSuggestions": [{"id": 1}]}, "acceptedSuggestions"),
        ({"overrideReason": CANARY}, "overrideReason"),
        ({"overrideReason": {"reason": [CANARY]}}, "reason"),
        ({"overrideReason": {"reason": {"code": 1}}}, "code"),
        ({"overrideReason": {"userComment": 1}}, "userComment"),
        ({"overrideReason": {"userComment": CANARY * 2000}}, "userComment"),
        ({"outcomeTimestamp": CANARY}, "outcomeTimestamp"),
        ({"outcomeTimestamp": None}, "outcomeTimestamp"),
        ({"outcomeTimestamp": "0001-01-01T00:00:00+14:00"}, "outcomeTimestamp"),
    ],
)
def test_malformed_feedback_is_refused_by_field_and_without_its_value(change, field):
    with pytest.raises(BadInputError, match=field) as refused:
        FeedbackEntry.read(POST | change)
    assert CANARY not in str(refused.value)


def test_one_malformed_entry_refuses_the_whole_post(database):
    state = database.open()
    with pytest.raises(BadInputError, match=r"feedback\[1\]"):
        state.feedback.record("svc", [POST, {}], at=AT)
    assert state.feedback.between(AT, LATER).height == 0
    assert audited(state) == []


def test_many_entries_about_many_cards(database):
    state = database.open()
    state.cards.record([replace(ENTRY, card=f"c{k}") for k in range(MOST_ENTRIES)])
    posts = [POST | {"card": f"c{k}"} for k in range(MOST_ENTRIES)]
    assert state.feedback.record("svc", posts, at=AT) == FeedbackReceipt(MOST_ENTRIES, 0)


# --- tokens


def test_a_token_is_taken_once(database):
    tokens = database.open().tokens
    assert tokens.take("iss", "jti", LATER, AT)
    assert not tokens.take("iss", "jti", LATER, AT)
    assert tokens.take("other", "jti", LATER, AT)
    assert tokens.take("iss", "other", LATER, AT)


def test_an_expired_token_is_never_taken(database):
    tokens = database.open().tokens
    assert not tokens.take("iss", "jti", AT, AT)
    assert tokens.take("iss", "jti2", LATER, AT)
    # It is forgotten by then, and still not good.
    assert not tokens.take("iss", "jti2", LATER, LATER + timedelta(days=1))


def test_expired_tokens_are_forgotten(database):
    tokens = database.open().tokens
    for k in range(5):
        tokens.take("iss", f"j{k}", AT + timedelta(minutes=5), AT)
    tokens.take("iss", "last", LATER + timedelta(minutes=5), LATER)
    assert tokens.count() == 1


def test_a_long_and_odd_name_is_no_problem(database):
    tokens = database.open().tokens
    for name in ("x" * 20_000, "\x00", "\ud800", '","'):
        assert tokens.take("iss", name, LATER, AT)
        assert not tokens.take("iss", name, LATER, AT)


def test_of_many_threads_one_takes_the_token(database):
    from concurrent.futures import ThreadPoolExecutor

    states = [database.open(), database.open()]
    with ThreadPoolExecutor(8) as pool:
        taken = list(
            pool.map(lambda k: states[k % 2].tokens.take("iss", "jti", LATER, AT), range(16))
        )
    assert taken.count(True) == 1


# --- work items


def test_an_item_is_acknowledged_escalated_and_cleared(database):
    work = database.open().work
    key = ("sepsis.lactate", 17, AT)
    assert work.of(*key) is None
    taken = work.acknowledge(*key, actor="nurse", at=AT, deadline=LATER)
    assert (taken.owner, taken.state, taken.deadline) == ("nurse", "acknowledged", LATER)
    up = work.escalate(*key, to="consultant", actor="nurse", reason="no answer", at=AT)
    assert (up.owner, up.state, up.deadline) == ("consultant", "escalated", LATER)
    done = work.clear(*key, actor="consultant", reason="lactate is 1.1", at=LATER)
    assert (done.owner, done.state) == ("consultant", "cleared")
    assert work.of(*key) == done
    assert work.to_frame(include_cleared=False).height == 0
    assert work.to_frame()["stay"].to_list() == ["17"]


def test_what_is_cleared_stays_cleared_and_a_new_item_is_another(database):
    work = database.open().work
    work.clear("r", "s", AT, actor="a", reason="done", at=AT)
    for again in (
        lambda: work.acknowledge("r", "s", AT, actor="a", at=AT),
        lambda: work.escalate("r", "s", AT, to="b", actor="a", reason="x", at=AT),
        lambda: work.clear("r", "s", AT, actor="a", reason="x", at=AT),
    ):
        with pytest.raises(ConflictError, match="cleared"):
            again()
    assert work.acknowledge("r", "s", LATER, actor="a", at=AT).state == "acknowledged"


def test_every_change_of_an_item_is_audited(database):
    state = database.open()
    state.work.acknowledge("r", "s", AT, actor="a", at=AT, owner="b")
    state.work.clear("r", "s", AT, actor="a", reason="done", at=AT)
    assert audited(state) == [("work-changed", None, "s")] * 2
    assert [row.why for row in state.audit.rows()] == ["the item was acknowledged", "done"]


def test_an_item_is_not_cleared_without_a_reason(database):
    with pytest.raises(UsageError, match="reason"):
        database.open().work.clear("r", "s", AT, actor="a", reason="", at=AT)


def test_empty_frames_have_their_columns(database):
    state = database.open()
    assert state.cards.between(AT, LATER).schema["now"] == pl.Datetime("us", "UTC")
    assert state.feedback.between(AT, LATER).schema["accepted_suggestions"] == pl.List(pl.String)
    assert state.work.to_frame().schema["deadline"] == pl.Datetime("us", "UTC")
    assert state.rules.history().schema["at"] == pl.Datetime("us", "UTC")


def test_the_last_change_of_the_work_list_is_told(database):
    work = database.open().work
    assert work.last_change() == (0, None)
    work.acknowledge("r", "s", AT, actor="a", at=AT)
    assert work.last_change() == (1, AT)
    work.clear("r", "s", AT, actor="a", reason="done", at=LATER)
    assert work.last_change() == (1, LATER)
