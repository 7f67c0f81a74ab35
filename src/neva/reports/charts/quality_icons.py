"""Icons of variation and assurance, drawn here: small SVG pictures with a title.

The ring tells by colour, what is in it tells without: an arrow up or down
with a plus (improvement), an exclamation mark (concern) or nothing, a wave for
common cause; a band beside or across a dashed target line for assurance.
"""

from __future__ import annotations

from typing import Final

from neva.languages.language import LanguageCode
from neva.quality.charts.icons import ASSURANCE_ICONS, VARIATION_ICONS, AssuranceIcon, VariationIcon
from neva.reports.charts.quality_words import text

__all__ = ["icon_svg"]

# Okabe & Ito's blue, vermilion and purple; a grey.
_BLUE: Final = "#0072B2"
_ORANGE: Final = "#D55E00"
_PURPLE: Final = "#8E4A8B"
_GREY: Final = "#6b6b6b"

_WAVE: Final = (
    '<path d="M11 28 l6 -8 l6 8 l6 -10 l6 9 l4 -5" fill="none" stroke="{ink}" stroke-width="3" '
    'stroke-linejoin="round" stroke-linecap="round"/>'
)
_UP: Final = (
    '<path d="M12 36 L26 15 M26 15 l-8.5 3 M26 15 l0.5 9" fill="none" stroke="{ink}" '
    'stroke-width="3.4" stroke-linecap="round"/>'
)
_DOWN: Final = (
    '<path d="M12 13 L26 34 M26 34 l-8.5 -3 M26 34 l0.5 -9" fill="none" stroke="{ink}" '
    'stroke-width="3.4" stroke-linecap="round"/>'
)
_PLUS: Final = '<path d="M32 24 h8 M36 20 v8" stroke="{ink}" stroke-width="3"/>'
_ALERT: Final = (
    '<path d="M36 17 v8" stroke="{ink}" stroke-width="3.4" stroke-linecap="round"/>'
    '<circle cx="36" cy="31" r="2" fill="{ink}"/>'
)
_TARGET: Final = (
    '<path d="M8 {y} h32" stroke="#333333" stroke-width="2.2" stroke-dasharray="4 2.6"/>'
)
_BAND: Final = '<rect x="11" y="{y}" width="26" height="9" rx="2" fill="{ink}" opacity="0.85"/>'
_TICK: Final = (
    '<path d="M17 17 l5 5 l9 -10" fill="none" stroke="{ink}" stroke-width="3.2" '
    'stroke-linecap="round" stroke-linejoin="round"/>'
)
_CROSS: Final = (
    '<path d="M19 11 l10 10 M29 11 l-10 10" stroke="{ink}" stroke-width="3.2" '
    'stroke-linecap="round"/>'
)
_QUESTION: Final = (
    '<path d="M20.5 14.5 a3.7 3.7 0 1 1 5.2 3.4 q-1.7 0.8 -1.7 2.4" fill="none" '
    'stroke="{ink}" stroke-width="2.6" stroke-linecap="round"/>'
    '<circle cx="24" cy="23.6" r="1.6" fill="{ink}"/>'
)

_DRAWN: Final[dict[str, tuple[str, str]]] = {
    "common-cause": (_GREY, _WAVE),
    "improvement-high": (_BLUE, _UP + _PLUS),
    "improvement-low": (_BLUE, _DOWN + _PLUS),
    "concern-high": (_ORANGE, _UP + _ALERT),
    "concern-low": (_ORANGE, _DOWN + _ALERT),
    "neutral-high": (_PURPLE, _UP.replace("M12 36", "M18 36").replace("26 15", "30 14")),
    "neutral-low": (_PURPLE, _DOWN.replace("M12 13", "M18 13").replace("26 34", "30 35")),
    "pass": (_BLUE, _TICK + _BAND.replace("{y}", "24.5") + _TARGET.replace("{y}", "37")),
    "fail": (_ORANGE, _CROSS + _TARGET.replace("{y}", "26.5") + _BAND.replace("{y}", "30")),
    "hit-or-miss": (_GREY, _QUESTION + _BAND.replace("{y}", "28") + _TARGET.replace("{y}", "32.5")),
}


def icon_svg(
    icon: VariationIcon | AssuranceIcon, *, language: LanguageCode = "en", size: int = 48
) -> str:
    """Draw an icon.

    Parameters
    ----------
    icon : str
        One of :data:`neva.quality.charts.icons.VARIATION_ICONS` or ``ASSURANCE_ICONS``.
    language : {"en", "ru"}
        Of its title.
    size : int
        Width and height, pixels.

    Returns
    -------
    str
        SVG text that may stand in an HTML page, more than once (it has no ids);
        screen readers read its title.

    Examples
    --------
    >>> icon_svg("pass").split("<title>")[1].split("</title>")[0]
    'will meet the target if nothing changes'
    """
    if icon not in {*VARIATION_ICONS, *ASSURANCE_ICONS}:
        raise ValueError(f"no icon is called {icon!r}")
    ink, drawing = _DRAWN[icon]
    title = text(language, icon)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48" width="{size}" '
        f'height="{size}" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<circle cx="24" cy="24" r="22" fill="white" stroke="{ink}" stroke-width="3"/>'
        f"{drawing.replace('{ink}', ink)}</svg>"
    )
