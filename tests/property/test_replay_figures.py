"""Figures of a replay against loops over dicts."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rule_tables import rules

from neva.decisions.hindsight import OUTCOMES
from neva.decisions.outcomes import Outcome
from neva.decisions.replay import ALERTS, LOOKED, Replay, key_of
from neva.decisions.replay_figures import compare, figures, overlap, sweep
from neva.decisions.suppression import is_quiet
from neva.errors import UsageError

START = datetime(2021, 3, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
CUT = START + timedelta(hours=72)
CLOSE = 1e-12
JUST_BEFORE = timedelta(microseconds=1)


def warning(name, **outcome):
    """A shipped rule with another horizon: these stays are short."""
    one = rules()[name]
    return one.model_copy(update={"warns_of": Outcome(of=one.warns_of.of, **outcome)})


#: Of an open chart: one that warns of something soon, one until the end of the stay, a reminder.
ONE = warning("acute-care.news2-emergency", within_hours=6.0)
LONG = warning("covid19.deterioration", within_hours=None)
TWO = rules()["sepsis.screen"]
#: Of the discharge.
HOME = warning("acute-care.discharge-news2", within_hours=20.0, ends_with_stay=False)
KINDS = {ONE.id: "hours", LONG.id: "hours", TWO.id: "hours", HOME.id: "discharges"}
RULES = (ONE, LONG, TWO, HOME)


def at(hours):
    return None if hours is None else START + timedelta(hours=hours)


@st.composite
def replays(draw):
    """Two patients to five, a stay or two each, findings of four rules."""
    stays, alerts, looked, outcomes = [], [], [], []
    number = 0
    for subject in range(1, draw(st.integers(0, 4)) + 1):
        for _ in range(draw(st.integers(1, 2))):
            number += 1
            start = draw(st.sampled_from([0, 7, 30, 45, 50]))
            end = draw(st.sampled_from([None, start + 10, start + 22]))
            who = {"subject_id": subject, "stay_id": number}
            stays.append({**who, "start": at(start), "end": at(end)})
            for rule in RULES:
                name = {"rule": rule.id, "version": rule.version}
                if rule is HOME:
                    points = 0 if end is None else draw(st.integers(0, 1))
                    moments = draw(st.integers(0, points))
                    times = [at(end) - JUST_BEFORE for _ in range(moments)]
                    happened = None if end is None else draw(st.sampled_from([None, 5, 20, 21]))
                    happened = None if happened is None else end + happened
                else:
                    points = draw(st.integers(0, 12))
                    hours = sorted(draw(st.sets(st.integers(0, 11), max_size=points)))
                    times = [at(start + hour) for hour in hours]
                    happened = draw(st.sampled_from([None, start, start + 5, start + 9]))
                if rule.warns_of is not None and happened is not None:
                    outcomes.append({**name, "stay_id": number, "outcome_time": at(happened)})
                looked.append(
                    {
                        **name,
                        **who,
                        "points": points,
                        "unknown": draw(st.integers(0, 3)),
                        "raised": len(times),
                        "treated": draw(st.integers(0, 3)),
                        "limited": 0,
                        "asked": points + 3,
                    }
                )
                last = worst = None
                for now in times:
                    severity = float(draw(st.integers(5, 9)))
                    quiet = is_quiet(
                        now, severity, last=last, last_severity=worst, quiet_hours=rule.quiet_hours
                    )
                    last, worst = (last, worst) if quiet else (now, severity)
                    alerts.append(
                        {
                            **name,
                            **who,
                            "now": now,
                            "severity": severity,
                            "unit": draw(st.sampled_from([None, "A", "B"])),
                            "shown": not quiet,
                            "quiet": quiet,
                            "done": draw(st.sampled_from([None, True, False]))
                            if rule is TWO and not quiet
                            else None,
                        }
                    )
    places = {rule.id: place for place, rule in enumerate(RULES)}
    alerts.sort(key=lambda row: (places[row["rule"]], row["stay_id"], row["now"]))
    keys = [key_of(rule) for rule in RULES]
    return Replay(
        alerts=pl.DataFrame(alerts, schema=ALERTS),
        looked=pl.DataFrame(looked, schema=LOOKED),
        cut=CUT,
        stays=pl.DataFrame(
            stays,
            schema={"stay_id": pl.Int64, "subject_id": pl.Int64, "start": TIME, "end": TIME},
        ),
        rules=RULES,
        moments={key: KINDS[key[0]] for key in keys},
        placed=dict.fromkeys(keys, draw(st.sampled_from([50, 0]))),
        every_hours=draw(st.sampled_from([1.0, 6.0])),
        judged_by={key_of(rule): rule.warns_of for rule in RULES if rule.warns_of is not None},
        is_own=True,
        outcomes=pl.DataFrame(outcomes, schema=OUTCOMES),
        delays={},
        assumed_share=0.0,
        identity="test",
        zone="UTC",
        synthetic=True,
    )


def happens(result, rule):
    """When the outcome of a rule happened, by stay."""
    return {
        row["stay_id"]: row["outcome_time"]
        for row in result.outcomes.to_dicts()
        if row["rule"] == rule.id
    }


def slow_outcome(result, rule, cards, inside):
    """The figures of a rule against its own outcome, obviously."""
    stays = {row["stay_id"]: row for row in result.stays.to_dicts()}
    outcomes, warns = happens(result, rule), rule.warns_of
    horizon = None if warns.within_hours is None else timedelta(hours=warns.within_hours)

    def is_waited_for(stay):
        if warns.ends_with_stay:
            return stays[stay]["end"] is not None or stay in outcomes
        end = stays[stay]["end"]
        return end is not None and end + horizon <= result.cut

    leads, late, judged, true = {}, 0, 0, 0
    for card in cards:
        outcome = outcomes.get(card["stay_id"])
        # A discharge is asked about just before it: its hours run from the discharge.
        now = card["now"] if rule is not HOME else card["now"] + JUST_BEFORE
        if outcome is not None and outcome <= card["now"]:
            late += 1
            continue
        is_over = horizon is not None and now + horizon <= result.cut
        if not (is_over or (warns.ends_with_stay and is_waited_for(card["stay_id"]))):
            continue
        judged += 1
        if outcome is not None and (horizon is None or outcome - now <= horizon):
            true += 1
            lead = (outcome - card["now"]).total_seconds() / 3600
            leads[card["stay_id"]] = max(lead, leads.get(card["stay_id"], 0.0))
    decided = [one for one in inside if is_waited_for(one)]
    with_outcome = [
        one
        for one in decided
        if one in outcomes
        and (warns.ends_with_stay or outcomes[one] <= stays[one]["end"] + horizon)
    ]
    warned = [one for one in with_outcome if one in leads]
    return {
        "outcome": warns.of.title,
        "within_hours": warns.within_hours,
        "decided_stays": len(decided),
        "outcomes": len(with_outcome),
        "warned": len(warned),
        "sensitivity": len(warned) / len(with_outcome) if with_outcome else None,
        "decided_cards": judged,
        "late_cards": late,
        "true_cards": true,
        "ppv": true / judged if judged else None,
        "lead_hours": statistics.median(leads.values()) if leads else None,
    }


def slow(result, rule, alerts=None):
    """The figures of one rule, obviously."""
    own = result.alerts.to_dicts() if alerts is None else alerts
    own = [row for row in own if row["rule"] == rule.id]
    if rule is HOME and not own and not result.placed[key_of(rule)]:
        return {"assessed": False, "recorded": 0}
    looked = [row for row in result.looked.to_dicts() if row["rule"] == rule.id]
    cards = [row for row in own if row["shown"]]
    inside = [row["stay_id"] for row in looked if row["points"] > 0]
    points = sum(row["points"] for row in looked)
    asked = sum(row["asked"] for row in looked)
    with_card = {card["stay_id"] for card in cards}
    found = {
        "assessed": True,
        "stays": len(inside),
        "cards": len(cards),
        "quiet": len(own) - len(cards),
        "stays_with_card": len(with_card),
        "cards_per_stay_with_card": len(cards) / len(with_card) if with_card else None,
        "unknown_share": sum(row["unknown"] for row in looked) / asked if asked else None,
        "treated": sum(row["treated"] for row in looked),
    }
    if rule is HOME:
        found["moments"] = points
        found["cards_per_100_moments"] = 100 * len(cards) / points if points else None
    else:
        days = points * result.every_hours / 24
        found["patient_days"] = days
        found["cards_per_100_days"] = 100 * len(cards) / days if days else None
    if rule.warns_of is not None:
        found |= slow_outcome(result, rule, cards, inside)
    if rule is TWO:
        over = [card["done"] for card in cards if card["done"] is not None]
        found |= {"done_within_hours": 1.0, "over_cards": len(over), "done_cards": sum(over),
                  "done_share": sum(over) / len(over) if over else None}  # fmt: skip
    return found


def agree(found, expected):
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=CLOSE), name
        else:
            assert found[name] == value, name


@settings(max_examples=40)
@given(replays())
def test_figures_are_those_of_a_loop(result):
    made = figures(result, by_unit=True)
    table = made.rules
    for rule in RULES:
        whole = table.filter(pl.col("rule") == rule.id, pl.col("unit").is_null()).to_dicts()
        assert len(whole) == 1
        expected = slow(result, rule)
        agree(whole[0], expected)
        # What a rule has no figure of has no key, so that no blank is taken for nought.
        own = next(row for row in made.rows() if row["rule"] == rule.id)
        assert expected.keys() <= own.keys()
        assert ("patient_days" in own) == (KINDS[rule.id] == "hours")
        assert ("sensitivity" in own) == (rule.warns_of is not None and own["assessed"])
        assert ("done_share" in own) == (rule is TWO)
        for name in ("sensitivity", "ppv", "cards_per_100_days", "cards_per_100_moments",
                     "done_share"):  # fmt: skip
            low, high = (whole[0].get(f"{name}_{end}") for end in ("lower", "upper"))
            if low is not None and whole[0][name] is not None:
                assert low <= whole[0][name] * (1 + CLOSE) + CLOSE
                assert whole[0][name] <= high * (1 + CLOSE) + CLOSE
        # Units share the cards out; a card without a unit is of none.
        units = table.filter(pl.col("rule") == rule.id, pl.col("unit").is_not_null())
        if not expected["assessed"]:
            continue
        cards = result.alerts.filter(pl.col("rule") == rule.id, "shown")
        assert (units["cards"].sum() or 0) == cards["unit"].is_not_null().sum()


@settings(max_examples=30)
@given(replays(), st.sampled_from([0.5, 1.0, 3.0]))
def test_overlap_is_that_of_a_loop(result, within):
    cards = {
        rule.id: [
            (row["stay_id"], row["now"])
            for row in result.alerts.to_dicts()
            if row["rule"] == rule.id and row["shown"]
        ]
        for rule in (ONE, TWO)
    }
    left, right = cards[ONE.id], cards[TWO.id]
    near = sum(
        any(s == stay and abs(t - now) <= timedelta(hours=within) for s, t in right)
        for stay, now in left
    )
    stays = {stay for stay, _ in left}, {stay for stay, _ in right}
    found = overlap(result, within_hours=within).to_dicts()
    assert [row for row in found if (row["rule"], row["other"]) == (ONE.id, TWO.id)] == [
        {
            "rule": ONE.id,
            "other": TWO.id,
            "stays_of_rule": len(stays[0]),
            "stays_of_other": len(stays[1]),
            "stays_of_both": len(stays[0] & stays[1]),
            "cards_of_rule": len(left),
            "cards_at_once": near,
        }
    ]


@settings(max_examples=30)
@given(replays())
def test_a_sweep_is_the_rule_with_a_higher_threshold(result):
    swept = sweep(result, ONE).to_dicts()
    own = [row for row in result.alerts.to_dicts() if row["rule"] == ONE.id]
    assert [row["threshold"] for row in swept] == sorted({row["severity"] for row in own})
    for row in swept:
        last: dict = {}
        left = []
        for one in own:
            if one["severity"] < row["threshold"]:
                continue
            before, worst = last.get(one["stay_id"], (None, None))
            quiet = is_quiet(
                one["now"],
                one["severity"],
                last=before,
                last_severity=worst,
                quiet_hours=ONE.quiet_hours,
            )
            if not quiet:
                last[one["stay_id"]] = (one["now"], one["severity"])
            left.append({**one, "shown": not quiet})
        agree(row, slow(result, ONE, left))
    # The lowest threshold changes nothing.
    if swept:
        agree(swept[0], slow(result, ONE))


@settings(max_examples=30)
@given(replays())
def test_a_comparison_shares_the_cards_out(result):
    found = compare(result, ONE, TWO)
    sets = [
        {
            (row["stay_id"], row["now"])
            for row in result.alerts.to_dicts()
            if row["rule"] == rule.id and row["shown"]
        }
        for rule in (ONE, TWO)
    ]
    assert found.counts == {
        "both": len(sets[0] & sets[1]),
        "first": len(sets[0] - sets[1]),
        "second": len(sets[1] - sets[0]),
    }
    assert found.cards.height == len(sets[0] | sets[1])
    assert found.figures["rule"].to_list() == [ONE.id, TWO.id]


@pytest.mark.parametrize(("level", "horizon"), [(0.0, 1.0), (1.0, 1.0), (0.95, 0.0)])
def test_a_level_or_horizon_without_meaning_is_refused(level, horizon):
    empty = Replay(
        alerts=pl.DataFrame(schema=ALERTS), looked=pl.DataFrame(schema=LOOKED), cut=CUT,
        stays=pl.DataFrame(), rules=(), moments={}, placed={}, every_hours=1.0, judged_by={},
        is_own=True, outcomes=pl.DataFrame(schema=OUTCOMES), delays={}, assumed_share=0.0,
        identity="", zone="UTC", synthetic=True,
    )  # fmt: skip
    with pytest.raises(UsageError):
        figures(empty, level=level, horizon_hours=horizon)
