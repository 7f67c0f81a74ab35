"""Figures of a replay against loops over dicts."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rule_tables import rules

from neva.decisions.replay import ALERTS, LOOKED, Replay
from neva.decisions.replay_figures import compare, figures, overlap, sweep
from neva.decisions.suppression import is_quiet
from neva.errors import UsageError

START = datetime(2021, 3, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
CUT = START + timedelta(hours=72)
ONE = rules()["acute-care.news2-emergency"]
TWO = rules()["sepsis.screen"]
HORIZON = 6.0
CLOSE = 1e-12


def at(hours):
    return None if hours is None else START + timedelta(hours=hours)


@st.composite
def replays(draw):
    """Two patients to five, a stay or two each, findings of two rules."""
    stays, alerts, looked = [], [], []
    number = 0
    for subject in range(1, draw(st.integers(0, 4)) + 1):
        for _ in range(draw(st.integers(1, 2))):
            number += 1
            start = draw(st.integers(0, 50))
            stays.append(
                {
                    "stay_id": number,
                    "subject_id": subject,
                    "start": at(start),
                    "end": at(draw(st.sampled_from([None, start + 10, start + 22]))),
                    "outcome_time": at(draw(st.sampled_from([None, start, start + 5, start + 9]))),
                }
            )
            for rule in (ONE, TWO):
                points = draw(st.integers(0, 12))
                hours = sorted(draw(st.sets(st.integers(0, 11), max_size=points)))
                looked.append(
                    {
                        "rule": rule.id,
                        "version": rule.version,
                        "subject_id": subject,
                        "stay_id": number,
                        "points": points,
                        "unknown": draw(st.integers(0, 3)),
                        "raised": len(hours),
                        "treated": draw(st.integers(0, 3)),
                        "limited": 0,
                        "asked": points + 3,
                    }
                )
                last = worst = None
                for hour in hours:
                    severity = float(draw(st.integers(5, 9)))
                    now = at(start + hour)
                    quiet = is_quiet(
                        now, severity, last=last, last_severity=worst, quiet_hours=rule.quiet_hours
                    )
                    last, worst = (last, worst) if quiet else (now, severity)
                    alerts.append(
                        {
                            "rule": rule.id,
                            "version": rule.version,
                            "subject_id": subject,
                            "stay_id": number,
                            "now": now,
                            "severity": severity,
                            "unit": draw(st.sampled_from([None, "A", "B"])),
                            "shown": not quiet,
                            "quiet": quiet,
                        }
                    )
    alerts.sort(key=lambda row: (row["rule"] != ONE.id, row["stay_id"], row["now"]))
    return Replay(
        alerts=pl.DataFrame(alerts, schema=ALERTS),
        looked=pl.DataFrame(looked, schema=LOOKED),
        cut=CUT,
        stays=pl.DataFrame(
            stays,
            schema={
                "stay_id": pl.Int64,
                "subject_id": pl.Int64,
                "start": TIME,
                "end": TIME,
                "outcome_time": TIME,
            },
        ),
        rules=(ONE, TWO),
        every_hours=draw(st.sampled_from([1.0, 6.0])),
        outcome="what it warns of",
        delays={},
        assumed_share=0.0,
        identity="test",
        zone="UTC",
        synthetic=True,
    )


def slow(result, rule, alerts=None):
    """The figures of one rule, obviously."""
    own = result.alerts.to_dicts() if alerts is None else alerts
    own = [row for row in own if row["rule"] == rule.id]
    looked = [row for row in result.looked.to_dicts() if row["rule"] == rule.id]
    stays = {row["stay_id"]: row for row in result.stays.to_dicts()}
    cards = [row for row in own if row["shown"]]
    horizon = timedelta(hours=HORIZON)
    leads, late, judged, true = {}, 0, 0, 0
    for card in cards:
        stay = stays[card["stay_id"]]
        outcome, now = stay["outcome_time"], card["now"]
        if outcome is not None and outcome <= now:
            late += 1
            continue
        hit = outcome is not None and outcome - now <= horizon
        if hit:
            lead = (outcome - now).total_seconds() / 3600
            leads[card["stay_id"]] = max(lead, leads.get(card["stay_id"], 0.0))
        if outcome is not None or stay["end"] is not None or now + horizon <= result.cut:
            judged += 1
            true += hit
    inside = [row["stay_id"] for row in looked if row["points"] > 0]
    with_outcome = [one for one in inside if stays[one]["outcome_time"] is not None]
    warned = [one for one in with_outcome if one in leads]
    days = sum(row["points"] for row in looked) * result.every_hours / 24
    asked = sum(row["asked"] for row in looked)
    with_card = {card["stay_id"] for card in cards}
    return {
        "stays": len(inside),
        "patient_days": days,
        "cards": len(cards),
        "quiet": len(own) - len(cards),
        "cards_per_100_days": 100 * len(cards) / days if days else None,
        "stays_with_card": len(with_card),
        "cards_per_stay_with_card": len(cards) / len(with_card) if with_card else None,
        "unknown_share": sum(row["unknown"] for row in looked) / asked if asked else None,
        "treated": sum(row["treated"] for row in looked),
        "outcomes": len(with_outcome),
        "warned": len(warned),
        "sensitivity": len(warned) / len(with_outcome) if with_outcome else None,
        "decided_cards": judged,
        "late_cards": late,
        "true_cards": true,
        "ppv": true / judged if judged else None,
        "lead_hours": statistics.median(leads.values()) if leads else None,
    }


def agree(found, expected):
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=CLOSE), name
        else:
            assert found[name] == value, name


@settings(max_examples=40)
@given(replays())
def test_figures_are_those_of_a_loop(result):
    table = figures(result, horizon_hours=HORIZON, by_unit=True).rules
    for rule in (ONE, TWO):
        whole = table.filter(pl.col("rule") == rule.id, pl.col("unit").is_null()).to_dicts()
        assert len(whole) == 1
        agree(whole[0], slow(result, rule))
        for name in ("sensitivity", "ppv", "cards_per_100_days"):
            low, high = whole[0][f"{name}_lower"], whole[0][f"{name}_upper"]
            if low is not None and whole[0][name] is not None:
                assert low <= whole[0][name] * (1 + CLOSE) + CLOSE
                assert whole[0][name] <= high * (1 + CLOSE) + CLOSE
        # Units share the cards out; a card without a unit is of none.
        units = table.filter(pl.col("rule") == rule.id, pl.col("unit").is_not_null())
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
    assert overlap(result, within_hours=within).to_dicts() == [
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
    swept = sweep(result, ONE, horizon_hours=HORIZON).to_dicts()
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
    found = compare(result, ONE, TWO, horizon_hours=HORIZON)
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
        stays=pl.DataFrame(), rules=(), every_hours=1.0, outcome=None, delays={},
        assumed_share=0.0, identity="", zone="UTC", synthetic=True,
    )  # fmt: skip
    with pytest.raises(UsageError):
        figures(empty, level=level, horizon_hours=horizon)
