"""What the columns of an unknown table appear to be, from their names and values.

Names are looked for in English, German and Russian.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from neva.sources.csv.fields import Fields
from neva.sources.csv.mapping import Mapping, Time

__all__ = [
    "LOOKS",
    "WHYS",
    "ColumnLook",
    "ColumnValues",
    "encoding_of",
    "names_say",
    "plain_name",
    "separator_of",
    "values_of",
]

#: What a column may look like, in words.
LOOKS: Final = {
    "patient": "patient id",
    "stay": "stay id",
    "row-id": "id of the row",
    "time": "time",
    "end-time": "end time",
    "admission": "time of admission",
    "discharge": "time of discharge",
    "recorded": "time of recording",
    "birth": "date of birth",
    "sex": "sex",
    "code": "code",
    "value": "value",
    "value-unit": "unit of measurement",
    "unit": "unit of the hospital",
    "measurement": "measurement (a column for each)",
    "text": "text",
    "order": "order",
    "attribute": "attribute",
    "empty": "nothing",
}
#: Why it looks so, in words.
WHYS: Final = {
    "name": "its name says so",
    "name-and-values": "its name and its values say so",
    "times": "its values are times in one format",
    "hours": "hours of the day beside a date",
    "only-id": "the only column that looks like an id",
    "repeats": "a text that repeats, and no name that says more",
    "numbers": "its values are numbers",
    "code-name": "numbers, and its name is one of the codes",
    "constant": "does not change within a patient",
    "states": "one of several numbered columns",
    "words": "long texts that hardly repeat",
    "nothing": "nothing more certain can be said",
    "empty": "no value in the rows that were read",
    "twice": "its name appears twice in the header, or is empty",
}

#: What names say, the surest first. A name is written plainly: small letters,
#: no marks between words.
_NAMES: Final[tuple[tuple[str, str], ...]] = (
    ("birth", r"\bbirth|\bborn\b|\bdob\b|geburt|рожден"),
    ("sex", r"^sex$|^gender$|geschlecht|^пол\b|patient sex|пол пациента"),
    ("recorded", r"\b(entered|recorded|stored|storetime|erfasst|внесен\w*|записан\w*)\b"),
    ("discharge", r"discharg|dischtime|\bouttime\b|entlass|выпис|выбы|^out$"),
    ("admission", r"\badmi(?!n)|\barriv|\bintime\b|aufnahme|поступл|дата госпитализ|^in$"),
    ("row-id", (r"(event|row|record|instance|entry|line|transfer|записи|строки|события|zeilen)"
               r" ?(id|nr|no|number|номер)$|^(id|номер) (записи|строки|события)$")),
    ("patient", (r"^(patient|subject|person|mrn|pat id|patientin|больной|пациент)$"
                r"|(patient\w*|subject|person|pat|пациента|больного) ?(id|nr|no|number|code|key|"
                r"nummer|номер|код)$|^(ид|id|№|номер|код) (пациента|больного)|^patienten\w*$|"
                r"(record number|медкарт|медицинской карты)")),
    ("stay", (r"^case( ?(id|concept name|no|nr|number|key))?$|\b(stay|visit|encounter|hadm|"
             r"admission|hospitalization) ?(id|nr|no|number|key)$|^(stay|visit|encounter)$|"
             r"^fall( ?(id|nr|nummer))?$|^fallnummer|aufenthalt|^(ид|id|№|номер) (госпитализации|"
             r"случая|визита|истории болезни)|истори\w+ болезни|^(случай|госпитализация)$")),
    ("order", r"^(order|sequence|seq|seq num|reihenfolge|lfd nr|порядок|порядковый номер)$"),
    ("value-unit", (r"\buom\b|valueuom|einheit|единиц|^ед( изм\w*)?$|unit of measure|value unit|"
                   r"unit name|^units$")),
    ("unit", r"\bward\b|department|careunit|care unit|^station$|abteilung|отделени|^unit$"),
    ("end-time", (r"\bend\b|\bend(time|date)\b|^until$|^to$|\bstop|finish|^ende\b|^bis$|конец|"
                 r"окончан|заверш")),
    ("code", r"^(activity|concept name|task|event|aktivitat|ereignis|событие|активность)$"),
    ("code", (r"^(code|what|procedure|drug|medication|analyte|test|test name|parameter|item|exam|"
             r"leistung|prozedur|medikament|untersuchung|laborwert|процедура|услуга|препарат|"
             r"показатель|анализ|назначение|исследование|операция|наименование\b.*)$|itemid")),
    ("code", r"diagnos|диагноз|\bmkb\b|\bicd\b|мкб"),
    ("value", (r"^(value|valuenum|result|wert|ergebnis|messwert|значение|результат|dose|доза)"
              r"( \w+)?$")),
    ("text", (r"^(text|note|notes|comment|comments|bemerkung|kommentar|befund|примечание|"
             r"комментарий|описание|заключение)$")),
    ("time", r"\b(time|date|timestamp|datetime|zeit|zeitpunkt|datum|дата|время|when)\b"),
)  # fmt: skip
_ID_NAME: Final = re.compile(r"\b(id|nr|no|number|nummer|key|ид|номер)\b|№|^#$")
_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M",
    "%d.%m.%Y %H:%M:%S%.f", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d.%m.%y %H:%M", "%d.%m.%y",
    "%Y/%m/%d", "%d/%m/%Y %H:%M:%S%.f", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S%.f",
    "%m/%d/%Y %H:%M", "%m/%d/%Y", "%d-%m-%Y %H:%M:%S%.f", "%d-%m-%Y %H:%M", "%d-%m-%Y",
    "%d-%b-%Y %H:%M:%S%.f", "%d-%b-%Y %H:%M", "%d-%b-%Y", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d",
)  # fmt: skip
#: Digits alone are numbers unless their column's name says that they are times.
_ONLY_DIGITS: Final = ("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d")
_SOONEST, _LATEST = datetime(1850, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: A column is of a kind if so many of its values are.
MOST_OF: Final = 0.95
#: Signs beyond ASCII of German and English texts; in Windows-1251 rare letters.
_WESTERN: Final = frozenset("äöüÄÖÜßéèê°µ²³§€–„“”’")
#: What a time looks like from afar: looked for before any format is tried.
_LIKE_A_TIME: Final = r"^\d{1,4}[-./ ]\w{1,3}[-./ ]\d{2,4}"
_LOOKED_AT: Final = 200


@dataclass(frozen=True, slots=True)
class ColumnLook:
    """What one column looks like.

    Attributes
    ----------
    name : str
    filled : float
        Share of rows with a value, 0-1.
    distinct : int
        Different values in the rows that were read.
    looks : str
        A key of :data:`LOOKS`.
    why : str
        A key of :data:`WHYS`.
    examples : tuple of str
        Up to three values, out of patients' rows: for the page of the user who
        uploaded the file, for no message or log.
    """

    name: str
    filled: float
    distinct: int
    looks: str
    why: str
    examples: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ColumnValues:
    """What the values of one column are.

    Attributes
    ----------
    filled, distinct
        As in :class:`ColumnLook`.
    numbers : float
        Share of the values that are numbers.
    whole : bool
        Every number is a whole one.
    comparators : bool
        Some are written ``<5`` or ``>5``.
    formats : tuple of str or None
        How times are written; empty: ISO 8601; None: no times.
    either_way : bool
        Day and month could be exchanged.
    length : float
        Characters, on average.
    """

    filled: float
    distinct: int
    numbers: float
    whole: bool
    comparators: bool
    formats: tuple[str, ...] | None
    either_way: bool
    length: float


def plain_name(name: str) -> str:
    """Write a column's name in small letters without marks.

    Examples
    --------
    >>> plain_name("case:concept:name"), plain_name("AdmissionTime"), plain_name("Größe")
    ('case concept name', 'admission time', 'große')
    """
    split = re.sub(r"(?<=[a-zа-я])(?=[A-ZА-Я])", " ", name.strip())
    small = split.lower().replace("ё", "е")
    for umlaut, letter in (("ä", "a"), ("ö", "o"), ("ü", "u")):
        small = small.replace(umlaut, letter)
    return re.sub(r"[\s_\-.:/()\[\]]+", " ", small).strip()


def names_say(name: str) -> tuple[str | None, int]:
    """Say what a name alone says: a key of :data:`LOOKS`, and its rank (lower is surer).

    Examples
    --------
    >>> names_say("ID пациента")[0], names_say("Дата поступления")[0], names_say("Отделение")[0]
    ('patient', 'admission', 'unit')
    >>> names_say("Fallnummer")[0], names_say("hadm_id")[0], names_say("closecode")[0]
    ('stay', 'stay', None)
    """
    plain = plain_name(name)
    for rank, (look, pattern) in enumerate(_NAMES):
        if re.search(pattern, plain):
            return look, rank
    return None, len(_NAMES)


def is_id_name(name: str) -> bool:
    """Say whether a name speaks of an id or number of something."""
    return bool(_ID_NAME.search(plain_name(name)))


def encoding_of(content: bytes) -> str:
    """Say in which encoding a text is written: UTF-8, or a one-byte one by its letters.

    Examples
    --------
    >>> encoding_of("пациент".encode("cp1251")), encoding_of("Größe".encode("cp1252"))
    ('windows-1251', 'windows-1252')
    >>> encoding_of("Größe".encode())
    'utf-8'
    """
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    head = b" ".join(re.findall(rb"[\x80-\xff]+", content[: 2**20]))
    letters = head.replace(b" ", b"").decode("cp1252", "replace")
    if sum(letter in _WESTERN for letter in letters) >= 0.9 * len(letters):
        return "windows-1252"
    common = set("оеаинтсрвлкмдпу")
    scores = {
        name: sum(letter in common for letter in head.decode(name, "replace"))
        for name in ("windows-1251", "cp866", "koi8-r")
    }
    return max(scores, key=lambda name: scores[name])


def separator_of(text: str) -> str:
    r"""Say what separates cells: the sign that gives most rows the same number of cells.

    Examples
    --------
    >>> separator_of("a;b;c\n1,5;2;3\n2,5;;1\n"), separator_of("a\tb\n1\t2\n")
    (';', '\t')
    """
    lines = text.splitlines(keepends=True)[:200]
    best, found = (0.0, 0), ","
    for sign in (";", ",", "\t", "|"):
        try:
            widths = [len(row) for row in csv.reader(io.StringIO("".join(lines)), delimiter=sign)]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        score = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
        if score > best:
            best, found = score, sign
    return found


def decimal_of(frame: pl.DataFrame) -> str:
    """Say which sign stands before the decimals in most numbers of a frame of texts."""
    counts: Counter[str] = Counter()
    for name in frame.columns:
        if frame[name].dtype != pl.String:
            continue
        texts = frame[name].drop_nulls().str.strip_chars()
        for sign, pattern in ((",", r"^[<>]?-?\d+,\d+$"), (".", r"^[<>]?-?\d+\.\d+$")):
            counts[sign] += int(texts.str.contains(pattern).sum())
    return "," if counts[","] > counts["."] else "."


def _times(
    frame: pl.DataFrame, name: str, mapping: Mapping, zone: str, *, named: bool
) -> tuple[tuple[str, ...] | None, bool]:
    """Find the formats in which a column of times is written, and whether they are sure."""
    values = frame.filter(pl.col(name).is_not_null()).select(name)
    if not values.height:
        return None, False
    kind = values[name].dtype
    if kind in (pl.Date, pl.Datetime):
        return (), False
    if kind != pl.String:
        return None, False
    digits = values[name].str.strip_chars().str.contains(r"^\d+$").mean()
    is_digits = isinstance(digits, float) and digits > MOST_OF
    if is_digits and not named:
        return None, False
    if not is_digits:
        first = values[name].head(_LOOKED_AT).str.strip_chars().str.contains(_LIKE_A_TIME)
        if _share(first) < 0.5:
            return None, False

    def read(formats: Sequence[str] | None) -> pl.Series:
        fields = Fields(values, mapping, zone)
        spec = Time(column=name, formats=list(formats) if formats is not None else None)
        try:
            time, _ = fields.time(spec, "time")
        except pl.exceptions.PolarsError:
            return pl.repeat(False, values.height, dtype=pl.Boolean, eager=True)
        return time.is_between(_SOONEST, _LATEST).fill_null(value=False)

    if not is_digits and _share(read(None)) >= MOST_OF:
        return (), False
    tried = _ONLY_DIGITS if is_digits else _FORMATS[: -len(_ONLY_DIGITS)]
    reads = {one: read([one]) for one in tried}
    chosen: list[str] = []
    covered = pl.repeat(False, values.height, dtype=pl.Boolean, eager=True)
    for _ in range(3):
        gains = {one: _share(covered | got) for one, got in reads.items()}
        best = max(gains, key=lambda one: gains[one])
        if gains[best] <= _share(covered):
            break
        chosen.append(best)
        covered = covered | reads[best]
    if _share(covered) < MOST_OF:
        return None, False
    either = any(
        one.startswith("%d/%m") and _share(reads[one.replace("%d/%m", "%m/%d")]) == _share(got)
        for one, got in reads.items()
        if one in chosen
    )
    return tuple(chosen), either


def _share(found: pl.Series) -> float:
    mean: Any = found.mean()
    return float(mean or 0.0)


def values_of(frame: pl.DataFrame, name: str, mapping: Mapping, zone: str) -> ColumnValues:
    """Examine the values of one column.

    Parameters
    ----------
    frame : polars.DataFrame
        The rows that were read, as :func:`neva.sources.csv.files.batches` gives them.
    name : str
    mapping : Mapping
        For the decimal sign.
    zone : str
    """
    column = frame[name]
    values = column.drop_nulls()
    named, _ = names_say(name)
    is_named = named in ("time", "end-time", "admission", "discharge", "birth", "recorded")
    formats, either = _times(frame, name, mapping, zone, named=is_named)
    texts = values.cast(pl.String).str.strip_chars()
    bare = texts.str.replace(r"^[<>]=?\s*", "")
    if mapping.decimal == "," and column.dtype == pl.String:
        bare = bare.str.replace(",", ".", literal=True)
    read = bare.cast(pl.Float64, strict=False)
    numbers = read.is_not_null() & read.is_finite().fill_null(value=False)
    held = read.filter(numbers)
    length: Any = texts.str.len_chars().mean()
    return ColumnValues(
        filled=len(values) / max(len(column), 1),
        distinct=int(values.n_unique()) if len(values) else 0,
        numbers=_share(numbers) if formats is None else 0.0,
        whole=bool(len(held)) and bool((held == held.round(0)).all()),
        comparators=bool(texts.str.contains(r"^[<>]=?\s*\d").any()),
        formats=formats,
        either_way=either,
        length=float(length or 0.0),
    )
