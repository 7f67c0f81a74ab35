"""Units of measurement: is it UCUM, and how does it convert.

UCUM (the Unified Code for Units of Measure, version 2.1) through the library
``ucumvert``. The library takes a second to start, so it is loaded only when
there is a unit that is not among the common ones below.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

__all__ = ["conversion", "is_known", "ucum_of"]

#: UCUM units that need no look-up: those of everyday charts and laboratories.
_COMMON: Final = frozenset(
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

#: Spellings that are often written where the UCUM unit is meant. Only those
#: that can mean one thing; the rest is refused.
_SPELLINGS: Final = {
    "mg/dl": "mg/dL",
    "g/dl": "g/dL",
    "g/l": "g/L",
    "mg/l": "mg/L",
    "mmol/l": "mmol/L",
    "umol/l": "umol/L",
    "µmol/L": "umol/L",
    "μmol/L": "umol/L",
    "µmol/l": "umol/L",
    "μmol/l": "umol/L",
    "µg/L": "ug/L",
    "μg/L": "ug/L",
    "ng/ml": "ng/mL",
    "pg/ml": "pg/mL",
    "ml/min": "mL/min",
    "ml": "mL",
    "mmHg": "mm[Hg]",
    "mm Hg": "mm[Hg]",
    "°C": "Cel",
    "°F": "[degF]",
    "degC": "Cel",
    "IU/L": "[IU]/L",
    "IU/l": "[IU]/L",
    # Read as UCUM, this multiplies by square metres.
    "mL/min/1.73.m2": "mL/min/{1.73_m2}",
    "U/l": "U/L",
    "10^9/L": "10*9/L",
    "10^12/L": "10*12/L",
    "x10^9/L": "10*9/L",
    "K/uL": "10*3/uL",
    "bpm": "/min",
    "mEq/L": "meq/L",
    "sec": "s",
}

#: Equivalents are amounts of charge: 2 meq of calcium are 1 mmol, 2 meq of
#: sodium are 2 mmol. Without the valence there is no conversion.
_EQUIVALENTS: Final = re.compile(r"(?<![A-Za-z])[mun]?eq(?![A-Za-z])")

#: Marks for "no unit" that UCUM would read as newton per ampere or nanoampere.
_NOT_UNITS: Final = frozenset(["N/A", "NA"])


@lru_cache(maxsize=1)
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


def _units_of(unit: str) -> Any:
    # A bare annotation such as {score} has no dimension: in UCUM it is 1.
    return getattr(_registry().from_ucum(unit), "units", _registry().dimensionless)


@lru_cache(maxsize=10_000)
def ucum_of(unit: str) -> str | None:
    """Return the UCUM unit that a text means, or None if it is unknown.

    Examples
    --------
    >>> ucum_of("mg/dL"), ucum_of("mmHg"), ucum_of("furlongs")
    ('mg/dL', 'mm[Hg]', None)
    """
    text = unit.strip()
    if text in _NOT_UNITS:
        return None
    if text in _COMMON:
        return text
    if text in _SPELLINGS:
        return _SPELLINGS[text]
    try:
        _registry().from_ucum(text)
    # The parser and the registry raise errors of several libraries, all of
    # which mean the same here: not a unit.
    except Exception:
        return None
    return text


def is_known(unit: str) -> bool:
    """Tell whether a text is a UCUM unit or an unmistakable spelling of one."""
    return ucum_of(unit) is not None


def _exact(number: float) -> float:
    # 1000 times a thousandth is 1: what arithmetic adds after 13 digits is its own.
    return float(f"{number:.13g}")


@lru_cache(maxsize=10_000)
def conversion(
    unit: str, canonical: str, molar_mass: float | None = None
) -> tuple[float, float] | None:
    """Return factor and offset from a unit to the canonical one.

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
    if unit == canonical:
        return 1.0, 0.0
    if bool(_EQUIVALENTS.search(unit)) != bool(_EQUIVALENTS.search(canonical)):
        return None
    import pint

    registry = _registry()
    source, target = _units_of(unit), _units_of(canonical)
    try:
        at_0 = float(registry.Quantity(0.0, source).to(target).magnitude)
        at_1 = float(registry.Quantity(1.0, source).to(target).magnitude)
    except pint.DimensionalityError:
        pass
    else:
        return _exact(at_1 - at_0), _exact(at_0)
    if molar_mass is None:
        return None
    mass = registry.Quantity(molar_mass, "gram/mole")
    for through in (1 / mass, mass):
        try:
            factor = (registry.Quantity(1.0, source) * through).to(target).magnitude
            return _exact(float(factor)), 0.0
        except pint.DimensionalityError:
            continue
    return None
