"""The store against a model in plain Python: what should a reader see?

The model knows nothing of tables. It keeps, for each thing that a source
named, the list of what was said about it, and answers by going through it.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from tests.hospitals import event, new_hospital, take

START = datetime(2020, 5, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def day(number):
    return START + timedelta(days=number)


@dataclass
class Said:
    """One statement about one event: its content, when it was known, when withdrawn."""

    value: float
    recorded: datetime
    retracted: datetime | None = None
    batch: int = 0


@dataclass
class Told:
    """The same as one delivery tells it; `explicit` if the source said when it was known."""

    value: float
    recorded: datetime
    retracted: datetime | None
    explicit: bool


@dataclass
class Model:
    """Statements by identity, in the order in which they were made."""

    said: dict[object, list[Said]] = field(default_factory=lambda: defaultdict(list))
    batch: int = 0

    def deliver(self, rows, now, *, replaces=()):
        """Take a delivery; return how many of its rows met which fate."""
        self.batch += 1
        fates = Counter()
        repeated = Counter()
        by_identity = defaultdict(list)
        for row in rows:
            identity = ("id", row["row_id"])
            if row["row_id"] is None:
                identity = ("content", row["value"], repeated[row["value"]])
                repeated[row["value"]] += 1
            by_identity[identity].append(row)
        for identity, told in by_identity.items():
            self._say(self.said[identity], self._settled(told, now, fates), now, fates)
        for identity, history in self.said.items():
            for statement in history:
                replaced = statement.batch in replaces and statement.retracted is None
                if replaced and identity not in by_identity:
                    statement.retracted = now
                    fates["retracted"] += 1
        return fates

    @staticmethod
    def _settled(told, now, fates):
        """Bring the rows of one delivery about one event into a history."""
        chain = []
        for row in sorted(told, key=lambda row: row["recorded"] or now):
            known = row["recorded"] or now
            explicit = row["recorded"] is not None
            last = chain[-1] if chain else None
            if last is None:
                chain.append(Told(row["value"], known, row["retracted"], explicit))
            elif row["retracted"] is not None:
                if last.retracted is None:
                    last.retracted = row["retracted"]
                    fates["retracted"] += 1
                else:
                    fates["known"] += 1
            elif last.retracted is not None:
                if explicit and known > last.recorded and known >= last.retracted:
                    chain.append(Told(row["value"], known, None, explicit))
                else:
                    fates["known" if row["value"] == last.value else "refused"] += 1
            elif row["value"] == last.value:
                fates["known"] += 1
            elif explicit and known > last.recorded:
                last.retracted = known
                chain.append(Told(row["value"], known, None, explicit))
            else:
                fates["refused"] += 1
        return chain

    def _say(self, history, chain, now, fates):
        """Add one delivery's history to what was said before."""
        before = list(history)
        self._insert(history, chain, fates)
        end = max((s.retracted or s.recorded for s in before), default=None)
        for number, told in enumerate(chain):
            is_last = number == len(chain) - 1
            live = next((s for s in history if s.retracted is None), None)
            heard = any((s.value, s.recorded) == (told.value, told.recorded) for s in before)
            fresh = bool(before) and told.explicit and told.recorded > end and not heard
            new = Said(told.value, told.recorded, told.retracted, self.batch)
            if not before:
                fates["revised" if number else "added"] += 1
                history.append(new)
            elif not is_last:
                # A state that passed; what is older than what we knew is not told anew.
                fates["revised" if fresh else "known"] += 1
                if fresh:
                    self._end(live, told.recorded)
                    history.append(new)
            elif told.retracted is not None:
                if live is not None and live in before and live.value == told.value:
                    live.retracted = told.retracted
                    fates["retracted"] += 1
                elif fresh and told.recorded < told.retracted:
                    self._end(live, told.recorded)
                    history.append(new)
                    fates["revised"] += 1
                elif live is not None and live in before:
                    live.retracted = told.retracted
                    fates["retracted"] += 1
                else:
                    fates["known"] += 1
            elif fresh and (live is None or live.value != told.value):
                fates["revised" if live or history != before else "added"] += 1
                self._end(live, told.recorded)
                history.append(new)
            elif live is not None and (live.value == told.value or heard):
                fates["known"] += 1
            else:
                # Nobody could know this correction before now.
                new.recorded = max(now, end + TICK)
                fates["revised" if live else "added"] += 1
                self._end(live, new.recorded)
                history.append(new)

    @staticmethod
    def _insert(history, chain, fates):
        """Put what is told late of a time between known states (or before them) in its time."""
        known = [(s, s.recorded, s.retracted) for s in history]
        if not known:
            return
        end = max(retracted or recorded for _, recorded, retracted in known)
        live = next((s for s in history if s.retracted is None), None)
        inside = Counter()
        for number, told in enumerate(chain):
            is_last = number == len(chain) - 1
            same_as_live = live is not None and live.value == told.value
            passed = not is_last or (
                same_as_live and told.retracted is None and told.recorded < live.recorded
            )
            begins = any(recorded == told.recorded for _, recorded, _ in known)
            if not passed or not told.explicit or told.recorded > end or begins:
                continue
            boundaries = [moment for _, *both in known for moment in both if moment is not None]
            later = [moment for moment in boundaries if moment > told.recorded]
            held = next(
                (
                    s
                    for s, start, stop in known
                    if start < told.recorded and (stop is None or told.recorded < stop)
                ),
                None,
            )
            if held is not None and held.value == told.value and not inside[id(held)]:
                continue
            if held is not None:
                inside[id(held)] += 1
                if held.retracted is None or told.recorded < held.retracted:
                    held.retracted = told.recorded
            ends = [*later, *([told.retracted] if told.retracted else [])]
            history.append(Said(told.value, told.recorded, min(ends, default=None)))
            fates["revised"] += 1
            fates["known"] -= 1

    @staticmethod
    def _end(live, when):
        if live is not None:
            live.retracted = when

    def seen(self, as_of=None):
        """Count the values that a reader sees."""
        return Counter(
            s.value
            for history in self.said.values()
            for s in history
            if (s.retracted is None if as_of is None else s.recorded <= as_of)
            and (as_of is None or s.retracted is None or s.retracted > as_of)
        )


@st.composite
def delivered_rows(draw):
    """Rows about few things, so that repetitions, changes and withdrawals are common."""
    known = draw(st.none() | st.integers(1, 12).map(day))
    return {
        "row_id": draw(st.none() | st.sampled_from(["r", "s"])),
        "value": draw(st.sampled_from([1.0, 2.0, 3.0])),
        "recorded": known,
        "retracted": draw(st.none() | st.none() | st.integers(1, 14).map(day)),
    }


def said(row_id, value, recorded=None, retracted=None):
    """One row by hand."""
    days = [None if number is None else day(number) for number in (recorded, retracted)]
    return {"row_id": row_id, "value": value, "recorded": days[0], "retracted": days[1]}


@dataclass
class Step:
    """One import: its rows, the name of its file, days since the last, what to do on change."""

    rows: list
    file: str
    later: int
    on_change: str


steps = st.builds(
    Step,
    rows=st.lists(delivered_rows(), min_size=1, max_size=5),
    file=st.sampled_from(["a", "b"]),
    later=st.integers(0, 4),
    on_change=st.sampled_from(["replace", "extend"]),
)


def seen(snapshot):
    return Counter(snapshot.events().collect()["value"].to_list())


def followed(steps):
    """Take every step in both worlds and compare all that a reader could ask."""
    model, now, batches = Model(), day(2), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        hospital = new_hospital(Path(folder))
        views = {}
        for number, step in enumerate(steps):
            now += timedelta(days=step.later)
            rows = [event(**row, time=day(0), row=k + 1) for k, row in enumerate(step.rows)]
            done = take(
                hospital, Path(folder) / step.file, rows, now=now, on_change=step.on_change,
                content=f"{number}", dates="shifted",
            )  # fmt: skip
            replaces = batches[step.file] if step.on_change == "replace" else ()
            fates = model.deliver(step.rows, now, replaces=replaces)
            batches[step.file].append(model.batch)
            counts = done.counts["events"]
            assert {fate: n for fate, n in counts.items() if n and fate != "read"} == dict(+fates)
            moments = [None, *(day(d) for d in range(24)), now - TICK, now, now + TICK]
            for moment in moments:
                assert seen(hospital.snapshot(as_of=moment)) == model.seen(moment), moment
            views[done.version] = seen(hospital.snapshot())
        for version, view in views.items():
            assert seen(hospital.snapshot(version=version)) == view


# Without shrinking: an example takes half a second.
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(steps, min_size=1, max_size=4))
@example(
    [
        Step([said("s", 2.0, 2)], "a", 0, "extend"),
        Step([said("s", 1.0, 1), said("s", 2.0, 2)], "b", 3, "extend"),
    ]
).via("an older state, heard of late, took the present one away")
@example(
    [
        Step([said("s", 2.0, 1)], "a", 0, "extend"),
        Step([said("s", 1.0, 2), said("s", 2.0, 3)], "b", 3, "extend"),
    ]
).via("a state that came back was lost")
@example(
    [Step([said("r", 1.0, 1), said("r", 1.0, 1, 2), said("r", 1.0, 3)], "a", 0, "extend")]
).via("what was withdrawn and entered again stayed withdrawn")
def test_a_reader_sees_what_the_model_says(steps):
    followed(steps)


def stay_row(state, known):
    return {
        "stay": "s", "subject": "1", "start": day(0), "end": day(0), "outcome": state,
        "recorded": known, "file": "f", "row": 1,
    }  # fmt: skip


@settings(max_examples=40)
@given(
    states=st.lists(st.sampled_from("ab"), min_size=3, max_size=6),
    windows=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=4),
)
@example(states=["a", "b", "a"], windows=[(0, 1)]).via("the stay's return was lost")
@example(states=["a", "b"], windows=[(1, 2)]).via("the older state became the present one")
@example(states=["a", "a", "b", "b"], windows=[(0, 1), (3, 4)]).via(
    "a state told late began when the known one did"
)
@example(states=["a", "b", "a", "c"], windows=[(0, 1), (3, 4)]).via(
    "a state between two known ones was told in no time"
)
def test_overlapping_extracts_of_a_history_leave_it_as_told_at_once(states, windows):
    """Extracts, oldest first, each a stretch of what is known; the last is the whole."""
    history = [(state, day(1 + k)) for k, state in enumerate(states)]
    whole = (0, len(history))
    stretches = [*sorted(windows, key=lambda window: window[1]), whole, whole]
    with tempfile.TemporaryDirectory() as folder:
        hospital = new_hospital(Path(folder))
        for number, (first, last) in enumerate(stretches):
            told = history[first:last]
            if not told:
                continue
            stays = [stay_row(*statement) for statement in told]
            values = [
                event(row_id="r", value=float(ord(state)), recorded=known, time=day(0))
                for state, known in told
            ]
            take(hospital, Path(folder) / str(number), values, stays=stays, now=day(20))
        # Each state in its own time, those before the first extract's too.
        for state, known in history:
            view = hospital.snapshot(as_of=known)
            assert view.stays().collect()["outcome"].to_list() == [state]
            assert view.events().collect()["value"].to_list() == [float(ord(state))]
