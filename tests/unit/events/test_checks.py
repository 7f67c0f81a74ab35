"""Every check finds what it says it finds: so many failing rows of so many."""

from datetime import UTC, date, datetime, timedelta

import pytest
from tests.hospitals import event, take

from neva.errors import BadInputError, NotFoundError
from neva.events import checks
from neva.events.check_catalogue import CATALOGUE
from neva.events.checks import check_hospital, read_thresholds


def day(number, hour=8):
    return datetime(2020, 5, number, hour, tzinfo=UTC)


def ev(**columns):
    return event(stay="s1", recorded=day(1), time=day(1), **{"row": 1} | columns)


def at(when, **columns):
    return event(**{"time": when, "recorded": when} | columns)


def stay(name="s1", subject="1", **columns):
    return {"stay": name, "subject": subject, "start": day(1), "end": day(3)} | columns


def move(**columns):
    return {"stay": "s1", "subject": "1", "start": day(1), "end": day(2), "unit": "W"} | columns


def person(subject="1", **columns):
    return {"subject": subject} | columns


# check id: (what is imported, failing rows, rows looked at). Times are UTC, the
# hospital is in Moscow: 21:00 UTC is midnight there.
CASES = {
    "refused-rows": ({"events": [at(day(1)), at(day(2)), at(day(3), code="")]}, 1, 3),
    "code-form": ({"events": [at(day(1)), at(day(2), code="pulse"), at(day(3), code="T//")]}, 2, 3),
    "code-described": (
        {
            "events": [at(day(1)), at(day(2), code="T//b")],
            "codes": [{"code": "T//b", "description": "b"}],
        },
        1,
        2,
    ),
    "one-unit-per-code": (
        {"events": [at(day(k), value=1.0, value_unit=u) for k, u in enumerate("ggs", 1)]},
        1,
        3,
    ),
    "unit-understood": (
        {"events": [at(day(k), value=1.0, value_unit=u) for k, u in enumerate(["g", "ell"], 1)]},
        1,
        2,
    ),
    "clock-changes": (
        {
            "events": [at(day(1)), at(day(2)), at(day(3))],
            "warnings": [
                {"file": "f", "row": 1, "table": "events", "field": n, "reason": "time-repeated"}
                for n in ("time", "end_time")
            ],
        },
        1,
        3,
    ),
    "event-stay-exists": (
        {"events": [at(day(1), stay="s1"), at(day(2), stay="x")], "stays": [stay()]},
        1,
        2,
    ),
    "movement-stay-exists": ({"movements": [move(), move(stay="x")], "stays": [stay()]}, 1, 2),
    "event-stay-subject": (
        {
            "events": [at(day(1), stay="s1"), at(day(2), stay="s1", subject="2")],
            "stays": [stay()],
        },
        1,
        2,
    ),
    "event-subject-exists": (
        {"events": [at(day(1)), at(day(2), subject="2")], "subjects": [person()]},
        1,
        2,
    ),
    "movement-unit-exists": (
        {"movements": [move(), move(unit="X"), move(unit=None)], "units": [{"unit": "W"}]},
        1,
        2,
    ),
    "subject-sex": (
        {"subjects": [person(sex="male"), person("2", sex="unknown"), person("3")]},
        2,
        3,
    ),
    "subject-birth-date": ({"subjects": [person(birth_date=date(1950, 1, 1)), person("2")]}, 1, 2),
    "stay-outcome": (
        {"stays": [stay(outcome="home"), stay("s2"), stay("s3", end=None)]},
        1,
        2,
    ),
    "stay-end": (
        {
            "stays": [stay(end=day(3)), stay("s2", end=day(3)), stay("s3", end=None)],
            "events": [
                at(day(3), stay="s1", code="NEVA//END-UNKNOWN"),
                # The end was told since.
                at(day(2), stay="s2", code="NEVA//END-UNKNOWN"),
            ],
        },
        1,
        3,
    ),
    "stay-kind": ({"stays": [stay(kind="day"), stay("s2")]}, 1, 2),
    "stay-events": ({"events": [at(day(1), stay="s1")], "stays": [stay(), stay("s2")]}, 1, 2),
    "movement-unit": ({"movements": [move(), move(unit=None)]}, 1, 2),
    "value-unit": (
        {"events": [at(day(1), value=1.0, value_unit="g"), at(day(2), value=1.0), at(day(3))]},
        1,
        2,
    ),
    "time-of-day": ({"events": [at(day(1)), at(day(2), precision="day")]}, 1, 2),
    "recorded": ({"events": [at(day(1)), at(day(2), recorded=None)]}, 1, 2),
    "order": (
        {
            "events": [
                at(day(1)),
                at(day(1), code="T//b"),
                at(day(2)),
                at(day(3), sequence=1),
                at(day(3), sequence=2),
            ]
        },
        2,
        5,
    ),
    "duplicate-events": ({"events": [at(day(1)), at(day(1)), at(day(1)), at(day(2))]}, 2, 4),
    "before-birth": (
        {"events": [at(day(1)), at(day(3))], "subjects": [person(birth_date=date(2020, 5, 2))]},
        1,
        2,
    ),
    "after-death": (
        {"events": [at(day(1)), at(day(3)), at(day(4))], "subjects": [person(death=day(2))]},
        1,
        3,
    ),
    "known-before-happened": (
        {"events": [at(day(2), recorded=day(1)), at(day(2)), at(day(2), recorded=None)]},
        1,
        2,
    ),
    "within-stay": (
        {
            "events": [at(day(d, h), stay="s1") for d, h in [(1, 7), (1, 8), (3, 8), (3, 9)]],
            "stays": [stay()],
        },
        2,
        4,
    ),
    "movement-within-stay": (
        {
            "movements": [
                move(),
                move(start=day(2), end=day(3), unit="X"),
                move(start=day(2), end=day(4), unit="Y"),
                move(start=day(1, 7), unit="Z"),
            ],
            "stays": [stay()],
        },
        2,
        4,
    ),
    "overlapping-stays": (
        {
            "stays": [
                stay(kind="inpatient"),
                stay("s2", start=day(2), kind="inpatient"),
                stay("s3", start=day(3), end=day(4), kind="inpatient"),
                stay("s4", start=day(2), kind="day"),
            ]
        },
        1,
        3,
    ),
    "overlapping-movements": (
        {
            "movements": [
                move(),
                move(start=day(1, 9), end=day(2, 23), unit="X"),
                move(start=day(3), end=day(4), unit="Y"),
            ]
        },
        1,
        3,
    ),
    "long-stays": (
        {"stays": [stay(end=day(1) + timedelta(days=366)), stay("s2")]},
        1,
        2,
    ),
    "zero-length-stays": (
        {"stays": [stay(end=day(1), kind="inpatient"), stay("s2", kind="inpatient")]},
        1,
        2,
    ),
    "midnight": (
        {"events": [at(day(1, 21)), at(day(2)), at(day(3, 21), precision="day")]},
        1,
        2,
    ),
    "percentages": (
        {"events": [at(day(1), value=v, value_unit="%") for v in (-1.0, 0.0, 101.0)]},
        2,
        3,
    ),
    "negative-amounts": (
        {"events": [at(day(k), value=v, value_unit="mg/L") for k, v in [(1, -1.0), (2, 0.0)]]},
        1,
        2,
    ),
}  # fmt: skip


def imported(hospital, folder, tables):
    tables = dict(tables)
    take(hospital, folder / "a", tables.pop("events", ()), **tables)
    return hospital.snapshot()


@pytest.mark.parametrize("name", [check.id for check in CATALOGUE])
def test_a_check_counts_the_failing_rows_among_those_it_looks_at(hospital, tmp_path, name):
    tables, failing, of = CASES[name]
    frame = check_hospital(imported(hospital, tmp_path, tables)).to_frame()
    found = frame.filter(check=name).select("numerator", "denominator").row(0)
    assert found == (failing, of)


def test_an_empty_hospital_has_nothing_to_look_at(hospital):
    judged = check_hospital(hospital.snapshot()).judged(read_thresholds())
    assert set(judged.to_frame()["verdict"]) == {"not applicable"}


def test_every_check_has_a_shipped_threshold_and_no_other_has():
    assert set(read_thresholds()) == {check.id for check in CATALOGUE}


def written(folder, text):
    path = folder / "thresholds.yaml"
    path.write_text(text)
    return path


def test_a_hospitals_own_thresholds_come_before_the_shipped_ones(hospital, tmp_path):
    measured = check_hospital(imported(hospital, tmp_path, CASES["recorded"][0]))

    def verdict(thresholds):
        frame = measured.judged(thresholds).to_frame()
        return frame.filter(check="recorded").select("verdict", "threshold", "share").row(0)

    assert verdict(read_thresholds()) == ("outside", 0.05, 0.5)
    at_the_limit = read_thresholds(written(tmp_path, "recorded: 0.5\n"))
    assert verdict(at_the_limit) == ("within", 0.5, 0.5)
    only_reported = read_thresholds(written(tmp_path, "recorded: null\n"))
    assert verdict(only_reported) == ("reported", None, 0.5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recordet: 0.1\n", "no such check; found 'recordet'"),
        ("recorded: 5\n", "recorded: not a share"),
        ("recorded: true\n", "recorded: not a share"),
        ("recorded: .nan\n", "recorded: not a share"),
        ("recorded: much\n", "recorded: not a share"),
        ("- recorded\n", "no thresholds"),
        ("recorded: [\n", "not YAML"),
    ],
)
def test_a_wrong_threshold_file_is_told(tmp_path, text, told):
    with pytest.raises(BadInputError, match=told):
        read_thresholds(written(tmp_path, text))


def test_an_absent_threshold_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_thresholds(tmp_path / "none.yaml")


def test_judging_again_does_not_measure_again(hospital, tmp_path, monkeypatch):
    snapshot = imported(hospital, tmp_path, CASES["recorded"][0])
    first = check_hospital(snapshot)

    def measured(*_):
        raise AssertionError

    monkeypatch.setattr(checks, "_counted", measured)
    again = check_hospital(hospital.snapshot())
    assert again.to_frame().equals(first.to_frame())
    assert again.judged({"recorded": 1.0}).summary() != first.judged({"recorded": 0.0}).summary()


def test_new_data_and_a_measurement_that_was_cut_off_are_measured(hospital, tmp_path):
    snapshot = imported(hospital, tmp_path, CASES["recorded"][0])
    whole = check_hospital(snapshot).to_frame()
    (kept,) = (hospital.path / "cache" / "checks").glob("*.json")
    kept.write_text(kept.read_text()[:100])
    assert check_hospital(snapshot).to_frame().equals(whole)
    take(hospital, tmp_path / "b", [at(day(9))])
    later = check_hospital(hospital.snapshot()).to_frame()
    assert later.filter(check="recorded").select("numerator", "denominator").row(0) == (1, 3)


def test_a_changed_check_is_measured_anew(hospital, tmp_path, monkeypatch):
    snapshot = imported(hospital, tmp_path, CASES["recorded"][0])
    check_hospital(snapshot)
    changed = CATALOGUE[0].__class__("recorded", "completeness", "other", CATALOGUE[0].rows)
    catalogue = [changed if check.id == "recorded" else check for check in CATALOGUE]
    monkeypatch.setattr(checks, "CATALOGUE", catalogue)
    frame = check_hospital(snapshot).to_frame()
    assert frame.filter(check="recorded")["description"].item() == "other"
