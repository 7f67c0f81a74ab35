"""A guess about a table, written as the YAML of a mapping with its doubts as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as Lookup
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from neva.sources.csv.mapping import Mapping
from neva.sources.guess.columns import ColumnValues

__all__ = ["Guess", "written"]

#: Systems whose codes are known by how they are written.
_SYSTEMS: Final = (
    ("ICD10", "ICD-10", r"^[A-Z]\d\d(\.\d{1,2})?[*+†]?$"),
    ("LOINC", "LOINC", r"^\d{1,5}-\d$"),
    ("ATC", "ATC", r"^[A-Z]\d{2}[A-Z]{2}\d{2}$"),
)
_SEX = {
    "male": ("m", "male", "man", "м", "муж", "мужской", "mann", "männlich"),
    "female": ("f", "female", "woman", "ж", "жен", "женский", "w", "frau", "weiblich"),
}
_LATIN = "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch . y . e yu ya"
_LETTERS = dict(zip("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", _LATIN.split(" "), strict=True)) | {
    "α": "-alpha",
    "β": "-beta",
    "γ": "-gamma",
    "ä": "ae",
    "ö": "oe",
    "ü": "ue",
    "ß": "ss",
}


@dataclass(frozen=True)
class Guess:
    """What is taken for what; columns by their looks, in the order of the file."""

    name: str
    mapping: Mapping
    frame: pl.DataFrame
    values: Lookup[str, ColumnValues]
    columns: Lookup[str, list[str]]
    measurements: list[str]
    attributes: list[str]
    states: list[str]
    fill_down: list[str]
    hours: str | None
    unusable: list[str]
    is_text: bool = True
    assigners: Sequence[str] = ()
    comments: list[str] = field(default_factory=list)

    def one(self, look: str) -> str | None:
        """Return the column that looks so."""
        found = [name for name in self.columns.get(look, ()) if name != self.hours]
        return found[0] if found else None

    def time(self, column: str) -> str:
        """Write a field of a time."""
        formats = self.values[column].formats
        if self.hours is not None and column == self.one("time"):
            day = formats[0] if formats else "%Y-%m-%d"
            text = f"{{{column}}} {{{self.hours}}}:00"
            return f"{{template: {quoted(text)}, formats: [{quoted(day + ' %H:%M')}]}}"
        if not formats:
            return quoted(column)
        return f"{{column: {quoted(column)}, formats: [{', '.join(map(quoted, formats))}]}}"


def quoted(text: str) -> str:
    r"""Write a text so that YAML reads it as that text, on one line.

    Examples
    --------
    >>> quoted("a: #b"), quoted("x" + chr(10) + "y")
    ('"a: #b"', '"x\\ny"')
    """
    return json.dumps(text, ensure_ascii=not text.isprintable())


def slug(text: str) -> str:
    """Write a text with small ASCII letters, digits and hyphens.

    Examples
    --------
    >>> slug("Serum chloride (mmol/L)"), slug("Лактат крови")
    ('serum-chloride-mmol-l', 'laktat-krovi')
    """
    latin = "".join(_LETTERS.get(letter, letter) for letter in text.lower())
    return re.sub(r"[^a-z0-9]+", "-", latin.replace(".", "")).strip("-") or "column"


def _head(guess: Guess) -> list[str]:
    mapping = guess.mapping
    lines = [
        "# Guessed from the first rows of the file. Read every line before importing;",
        "# docs/sources/csv.md says what can stand here.",
        "neva: 1",
        "# The same name for every delivery of this table: by it its rows are known again.",
        f"name: {quoted(guess.name)}",
    ]
    lines.append("# Who gives the patients' ids. The same id means the same person only where this")
    lines.append("# is the same; write one of the known ones only if the ids are truly the same.")
    if guess.assigners:
        lines.append(f"# Known here: {', '.join(map(quoted, guess.assigners))}.")
    lines.append(f"assigner: {quoted(guess.name)}")
    if guess.is_text:
        lines.append(f"encoding: {mapping.encoding}")
        lines.append(f"separator: {quoted(mapping.separator)}")
        if mapping.decimal != ".":
            lines.append(f"decimal: {quoted(mapping.decimal)}")
    if mapping.missing != [""]:
        lines.append(f"missing: [{', '.join(map(quoted, mapping.missing))}]")
    lines.append("tables:")
    return lines


def _ids(guess: Guess) -> list[str]:
    patient, stay = guess.one("patient"), guess.one("stay")
    admission = guess.one("admission")
    lines = []
    if patient:
        lines.append(f"subject: {quoted(patient)}")
    elif stay:
        lines.append("# No column names the patient: each case counts as a patient of its own.")
        lines.append(f"subject: {quoted(stay)}")
    else:
        lines.append("# No column could be taken for the patient's id, so that every row will be")
        lines.append("# refused. Write here, without the sign #, which it is:")
        lines.append('# subject: "COLUMN"')
    if stay:
        lines.append(f"stay: {quoted(stay)}")
    elif patient and admission and not set("{}") & set(patient + admission):
        lines.append("# No column names the stay: patient and time of admission together do.")
        lines.append(f"stay: {{template: {quoted(f'{{{patient}}}/{{{admission}}}')}}}")
    return lines


def _table(guess: Guess) -> list[str]:
    lines = []
    if guess.fill_down:
        lines.append("# Assumed: the id is written on the first row of each patient only.")
        lines.append(f"fill_down: [{quoted(guess.fill_down[0])}]")
    lines += _ids(guess)
    order = guess.one("order")
    if order:
        lines.append(f"order: {{column: {quoted(order)}}}")
    else:
        lines.append("order: position   # assumed: rows of one time happened in the file's order")
    recorded = guess.one("recorded")
    if recorded:
        column = guess.time(recorded)
        lines.append("# Where the column is empty: assumed to be known at once.")
        lines.append(f"recorded: {{column: {column}, after: time, delay: 0 min}}")
    else:
        lines.append("# An assumption: the file does not say when a row was known; here, at its")
        lines.append("# own time. Write a delay if results come later, as in 'delay: 2 h'.")
        lines.append("recorded: {after: time, delay: 0 min}")
    return lines


def _subjects(guess: Guess, when: str | None) -> list[str]:
    birth, sex = guess.one("birth"), guess.one("sex")
    keys = []
    if birth:
        keys.append(f"birth_date: {guess.time(birth)}")
    if sex:
        held = guess.frame[sex].drop_nulls().cast(pl.String).unique().sort().to_list()
        known = {
            text: meant for text in held for meant, words in _SEX.items()
            if text.strip().lower() in words
        }  # fmt: skip
        if known:
            pairs = ", ".join(f"{quoted(text)}: {meant}" for text, meant in known.items())
            keys.append(f"sex: {{column: {quoted(sex)}, map: {{{pairs}}}, otherwise: missing}}")
        else:
            guess.comments.append(
                f"{quoted(sex)} seems to be the sex, in an unknown spelling; left out"
            )
    if not keys or not (guess.one("patient") or guess.one("stay")):
        return []
    lines = ["subjects:", *[f"{'- ' if k == 0 else '  '}{key}" for k, key in enumerate(keys)]]
    if when:
        lines.append(f"  recorded: {{after: {guess.time(when)}, delay: 0 min}}   # assumed")
    return lines


def _places(guess: Guess) -> list[str]:
    """Write stays and movements."""
    admission, discharge = guess.one("admission"), guess.one("discharge")
    unit, stay = guess.one("unit"), guess.one("stay")
    patient = guess.one("patient")
    lines: list[str] = []
    start = admission or guess.one("time")
    end = discharge or guess.one("end-time")
    if admission and (stay or patient):
        pairs = guess.frame.select([*{stay or patient, admission}]).drop_nulls()
        one_each = stay is None or pairs.n_unique() == pairs[stay].n_unique()
        if one_each:
            lines += ["stays:", f"- start: {guess.time(admission)}"]
            if discharge:
                lines.append(f"  end: {guess.time(discharge)}")
            lines.append("  kind: {constant: inpatient}   # assumed")
        else:
            guess.comments.append("a stay has several times of admission; no stays are made")
    # In a log of events the unit is quoted of the event, and is no stay in it.
    if unit and start and end and (patient or stay) and (admission or not guess.one("code")):
        lines += [
            "movements:",
            f"- unit: {quoted(unit)}",
            f"  start: {guess.time(start)}",
            f"  end: {guess.time(end)}",
        ]
    return lines


def _number_lines(guess: Guess, column: str) -> list[str]:
    values = guess.values[column]
    return [
        *(["comparators: true"] if values.comparators else []),
        *(["unreadable: text"] if values.numbers < 1.0 else []),
    ]


def _system(guess: Guess, code: str) -> tuple[str, list[str]]:
    """Name the system of a column's codes, and say why it is not the table's own."""
    held = guess.frame[code].drop_nulls().cast(pl.String).str.strip_chars()
    for system, title, pattern in _SYSTEMS:
        if len(held) and held.str.contains(pattern).all():
            return system, [f"# Assumed: codes of {title}, because they are written like them."]
    return guess.name.upper(), []


def _long(guess: Guess, code: str, time: str) -> list[str]:
    system, why = _system(guess, code)
    lines = [
        *why,
        "events:",
        f"- code: {{system: {quoted(system)}, column: {quoted(code)}}}",
        f"  time: {guess.time(time)}",
    ]
    used = {code, time, guess.hours}
    end = guess.one("end-time")
    if end:
        lines.append(f"  end_time: {guess.time(end)}")
    values = guess.columns.get("value", [])
    if len(values) == 1:
        more = ", ".join([f"column: {quoted(values[0])}", *_number_lines(guess, values[0])])
        lines.append(f"  value: {{{more}}}")
    elif values:
        how = sorted({one for name in values for one in _number_lines(guess, name)})
        first = f"first_of: [{', '.join(map(quoted, values))}]"
        lines.append(f"  value: {{{', '.join([first, *how])}}}")
    for key, look in (("value_unit", "value-unit"), ("text", "text"), ("row_id", "row-id")):
        column = guess.one(look)
        if column:
            lines.append(f"  {key}: {quoted(column)}")
    kept = [name for name in guess.attributes if name not in used]
    if guess.one("unit"):
        kept.append(str(guess.one("unit")))
    if kept:
        lines.append("  attributes:")
        lines += [f"  - {quoted(name)}" for name in kept]
    return lines


def _wide(guess: Guess, time: str) -> list[str]:
    lines = [
        "# Each of these columns is taken for a measurement. Give units of measurement as in",
        '#   "crea": {code: "creatinine", value_unit: "umol/L"}',
        "events:",
        f"- time: {guess.time(time)}",
        f"  system: {quoted(guess.name.upper())}",
    ]
    more = sorted({one for name in guess.measurements for one in _number_lines(guess, name)})
    if more:
        first = quoted(guess.measurements[0])
        lines.append(f"  value: {{{', '.join([f'column: {first}', *more])}}}")
    lines.append("  wide:")
    taken: set[str] = set()
    for name in guess.measurements:
        code, number = slug(name), 1
        while code in taken:
            number += 1
            code = f"{slug(name)}-{number}"
        taken.add(code)
        lines.append(f"    {quoted(name)}: {quoted(code)}")
    return lines


def written(guess: Guess) -> str:
    """Write the YAML of a guess."""
    time = guess.one("time") or guess.one("admission")
    code = guess.one("code")
    events: list[str] = []
    if time is None:
        guess.comments.append("no column looks like a time: no events are made")
    elif code:
        events = _long(guess, code, time)
    elif guess.measurements:
        events = _wide(guess, time)
    else:
        guess.comments.append("no column looks like a code or a measurement: no events are made")
    if guess.states:
        guess.comments.append(
            f"{len(guess.states)} numbered columns may be states one after the other; see "
            "'States in columns' of the documentation"
        )
    either = [
        name for looks in guess.columns.values() for name in looks if guess.values[name].either_way
    ]
    if either:
        guess.comments.append(
            f"day and month could be exchanged in {', '.join(map(quoted, either))}; "
            "day first is assumed"
        )
    if guess.unusable:
        names = ", ".join(map(quoted, guess.unusable))
        guess.comments.append(f"columns whose name is empty or stands twice are left out: {names}")
    if not code and guess.attributes:
        shown = ", ".join(map(quoted, guess.attributes[:40]))
        guess.comments.append(f"left out: {shown}")
    rules = [*_subjects(guess, time), *_places(guess), *events]
    body = [*_table(guess), *[f"# {one}" for one in guess.comments], *rules]
    lines = [f"{'  - ' if k == 0 else '    '}{line}" for k, line in enumerate(body)]
    # A list item must begin with a key: comments that come first stand before it.
    first = next(k for k, line in enumerate(body) if not line.startswith("#"))
    lines = [
        *[f"  {line}" for line in body[:first]],
        f"  - {body[first]}",
        *lines[first + 1 :],
    ]
    return "\n".join([*_head(guess), *lines]) + "\n"
