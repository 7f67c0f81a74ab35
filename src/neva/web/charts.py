"""Charts of pages: Vega-Lite to SVG on the server, in the reader's language.

No script draws them: they stand in the page, print, and read without JavaScript.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from neva.languages.language import Language

__all__ = ["drawn"]

_FONT: Final = "DejaVu Sans, Noto Sans, Arial, sans-serif"
_CONFIG: Final[dict[str, Any]] = {
    "font": _FONT,
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
             "gridColor": "#e3e3e3", "labelLimit": 320},
    "legend": {"labelLimit": 0, "labelFontSize": 12, "titleFontSize": 12,
               "titleFontWeight": "normal"},
    "bar": {"color": "#0b6fa4"},
    "line": {"color": "#0b6fa4"},
}  # fmt: skip
_LOCALES: Final = {"en": "en-GB", "ru": "ru-RU"}


@lru_cache(maxsize=1)
def _converter() -> Any:
    import vl_convert

    return vl_convert


def _translated(part: Any, words: Language) -> Any:
    if isinstance(part, Mapping):
        return {
            name: words(one)
            if name in ("title", "text", "description") and isinstance(one, str) and one
            else one
            if name in ("data", "datasets")
            else _translated(one, words)
            for name, one in part.items()
        }
    if isinstance(part, list):
        return [_translated(one, words) for one in part]
    return part


def drawn(
    specification: Mapping[str, Any],
    words: Language,
    *,
    width: int = 560,
    height: int | None = None,
) -> str:
    """Draw a Vega-Lite specification as SVG.

    Parameters
    ----------
    specification : mapping
        Its titles are English texts of the catalogue.
    words : Language
    width, height : int
        In pixels, where the specification gives none.
    """
    made = _translated(specification, words)
    made.setdefault("width", width)
    if height is not None:
        made.setdefault("height", height)
    made["config"] = {**_CONFIG, **made.get("config", {})}
    locale = _LOCALES[words.code]
    svg: str = _converter().vegalite_to_svg(made, format_locale=locale, time_format_locale=locale)
    return svg
