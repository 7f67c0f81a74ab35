"""A trained model behind the interface of a rule: its probability raises a card.

The known scale first, the data-driven model second, the explanation third, and
all three look alike to the reader of the card. What a model says is not an
expression of the language, so its part of the answers is filled in here, for one
point or for many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from neva.decisions.hindsight import outcome_times
from neva.decisions.outcomes import Outcome, judged_by
from neva.decisions.replay import (
    ALERTS,
    LOOKED,
    Replay,
    assumed_share,
    chunks,
    key_of,
    stays_at,
)
from neva.decisions.rules import UNIT, Input, Rule
from neva.decisions.suppression import shown
from neva.definitions import model as m
from neva.definitions.binding import bind
from neva.definitions.columnar.engine import Delays, missing_words
from neva.definitions.documents import Feature
from neva.definitions.points import EveryHours
from neva.definitions.run import Engine, answer, points_of
from neva.errors import UsageError
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.models.cases import matrix
from neva.models.fitted_model import Model

__all__ = ["PROBABILITY", "predicted", "replay_model", "rule_of_model"]

#: The input of a model's rule that holds its probability, in percent.
PROBABILITY: Final = "probability"
#: Features of which a card says how much they moved the prediction.
MOST_REASONS: Final = 5


def _name(feature: str) -> str:
    return feature.replace(".", "-")


def rule_of_model(
    model: Model,
    *,
    threshold: float | None = None,
    owner: str = "ward doctor",
    quiet_hours: float = 24.0,
    artefact: str = "",
) -> Rule:
    """Build the rule whose probability comes from a model.

    Parameters
    ----------
    model : Model
    threshold : float, optional
        Probability from which a card is raised, 0 to 1; the model's own by default.
    owner, quiet_hours
        See :class:`neva.decisions.rules.Rule`.
    artefact : str
        Hash of the saved model: another one makes another rule, which must be
        silent again before it is live.

    Returns
    -------
    Rule
        It warns of the model's own outcome within the model's horizon. Its
        condition is unknown to every engine: :func:`predicted` fills it in.
        `critical_from` is not set: how urgent a probability is, a hospital decides.
    """
    limit = model.threshold if threshold is None else threshold
    if not 0 < limit < 1:
        message = f"threshold: must lie between 0 and 1; found {limit:g}; give for example 0.5"
        raise UsageError(message)
    until = "the end of the stay" if model.horizon_hours is None else f"{model.horizon_hours:g} h"
    locked = " Locked to demonstration: " + model.lock_reason if model.demonstration_only else ""
    probability = Input(
        name=PROBABILITY, title=f"Probability until {until}, %", of=m.Missing(of="number", unit="1")
    )
    return Rule(
        id=model.id,
        version=model.version,
        title=model.title,
        population=m.Flag(value=True),
        condition=m.Missing(of="boolean"),
        severity=m.Missing(of="number", unit="1"),
        indicator="warning",
        summary=f"Model: probability {{{PROBABILITY}}} %, card from {limit * 100:g} %"[:139],
        detail=f"{model.outcome_words}.{locked}",
        logic=f"The model's probability is {limit * 100:g} % or more.",
        inputs=(
            probability,
            *(
                Input(name=_name(one.id), title=one.title or one.id, of=one.value)
                for one in model.features
            ),
        ),
        source=f"Trained model {model.id}, version {model.version}",
        owner=owner,
        quiet_hours=quiet_hours,
        stage="model",
        warns_of=Outcome(of=model.outcome, within_hours=model.horizon_hours),
        validation=_validation(model),
        notes=(f"Saved model {artefact}.",) if artefact else (),
        intended_use=str(
            model.notes.get("intended_use") or Rule.model_fields["intended_use"].default
        ),
    )


def _validation(model: Model) -> str:
    made = model.data.get("identity", "unknown data")
    return f"not validated here; fitted and resampled on {made}, see its model card"


def predicted(
    model: Model, answers: Mapping[str, Any], threshold: float | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fill in the prediction of the model at one point.

    Parameters
    ----------
    model : Model
    answers : mapping
        By the names of the outputs of its rule.
    threshold : float, optional
        As given to :func:`rule_of_model`.

    Returns
    -------
    answers : dict
        With ``condition``, ``severity`` (the probability) and the probability in
        percent among the inputs; all unknown where more than half of the
        features are: a model that guesses is not asked.
    reasons : tuple of str
        What moved the prediction most, for the card.
    """
    row = {
        one.id: [_optional_number(answers.get(f"input.{_name(one.id)}"))] for one in model.features
    }
    unknown = sum(values == [None] for values in row.values())
    if 2 * unknown > len(row):
        return {**answers, "condition": None, "severity": None}, ()
    found = model.predict(pl.DataFrame(row, schema=dict.fromkeys(row, pl.Float64)))
    probability = float(found.frame["probability"][0])
    limit = model.threshold if threshold is None else threshold
    filled = {
        **answers,
        "condition": probability >= limit,
        "severity": probability,
        f"input.{PROBABILITY}": 100 * probability,
    }
    return filled, tuple(found.reasons(0, most=MOST_REASONS))


def _optional_number(value: Any) -> float | None:
    return None if value is None else float(value)


def replay_model(
    snapshot: Snapshot,
    model: Model,
    *,
    threshold: float | None = None,
    quiet_hours: float = 24.0,
    every_hours: float = 1.0,
    outcome: Feature | Outcome | None = None,
    judge: bool = True,
    delays: Delays | None = None,
    points: pl.DataFrame | None = None,
) -> Replay:
    """Run a model over the history of a hospital as if it had been live.

    Parameters
    ----------
    snapshot, every_hours, outcome, judge, delays, points
        See :func:`neva.decisions.replay.replay`; the model's own outcome by default.
    model : Model
        A locked one may be replayed; it may not become live.
    threshold, quiet_hours
        See :func:`rule_of_model`.

    Returns
    -------
    Replay
        Of one rule; the severity of a card is its probability. Its figures,
        overlap and sweep are those of rules.
    """
    rule = rule_of_model(model, threshold=threshold, quiet_hours=quiet_hours)
    key = key_of(rule)
    judging = judged_by({key: rule.warns_of}, outcome) if judge else {}
    limit = model.threshold if threshold is None else threshold
    outputs = {**model.outputs, "unit of stay": UNIT}
    unknown = missing_words(outputs)
    engine: Engine = "relational" if unknown else "columnar"
    if unknown and delays:
        message = (
            f"replay: delays need the columnar engine, which does not know {', '.join(unknown)}; "
            "leave out the delays"
        )
        raise UsageError(message)
    binding = bind(snapshot)
    placed = (
        points_of(snapshot, EveryHours(hours=every_hours)) if points is None else points
    ).sort("subject_id", "stay_id", "now")
    found, looked = [], []
    for part in chunks(placed):
        frame = answer(
            snapshot, outputs, points=part, engine=engine, binding=binding, delays=delays
        ).frame
        probability = model.ensemble.probability(matrix(frame, model.ensemble.features))
        frame = frame.select(
            pl.lit(rule.id).alias("rule"),
            pl.lit(rule.version).alias("version"),
            "subject_id",
            "stay_id",
            "now",
            pl.Series("severity", np.asarray(probability, dtype=np.float64)),
            pl.col("unit of stay").str.strip_prefix("UNIT//").alias("unit"),
        )
        raises = pl.col("severity") >= limit
        found.append(frame.filter(raises))
        looked.append(
            frame.group_by("rule", "version", "subject_id", "stay_id", maintain_order=True)
            .agg(
                pl.len().alias("points"),
                pl.lit(0).alias("unknown"),
                raises.sum().alias("raised"),
                pl.lit(0).alias("treated"),
                pl.lit(0).alias("limited"),
                pl.len().alias("asked"),
            )
            .select(pl.col(name).cast(kind) for name, kind in LOOKED.items())
        )
    alerts = pl.concat(found).sort("stay_id", "now") if found else None
    if alerts is not None:
        is_shown = pl.Series("shown", shown(alerts, quiet_hours))
        alerts = alerts.with_columns(
            is_shown, quiet=~is_shown, done=pl.lit(None, dtype=pl.Boolean)
        ).select(*ALERTS)
    stays = stays_at(snapshot, placed)
    return Replay(
        alerts=pl.DataFrame(schema=ALERTS) if alerts is None else alerts,
        looked=pl.concat(looked) if looked else pl.DataFrame(schema=LOOKED),
        cut=snapshot.now,
        stays=stays,
        rules=(rule,),
        moments={key: "hours"},
        placed={key: placed.height},
        every_hours=every_hours,
        judged_by=judging,
        is_own=outcome is None and judge,
        outcomes=outcome_times(snapshot, judging, stays),
        delays=dict(delays or {}),
        assumed_share=assumed_share(snapshot, outputs.values(), binding),
        identity=snapshot.identity,
        zone=snapshot.zone,
        synthetic=is_synthetic(snapshot),
    )
