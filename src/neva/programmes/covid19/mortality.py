"""Death in hospital with COVID-19: the published three-marker rule and a model beside it.

The rule (Yan 2020) is famous for 97 % accuracy, with the last sample before the
outcome. Asked when it would be of use, at admission, it does worse; the model
is judged beside it there, on the same patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from neva.definitions.documents import Feature
from neva.definitions.language import (
    Boolean,
    Quantity,
    case,
    codelist,
    events,
    first_known,
    missing,
    now,
    number,
    stay,
    subject,
)
from neva.definitions.writing import feature
from neva.models.declaration import Candidate, Comparator, MemberPlan, ModelPlan
from neva.models.families import FirstAndLastSample, ModelFamily
from neva.models.landmarks import Landmark

__all__ = ["family", "three_marker_class", "three_marker_rule"]

VERSION: Final = "1.0.0"
_YAN: Final = "doi:10.1038/s42256-020-0180-7"
#: Cut-offs of the published tree.
LDH_LIMIT, CRP_LIMIT, LYMPHOCYTE_LIMIT = 365.0, 41.2, 14.7

Which = Literal["first", "last", "first-ever", "last-ever"]


@dataclass(frozen=True)
class _Test:
    name: str
    title: str
    unit: str
    codes: tuple[str, ...]
    rises: int


def _test(name: str, title: str, unit: str, rises: int, *codes: str) -> _Test:
    return _Test(name, title, unit, codes, rises)


#: Tests of the model: LOINC codes, and those of the study it was made from.
_TESTS: Final = (
    _test("ldh", "Lactate dehydrogenase", "U/L", 1, "LOINC//2532-0", "LOINC//14804-9",
          "TONGJI//lactate-dehydrogenase"),
    _test("crp", "High-sensitivity C-reactive protein", "mg/L", 1, "LOINC//30522-7",
          "LOINC//1988-5", "TONGJI//high-sensitivity-c-reactive-protein"),
    _test("lymphocytes", "Lymphocytes, share of leukocytes", "%", -1, "LOINC//736-9",
          "LOINC//26478-8", "TONGJI//percent-lymphocyte"),
    _test("neutrophils", "Neutrophils, share of leukocytes", "%", 1, "LOINC//770-8",
          "LOINC//26511-6", "TONGJI//neutrophils-percent"),
    _test("platelets", "Platelets", "10*9/L", -1, "LOINC//777-3", "TONGJI//platelet-count"),
    _test("urea", "Urea", "mmol/L", 1, "LOINC//22664-7", "TONGJI//urea"),
    _test("albumin", "Albumin", "g/L", -1, "LOINC//1751-7", "TONGJI//albumin"),
    _test("d-dimer", "D-dimer", "ug/mL", 1, "LOINC//48065-7", "TONGJI//d-d-dimer"),
    _test("procalcitonin", "Procalcitonin", "ng/mL", 1, "LOINC//33959-8", "TONGJI//procalcitonin"),
    _test("prothrombin", "Prothrombin activity", "%", -1, "LOINC//5894-1",
          "TONGJI//prothrombin-activity"),
    _test("troponin", "Cardiac troponin I, high sensitivity", "pg/mL", 1, "LOINC//89579-7",
          "TONGJI//hypersensitive-cardiac-troponini"),
    _test("nt-probnp", "NT-proBNP", "pg/mL", 1, "LOINC//33762-6",
          "TONGJI//amino-terminal-brain-natriuretic-peptide-precursor-nt-probnp"),
    _test("calcium", "Calcium", "mmol/L", -1, "LOINC//2000-8", "TONGJI//calcium"),
    _test("leukocytes", "Leukocytes", "10*9/L", 1, "LOINC//6690-2",
          "TONGJI//white-blood-cell-count"),
    _test("creatinine", "Creatinine", "umol/L", 1, "LOINC//14682-9", "TONGJI//creatinine"),
    _test("glucose", "Glucose", "mmol/L", 1, "LOINC//15074-8", "LOINC//14749-6", "TONGJI//glucose"),
    _test("bilirubin", "Direct bilirubin", "umol/L", 1, "LOINC//14629-0",
          "TONGJI//direct-bilirubin"),
    _test("ast", "Aspartate aminotransferase", "U/L", 1, "LOINC//1920-8",
          "TONGJI//aspartate-aminotransferase"),
    _test("bicarbonate", "Bicarbonate", "mmol/L", -1, "LOINC//1963-8", "TONGJI//hco3"),
)  # fmt: skip
_MARKERS: Final = ("ldh", "crp", "lymphocytes")

ADMISSION: Final = Landmark("admission", "admission: first values, by 24 h", (24.0,), "first")
LANDMARKS: Final = (
    ADMISSION,
    Landmark("6h", "6 h after admission", (6.0,)),
    Landmark("24h", "24 h after admission", (24.0,)),
    Landmark("daily", "every day to day 14",
             tuple(24.0 * day for day in range(1, 15))),
)  # fmt: skip


def _value(name: str, which: Which) -> Quantity:
    """One value of a test, as known at the point.

    The values of a stay are those since its start. `…-ever`: all that carry
    the stay's id, those reported after its end too, as the publication took them.
    """
    test = next(one for one in _TESTS if one.name == name)
    rows = events(codelist(f"covid19-mortality-{test.name}", *test.codes, title=test.title))
    rows = rows.of(stay) if which.endswith("ever") else rows.since(stay.start)
    row = rows.first() if which.startswith("first") else rows.last()
    return row.value(test.unit)


def _age() -> Quantity:
    """Years: from the birth date, or as the source states them."""
    stated = events("TONGJI//age").last().value("a")
    found: Quantity = first_known(subject.age_at(stay.start), stated)
    return found


def _sex() -> Boolean:
    """Whether male; missing for other or unknown."""
    found: Boolean = case(
        (subject.sex == "male", number(1) == 1),
        (subject.sex == "female", number(1) == 0),
        otherwise=missing(number(1) == 1),
    )
    return found


def _branches(which: Which) -> tuple[Boolean, Boolean, Boolean]:
    """The questions of the tree, a missing marker below its limit as in the published file."""
    ldh, crp, lymphocytes = (_value(name, which) for name in _MARKERS)
    return (
        first_known(ldh >= LDH_LIMIT, False),
        first_known(crp < CRP_LIMIT, True),
        # Printed as "< 14.7", but the tree answers death at 14.7 itself: its limit is a float32 a
        # little above. One survivor of the 351 has this very value in the first and last sample.
        first_known(lymphocytes <= LYMPHOCYTE_LIMIT, True),
    )


_RULE_NOTES: Final = (
    (
        "A missing marker takes the branch of low values, as in the published tree file: without "
        "LDH the next question is asked, without hs-CRP the answer is survival, without "
        "lymphocytes it is death."
    ),
    (
        "Lymphocytes of exactly 14.7 % count as low: with them the published figures come out; "
        "with the printed comparison one more survivor of 351 is right."
    ),
)


def three_marker_rule(which: Which = "last") -> Feature:
    """Return the published rule: true means death.

    Parameters
    ----------
    which : {"first", "last", "first-ever", "last-ever"}
        Value of each marker: of the stay until now, or of all its samples.
    """
    high, mild, low = _branches(which)
    yes, no = number(1) == 1, number(1) == 0
    return feature(
        f"covid19.three-marker-rule.{which}",
        case((high, yes), (mild, no), (low, yes), otherwise=no),
        version=VERSION,
        title="Three-marker rule (Yan 2020): death",
        description=(
            "LDH >= 365 U/L: death; else hs-CRP < 41.2 mg/L: survival; else lymphocytes <= 14.7 %: "
            "death; else survival."
        ),
        evidence=(_YAN, "doi:10.1038/s42256-020-00253-3"),
        notes=_RULE_NOTES,
    )


def three_marker_class(which: Which = "last") -> Feature:
    """Return the leaf of the rule's tree: 1 high LDH, 2 mild CRP, 3 low, 4 higher lymphocytes."""
    high, mild, low = _branches(which)
    return feature(
        f"covid19.three-marker-class.{which}",
        case((high, number(1)), (mild, number(2)), (low, number(3)), otherwise=number(4)),
        version=VERSION,
        title="Leaf of the three-marker rule (Yan 2020)",
        evidence=(_YAN,),
        notes=_RULE_NOTES,
    )


def _complete() -> Feature:
    known = [_value(name, "last-ever").is_known() for name in _MARKERS]
    return feature(
        "covid19.three-markers-known",
        known[0] & known[1] & known[2],
        version=VERSION,
        title="All three markers were measured in the stay",
    )


def _features(which: Which, *, daily: bool) -> tuple[Feature, ...]:
    words = "first value of the stay" if which == "first" else "last value known"
    prefix = f"covid19.mortality.{which}"
    made = [
        feature(f"{prefix}.age", _age(), version=VERSION, title="Age"),
        feature(f"{prefix}.sex", _sex(), version=VERSION, title="Male sex"),
        *(
            feature(
                f"{prefix}.{one.name}",
                _value(one.name, which),
                version=VERSION,
                title=f"{one.title} ({words})",
            )
            for one in _TESTS
        ),
    ]
    if daily:
        made.append(
            feature(f"{prefix}.hours", now - stay.start, version=VERSION,
                    title="Time since admission")
        )  # fmt: skip
    return tuple(made)


def _outcome() -> Feature:
    return feature(
        "covid19.death-in-hospital",
        case((stay.outcome == "died", stay.end), otherwise=missing(stay.end)),
        version=VERSION,
        title="Death in hospital: the end of a stay with the outcome died",
    )


_TREES: Final = (
    ("small trees", {"trees": 200, "leaves": 3, "rate": 0.05}),
    ("trees", {"trees": 300, "leaves": 4, "rate": 0.03}),
)


def _candidates(few: tuple[str, ...]) -> tuple[Candidate, ...]:
    plain = MemberPlan("logistic-regression", {"strength": 1.0}, few)
    made = [
        Candidate("logistic, age and three markers", (plain,)),
        Candidate(
            "penalised logistic, logarithms of all tests",
            (MemberPlan("logistic-regression", {"strength": 0.1, "logarithms": True}),),
        ),
    ]
    for name, settings in _TREES:
        trees = MemberPlan("boosted-trees", settings)
        made += [
            Candidate(f"boosted {name}", (trees,)),
            Candidate(f"mean of boosted {name} and logistic", (trees, plain)),
        ]
    return tuple(made)


def plan(landmark: Landmark) -> ModelPlan:
    """Return the plan of the model for a landmark."""
    which: Which = "first" if landmark.values == "first" else "last"
    features = _features(which, daily=len(landmark.hours) > 1)
    prefix = f"covid19.mortality.{which}"
    few = tuple(f"{prefix}.{name}" for name in ("age", *_MARKERS))
    rises: dict[str, int] = {f"{prefix}.{one.name}": one.rises for one in _TESTS}
    return ModelPlan(
        id="covid19.mortality",
        version=VERSION,
        title="Death in hospital with COVID-19",
        outcome=_outcome(),
        outcome_words="death in hospital",
        landmark=landmark,
        features=features,
        candidates=_candidates(few),
        rises={**rises, f"{prefix}.age": 1},
        reduced=(
            (f"{prefix}.sex", *few),
            few,
            tuple(f"{prefix}.{name}" for name in _MARKERS),
        ),
        comparators=(
            Comparator("three-marker rule", "yes-no", three_marker_rule(which)),
            Comparator("rule's classes", "classes", three_marker_class(which)),
            Comparator(
                "plain logistic",
                "candidate",
                candidate=Candidate(
                    "plain logistic",
                    (MemberPlan("logistic-regression", {"strength": 1.0}, few),),
                ),
            ),
        ),
        threshold=0.5,
        intended_use=(
            "To show how such a model is made, judged and kept honest. Not for decisions about "
            "patients: it is locked to demonstration until it is recalibrated on the hospital's "
            "own patients."
        ),
        patients="Adults in hospital with COVID-19, on the ward or in intensive care.",
        limits=(
            (
                "Every stay of the hospital counts as one with COVID-19: give an extract of such "
                "patients."
            ),
            (
                "Features and candidates were chosen on 375 patients of one hospital in Wuhan, "
                "January to March 2020: before steroids, vaccines and later variants. That choice "
                "looked at cross-validated figures of these patients; resampling them does not "
                "correct for it."
            ),
            (
                "Those patients were selected: 46 % died, all stays had ended, most had many "
                "laboratory tests. Where fewer die, probabilities learnt there are too high."
            ),
            (
                "That extract does not say when results were reported: the sample's time (RE_DATE) "
                "stands for both, which makes results known earlier than they were."
            ),
        ),
        sources=(_YAN, "doi:10.5281/zenodo.3766350"),
        lock_reason=(
            "never validated on later patients of the hospital that would use it; its features "
            "were chosen on a selected cohort of 2020"
        ),
    )


def _rule(name: str, of: Feature, kind: Any = "yes-no") -> Comparator:
    return Comparator(name, kind, of)


def _ldh(which: Which) -> Feature:
    return feature(f"covid19.ldh.{which}", _value("ldh", which), version=VERSION, title="LDH")


def family() -> ModelFamily:
    """Return the models, a plan for each landmark."""
    return ModelFamily(
        id="covid19.mortality",
        title="Death in hospital with COVID-19",
        landmarks=LANDMARKS,
        plan=plan,
        shown_hours=tuple(24.0 * day for day in (2, 3, 5, 7, 10)),
        first_and_last=FirstAndLastSample(
            first=_rule("three-marker rule, first values", three_marker_rule("first-ever")),
            last=_rule("three-marker rule, last values", three_marker_rule("last-ever")),
            complete=_rule("all three markers known", _complete()),
            value_first=_rule("LDH, first value", _ldh("first-ever"), "classes"),
            value_last=_rule("LDH, last value", _ldh("last-ever"), "classes"),
            value_title="LDH alone",
            why=(
                "The last sample before the outcome is no prediction: which sample is the last is "
                "known only when the patient has died or gone home, and by then the blood shows it."
            ),
        ),
    )
