"""Segments of HL7 v2.5.1, as expressions over columns: one text for each row."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import polars as pl

from neva.events.synthetic import SYNTHETIC_SOURCE

__all__ = [
    "APPLICATION", "control_id", "event_segments", "event_type", "header", "merge_segment",
    "patient", "visit",
]  # fmt: skip

#: MSH-3 of every message.
APPLICATION: Final = "NEVA-SYNTHETIC"
_STRUCTURES: Final = {
    "A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A08": "ADT_A01",
    "A11": "ADT_A09", "A12": "ADT_A12", "A13": "ADT_A01", "A28": "ADT_A05", "A31": "ADT_A05",
    "A40": "ADT_A39", "ORU": "ORU_R01", "RAS": "RAS_O17",
}  # fmt: skip
_TYPES: Final = {
    **{name: f"ADT^{name}^{kind}" for name, kind in _STRUCTURES.items()},
    "ORU": "ORU^R01^ORU_R01",
    "RAS": "RAS^O17^RAS_O17",
}
_CLASSES: Final = {"emergency": "E", "inpatient": "I"}
_SEXES: Final = {"female": "F", "male": "M"}
#: Names of code systems in HL7's own table of them (0396); others are sent as they are.
_SYSTEMS: Final = {"LOINC": "LN", "ICD10": "I10"}
#: Nobody is called so.
_FAMILIES: Final = (
    "Synthetic", "Вымышленный", "Example", "Примеров", "Placeholder", "Образцова", "Sample & Sons",
    "Тестовая-Проба", "Invented", "Ненастоящий", "Specimen", "Макетова",
)  # fmt: skip
_GIVEN: Final = (
    "Alpha", "Альфа", "Beta", "Бета", "Gamma", "Гамма", "Delta", "Дельта", "Omega", "Омега",
    "Sigma",
)  # fmt: skip
_ESCAPES: Final = {
    "\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\", "\r": "\\X0D\\",
    "\n": "\\X0A\\",
}  # fmt: skip


def _escaped(text: pl.Expr) -> pl.Expr:
    for character, escape in _ESCAPES.items():
        text = text.str.replace_all(character, escape, literal=True)
    return text


def _time_text(time: pl.Expr, zone: str) -> pl.Expr:
    """Write times on the hospital's clock with its offset; fractions only where there are."""
    local = time.dt.convert_time_zone(zone)
    digits = pl.concat_str(pl.lit("."), local.dt.to_string("%6f").str.strip_chars_end("0"))
    fraction = pl.when(local.dt.microsecond() > 0).then(digits).otherwise(pl.lit(""))
    return pl.concat_str(local.dt.to_string("%Y%m%d%H%M%S"), fraction, local.dt.to_string("%z"))


def _numbers(values: pl.Series) -> pl.Series:
    """Write numbers exactly, without exponents."""
    texts = values.cast(pl.String).str.strip_suffix(".0")
    is_long = texts.str.contains("e").fill_null(value=False)
    if not is_long.any():
        return texts
    plain = {text: f"{Decimal(text):f}" for text in texts.filter(is_long).unique().to_list()}
    return texts.replace(plain)


def _segment(name: str, fields: dict[int, pl.Expr | str]) -> pl.Expr:
    """Put fields in their places; what stands empty at the end is left away."""
    places = [fields.get(number, "") for number in range(1, max(fields) + 1)]
    parts = [
        (pl.lit(one) if isinstance(one, str) else one.cast(pl.String).fill_null(""))
        for one in places
    ]
    return pl.concat_str(pl.lit(name), *parts, separator="|").str.strip_chars_end("|")


def _filled(text: pl.Expr, suffix: str) -> pl.Expr:
    """Add components to what is there; nothing where it is missing."""
    return pl.when(text.is_not_null()).then(pl.concat_str(text, pl.lit(suffix)))


def _coded(code: str, described: bool = True) -> pl.Expr:
    """Write a code as text, description and system; `description` is a column."""
    column = pl.col(code)
    system = column.str.extract(r"^(.*?)//", 1)
    text = column.str.replace(r"^.*?//", "")
    about = _escaped(pl.col("description")).fill_null("") if described else pl.lit("")
    coded = pl.concat_str(_escaped(text), about, _escaped(system.replace(_SYSTEMS)), separator="^")
    return pl.when(column.is_not_null()).then(coded)


def control_id() -> pl.Expr:
    """MSH-10 of a row with ``number``."""
    digits = pl.col("number").cast(pl.String).str.zfill(10)
    return pl.concat_str(pl.lit("NS"), digits).alias("control_id")


def header(zone: str) -> pl.Expr:
    """MSH of a row with ``sent``, ``trigger`` and ``number``."""
    return _segment(
        "MSH",
        {
            1: "^~\\&", 2: APPLICATION, 3: "SYNTHETIC", 4: "NEVA", 5: "NEVA",
            6: _time_text(pl.col("sent"), zone),
            8: pl.col("trigger").replace_strict(_TYPES, return_dtype=pl.String),
            9: control_id(),
            10: "P", 11: "2.5.1", 17: "UNICODE UTF-8",
        },
    )  # fmt: skip


def event_type(zone: str) -> pl.Expr:
    """EVN: when it was told and when it happened; missing where the message has none."""
    evn = _segment(
        "EVN",
        {
            1: pl.col("trigger"),
            2: _time_text(pl.col("sent"), zone),
            6: _time_text(pl.col("occurred"), zone),
        },
    )
    return pl.when(~pl.col("trigger").is_in(["ORU", "RAS"])).then(evn)


def patient(zone: str) -> pl.Expr:
    """PID: `person` is its record number; birth date and sex only once they are known."""
    is_own = pl.col("person") == pl.col("subject")
    is_known = is_own & (pl.col("known") <= pl.col("sent"))
    number = pl.col("subject").str.slice(1).cast(pl.Int64)

    def chosen(names: tuple[str, ...]) -> pl.Expr:
        return (number % len(names)).replace_strict(
            dict(enumerate(map(_escape_text, names))), return_dtype=pl.String
        )

    name = pl.concat_str(chosen(_FAMILIES), chosen(_GIVEN), separator="^")
    return _segment(
        "PID",
        {
            1: "1",
            3: _filled(pl.col("person"), f"^^^{SYNTHETIC_SOURCE}^MR"),
            5: pl.when(is_own).then(name).otherwise(pl.lit("Unknown")),
            7: pl.when(is_known).then(pl.col("birth_date").dt.to_string("%Y%m%d")),
            8: pl.when(is_known).then(pl.col("sex").replace(_SEXES)),
            29: _time_text(pl.col("death"), zone),
            30: pl.when(pl.col("death").is_not_null()).then(pl.lit("Y")),
        },
    )


def _escape_text(text: str) -> str:
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _place(unit: str, bed: str) -> pl.Expr:
    place = pl.concat_str(
        _escaped(pl.col(unit)), pl.lit("^^"), _escaped(pl.col(bed)).fill_null("")
    ).str.strip_chars_end("^")
    return pl.when(pl.col(unit).is_not_null()).then(place)


def visit(zone: str) -> pl.Expr:
    """PV1 of a row with a stay; without one only where the message must have a PV1."""
    full = _segment(
        "PV1",
        {
            1: "1",
            2: pl.col("kind").replace(_CLASSES),
            3: _place("unit", "bed"),
            6: _place("former_unit", "former_bed"),
            14: _escaped(pl.col("source")),
            19: _filled(pl.col("stay"), f"^^^{SYNTHETIC_SOURCE}^VN"),
            36: _escaped(pl.col("outcome")),
            44: _time_text(pl.col("start"), zone),
            45: _time_text(pl.col("end"), zone),
        },
    )
    return (
        pl.when(pl.col("stay").is_not_null())
        .then(full)
        .when(pl.col("trigger").is_in(["A28", "A31"]))
        .then(pl.lit("PV1|1|N"))
    )


def merge_segment() -> pl.Expr:
    """MRG: the record number that goes; missing where none does."""
    gone = _segment("MRG", {1: _filled(pl.col("merged"), f"^^^{SYNTHETIC_SOURCE}^MR")})
    return pl.when(pl.col("merged").is_not_null()).then(gone)


def _order_segment(zone: str) -> pl.Expr:
    """OBR before the first result of a filler number, ORC before an administration."""
    filler = _filled(_escaped(pl.col("filler")), f"^{APPLICATION}")
    observation = _segment(
        "OBR",
        {
            1: pl.col("group"),
            3: filler,
            4: "observations^Observations^L",
            7: _time_text(pl.col("time"), zone),
            22: _time_text(pl.col("sent"), zone),
            25: pl.when(pl.col("state") != "F").then(pl.lit("C")).otherwise(pl.lit("F")),
        },
    )
    return (
        pl.when(pl.col("segment") == "RXA")
        .then(_segment("ORC", {1: "RE", 3: filler}))
        .when(pl.col("is_first"))
        .then(observation)
    )


def event_segments(events: pl.DataFrame, zone: str) -> pl.Series:
    """Write each event as its segment, with the order segment before it where one is due.

    Parameters
    ----------
    events : polars.DataFrame
        What :class:`neva.synthesis.traffic.Statements` says of events, ``description``
        of the code, ``filler``, ``group`` (number of its OBR in the message), ``set``
        (its number in that), ``is_first`` (an OBR comes before it).
    zone : str
        The hospital's.
    """
    is_gone = pl.col("state") == "W"
    amount, unit = pl.col("amount"), _escaped(pl.col("value_unit"))
    time, end = _time_text(pl.col("time"), zone), _time_text(pl.col("end_time"), zone)
    is_number = pl.col("value").is_not_null()
    code = _coded("code")
    attributes = (
        pl.col("attributes")
        .list.eval(
            pl.concat_str(
                _escaped(pl.element().struct.field("key")),
                _escaped(pl.element().struct.field("value")).fill_null(""),
                separator="^",
            )
        )
        .list.join("~")
    )
    result = _segment(
        "OBX",
        {
            1: pl.col("set"),
            2: pl.when(~is_gone).then(
                pl.when(is_number).then(pl.lit("NM")).otherwise(pl.lit("ST"))
            ),
            3: code,
            4: pl.col("sequence"),
            5: pl.when(~is_gone).then(pl.coalesce(amount, _escaped(pl.col("text")))),
            6: pl.when(~is_gone).then(_filled(unit, "^^UCUM")),
            11: pl.col("state"),
            14: time,
        },
    )
    given = _segment(
        "RXA",
        {
            1: "0", 2: pl.col("sequence"), 3: time, 4: end, 5: code, 6: amount,
            7: _filled(unit, "^^UCUM"), 20: "CP", 21: "A",
        },
    )  # fmt: skip
    diagnosis = _segment(
        "DG1",
        {
            1: pl.col("sequence"), 3: code, 5: time, 6: "F", 15: pl.col("rank"),
            20: _filled(_escaped(pl.col("id")), f"^{APPLICATION}"), 21: "A",
        },
    )  # fmt: skip
    whole = _segment(
        "ZEV",
        {
            1: _escaped(pl.col("id")), 2: code, 3: amount, 4: unit, 5: time, 6: end,
            7: pl.when(is_gone).then(pl.lit("withdrawn")).otherwise(pl.col("status")),
            8: _coded("reason", described=False), 9: pl.col("rank"),
            10: _escaped(pl.col("text")), 12: attributes,
            13: pl.when(pl.col("precision") != "instant").then(pl.col("precision")),
            14: pl.col("sequence"),
        },
    )  # fmt: skip
    written = (
        pl.when(pl.col("segment") == "OBX")
        .then(result)
        .when(pl.col("segment") == "RXA")
        .then(given)
        .when(pl.col("segment") == "DG1")
        .then(diagnosis)
        .otherwise(whole)
    )
    return (
        events.with_columns(amount=_numbers(events["value"]))
        .select(
            pl.concat_str(_order_segment(zone), written, separator="\r", ignore_nulls=True).alias(
                "segments"
            )
        )
        .to_series()
    )
