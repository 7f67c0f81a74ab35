"""Rules of the sepsis programme, as tables that a clinician can check."""

from __future__ import annotations

import pytest
from tests.rule_tables import asked, rules, word

from neva.definitions import model as m
from neva.definitions.programme import load_programme

RULES = rules()
SCREEN, LACTATE, ANTIBIOTICS = "sepsis.screen", "sepsis.lactate", "sepsis.antibiotics"
#: 3 (rate) + 2 (saturation): NEWS2 of 5 from what is known.
FIVE = "2 rate 25; 2 spo2 93"
TRIAGED = "2 CARE//sepsis-triage"


@pytest.mark.parametrize(
    ("recorded", "at", "said"),
    [
        (FIVE, 6, "no"),  # no infection
        ("1 CARE//blood-culture", 6, "no"),  # no score
        (FIVE + "; 1 CARE//blood-culture", 6, "raised"),
        (FIVE + "; 1 ICD10//A41.9", 6, "raised"),
        ("2 rate 24; 2 spo2 93; 1 ICD10//A41.9", 6, "no"),  # four points
        (FIVE + "; 1 ICD10//A41.9; 3 CARE//sepsis-triage", 6, "treated"),
        (FIVE + "; 1 ICD10//A41.9; 3 CARE//clinical-review", 6, "treated"),
        # A review before the patient got worse clears nothing.
        (FIVE + "; 1 ICD10//A41.9; 1.5 CARE//clinical-review", 3, "raised"),
        (FIVE + "; 1 ICD10//A41.9; 3 CARE//palliative-care", 6, "limited"),
        # A second episode: recognised at 2 h, infection and a high score five days later.
        (
            f"{TRIAGED}; 120 rate 25; 120 spo2 93; 119 CARE//blood-culture",
            121,
            "raised",
        ),
        # Infection recorded 48 hours ago no longer counts.
        ("60 rate 25; 60 spo2 93; 13 ICD10//A41.9", 61, "no"),
        ("60 rate 25; 60 spo2 93; 13.1 ICD10//A41.9", 61, "raised"),
    ],
)
def test_infection_with_a_news2_of_five_is_seen(recorded, at, said):
    assert word(asked(RULES[SCREEN], recorded, at=at, covid=False)) == said


@pytest.mark.parametrize(
    ("recorded", "at", "said"),
    [
        ("", 6, "no"),
        (TRIAGED, 6, "raised"),
        (TRIAGED + "; 3 lactate 2", 6, "no"),
        ("1 lactate 2; 4 CARE//sepsis-triage", 6, "no"),  # three hours before counts
        ("0.9 lactate 2; 4 CARE//sepsis-triage", 6, "raised"),
        (TRIAGED, 25.9, "raised"),
        (TRIAGED, 26, "no"),  # a day later it is too late to ask
        (TRIAGED + "; 3 lactate 2; 120 CARE//sepsis-triage", 121, "raised"),  # a second episode
        (TRIAGED + "; 3 CARE//palliative-care", 6, "limited"),
    ],
)
def test_possible_sepsis_without_a_lactate_is_seen(recorded, at, said):
    assert word(asked(RULES[LACTATE], recorded, at=at, covid=False)) == said


@pytest.mark.parametrize(
    ("recorded", "at", "said"),
    [
        ("", 6, "no"),
        (TRIAGED, 6, "raised"),
        (TRIAGED + "; 3 ATC//J01DD04", 6, "no"),
        (TRIAGED + "; 3 planned ATC//J01DD04", 6, "raised"),
        (TRIAGED + "; 3 not-done ATC//J01DD04", 6, "raised"),
        ("0 ATC//J01DD04; 24 CARE//sepsis-triage", 25, "no"),  # 24 hours before counts
        ("0 ATC//J01DD04; 24.1 CARE//sepsis-triage", 25, "raised"),
        (TRIAGED + "; 3 ATC//J01DD04; 120 CARE//sepsis-triage", 121, "raised"),
        (TRIAGED + "; 3 CARE//ceiling-of-care", 6, "limited"),
    ],
)
def test_possible_sepsis_without_an_antibiotic_is_seen(recorded, at, said):
    assert word(asked(RULES[ANTIBIOTICS], recorded, at=at, covid=False)) == said


@pytest.mark.parametrize(
    ("recorded", "severity"),
    [
        (TRIAGED, 1),
        (TRIAGED + "; 3 systolic 90", 1),
        (TRIAGED + "; 3 systolic 89", 2),
        (TRIAGED + "; 1 systolic 80; 3 systolic 100", 1),
        (TRIAGED + "; 3 lactate 3.9", 1),
        (TRIAGED + "; 3 lactate 4", 2),
        (TRIAGED + "; 3 lactate 2; 3 systolic 80", 2),
    ],
)
def test_shock_makes_the_card_on_antibiotics_critical(recorded, severity):
    rule = RULES[ANTIBIOTICS]
    assert asked(rule, recorded, covid=False).severity == severity
    assert rule.critical_from == 2


def test_no_rule_decides_by_qsofa():
    qsofa = load_programme("covid19").document("qsofa")
    score = {item.of.digest for item in qsofa.items}
    for rule in RULES.values():
        for name in ("population", "condition", "treated", "limited", "severity"):
            part = getattr(rule, name)
            if part is None:
                continue
            asked_of = {node.digest for node in m.walk(part)}
            assert not score <= asked_of
