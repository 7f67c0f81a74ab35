"""Texts of quality charts, and how Vega writes numbers and days in a reader's language."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Literal

from babel.dates import get_day_names, get_month_names

from neva.languages.language import LANGUAGES, LanguageCode, language_of

__all__ = ["TEXTS", "number_locale", "text"]

#: English texts by what they are for; other languages are in the catalogue.
TEXTS: Final[dict[str, str]] = {
    "synthetic": "synthetic data",
    "denominator": "denominator: %(what)s",
    "period": "period: %(what)s",
    # variation
    "common-cause": "common cause variation",
    "improvement-high": "special cause: improvement, values high",
    "improvement-low": "special cause: improvement, values low",
    "concern-high": "special cause: concern, values high",
    "concern-low": "special cause: concern, values low",
    "neutral-high": "special cause: values high",
    "neutral-low": "special cause: values low",
    # assurance
    "pass": "will meet the target if nothing changes",
    "fail": "will miss the target if nothing changes",
    "hit-or-miss": "will hit or miss the target by chance",
    # points
    "point-common": "common cause",
    "point-improvement": "improvement",
    "point-concern": "concern",
    "point-high": "high",
    "point-low": "low",
    "point-unjudged": "no verdict",
    # rules
    "rule-outside": "outside the limits",
    "rule-trend": "7 rising or falling in a row",
    "rule-two-of-three": "2 of 3 near a limit",
    "rule-shift": "7 in a row on one side of the centre",
    "rule-none": "none",
    "tip-period": "period",
    "tip-value": "value",
    "tip-numerator": "numerator",
    "tip-denominator": "denominator",
    "tip-rule": "rule",
    "tip-unit": "unit",
    "tip-z": "z",
    "tip-case": "case",
    "meaning": "point",
    "mean": "mean",
    "median": "median",
    "centre": "centre",
    "upper": "upper limit",
    "lower": "lower limit",
    "target": "target",
    "rebased": "lines rebased",
    "gap": "no cases",
    "n": "n",
    "period-axis": "period",
    "event-axis": "event, in order of time",
    # warnings
    "few-points": "limits based on fewer than 12 points",
    "rare-events": "events are too rare for these limits",
    "zero-times": "events at the same time",
    "last-period-is-a-gap": "nothing was counted in the last period",
    "gaps": "×: a period without cases; no rule applies across it",
    "no-limits": "too few points for limits",
    "no-width": "no limits: no variation",
    # funnel
    "size-proportion": "cases",
    "size-ratio": "expected events",
    "flag-in": "within the limits",
    "flag-95": "outside 95 %",
    "flag-998": "outside 99.8 %",
    "limit-95": "95 %",
    "limit-998": "99.8 %",
    "reference": "reference %(value)s",
    "method-exact": "exact limits: chance alone",
    "method-arcsine": "limits with over-dispersion (arcsine; phi %(phi)s, tau² %(tau2)s)",
    "method-log": (
        "limits with over-dispersion (logarithm, 10 %% left out; phi %(phi)s, tau² %(tau2)s)"
    ),
    "method-square-root": (
        "limits with over-dispersion (square root, 10 %% winsorised; phi %(phi)s, tau² %(tau2)s)"
    ),
    # sequential
    "vlad-title": "Expected minus observed events",
    "vlad-axis": "expected − observed",
    "cusum-title": "Evidence of change (risk-adjusted CUSUM)",
    "cusum-axis": "CUSUM",
    "cases-axis": "case, in order of time",
    "worse": "worse: odds × %(ratio)s",
    "better": "better: odds × %(ratio)s",
    "signal": "signal",
    "fewer": "up: fewer events than expected",
    "left-out": "%(n)s cases without outcome or prediction left out",
    # calibration
    "predicted": "predicted",
    "observed": "observed",
    "perfect": "perfect agreement",
    "calibration-numbers": (
        "n %(n)s, events %(events)s; O/E %(ratio)s; slope %(slope)s; c-statistic %(c)s"
    ),
    "per-point": "cases per point: %(n)s; exact %(level)s %% intervals",
    # intervals
    "level": "%(level)s %% intervals",
    "no-data": "no cases",
}


def text(language: LanguageCode, key: str, **values: object) -> str:
    """Return a text in a language, with its places filled.

    Examples
    --------
    >>> text("en", "reference", value="12 %"), text("ru", "gap")
    ('reference 12 %', 'нет случаев')
    """
    return language_of(language, "UTC")(TEXTS[key], **values)


@lru_cache(maxsize=8)
def number_locale(language: LanguageCode) -> dict[str, Any] | None:
    """Return Vega's locale of numbers and dates; None for its own, English."""
    if language == LANGUAGES[0]:
        return None

    def months(width: Literal["abbreviated", "wide"]) -> list[str]:
        return list(get_month_names(width, "stand-alone", language).values())

    def days(width: Literal["abbreviated", "wide"]) -> list[str]:
        names = get_day_names(width, "stand-alone", language)  # from Monday on
        return [names[(day - 1) % 7] for day in range(7)]

    return {
        "number": {"decimal": ",", "thousands": "\u00a0", "grouping": [3], "currency": ["", ""]},
        "time": {
            "dateTime": "%d.%m.%Y %H:%M",
            "date": "%d.%m.%Y",
            "time": "%H:%M",
            "periods": ["", ""],
            "days": days("wide"),
            "shortDays": days("abbreviated"),
            "months": months("wide"),
            "shortMonths": months("abbreviated"),
        },
    }
