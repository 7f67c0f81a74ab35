from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.models import _resampled_figures as drawn_figures
from neva.models.cases import Cases
from neva.statistics.intervals import Estimate, median_interval

Floats = npt.NDArray[np.float64]

AGE_BANDS: Final = ((0, 50), (50, 65), (65, 80), (80, 200))
#: A subgroup with fewer of either outcome has counts but no figures.
FEWEST: Final = 5


def frame_of(
    names: Sequence[str], rows: Sequence[tuple[tuple[str, ...], dict[str, float | int | None]]]
) -> pl.DataFrame:
    schema = {**dict.fromkeys(names, pl.String), **drawn_figures.SCHEMA}
    made = [{**dict(zip(names, key, strict=True)), **figures} for key, figures in rows]
    return pl.DataFrame(made, schema=schema)


def groups_of_cases(cases: Cases) -> dict[tuple[str, str], npt.NDArray[np.bool_]]:
    """Cases of each subgroup; unknown is one, too."""
    bands = pl.lit("unknown")
    for low, high in reversed(AGE_BANDS):
        name = f"{low}-{high - 1}" if high < 200 else f"{low} and older"
        name = f"under {high}" if low == 0 else name
        bands = (
            pl.when(pl.col("age").is_between(low, high, closed="left"))
            .then(pl.lit(name))
            .otherwise(bands)
        )
    frame = cases.frame.select(
        pl.col("sex").fill_null("unknown"), bands.alias("age"), pl.col("unit").fill_null("unknown")
    )
    young = f"under {AGE_BANDS[0][1]}"
    return {
        (by, str(group)): (frame[by] == group).to_numpy()
        for by in frame.columns
        for group in sorted(frame[by].unique(), key=lambda one: (one != young, one))
    }


def ask_subgroups(
    drawn: drawn_figures.Drawn,
    y: Floats,
    repeats: Floats,
    groups: Mapping[tuple[str, str], npt.NDArray[np.bool_]],
    threshold: float,
) -> None:
    for key, inside in groups.items():
        events = int(y[inside].sum())
        if min(events, int(inside.sum()) - events) < FEWEST:
            continue
        days = np.ones(int(inside.sum()))
        each = drawn_figures.of_predictions(
            y[inside], repeats[:, inside], yes_no=False, threshold=threshold, days=days
        )
        for figure in ("auroc", "brier", "in-the-large", "sensitivity", "ppv"):
            drawn.ask(
                ("subgroup", *key, figure),
                lambda w, of=each[figure], inside=inside: of(w[:, inside]),  # type: ignore[misc]
            )


def subgroups_of(
    cases: Cases,
    groups: Mapping[tuple[str, str], npt.NDArray[np.bool_]],
    rows: list[tuple[tuple[str, ...], dict[str, float | int | None]]],
) -> pl.DataFrame:
    y, patient = cases.outcome, cases.patient
    counts = pl.DataFrame(
        [
            (by, group, int(i.sum()), int(y[i].sum()), len(np.unique(patient[i])))
            for (by, group), i in groups.items()
        ],
        schema={
            "by": pl.String,
            "group": pl.String,
            "n": pl.Int64,
            "events": pl.Int64,
            "patients": pl.Int64,
        },
        orient="row",
    )
    subgroup_figures = frame_of(("by", "group", "figure"), rows)
    return counts.join(subgroup_figures, on=["by", "group"], how="left", maintain_order="left")


def missing_of(cases: Cases) -> pl.DataFrame:
    y = cases.outcome == 1
    absent = np.isnan(cases.matrix)

    def share(rows: npt.NDArray[np.bool_], column: int) -> float | None:
        return float(absent[rows, column].mean()) if rows.any() else None

    return pl.DataFrame(
        [
            {
                "feature": name,
                "missing": share(np.ones_like(y), k),
                "missing_with_outcome": share(y, k),
                "missing_without": share(~y, k),
            }
            for k, name in enumerate(cases.features)
        ]
    )


def lead_of(
    cases: Cases, flagged: npt.NDArray[np.bool_], level: float
) -> tuple[Estimate, int, int]:
    """Hours from a stay's first flagged case to its outcome; one stay, one value."""
    with_outcome = cases.frame.with_columns(flagged=pl.Series(flagged)).filter(
        pl.col("outcome") == 1
    )
    first = (
        with_outcome.filter("flagged").sort("now").group_by("stay_id", maintain_order=True).first()
    )
    outcomes = with_outcome["stay_id"].n_unique()
    return median_interval(first["event_hours"].to_numpy(), level), first.height, outcomes
