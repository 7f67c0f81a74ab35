"""Suppression of repeated cards: not again within the quiet hours, unless worse.

One rule of thumb for the bedside and the replay: after a card of a rule has
been shown for a stay, it is not shown again within the rule's quiet hours,
except when its severity is above that of the last card shown.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.compiled import compiled

__all__ = ["is_quiet", "shown"]

_HOUR: Final = 3_600_000_000


def is_quiet(
    now: datetime,
    severity: float,
    *,
    last: datetime | None,
    last_severity: float | None,
    quiet_hours: float,
) -> bool:
    """Return whether a card is suppressed because of the last one shown.

    Parameters
    ----------
    now, severity
        Of the finding.
    last, last_severity
        Of the last card of the rule that was shown for the stay; None: there is none.
    quiet_hours : float
        Exactly so many hours later it is shown again.
    """
    if last is None:
        return False
    within = now - last < timedelta(hours=quiet_hours)
    return within and not (last_severity is not None and severity > last_severity)


@compiled(cache=True, nogil=True)
def _walk(group: Any, now: Any, severity: Any, quiet: int, out: Any) -> None:
    last, worst = np.int64(0), 0.0
    has = False
    for i in range(len(out)):
        if group[i] != group[i - 1]:
            has = False
        if has and now[i] - last < quiet and not severity[i] > worst:
            out[i] = False
            continue
        out[i] = True
        has, last, worst = True, now[i], severity[i]


def shown(findings: pl.DataFrame, quiet_hours: float) -> npt.NDArray[np.bool_]:
    """Return for each finding of one rule whether its card would have been shown.

    Parameters
    ----------
    findings : polars.DataFrame
        Columns ``subject_id``, ``stay_id`` (missing: the patient without a stay),
        ``now`` (Datetime), ``severity``; sorted by stay, patient and time.
    quiet_hours : float

    Returns
    -------
    numpy.ndarray of bool, shape (n,)

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> at = [datetime(2020, 5, 1, hour, tzinfo=UTC) for hour in (8, 9, 10, 12)]
    >>> findings = pl.DataFrame(
    ...     {"subject_id": 1, "stay_id": 1, "now": at, "severity": [7.0, 7.0, 9.0, 8.0]}
    ... )
    >>> shown(findings, 4).tolist()
    [True, False, True, False]
    """
    out = np.empty(findings.height, dtype=bool)
    _walk(
        findings.select(pl.struct("subject_id", "stay_id").rle_id()).to_series().to_numpy(),
        findings["now"].dt.epoch("us").to_numpy(),
        findings["severity"].fill_null(1.0).to_numpy(),
        round(quiet_hours * _HOUR),
        out,
    )
    return out
