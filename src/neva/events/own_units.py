"""A hospital's own spellings of units of measurement: ``units.yaml`` in its folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from neva.errors import BadInputError
from neva.events.measurement_units import ucum_of

__all__ = ["OWN_UNITS", "read_own_units"]

#: Name of the file in the hospital's folder.
OWN_UNITS = "units.yaml"


def read_own_units(hospital: Path) -> dict[str, str]:
    """Read how a hospital writes units, where Neva's own table does not know it.

    Parameters
    ----------
    hospital : Path
        Its folder. ``units.yaml`` in it holds lines ``spelling: UCUM unit``.

    Returns
    -------
    dict of str to str
        Empty where there is no such file.

    Raises
    ------
    BadInputError
        The file is no such table, or names something that is not UCUM.
    """
    path = hospital / OWN_UNITS
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError):
        message = f"{path}: not YAML; found something else; write lines of 'spelling: UCUM unit'"
        raise BadInputError(message) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        message = f"{path}: no table of units; found no lines; write lines of 'spelling: UCUM unit'"
        raise BadInputError(message)
    own = {}
    for spelling, unit in found.items():
        meant = ucum_of(unit) if isinstance(unit, str) else None
        if meant is None:
            message = (
                f"{path}: not a UCUM unit; found {unit!r} for {spelling!r}; write for example "
                "'mg/dL'"
            )
            raise BadInputError(message)
        own[str(spelling).strip()] = meant
    return own
