"""The words of explanations, in English and Russian, side by side.

A template's ``{0}`` and ``{1}`` are phrases. Russian times are needed in two
cases: under the plain key in the nominative, under ``key:gen`` in the
genitive, as after "не раньше".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from neva.languages.language import LanguageCode

__all__ = ["WORDS", "amount", "count", "number", "ordinal", "unit"]


WORDS: Final[dict[str, tuple[str, str]]] = {
    # ------------------------------------------------------------- the point
    "point.now": ("now", "текущий момент"),
    "point.now:gen": ("now", "текущего момента"),
    "point.stay_start": ("the start of the stay", "начало госпитализации"),
    "point.stay_start:gen": ("the start of the stay", "начала госпитализации"),
    "point.stay_end": ("the end of the stay", "конец госпитализации"),
    "point.stay_end:gen": ("the end of the stay", "конца госпитализации"),
    "point.death": ("the patient's death", "смерть пациента"),
    "point.death:gen": ("the patient's death", "смерти пациента"),
    "point.stay_kind": ("the kind of stay", "вид госпитализации"),
    "point.stay_source": ("where the patient came from", "откуда поступил пациент"),
    "point.stay_outcome": ("the outcome of the stay", "исход госпитализации"),
    "point.sex": ("the patient's sex", "пол пациента"),
    "age.now": ("age now", "возраст на текущий момент"),
    "age.point": ("age at {0}", "возраст на момент {0}"),
    "age": ("age at this time: {0}", "возраст на момент: {0}"),
    # -------------------------------------------------------------- constants
    "flag.true": ("true", "верно"),
    "flag.false": ("false", "неверно"),
    "missing": ("unknown", "неизвестно"),
    "missing:gen": ("an unknown time", "неизвестного времени"),
    "text": ("“{0}”", "«{0}»"),
    "moment": ("{0} UTC", "{0} UTC"),
    # --------------------------------------------------------- fields of rows
    "field.time": ("time", "время"),
    "field.time:gen": ("time", "времени"),
    "field.end_time": ("time of the end", "время окончания"),
    "field.end_time:gen": ("time of the end", "времени окончания"),
    "field.recorded": ("time of recording", "время внесения в систему"),
    "field.recorded:gen": ("time of recording", "времени внесения в систему"),
    "field.value": ("value", "значение"),
    "field.value.unit": ("value ({0})", "значение ({0})"),
    "field.rank": ("rank", "ранг (1 — основной)"),
    "field.event_id": ("number of the record", "номер записи"),
    "field.code": ("code", "код"),
    "field.text": ("text", "текст"),
    "field.comparator": ("sign of a limit (< or >)", "знак предела (< или >)"),
    "field.value_unit": ("unit as recorded", "единица, как записана"),
    "field.status": ("status", "статус"),
    "field.reason": ("reason", "причина"),
    "field.attribute": ("“{0}” of the record", "«{0}» записи"),
    "item": ("{0} of that one", "{0} этого элемента"),
    "pick": ("{0} of {1}", "{0} {1}"),
    "which.first": ("the first {0}", "{1} {0}"),
    "which.last": ("the last {0}", "{1} {0}"),
    "which.nth": ("the {1} {0}", "{1} {0}"),
    "which.nth.back": ("the {1}-last {0}", "{1} с конца {0}"),
    "which.highest": ("the {0} with the highest value", "{0} с наибольшим значением"),
    "which.lowest": ("the {0} with the lowest value", "{0} с наименьшим значением"),
    # ----------------------------------------------------------------- frames
    # One, of one, of many; and in Russian "first of", "last of", "one at least".
    "events.one": ("record", "запись"),
    "events.gen": ("record", "записи"),
    "events.many": ("records", "записи"),
    "events.many:gen": ("records", "записей"),
    "events.first": ("first", "первой"),
    "events.last": ("last", "последней"),
    "events.any": ("there is a {0}", "есть хотя бы одна {0}"),
    "movements.one": ("movement", "перемещение"),
    "movements.gen": ("movement", "перемещения"),
    "movements.many": ("movements", "перемещения"),
    "movements.many:gen": ("movements", "перемещений"),
    "movements.first": ("first", "первого"),
    "movements.last": ("last", "последнего"),
    "movements.any": ("there is a {0}", "есть хотя бы одно {0}"),
    "stays.one": ("stay", "госпитализация"),
    "stays.gen": ("stay", "госпитализации"),
    "stays.many": ("stays", "госпитализации"),
    "stays.many:gen": ("stays", "госпитализаций"),
    "stays.first": ("first", "первой"),
    "stays.last": ("last", "последней"),
    "stays.any": ("there is a {0}", "есть хотя бы одна {0}"),
    "rows.none": ("there is no {0}", "нет ни одной {0}"),
    "rows.none.movements": ("there is no {0}", "нет ни одного {0}"),
    "rows.of": ("{0} of {1}", "{0} {1}"),
    "rows.unit": ("{0} into unit {1}", "{0} в отделение {1}"),
    "rows.unit-kind": ("{0} into units of the kind {1}", "{0} в отделения вида {1}"),
    "rows.kind": ("{0} of the kind {1}", "{0} вида {1}"),
    "rows.any-code": ("{0} of any code", "{0} с любым кодом"),
    "rows.group": ("{0} of group {1}", "{0} группы {1}"),
    "rows.or": (" or ", " или "),
    # ------------------------------------------- what narrows a frame (options)
    "during": ("during the stay", "во время госпитализации"),
    "within": ("in the last {0}", "за последние {0}"),
    "active-at": (
        "begun at or before {0} and not ended then",
        "с началом не позже {0} и ещё без окончания к этому времени",
    ),
    "overlapping": (
        "or begun earlier and not ended when this period began",
        "или с началом раньше, но ещё без окончания к началу этого промежутка",
    ),
    "lower.closed": ("at or after {0}", "не раньше {0}"),
    "lower.open": ("after {0}", "позже {0}"),
    "upper.closed": ("at or before {0}", "не позже {0}"),
    "upper.open": ("before {0}", "раньше {0}"),
    "between": ("from {0} to {1}, both included", "от {0} до {1} включительно"),
    "open-if-missing": (
        "{0} (no limit while that time is unknown)",
        "{0} (без ограничения, пока это время неизвестно)",
    ),
    "of-stay": ("filed under this stay", "с номером этой госпитализации"),
    "statuses": ("recorded as {0}", "со статусом {0}"),
    "status.done": ("done", "«сделано»"),
    "status.planned": ("planned", "«запланировано»"),
    "status.not-done": ("not done", "«не сделано»"),
    "status.cancelled": ("cancelled", "«отменено»"),
    "where": ("where {0}", "где {0}"),
    # -------------------------------------------------------------- aggregates
    "how.count": ("number of {0}", "число {0}"),
    "how.codes": ("number of different codes among {0}", "число разных кодов среди {0}"),
    "how.minimum": ("lowest value{1} of {0}", "наименьшее значение{1} {0}"),
    "how.maximum": ("highest value{1} of {0}", "наибольшее значение{1} {0}"),
    "how.mean": ("mean value{1} of {0}", "среднее значение{1} {0}"),
    "how.sum": ("sum of the values{1} of {0}", "сумма значений{1} {0}"),
    "how.slope": (
        "rise{1} per hour, by a straight line through the values, of {0}",
        "прирост{1} за час по прямой через значения {0}",
    ),
    "how.hours": (
        "hours covered by {0}, overlaps counted once",
        "часы, покрытые временем {0}, наложения считаются один раз",
    ),
    "hours-where": (
        "hours during which the last reading, carried on for at most {0}, fulfilled the condition",
        "часы, когда последнее измерение, действующее не более {0}, отвечало условию",
    ),
    "hours-where.any": (
        "hours covered by a reading, each carried on for at most {0}",
        "часы, покрытые измерением, каждое действует не более {0}",
    ),
    "hours-where.condition": ("condition: {0}", "условие: {0}"),
    "hours-where.readings": ("readings: {0}", "измерения: {0}"),
    "each.any": (
        "at least one of the following fulfils the condition",
        "хотя бы один из следующих элементов отвечает условию",
    ),
    "each.all": (
        "all of the following fulfil the condition",
        "все следующие элементы отвечают условию",
    ),
    "each.count": (
        "how many of the following fulfil the condition",
        "сколько из следующих элементов отвечает условию",
    ),
    "each.sum": ("sum over the following", "сумма по следующим элементам"),
    "each.mean": ("mean over the following", "среднее по следующим элементам"),
    "each.minimum": ("lowest over the following", "наименьшее по следующим элементам"),
    "each.maximum": ("highest over the following", "наибольшее по следующим элементам"),
    "each.items": ("of: {0}", "элементы: {0}"),
    "each.condition": ("condition for each: {0}", "условие для каждого: {0}"),
    "each.value": ("from each: {0}", "от каждого: {0}"),
    "days": ("calendar days from {0} to {1}", "календарные дни от {0} до {1}"),
    "every": ("times every {2} from {0} to {1}", "моменты каждые {2} от {0} до {1}"),
    # -------------------------------------------------------------- arithmetic
    "add": ("{0} + {1}", "{0} + {1}"),
    "subtract": ("{0} − {1}", "{0} − {1}"),
    "multiply": ("{0} × {1}", "{0} × {1}"),
    "divide": ("{0} ÷ {1}", "{0} ÷ {1}"),
    "add.many": ("sum of", "сумма"),
    "negate": ("−{0}", "−{0}"),
    "absolute": ("{0} without its sign", "{0} без знака"),
    "floor": ("{0}, rounded down", "{0} с округлением вниз"),
    "exponential": ("e to the power of {0}", "e в степени: {0}"),
    "logarithm": ("natural logarithm of {0}", "натуральный логарифм: {0}"),
    "convert": ("{0}, converted to {1}", "{0}, в пересчёте на {1}"),
    "least.number": ("the lowest that is known of", "наименьшее известное из"),
    "greatest.number": ("the highest that is known of", "наибольшее известное из"),
    "least.time": ("the earliest that is known of", "самое раннее известное из"),
    "least.time:gen": ("the earliest that is known of", "самого раннего известного из"),
    "greatest.time": ("the latest that is known of", "самое позднее известное из"),
    "greatest.time:gen": ("the latest that is known of", "самого позднего известного из"),
    "after": ("{0} after {1}", "через {0} после {1}"),
    "before": ("{0} before {1}", "за {0} до {1}"),
    "after:gen": ("{0} after {1}", "чем через {0} после {1}"),
    "before:gen": ("{0} before {1}", "чем за {0} до {1}"),
    "after:from": ("{0} after {1}", "момента через {0} после {1}"),
    "before:from": ("{0} before {1}", "момента за {0} до {1}"),
    "shift.hours": (
        "as many hours after {0} as is here: {1}",
        "позже {0} на столько часов: {1}",
    ),
    "shift.days": (
        "as many calendar days after {0} as is here: {1}",
        "позже {0} на столько календарных дней: {1}",
    ),
    "elapsed": ("hours from {0} to {1}", "часы от {0} до {1}"),
    "calendar-days": ("midnights between {0} and {1}", "число полуночей от {0} до {1}"),
    "start-of-day": (
        "the start of the day of {0}",
        "начало дня, на который приходится {0}",
    ),
    "start-of-day:gen": (
        "the start of the day of {0}",
        "начала дня, на который приходится {0}",
    ),
    "clock.hour": ("hour of the day (0–23) of {0}", "час суток (0–23) в момент: {0}"),
    "clock.weekday": (
        "day of the week (1 Monday – 7 Sunday) of {0}",
        "день недели (1 понедельник – 7 воскресенье) в момент: {0}",
    ),
    "clock.month": ("month (1–12) of {0}", "месяц (1–12) в момент: {0}"),
    "clock.year": ("year of {0}", "год в момент: {0}"),
    # ------------------------------------------------------------------- logic
    "number<": ("{0} < {1}", "{0} < {1}"),
    "number<=": ("{0} ≤ {1}", "{0} ≤ {1}"),
    "number>": ("{0} > {1}", "{0} > {1}"),
    "number>=": ("{0} ≥ {1}", "{0} ≥ {1}"),
    "number==": ("{0} = {1}", "{0} = {1}"),
    "number!=": ("{0} ≠ {1}", "{0} ≠ {1}"),
    "time<": ("{0} is before {1}", "{0} — раньше {1}"),
    "time<=": ("{0} is at or before {1}", "{0} — не позже {1}"),
    "time>": ("{0} is after {1}", "{0} — позже {1}"),
    "time>=": ("{0} is at or after {1}", "{0} — не раньше {1}"),
    "time==": ("{0} is the same time as {1}", "{0} — в то же время, что и {1}"),
    "time!=": ("{0} is another time than {1}", "{0} — не в то же время, что и {1}"),
    "text==": ("{0} is {1}", "{0} — {1}"),
    "text!=": ("{0} is not {1}", "{0} — не {1}"),
    "boolean==": ("{0}: exactly when {1}", "{0}: ровно тогда, когда {1}"),
    "boolean!=": ("{0}: exactly when not {1}", "{0}: ровно тогда, когда неверно: {1}"),
    "one-of": ("{0} is one of {1}", "{0} — одно из: {1}"),
    "all": ("all of these hold", "выполнено всё перечисленное"),
    "any": ("at least one of these holds", "выполнено хотя бы одно из перечисленного"),
    "not": ("it is not so that {0}", "неверно, что {0}"),
    "is-missing": ("{0} is unknown", "неизвестно: {0}"),
    "is-missing.long": ("there is no known value of: {0}", "неизвестно: {0}"),
    "is-known.long": ("there is a known value of: {0}", "известно: {0}"),
    "is-known": ("{0} is known", "известно: {0}"),
    "known-true": ("it is known that {0}", "известно, что {0}"),
    "or-unknown": ("{0} (or this is unknown)", "{0} (или это неизвестно)"),
    "first-known.two": (
        "({0}, or, if that is unknown, {1})",
        "({0}, а если это неизвестно — {1})",
    ),
    "first-known": ("the first that is known of", "первое известное из"),
    "first-known:gen": ("the first that is known of", "первого известного из"),
    "case": ("by the first line that is true", "по первой верной строке"),
    "case:gen": (
        "the time by the first line that is true",
        "времени по первой верной строке",
    ),
    "ladder": ("by {0}", "по значению — {0}"),
    "case.if": ("if {0}: {1}", "если {0}: {1}"),
    "case.then": ("then {0}", "то {0}"),
    "case.line": ("{1} if {0}", "{1}, если {0}"),
    "case.otherwise": ("otherwise {0}", "иначе {0}"),
    # ------------------------------------------------------------ named parts
    "part.boolean": ("condition {0}", "условие {0}"),
    "part.number": ("number {0}", "величина {0}"),
    "part.time": ("time {0}", "время {0}"),
    "part.time:gen": ("time {0}", "времени {0}"),
    "part.text": ("text {0}", "текст {0}"),
    "named.boolean": ("“{0}”", "«{0}»"),
    "named.number": ("“{0}”", "«{0}»"),
    "named.text": ("“{0}”", "«{0}»"),
    "named.time": ("“{0}”", "момент «{0}»"),
    "named.time:gen": ("“{0}”", "момента «{0}»"),
    "deadline": ("the deadline", "срок"),
    "deadline:gen": ("the deadline", "срока"),
    # --------------------------------------------------------------- documents
    "section.population": (
        "Population: stays for which",
        "Кто учитывается: госпитализации, для которых",
    ),
    "section.population.all": (
        "Population: stays for which all of these hold",
        "Кто учитывается: госпитализации, для которых выполнено всё перечисленное",
    ),
    "section.population.subject": (
        "Population: patients for whom",
        "Кто учитывается: пациенты, для которых",
    ),
    "section.population.subject.all": (
        "Population: patients for whom all of these hold",
        "Кто учитывается: пациенты, для которых выполнено всё перечисленное",
    ),
    "section.exclusions": ("Left out", "Исключаются"),
    "section.clock": ("The clock starts", "Отсчёт начинается"),
    "section.due": ("Deadline", "Срок"),
    "section.numerator": ("Met if", "Выполнено, если"),
    "section.observation": ("What is measured", "Что измеряется"),
    "section.per": ("Per", "В расчёте на"),
    "section.components": ("Parts, counted one by one too", "Части, считаются и по отдельности"),
    "section.treated": (
        "Shown also for those only with",
        "Показывается также только для тех, где",
    ),
    "section.interval": ("Time shown beside", "Показываемое время"),
    "section.stratifiers": ("Broken down by", "Разбивка"),
    "section.period": ("Counted in the period of", "Относится к периоду по"),
    "section.value": ("Value", "Значение"),
    "section.items": ("Items", "Пункты"),
    "section.evidence": ("Sources", "Источники"),
    "section.notes": ("Notes", "Примечания"),
    "section.codelists": ("Codelists", "Списки кодов"),
    "section.parts": ("Parts used more than once", "Части, использованные не один раз"),
    "part.mark": ("{0} [{1}]", "{0} [{1}]"),
    "head": (
        "{0}, version {1}, content {2}",
        "{0}, версия {1}, содержание {2}",
    ),
    "kind.feature": ("A value of a patient.", "Показатель пациента."),
    "kind.score": (
        (
            "A score from {0} to {1}: the points of the items add up. "
            "While an item is unknown, so is the total; the points known are given as “at least”."
        ),
        (
            "Шкала от {0} до {1}: баллы пунктов складываются. "
            "Пока какой-либо пункт неизвестен, неизвестна и сумма; "
            "известные баллы даются как «не менее»."
        ),
    ),
    "kind.measure": (
        "A measure of quality; each stay counts once. {0}",
        "Показатель качества; каждая госпитализация учитывается один раз. {0}",
    ),
    "kind.measure.subject": (
        "A measure of quality; each patient counts once. {0}",
        "Показатель качества; каждый пациент учитывается один раз. {0}",
    ),
    "better.higher": ("Higher is better.", "Чем выше, тем лучше."),
    "better.lower": ("Lower is better.", "Чем ниже, тем лучше."),
    "better.neutral": (
        "Neither direction is better.",
        "Ни рост, ни снижение сами по себе не лучше.",
    ),
    "early.met": (
        (
            "As soon as this holds, the answer is “met” and final. "
            "Until the deadline it is otherwise “pending”, after it “failed”."
        ),
        (
            "Как только это верно, ответ «выполнено» окончателен. "
            "Иначе до срока ответ — «ожидается», после срока — «не выполнено»."
        ),
    ),
    "early.failed": (
        (
            "As soon as this no longer holds, the answer is “failed” and final. "
            "Until the deadline it is otherwise “pending”, after it “met”."
        ),
        (
            "Как только это неверно, ответ «не выполнено» окончателен. "
            "Иначе до срока ответ — «ожидается», после срока — «выполнено»."
        ),
    ),
    "early.never": (
        "The answer is pending until the deadline, whatever has happened.",
        "До срока ответ — «ожидается», что бы ни произошло.",
    ),
    "due.none": (
        "There is no deadline: the answer stands at once.",
        "Срока нет: ответ даётся сразу.",
    ),
    "due.missing": (
        "While the deadline is unknown, the answer is pending.",
        "Пока срок неизвестен, ответ — «ожидается».",
    ),
    "clock.unknown": (
        "Where that time is unknown, so is the answer.",
        "Где это время неизвестно, неизвестен и ответ.",
    ),
    "codelist": ("{0} ({1}, version {2}): {3}: {4}", "{0} ({1}, версия {2}): {3}: {4}"),
    "codelist.below": (", with all codes below", ", со всеми нижестоящими кодами"),
    "codelist.excluding": ("; without {0}", "; кроме {0}"),
    "codelist.more": ("{0} and {1} more", "{0} и ещё {1}"),
    "window.unknown": (
        "Where a time that limits a period is unknown, so is what is asked of that period.",
        "Где неизвестно время, ограничивающее промежуток, неизвестен и ответ о нём.",
    ),
}

#: UCUM units in everyday writing.
_UNITS: Final[dict[str, tuple[str, str]]] = {
    "mm[Hg]": ("mmHg", "мм рт. ст."),
    "cm[H2O]": ("cmH₂O", "см вод. ст."),
    "Cel": ("°C", "°C"),
    "[degF]": ("°F", "°F"),
    "/min": ("per minute", "в минуту"),
    "h": ("hours", "ч"),
    "min": ("minutes", "мин"),
    "s": ("seconds", "с"),
    "d": ("days", "дн."),
    "a": ("years", "лет"),
    "%": ("%", "%"),
    "%/h": ("% per hour", "% в час"),
    "kg": ("kg", "кг"),
    "g": ("g", "г"),
    "mg": ("mg", "мг"),
    "g/L": ("g/L", "г/л"),
    "g/dL": ("g/dL", "г/дл"),
    "mg/L": ("mg/L", "мг/л"),
    "mg/dL": ("mg/dL", "мг/дл"),
    "mg/L/h": ("mg/L per hour", "мг/л в час"),
    "ug/L": ("µg/L", "мкг/л"),
    "ng/mL": ("ng/mL", "нг/мл"),
    "ng/L": ("ng/L", "нг/л"),
    "pg/mL": ("pg/mL", "пг/мл"),
    "mol/L": ("mol/L", "моль/л"),
    "mmol/L": ("mmol/L", "ммоль/л"),
    "umol/L": ("µmol/L", "мкмоль/л"),
    "U/L": ("U/L", "Ед/л"),
    "L/min": ("L/min", "л/мин"),
    "mL": ("mL", "мл"),
    "mL/h": ("mL/h", "мл/ч"),
    "10*9/L": ("×10⁹/L", "×10⁹/л"),
    "10*12/L": ("×10¹²/L", "×10¹²/л"),
    "kPa": ("kPa", "кПа"),
    "cm": ("cm", "см"),
    "kg/m2": ("kg/m²", "кг/м²"),
    "{score}": ("points", "балл."),
}

#: Forms with 1, 2-4 and 5 or more, as counted ("через 1 минуту"), and after "не более".
_PLURALS: Final[dict[str, tuple[tuple[str, str], tuple[str, str, str], tuple[str, str]]]] = {
    "h": (("hour", "hours"), ("час", "часа", "часов"), ("часа", "часов")),
    "min": (("minute", "minutes"), ("минуту", "минуты", "минут"), ("минуты", "минут")),
    "d": (
        ("calendar day", "calendar days"),
        ("календарный день", "календарных дня", "календарных дней"),
        ("календарного дня", "календарных дней"),
    ),
    "a": (("year", "years"), ("год", "года", "лет"), ("года", "лет")),
    "point": (("point", "points"), ("балл", "балла", "баллов"), ("балла", "баллов")),
    "code": (("code", "codes"), ("код", "кода", "кодов"), ("кода", "кодов")),
}


def number(value: float, language: LanguageCode) -> str:
    """Write a number: no trailing zeros, a comma in Russian, a true minus."""
    text = f"{value:.10g}" if abs(value) < 1e10 else f"{value:g}"
    text = text.replace("-", "−") if "e" not in text else text
    return text.replace(".", ",") if language == "ru" else text


def unit(code: str, language: LanguageCode) -> str:
    """Write a UCUM unit as people do; what has no such writing stays as it is."""
    return _UNITS.get(code, (code, code))[language == "ru"]


def _russian_form(value: float) -> int:
    whole = abs(int(value))
    if value != int(value):
        return 1  # 0,5 часа
    if whole % 100 in range(11, 15):
        return 2
    return 0 if whole % 10 == 1 else 1 if whole % 10 in (2, 3, 4) else 2


def count(value: float, what: str, language: LanguageCode, *, genitive: bool = False) -> str:
    """Write so many hours, minutes, days, years, points or codes.

    Examples
    --------
    >>> count(21, "h", "ru"), count(4, "h", "ru", genitive=True), count(1, "point", "en")
    ('21 час', '4 часов', '1 point')
    """
    english, russian, after = _PLURALS[what]
    if language == "en":
        return f"{number(value, 'en')} {english[abs(value) != 1]}"
    form = _russian_form(value)
    if genitive:
        return f"{number(value, 'ru')} {after[form != 0 and value == int(value)]}"
    return f"{number(value, 'ru')} {russian[form]}"


def ordinal(value: int, language: LanguageCode, *, neuter: bool = False) -> str:
    """Write 1st, 2nd, 3rd; in Russian in the genitive.

    Examples
    --------
    >>> ordinal(2, "en"), ordinal(11, "en"), ordinal(2, "ru"), ordinal(2, "ru", neuter=True)
    ('2nd', '11th', '2-й', '2-го')
    """
    if language == "ru":
        return f"{value}-{'го' if neuter else 'й'}"
    last = 0 if value % 100 in (11, 12, 13) else value % 10
    return f"{value}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def amount(
    value: float, of: Literal["hours", "days"], language: LanguageCode, *, genitive: bool = False
) -> str:
    """Write a duration: minutes below an hour, elapsed hours in days where they are whole.

    Examples
    --------
    >>> amount(0.5, "hours", "en"), amount(336, "hours", "en"), amount(1, "days", "ru")
    ('30 minutes', '336 hours (14 × 24)', '1 календарный день')
    """
    written: Callable[..., str] = count
    if of == "days":
        return written(value, "d", language, genitive=genitive)
    if abs(value) < 1 and value:
        return written(round(value * 60, 6), "min", language, genitive=genitive)
    text = written(value, "h", language, genitive=genitive)
    return f"{text} ({value / 24:g} × 24)" if value >= 48 and value % 24 == 0 else text
