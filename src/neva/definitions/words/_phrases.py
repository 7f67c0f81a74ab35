"""Nodes in words: phrases with what stands below them, in English or Russian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from neva.definitions import model as m
from neva.definitions.words import _texts as words
from neva.definitions.words._said import LONGEST, Said, ladder_of
from neva.languages.language import LanguageCode

__all__ = ["Phrases"]

#: Of the operations, which binds more tightly.
_STRENGTH: Final = {"add": 1, "subtract": 1, "multiply": 2, "divide": 2}


def _marks(parts: Sequence[Said]) -> list[str]:
    """Number the phrases that stand below; what is short stands in the line itself."""
    return [
        part.text if part.is_short and (len(part.text) < 40 or len(parts) == 1) else f"({number})"
        for number, part in enumerate(parts, 1)
    ]


@dataclass
class Phrases:
    """Says nodes in one language.

    Attributes
    ----------
    language : {"en", "ru"}
        In which.
    names : dict of str to str
        Key of ``WORDS`` with a title, or a letter, by digest: what is said
        instead of the node itself.
    first : set of str
        Digests that are said whole where they come first, with their letter.
    unknown_windows : bool
        Whether a period was said whose limit may be unknown.
    """

    language: LanguageCode
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    first: set[str] = field(default_factory=set)
    unknown_windows: bool = False

    def word(self, key: str, *parts: str, case: str = "") -> str:
        """Return a template of the words, filled in; in a case where it has one."""
        if case == ":from":
            case = ":from" if f"{key}:from" in words.WORDS else ":gen"
        pair = words.WORDS.get(key + case) or words.WORDS[key]
        return pair[self.language == "ru"].format(*parts)

    def joined(self, key: str, *parts: Said, case: str = "", strict: bool = False) -> Said:
        """Fill phrases into a template; what is long goes below.

        With `strict`, nothing long stays in the line: a formula could be misread.
        """
        long = [part for part in parts if not part.is_short]
        if len(long) <= 1 and not (strict and long):
            text = self.word(key, *(part.text for part in parts), case=case)
            whole = not long or not long[0].is_list or text.endswith(long[0].text)
            if whole and (len(text) <= 2 * LONGEST or len(parts) == 1):
                return Said(text, long[0].below if long else ())
        marks = _marks(parts)
        return Said(
            self.word(key, *marks, case=case),
            tuple(
                replace(part, text=f"{mark} {part.text}")
                for part, mark in zip(parts, marks, strict=True)
                if mark != part.text
            ),
        )

    def listed(self, key: str, parts: Sequence[Said], *, case: str = "") -> Said:
        """A heading with its list; on one line where it is short."""
        if all(part.is_short for part in parts) and sum(len(part.text) for part in parts) < 60:
            return Said(f"{self.word(key, case=case)}: " + "; ".join(part.text for part in parts))
        return Said(self.word(key, case=case), tuple(parts), is_list=True)

    # ----------------------------------------------------------------- naming

    def say(self, node: Any, case: str = "", *, whole: bool = False) -> Said:
        """Say a node; `whole` says it itself where it has a name."""
        if not whole and node.digest in self.names and not isinstance(node, m.Frame):
            key, name = self.names[node.digest]
            if node.digest not in self.first:
                return Said(self.word(key, name, case=case))
            self.first.discard(node.digest)
            phrase = self.say(node, case, whole=True)
            return replace(phrase, text=self.word("part.mark", phrase.text, name))
        found: Said = getattr(self, f"_{type(node).__name__.lower()}")(node, case)
        return found

    # -------------------------------------------------------------- constants

    def number(self, value: float, unit: str) -> str:
        """A number with its unit."""
        if unit in ("h", "a"):
            return words.count(value, unit, self.language)
        if unit == "d":
            return words.count(value, "d", self.language)
        written = words.number(value, self.language)
        return written if unit == "1" else f"{written} {words.unit(unit, self.language)}"

    def _number(self, node: m.Number, _: str) -> Said:
        return Said(self.number(node.value, node.unit))

    def _flag(self, node: m.Flag, _: str) -> Said:
        return Said(self.word("flag.true" if node.value else "flag.false"))

    def _text(self, node: m.Text, _: str) -> Said:
        return Said(self.word("text", node.value))

    def _moment(self, node: m.Moment, _: str) -> Said:
        return Said(self.word("moment", f"{node.value:%Y-%m-%d %H:%M}"))

    def _missing(self, node: m.Missing, case: str) -> Said:
        return Said(self.word("missing", case=case if node.of == "time" else ""))

    def _pointfield(self, node: m.PointField, case: str) -> Said:
        return Said(self.word(f"point.{node.name}", case=case))

    def _age(self, node: m.Age, _: str) -> Said:
        if isinstance(node.at, m.PointField):
            if node.at.name == "now":
                return Said(self.word("age.now"))
            return self.joined("age.point", self.say(node.at, ":gen"))
        return self.joined("age", self.say(node.at))

    # ------------------------------------------------------------------- rows

    def _field(self, name: str, unit: str | None, case: str = "") -> str:
        if name == "value" and unit not in (None, "1"):
            return self.word("field.value.unit", words.unit(str(unit), self.language))
        return self.word(f"field.{name}", case=case)

    def _rowfield(self, node: m.RowField, case: str) -> Said:
        return Said(self._field(node.name, node.unit, case))

    def _attribute(self, node: m.Attribute, _: str) -> Said:
        return Said(self.word("field.attribute", node.key))

    def _itemfield(self, node: m.ItemField, case: str) -> Said:
        return Said(self.word("item", self._field(node.name, node.unit, case)))

    def _what(self, frame: m.Frame, form: str) -> str:
        """Rows of which codes, in a form: one, gen, many, many:gen."""
        noun = self.word(f"{frame.source}.{form}")
        if frame.digest in self.names and frame.digest not in self.first:
            return self.word("rows.group", noun, self.names[frame.digest][1])
        found = []
        for one in frame.codelists:
            system, _, text = one.id.partition("//")
            if frame.source == "movements" and system in ("UNIT", "UNITKIND"):
                key = "rows.unit" if system == "UNIT" else "rows.unit-kind"
                return self.word(key, noun, self.word("text", text))
            found.append(self.word("text", one.title or one.id))
        kinds = [code.removeprefix("STAY//") for code in frame.codes]
        if frame.source == "stays" and kinds and not found:
            named = self.word("rows.or").join(self.word("text", kind) for kind in kinds)
            return self.word("rows.kind", noun, named)
        found += [self.word("text", code) for code in frame.codes]
        if not found:
            return noun if frame.source != "events" else self.word("rows.any-code", noun)
        return self.word("rows.of", noun, self.word("rows.or").join(found))

    def _bound(self, bound: m.Bound, side: str) -> Said:
        key = f"{side}.{'closed' if bound.closed else 'open'}"
        phrase = self.joined(key, self.say(bound.time, ":gen"))
        if bound.open_if_missing:
            return replace(phrase, text=self.word("open-if-missing", phrase.text))
        self.unknown_windows |= not any(
            one == m.PointField(name="now") or isinstance(one, m.Moment)
            for one in (bound.time, getattr(bound.time, "time", None))
        )
        return phrase

    def _between(self, lower: m.Bound, upper: m.Bound) -> Said | None:
        """From a time to another, both included, where it fits into a line."""
        plain = all(bound.closed and not bound.open_if_missing for bound in (lower, upper))
        if not plain or self.first & {bound.time.digest for bound in (lower, upper)}:
            return None
        phrase = self.joined(
            "between", self.say(lower.time, ":from"), self.say(upper.time, ":from")
        )
        self.unknown_windows |= phrase.is_short
        return phrase if phrase.is_short else None

    def _window(self, frame: m.Frame) -> list[Said]:
        lower, upper = list(frame.lower), list(frame.upper)
        found: list[Said] = []
        if _STAY_START in lower and _STAY_END in upper:
            lower.remove(_STAY_START)
            upper.remove(_STAY_END)
            found.append(Said(self.word("during")))
        back = next((bound for bound in lower if _look_back(bound) is not None), None)
        if back is not None and _NOW in upper:
            lower.remove(back)
            upper.remove(_NOW)
            hours = _look_back(back)
            assert hours is not None  # chosen so
            found.append(Said(self.word("within", words.amount(hours, "hours", self.language))))
        if (
            frame.overlapping
            and (len(lower), len(upper), len(found)) == (1, 1, 0)
            and lower == upper
            and lower[0].closed
        ):
            self.unknown_windows |= not lower[0].open_if_missing
            return [self.joined("active-at", self.say(lower[0].time, ":gen"))]
        if len(lower) == len(upper) == 1 and not frame.overlapping:
            both = self._between(lower[0], upper[0])
            if both is not None:
                return [*found, both]
        found += [self._bound(bound, "lower") for bound in lower]
        found += [self._bound(bound, "upper") for bound in upper]
        if frame.overlapping:
            found.append(Said(self.word("overlapping")))
        return found

    def narrowed(self, frame: m.Frame) -> list[Said]:
        """Say what narrows a frame: condition, status, stay, window."""
        found: list[Said] = []
        if frame.where is not None:
            conditions = frame.where.of if isinstance(frame.where, m.AllOf) else (frame.where,)
            found += [self.joined("where", self.say(one)) for one in conditions]
        if frame.statuses != ("done",):
            named = [self.word(f"status.{status}") for status in frame.statuses]
            found.append(Said(self.word("statuses", self.word("rows.or").join(named))))
        if frame.of_stay:
            found.append(Said(self.word("of-stay")))
        return found + self._window(frame)

    def rows(
        self, frame: m.Frame, form: str = "many", template: str = "{}", *, inside: bool = True
    ) -> Said:
        """Say a frame, put into a template; what narrows it follows, or stands below.

        In brackets where more may follow (`inside`).
        """
        text = self._what(frame, form)
        narrowed = []
        if frame.digest in self.first:
            self.first.discard(frame.digest)
            text = self.word("part.mark", text, self.names[frame.digest][1])
            narrowed = self.narrowed(frame)
        elif frame.digest not in self.names:
            narrowed = self.narrowed(frame)
        text = template.format(text)
        conditions = ", ".join(one.text for one in narrowed)
        flat = (
            text
            if not narrowed
            else f"{text} ({conditions})"
            if inside
            else f"{text}, {conditions}"
        )
        if all(one.is_short for one in narrowed) and len(flat) <= LONGEST:
            return Said(flat)
        return Said(text, tuple(narrowed))

    def _frame(self, node: m.Frame, case: str) -> Said:
        return self.rows(node, f"many{case}" if case == ":gen" else "many")

    def _pick(self, node: m.Pick, case: str) -> Said:
        frame, field_text = node.frame, self._field(node.field, node.unit, case)
        noun = "{0}"
        if node.which in ("first", "last"):
            adjective = self.word(f"{frame.source}.{node.which}")
            noun = self.word(f"which.{node.which}", noun, adjective)
        elif node.which == "nth":
            assert node.n is not None  # nth has its number
            place = words.ordinal(abs(node.n), self.language, neuter=frame.source == "movements")
            noun = self.word("which.nth" if node.n > 0 else "which.nth.back", noun, place)
        else:
            noun = self.word(f"which.{node.which}", noun)
        whole = self.word("pick", "{field}", noun)
        return self.rows(frame, "gen", whole.replace("{field}", field_text).replace("{0}", "{}"))

    def _aggregate(self, node: m.Aggregate, _: str) -> Said:
        if node.how == "exists":
            return self.rows(
                node.frame, "one", self.word(f"{node.frame.source}.any", "{}"), inside=False
            )
        unit = ""
        if node.unit not in (None, "1"):
            unit = f" ({words.unit(str(node.unit), self.language)})"
        return self.rows(node.frame, "many:gen", self.word(f"how.{node.how}", "{}", unit))

    def _hourswhere(self, node: m.HoursWhere, _: str) -> Said:
        carry = words.amount(node.carry, "hours", self.language, genitive=True)
        readings = self.joined("hours-where.readings", self.say(node.frame))
        if node.condition is None:
            return Said(self.word("hours-where.any", carry), (readings,))
        condition = self.joined("hours-where.condition", self.say(node.condition))
        return Said(self.word("hours-where", carry), (condition, readings))

    def _days(self, node: m.Days, _: str) -> Said:
        return self.joined("days", self.say(node.start, ":from"), self.say(node.end, ":from"))

    def _every(self, node: m.Every, _: str) -> Said:
        step = Said(words.amount(node.hours, "hours", self.language))
        return self.joined(
            "every", self.say(node.start, ":from"), self.say(node.end, ":from"), step
        )

    def _foreach(self, node: m.ForEach, _: str) -> Said:
        asked = "each.condition" if node.how in ("any", "all", "count") else "each.value"
        return Said(
            self.word(f"each.{node.how}"),
            (
                self.joined("each.items", self.say(node.items)),
                self.joined(asked, self.say(node.value)),
            ),
        )

    # ------------------------------------------------------------- arithmetic

    def _arithmetic(self, node: m.Arithmetic, _: str) -> Said:
        if node.operation == "add":
            parts = [*self._summands(node.left), *self._summands(node.right)]
            if len(parts) > 2:
                return self.listed("add.many", [self.say(part) for part in parts])
        return self.joined(
            node.operation,
            self._factor(node.left, node.operation),
            self._factor(node.right, node.operation, is_right=True),
            strict=True,
        )

    def _summands(self, node: Any) -> list[Any]:
        if (
            isinstance(node, m.Arithmetic)
            and node.operation == "add"
            and node.digest not in self.names
        ):
            return [*self._summands(node.left), *self._summands(node.right)]
        return [node]

    def _factor(self, node: Any, operation: str = "", *, is_right: bool = False) -> Said:
        """A part of a formula, in brackets where it needs them."""
        phrase = self.say(node)
        if node.digest in self.names or not phrase.is_short:
            return phrase
        if isinstance(node, m.Arithmetic):
            inner, outer = _STRENGTH[node.operation], _STRENGTH.get(operation, 3)
            bare = inner > outer or (inner == outer and not is_right)
        else:
            bare = not isinstance(node, (m.Function, m.Case, m.Extreme, m.FirstKnown))
        return phrase if bare else replace(phrase, text=f"({phrase.text})")

    def _function(self, node: m.Function, _: str) -> Said:
        return self.joined(node.name, self._factor(node.of), strict=True)

    def _convert(self, node: m.Convert, _: str) -> Said:
        return self.joined("convert", self.say(node.of), Said(words.unit(node.unit, self.language)))

    def _extreme(self, node: m.Extreme, case: str) -> Said:
        kind = "time" if node.type.name == "time" else "number"
        return self.listed(f"{node.which}.{kind}", [self.say(one) for one in node.of], case=case)

    def _shift(self, node: m.Shift, case: str) -> Said:
        if not isinstance(node.amount, m.Number):
            return self.joined(
                f"shift.{node.unit}", self.say(node.time, ":gen"), self.say(node.amount)
            )
        value = node.amount.value
        if value == 0:
            return self.say(node.time, case)
        key = "after" if value > 0 else "before"
        long = Said(words.amount(abs(value), node.unit, self.language))
        return self.joined(key, long, self.say(node.time, ":from"), case=case)

    def _elapsed(self, node: m.Elapsed, _: str) -> Said:
        return self.joined("elapsed", self.say(node.start, ":from"), self.say(node.end, ":from"))

    def _calendardays(self, node: m.CalendarDays, _: str) -> Said:
        return self.joined(
            "calendar-days", self.say(node.start, ":from"), self.say(node.end, ":from")
        )

    def _startofday(self, node: m.StartOfDay, case: str) -> Said:
        return self.joined("start-of-day", self.say(node.of), case=case)

    def _clockpart(self, node: m.ClockPart, _: str) -> Said:
        return self.joined(f"clock.{node.part}", self.say(node.of))

    # ------------------------------------------------------------------ logic

    def _compare(self, node: m.Compare, _: str) -> Said:
        kind = node.left.type.name
        second = ":gen" if kind == "time" and node.operation not in ("==", "!=") else ""
        left, right = self.say(node.left), self.say(node.right, second)
        if isinstance(node.left, m.RowField) and isinstance(node.right, m.Number):
            # The number says the unit.
            left = Said(self._field(node.left.name, None))
        return self.joined(f"{kind}{node.operation}", left, right)

    def _oneof(self, node: m.OneOf, _: str) -> Said:
        if len(node.values) == 1:
            return self.joined("text==", self.say(node.of), Said(self.word("text", node.values[0])))
        values = ", ".join(self.word("text", one) for one in node.values)
        return self.joined("one-of", self.say(node.of), Said(values))

    def _several(self, key: str, parts: Sequence[Any]) -> Said:
        if len(parts) == 1:
            return self.say(parts[0])
        return Said(self.word(key), tuple(self.say(part) for part in parts), is_list=True)

    def _allof(self, node: m.AllOf, _: str) -> Said:
        return self._several("all", node.of)

    def _anyof(self, node: m.AnyOf, _: str) -> Said:
        return self._several("any", node.of)

    def _not(self, node: m.Not, _: str) -> Said:
        of = node.of
        if of.digest not in self.names:
            if isinstance(of, m.Aggregate) and of.how == "exists":
                key = "rows.none.movements" if of.frame.source == "movements" else "rows.none"
                form = "one" if self.language == "en" else "gen"
                return self.rows(of.frame, form, self.word(key, "{}"), inside=False)
            if isinstance(of, m.IsMissing):
                return self._known("is-known", of.of)
        return self.joined("not", self.say(of))

    def _ismissing(self, node: m.IsMissing, _: str) -> Said:
        return self._known("is-missing", node.of)

    def _known(self, key: str, node: Any) -> Said:
        phrase = self.say(node)
        return self.joined(f"{key}.long" if phrase.is_list else key, phrase)

    def _firstknown(self, node: m.FirstKnown, case: str) -> Said:
        first, *others = node.of
        if len(others) == 1 and isinstance(others[0], m.Flag):
            return self.joined("or-unknown" if others[0].value else "known-true", self.say(first))
        if not others:
            return self.say(first, case)
        if len(others) == 1 and node.type.name != "boolean":
            return self.joined(
                "first-known.two", self.say(first, case), self.say(others[0], case), case=case
            )
        return self.listed("first-known", [self.say(one) for one in node.of], case=case)

    def _branch(self, node: m.Branch, _: str) -> Said:
        lines = self._line(self.say(node.when), self.say(node.then))
        return lines[0] if len(lines) == 1 else Said(self.word("case"), tuple(lines), is_list=True)

    def _line(self, when: Said, then: Said) -> list[Said]:
        """A line of a case table; two where both parts are long."""
        if then.is_short and len(then.text) < LONGEST / 2:
            return [Said(self.word("case.line", when.text, then.text), when.below)]
        if when.is_short:
            return [Said(self.word("case.if", when.text, then.text), then.below)]
        return [
            Said(self.word("case.if", when.text, "").rstrip(": "), when.below),
            Said(self.word("case.then", then.text), then.below),
        ]

    def _case(self, node: m.Case, case: str) -> Said:
        return self._table(node, case, self.say)

    def points(self, node: Any) -> Said:
        """Say an item of a score: its numbers are points."""
        if isinstance(node, m.Number):
            return Said(words.count(node.value, "point", self.language))
        if not isinstance(node, m.Case) or node.digest in self.names:
            return self.say(node)
        return self._table(node, "", self.points)

    def _table(self, node: m.Case, case: str, say: Callable[[Any], Said]) -> Said:
        asked = ladder_of(node)
        if asked is not None:
            above: Said = self.joined("ladder", self.say(asked))
            steps = [self._step(one, say(one.then)) for one in node.branches]
            last = self.joined("case.otherwise", say(node.otherwise))
            return Said(above.text, (*above.below, *steps, last), is_list=True)
        lines = [
            line for one in node.branches for line in self._line(self.say(one.when), say(one.then))
        ]
        last = self.joined("case.otherwise", say(node.otherwise))
        if len(lines) == 1 and lines[0].is_short and last.is_short and not case:
            flat = Said(f"{lines[0].text}; {last.text}")
            if flat.is_short:
                return flat
        return Said(self.word("case", case=case), (*lines, last), is_list=True)

    def _step(self, branch: m.Branch, then: Said) -> Said:
        """A line of a table whose lines all ask about one thing: the limit and the result."""
        when: Any = branch.when
        if isinstance(when, m.OneOf):
            limit = ", ".join(self.word("text", one) for one in when.values)
        else:
            key = f"{when.left.type.name}{when.operation}"
            sign = self.word(key, "", "").strip() if key.startswith("number") else ""
            sign = "≠" if key == "text!=" else sign
            limit = f"{sign} {self.say(when.right).text}".strip()
        return Said(f"{limit}: {then.text}", then.below)


def _stay_bound(name: Any) -> m.Bound:
    return m.Bound(time=m.PointField(name=name), closed=True, open_if_missing=True)


_STAY_START, _STAY_END = _stay_bound("stay_start"), _stay_bound("stay_end")
_NOW = m.Bound(time=m.PointField(name="now"), closed=True)


def _look_back(bound: m.Bound) -> float | None:
    """Hours of a look-back that begins at this bound."""
    time = bound.time
    if (
        isinstance(time, m.Shift)
        and time.unit == "hours"
        and time.time == m.PointField(name="now")
        and isinstance(time.amount, m.Number)
        and time.amount.value < 0
        and not bound.closed
        and not bound.open_if_missing
    ):
        return -time.amount.value
    return None
