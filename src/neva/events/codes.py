"""Codes: ``SYSTEM//code``, and the few that Neva itself gives a meaning."""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = ["END_UNKNOWN", "FOLLOW_UP_END", "OWN_SYSTEM", "join_code", "label_of"]

#: Codes of this system are marks of Neva's own, not what happened to a patient.
OWN_SYSTEM: Final = "NEVA//"

#: The last time at which a subject was looked at: what happened later is not
#: known. A source writes it where its follow-up ends while a stay is open.
FOLLOW_UP_END: Final = "NEVA//FOLLOW-UP-END"

#: The latest time known of a stay that is over, whose end is not told. It holds
#: as long as the stay ends at that very time: a later delivery may tell the end.
END_UNKNOWN: Final = "NEVA//END-UNKNOWN"


def join_code(system: str, text: str) -> str:
    """Make a code of a system and a text.

    Examples
    --------
    >>> join_code("SEPSIS", "ER Triage")
    'SEPSIS//ER Triage'
    """
    return f"{system}//{text}"


def label_of(code: pl.Expr) -> pl.Expr:
    """Return what stands after the system of a code: its label where no description is known.

    Examples
    --------
    >>> import polars as pl
    >>> pl.select(label_of(pl.lit("SEPSIS//ER Triage"))).item()
    'ER Triage'
    """
    return code.str.replace("^[^/]*//", "")
