"""One rule evaluated twice on the same stays: with first values, and with last ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from neva.definitions.language import stay
from neva.definitions.points import EachStay
from neva.definitions.run import answer
from neva.events.snapshot import Snapshot
from neva.models import _resampled_figures as drawn_figures
from neva.models.declaration import Comparator
from neva.models.families import FirstAndLastSample
from neva.statistics import prediction_figures as figures

__all__ = ["FirstAndLastFigures", "compare_first_and_last"]


@dataclass(frozen=True, eq=False)
class FirstAndLastFigures:
    """The published rule with the first and with the last values, on the same stays.

    Attributes
    ----------
    frame : polars.DataFrame
        ``sample`` (``first``, ``last``), ``figure`` (accuracy, sensitivity, specificity, ppv,
        auroc of one input), ``value``, ``lower``, ``upper``, ``undefined``.
    n, events : int
        Stays in which all inputs were measured, and those with the outcome.
    stays : int
        All stays whose outcome is known.
    value_title : str
    why : str
        Why the last values predict nothing.
    resamples : int
    """

    frame: pl.DataFrame
    n: int
    events: int
    stays: int
    value_title: str
    why: str
    resamples: int

    def figure(self, sample: str, figure: str) -> dict[str, Any]:
        """Return value, lower and upper."""
        found = self.frame.filter(sample=sample, figure=figure)
        if not found.height:
            return {"value": None, "lower": None, "upper": None}
        return found.select("value", "lower", "upper").row(0, named=True)


def compare_first_and_last(
    snapshot: Snapshot,
    samples: FirstAndLastSample,
    outcome: Any,
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> FirstAndLastFigures:
    """Evaluate the rule twice on every stay that has ended: first values, last values.

    Parameters
    ----------
    snapshot : Snapshot
    samples : FirstAndLastSample
    outcome : Feature
        Time of the outcome.
    resamples, seed : int

    Returns
    -------
    FirstAndLastFigures
        Over stays in which all inputs were ever measured: who these are is
        known afterwards only, which alone makes it no prediction.
    """
    asked: dict[str, Any] = {"_outcome": outcome.value, "_end": stay.end.node}
    parts: dict[str, Comparator] = {
        "first": samples.first,
        "last": samples.last,
        "complete": samples.complete,
    }
    if samples.value_first is not None and samples.value_last is not None:
        parts |= {"value_first": samples.value_first, "value_last": samples.value_last}
    asked |= {f"_{name}": one.rule.value for name, one in parts.items() if one.rule is not None}
    answers = answer(snapshot, asked, population=EachStay(at="cut")).frame
    ended = answers.filter(pl.col("_end").is_not_null())
    kept = ended.filter(pl.col("_complete").fill_null(value=False))
    y = kept["_outcome"].is_not_null().to_numpy().astype(np.float64)
    drawn = drawn_figures.Drawn(kept["subject_id"].to_numpy(), resamples, 0.95, seed)
    for sample in ("first", "last"):
        predicted = kept[f"_{sample}"].fill_null(value=False).to_numpy().astype(bool)
        right = (predicted == (y == 1)).astype(np.float64)
        one = np.ones_like(y, dtype=bool)
        drawn.ask(
            (sample, "accuracy"),
            lambda w, right=right, one=one: figures.positive_predictive_value(right, one, w),  # type: ignore[misc]
        )
        drawn.ask(
            (sample, "sensitivity"),
            lambda w, predicted=predicted: figures.sensitivity(y, predicted, w),  # type: ignore[misc]
        )
        drawn.ask(
            (sample, "specificity"),
            lambda w, predicted=predicted: figures.specificity(y, predicted, w),  # type: ignore[misc]
        )
        drawn.ask(
            (sample, "ppv"),
            lambda w, predicted=predicted: figures.positive_predictive_value(y, predicted, w),  # type: ignore[misc]
        )
        # A missing value among these stays cannot be: all inputs were measured.
        if f"_value_{sample}" in kept.columns and kept.height:
            x = kept[f"_value_{sample}"].to_numpy().astype(np.float64)
            drawn.ask((sample, "auroc"), lambda w, x=x: figures.area_under_roc(y, x, w))  # type: ignore[misc]
    values, draws = drawn.done() if kept.height else ({}, {})
    rows = [
        {
            "sample": key[0],
            "figure": key[1],
            **drawn_figures.interval(values[key], draws[key], 0.95),
        }
        for key in values
    ]
    return FirstAndLastFigures(
        frame=pl.DataFrame(
            rows, schema={"sample": pl.String, "figure": pl.String, **drawn_figures.SCHEMA}
        ),
        n=kept.height,
        events=int(y.sum()),
        stays=ended.height,
        value_title=samples.value_title,
        why=samples.why,
        resamples=resamples,
    )
