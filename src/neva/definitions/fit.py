"""Whether a definition fits a hospital: its codes occur, its units can be read.

A definition that names a code which nobody records is not wrong, but its
answer is the same for everybody, and that is seldom what was meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from neva.definitions import model as m
from neva.definitions.binding import Binding, codes_in, has_code, reading
from neva.definitions.documents import Document
from neva.events.measurement_units import ucum_of

__all__ = ["Misfit", "misfits"]


@dataclass(frozen=True, slots=True)
class Misfit:
    """What a definition asks for and a hospital does not have.

    Attributes
    ----------
    definition : str
        Its id.
    kind : {"unknown-code", "empty-codelist", "unreadable-unit"}
        A code named directly that does not occur; a codelist none of whose
        codes occurs; a unit to which no stored value of the codes converts.
    what : str
        The code, the codelist's id, or the codes' names.
    found : str
        What the hospital has instead, and what to do.
    """

    definition: str
    kind: Literal["unknown-code", "empty-codelist", "unreadable-unit"]
    what: str
    found: str

    def to_text(self) -> str:
        """One line for people."""
        return f"{self.definition}: {self.kind}: {self.what}: {self.found}"


def _codes_that_occur(binding: Binding, source: str) -> set[str]:
    return codes_in(binding.kinds.filter(pl.col("source") == source))


def _units_of(node: Any) -> Iterable[tuple[m.Frame, str]]:
    """Frames with a unit in which their values are read."""
    if isinstance(node, (m.Pick, m.Aggregate)) and node.unit is not None:
        if isinstance(node, m.Aggregate) or node.field == "value" or node.which in _BY_VALUE:
            yield node.frame, node.unit
    elif isinstance(node, m.Frame) and node.condition_unit is not None:
        yield node, node.condition_unit
    elif isinstance(node, m.HoursWhere) and node.condition is not None:
        for part in m.row_nodes(node.condition):
            if isinstance(part, m.RowField) and part.unit is not None:
                yield node.frame, part.unit
    elif isinstance(node, m.ForEach) and isinstance(node.items, m.Frame):
        for part in m.walk(node.value):
            if isinstance(part, m.ItemField) and part.unit is not None:
                yield node.items, part.unit


_BY_VALUE = ("highest", "lowest")


def misfits(documents: Iterable[Document], binding: Binding) -> list[Misfit]:
    """Compare definitions with the codes and units of a hospital.

    Parameters
    ----------
    documents : iterable of Document
        The definitions.
    binding : Binding
        The hospital's codes (:func:`neva.definitions.binding.bind`).

    Returns
    -------
    list of Misfit
        In the order of the definitions, each once; none if all fits.
    """
    found: dict[Misfit, None] = {}
    for document in documents:
        for expression in document._expressions():
            for node in m.walk(expression):
                if isinstance(node, m.Frame):
                    for misfit in _codes(document.id, node, binding):
                        found[misfit] = None
                for frame, unit in _units_of(node):
                    for misfit in _unit(document.id, frame, unit, binding):
                        found[misfit] = None
    return list(found)


def _codes(name: str, frame: m.Frame, binding: Binding) -> Iterable[Misfit]:
    occurring = _codes_that_occur(binding, frame.source)
    for code in frame.codes:
        if code not in occurring:
            text = (
                f"no row of {frame.source} has it; check the code, or map the hospital's own to it"
            )
            yield Misfit(name, "unknown-code", code, text)
    for one in frame.codelists:
        meant = binding.hierarchy.expand(one)
        if not meant & occurring:
            text = (
                f"none of its {len(one.codes)} codes, nor one below them, occurs in "
                f"{frame.source}; check the list, or map the hospital's own codes to it"
            )
            yield Misfit(name, "empty-codelist", one.id, text)


def _unit(name: str, frame: m.Frame, unit: str, binding: Binding) -> Iterable[Misfit]:
    codes = binding.codes_of(frame)
    if codes is None or frame.source != "events":
        return
    stored = binding.kinds.filter(pl.col("source") == "events", has_code(codes))
    if stored.is_empty():
        return  # told as an unknown code
    wanted = ucum_of(unit) or unit
    for code, value_unit in stored.select("code", "value_unit").iter_rows():
        if reading(value_unit, wanted, binding.molar_mass.get(code)) is not None:
            return
    units = sorted({str(one or "none") for one in stored["value_unit"].to_list()})
    what = ", ".join([*(one.id for one in frame.codelists), *frame.codes])
    text = (
        f"no stored value can be read in {unit}; found units: {', '.join(units)}; "
        "name one of them, or give the code its molar mass"
    )
    yield Misfit(name, "unreadable-unit", what, text)
