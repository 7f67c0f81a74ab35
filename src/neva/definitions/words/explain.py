"""Definitions in plain words, in English and Russian, for those who answer for the figures.

The words come from the model itself, never from what its author wrote about
it: what is explained is what is counted.
"""

from __future__ import annotations

from typing import Any

from neva.definitions import model as m
from neva.definitions.codelists import Codelist
from neva.definitions.documents import (
    Document,
    Feature,
    Measure,
    Named,
    Score,
    codelists_of,
    content_hash,
)
from neva.definitions.words import _texts as words
from neva.definitions.words._phrases import Phrases
from neva.definitions.words._said import Said, labels_of
from neva.errors import UsageError
from neva.languages.language import LANGUAGES, LanguageCode

__all__ = ["explain"]

#: So many codes of a list are written out.
MOST_CODES = 8


def explain(definition: Any, language: str = "en") -> str:
    """Explain a definition, or a part of one, in plain words.

    Parameters
    ----------
    definition : Document or Node or Value
        A feature, score or measure; a node of the model; or an expression or
        rows as they are written.
    language : {"en", "ru"}
        Titles and notes stay in the language in which they were written.

    Returns
    -------
    str
        Lines; indented lists show what belongs to what.

    Raises
    ------
    UsageError
        There are no words in this language.

    Examples
    --------
    >>> from neva.definitions.language import *
    >>> saturation = events(codelist("saturation", "LOINC//59408-5", title="SpO2"))
    >>> print(explain(saturation.within(hours(24)).last().value("%") < 92))
    value (%) of the last record of “SpO2” (in the last 24 hours) < 92 %
    """
    if language not in LANGUAGES:
        message = f"language: no words in it; found {language!r}; choose {' or '.join(LANGUAGES)}"
        raise UsageError(message)
    if isinstance(definition, Document):
        return _Page(definition, "ru" if language == "ru" else "en").text()
    node = getattr(definition, "node", getattr(definition, "frame", definition))
    phrases = Phrases("ru" if language == "ru" else "en")
    phrase = phrases.say(node)
    colon = ":" if phrase.below else ""
    return "\n".join([phrase.text + colon, *(line for one in phrase.below for line in one.lines())])


class _Page:
    """A document, section by section."""

    def __init__(self, document: Document, language: LanguageCode) -> None:
        self.document = document
        self.phrases = Phrases(language)
        self.lines: list[str] = []
        self._titled: list[m.Node] = []
        if isinstance(document, Measure):
            if document.clock_start is not None and document.clock_title:
                self._name(document.clock_start, document.clock_title)
            for one in (*document.components, *document.exclusions):
                self._name(one.of, self.title(one))
            if isinstance(document.due, m.Shift):
                self.phrases.names.setdefault(document.due.digest, ("deadline", ""))
        self.parts = labels_of(self._roots(), dict.fromkeys(self.phrases.names, ""))
        for letter, node in self.parts:
            key = "group" if isinstance(node, m.Frame) else f"part.{node.type.name}"
            self.phrases.names[node.digest] = (key, letter)
        if isinstance(document, Measure):
            # Few, and each is said whole where it comes first; formulas have many.
            self.phrases.first = {node.digest for _, node in self.parts}

    def _roots(self) -> list[m.Node]:
        """Every expression of the document, the clock's and the deadline's uses told apart."""
        return list(self.document._expressions())

    def _name(self, node: m.Node, title: str) -> None:
        if not isinstance(node, m.PointField):
            self.phrases.names.setdefault(node.digest, (f"named.{node.type.name}", title))

    def title(self, one: Named | Document) -> str:
        """The title in the language, or what there is."""
        name = one.name if isinstance(one, Named) else one.id
        if self.phrases.language == "ru":
            return one.title_ru or one.title or name
        return one.title or name

    # ----------------------------------------------------------------- layout

    def say(self, key: str, *parts: str) -> None:
        """Add a line of words."""
        self.lines.append(self.phrases.word(key, *parts))

    def section(self, key: str, phrase: list[Said]) -> None:
        """Add a heading with its list."""
        if phrase:
            self.lines += ["", self.phrases.word(f"section.{key}") + ":"]
            self.lines += [line for one in phrase for line in one.lines()]

    def expression(self, node: Any) -> list[Said]:
        """Say an expression as the lines of a section: what it is, not its name."""
        return [self.phrases.say(node, whole=True)]

    def named(self, parts: tuple[Named, ...], *, whole: bool = True) -> list[Said]:
        """Say named parts: the title, and below it the expression."""
        found = []
        for one in parts:
            phrase = self.phrases.say(one.of, whole=whole)
            found.append(Said(f"{self.title(one)}: {phrase.text}", phrase.below))
        return found

    def text(self) -> str:
        """The whole page."""
        document, language = self.document, self.phrases.language
        self.lines.append(self.title(document))
        self.say("head", document.id, document.version, content_hash(document)[:12])
        if document.description:
            self.lines.append(document.description)
        match document:
            case Feature():
                self.say("kind.feature")
                self.section("value", self.expression(document.value))
            case Score():
                low, high = (words.number(n, language) for n in (document.lowest, document.highest))
                self.say("kind.score", low, high)
                self.section("items", self._items(document))
            case Measure():
                self._measure(document)
        self.section("parts", self._parts())
        if self.phrases.unknown_windows:
            self.lines.append("")
            self.say("window.unknown")
        lists = [one for one in codelists_of(document) if not one.id.startswith("UNIT")]
        self.section("codelists", [Said(self._codelist(one)) for one in lists])
        self.section("evidence", [Said(one) for one in document.evidence])
        self.section("notes", [Said(one) for one in document.notes])
        return "\n".join(self.lines)

    def _items(self, document: Score) -> list[Said]:
        found = []
        for one in document.items:
            phrase = self.phrases.points(one.of)
            title = self.title(one)
            # The lines of a case stand directly below the item.
            plain = phrase.text == self.phrases.word("case")
            found.append(Said(title if plain else f"{title}: {phrase.text}", phrase.below))
        return found

    def _measure(self, document: Measure) -> None:
        subject = ".subject" if document.each == "subject" else ""
        self.say(f"kind.measure{subject}", self.phrases.word(f"better.{document.better}"))
        population: Any = document.population
        several = isinstance(population, m.AllOf) and len(population.of) > 1
        self.section(
            f"population{subject}{'.all' if several else ''}",
            [self.phrases.say(part) for part in population.of]
            if several
            else self.expression(population),
        )
        self.section("exclusions", self.named(document.exclusions))
        if document.clock_start is not None:
            phrase = self.phrases.say(document.clock_start, whole=True)
            if document.clock_title and phrase.text != document.clock_title:
                title = self.phrases.word("text", document.clock_title)
                phrase = Said(f"{title}: {phrase.text}", phrase.below)
            self.section("clock", [phrase])
            if not isinstance(document.clock_start, m.PointField):
                self.say("clock.unknown")
        if document.due is not None:
            self.section("due", [self.phrases.say(document.due, whole=True)])
            self.say("due.missing")
        if document.numerator is not None:
            self.section("numerator", self.expression(document.numerator))
            self.say("due.none" if document.due is None else f"early.{document.decides_early}")
        if document.observation is not None:
            self.section("observation", self.expression(document.observation))
        for name in ("per", "treated", "interval"):
            part = getattr(document, name)
            if part is not None:
                self.section(name, self.expression(part))
        self.section("components", self.named(document.components))
        self.section("stratifiers", self.named(document.stratifiers, whole=False))
        if document.period_time is not None or document.clock_start is None:
            self.section("period", [self.phrases.say(document.placed_at)])

    def _parts(self) -> list[Said]:
        found: list[Said] = []
        if isinstance(self.document, Measure):
            return found
        for letter, node in self.parts:
            if isinstance(node, m.Frame):
                del self.phrases.names[node.digest]
                phrase = self.phrases.rows(node)
                self.phrases.names[node.digest] = ("group", letter)
            else:
                phrase = self.phrases.say(node, whole=True)
            found.append(
                Said(f"{letter}: {phrase.text}", phrase.below)
                if phrase.below
                else Said(f"{letter}: {phrase.text}")
            )
        return found

    def _codelist(self, one: Codelist) -> str:
        phrases, language = self.phrases, self.phrases.language

        def several(codes: tuple[str, ...]) -> str:
            shown = ", ".join(codes[:MOST_CODES])
            more = len(codes) - MOST_CODES
            return phrases.word("codelist.more", shown, str(more)) if more > 0 else shown

        counted = words.count(len(one.codes), "code", language)
        text = phrases.word(
            "codelist", one.title or one.id, one.id, one.version, counted, several(one.codes)
        )
        if one.descendants:
            text += phrases.word("codelist.below")
        if one.excluding:
            text += phrases.word("codelist.excluding", several(one.excluding))
        return text
