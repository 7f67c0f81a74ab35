"""Whole definitions: a feature, a score, a measure; with id, version and evidence.

A document is the frozen model of what somebody wrote, and all that engines
need: codelists stand inside it. Its hash names its content, so that a figure
can say exactly which definition produced it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from neva.definitions import model as m
from neva.definitions.codelists import Codelist
from neva.errors import BadInputError, ConflictError

__all__ = [
    "Definition",
    "Document",
    "Feature",
    "Measure",
    "Named",
    "Score",
    "codelists_of",
    "content_hash",
    "from_json",
    "library",
    "to_json",
    "validated",
]

STATUSES = ("met", "failed", "measured", "pending", "excluded", "unknown", "outside")


class Named(BaseModel):
    """An expression with a name: an exclusion, a part of a score, a stratifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = ""
    title_ru: str = ""
    of: m.Expression


class Document(BaseModel):
    """What every definition has.

    Attributes
    ----------
    id : str
        ``programme.name``, unique in a library.
    version : str
        major.minor.patch, with a mark such as ``+a1b2c3`` where settings of a
        programme differ from its own; a version is never used for other content.
    title, title_ru, description : str
        In words.
    evidence : tuple of str
        Sources, as ``doi:...`` or in words.
    notes : tuple of str
        What a reader of the figures must know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Fields that the content hash leaves out: how a document is judged, not what it does.
    JUDGING: ClassVar[frozenset[str]] = frozenset()

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+(\+[0-9a-z]+)?$")
    title: str = ""
    title_ru: str = ""
    description: str = ""
    evidence: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def _expressions(self) -> Iterable[m.Node]:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, m.Node):
                    yield part
                elif isinstance(part, Named):
                    yield part.of

    @model_validator(mode="after")
    def _closed(self) -> Document:
        for expression in self._expressions():
            for node in m.row_nodes(expression):
                if isinstance(node, (m.RowField, m.Attribute)) and not _below_hours(expression):
                    message = (
                        "a field of a row (value, row.text, ...) stands outside a condition of "
                        "rows; pick a row first, as in events(...).last().value(...)"
                    )
                    raise ValueError(message)
            _no_free_items(expression)
        lists: dict[str, Codelist] = {}
        for expression in self._expressions():
            for node in m.walk(expression):
                for one in node.codelists if isinstance(node, m.Frame) else ():
                    if lists.setdefault(one.id, one) != one:
                        message = f"two codelists have the id {one.id!r} and differ; rename one"
                        raise ValueError(message)
        return self


def _below_hours(expression: m.Node) -> bool:
    return any(isinstance(node, m.HoursWhere) for node in m.walk(expression))


def _no_free_items(node: m.Node) -> None:
    if isinstance(node, m.ForEach):
        _no_free_items(node.items)
        return
    if isinstance(node, m.ItemField):
        message = "each.… stands outside a question for each item; write rows.each(...)"
        raise ValueError(message)
    for part in m.children(node):
        _no_free_items(part)


class Feature(Document):
    """One value at a point, such as a model's input or a cohort's condition."""

    kind: Literal["feature"] = "feature"
    value: m.Expression


class Score(Document):
    """Points that add up.

    The total is missing as soon as one item is; then there is still "at least
    N": the sum of what is known, every item being at least 0. `lowest` and
    `highest` are the range as published.
    """

    kind: Literal["score"] = "score"
    items: tuple[Named, ...] = Field(min_length=1)
    lowest: float
    highest: float

    @model_validator(mode="after")
    def _numbers(self) -> Score:
        for item in self.items:
            if item.of.type != m.number_in("1"):
                message = (
                    f"item {item.name} must be a number without a unit; found a {item.of.type}; "
                    "divide a quantity by one of its unit (number(1, unit)), or define a feature"
                )
                raise ValueError(message)
        return self


class Measure(Document):
    """The answer to: was a patient treated as they should have been.

    Attributes
    ----------
    each : {"stay", "subject"}
        What one unit of counting is.
    population : Expression
        Whom the measure is about.
    exclusions : tuple of Named
        Who is left out although in the population.
    clock_start : Expression, optional
        From when the clock runs.
    due : Expression, optional
        When it closes. While *now* is earlier, or as long as it is missing,
        the answer is pending. None: it is closed at once.
    numerator : Expression, optional
        What should have happened (or, with `better` "lower", should not).
    decides_early : {"met", "failed", "never"}
        Which answer is final before the clock closes: a drug once given stays
        given ("met"); a drug to be avoided once given cannot be taken back
        ("failed").
    observation : Expression, optional
        A continuous measure's number, instead of a numerator.
    per : Expression, optional
        Makes the observation a ratio: sum of observations by sum of these.
    components : tuple of Named
        Parts of a composite numerator, counted one by one too.
    treated : Expression, optional
        A narrower denominator that is shown beside the whole one.
    interval : Expression, optional
        Hours from clock start to what was to happen, for its distribution.
    stratifiers : tuple of Named
        What the figures are broken down by.
    period_time : Expression, optional
        Which time places a case in a period; the clock's start, or the end of
        the stay, or its start, where none is named.
    better : {"higher", "lower", "neutral"}
        Which direction is improvement.
    """

    kind: Literal["measure"] = "measure"
    each: Literal["stay", "subject"] = "stay"
    population: m.Expression
    exclusions: tuple[Named, ...] = ()
    clock_start: m.Expression | None = None
    clock_title: str = ""
    due: m.Expression | None = None
    numerator: m.Expression | None = None
    decides_early: Literal["met", "failed", "never"] = "met"
    observation: m.Expression | None = None
    per: m.Expression | None = None
    components: tuple[Named, ...] = ()
    treated: m.Expression | None = None
    interval: m.Expression | None = None
    stratifiers: tuple[Named, ...] = ()
    period_time: m.Expression | None = None
    better: Literal["higher", "lower", "neutral"] = "neutral"

    @model_validator(mode="after")
    def _types(self) -> Measure:
        if (self.numerator is None) == (self.observation is None):
            message = "a measure has either a numerator or an observation"
            raise ValueError(message)
        if self.per is not None and self.observation is None:
            message = "per: only an observation can be taken per something"
            raise ValueError(message)
        wanted = {
            "population": "boolean",
            "clock_start": "time",
            "due": "time",
            "numerator": "boolean",
            "observation": "number",
            "per": "number",
            "treated": "boolean",
            "interval": "number",
            "period_time": "time",
        }
        for name, kind in wanted.items():
            part = getattr(self, name)
            if part is not None and part.type.name != kind:
                message = f"{name} must be a {kind}; found a {part.type}"
                raise ValueError(message)
        for group in (self.exclusions, self.components):
            for named in group:
                if named.of.type.name != "boolean":
                    message = f"{named.name} must be a boolean; found a {named.of.type}"
                    raise ValueError(message)
        if "unit" in {named.name for named in self.stratifiers}:
            message = "a stratifier cannot be called unit: units are always there"
            raise ValueError(message)
        names = [named.name for named in (*self.exclusions, *self.components, *self.stratifiers)]
        if len(names) != len(set(names)):
            message = "two exclusions, components or stratifiers have one name"
            raise ValueError(message)
        return self

    @property
    def placed_at(self) -> Any:
        """The time that places a case in a period."""
        if self.period_time is not None:
            return self.period_time
        if self.clock_start is not None:
            return self.clock_start
        return m.FirstKnown(of=(m.PointField(name="stay_end"), m.PointField(name="stay_start")))

    @property
    def status(self) -> Any:
        """The status as an expression: one of ``STATUSES``.

        In this order: unknown or not in the population; unknown or true
        exclusions; a clock that never started; an answer that is final early;
        a clock still open; the answer.
        """

        def text(word: str) -> m.Text:
            return m.Text(value=word)

        def line(when: Any, word: str) -> m.Branch:
            return m.Branch(when=when, then=text(word))

        def known_true(of: Any) -> Any:
            return m.FirstKnown(of=(of, m.Flag(value=False)))

        lines = [
            line(m.IsMissing(of=self.population), "unknown"),
            line(m.Not(of=self.population), "outside"),
        ]
        if self.exclusions:
            excluded = m.AnyOf(of=tuple(named.of for named in self.exclusions))
            lines += [
                line(m.IsMissing(of=excluded), "unknown"),
                line(excluded, "excluded"),
            ]
        if self.clock_start is not None:
            lines.append(line(m.IsMissing(of=self.clock_start), "unknown"))
        answer = self.numerator
        if answer is not None and self.decides_early == "met":
            lines.append(line(known_true(answer), "met"))
        if answer is not None and self.decides_early == "failed":
            lines.append(line(known_true(m.Not(of=answer)), "failed"))
        if self.due is not None:
            lines += [
                line(m.IsMissing(of=self.due), "pending"),
                line(
                    m.Compare(operation="<", left=m.PointField(name="now"), right=self.due),
                    "pending",
                ),
            ]
        if answer is None:
            lines.append(line(m.IsMissing(of=self.observation), "unknown"))
            if self.per is not None:
                lines.append(line(m.IsMissing(of=self.per), "unknown"))
            return m.Case(branches=tuple(lines), otherwise=text("measured"))
        lines += [line(m.IsMissing(of=answer), "unknown"), line(answer, "met")]
        return m.Case(branches=tuple(lines), otherwise=text("failed"))


Definition = Annotated[Feature | Score | Measure, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Definition)


def to_json(document: Document) -> str:
    """Write a document as JSON, the same text for the same content."""
    return _json(document)


def _json(document: Document, without: frozenset[str] = frozenset()) -> str:
    content = document.model_dump(mode="json", exclude=set(without))
    return json.dumps(content, ensure_ascii=False, sort_keys=True)


def from_json(text: str | bytes, *, name: str = "definition") -> Any:
    """Read a document from JSON.

    Raises
    ------
    BadInputError
        It is not a definition; the message names the place.
    """
    return validated(_ADAPTER, text, name=name, what="definition")


def validated(adapter: TypeAdapter[Any], text: str | bytes, *, name: str, what: str) -> Any:
    """Read JSON as what an adapter takes.

    Parameters
    ----------
    adapter : pydantic.TypeAdapter
    text : str or bytes
    name, what : str
        Of the text, and what it should be, for the message.

    Raises
    ------
    BadInputError
        It is something else; the message names the place.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(str(step) for step in first["loc"]) or "the whole"
        found = str(first["msg"]).removeprefix("Value error, ")
        message = f"{name}: not a valid {what}; found at {place}: {found}; correct it there"
        raise BadInputError(message) from None


def content_hash(document: Document) -> str:
    """Return the SHA-256 of a document's content, title and notes included.

    By what a document is judged (:attr:`Document.JUDGING`) is left out.
    """
    return hashlib.sha256(_json(document, document.JUDGING).encode()).hexdigest()


def codelists_of(document: Document) -> list[Codelist]:
    """Return every codelist that a document names, by id."""
    found: dict[str, Codelist] = {}
    for expression in document._expressions():
        for node in m.walk(expression):
            if isinstance(node, m.Frame):
                found.update({one.id: one for one in node.codelists})
    return [found[name] for name in sorted(found)]


def library(documents: Iterable[Document]) -> dict[str, Any]:
    """Return documents by id.

    Raises
    ------
    ConflictError
        Two definitions, or two codelists of different content, have one id.
    """
    found: dict[str, Document] = {}
    lists: dict[str, tuple[Codelist, str]] = {}
    for document in documents:
        if document.id in found:
            message = (
                f"definition {document.id}: two definitions have this id; found versions "
                f"{found[document.id].version} and {document.version}; rename one of them"
            )
            raise ConflictError(message)
        found[document.id] = document
        for one in codelists_of(document):
            known = lists.setdefault(one.id, (one, document.id))
            if known[0] != one:
                message = (
                    f"codelist {one.id}: two codelists have this id and differ; found in "
                    f"{known[1]} and {document.id}; rename one of them"
                )
                raise ConflictError(message)
    return dict(found)
