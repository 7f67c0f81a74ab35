"""Recalibration on a hospital's own patients, which lifts the lock to demonstration."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from neva.errors import ConflictError, UsageError
from neva.models.cases import Cases
from neva.models.fitted_model import Model
from neva.models.recalibration import RecalibrationKind, RecalibrationMap, fit_recalibration

__all__ = ["data_of", "not_its_own", "recalibrate"]

#: Fewer patients of either outcome say too little for a recalibration of one's own.
FEWEST_FOR_OWN: Final = 20


def data_of(cases: Cases) -> dict[str, Any]:
    """Return the cases that a model was fitted to, or recalibrated on."""
    now = cases.frame["now"].sort()
    return {
        "identity": cases.identity,
        "hospital": cases.hospital,
        "first": now[0].isoformat(),
        "last": now[-1].isoformat(),
        "cases": cases.frame.height,
        "outcomes": int(cases.outcome.sum()),
        "patients": len(np.unique(cases.patient)),
        "left_out": cases.left_out,
        "assumed_share": cases.assumed_share,
    }


def not_its_own(model: Model, cases: Cases) -> None:
    """Refuse the hospital that a model was fitted on.

    Raises
    ------
    ConflictError
        They are its own patients.
    """
    if cases.hospital == model.data["hospital"]:
        message = (
            f"model {model.id}: it was fitted to this hospital's patients; found its own hospital "
            f"{cases.hospital}; evaluate the procedure with `neva decide evaluate HOSPITAL --model "
            f"{model.id}`, or the saved model on other patients"
        )
        raise ConflictError(message)


def recalibrate(
    model: Model,
    cases: Cases,
    *,
    kind: RecalibrationKind = "intercept-and-slope",
    at: datetime,
    actor: str,
) -> Model:
    """Recalibrate a model on the hospital's own patients, and lift its lock.

    Parameters
    ----------
    model : Model
    cases : Cases
        Of this hospital; the model has not seen them.
    kind : {"in-the-large", "intercept-and-slope", "isotonic"}
    at : datetime
        Aware; when it was done.
    actor : str
        Who did it.

    Returns
    -------
    Model
        With the recalibration in its history, and ``demonstration_only`` false.

    Raises
    ------
    ConflictError
        They are the patients it was made from.
    UsageError
        There are fewer than 20 cases of either outcome, or `at` has no offset.

    Notes
    -----
    Twenty is the least that gives an intercept at all; for a judgement of
    calibration at least 100 outcomes are advised (Collins GS et al. 2016,
    doi:10.1002/sim.6787). Lifting the lock is not validation: judge the
    recalibrated model on later patients.
    """
    not_its_own(model, cases)
    if at.tzinfo is None:
        raise UsageError(f"at: must have an offset; found {at.isoformat()}; give an aware time")
    if kind == "none":
        raise UsageError("kind: none changes nothing; found 'none'; give another kind")
    y = cases.outcome
    patients = min(len(np.unique(cases.patient[y == 1])), len(np.unique(cases.patient[y == 0])))
    if patients < FEWEST_FOR_OWN:
        message = (
            f"recalibration: {FEWEST_FOR_OWN} patients with and without the outcome are needed; "
            f"found {patients} of the rarer kind; wait for more"
        )
        raise UsageError(message)
    if cases.features != model.ensemble.features:
        message = (
            f"model {model.id}: the cases have other features; found {len(cases.features)} for "
            f"{len(model.features)} of the model; take the cases of `plan_of_model(model)`"
        )
        raise UsageError(message)
    raw = model.ensemble.raw_log_odds(cases.matrix)
    made: RecalibrationMap = fit_recalibration(kind, y, raw)
    entry = {
        "what": "recalibrated",
        "at": at.astimezone(UTC).isoformat(),
        "actor": actor,
        "kind": made.kind,
        "before": model.ensemble.recalibration.to_json(),
        "after": made.to_json(),
        "data": data_of(cases),
        "lock_lifted": model.demonstration_only,
    }
    return replace(
        model,
        ensemble=replace(model.ensemble, recalibration=made),
        demonstration_only=False,
        lock_reason="",
        history=(*model.history, entry),
        # Variants were not recalibrated: they must not become live with the model.
        variants=(),
    )
