"""Pages made of sections: sentences, tables and figures, in one file without a network.

A page is plain data: what is said, and in which order. The template lays it
out and does no arithmetic; every text is escaped there, figures are SVG.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Literal

from neva.events.synthetic import SYNTHETIC_NOTE
from neva.files.whole import write_whole
from neva.reports.charts.drawing import with_own_ids
from neva.reports.laying_out import templates_of

__all__ = [
    "Cell",
    "Details",
    "Figure",
    "Page",
    "Panel",
    "Section",
    "Table",
    "Text",
]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph: ``plain``, ``strong``, ``small`` print, a ``warning``, or a ``good`` word."""

    text: str
    kind: Literal["plain", "strong", "small", "warning", "good"] = "plain"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    text : str
    small : str
        A second line, smaller.
    shade : int
        0 (none) to 3; the text says the same, colour is never alone.
    is_strong : bool
    is_text : bool
        Stands left; numbers stand right.
    is_again : bool
        Says the same as the cell above it: paler.
    """

    text: str
    small: str = ""
    shade: int = 0
    is_strong: bool = False
    is_text: bool = False
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first cell of a row names the row.

    Attributes
    ----------
    caption : str
    head : tuple of Cell
    rows : tuple of tuple of Cell
        As wide as `head`.
    """

    caption: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} - {len(self.head)}
        if widths:
            message = f"table: rows of {sorted(widths)} cells under a head of {len(self.head)}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of a figure: its name above, SVG, and what it shows in words."""

    svg: str
    alt: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Drawings side by side where there is room, with one caption and one legend.

    Attributes
    ----------
    panels : tuple of Panel
    caption : str
    legend : tuple of (str, str)
        A sign (``band90``, ``line``, …, see the template) and what it means.
    size : {"small", "medium", "large"}
        How many drawings stand side by side on a wide page: three, two, one.
    """

    panels: tuple[Panel, ...]
    caption: str
    legend: tuple[tuple[str, str], ...] = ()
    size: Literal["small", "medium", "large"] = "small"


@dataclass(frozen=True, slots=True)
class Details:
    """What is folded away until asked for."""

    summary: str
    blocks: tuple[Text | Table | Figure, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A headline and what stands below it."""

    title: str
    blocks: tuple[Text | Table | Figure | Details, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page that asks nothing of the network and prints on A4.

    Attributes
    ----------
    title : str
    lead : tuple of Text
        The sentences that matter.
    sections : tuple of Section
    facts : tuple of (str, str)
        What the page was made from: version of the data, times, denominators.
    made : datetime
        Aware.
    synthetic : bool
        Synthetic patients: a banner says so.
    """

    title: str
    lead: tuple[Text, ...]
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...]
    made: datetime
    synthetic: bool

    def to_html(self) -> str:
        """Lay the page out as one self-contained HTML document."""
        environment = templates_of("neva.reports")
        environment.filters["block"] = lambda block: type(block).__name__
        html = environment.get_template("flow.html").render(
            page=self,
            banner=SYNTHETIC_NOTE[0].upper() + SYNTHETIC_NOTE[1:],
            made=self.made.strftime("%Y-%m-%d %H:%M %Z").strip(),
            neva=installed("neva"),
        )
        return with_own_ids(html)

    def write(self, path: Path) -> None:
        """Write the document to `path`, whole or not at all."""
        write_whole(path, self.to_html())


def _unbroken(value: object) -> object:
    """Keep a number and its per cent on one line."""
    return value.replace(" %", "\u00a0%") if type(value) is str else value
