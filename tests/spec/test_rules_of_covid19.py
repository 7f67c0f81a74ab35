"""Rules of the COVID-19 programme, as tables that a clinician can check."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from tests.rule_tables import asked, rules, word
from tests.shared_data import shared

from neva.decisions.cards import card_of

RULES = rules()
STEROID = "covid19.steroid-on-oxygen"
PROPHYLAXIS = "covid19.thromboprophylaxis"
DETERIORATION = "covid19.deterioration"
OXYGEN = "2-90 CARE//oxygen-nasal-or-mask"


def shown(finding, name):
    return next(one for one in finding.readings if one.input.name == name)


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ("", "no"),
        (OXYGEN, "raised"),
        ("2 CARE//oxygen-nasal-or-mask", "raised"),  # without an end: still running
        ("2-5 CARE//oxygen-nasal-or-mask", "no"),  # over
        (OXYGEN + "; 3 ATC//H02AB02", "no"),  # given
        (OXYGEN + "; 3 planned ATC//H02AB02", "raised"),  # only ordered
        (OXYGEN + "; 3 not-done ATC//H02AB02", "raised"),
        (OXYGEN + "; 3 CARE//steroid-contraindicated", "limited"),
        (OXYGEN + "; 3 CARE//palliative-care", "limited"),
        # A target of 88-92 % is no reason against a steroid.
        (OXYGEN + "; 0 CARE//saturation-target-88-92", "raised"),
    ],
)
def test_oxygen_without_a_steroid_is_seen(recorded, said):
    assert word(asked(RULES[STEROID], recorded)) == said


def test_a_steroid_counts_for_less_than_24_hours_or_while_it_runs():
    once = OXYGEN + "; 3 ATC//H02AB02"
    assert [word(asked(RULES[STEROID], once, at=at)) for at in (26.99, 27.0)] == ["no", "raised"]
    running = OXYGEN + "; 3-60 ATC//H02AB02"
    assert word(asked(RULES[STEROID], running, at=50)) == "no"


def test_steroid_and_prophylaxis_are_asked_of_adult_inpatients_with_the_virus():
    for name in (STEROID, PROPHYLAXIS, DETERIORATION):
        assert word(asked(RULES[name], OXYGEN, covid=False)) == "not asked"
        assert word(asked(RULES[name], OXYGEN, kind="emergency")) == "not asked"
        assert word(asked(RULES[name], OXYGEN, born=date(2003, 2, 2))) == "not asked"


#: Half of the programme's hours until prophylaxis have passed at 7 h.
@pytest.mark.parametrize(
    ("recorded", "at", "said"),
    [
        ("1 platelets 200", 6.9, "no"),
        ("1 platelets 200", 7, "raised"),
        ("", 12, "raised"),  # platelets not known: the card names it
        ("1 platelets 49", 12, "no"),
        ("1 platelets 50", 12, "raised"),
        ("1 platelets 200; 3 ATC//B01AB05", 12, "no"),
        ("1 platelets 200; 3 ATC//B01AB05", 27, "raised"),  # 24 h ago
        ("1 platelets 200; 3 planned ATC//B01AB05", 12, "raised"),
        ("1 platelets 200; 3 not-done ATC//B01AB05", 12, "treated"),  # decided against
        ("1 platelets 200; 3 ATC//B01AF02", 12, "treated"),  # another anticoagulant
        ("1 platelets 200; 3 CARE//anticoagulant-contraindicated", 12, "limited"),
        ("1 platelets 200; 3 CARE//anticoagulation-therapeutic", 30, "limited"),
        ("1 platelets 200; 3 CARE//palliative-care", 12, "limited"),
    ],
)
def test_a_stay_without_thromboprophylaxis_is_seen(recorded, at, said):
    assert word(asked(RULES[PROPHYLAXIS], recorded, at=at)) == said


def test_the_card_on_prophylaxis_shows_what_must_be_known_or_names_it():
    now = datetime(2021, 2, 1, 21, tzinfo=UTC)
    text = "1 platelets 180; 1 creatinine 88.42; 2 ICD10//K92.2"
    found = asked(RULES[PROPHYLAXIS], text, at=12, sex="male", born=date(1971, 1, 1))
    card = card_of(found, subject="1", stay="10", now=now, zone="UTC")
    assert card.summary == (
        "COVID-19, no thromboprophylaxis: platelets 180 × 10⁹/L, eGFR 91.69, bleeding recorded: yes"
    )
    assert shown(found, "current-anticoagulant").value is False
    assert card.missing == ()
    bare = card_of(
        asked(RULES[PROPHYLAXIS], "", at=12), subject="1", stay="10", now=now, zone="UTC"
    )
    assert set(bare.missing) == {"Platelets", "eGFR (CKD-EPI 2021), mL/min/1.73 m²"}


def vector(row):
    parts = [
        f"217 rate {row['rr']}",
        f"217 spo2 {row['spo2']}",
        f"217 urea {row['urea']}",
        f"217 crp {row['crp']}",
        f"217 lymphocytes {row['lymph']}",
        f"217 gcs {14 if row['gcs_lt_15'] else 15}",
        f"217 infiltrates {row['infiltrates']}",
        # Nosocomial: first positive more than seven days after admission.
        f"{192 if row['nosocomial'] else 1} PCR",
    ]
    if row["oxygen"]:
        parts.append("1-1000 CARE//oxygen-nasal-or-mask")
    return "; ".join(parts)


def test_the_card_of_4c_deterioration_shows_the_published_probability():
    vectors = pl.read_csv(shared("facts", "4c_deterioration_test_vectors.csv"))
    assert vectors.height >= 2
    for row in vectors.iter_rows(named=True):
        found = asked(
            RULES[DETERIORATION],
            vector(row),
            at=218,
            born=date(2021 - row["age"], 1, 1),
            sex="male" if row["male"] else "female",
            covid=False,
        )
        assert shown(found, "deterioration").value == pytest.approx(
            100 * row["probability"], abs=1e-4
        )
        high = row["probability"] >= 0.5
        assert (word(found) == "raised") is high


#: All that the model asks; very ill.
ILL = (
    "1 rate 40; 1 spo2 80; 1 urea 20; 1 crp 300; 1 lymphocytes 0.4; 1 gcs 14; 1 infiltrates 1; "
    "1-90 CARE//oxygen-nasal-or-mask"
)


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (ILL, "raised"),
        (ILL.replace("1 crp 300; ", ""), "unknown"),  # no value, no probability, no card
        (ILL + "; 2-90 CARE//oxygen-high-flow", "no"),  # is supported already
        (ILL + "; 2 CARE//intensive-care-admission", "treated"),
        (ILL + "; 2 CARE//ceiling-of-care", "limited"),
    ],
)
def test_4c_deterioration_is_shown_before_support_and_intensive_care(recorded, said):
    assert word(asked(RULES[DETERIORATION], recorded)) == said


def test_4c_deterioration_is_silent_in_an_intensive_care_unit():
    assert word(asked(RULES[DETERIORATION], ILL, icu=True)) == "treated"
