"""What charts of quality say, by language; another language is another dictionary."""

from __future__ import annotations

from typing import Any, Final, Literal

__all__ = ["LANGUAGES", "TEXTS", "Language", "number_in", "number_locale", "share_in", "text"]

Language = Literal["en", "ru"]

TEXTS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "synthetic": "synthetic data",
        "denominator": "denominator: {what}",
        "period": "period: {what}",
        # variation
        "common-cause": "common cause: no sign of change",
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
        "rule-outside": "outside of the limits",
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
        "rebased": "lines start anew",
        "gap": "no cases",
        "n": "n",
        "period-axis": "period",
        "event-axis": "event, in order of time",
        # warnings
        "few-points": "limits rest on fewer than 12 points",
        "rare-events": "events are too rare for these limits",
        "zero-times": "events at the same time",
        "last-period-is-a-gap": "nothing was counted in the last period",
        "gaps": "×: a period without cases; no rule reaches across it",
        "no-limits": "too few points for limits",
        "no-width": "no limits: nothing varied",
        # funnel
        "size-proportion": "cases",
        "size-ratio": "expected events",
        "flag-in": "within the limits",
        "flag-95": "outside 95 %",
        "flag-998": "outside 99.8 %",
        "limit-95": "95 %",
        "limit-998": "99.8 %",
        "reference": "reference {value}",
        "method-exact": "exact limits: chance alone",
        "method-arcsine": "limits with over-dispersion (arcsine; phi {phi}, tau² {tau2})",
        "method-log": (
            "limits with over-dispersion (logarithm, 10 % left out; phi {phi}, tau² {tau2})"
        ),
        "method-square-root": (
            "limits with over-dispersion (square root, 10 % winsorised; phi {phi}, tau² {tau2})"
        ),
        # sequential
        "vlad-title": "Expected minus observed events",
        "vlad-axis": "expected − observed",
        "cusum-title": "Evidence of change (risk-adjusted CUSUM)",
        "cusum-axis": "CUSUM",
        "cases-axis": "case, in order of time",
        "worse": "worse: odds × {ratio}",
        "better": "better: odds × {ratio}",
        "signal": "signal",
        "fewer": "up: fewer events than expected",
        "left-out": "{n} cases without outcome or prediction left out",
        # calibration
        "predicted": "predicted",
        "observed": "observed",
        "perfect": "perfect agreement",
        "calibration-numbers": (
            "n {n}, events {events}; O/E {ratio}; slope {slope}; c-statistic {c}"
        ),
        "per-point": "cases per point: {n}; exact {level} % intervals",
        # intervals
        "level": "{level} % intervals",
        "no-data": "no cases",
    },
    "ru": {
        "synthetic": "синтетические данные",
        "denominator": "знаменатель: {what}",
        "period": "период: {what}",
        "common-cause": "обычная изменчивость: признаков изменения нет",
        "improvement-high": "особая причина: улучшение, значения высокие",
        "improvement-low": "особая причина: улучшение, значения низкие",
        "concern-high": "особая причина: ухудшение, значения высокие",
        "concern-low": "особая причина: ухудшение, значения низкие",
        "neutral-high": "особая причина: значения высокие",
        "neutral-low": "особая причина: значения низкие",
        "pass": "цель будет достигаться, если ничего не изменится",
        "fail": "цель не будет достигаться, если ничего не изменится",
        "hit-or-miss": "цель достигается или нет случайно",
        "point-common": "обычная изменчивость",
        "point-improvement": "улучшение",
        "point-concern": "ухудшение",
        "point-high": "высокие",
        "point-low": "низкие",
        "point-unjudged": "без оценки",
        "rule-outside": "за пределами границ",
        "rule-trend": "7 подряд растут или падают",
        "rule-two-of-three": "2 из 3 у границы",
        "rule-shift": "7 подряд по одну сторону от центра",
        "rule-none": "нет",
        "tip-period": "период",
        "tip-value": "значение",
        "tip-numerator": "числитель",
        "tip-denominator": "знаменатель",
        "tip-rule": "правило",
        "tip-unit": "отделение",
        "tip-z": "z",
        "tip-case": "случай",
        "meaning": "точка",
        "mean": "среднее",
        "median": "медиана",
        "centre": "центр",
        "upper": "верхняя граница",
        "lower": "нижняя граница",
        "target": "цель",
        "rebased": "новый расчёт линий",
        "gap": "нет случаев",
        "n": "n",
        "period-axis": "период",
        "event-axis": "событие, по времени",
        "few-points": "границы рассчитаны менее чем по 12 точкам",
        "rare-events": "события слишком редки для этих границ",
        "zero-times": "одновременные события",
        "last-period-is-a-gap": "в последнем периоде случаев нет",
        "gaps": "×: период без случаев; правила через него не действуют",
        "no-limits": "слишком мало точек для границ",
        "no-width": "границ нет: ничто не менялось",
        "size-proportion": "случаи",
        "size-ratio": "ожидаемые события",
        "flag-in": "в пределах границ",
        "flag-95": "вне 95 %",
        "flag-998": "вне 99,8 %",
        "limit-95": "95 %",
        "limit-998": "99,8 %",
        "reference": "ориентир {value}",
        "method-exact": "точные границы: только случайность",
        "method-arcsine": (
            "границы с учётом избыточной дисперсии (арксинус; phi {phi}, tau² {tau2})"
        ),
        "method-log": (
            "границы с учётом избыточной дисперсии (логарифм, 10 "
            "% отброшено; phi {phi}, tau² {tau2})"
        ),
        "method-square-root": (
            "границы с учётом избыточной дисперсии (корень, 10 % "
            "винзоризовано; phi {phi}, tau² {tau2})"
        ),
        "vlad-title": "Ожидаемые минус наблюдаемые события",
        "vlad-axis": "ожидаемые − наблюдаемые",
        "cusum-title": "Признаки изменения (CUSUM с поправкой на риск)",
        "cusum-axis": "CUSUM",
        "cases-axis": "случай, по времени",
        "worse": "хуже: шансы × {ratio}",
        "better": "лучше: шансы × {ratio}",
        "signal": "сигнал",
        "fewer": "вверх: событий меньше ожидаемого",
        "left-out": "без исхода или прогноза, не учтено случаев: {n}",
        "predicted": "прогноз",
        "observed": "наблюдалось",
        "perfect": "полное согласие",
        "calibration-numbers": (
            "n {n}, событий {events}; O/E {ratio}; наклон {slope}; c-статистика {c}"
        ),
        "per-point": "случаев на точку: {n}; точные интервалы {level} %",
        "level": "интервалы {level} %",
        "no-data": "нет случаев",
    },
}

LANGUAGES: Final[tuple[Language, ...]] = tuple(TEXTS)

_RUSSIAN: Final[dict[str, Any]] = {
    "number": {"decimal": ",", "thousands": "\u00a0", "grouping": [3], "currency": ["", ""]},
    "time": {
        "dateTime": "%d.%m.%Y %H:%M",
        "date": "%d.%m.%Y",
        "time": "%H:%M",
        "periods": ["", ""],
        "days": [
            "воскресенье",
            "понедельник",
            "вторник",
            "среда",
            "четверг",
            "пятница",
            "суббота",
        ],
        "shortDays": ["вс", "пн", "вт", "ср", "чт", "пт", "сб"],
        "months": [
            "январь",
            "февраль",
            "март",
            "апрель",
            "май",
            "июнь",
            "июль",
            "август",
            "сентябрь",
            "октябрь",
            "ноябрь",
            "декабрь",
        ],
        "shortMonths": [
            "янв",
            "фев",
            "мар",
            "апр",
            "май",
            "июн",
            "июл",
            "авг",
            "сен",
            "окт",
            "ноя",
            "дек",
        ],
    },
}


def text(language: Language, key: str, **values: object) -> str:
    """Return a text, with its places filled.

    Examples
    --------
    >>> text("en", "reference", value="12 %"), text("ru", "gap")
    ('reference 12 %', 'нет случаев')
    """
    return TEXTS[language][key].format(**values)


def number_in(language: Language, value: float | None, digits: int) -> str:
    """Write a number with the language's decimal sign; missing as a dash.

    Examples
    --------
    >>> number_in("en", -1.25, 1), number_in("ru", 1.35, 2), number_in("en", None, 2)
    ('−1.2', '1,35', '–')
    """
    if value is None:
        return "–"
    written = f"{value:.{digits}f}".replace("-", "−")
    return written.replace(".", ",") if language == "ru" else written


def share_in(language: Language, value: float | None, digits: int = 1) -> str:
    """Write a share (0-1) in per cent.

    Examples
    --------
    >>> share_in("ru", 0.1234)
    '12,3 %'
    """
    return "–" if value is None else f"{number_in(language, 100 * value, digits)} %"


def number_locale(language: Language) -> dict[str, Any] | None:
    """Return Vega's locale of numbers and dates; None for its own, English."""
    return _RUSSIAN if language == "ru" else None
