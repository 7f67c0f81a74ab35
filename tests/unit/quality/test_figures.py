"""Figures: counts add up, denominators stand beside each other, small cells are hidden."""

from __future__ import annotations

import pytest
from scipy import stats
from tests.people import People, hour

from neva.definitions.language import days, events, hours, row, stay, value
from neva.definitions.writing import measure, named
from neva.errors import UsageError
from neva.quality import MeasureRun, exclusion_counts, figures, run_measures, suppressed


def treated(exclude: bool = True) -> object:
    start = events("T//start").during(stay).first().time
    drug = events("T//drug").during(stay)
    return measure(
        "test.drug",
        version="1.0.0",
        title="Drug within 2 hours",
        population=stay.kind == "inpatient",
        exclusions=[
            named("flag", events("T//flag").during(stay).exists(), "flagged"),
            named("other", events("T//other").during(stay).exists(), "other"),
        ]
        if exclude
        else [],
        clock_start=start,
        clock_title="start",
        due=hours(2),
        numerator=drug.until(start + hours(2)).exists(),
        treated=drug.exists(),
        interval=drug.first().time - start,
        stratifiers=[named("sex", _sex(), "sex")],
        better="higher",
    )


def _sex() -> object:
    from neva.definitions.language import subject

    return subject.sex


def hospital() -> People:
    """Twelve stays: 4 met, 3 failed, 2 excluded, 1 pending, 1 unknown, 1 outside."""
    people = People()
    for subject in range(1, 13):
        kind = "emergency" if subject == 12 else "inpatient"
        people.admit(subject, kind=kind, covid=False, sex="male" if subject % 2 else "female")
        if subject != 11:
            people.event(subject, 0 if subject != 10 else 47, "T//start")
    for subject, at in {1: 1, 2: 2, 3: 0.5, 4: -0.0, 5: 3, 6: 2.001, 8: 1}.items():
        people.event(subject, at, "T//drug")
    people.event(8, 5, "T//flag")
    people.event(9, 5, "T//flag")
    people.event(9, 6, "T//other")
    return people


@pytest.fixture(scope="module")
def run() -> MeasureRun:
    return run_measures(hospital().snapshot(hour(48)), [treated()])  # type: ignore[list-item]


def test_every_case_has_one_status_and_all_add_up(run: MeasureRun) -> None:
    found = figures(run).frame.row(0, named=True)
    assert {name: found[name] for name in ("met", "failed", "excluded", "pending", "unknown")} == {
        "met": 4,
        "failed": 3,
        "excluded": 2,
        "pending": 1,
        "unknown": 1,
    }
    assert found["population"] == 11
    assert run.outside == {"test.drug": 1}


def test_the_rate_is_of_closed_clocks_with_an_exact_interval(run: MeasureRun) -> None:
    found = figures(run).frame.row(0, named=True)
    assert (found["denominator"], found["rate"]) == (7, 4 / 7)
    assert found["low"] == pytest.approx(stats.beta.ppf(0.025, 4, 4))
    assert found["high"] == pytest.approx(stats.beta.ppf(0.975, 5, 3))


def test_both_denominators_and_the_untreated(run: MeasureRun) -> None:
    found = figures(run).frame.row(0, named=True)
    assert (found["treated_met"], found["treated"]) == (4, 6)
    assert found["denominator"] - found["treated"] == 1
    assert found["interval_n"] == 6


def test_each_exclusion_is_counted(run: MeasureRun) -> None:
    assert exclusion_counts(run, "drug").rows() == [
        ("flag", "flagged", 2, 1),
        ("other", "other", 1, 0),
    ]


def test_groups_add_up_to_the_whole(run: MeasureRun) -> None:
    whole = figures(run).frame.row(0, named=True)
    for by, every in ((["sex"], "all"), (["unit"], "all"), ([], "month"), (["sex"], "week")):
        parts = figures(run, by=by, every=every).frame  # type: ignore[arg-type]
        for name in ("population", "met", "failed", "excluded", "pending", "unknown", "treated"):
            assert parts[name].sum() == whole[name]


def test_pending_is_a_work_list_with_deadlines(run: MeasureRun) -> None:
    assert run.pending().select("subject_id", "due").rows() == [(10, hour(49))]


def test_small_cells_are_hidden_and_cannot_be_computed_from_the_total(run: MeasureRun) -> None:
    assert suppressed(figures(run), below=5)["suppressed"].to_list() == [True]
    shown = suppressed(figures(run), below=1)
    assert shown["suppressed"].to_list() == [False]
    by_sex = figures(run, by=["sex"])
    # With a limit that only one of two groups breaks, the other is hidden too.
    counts = [
        min(value for value in row if value)
        for row in by_sex.frame.select("met", "failed", "excluded", "pending", "unknown").rows()
    ]
    assert counts == [1, 1]
    hidden = suppressed(by_sex, below=2)
    assert hidden["suppressed"].to_list() == [True, True]
    assert hidden["met"].to_list() == [None, None]


def test_an_unknown_stratifier_is_refused(run: MeasureRun) -> None:
    with pytest.raises(UsageError, match="no measure has the stratifier 'colour'"):
        figures(run, by=["colour"])


def test_continuous_ratio_and_composite_measures() -> None:
    people = People()
    for subject, dose in ((1, 10.0), (2, 20.0), (3, None), (4, 60.0)):
        people.admit(subject, covid=False, end=hour(24 * subject), outcome="home")
        if dose is not None:
            people.event(subject, 1, "T//dose", dose, "mg")
    dose = events("T//dose").during(stay).first().value("mg")
    observed = measure(
        "test.dose", version="1.0.0", population=stay.kind == "inpatient", observation=dose
    )
    per_day = measure(
        "test.dose-a-day",
        version="1.0.0",
        population=dose.is_known(),
        observation=dose,
        per=(stay.end - stay.start).to("d"),
    )
    parts = [
        named("high", events("T//dose").where(value("mg") >= 20).during(stay).exists()),
        named("long", (stay.end - stay.start) >= 48),
    ]
    from neva.definitions.language import Boolean, all_of

    composite = measure(
        "test.both",
        version="1.0.0",
        population=stay.kind == "inpatient",
        numerator=all_of(*[Boolean(part.of) for part in parts]),
        components=parts,
    )
    run = run_measures(people.snapshot(hour(200)), [observed, per_day, composite])
    frame = {row["measure"]: row for row in figures(run).frame.iter_rows(named=True)}
    assert frame["test.dose"]["measured"] == 3
    assert frame["test.dose"]["unknown"] == 1
    assert (frame["test.dose"]["median"], frame["test.dose"]["mean"]) == (20.0, 30.0)
    assert frame["test.dose-a-day"]["ratio"] == pytest.approx(90 / (1 + 2 + 4))
    assert frame["test.both"]["met"] == 2
    met = run.of("both")["components_met"].to_list()
    assert sorted(len(one) for one in met) == [0, 1, 2, 2]


def test_not_done_with_a_reason_changes_only_what_asks_for_it() -> None:
    """Negation: a record of something not done is no record of it done."""

    def people(status: str | None) -> People:
        made = People()
        made.admit(1, covid=False)
        if status is not None:
            made.event(1, 1, "T//drug", status=status, reason="REASON//contraindicated")
        return made

    given = measure(
        "test.given",
        version="1.0.0",
        population=stay.kind == "inpatient",
        numerator=events("T//drug").during(stay).exists(),
    )
    asks = measure(
        "test.asks",
        version="1.0.0",
        population=stay.kind == "inpatient",
        exclusions={
            "withheld": events("T//drug")
            .not_done()
            .where(row.reason == "REASON//contraindicated")
            .during(stay)
            .exists()
        },
        numerator=events("T//drug").during(stay).exists(),
    )
    found = {}
    for status in (None, "not-done", "cancelled", "planned", "done"):
        run = run_measures(people(status).snapshot(hour(5)), [given, asks])
        found[status] = run.cases["status"].to_list()
    assert found == {
        None: ["failed", "failed"],
        "not-done": ["failed", "excluded"],
        "cancelled": ["failed", "failed"],
        "planned": ["failed", "failed"],
        "done": ["met", "met"],
    }


def test_an_answer_is_final_early_only_where_the_measure_says_so() -> None:
    people = People()
    people.admit(1, covid=False)
    people.event(1, 1, "T//drug")
    drug = events("T//drug").during(stay)
    found = {}
    for early in ("met", "failed", "never"):
        for wanted in (True, False):
            one = measure(
                "test.early",
                version="1.0.0",
                population=stay.kind == "inpatient",
                clock_start=stay.start,
                due=days(1),
                numerator=drug.exists() if wanted else ~drug.exists(),
                decides_early=early,  # type: ignore[arg-type]
            )
            for at in (12, 24):
                run = run_measures(people.snapshot(hour(at)), [one])
                found[early, wanted, at] = run.cases["status"][0]
    assert found == {
        ("met", True, 12): "met",
        ("met", False, 12): "pending",
        ("failed", True, 12): "pending",
        ("failed", False, 12): "failed",
        ("never", True, 12): "pending",
        ("never", False, 12): "pending",
        ("met", True, 24): "met",
        ("met", False, 24): "failed",
        ("failed", True, 24): "met",
        ("failed", False, 24): "failed",
        ("never", True, 24): "met",
        ("never", False, 24): "failed",
    }
