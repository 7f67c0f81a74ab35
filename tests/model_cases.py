"""Invented cases for tests of models: three features, an outcome that depends on two."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from neva.definitions.language import case, events, missing, stay, subject
from neva.definitions.writing import feature
from neva.models.cases import Cases
from neva.models.declaration import Candidate, Comparator, MemberPlan, ModelPlan
from neva.models.landmarks import Landmark

LDH = feature("demo.ldh", events("X//ldh").last().value("U/L"), version="1.0.0", title="LDH")
AGE = feature("demo.age", subject.age_at(stay.start), version="1.0.0", title="Age")
MALE = feature("demo.male", subject.sex == "male", version="1.0.0", title="Male sex")
RULE = feature("demo.rule", events("X//ldh").last().value("U/L") >= 365, version="1.0.0")
DEATH = feature(
    "demo.death",
    case((stay.outcome == "died", stay.end), otherwise=missing(stay.end)),
    version="1.0.0",
    title="Death",
)
PLAIN = Candidate("plain", (MemberPlan("logistic-regression", {}, ("demo.ldh", "demo.age")),))
MIXED = Candidate(
    "mixed",
    (
        MemberPlan("boosted-trees", {"trees": 15}),
        MemberPlan("logistic-regression", {"logarithms": True}, ("demo.ldh", "demo.age")),
    ),
)


def demo_plan(**changes):
    given = {
        "id": "demo.model",
        "version": "1.0.0",
        "title": "Demonstration",
        "outcome": DEATH,
        "outcome_words": "death in hospital",
        "landmark": Landmark("24h", "24 h after admission", (24.0,)),
        "features": (LDH, AGE, MALE),
        "rises": {"demo.age": 1},
        "candidates": (PLAIN, MIXED),
        "comparators": (
            Comparator("rule", "yes-no", RULE),
            Comparator("rule's classes", "classes", RULE),
            Comparator("plain logistic", "candidate", candidate=PLAIN),
        ),
        "intended_use": "Only to show.",
        "limits": ("Synthetic patients.",),
    }
    return ModelPlan(**{**given, **changes})


def demo_cases(patients=120, *, each=1, seed=1, hospital="here", informative=True):
    """Cases of synthetic patients; `each` points a patient, a day apart."""
    rng = np.random.default_rng(seed)
    n = patients * each
    owner = np.repeat(np.arange(patients, dtype=np.int64), each)
    ldh = np.exp(rng.normal(5.7, 0.5, n))
    age = np.repeat(rng.integers(30, 90, patients), each).astype(float)
    risk = 2.5 * (np.log(ldh) - 5.7) + 0.05 * (age - 60) if informative else np.zeros(n)
    died = np.repeat((risk[::each] + rng.logistic(size=patients)) > 0, each)
    ldh[rng.random(n) < 0.1] = np.nan
    start = datetime(2020, 2, 1, tzinfo=UTC)
    now = [start + timedelta(days=int(k) % each) for k in range(n)]
    frame = pl.DataFrame(
        {
            "point_id": np.arange(n, dtype=np.int64),
            "subject_id": owner,
            "stay_id": owner + 1000,
            "now": pl.Series(now, dtype=pl.Datetime("us", "UTC")),
            "outcome": died.astype(np.int8),
            "event_hours": pl.Series(np.where(died, 100.0, np.nan)).fill_nan(None),
            "observed_hours": pl.Series([None] * n, dtype=pl.Float64),
            "known": pl.Series([start + timedelta(days=20)] * n, dtype=pl.Datetime("us", "UTC")),
            "patient_days": np.ones(n),
            "hours": 24.0 * (1 + np.arange(n) % each),
            "sex": np.where(owner % 2 == 0, "male", "female"),
            "age": age,
            "unit": np.where(owner % 3 == 0, "A", "B"),
            "demo.ldh": pl.Series(ldh).fill_nan(None),
            "demo.age": age,
            "demo.male": owner % 2 == 0,
            "demo.rule": np.nan_to_num(ldh) >= 365,
        }
    )
    return Cases(
        frame=frame,
        features=("demo.ldh", "demo.age", "demo.male"),
        units={"demo.ldh": "U/L", "demo.age": "a", "demo.male": ""},
        left_out={"ended": 3, "contradictory": 0, "happened": 0, "censored": 1},
        points=n + 1,
        identity=f"{hospital}@1/latest",
        hospital=hospital,
        assumed_share=1.0,
    )
