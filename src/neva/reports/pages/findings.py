"""The few sentences that matter, made from the numbers."""

from __future__ import annotations

from typing import Any

import polars as pl

from neva.census import Census, LengthOfStay
from neva.events.checks import Checked
from neva.events.snapshot import Snapshot
from neva.languages.english import duration, number, share
from neva.pathways import ActivityLog, ActivityMap, Variants

__all__ = ["of"]


def of(
    snapshot: Snapshot,
    log: ActivityLog,
    found_map: ActivityMap,
    variants: Variants,
    counted: Census | None,
    stays: LengthOfStay,
    checks: Checked,
) -> tuple[str, ...]:
    """Say what stands out; each sentence carries its denominator."""
    sentences = [
        _loaded(snapshot, log),
        _outcomes(snapshot),
        _common_path(variants, log),
        _slowest(found_map),
        _peak(counted),
        _length_of_stay_sentence(stays),
        _quality(checks),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _loaded(snapshot: Snapshot, log: ActivityLog) -> str:
    refused = snapshot.quarantine().select(pl.len()).collect().item()
    tables = {
        name: getattr(snapshot, name)().select("subject_id")
        for name in ("events", "stays", "movements")
    }
    counts = {name: rows.select(pl.len()).collect().item() for name, rows in tables.items()}
    patients = pl.concat(tables.values()).select(pl.col("subject_id").n_unique()).collect().item()
    parts = [f"{number(count)} {name}" for name, count in counts.items() if count]
    sentence = f"{', '.join(parts)} of {number(patients)} patients were loaded"
    sentence += f", {number(refused)} rows refused." if refused else "; no row was refused."
    if log.ties:
        sentence += (
            f" For {number(log.ties)} events on the map the source gives no order among events "
            "of one time; they are ordered by code and value."
        )
    return sentence


def _outcomes(snapshot: Snapshot) -> str:
    stays = snapshot.stays().select("subject_id", "end", "outcome").collect()
    if not stays.height:
        return ""
    open_ = stays["end"].null_count()
    people = stays["subject_id"].n_unique()
    sentence = f"{number(stays.height)} stays of {number(people)} patients"
    outcomes = (
        stays.drop_nulls("outcome")
        .group_by("outcome")
        .len()
        .sort("len", "outcome", descending=True)
    )
    parts = [
        f"{number(count)} ({share(count / stays.height)}) {outcome}"
        for outcome, count in outcomes.head(3).iter_rows()
    ]
    if open_:
        parts.append(f"{number(open_)} ({share(open_ / stays.height)}) still open when last seen")
    return f"{sentence}: {', '.join(parts)}." if parts else f"{sentence}."


def _common_path(variants: Variants, log: ActivityLog) -> str:
    if not log.case_count:
        return ""
    what = "stays" if log.case_kind == "stay" else "patients"
    if len(variants.count) == log.case_count and log.case_count > 1:
        return (
            f"All {number(log.case_count)} {what} have a path of their own: a list of paths says "
            "little here."
        )
    first = variants.to_frame(top=1).row(0, named=True)
    steps = first["pathway"]
    path = " → ".join(steps if len(steps) <= 6 else [*steps[:5], "…", steps[-1]])
    return (
        f"The most frequent of {number(len(variants.count))} paths is {path}: "
        f"{number(first['count'])} of {number(log.case_count)} {what} ({share(first['share'])}), "
        f"median {duration(first['median_seconds'])}."
    )


def _slowest(found_map: ActivityMap) -> str:
    edges = found_map.edges.filter(pl.col("timed") >= max(0.05 * found_map.case_count, 5))
    if not edges.height:
        return ""
    row = edges.sort(["median", "frequency"], descending=True, nulls_last=True).row(0, named=True)
    if not row["median"]:
        return ""
    return (
        f"The slowest frequent step is {row['source']} → {row['target']}: median "
        f"{duration(row['median'])}, one in ten longer than {duration(row['p90'])} "
        f"({number(row['timed'])} steps)."
    )


def _peak(counted: Census | None) -> str:
    if counted is None:
        return (
            "A census cannot be taken: hardly two patients are ever there at once, as in data "
            "whose dates were shifted patient by patient."
        )
    frame = counted.frame.filter("complete")
    if not frame.height:
        return ""
    parts = []
    busiest = (
        frame.group_by("place")
        .agg(pl.col("present").max())
        .sort(["present", "place"], descending=[True, False])
    )
    for place in busiest["place"].head(3):
        inside = frame.filter(pl.col("place") == place)
        top: dict[str, Any] = inside.sort(["present", "time"], descending=[True, False]).row(
            0, named=True
        )
        day = (
            pl.Series([top["time"]]).dt.convert_time_zone(counted.zone).dt.to_string("%-d %B %Y")[0]
        )
        parts.append(f"{number(top['present'])} in {place} on {day}")
    sentence = f"Most patients present at the start of a day: {'; '.join(parts)}."
    if not counted.frame["complete"].all():
        first = counted.frame.filter(~pl.col("complete"))["time"].min()
        day = pl.Series([first]).dt.convert_time_zone(counted.zone).dt.to_string("%-d %B %Y")[0]
        sentence += f" From {day} on follow-up ends, and the count says nothing (greyed)."
    return sentence


def _length_of_stay_sentence(stays: LengthOfStay) -> str:
    parts = [
        f"{row['place']} {number(row['median_days'], digits=1)} days "
        f"({number(row['intervals'])} periods, {number(row['open'])} still open)"
        for row in stays.frame.sort(["intervals", "place"], descending=[True, False])
        .head(3)
        .iter_rows(named=True)
        if row["median_days"] is not None
    ]
    return f"Median time spent, open ones included: {'; '.join(parts)}." if parts else ""


def _quality(checks: Checked) -> str:
    summary = checks.summary()
    failed = sum(part["failed"] for part in summary)
    judged = sum(part["passed"] + part["failed"] for part in summary)
    return (
        f"Data quality: {number(failed)} of {number(judged)} checks are outside their thresholds."
        if failed
        else f"Data quality: all {number(judged)} checks are within their thresholds."
    )
