"""Rules of acute care, as tables that a clinician can check."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from tests.rule_tables import asked, rules, word

from neva.decisions.cards import card_of

RULES = rules()
EMERGENCY, URGENT = "acute-care.news2-emergency", "acute-care.news2-urgent"
DISCHARGE, ORDER = "acute-care.discharge-news2", "acute-care.anticoagulant-order"

#: All seven items within their normal bands: NEWS2 is 0.
WELL = "1 rate 16; 1 spo2 97; 1 systolic 120; 1 pulse 80; 1 temperature 37; 1 acvpu A"
#: 3 (rate) + 3 (saturation) + 1 (pulse).
SEVEN = "2 rate 25; 2 spo2 91; 2 systolic 120; 2 pulse 91; 2 temperature 37; 2 acvpu A"
#: 2 (rate) + 2 (saturation) + 2 (systolic).
SIX = "2 rate 24; 2 spo2 93; 2 systolic 100; 2 pulse 90; 2 temperature 38; 2 acvpu A"


def shown(finding, name):
    return next(one for one in finding.readings if one.input.name == name)


@pytest.mark.parametrize(
    ("recorded", "emergency", "urgent"),
    [
        ("", "no", "no"),
        (WELL, "no", "no"),
        (SEVEN, "raised", "no"),
        (SIX, "no", "raised"),
        # One item alone with 3 points; the others are 0.
        (WELL + "; 2 rate 25", "no", "raised"),
        (WELL + "; 2 rate 24", "no", "no"),
        (WELL + "; 2 acvpu C", "no", "raised"),
        # A limit belongs to its band.
        (WELL + "; 2 systolic 90", "no", "raised"),
        (WELL + "; 2 systolic 91", "no", "no"),
        (WELL + "; 2 systolic 220", "no", "raised"),
        (WELL + "; 2 systolic 219", "no", "no"),
        # 3 + 2: five points with what is missing counting nothing.
        ("2 rate 25; 2 spo2 93", "no", "raised"),
        ("2 rate 25; 2 spo2 91; 2 pulse 91", "raised", "no"),
        # Oxygen is worth two points: 3 + 2 + 2.
        ("2 rate 25; 2 spo2 93; 2-50 CARE//oxygen-nasal-or-mask", "raised", "no"),
        # The last value of each counts, and not the worst.
        (SEVEN + "; 3 rate 16; 3 spo2 97", "no", "no"),
        # A review at or after the last observation clears it, one before does not.
        (SEVEN + "; 2 CARE//clinical-review", "treated", "no"),
        (SEVEN + "; 3 CARE//clinical-review", "treated", "no"),
        (SEVEN + "; 1.9 CARE//clinical-review", "raised", "no"),
        (SEVEN + "; 3 CARE//clinical-review; 4 rate 30", "raised", "no"),
        (SEVEN + "; 3 planned CARE//clinical-review", "raised", "no"),
        (SIX + "; 3 CARE//clinical-review", "no", "treated"),
        (SEVEN + "; 0 CARE//ceiling-of-care", "limited", "no"),
        (SIX + "; 5 CARE//palliative-care", "no", "limited"),
    ],
)
def test_news2_asks_for_an_emergency_or_an_urgent_response(recorded, emergency, urgent):
    assert word(asked(RULES[EMERGENCY], recorded)) == emergency
    assert word(asked(RULES[URGENT], recorded)) == urgent


def test_news2_with_something_missing_says_at_least():
    found = asked(RULES[EMERGENCY], "2 rate 25; 2 spo2 91; 2 pulse 91")
    card = card_of(found, subject="1", stay="10", now=datetime(2021, 2, 1, tzinfo=UTC), zone="UTC")
    assert card.summary == "NEWS2 is at least 7: emergency assessment within 30 minutes"
    assert "Temperature" in card.missing
    whole = asked(RULES[EMERGENCY], SEVEN)
    assert (shown(whole, "news2").value, shown(whole, "news2").at_least) == (7, False)


@pytest.mark.parametrize(
    ("recorded", "points"),
    [
        (WELL + "; 2 spo2 90", 3),  # scale 1
        (WELL + "; 2 spo2 90; 0 CARE//saturation-target-88-92", 0),
        (WELL + "; 2 spo2 87; 0 CARE//saturation-target-88-92", 1),
        (WELL + "; 2 spo2 83; 0 CARE//saturation-target-88-92", 3),
        # On air more than the target is no harm; on oxygen it is.
        (WELL + "; 2 spo2 97; 0 CARE//saturation-target-88-92", 0),
        (
            WELL + "; 2 spo2 97; 0 CARE//saturation-target-88-92; 1-50 CARE//oxygen-nasal-or-mask",
            3 + 2,
        ),
        (WELL + "; 2 spo2 97; 1-50 CARE//oxygen-nasal-or-mask", 2),
        # COPD without a target recorded is scale 1.
        (WELL + "; 2 spo2 90; 0 ICD10//J44.9", 3),
    ],
)
def test_news2_uses_its_second_scale_only_where_a_target_is_recorded(recorded, points):
    assert shown(asked(RULES[EMERGENCY], recorded), "news2").value == points


def test_news2_is_not_for_intensive_care_children_the_dead_and_those_gone_home():
    assert word(asked(RULES[EMERGENCY], SEVEN, icu=True)) == "not asked"
    assert word(asked(RULES[EMERGENCY], SEVEN, born=date(2005, 2, 2))) == "not asked"
    assert word(asked(RULES[EMERGENCY], SEVEN, born=date(2005, 2, 1))) == "raised"
    assert word(asked(RULES[EMERGENCY], SEVEN, born=None)) == "unknown"
    start = datetime(2021, 2, 1, 9, tzinfo=UTC)
    gone, dead = {"end": start + timedelta(hours=5)}, {"death": start + timedelta(hours=5)}
    assert word(asked(RULES[EMERGENCY], SEVEN, **gone)) == "not asked"
    assert word(asked(RULES[EMERGENCY], SEVEN, **dead)) == "not asked"


@pytest.mark.parametrize(("at", "said"), [(25.99, "raised"), (26.0, "no"), (50.0, "no")])
def test_observations_count_for_less_than_24_hours(at, said):
    assert word(asked(RULES[EMERGENCY], SEVEN, at=at)) == said


@pytest.mark.parametrize(
    "day", [datetime(2021, 3, 27, 12, tzinfo=UTC), datetime(2021, 10, 30, 12, tzinfo=UTC)]
)
def test_24_hours_are_hours_when_summer_time_begins_and_ends(day):
    """The zone's day has 23 or 25 hours; the look-back has 24."""
    asked_at = {"start": day, "at": day + timedelta(hours=25)}
    shift = (day - datetime(2021, 2, 1, 9, tzinfo=UTC)) / timedelta(hours=1)
    for after, said in ((1.01, "raised"), (1.0, "no")):
        moved = SEVEN.replace("2 ", f"{shift + after} ", 1).replace("; 2 ", f"; {shift + after} ")
        assert word(asked(RULES[EMERGENCY], moved, covid=False, **asked_at)) == said


def test_going_home_with_five_points_is_questioned():
    assert word(asked(RULES[DISCHARGE], SIX)) == "raised"
    assert word(asked(RULES[DISCHARGE], WELL + "; 2 rate 25")) == "no"
    assert word(asked(RULES[DISCHARGE], WELL + "; 2 rate 25; 2 spo2 93")) == "raised"


#: Nothing speaks against an anticoagulant: creatinine 70 umol/L, platelets 200.
FREE = "1 platelets 200; 1 creatinine 70; 6 planned ATC//B01AF02"


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ("", "no"),
        ("1 platelets 20", "no"),  # nothing is being ordered
        (FREE, "no"),
        (FREE + "; 2 platelets 50", "no"),  # at the limit
        (FREE + "; 2 platelets 49", "raised"),
        (FREE + "; 2 creatinine 300", "raised"),
        (FREE + "; 2 ICD10//K92.1", "raised"),
        (FREE + "; 2 ATC//B01AB05", "raised"),
        (FREE + "; 2 CARE//anticoagulation-therapeutic", "raised"),
        # What is not known is a reason to look.
        ("1 creatinine 70; 6 planned ATC//B01AF02", "raised"),
        ("1 platelets 200; 6 planned ATC//B01AF02", "raised"),
        ("1 platelets 200; 1 creatinine 70; 6 planned ATC//N02BE01", "no"),
    ],
)
def test_an_order_of_an_anticoagulant_is_questioned_where_something_speaks_against_it(
    recorded, said
):
    assert word(asked(RULES[ORDER], recorded)) == said


def test_the_card_of_an_anticoagulant_names_what_is_not_known():
    found = asked(RULES[ORDER], "6 planned ATC//B01AF02")
    card = card_of(found, subject="1", stay="10", now=datetime(2021, 2, 1, tzinfo=UTC), zone="UTC")
    assert card.summary == (
        "Before this anticoagulant: platelets unknown, eGFR unknown, bleeding recorded: no, "
        "other recorded: no"
    )
    assert set(card.missing) == {"Platelets", "eGFR (CKD-EPI 2021), mL/min/1.73 m²"}


@pytest.mark.parametrize(
    ("sex", "born", "creatinine", "expected"),
    [
        # By hand, 142 x min(c/k,1)^a x max(c/k,1)^-1.2 x 0.9938^age (x 1.012):
        # man of 50, 1 mg/dL: (1/0.9)^-1.2 = 0.88124; 0.9938^50 = 0.73275; 91.69
        ("male", date(1971, 1, 1), 88.42, 91.69),
        # woman of 50, 1 mg/dL: (1/0.7)^-1.2 = 0.65181; 1.012; 68.63
        ("female", date(1971, 1, 1), 88.42, 68.63),
        # woman of 60, 0.5 mg/dL: (0.5/0.7)^-0.241 = 1.08446; 0.9938^60 = 0.68856; 107.31
        ("female", date(1961, 1, 1), 44.21, 107.31),
        # man of 80, 4 mg/dL: (4/0.9)^-1.2 = 0.16698; 0.9938^80 = 0.60803; 14.42
        ("male", date(1941, 1, 1), 353.68, 14.42),
    ],
)
def test_filtration_is_that_of_ckd_epi_2021(sex, born, creatinine, expected):
    found = asked(RULES[ORDER], f"1 creatinine {creatinine}", sex=sex, born=born)
    assert shown(found, "egfr").value == pytest.approx(expected, abs=0.01)


def test_filtration_is_unknown_for_other_sexes_and_without_a_birth_date():
    assert shown(asked(RULES[ORDER], "1 creatinine 70", sex="other"), "egfr").value is None
    assert shown(asked(RULES[ORDER], "1 creatinine 70", born=None), "egfr").value is None
