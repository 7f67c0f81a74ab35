"""Two logs side by side: where the second differs from the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from neva.pathways.map import ActivityMap

__all__ = ["MapComparison", "compare_maps"]


@dataclass(frozen=True, eq=False)
class MapComparison:
    """What differs between two maps.

    Attributes
    ----------
    nodes : polars.DataFrame
        ``activity``; ``share_a``, ``share_b`` (0–1: of the cases of each log,
        those with the activity), ``share_difference`` (b − a).
    edges : polars.DataFrame
        ``source``, ``target``; ``share_a``, ``share_b`` (0–1: of the steps
        that leave `source` in each log), ``share_difference``; ``median_a``,
        ``median_b``, ``median_difference`` (seconds, missing where a log has no
        timed step). Largest difference of shares first.
    """

    nodes: pl.DataFrame
    edges: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return the edges."""
        return self.edges

    def to_chart(self, top: int = 20) -> dict[str, Any]:
        """Return a Vega-Lite specification: the largest differences of shares."""
        rows = self.edges.head(top).select(
            pl.concat_str("source", pl.lit(" → "), "target").alias("path"), "share_difference"
        )
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "data": {"values": rows.to_dicts()},
            "mark": "bar",
            "encoding": {
                "y": {"field": "path", "type": "nominal", "sort": None, "title": None},
                "x": {
                    "field": "share_difference",
                    "type": "quantitative",
                    "axis": {"format": "+%"},
                    "title": "difference in share of steps from the first activity (b − a)",
                },
            },
        }


def compare_maps(a: ActivityMap, b: ActivityMap) -> MapComparison:
    """Compare two maps, matched by activity names.

    Parameters
    ----------
    a, b : ActivityMap
        For instance two periods, two units, treated and not.

    Returns
    -------
    MapComparison

    Notes
    -----
    A description, not a test: differences between small logs are noise.
    """
    nodes = (
        _node_shares(a)
        .join(_node_shares(b), on="activity", how="full", coalesce=True, suffix="_b")
        .select("activity", share_a="share", share_b="share_b")
        .fill_null(0.0)
        .with_columns(share_difference=pl.col("share_b") - pl.col("share_a"))
        .sort(pl.col("share_difference").abs(), "activity", descending=[True, False])
    )
    edges = (
        _edge_shares(a)
        .join(_edge_shares(b), on=["source", "target"], how="full", coalesce=True, suffix="_b")
        .select(
            "source",
            "target",
            share_a=pl.col("share").fill_null(0.0),
            share_b=pl.col("share_b").fill_null(0.0),
            median_a="median",
            median_b="median_b",
        )
        .with_columns(
            share_difference=pl.col("share_b") - pl.col("share_a"),
            median_difference=pl.col("median_b") - pl.col("median_a"),
        )
        .sort(pl.col("share_difference").abs(), "source", "target", descending=[True, False, False])
    )
    return MapComparison(nodes, edges)


def _node_shares(of: ActivityMap) -> pl.DataFrame:
    return of.nodes.select("activity", share=pl.col("cases") / max(of.case_count, 1))


def _edge_shares(of: ActivityMap) -> pl.DataFrame:
    return of.edges.select(
        "source",
        "target",
        "median",
        share=pl.col("frequency") / pl.col("frequency").sum().over("source"),
    )
