"""The census against counting by hand, and Little's law."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.census import Intervals, census, length_of_stay
from neva.census.intervals import _united
from neva.census.length_of_stay import kaplan_meier
from neva.events.schema import TIME

ZONE = "Europe/Berlin"
# Around the spring change of the clocks, so that a day of 23 hours is among them.
BEGIN = datetime(2021, 3, 26, tzinfo=UTC)
NOW = BEGIN + timedelta(days=5)

moments = st.integers(0, 5 * 24 * 4).map(lambda k: BEGIN + timedelta(minutes=15 * k))


@st.composite
def spells(draw):
    """Rows of times in places: some open, some overlapping, many ties."""
    rows = []
    for _ in range(draw(st.integers(0, 25))):
        start, end = sorted((draw(moments), draw(moments)))
        is_open = draw(st.booleans())
        rows.append(
            {
                "subject_id": draw(st.integers(1, 6)),
                "place": draw(st.sampled_from("AB")),
                "start": start,
                "end": NOW if is_open else end,
                "open": is_open,
                "lost": False,
            }
        )
    return pl.DataFrame(rows, schema=spells_schema())


def spells_schema():
    return {
        "subject_id": pl.Int64,
        "place": pl.String,
        "start": TIME,
        "end": TIME,
        "open": pl.Boolean,
        "lost": pl.Boolean,
    }


def intervals(rows: pl.DataFrame, *, touching: bool = True) -> Intervals:
    return Intervals(
        frame=_united(rows, touching=touching),
        now=NOW,
        zone=ZONE,
        identity="test",
        what="patients by unit",
        precision="instant",
    )


@given(spells(), st.sampled_from(["1h", "1d"]))
def test_the_census_equals_counting_by_hand(rows, every):
    """Who is in a place is a set of subjects, whatever was written twice."""
    counted = census(intervals(rows), every=every).frame
    for row in counted.iter_rows(named=True):
        there = {
            spell["subject_id"]
            for spell in rows.iter_rows(named=True)
            if spell["place"] == row["place"] and spell["start"] <= row["time"] < spell["end"]
        }
        assert row["present"] == len(there)


@given(spells(), st.sampled_from(["1h", "1d"]))
def test_the_rows_add_up_though_somebody_comes_at_midnight(rows, every):
    """Who came at exactly 00:00 stood in `present` and in `arrivals`."""
    spent = intervals(rows.with_columns(open=pl.lit(value=False)))
    counted = census(spent, every=every).frame
    for _, place in counted.group_by("place", maintain_order=True):
        after = place["before"] + place["arrivals"] - place["departures"]
        assert place["before"][0] == 0
        assert after[:-1].equals(place["before"][1:], check_names=False)


@given(spells(), st.sampled_from(["1h", "1d"]))
def test_littles_law_holds_exactly(rows, every):
    """All patient-time of the periods is the sum of all lengths of stay."""
    spent = intervals(rows)
    counted = census(spent, every=every).frame
    by_census = counted["bed_days"].sum()
    by_stays = (spent.frame["end"] - spent.frame["start"]).dt.total_microseconds().sum() / 86_400e6
    assert by_census == pytest.approx(by_stays, abs=1e-9)


@given(spells(), st.sampled_from(["1h", "1d"]))
def test_arrivals_less_departures_are_who_is_there(rows, every):
    spent = intervals(rows)
    for place in spent.frame["place"].unique():
        counted = census(spent, every=every).frame.filter(pl.col("place") == place)
        inside = spent.frame.filter(pl.col("place") == place)
        assert counted["arrivals"].sum() == inside.height
        assert counted["departures"].sum() == inside.filter(~pl.col("open")).height


@given(spells())
def test_the_order_of_rows_and_bed_changes_do_not_matter(rows):
    """A stay cut into touching pieces is one stay."""
    middle = rows["start"] + (rows["end"] - rows["start"]) / 2
    first = rows.with_columns(end=middle.cast(TIME), open=pl.lit(value=False))
    second = rows.with_columns(start=middle.cast(TIME))
    cut = pl.concat([second, first]).sample(fraction=1, shuffle=True, seed=1)
    whole = census(intervals(rows), every="1h").frame
    pieces = census(intervals(cut), every="1h").frame
    assert whole.equals(pieces)


def test_who_is_recorded_twice_until_now_is_still_there_in_any_order():
    """One row says that it ended just now, the other is open: nobody saw them leave."""
    row = {"subject_id": 1, "place": "A", "start": BEGIN, "end": NOW, "lost": False}
    both = [row | {"open": is_open} for is_open in (False, True)]
    for rows in (both, both[::-1]):
        frame = pl.DataFrame(rows, schema=spells_schema())
        assert _united(frame, touching=True)["open"].to_list() == [True]


def test_a_departure_counts_before_the_end_of_follow_up_in_any_order():
    row = {"subject_id": 1, "place": "A", "start": BEGIN, "end": NOW, "open": False}
    both = [row | {"lost": is_lost} for is_lost in (False, True)]
    for rows in (both, both[::-1]):
        frame = pl.DataFrame(rows, schema=spells_schema())
        assert _united(frame, touching=True)["lost"].to_list() == [False]


@given(spells())
def test_days_add_up_to_what_hours_add_up_to(rows):
    spent = intervals(rows)
    by_hour = census(spent, every="1h").frame
    by_day = census(spent, every="1d").frame
    columns = ["arrivals", "departures", "bed_days"]
    assert by_hour.select(pl.col(columns).sum()).row(0) == pytest.approx(
        by_day.select(pl.col(columns).sum()).row(0)
    )


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=30))
def test_kaplan_meier_equals_its_definition(lives):
    """S(t) is the product over event times of (1 - ended / at risk), by hand."""
    durations = [float(duration) for duration, _ in lives]
    ended = [was for _, was in lives]
    series = pl.DataFrame({"d": durations, "e": ended})
    times, shares = kaplan_meier(series["d"].to_numpy(), series["e"].to_numpy())
    survival = 1.0
    expected = []
    for time in sorted({d for d, e in lives if e}):
        at_risk = sum(d >= time for d in durations)
        ends = sum(d == time and e for d, e in lives)
        survival *= 1 - ends / at_risk
        expected.append((time, survival))
    assert times.tolist() == [time for time, _ in expected]
    assert shares.tolist() == pytest.approx([share for _, share in expected])


def test_kaplan_meier_equals_r():
    """R: summary(survfit(Surv(time, status) ~ 1, data = aml[aml$x == "Maintained", ])).

    The leukaemia data of R's package survival (Miller 1981), maintained arm.
    """
    durations = pl.Series([9.0, 13, 13, 18, 23, 28, 31, 34, 45, 48, 161])
    status = pl.Series([1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0]).cast(pl.Boolean)
    times, shares = kaplan_meier(durations.to_numpy(), status.to_numpy())
    assert times.tolist() == [9, 13, 18, 23, 31, 34, 48]
    assert shares.tolist() == pytest.approx(
        [0.909, 0.818, 0.716, 0.614, 0.491, 0.368, 0.184], abs=5e-4
    )


def test_open_stays_lengthen_the_estimate_but_not_the_mean():
    rows = pl.DataFrame(
        {
            "subject_id": [1, 2, 3, 4],
            "place": ["A"] * 4,
            "start": [BEGIN] * 4,
            "end": [BEGIN + timedelta(days=d) for d in (1, 2, 4, 5)],
            "open": [False, False, True, True],
            "lost": [False] * 4,
        },
        schema_overrides={"start": TIME, "end": TIME},
    )
    row = length_of_stay(intervals(rows)).frame.row(0, named=True)
    assert (row["intervals"], row["ended"], row["open"], row["mean_days"]) == (4, 2, 2, 1.5)
    assert (row["median_days"], row["p90_days"]) == (2.0, None)
