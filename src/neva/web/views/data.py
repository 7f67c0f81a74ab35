"""Data: imports, refused rows and reasons, data quality, versions."""

from __future__ import annotations

from typing import Final

import polars as pl

from neva.events.schema import REASONS
from neva.web.pages import Asked, Column, Pages, Table, ViewModel

__all__ = ["add_to"]

_MOST: Final = 2000


def data(asked: Asked) -> ViewModel:
    """Show imports, versions and quality checks."""
    words, server = asked.words, asked.server
    snapshot = server.whole()
    batches = snapshot.batches().sort("batch", descending=True).collect()
    result, job = server.computed("checks", {}, asked.viewer)
    counts = {} if result is None else result.content["counts"]
    checks = [] if result is None else result.content["checks"]
    checks.sort(key=lambda row: row["verdict"] != "outside")
    titles = {
        "subjects": words("patients"),
        "stays": words("stays"),
        "movements": words("movements"),
        "events": words("events"),
        "units": words("units"),
        "beds": words("beds"),
        "codes": words("codes"),
        "quarantine": words("refused rows"),
    }
    verdicts = {
        "outside": words("above the threshold"),
        "within": words("within the threshold"),
        "reported": words("reported only"),
        "not applicable": words("nothing to check"),
    }
    failed = sum(row["verdict"] == "outside" for row in checks)
    return ViewModel(
        words("Data"),
        {
            "versions": len(server.hospital.versions()),
            "first": server.hospital.manifest().first,
            "last": server.hospital.manifest().last,
            "failed": failed,
            "checks": len(checks),
            "job": job,
            "may_load": asked.viewer.role in ("analyst", "administrator"),
        },
        (
            Table(
                "imports",
                words("Imports, the newest first"),
                (
                    Column("batch", words("batch"), "number"),
                    Column("imported", words("time"), "time"),
                    Column("kind", words("kind")),
                    Column("file", words("file")),
                    Column("rows_read", words("rows read"), "number"),
                    Column("rows_added", words("added"), "number"),
                    Column("rows_known", words("known"), "number"),
                    Column("rows_revised", words("revised"), "number"),
                    Column("rows_retracted", words("withdrawn"), "number"),
                    Column("rows_refused", words("refused"), "number"),
                    Column("order", words("order of equal times")),
                ),
                [
                    {**row, "_class": "warning" if row["rows_refused"] else ""}
                    for row in batches.iter_rows(named=True)
                ],
            ),
            Table(
                "tables",
                words("Rows in the tables, all revisions"),
                (Column("table", words("table")), Column("rows", words("rows"), "number")),
                [{"table": titles[name], "rows": count} for name, count in counts.items()],
            ),
            Table(
                "checks",
                words(
                    "Quality checks; thresholds are set by the hospital, not taken from a "
                    "publication"
                ),
                (
                    Column("check", words("check"), "code"),
                    Column("description", words("what")),
                    Column("numerator", words("failing rows"), "number"),
                    Column("denominator", words("of rows"), "number"),
                    Column("share", words("share"), "share", 2),
                    Column("threshold", words("threshold"), "share", 2),
                    Column("verdict", words("verdict")),
                ),
                [
                    {
                        **row,
                        "verdict": verdicts.get(row["verdict"], row["verdict"]),
                        "_class": "warning" if row["verdict"] == "outside" else "",
                    }
                    for row in checks
                ],
            ),
        ),
        facts=((words("Version"), server.version_name()),),
    )


def quarantine(asked: Asked) -> ViewModel:
    """Show refused rows by reason, and name each by file and row (no value of it)."""
    words = asked.words
    rows = asked.server.whole().quarantine().collect()
    reason = asked.query.get("reason", "")
    by_reason = rows.group_by("table", "reason").len().sort("len", descending=True)
    chosen = rows.filter(pl.col("reason") == reason) if reason else rows
    most = 100_000 if asked.query.get("table") else _MOST
    return ViewModel(
        words("Refused rows"),
        {
            "reason": reason,
            "reasons": sorted(rows["reason"].unique().to_list()),
            "count": rows.height,
        },
        (
            Table(
                "rows",
                words("Refused rows, named by file and number"),
                (
                    Column("batch", words("batch"), "number"),
                    Column("file", words("file")),
                    Column("row", words("row"), "number"),
                    Column("table", words("table")),
                    Column("field", words("field")),
                    Column("reason", words("reason"), "code"),
                    Column("meaning", words("meaning")),
                ),
                [
                    {**row, "meaning": words(REASONS.get(row["reason"], row["reason"]))}
                    for row in chosen.head(most).iter_rows(named=True)
                ],
            ),
            Table(
                "reasons",
                words("By table and reason"),
                (
                    Column("table", words("table")),
                    Column("reason", words("reason"), "code"),
                    Column("len", words("rows"), "number"),
                ),
                by_reason.to_dicts(),
            ),
        ),
    )


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/data", data, template="data.html")
    pages.add("/data/quarantine", quarantine, template="quarantine.html")
