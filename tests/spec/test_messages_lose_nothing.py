"""A hospital filled from messages alone answers as the one filled from tables."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.rule_tables import rules

from neva.census import census, of_movements
from neva.decisions.work_list import work_list
from neva.definitions.programme import load_programme, programme_names
from neva.events.hospital import create_hospital
from neva.feeds.applier import Applier
from neva.feeds.inbox import Inbox
from neva.feeds.status import feed_folder
from neva.intake.importing import import_delivery
from neva.quality import run_measures
from neva.sources.hl7v2.profile import read_profile
from neva.sources.rows import Delivery, Rows, conform
from neva.synthesis import Plan, prepare, synthesise, truth
from neva.synthesis.generation import Generation
from neva.synthesis.messages import Disorder, Traffic

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(stays=300, seed=11, operations=True)
NAMES = [name for name in programme_names() if load_programme(name).measures]
RULES = tuple(rules().values())


@pytest.fixture(scope="module")
def from_tables(tmp_path_factory):
    made = create_hospital(tmp_path_factory.mktemp("tables") / "h", zone=PLAN.zone, now=NOW)
    synthesise(made, PLAN, now=NOW, after_cut=True)
    return made


def known_events(rows):
    """Events whose end was recorded when it came, not when they began.

    The tables hold the end of what lasts from its beginning on, and rules that are asked
    about an earlier time can see that it is still to come.
    """
    rows = rows.with_row_index("at").with_columns(
        row_id=pl.coalesce("row_id", pl.concat_str(pl.lit("at-"), "at"))
    )
    ahead = (pl.col("end_time") > pl.col("recorded")) & (
        pl.col("status").fill_null("done") != "planned"
    )
    ended = rows.filter(ahead & (pl.col("retracted").is_null()
                                 | (pl.col("retracted") > pl.col("end_time"))))  # fmt: skip
    return pl.concat(
        [
            rows.with_columns(
                end_time=pl.when(ahead.fill_null(value=False).not_()).then("end_time")
            ),
            ended.with_columns(recorded="end_time"),
        ]
    ).drop("at")


@pytest.fixture(scope="module")
def from_known_tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    made = create_hospital(folder / "h", zone=PLAN.zone, now=NOW)
    tables = {}
    for after in (False, True):
        for rows in Generation.of(PLAN).rows(after=after):
            tables.setdefault(rows.table, []).append(conform(rows.table, rows.frame))
    frames = {table: pl.concat(parts) for table, parts in tables.items()}
    frames["events"] = known_events(frames["events"])
    file = folder / "plan.json"
    file.write_text(PLAN.to_json())
    delivery = Delivery(
        name="synthetic", assigner="synthetic", kind="synthetic", files=(file,), order="column",
        rows=(Rows(table, frame) for table, frame in frames.items()),
    )  # fmt: skip
    import_delivery(made, delivery, label="tables", now=NOW)
    return made


#: As real interfaces are: late by up to an hour, each message twice, a tenth of the
#: results corrected, cancelled movements, temporary record numbers.
REAL = Disorder(duplicates=1.0, delayed=1.0, wrong_first=0.1, cancelled=0.05)


@pytest.fixture(scope="module", params=[None, REAL], ids=["in order", "disordered"])
def from_messages(tmp_path_factory, request):
    """The same hospital, sent as messages through the inbox of a feed."""
    made = create_hospital(tmp_path_factory.mktemp("messages") / "h", zone=PLAN.zone, now=NOW)
    prepare(made, PLAN, now=NOW)
    profile = read_profile(files("neva.synthesis") / "synthetic-profile.yaml")
    inbox = Inbox(feed_folder(made.path, profile.name))
    messages = [(NOW, "", one.content) for one in Traffic.of(PLAN, request.param)]
    inbox.take(messages)
    inbox.close()
    applier = Applier(made, profile, now=lambda: NOW)
    outcomes = Counter()
    # Large batches and small ones, so that what belongs together is parted.
    sizes = itertools.cycle((5000, 700, 3000, 1, 50))
    while (applied := applier.apply_next(most=next(sizes))).messages:
        outcomes.update(applied.outcomes)
        assert applied.summary.refusals == {}
    assert set(outcomes) <= {"applied", "ignored", "duplicate"}
    assert sum(outcomes.values()) == len(messages)
    return made


def local_ids(hospital):
    return (
        hospital.identities()
        .filter(pl.col("kind") == "stay")
        .select(stay="local_id", stay_id="pseudonym")
        .collect()
    )


COLUMNS = ["stay", "time", "end_time", "code", "value", "value_unit", "text", "status", "reason",
           "rank", "precision", "sequence"]  # fmt: skip


def known(hospital, at):
    """Events as known at a time, under local ids of stays."""
    rows = hospital.snapshot(as_of=at).events().collect()
    named = rows.join(local_ids(hospital), on="stay_id", how="left")
    return named.select(COLUMNS).sort(COLUMNS, nulls_last=True)


def content(hospital, table):
    """What a table says in the end, under local ids."""
    pairs = hospital.identities().select("pseudonym", "local_id").collect()
    names_of = dict(pairs.iter_rows())
    rows = getattr(hospital.snapshot(), table)().collect()
    rows = rows.with_columns(
        pl.col(name).replace_strict(names_of, return_dtype=pl.String)
        for name in ("stay_id", "subject_id")
        if name in rows.columns
    )
    bookkeeping = {"recorded", "recorded_assumed", "retracted", "batch", "movement_id"}
    names = [name for name in rows.columns if name not in bookkeeping]
    return rows.select(sorted(names)).sort(sorted(names), nulls_last=True)


def unsettled(from_tables, from_messages, at):
    """Stays with a wrong result that is not corrected yet, or what is not withdrawn yet.

    Few, and none of them in the end (see the last test).
    """
    ours, theirs = (known(one, at) for one in (from_tables, from_messages))
    apart = [a.join(b, on=COLUMNS, how="anti", nulls_equal=True)["stay"]
             for a, b in ((ours, theirs), (theirs, ours))]  # fmt: skip
    found = {*pl.concat(apart)}
    assert len(found) < 0.1 * PLAN.stays
    return found


@pytest.fixture(scope="module")
def runs(from_messages):
    snapshot = from_messages.snapshot(as_of=PLAN.cut)
    return {name: run_measures(snapshot, load_programme(name)) for name in NAMES}


@pytest.mark.parametrize(
    "measure", [one.id for name in NAMES for one in load_programme(name).measures]
)
def test_measures_equal_the_planted_truth(from_tables, from_messages, runs, measure):
    planted = (
        truth(from_tables.path).filter(pl.col("measure") == measure).drop("stay_id", "measure")
    )
    found = (
        local_ids(from_messages)
        .join(runs[measure.partition(".")[0]].of(measure), on="stay_id", how="left")
        .with_columns(pl.col("status").fill_null("outside"))
    )
    both = planted.join(found.select("stay", "status", "due", "value"), on="stay", how="left",
                        suffix="_found")  # fmt: skip
    assert both.height == PLAN.stays
    both = both.filter(~pl.col("stay").is_in(list(unsettled(from_tables, from_messages, PLAN.cut))))
    assert both.filter(pl.col("status") != pl.col("status_found")).rows() == []
    clocks = both.filter(pl.col("due").is_not_null())
    assert clocks.filter(pl.col("due").ne_missing(pl.col("due_found"))).rows() == []
    measured = both.filter(pl.col("status") == "measured")
    assert ((measured["value"] - measured["value_found"]).abs() < 1e-9).all()


def is_disordered(hospital):
    outcomes = hospital.snapshot().stored("messages").select("outcome").collect()["outcome"]
    return "duplicate" in outcomes.to_list()


def tasks(hospital, at, *, since=True):
    """What is to be done; since when, too, but where a wrong result began it earlier."""
    snapshot = hospital.snapshot(as_of=at)
    stay = dict(local_ids(hospital).select("stay_id", "stay").iter_rows())
    return {
        (
            one.rule,
            stay[one.stay_id],
            one.unit,
            one.severity,
            one.since if since else None,
            one.missing,
        )
        for one in work_list(snapshot, RULES, at=at).tasks
    }


def test_the_work_list_at_the_data_cut_is_that_of_the_tables(from_tables, from_messages):
    left_out = unsettled(from_tables, from_messages, PLAN.cut)
    since = not is_disordered(from_messages)
    expected = tasks(from_tables, PLAN.cut, since=since)
    expected = {one for one in expected if one[1] not in left_out}
    assert len(expected) > 5
    found = tasks(from_messages, PLAN.cut, since=since)
    assert {one for one in found if one[1] not in left_out} == expected


def test_the_work_list_at_any_time_is_that_of_tables_without_foreknowledge(
    from_known_tables, from_messages
):
    listed = 0
    for days in (1, 2, 3, 4, 6, 9, 12):
        at = PLAN.cut - timedelta(days=days)
        left_out = unsettled(from_known_tables, from_messages, at)
        since = not is_disordered(from_messages)
        expected = tasks(from_known_tables, at, since=since)
        expected = {one for one in expected if one[1] not in left_out}
        found = tasks(from_messages, at, since=since)
        assert {one for one in found if one[1] not in left_out} == expected
        listed += len(expected)
    assert listed > 30


def test_the_census_is_the_same(from_tables, from_messages):
    frames = [
        census(of_movements(hospital.snapshot()), every="1h").to_frame()
        for hospital in (from_tables, from_messages)
    ]
    assert frames[0].height > 1_000
    assert_frame_equal(*frames)


def test_what_was_known_at_any_time_of_events_is_the_same(from_tables, from_messages):
    for days in (1, 4, 9, 14):
        at = PLAN.cut - timedelta(days=days)
        ours, theirs = (known(one, at) for one in (from_tables, from_messages))
        assert ours.height > 1_000
        settled = ~pl.col("stay").is_in(list(unsettled(from_tables, from_messages, at)))
        assert_frame_equal(ours.filter(settled), theirs.filter(settled))


def test_all_is_the_same_in_the_end(from_tables, from_messages):
    ours, theirs = (known(one, None) for one in (from_tables, from_messages))
    assert_frame_equal(ours, theirs)
    for table in ("stays", "movements", "subjects"):
        frames = [content(one, table) for one in (from_tables, from_messages)]
        assert frames[0].height >= 250
        assert_frame_equal(*frames)
