"""Which findings become cards: the loop over columns against one decision at a time."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from neva.decisions.suppression import is_quiet, shown

START = datetime(2021, 3, 27, 20, tzinfo=UTC)

findings = st.lists(
    st.tuples(
        st.sampled_from([1, 2]),  # subject
        st.sampled_from([None, 10, 20]),  # stay
        st.tuples(st.integers(0, 16), st.integers(-1, 1)),  # half hours, and microseconds
        st.sampled_from([None, 1.0, 2.0, 2.5, 7.0]),  # severity
    ),
    max_size=25,
)


@given(findings, st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 24.0]))
def test_shown_is_what_is_quiet_says_one_by_one(drawn, quiet_hours):
    rows = sorted(drawn, key=lambda row: (row[1] or -1, row[0], row[2]))
    frame = pl.DataFrame(
        [
            (one, stay, START + timedelta(minutes=30 * at[0], microseconds=at[1]), how)
            for one, stay, at, how in rows
        ],
        schema={
            "subject_id": pl.Int64,
            "stay_id": pl.Int64,
            "now": pl.Datetime("us", "UTC"),
            "severity": pl.Float64,
        },
        orient="row",
    )
    last: dict = {}
    expected = []
    for subject, stay, now, severity in frame.iter_rows():
        before, worst = last.get((subject, stay), (None, None))
        how = 1.0 if severity is None else severity
        quiet = is_quiet(now, how, last=before, last_severity=worst, quiet_hours=quiet_hours)
        if not quiet:
            last[subject, stay] = (now, how)
        expected.append(not quiet)
    assert shown(frame, quiet_hours).tolist() == expected


def test_exactly_at_the_end_of_the_quiet_hours_a_card_is_shown_again():
    common = {"last": START, "last_severity": 7.0, "quiet_hours": 4.0}
    just_before = START + timedelta(hours=4) - timedelta(microseconds=1)
    assert is_quiet(just_before, 7.0, **common)
    assert not is_quiet(START + timedelta(hours=4), 7.0, **common)
    assert not is_quiet(just_before, 7.5, **common)
    assert is_quiet(START, 6.0, **common)
    assert not is_quiet(START, 7.0, **{**common, "quiet_hours": 0.0})


def test_the_loop_over_columns_ends_the_quiet_hours_to_the_microsecond():
    times = [START, START + timedelta(hours=4) - timedelta(microseconds=1)]
    for later, again in ((times, [True, False]), ([START, START + timedelta(hours=4)], [True] * 2)):
        frame = pl.DataFrame({"subject_id": 1, "stay_id": 1, "now": later, "severity": 7.0})
        assert shown(frame, 4.0).tolist() == again


def test_no_findings_give_no_cards():
    empty = pl.DataFrame(
        schema={
            "subject_id": pl.Int64,
            "stay_id": pl.Int64,
            "now": pl.Datetime("us", "UTC"),
            "severity": pl.Float64,
        }
    )
    assert shown(empty, 4.0).tolist() == []
