"""Random sequences of operations on the state, against a model in plain Python."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neva.errors import BadInputError, ConflictError
from neva.state import CardEntry, Head, open_state
from neva.state.rule_states import NEXT

START = datetime(2026, 1, 1, tzinfo=UTC)

#: A name for each example, so that examples can share a database.
EXAMPLES = itertools.count()

few = st.sampled_from(["a", "b", "c"])
hours = st.integers(0, 5).map(lambda number: START + timedelta(hours=number))
outcomes = st.sampled_from(["accepted", "overridden"])
operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("rule"), few, st.sampled_from(["h1", "h2"]),
            st.sampled_from([name for name in NEXT if name]),
        ),
        st.tuples(st.just("cards"), st.lists(few, max_size=4), st.booleans(), hours),
        st.tuples(
            st.just("feedback"),
            st.lists(st.tuples(few, outcomes, hours), max_size=4),
        ),
        st.tuples(st.just("token"), few, hours, hours),
        st.tuples(
            st.just("work"), few, st.sampled_from(["acknowledge", "escalate", "clear"]),
            st.none() | hours,
        ),
        st.tuples(st.just("failing"), few),
    ),
    max_size=25,
)  # fmt: skip


class Model:
    """What the state promises, said with lists and dictionaries."""

    def __init__(self):
        self.rules = {}
        self.cards = []
        self.feedback = {}
        self.tokens = set()
        self.work = {}
        self.audited = []

    def rule(self, rule, content, to):
        state, known = self.rules.get(rule, (None, None))
        same = known == content
        allowed = to in NEXT[state] and not (state == to and same)
        if to == "live":
            allowed = state == "silent" and same
        if allowed:
            self.rules[rule] = (to, content)
            self.audited.append("rule-changed")
        return allowed

    def record_cards(self, cards, shown, now):
        self.cards += [(card, shown, now) for card in cards]
        if cards:
            self.audited.append("card-shown" if shown else "evaluated")

    def record_feedback(self, entries):
        for card, _, at in entries:
            made = [now for known, shown, now in self.cards if known == card and shown]
            if not made or at < min(made):
                return None
        new = 0
        for entry in entries:
            new += entry not in self.feedback
            self.feedback[entry] = self.feedback.get(entry, 0) + 1
        if entries:
            self.audited.append("feedback")
        return new, len(entries) - new

    def token(self, name, expires, now):
        good = expires > now and name not in self.tokens
        if good:
            self.tokens.add(name)
        return good

    def change_work(self, item, verb, deadline):
        state, owner, due = self.work.get(item, (None, None, None))
        if state == "cleared":
            return False
        self.work[item] = {
            "acknowledge": ("acknowledged", "nurse", deadline or due),
            "escalate": ("escalated", "consultant", deadline or due),
            "clear": ("cleared", owner, due),
        }[verb]
        self.audited.append("work-changed")
        return True


def allowed(call):
    try:
        call()
    except ConflictError:
        return False
    return True


def fail_half_way(state, rule):
    with state.transaction() as within:
        state.work.clear(rule, 1, START, actor="a", reason="r", at=START, within=within)
        raise RuntimeError


def apply(state, model, operation, name):
    """Do one operation on both, and compare what they say."""
    kind, *words = operation
    if kind == "rule":
        rule, content, to = words
        done = allowed(
            lambda: state.rules.change(
                name(rule), "1", content, to, actor="a", reason="r", at=START
            )
        )
        assert done == model.rule(rule, content, to)
    elif kind == "cards":
        cards, shown, now = words
        entries = [
            CardEntry(
                card=name(card), rule="r", version="1", hash="h", subject="p", now=now,
                state="live" if shown else "silent", indicator="info", shown=shown,
                inputs_hash=name("i"), service=name("svc"),
            )
            for card in cards
        ]  # fmt: skip
        state.cards.record(entries, at=START)
        model.record_cards(cards, shown, now)
    elif kind == "feedback":
        posts = [
            {
                "card": name(card),
                "outcome": outcome,
                "outcomeTimestamp": at.isoformat(),
                "acceptedSuggestions": [{"id": "s"}] if outcome == "accepted" else [],
            }
            for card, outcome, at in words[0]
        ]
        try:
            receipt = state.feedback.record(name("svc"), posts, at=START + timedelta(hours=5))
            said = (receipt.new, receipt.repeated)
        except BadInputError:
            said = None
        assert said == model.record_feedback(words[0])
    elif kind == "token":
        jti, expires, now = words
        assert state.tokens.take(name("iss"), jti, expires, now) == model.token(jti, expires, now)
    elif kind == "work":
        item, verb, deadline = words
        key = (name(item), 1, START)
        calls = {
            "acknowledge": lambda: state.work.acknowledge(
                *key, actor="nurse", at=START, deadline=deadline
            ),
            "escalate": lambda: state.work.escalate(
                *key, to="consultant", actor="nurse", reason="r", at=START, deadline=deadline
            ),
            "clear": lambda: state.work.clear(*key, actor="nurse", reason="r", at=START),
        }
        assert allowed(calls[verb]) == model.change_work(item, verb, deadline)
    else:
        # A transaction that fails half-way leaves nothing.
        with pytest.raises(RuntimeError):
            fail_half_way(state, name("failed"))


@given(operations)
@settings(max_examples=25)
def _run(state, before, steps):
    number = next(EXAMPLES)
    began = state.audit.head().number

    def name(word):
        return f"{number}-{word}"

    model = Model()
    for step in steps:
        apply(state, model, step, name)
    for rule, (to, content) in model.rules.items():
        found = state.rules.state_of(name(rule))
        assert (found.state, found.hash) == (to, content)
    later = START + timedelta(days=1)
    cards = state.cards.between(START, later)
    cards = cards.filter(cards["inputs_hash"] == name("i"))
    assert cards.select("card", "shown", "now").rows() == [
        (name(card), shown, now) for card, shown, now in model.cards
    ]
    feedback = state.feedback.between(START, later)
    feedback = feedback.filter(feedback["service"] == name("svc"))
    found = {
        (row["card"], row["outcome"], row["outcome_at"]): row["times_received"]
        for row in feedback.iter_rows(named=True)
    }
    assert found == {
        (name(card), outcome, at): times for (card, outcome, at), times in model.feedback.items()
    }
    for item, (to, owner, deadline) in model.work.items():
        row = state.work.of(name(item), 1, START)
        assert (row.state, row.owner, row.deadline) == (to, owner, deadline)
    assert state.work.of(name("failed"), 1, START) is None
    assert [row.action for row in state.audit.rows(first=began + 1)] == model.audited
    assert state.audit.verify(before) == []


def test_the_state_does_what_a_plain_model_does(database):
    state = database.open()
    head = state.audit.append(at=START, actor="a", action="login", why="w")
    _run(state, head)


words = st.text(max_size=12)
contents = st.fixed_dictionaries(
    {"actor": words, "role": st.none() | words, "subject": st.none() | words, "why": words}
)
changes = st.sampled_from(["actor", "role", "subject", "stay", "why", "details", "at", "action"])


@given(
    st.lists(contents, min_size=2, max_size=6),
    st.data(),
    st.sampled_from(["change", "drop", "swap"]),
)
@settings(max_examples=40)
def test_no_single_change_to_a_noted_chain_goes_unseen(tmp_path_factory, rows, data, kind):
    """Change, drop or swap any rows of a chain whose head was noted: it is found."""
    folder = tmp_path_factory.mktemp("chain")
    with open_state(folder / "s.sqlite") as state:
        for row in rows:
            state.audit.append(
                at=START,
                action="viewed",
                **{name: text for name, text in row.items() if name not in {"actor", "why"}},
                actor="u" + row["actor"],
                why="w" + row["why"],
            )
        head = state.audit.head()
        assert state.audit.verify(head) == []
        victim = data.draw(st.integers(1, len(rows)))
        other = data.draw(st.integers(1, len(rows)).filter(lambda number: number != victim))
        with state.transaction() as within:
            for trigger in ("update", "delete", "replace"):
                within.exec_driver_sql(f"DROP TRIGGER audit_no_{trigger}")
            if kind == "change":
                column = data.draw(changes)
                within.exec_driver_sql(
                    f"UPDATE audit SET {column} = coalesce({column}, '') || 'x' "
                    f"WHERE number = {victim}"
                )
            elif kind == "drop":
                within.exec_driver_sql(f"DELETE FROM audit WHERE number = {victim}")
            else:
                for old, new in ((victim, 0), (other, victim), (0, other)):
                    within.exec_driver_sql(f"UPDATE audit SET number = {new} WHERE number = {old}")
        assert state.audit.verify(head)


@given(st.integers(0, 10**9), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
def test_a_head_reads_back_from_its_text(number, value):
    assert Head.read(str(Head(number, value))) == Head(number, value)
