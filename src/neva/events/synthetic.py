"""Whether a hospital is synthetic: the mark that every synthetic batch carries."""

from __future__ import annotations

from typing import Final

import polars as pl

from neva.events.snapshot import Snapshot

__all__ = ["SYNTHETIC_NOTE", "SYNTHETIC_SOURCE", "is_synthetic"]

#: The logical source of invented rows (``batches.source``). No real delivery
#: may take this name.
SYNTHETIC_SOURCE: Final = "synthetic"
#: Stands wherever a figure of such a hospital is shown.
SYNTHETIC_NOTE: Final = "synthetic patients: no figure describes a real one"


def is_synthetic(snapshot: Snapshot) -> bool:
    """Return whether any of a hospital's patients are synthetic.

    Parameters
    ----------
    snapshot : Snapshot
        Any view of the hospital; what was imported after its *now* counts too.

    Returns
    -------
    bool
        True if at least one batch came from the generator. What is printed
        from such a hospital must say so.
    """
    batches = snapshot.batches().filter(pl.col("source") == SYNTHETIC_SOURCE)
    return not batches.head(1).collect().is_empty()
