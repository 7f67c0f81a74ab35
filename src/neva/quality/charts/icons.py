"""The verdict of a chart: variation and assurance.

As in NHS "Making Data Count": the variation icon tells what the last point
shows, the assurance icon whether the process as it is will meet its target.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

__all__ = [
    "ASSURANCE_ICONS",
    "VARIATION_ICONS",
    "AssuranceIcon",
    "Direction",
    "PointType",
    "VariationIcon",
    "assurance_icon",
    "point_type",
    "variation_icon",
]

#: Which values are better.
Direction = Literal["higher", "lower", "neutral"]

#: What a point means; ``gap`` has no value, ``unjudged`` stands on a chart without limits.
PointType = Literal["common", "improvement", "concern", "high", "low", "unjudged", "gap"]

VariationIcon = Literal[
    "common-cause",
    "improvement-high",
    "improvement-low",
    "concern-high",
    "concern-low",
    "neutral-high",
    "neutral-low",
]

AssuranceIcon = Literal["pass", "fail", "hit-or-miss"]

VARIATION_ICONS: Final[tuple[VariationIcon, ...]] = get_args(VariationIcon)
ASSURANCE_ICONS: Final[tuple[AssuranceIcon, ...]] = get_args(AssuranceIcon)


def point_type(side: int, direction: Direction) -> PointType:
    """Return the meaning of a special cause towards one side.

    Parameters
    ----------
    side : int
        1 high or rising, -1 low or falling, 0 no special cause.
    direction : {"higher", "lower", "neutral"}

    Examples
    --------
    >>> point_type(1, "higher"), point_type(1, "lower"), point_type(-1, "neutral")
    ('improvement', 'concern', 'low')
    """
    if side == 0:
        return "common"
    if direction == "neutral":
        return "high" if side > 0 else "low"
    return "improvement" if (side > 0) == (direction == "higher") else "concern"


def variation_icon(side: int, direction: Direction) -> VariationIcon:
    """Return the icon of a chart whose last point is a special cause to this side.

    Examples
    --------
    >>> variation_icon(0, "higher"), variation_icon(-1, "higher"), variation_icon(-1, "lower")
    ('common-cause', 'concern-low', 'improvement-low')
    """
    meaning = point_type(side, direction)
    if meaning == "common":
        return "common-cause"
    if meaning == "improvement":
        return "improvement-high" if side > 0 else "improvement-low"
    if meaning == "concern":
        return "concern-high" if side > 0 else "concern-low"
    return "neutral-high" if side > 0 else "neutral-low"


def assurance_icon(
    lower: float | None, upper: float | None, target: float | None, direction: Direction
) -> AssuranceIcon | None:
    """Say whether a process between these limits meets its target.

    Parameters
    ----------
    lower, upper : float or None
        Limits of the last group.
    target : float or None
    direction : {"higher", "lower", "neutral"}

    Returns
    -------
    str or None
        ``pass`` or ``fail`` when the target lies strictly outside of the
        limits, else ``hit-or-miss``: a target on a limit is inside. Missing
        without target, limits or direction.

    Examples
    --------
    >>> [assurance_icon(0.6, 0.8, target, "higher") for target in (0.5, 0.8, 0.9)]
    ['pass', 'hit-or-miss', 'fail']
    >>> assurance_icon(0.6, 0.8, 0.9, "lower"), assurance_icon(0.6, 0.8, 0.9, "neutral")
    ('pass', None)
    """
    if target is None or lower is None or upper is None or direction == "neutral":
        return None
    if lower <= target <= upper:
        return "hit-or-miss"
    return "pass" if (target < lower) == (direction == "higher") else "fail"
