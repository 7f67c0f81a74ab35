"""Landmarks: fixed times since admission at which a model predicts."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from neva.definitions.points import POINTS, EachStay
from neva.definitions.run import points_of
from neva.errors import UsageError
from neva.events.snapshot import Snapshot

__all__ = ["Landmark", "landmark_points"]


@dataclass(frozen=True)
class Landmark:
    """Times since admission, among those still in hospital.

    Attributes
    ----------
    name : str
        As a user writes it.
    title : str
        In words.
    hours : tuple of float
        After the start of the stay; several make one model for all of them.
    values : {"first", "last"}
        Which value of a test counts: the first of the stay, or the last one
        known by then.
    """

    name: str
    title: str
    hours: tuple[float, ...]
    values: str = "last"


def landmark_points(snapshot: Snapshot, hours: tuple[float, ...]) -> pl.DataFrame:
    """Return the points of stays that last longer than each of these hours.

    Parameters
    ----------
    snapshot : Snapshot
    hours : tuple of float
        Since the start of the stay.

    Returns
    -------
    polars.DataFrame
        Columns of ``neva.definitions.points.POINTS``; ``known`` is ``now``: what
        was recorded later is not seen. A stay that ends at the very time has
        no point.

    Raises
    ------
    UsageError
        No hours are given.
    """
    if not hours:
        message = "landmarks: at least one time since admission is needed; found none; give hours"
        raise UsageError(message)
    parts = [
        points_of(snapshot, EachStay(at="start", hours_after_start=one, still_there=True))
        for one in sorted(set(hours))
    ]
    return (
        pl.concat(parts)
        .drop("point_id")
        .sort("subject_id", "stay_id", "now")
        .with_row_index("point_id")
        .with_columns(pl.col("point_id").cast(pl.Int64))
        .select(list(POINTS))
    )
