"""What a definition needs of a hospital: which codes, which units of measurement.

Codelists are sets of codes with their descendants in this hospital's table of
codes; units and kinds of unit are codes too (``UNIT//icu-1`` below
``UNITKIND//icu`` and below the unit it belongs to), so that one mechanism
serves all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from uuid import uuid4

import polars as pl

from neva.definitions.codelists import CodeHierarchy
from neva.definitions.model import Frame
from neva.events.measurement_units import conversion
from neva.events.schema import other_codes
from neva.events.snapshot import Snapshot

__all__ = ["Binding", "bind", "reading"]

_ANNOTATION = re.compile(r"\{[^{}]*\}")


def reading(
    value_unit: str | None, unit: str, molar_mass: float | None = None
) -> tuple[float, float] | None:
    """Return factor and offset that read a stored value in a unit.

    A value without a unit is read only where none is asked for (``1``, or an
    annotation such as ``{score}``).

    Examples
    --------
    >>> reading("mg/dL", "mg/L"), reading(None, "1"), reading(None, "mg/L")
    ((10.0, 0.0), (1.0, 0.0), None)
    """
    if value_unit == unit:
        return 1.0, 0.0
    if value_unit is None:
        bare = unit == "1" or _ANNOTATION.fullmatch(unit)
        return (1.0, 0.0) if bare else None
    return conversion(value_unit, unit, molar_mass)


@dataclass(frozen=True)
class Binding:
    """A hospital's codes.

    Attributes
    ----------
    zone : str
        The hospital's zone.
    parents : dict of str to tuple of str
        For each code those directly above it.
    molar_mass : dict of str to float
        g/mol, for codes that have one.
    kinds : polars.DataFrame
        The combinations that occur: ``source``, ``code``, ``other_codes`` (one a
        line), ``value_unit``?, ``status`` (str) and ``kind`` (int32), a number
        for each.
    """

    zone: str
    parents: dict[str, tuple[str, ...]]
    molar_mass: dict[str, float]
    kinds: pl.DataFrame

    @cached_property
    def hierarchy(self) -> CodeHierarchy:
        """The codes above and below each other."""
        return CodeHierarchy(self.parents, sorted(codes_in(self.kinds)))

    @cached_property
    def has_other_codes(self) -> bool:
        """Whether any event has codes beside its own."""
        return bool((self.kinds["other_codes"] != "").any())

    def own_codes_of(self, frame: Frame) -> set[str] | None:
        """Return the own codes of the events that a frame takes; None: all."""
        codes = self.codes_of(frame)
        if codes is None:
            return None
        events = self.kinds.filter(pl.col("source") == "events", has_code(codes))
        return set(events["code"].to_list())

    def codes_of(self, frame: Frame) -> set[str] | None:
        """Return the codes that a frame takes; None: all."""
        if not frame.codes and not frame.codelists:
            return None
        found = set(frame.codes)
        for one in frame.codelists:
            found |= self.hierarchy.expand(one)
        return found


def codes_in(kinds: pl.DataFrame) -> set[str]:
    """Return every code of some kinds of row, those beside a row's own included."""
    others = kinds["other_codes"].unique().to_list()
    return {*kinds["code"].to_list(), *(one for text in others for one in text.split("\n") if one)}


def has_code(codes: Iterable[str]) -> pl.Expr:
    """Tell whether a row's code, or one beside it, is one of `codes`."""
    wanted = sorted(codes)
    others = pl.col("other_codes").str.split("\n").list.eval(pl.element().is_in(wanted)).list.any()
    return pl.col("code").is_in(wanted) | ((pl.col("other_codes") != "") & others)


def hierarchy_of(snapshot: Snapshot) -> tuple[dict[str, tuple[str, ...]], dict[str, float]]:
    """Return the parents of codes, units among them, and the molar masses."""
    parents: dict[str, tuple[str, ...]] = {}
    masses: dict[str, float] = {}
    for code, above, mass in (
        snapshot.codes().select("code", "parents", "molar_mass").collect().iter_rows()
    ):
        parents[code] = tuple(above or ())
        if mass is not None:
            masses[code] = mass
    for unit, above, kind in (
        snapshot.units().select("unit", "parent", "kind").collect().iter_rows()
    ):
        parents[f"UNIT//{unit}"] = (
            *([] if above is None else [f"UNIT//{above}"]),
            *([] if kind is None else [f"UNITKIND//{kind}"]),
        )
    return parents, masses


def bind(snapshot: Snapshot) -> Binding:
    """Read a hospital's codes.

    Parameters
    ----------
    snapshot : Snapshot
        All revisions are looked at: a withdrawn row may be visible at an
        earlier point.

    Raises
    ------
    BadInputError
        The parents in the table of codes form a cycle.
    """
    parents, masses = hierarchy_of(snapshot)
    file = snapshot.cache / "kinds" / f"{_FORMAT}-{snapshot.hospital}-{snapshot.version}.parquet"
    try:
        kinds = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError):
        kinds = _kinds(snapshot)
        _keep(kinds, file)
    return Binding(zone=snapshot.zone, parents=parents, molar_mass=masses, kinds=kinds)


#: Raised when the content of the kept table changes meaning.
_FORMAT: Final = 3


def _keep(kinds: pl.DataFrame, file: Path) -> None:
    """Keep the table beside the hospital; a cache that cannot be written is no cache."""
    draft = file.with_suffix(f".{uuid4().hex}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        kinds.write_parquet(draft)
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)


def _kinds(snapshot: Snapshot) -> pl.DataFrame:
    """Find the combinations of code, unit of measurement and status that occur."""
    one = pl.lit(None, dtype=pl.String)
    events = (
        snapshot.stored("events")
        .select("code", other_codes(), "value_unit", "status")
        .unique()
        .select(pl.lit("events").alias("source"), "code", "other_codes", "value_unit", "status")
    )
    movements = (
        snapshot.stored("movements")
        .select(pl.col("unit").fill_null(""))
        .unique()
        .select(
            pl.lit("movements").alias("source"),
            pl.concat_str(pl.lit("UNIT//"), pl.col("unit")).alias("code"),
            pl.lit("").alias("other_codes"),
            one.alias("value_unit"),
            pl.lit("done").alias("status"),
        )
    )
    stays = (
        snapshot.stored("stays")
        .select(pl.col("kind").fill_null(""))
        .unique()
        .select(
            pl.lit("stays").alias("source"),
            pl.concat_str(pl.lit("STAY//"), pl.col("kind")).alias("code"),
            pl.lit("").alias("other_codes"),
            one.alias("value_unit"),
            pl.lit("done").alias("status"),
        )
    )
    return (
        pl.concat([events, movements, stays])
        .collect(engine="streaming")
        .sort("source", "code", "other_codes", "value_unit", "status")
        .with_row_index("kind")
        .with_columns(pl.col("kind").cast(pl.Int32))
    )
