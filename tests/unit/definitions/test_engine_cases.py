"""Cases in which an engine once gave a wrong answer."""

from datetime import UTC, datetime

import polars as pl
import pytest
from tests.hospitals import event, take

from neva.definitions import local_time
from neva.definitions.language import codelist, events, number, subject
from neva.definitions.local_time import moment
from neva.definitions.points import POINTS
from neva.definitions.run import answer

NOW = datetime(2020, 5, 2, tzinfo=UTC)
FOREVER = moment(local_time.FOREVER)


@pytest.mark.parametrize("engine", ["relational", "reference"])
def test_two_codelists_of_one_id_keep_their_own_codes(hospital, tmp_path, engine):
    take(hospital, tmp_path / "a.csv", [event(code="A//a"), event(code="A//b", row=2)])
    counts = {
        "a": events(codelist("list", "A//a")).count().node,
        "both": events(codelist("list", "A//a", "A//b")).count().node,
        "none": events(codelist("list", "A//c")).count().node,
    }
    snapshot = hospital.snapshot()
    (one, *_) = snapshot.events().collect()["subject_id"]
    points = pl.DataFrame([(0, one, None, NOW, FOREVER)], schema=POINTS, orient="row")
    found = answer(snapshot, counts, points=points, engine=engine).frame
    assert found.select("a", "both", "none").rows() == [(1.0, 2.0, 0.0)]


@pytest.mark.parametrize("engine", ["relational", "reference"])
def test_a_point_of_somebody_without_rows_is_answered(hospital, tmp_path, engine):
    take(hospital, tmp_path / "a.csv", [event()])
    points = pl.DataFrame([(0, 77, None, NOW, NOW)], schema=POINTS, orient="row")
    asked = {
        "count": events().count().node,
        "age": subject.age_at(events().first().time).node,
        "one": number(1).node,
    }
    found = answer(hospital.snapshot(), asked, points=points, engine=engine).frame
    assert found.select("count", "age", "one").rows() == [(0.0, None, 1.0)]
