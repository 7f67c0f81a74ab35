"""Units of measurement: what a text means in UCUM, and how values convert.

UCUM (the Unified Code for Units of Measure, version 2.1) through the library
``ucumvert``. The library takes a second to start, so it is loaded only when
there is a unit that is neither among the common ones below nor in the table of
everyday spellings (``units_as_written.yaml``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from math import floor, log10
from typing import Any, Final

import polars as pl
import yaml

__all__ = [
    "DIGITS",
    "EVERYDAY_UNITS",
    "EXACT_POWER",
    "TINY",
    "conversion",
    "convert",
    "converted",
    "is_known",
    "ucum_of",
]

#: UCUM units that need no look-up: those of everyday charts and laboratories.
EVERYDAY_UNITS: Final = frozenset(
    [
        "%",
        "/min",
        "1",
        "10*12/L",
        "10*3/uL",
        "10*6/uL",
        "10*9/L",
        "Cel",
        "U/L",
        "U/mL",
        "cm",
        "cm[H2O]",
        "d",
        "fL",
        "fmol",
        "g",
        "g/L",
        "g/dL",
        "h",
        "kPa",
        "kg",
        "kg/m2",
        "kU/L",
        "L",
        "L/min",
        "m",
        "mL",
        "mL/h",
        "mL/min",
        "mL/min/{1.73_m2}",
        "meq/L",
        "mg",
        "mg/L",
        "mg/dL",
        "min",
        "mm",
        "mm/h",
        "mm[Hg]",
        "mmol/L",
        "mol/L",
        "mU/L",
        "nmol/L",
        "ng/L",
        "ng/mL",
        "ng/dL",
        "pg",
        "pg/mL",
        "pmol/L",
        "s",
        "ug",
        "ug/L",
        "ug/mL",
        "ug/dL",
        "umol/L",
        "[pH]",
        "{INR}",
        "{score}",
        "{ratio}",
        "[degF]",
        "[lb_av]",
        "[in_i]",
        "u[IU]/mL",
        "m[IU]/L",
        "[IU]/L",
        "a",
        "mo",
        "wk",
        "/[HPF]",
        "{beats}/min",
        "{breaths}/min",
        "10*3/mm3",
        "meq",
    ]
)

#: Equivalents are amounts of charge: 2 meq of calcium are 1 mmol, 2 meq of
#: sodium are 2 mmol. Without the valence there is no conversion.
_EQUIVALENTS: Final = re.compile(r"(?<![A-Za-z])[mun]?eq(?![A-Za-z])")

#: What nobody in a hospital means by what UCUM would read: newton per ampere,
#: gauss, tesla, henry, siemens, bel, poise, röntgen, picohenry.
_NOT_UNITS: Final = frozenset(["N/A", "NA", "G", "T", "H", "S", "B", "P", "R", "n/a", "-", "--"])

_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
#: Ten to a power, as it is written: 10^9, x10*9, ×10E9, х10⁹ (the last x is Cyrillic).
_POWER: Final = re.compile(r"^[x×хX*]?\s*10\s*(?:\^|\*{1,2}|[eE])\s*\(?(\d{1,2})\)?$")


@lru_cache(maxsize=1)
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    # Fractions: 98.6 [degF] is 37 Cel, not 36.9999999999923.
    return PintUcumRegistry(non_int_type=Fraction)


def _units_of(unit: str) -> Any:
    # A bare annotation such as {score} has no dimension: in UCUM it is 1.
    return getattr(_registry().from_ucum(unit), "units", _registry().dimensionless)


def _is_ucum(text: str) -> bool:
    try:
        _registry().from_ucum(text)
    # The parser and the registry raise errors of several libraries, all of
    # which mean the same here: not a unit.
    except Exception:
        return False
    return True


def _plain_unit(text: str) -> str:
    """Write a unit with plain signs: one micro sign, no superscripts, single blanks."""
    raised = re.sub(
        r"10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", lambda found: "10^" + found[1].translate(_SUPERSCRIPTS), text
    )
    plain = unicodedata.normalize("NFKC", raised.translate(_SUPERSCRIPTS))
    plain = plain.replace("μ", "u").replace("µ", "u").replace("⁄", "/").replace("∕", "/")
    plain = re.sub(r"\s*/\s*", "/", plain)
    return re.sub(r"\s+", " ", plain).strip()


class _Spellings:
    """Texts and what they mean: as they stand, and without regard to case where that is safe."""

    def __init__(self, meanings: Mapping[str, list[str]], *, shortest_folded: int) -> None:
        self.exact: dict[str, str] = {}
        folded: dict[str, set[str]] = {}
        for ucum, texts in meanings.items():
            for text in (ucum, *texts):
                plain = _plain_unit(text)
                self.exact[plain] = ucum
                if len(plain) >= shortest_folded:
                    folded.setdefault(plain.casefold(), set()).add(ucum)
        self.folded = {text: next(iter(them)) for text, them in folded.items() if len(them) == 1}

    def find(self, text: str) -> tuple[str | None, bool]:
        """Return the UCUM unit, and whether letters' case was passed over for it."""
        if text in self.exact:
            return self.exact[text], False
        return self.folded.get(text.casefold()), True


@lru_cache(maxsize=1)
def _everyday() -> tuple[_Spellings, _Spellings]:
    shipped = resources.files("neva.events").joinpath("units_as_written.yaml")
    table = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    return (
        # Not mM (millimolar): in capitals it is a millimetre.
        _Spellings(table["whole"], shortest_folded=3),
        _Spellings(table["parts"], shortest_folded=2),
    )


def _part(text: str) -> tuple[str | None, bool]:
    power = _POWER.match(text)
    if power:
        return f"10*{int(power[1])}", False
    if text in ("", "1") or (text.startswith("{") and text.endswith("}")):
        return text, False
    return _everyday()[1].find(text)


def _in_parts(plain: str) -> tuple[str | None, bool]:
    """Read what stands above and below the strokes, each for itself."""
    parts = [_part(one) for one in plain.split("/")]
    if len(parts) > 3 or any(one is None for one, _ in parts) or not any(one for one, _ in parts):
        return None, False
    return "/".join(str(one) for one, _ in parts), any(folded for _, folded in parts)


def _as_written(text: str) -> tuple[str | None, bool]:
    """Return what an everyday spelling means (or None), and whether it may mean two amounts."""
    plain = _plain_unit(text)
    readings = [_everyday()[0].find(plain), _in_parts(plain)]
    # г/л is gram per litre though Г/л is giga per litre: the very letters come first.
    readings.sort(key=lambda reading: reading[1])
    found, is_folded = next((one for one in readings if one[0] is not None), (None, False))
    if found is None or not is_folded or found == plain or not _is_ucum(plain):
        return found, False
    # MU is a million units where it is UCUM and a thousandth of one where all is written in
    # capitals: what means two amounts of one kind is not understood.
    same_kind = _units_of(plain).dimensionality == _units_of(found).dimensionality
    return found, same_kind and _factor(plain, found) != 1


def _factor(unit: str, other: str) -> Fraction:
    registry = _registry()
    quantity = registry.Quantity(Fraction(1), _units_of(unit))
    return Fraction(quantity.to(_units_of(other)).magnitude)


@lru_cache(maxsize=10_000)
def _meaning(text: str) -> str | None:
    if text in _NOT_UNITS:
        return None
    if text in EVERYDAY_UNITS:
        return text
    found, is_ambiguous = _as_written(text)
    if is_ambiguous:
        return None
    if found is not None and (found in EVERYDAY_UNITS or _is_ucum(found)):
        return found
    return text if _is_ucum(text) else None


def ucum_of(unit: str, own: Mapping[str, str] | None = None) -> str | None:
    """Return the UCUM unit that a text means, or None if it is unknown.

    Parameters
    ----------
    unit : str
        As it was written: UCUM, or an everyday English, German, French or
        Russian spelling (``units_as_written.yaml``).
    own : mapping of str to str, optional
        A hospital's own spellings with their UCUM units; they come first.

    Examples
    --------
    >>> ucum_of("mg/dL"), ucum_of("mmHg"), ucum_of("ммоль/л"), ucum_of("furlongs")
    ('mg/dL', 'mm[Hg]', 'mmol/L', None)
    >>> ucum_of("G/L"), ucum_of("g/L"), ucum_of("F"), ucum_of("Furz", {"Furz": "mg"})
    ('10*9/L', 'g/L', '[degF]', 'mg')
    """
    text = unit.strip()
    if own and text in own:
        return own[text]
    return _meaning(text)


def is_known(unit: str) -> bool:
    """Tell whether a text is a UCUM unit or an unmistakable spelling of one."""
    return ucum_of(unit) is not None


@lru_cache(maxsize=10_000)
def exact_conversion(
    unit: str, canonical: str, molar_mass: float | None = None
) -> tuple[Fraction, Fraction] | None:
    """Return factor and offset of :func:`conversion` as fractions.

    Examples
    --------
    >>> exact_conversion("[degF]", "Cel")
    (Fraction(5, 9), Fraction(-160, 9))
    """
    if unit == canonical:
        return Fraction(1), Fraction(0)
    if bool(_EQUIVALENTS.search(unit)) != bool(_EQUIVALENTS.search(canonical)):
        return None
    import pint

    registry = _registry()
    if not (_is_ucum(unit) and _is_ucum(canonical)):
        return None  # [pH], {INR}: a scale of its own, equal to itself only
    source, target = _units_of(unit), _units_of(canonical)
    try:
        at_0 = Fraction(registry.Quantity(Fraction(0), source).to(target).magnitude)
        at_1 = Fraction(registry.Quantity(Fraction(1), source).to(target).magnitude)
    except pint.DimensionalityError:
        pass
    else:
        return at_1 - at_0, at_0
    if molar_mass is None:
        return None
    mass = registry.Quantity(Fraction(str(molar_mass)), "gram/mole")
    for through in (1 / mass, mass):
        try:
            factor = (registry.Quantity(Fraction(1), source) * through).to(target).magnitude
            return Fraction(factor), Fraction(0)
        except pint.DimensionalityError:
            continue
    return None


@lru_cache(maxsize=10_000)
def conversion(
    unit: str, canonical: str, molar_mass: float | None = None
) -> tuple[float, float] | None:
    """Return factor and offset from a unit to the canonical one.

    Use them through :func:`convert` or :func:`converted`, which take away
    what floating-point arithmetic adds.

    Parameters
    ----------
    unit, canonical : str
        UCUM units.
    molar_mass : float, optional
        g/mol; makes mass and amount of substance convertible.

    Returns
    -------
    (float, float) or None
        ``canonical_value = value * factor + offset``; None where the units
        measure different things.

    Examples
    --------
    >>> conversion("mg/dL", "g/L")
    (0.01, 0.0)
    >>> [round(x, 3) for x in conversion("mg/dL", "umol/L", 113.12)]  # creatinine
    [88.402, 0.0]
    >>> [round(x, 3) for x in conversion("[degF]", "Cel")]
    [0.556, -17.778]
    >>> conversion("mg/dL", "s") is None
    True
    """
    found = exact_conversion(unit, canonical, molar_mass)
    return None if found is None else (float(found[0]), float(found[1]))


#: A converted value keeps so many digits of the larger of its two terms: what
#: was written with twelve digits or fewer comes out as decimal arithmetic gives it.
DIGITS: Final = 13
#: Beyond these the power of ten that it takes would not be finite.
_SMALLEST: Final = 1e-290
#: Powers of ten up to this one are exact as floating-point numbers.
EXACT_POWER: Final = 22
#: Smaller results keep all digits rather than an exact power of ten.
TINY: Final = 1e-13
_LARGEST: Final = 1e290


def convert(value: float, factor: float, offset: float) -> float:
    """Convert one value, without what floating-point arithmetic adds.

    Examples
    --------
    >>> 100.4 * (5 / 9) - 160 / 9 == 38, convert(100.4, 5 / 9, -160 / 9)
    (False, 38.0)
    """
    if factor == 1 and offset == 0:
        return value
    made = value * factor + offset
    largest = max(abs(value * factor), abs(offset))
    if not _SMALLEST < largest < _LARGEST:
        return made
    digits = DIGITS - 1 - floor(log10(largest))
    scale = 10.0 ** (min(digits, EXACT_POWER) if largest > TINY else digits)
    return round(made * scale) / scale


def converted(value: pl.Expr, factor: pl.Expr, offset: pl.Expr) -> pl.Expr:
    """Convert a column: :func:`convert` for every row.

    Parameters
    ----------
    value, factor, offset : polars.Expr
        Float64; missing where one is missing.
    """
    made = value * factor + offset
    largest = pl.max_horizontal((value * factor).abs(), offset.abs())
    digits = DIGITS - 1 - largest.log10().floor()
    digits = pl.when(largest > TINY).then(digits.clip(upper_bound=EXACT_POWER)).otherwise(digits)
    scale = pl.lit(10.0).pow(digits)
    rounded = (made * scale).round(mode="half_to_even") / scale
    return (
        pl.when((factor == 1) & (offset == 0))
        .then(value)
        .when((largest > _SMALLEST) & (largest < _LARGEST))
        .then(rounded)
        .otherwise(made)
    )
