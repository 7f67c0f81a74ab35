"""Printed sheets: A4 pages, each with its title, time and data version.

A sheet is plain data; the template lays it out. Every page carries its number
out of how many, the time, the version of the data and of the definitions, and,
for synthetic patients, that they are. Names and record numbers are handed in by
the caller (the audited identity service); without them pseudonyms stand there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from neva.files.whole import write_whole
from neva.languages.english import ENGLISH
from neva.languages.language import Language
from neva.reports.charts.drawing import with_own_ids
from neva.reports.laying_out import templates_of

__all__ = ["Column", "Paper", "Part", "Person", "Sheet"]

_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Person:
    """Who a pseudonym is, for treating roles only.

    Attributes
    ----------
    name, record : str
        Name and record number as the hospital writes them.
    born : str
        Birth date or age, as it is to stand there.
    """

    name: str
    record: str = ""
    born: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table on paper.

    Attributes
    ----------
    title : str
    kind : {"text", "short", "number", "write", "strong"}
        ``short`` stays on one line; ``write`` is left empty, to be filled in by hand.
    share : int
        Of the page's width, in per cent; 0: what it needs.
    """

    title: str
    kind: Literal["text", "short", "number", "write", "strong"] = "text"
    share: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A headline, sentences and perhaps a table.

    Attributes
    ----------
    title : str
    texts : tuple of str
        Before the table.
    columns : tuple of Column
    rows : tuple of tuple of str
        A line break in a cell is kept.
    empty : str
        What stands there where there are no rows.
    notes : tuple of str
        Small print below.
    svgs : tuple of (str, str)
        Drawings, each with what it shows in words.
    on_new_page : bool
    """

    title: str
    texts: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    empty: str = ""
    notes: tuple[str, ...] = ()
    svgs: tuple[tuple[str, str], ...] = ()
    on_new_page: bool = False

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} - {len(self.columns)}
        if widths:
            message = f"paper: rows of {sorted(widths)} cells under {len(self.columns)} columns"
            raise ValueError(message)


@dataclass(frozen=True)
class Paper:
    """How things are written: language, clock, people.

    Attributes
    ----------
    zone : str
        The hospital's.
    words : Language
        Of the document: texts, numbers, shares.
    names : mapping of int to Person
        By ``subject_id``; empty: pseudonyms.
    when : callable, optional
        Writes a time; by default day, month and hour in the hospital's zone.
    """

    zone: str
    words: Language = ENGLISH
    names: Mapping[int, Person] = field(default_factory=dict)
    when: Callable[[datetime], str] | None = None

    def time(self, moment: datetime | None) -> str:
        """Write a time; missing as a dash."""
        if moment is None:
            return "–"
        if self.when is not None:
            return self.when(moment)
        return moment.astimezone(ZoneInfo(self.zone)).strftime("%d.%m.\u00a0%H:%M")

    def whole_time(self, moment: datetime) -> str:
        """Write a time with its year and zone."""
        return moment.astimezone(ZoneInfo(self.zone)).strftime("%Y-%m-%d %H:%M %Z")

    def who(self, subject: int) -> str:
        """Name a patient: name and record number, or the pseudonym."""
        person = self.names.get(subject)
        if person is None:
            return str(subject)
        second = ", ".join(part for part in (person.record, person.born) if part)
        return f"{person.name}\n{second}" if second else person.name


@dataclass(frozen=True, slots=True)
class Sheet:
    """One document on paper.

    Attributes
    ----------
    title : str
    lead : tuple of str
        The sentences that matter, large.
    warnings : tuple of str
        What must be known before anything else (stale data, what is not known).
    parts : tuple of Part
    made : datetime
        Aware: when it was made.
    of : datetime
        Aware: of when the data are.
    identity : str
        Of the data: hospital, version, view.
    definitions : str
        Version of what made the figures; empty where no definition did.
    synthetic : bool
    paper : Paper
    wide : bool
        Landscape.
    names_patients : bool
        Whether rows of patients are on it.
    """

    title: str
    lead: tuple[str, ...]
    warnings: tuple[str, ...]
    parts: tuple[Part, ...]
    made: datetime
    of: datetime
    identity: str
    definitions: str
    synthetic: bool
    paper: Paper
    wide: bool = False
    names_patients: bool = True

    def to_html(self, *, nonce: str = "") -> str:
        """Lay the sheet out as one self-contained document for A4.

        Parameters
        ----------
        nonce : str
            Of the style, where the server's policy asks for one.
        """
        environment = templates_of("neva.reports")
        environment.filters["css"] = _css_string
        words = self.paper.words
        html: str = environment.get_template("paper.html").render(
            sheet=self,
            nonce=nonce,
            language=self.paper.words.code,
            mark=words("SYNTHETIC DATA") if self.synthetic else "",
            foot=words(
                "%(title)s · as of %(time)s", title=self.title, time=self.paper.whole_time(self.of)
            ),
            origin=_origin(self, words),
            printed=words("Created %(time)s", time=self.paper.whole_time(self.made)),
            page=words("page"),
            total=words("of"),
            # Of whom the sheet is decides who may hold it.
            personal=words("No patient is on this sheet.")
            if not self.names_patients
            else words("Personal data: keep with the notes, destroy after use.")
            if self.paper.names
            else words("Patients are shown by pseudonym."),
        )
        return with_own_ids(html)

    def write(self, path: Path) -> None:
        """Write the document, whole or not at all, readable by its owner only."""
        write_whole(path, self.to_html(), private=True)


def _origin(sheet: Sheet, words: Language) -> str:
    parts = words("data %(identity)s", identity=sheet.identity)
    if sheet.definitions:
        parts += " · " + words("definitions %(version)s", version=sheet.definitions)
    return f"{parts} · Neva {installed('neva')}"


def _css_string(text: str) -> str:
    """Escape a text for a string of CSS inside a style element."""
    return "".join(
        char if char.isalnum() or char in " .,:;()-·%–@_+" else f"\\{ord(char):06x}"
        for char in text
    )
