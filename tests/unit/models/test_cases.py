"""Labels: outcome within the horizon, known or not; features as known at the point."""

import numpy as np
import polars as pl
import pytest
from tests.csv_tables import imported

from neva.definitions.language import case, events, missing, stay, subject
from neva.definitions.writing import feature
from neva.errors import BadInputError, UsageError
from neva.models.cases import cases_of, matrix
from neva.models.declaration import Candidate, Comparator, MemberPlan, ModelPlan
from neva.models.landmarks import Landmark, landmark_points

MAPPING = """
neva: 1
name: ward
tables:
  - files: [stays.csv]
    subject: patient
    stay: patient
    recorded: {after: time}
    subjects:
      - {sex: {column: sex, map: {m: male, f: female}}, recorded: {after: {column: start}}}
    stays:
      - {start: start, end: end, outcome: outcome, kind: {constant: inpatient}}
  - files: [tests.csv]
    subject: patient
    stay: patient
    recorded: {column: reported}
    events:
      - {time: time, code: {system: LAB, column: code}, value: value, value_unit: unit}
"""
STAYS = """patient,sex,start,end,outcome
A,m,2020-05-01 00:00,2020-05-03 00:00,died
B,f,2020-05-01 00:00,2020-05-09 00:00,home
C,m,2020-05-01 00:00,2020-05-01 12:00,died
D,f,2020-05-01 00:00,,
E,m,2020-05-08 00:00,,
F,f,2020-05-01 00:00,2020-05-02 00:00,home
"""
TESTS = """patient,time,reported,code,value,unit
A,2020-05-01 01:00,2020-05-01 02:00,crp,50,mg/L
A,2020-05-01 23:00,2020-05-02 01:00,crp,90,mg/L
B,2020-05-01 05:00,2020-05-01 06:00,crp,10,mg/L
B,2020-05-09 00:00,2020-05-09 00:00,crp,5,mg/L
"""

FEATURES = (
    feature("demo.crp", events("LAB//crp").last().value("mg/L"), version="1.0.0"),
    feature("demo.male", subject.sex == "male", version="1.0.0"),
)
DEATH = feature(
    "demo.death",
    case((stay.outcome == "died", stay.end), otherwise=missing(stay.end)),
    version="1.0.0",
)


def plan(**changes):
    given = {
        "id": "demo.model",
        "version": "1.0.0",
        "title": "Demo",
        "outcome": DEATH,
        "outcome_words": "death",
        "landmark": Landmark("24h", "24 h", (24.0,)),
        "features": FEATURES,
        "candidates": (Candidate("plain", (MemberPlan("logistic-regression"),)),),
    }
    return ModelPlan(**{**given, **changes})


@pytest.fixture
def snapshot(tmp_path):
    return imported(tmp_path, MAPPING, {"stays.csv": STAYS, "tests.csv": TESTS}).snapshot()


def labelled(snapshot, hospital_plan, hours=(24.0,)):
    return cases_of(snapshot, hospital_plan, landmark_points(snapshot, hours))


def test_who_is_still_there_has_a_case_and_who_is_open_is_censored(snapshot):
    cases = labelled(snapshot, plan())
    # C died and F went home before 24 h or at it; D is open: its outcome is not known.
    assert cases.frame["outcome"].to_list().count(1) == 1
    assert cases.frame.height == 2
    assert cases.left_out["censored"] == cases.points - 2
    assert cases.left_out["happened"] == 0


def test_a_feature_sees_what_was_reported_by_then(snapshot):
    cases = labelled(snapshot, plan())
    died = cases.frame.filter(outcome=1)
    # Sampled at 23 h, reported an hour after the landmark: not known.
    assert died["demo.crp"][0] == 50
    assert died["demo.male"][0]
    assert died["event_hours"][0] == 24
    assert died["patient_days"][0] == 1


def test_the_horizon_decides(snapshot):
    at_start = labelled(snapshot, plan(horizon_hours=47.0), hours=(0.0,))
    reached = labelled(snapshot, plan(horizon_hours=48.0), hours=(0.0,))
    # A dies at 48 h, C at 12 h; D's first 47 and 48 hours are known although the stay is open.
    assert int(at_start.outcome.sum()) == 1
    assert int(reached.outcome.sum()) == 2
    assert at_start.frame.height == 5
    assert at_start.left_out["censored"] == 1


def test_text_is_no_feature_and_the_outcome_is_a_time():
    with pytest.raises(UsageError, match="boolean or a number"):
        plan(features=(feature("demo.sex", subject.sex, version="1.0.0"),))
    with pytest.raises(UsageError, match="outcome must be a time"):
        plan(outcome=FEATURES[0])
    with pytest.raises(UsageError, match="no candidate"):
        plan(candidates=())


def test_a_comparator_is_a_rule_or_a_candidate():
    with pytest.raises(UsageError, match="comparator"):
        Comparator("rule", "yes-no")


def test_features_are_taken_out_by_name():
    whole = plan(rises={"demo.crp": 1})
    left = whole.without_features(("crp",))
    assert left.feature_ids == ("demo.male",)
    assert left.without == ("demo.crp",)
    with pytest.raises(UsageError, match="no such feature; found 'ldh'"):
        whole.without_features(("ldh",))
    with pytest.raises(UsageError, match="at least one"):
        whole.without_features(("crp", "male"))


def test_a_matrix_needs_its_columns_and_missing_is_nan():
    frame = pl.DataFrame({"a": [1.0, None], "b": [True, None]})
    found = matrix(frame, ("b", "a"))
    assert found[0].tolist() == [1.0, 1.0]
    assert np.isnan(found[1]).all()
    with pytest.raises(BadInputError, match="found none for c"):
        matrix(frame, ("c",))


def test_landmarks_need_hours(snapshot):
    with pytest.raises(UsageError, match="at least one time"):
        landmark_points(snapshot, ())
