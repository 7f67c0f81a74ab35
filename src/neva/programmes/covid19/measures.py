"""Treatment-quality measures of the COVID-19 programme."""

# More than 600 lines: one measure after another.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neva.definitions.documents import Measure
from neva.definitions.language import (
    Boolean,
    Quantity,
    Rows,
    Time,
    all_of,
    case,
    days,
    events,
    first_known,
    greatest,
    hours,
    least,
    minutes,
    movements,
    now,
    number,
    row,
    stay,
    stays,
    subject,
    true_or_unknown,
    value,
)
from neva.definitions.model import Missing
from neva.definitions.writing import measure, named
from neva.programmes import codelists as codes
from neva.programmes.covid19.scores import low_saturation

__all__ = ["Choices", "measures"]

RECOVERY = "doi:10.1056/NEJMoa2021436"


@dataclass(frozen=True)
class Choices:
    """What the evidence leaves to the hospital.

    Attributes
    ----------
    trigger : str
        When a steroid is needed: ``oxygen-started``, or
        ``oxygen-or-confirmed-need`` (also two readings below `target` at least
        ten minutes apart).
    target : float
        Saturation in percent below which need is confirmed.
    prophylaxis_hours, antibiotic_hours, review_hours : float
        Hours for thromboprophylaxis, for antibiotics without evidence and for
        the review of antibiotics.
    response_minutes : float
        Minutes to a review after NEWS2 of 7 or more; local, not from the RCP.
    procalcitonin : float
        ng/mL from which bacterial infection is assumed; unconfirmed.
    """

    trigger: str = "oxygen-started"
    target: float = 94.0
    prophylaxis_hours: float = 14.0
    antibiotic_hours: float = 48.0
    review_hours: float = 72.0
    response_minutes: float = 30.0
    procalcitonin: float = 0.5


class _Patients:
    """What the measures share."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices

    @cached_property
    def detected(self) -> Rows:
        return (
            events(codes.viral_test)
            .where(row.text == "detected")
            .since(stay.start - hours(14 * 24))
            .until(first_known(stay.end, now))
        )

    @cached_property
    def covid(self) -> Boolean:
        return all_of(
            stay.kind == "inpatient",
            self.detected.exists(),
            subject.age_at(stay.start) >= 18,
        )

    @cached_property
    def oxygen(self) -> Rows:
        return events(codes.oxygen_therapy).during(stay)

    @cached_property
    def need(self) -> Time:
        """When a steroid is needed: missing while it is not."""
        started = self.oxygen.first().time
        if self.choices.trigger == "oxygen-started":
            return started
        low = low_saturation(self.choices.target)
        confirmed = low.since(low.first().time + minutes(10)).first().time
        made: Time = least(started, confirmed)
        return made

    @cached_property
    def hypercapnic(self) -> Boolean:
        return events("CARE//saturation-target-88-92").during(stay).exists()

    @cached_property
    def stratifiers(self) -> list[Any]:
        age = subject.age_at(stay.start)
        return [
            named(
                "age-group",
                case(
                    (age < 50, _text_value("under 50")),
                    (age < 70, _text_value("50-69")),
                    otherwise=_text_value("70 and over"),
                ),
                "age group",
                "возраст",
            ),
            named("sex", subject.sex, "sex", "пол"),
        ]


def _text_value(words: str) -> Any:
    from neva.definitions.language import Words
    from neva.definitions.model import Text

    return Words(Text(value=words))


def measures(choices: Choices) -> list[Measure]:
    """Return the measures of the programme, in its order."""
    of = _Patients(choices)
    return [
        *_steroids(of),
        *_drugs(of),
        *_observation(of),
        *_outcomes(of),
    ]


def _left_before(due: Time, met: Boolean) -> Any:
    """Leave out who left or died before the clock closed, without what was due."""
    return named(
        "left-before", first_known(stay.end < due, False) & ~met, "left or died before it was due"
    )


def _steroids(of: _Patients) -> list[Measure]:
    steroid = events(codes.systemic_steroid)
    need = of.need
    # What is recorded after the clock has closed excuses nothing.
    by_then = need + hours(24)
    given = (
        steroid.after(stay.start - hours(24)).until(by_then).exists()
        | steroid.active_at(need).exists()
    )
    return [
        measure(
            "covid19.steroid-when-on-oxygen",
            version="1.0.0",
            title="Steroid within 24 hours of needing oxygen",
            title_ru="Кортикостероид в течение 24 ч от потребности в кислороде",
            description=(
                "Adults admitted with COVID-19 who needed oxygen: a systemic steroid by 24 hours "
                "after; one given in the 24 hours before admission, or still running when oxygen "
                "is needed, counts as given."
            ),
            evidence=(RECOVERY,),
            notes=("Time zero and the limits are proposals built on the cited trial.",),
            population=of.covid & need.is_known(),
            exclusions=[
                named(
                    "hypercapnic",
                    events("CARE//saturation-target-88-92").during(stay).until(by_then).exists(),
                    "saturation target of 88-92 %",
                ),
                named(
                    "palliative",
                    events("CARE//palliative-care", "CARE//ceiling-of-care")
                    .during(stay)
                    .until(by_then)
                    .exists(),
                    "palliative care or a ceiling of care",
                ),
                named(
                    "contraindicated",
                    events("CARE//steroid-contraindicated").during(stay).until(by_then).exists(),
                    "steroid contraindicated",
                ),
                _left_before(by_then, given),
            ],
            clock_start=need,
            clock_title="oxygen needed",
            due=hours(24),
            numerator=given,
            interval=steroid.after(stay.start - hours(24)).until(need + hours(24)).first().time
            - need,
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            "covid19.no-steroid-without-oxygen",
            version="1.0.0",
            title="No steroid without need of oxygen",
            title_ru="Нет кортикостероида без потребности в кислороде",
            description=(
                "Adults admitted with COVID-19 who never needed oxygen: no systemic steroid "
                "during the stay. Nobody is in this measure and in the one on steroids on oxygen."
            ),
            evidence=(RECOVERY,),
            population=of.covid & need.is_missing(),
            exclusions=[
                named(
                    "other-indication",
                    events("CARE//other-steroid-indication").during(stay).exists()
                    | events(codes.other_steroid_need).until(now).exists(),
                    "another reason for steroids",
                ),
                named(
                    "already-on-steroids",
                    steroid.after(stay.start - hours(30 * 24)).before(stay.start).exists(),
                    "on steroids in the 30 days before",
                ),
            ],
            clock_start=stay.start,
            clock_title="admission",
            due=stay.end,
            numerator=~steroid.during(stay).exists(),
            decides_early="never",
            stratifiers=of.stratifiers,
            better="higher",
        ),
    ]


def _drugs(of: _Patients) -> list[Measure]:
    choices = of.choices
    start = stay.start
    limit = start + hours(choices.prophylaxis_hours)
    heparin = events(codes.heparin_prophylaxis)
    antibiotic = events(codes.antibiotics)
    first_antibiotic = antibiotic.during(stay).first().time
    reviewed = (
        events("CARE//antibiotic-review", "CARE//antibiotic-stopped")
        .after(first_antibiotic)
        .until(first_antibiotic + hours(choices.review_hours))
    )
    early = start + hours(choices.antibiotic_hours)
    next_day = start.start_of_day() + days(2)
    full_dose = events(
        "CARE//anticoagulation-therapeutic", "CARE//anticoagulant-contraindicated"
    ).since(start - hours(24))

    def heparin_exclusions(until: Time, met: Boolean) -> list[Any]:
        return [
            _left_before(until, met),
            named(
                "anticoagulated-or-contraindicated",
                full_dose.until(until).exists(),
                "full anticoagulation, or a contraindication",
            ),
            named(
                "not-done-with-reason",
                heparin.not_done()
                .where(row.reason == "REASON//contraindicated")
                .between(start, until)
                .exists(),
                "recorded as not given because contraindicated",
            ),
        ]

    oxygen_or_low = least(of.oxygen.first().time, low_saturation(92).first().time)
    inflamed = events(codes.crp).where(value("mg/L") >= 75).during(stay).first().time
    during_or_before = events(codes.systemic_steroid).after(start - hours(24))
    on_steroid = during_or_before.until(first_known(stay.end, now)).first().time
    met_all = oxygen_or_low.is_known() & inflamed.is_known() & on_steroid.is_known()
    trigger = case(
        (met_all, greatest(oxygen_or_low, inflamed, on_steroid, start)),
        otherwise=Time(Missing(of="time")),
    )
    blocked = events(codes.il6_or_jak).since(start).until(trigger + hours(48)).exists()
    return [
        measure(
            f"covid19.thromboprophylaxis-{choices.prophylaxis_hours:g}-hours",
            version="1.0.0",
            title=f"Thromboprophylaxis within {choices.prophylaxis_hours:g} hours of admission",
            title_ru=f"Тромбопрофилактика в течение {choices.prophylaxis_hours:g} ч от поступления",
            evidence=("NICE NG191 (hours unconfirmed)", "CMS108v11"),
            notes=("The limit of hours is configuration.",),
            population=of.covid,
            exclusions=heparin_exclusions(limit, heparin.between(start, limit).exists()),
            clock_start=start,
            clock_title="admission",
            due=hours(choices.prophylaxis_hours),
            numerator=heparin.between(start, limit).exists(),
            interval=heparin.between(start, limit).first().time - start,
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            "covid19.thromboprophylaxis-day-0-or-1",
            version="1.0.0",
            title="Thromboprophylaxis on the day of admission or the next",
            title_ru="Тромбопрофилактика в день поступления или на следующий",
            evidence=("CMS108v11",),
            population=of.covid,
            exclusions=heparin_exclusions(next_day, heparin.since(start).before(next_day).exists()),
            clock_start=start,
            clock_title="admission",
            due=next_day,
            numerator=heparin.since(start).before(next_day).exists(),
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            "covid19.no-antibiotic-without-evidence",
            version="1.0.0",
            title="No antibiotic without evidence of bacterial infection",
            title_ru="Нет антибиотика без признаков бактериальной инфекции",
            evidence=("NICE NG191 (unconfirmed)",),
            notes=("The procalcitonin limit is configuration and unconfirmed.",),
            population=of.covid,
            exclusions=[
                named(
                    "bacterial-evidence",
                    events("CARE//bacterial-infection-suspected").between(start, early).exists()
                    | events(codes.blood_culture)
                    .where(row.text == "positive")
                    .between(start, early)
                    .exists()
                    | events(codes.procalcitonin)
                    .where(value("ng/mL") >= choices.procalcitonin)
                    .between(start, early)
                    .exists(),
                    "suspicion, positive blood culture or high procalcitonin",
                )
            ],
            clock_start=start,
            clock_title="admission",
            due=least(early, stay.end),
            numerator=~antibiotic.between(start, early).exists(),
            decides_early="never",
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            f"covid19.antibiotic-review-{choices.review_hours:g}-hours",
            version="1.0.0",
            title=f"Antibiotics reviewed or stopped within {choices.review_hours:g} hours",
            title_ru=f"Антибиотик пересмотрен или отменён за {choices.review_hours:g} ч",
            evidence=("NICE NG191 (unconfirmed)",),
            population=of.covid & first_antibiotic.is_known(),
            exclusions=[
                named(
                    "left-before",
                    (
                        first_known(stay.end, now + hours(24 * 365))
                        < first_antibiotic + hours(choices.review_hours)
                    )
                    & ~reviewed.exists(),
                    "left before the review was due",
                )
            ],
            clock_start=first_antibiotic,
            clock_title="first antibiotic",
            due=hours(choices.review_hours),
            numerator=reviewed.exists(),
            interval=reviewed.first().time - first_antibiotic,
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            "covid19.il-6-or-jak-blocker-48-hours",
            version="1.0.0",
            title="IL-6 or JAK blocker within 48 hours when indicated",
            title_ru="Блокатор ИЛ-6 или JAK в течение 48 ч при показаниях",
            description=(
                "On oxygen or below 92 %, CRP of 75 mg/L or more, and on a steroid: from when all "
                "three hold."
            ),
            evidence=(RECOVERY,),
            population=of.covid & met_all,
            exclusions=[
                named(
                    "palliative",
                    events("CARE//palliative-care", "CARE//ceiling-of-care")
                    .during(stay)
                    .until(trigger + hours(48))
                    .exists(),
                    "palliative care or a ceiling of care",
                ),
                named(
                    "contraindicated",
                    events("CARE//immunosuppressant-contraindicated")
                    .during(stay)
                    .until(trigger + hours(48))
                    .exists(),
                    "immunosuppression contraindicated",
                ),
                _left_before(trigger + hours(48), blocked),
            ],
            clock_start=trigger,
            clock_title="all three criteria",
            due=hours(48),
            numerator=blocked,
            stratifiers=of.stratifiers,
            better="higher",
        ),
    ]


def _observation(of: _Patients) -> list[Measure]:
    choices = of.choices
    start = stay.start
    first_day = start + hours(24)

    def by_then(*what: Any) -> Boolean:
        return events(*what).between(start, first_day).exists()

    baseline = [
        named("crp", by_then(codes.crp), "C-reactive protein"),
        named("leukocytes", by_then(codes.leukocytes), "blood count"),
        named("ldh", by_then(codes.ldh), "lactate dehydrogenase"),
        named("kidney", by_then(codes.creatinine, codes.urea), "creatinine or urea"),
        named("ferritin", by_then(codes.ferritin), "ferritin"),
        named("d-dimer", by_then(codes.d_dimer), "D-dimer"),
        named("imaging", by_then(codes.chest_imaging), "chest CT or X-ray"),
        named("ecg", by_then(codes.electrocardiogram), "ECG"),
    ]
    # Readings on oxygen say nothing of room air; one at its very start does.
    readings = events(codes.saturation).between(start, first_day)
    on_air = readings.until(first_known(of.oxygen.first().time, first_day)).exists() | first_known(
        readings.since(of.oxygen.last().end_time).exists(), False
    )
    for_4c = [
        named("age", subject.age_at(start).is_known(), "age"),
        named("sex", first_known(subject.sex.one_of("female", "male"), False), "sex"),
        named("respiratory-rate", by_then(codes.respiratory_rate), "respiratory rate"),
        named("saturation", on_air, "saturation on room air"),
        named("coma-score", by_then(codes.coma_score), "Glasgow coma score"),
        named("urea", by_then(codes.urea), "urea"),
        named("crp-value", by_then(codes.crp), "C-reactive protein"),
    ]
    complete = all_of(*[_boolean(part.of) for part in baseline])
    recordable = all_of(*[_boolean(part.of) for part in for_4c])
    begin = of.oxygen.first().time
    # Oxygen without a stated end is not counted beyond the stay.
    leaves = first_known(stay.end, now)
    finish = least(first_known(of.oxygen.last().end_time, leaves), leaves)
    in_force = _hours_in_force(events(codes.saturation), begin, finish)
    on_target = case(
        (of.hypercapnic, in_force((value("%") >= 88) & (value("%") <= 92))),
        otherwise=in_force((value("%") >= 92) & (value("%") <= 96)),
    )
    alarm = events(codes.news2_recorded).where(value("{score}") >= 7).during(stay).first().time
    review = events("CARE//clinical-review").between(
        alarm, alarm + minutes(choices.response_minutes)
    )
    return [
        measure(
            "covid19.baseline-set-24-hours",
            version="1.0.0",
            title="Baseline tests complete within 24 hours",
            title_ru="Базовый набор исследований за 24 ч",
            evidence=("Russian interim guidelines (unconfirmed)",),
            population=of.covid,
            exclusions=[_left_before(first_day, complete)],
            clock_start=start,
            clock_title="admission",
            due=hours(24),
            numerator=complete,
            components=baseline,
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            "covid19.4c-recordable-24-hours",
            version="1.0.0",
            title="Inputs of the 4C Mortality Score within 24 hours",
            title_ru="Данные для шкалы 4C за 24 ч",
            evidence=("doi:10.1136/bmj.m3339",),
            notes=("Comorbidities count as recorded: no code means none.",),
            population=stay_and_test(of),
            exclusions=[_left_before(first_day, recordable)],
            clock_start=start,
            clock_title="admission",
            due=hours(24),
            numerator=recordable,
            components=for_4c,
            better="higher",
        ),
        measure(
            "covid19.oxygen-in-target-range",
            version="1.0.0",
            title="Share of time on oxygen within the target range",
            title_ru="Доля времени на кислороде в целевом диапазоне",
            description=(
                "92-96 %, or 88-92 % where that target is recorded. A reading holds until the next "
                "one, at most 4 hours. Each patient's time counts, not the number of readings."
            ),
            notes=("Target ranges unconfirmed (NIH, WHO).",),
            population=of.covid & begin.is_known(),
            observation=on_target / in_force(None),
            clock_start=begin,
            clock_title="oxygen started",
            stratifiers=of.stratifiers,
            better="higher",
        ),
        measure(
            "covid19.review-after-news2",
            version="1.0.0",
            title=f"Review within {choices.response_minutes:g} minutes of NEWS2 of 7 or more",
            title_ru=f"Осмотр в течение {choices.response_minutes:g} мин после NEWS2 ≥ 7",
            evidence=("Royal College of Physicians 2017 (urgency; the minutes are local)",),
            population=of.covid & alarm.is_known(),
            clock_start=alarm,
            clock_title="first NEWS2 of 7 or more",
            due=minutes(choices.response_minutes),
            numerator=review.exists(),
            interval=review.first().time - alarm,
            stratifiers=of.stratifiers,
            better="higher",
        ),
    ]


def _hours_in_force(
    readings: Rows, begin: Time, finish: Time
) -> Callable[[Boolean | None], Quantity]:
    """Hours between two times under readings that satisfy a condition.

    A reading holds until the next one, at most four hours; the one in force
    when the period begins counts from there. What lies before the period is
    taken off again.
    """
    carry = hours(4)

    def hours_of(condition: Boolean | None) -> Quantity:
        parts = [
            first_known(rows.hours_where(condition, carry=carry), number(0, "h"))
            for rows in (
                readings.between(begin - carry, finish),
                readings.between(begin - carry, begin),
            )
        ]
        made: Quantity = parts[0] - parts[1]
        return made

    return hours_of


def stay_and_test(of: _Patients) -> Boolean:
    """Adults with COVID-19, an unknown age not shutting anybody out."""
    return all_of(
        stay.kind == "inpatient",
        of.detected.exists(),
        true_or_unknown(subject.age_at(stay.start) >= 18),
    )


def _boolean(node: Any) -> Boolean:
    return Boolean(node)


def _outcomes(of: _Patients) -> list[Measure]:
    advanced = events(codes.advanced_support).during(stay)
    support = advanced.first().time
    intensive = movements(kind="icu").during(stay).since(support)
    # Who was transferred is not discharged: the next hospital answers for the return.
    alive = stay.end.is_known() & stay.outcome.one_of("home", "care-facility")
    again = (
        stays("inpatient", "emergency")
        .where(true_or_unknown(row.reason != "elective"))
        .after(stay.end)
        .until(stay.end + days(30))
    )
    low_flow = events(codes.oxygen_low_flow).during(stay)
    first_low = low_flow.first().time
    worse = advanced.since(first_low).exists() | (stay.outcome == "died")
    first_positive = of.detected.first().time
    wait = first_positive - stay.start
    return [
        measure(
            "covid19.hours-to-intensive-care",
            version="1.0.0",
            title="Hours from advanced respiratory support to intensive care",
            title_ru="Часы от респираторной поддержки до реанимации",
            notes=("Descriptive; from the first state of 6 or more on the WHO scale.",),
            population=of.covid & support.is_known() & intensive.exists(),
            clock_start=support,
            clock_title="advanced respiratory support",
            observation=intensive.first().time - support,
            stratifiers=of.stratifiers,
            better="lower",
        ),
        measure(
            "covid19.in-hospital-death",
            version="1.0.0",
            title="Death in hospital",
            title_ru="Внутрибольничная летальность",
            notes=(
                "Deaths after discharge are not counted.",
                "Compare with an expectation only for this outcome and a recalibrated model.",
            ),
            population=of.covid & stay.end.is_known(),
            numerator=stay.outcome == "died",
            stratifiers=of.stratifiers,
            better="lower",
        ),
        measure(
            "covid19.readmission-30-days",
            version="1.1.0",
            title="Unplanned return within 30 days of live discharge",
            title_ru="Незапланированный возврат в течение 30 дней",
            evidence=("CMS Hospital-Wide Readmission (simplified: planned means elective)",),
            notes=("Counted when the 30 days are over: before, returns outweigh the others.",),
            population=of.covid & alive,
            clock_start=stay.end,
            clock_title="discharge",
            due=days(30),
            numerator=again.exists(),
            decides_early="never",
            stratifiers=of.stratifiers,
            better="lower",
        ),
        measure(
            "covid19.progression",
            version="1.1.0",
            title="Progression from low-flow oxygen to advanced support or death",
            title_ru="Прогрессирование до респираторной поддержки или смерти",
            evidence=("doi:10.1016/S1473-3099(20)30483-7",),
            notes=(
                "Counted when the stay is over: before, those who got worse outweigh the others.",
            ),
            population=of.covid & first_low.is_known() & ~advanced.before(first_low).exists(),
            clock_start=first_low,
            clock_title="low-flow oxygen",
            due=stay.end,
            numerator=worse,
            decides_early="never",
            stratifiers=of.stratifiers,
            better="lower",
        ),
        measure(
            "covid19.nosocomial",
            version="1.0.0",
            title="First positive test more than 7 days after admission",
            title_ru="Первый положительный тест позже 7 дней от поступления",
            notes=("The definition of ISARIC; see the bands for other limits.",),
            population=of.covid,
            numerator=wait > 168,
            stratifiers=[
                named(
                    "onset-band",
                    case(
                        (wait < 3 * 24, _text_value("0-2 days")),
                        (wait < 8 * 24, _text_value("3-7 days")),
                        (wait < 15 * 24, _text_value("8-14 days")),
                        otherwise=_text_value("15 days and later"),
                    ),
                    "first positive after admission",
                )
            ],
            better="lower",
        ),
        measure(
            "covid19.length-of-stay",
            version="1.0.0",
            title="Length of stay in days",
            title_ru="Длительность госпитализации, дни",
            population=of.covid & stay.end.is_known(),
            observation=(stay.end - stay.start).to("d"),
            stratifiers=of.stratifiers,
            better="neutral",
        ),
    ]
