"""Definitions in words: everything has some, they say what is counted, and read well."""

import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.definition_strategies import definitions

from neva.definitions import model as m
from neva.definitions.documents import codelists_of, content_hash
from neva.definitions.language import (
    all_of,
    at,
    bands,
    calendar_days,
    case,
    codelist,
    days,
    each,
    events,
    every,
    exponential,
    first_known,
    hours,
    movements,
    now,
    row,
    stay,
    stays,
    subject,
    true_or_unknown,
    value,
)
from neva.definitions.language import (
    number as number_of,
)
from neva.definitions.programme import load_programme, programme_names
from neva.definitions.words._said import LONGEST
from neva.definitions.words._texts import WORDS, amount, count, number
from neva.definitions.words.explain import explain
from neva.definitions.writing import feature, measure, named, score
from neva.errors import UsageError

DOCUMENTS = {
    document.id: document
    for name in programme_names()
    for document in load_programme(name).documents
}
KINDS = [
    kind
    for kind in vars(m).values()
    if isinstance(kind, type) and issubclass(kind, m.Node) and "kind" in kind.model_fields
]
#: Quoted words and codes stay as they were recorded.
QUOTED = re.compile(r"«[^»]*»|“[^”]*”|[\w.]+//\S+|\d{4}-\d\d-\d\d \d\d:\d\d UTC")
#: Units, letters of parts, and what has no Russian name.
LATIN = {"e", "C", "UTC"}


def drawn(most):
    found = {}

    @settings(
        max_examples=most, database=None, derandomize=True, deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(definitions())
    def collect(node):
        found.update({one.digest: one for one in m.walk(node)})

    collect()
    return list(found.values())


@pytest.fixture(scope="module")
def nodes():
    programmes = [
        node
        for document in DOCUMENTS.values()
        for expression in document._expressions()
        for node in m.walk(expression)
    ]
    return list({node.digest: node for node in (*drawn(1500), *programmes)}.values())


def test_every_kind_of_node_has_words_in_both_languages(nodes):
    assert {type(node) for node in nodes} == set(KINDS)
    for node in nodes:
        if not isinstance(node, m.Bound):
            assert explain(node).strip()
            assert explain(node, "ru").strip()


def test_no_english_word_stands_in_russian(nodes):
    for node in nodes:
        if isinstance(node, m.Bound):
            continue
        plain = QUOTED.sub("", explain(node, "ru"))
        assert set(re.findall("[A-Za-z]{2,}", plain)) - LATIN == set(), plain


def test_no_template_is_left_unfilled(nodes):
    for node in nodes:
        if not isinstance(node, m.Bound):
            for language in ("en", "ru"):
                assert not re.search(r"\{|\}|None", QUOTED.sub("", explain(node, language)))


def test_every_choice_of_every_node_has_its_words():
    """A choice that is added to the model without words fails here."""
    prefixes = {
        (m.PointField, "name"): "point.{}",
        (m.RowField, "name"): "field.{}",
        (m.Pick, "which"): "which.{}",
        (m.Frame, "source"): "{}.one",
        (m.Aggregate, "how"): "how.{}",
        (m.ForEach, "how"): "each.{}",
        (m.Arithmetic, "operation"): "{}",
        (m.Function, "name"): "{}",
        (m.Extreme, "which"): "{}.number",
        (m.Shift, "unit"): "shift.{}",
        (m.ClockPart, "part"): "clock.{}",
        (m.Compare, "operation"): "number{}",
        (m.ItemField, "name"): "field.{}",
        (m.Pick, "field"): "field.{}",
        (m.Missing, "of"): "part.{}",
    }
    for kind in KINDS:
        for name, about in kind.model_fields.items():
            choices = getattr(about.annotation, "__args__", ())
            if name == "kind" or not choices or not all(isinstance(one, str) for one in choices):
                continue
            template = prefixes[kind, name]
            for choice in choices:
                if (kind, choice) == (m.Aggregate, "exists"):
                    continue  # said by the noun: there is a record
                assert template.format(choice) in WORDS, (kind, choice)
    for status in m.STATUSES:
        assert f"status.{status}" in WORDS


def test_both_languages_fill_the_same_places():
    for key, (english, russian) in WORDS.items():
        places = [sorted(set(re.findall(r"\{\d\}", text))) for text in (english, russian)]
        if key not in ("which.first", "which.last"):
            assert places[0] == places[1], key


# --------------------------------------------------------------- options of frames

STEROID = events(codelist("steroid", "ATC//H02AB02", title="Steroid"))
DRUGS = events(
    codelist("drugs", "ATC//H02AB02", title="Dexamethasone, methylprednisolone, prednisolone")
)
OPTIONS = {
    "during the stay": (STEROID.during(stay), "во время госпитализации"),
    "in the last 24 hours": (STEROID.within(hours(24)), "за последние 24 часа"),
    "at or after the start of the stay": (
        STEROID.since(stay.start), "не раньше начала госпитализации"),
    "after the start of the stay": (STEROID.after(stay.start), "позже начала госпитализации"),
    "at or before now": (STEROID.until(now), "не позже текущего момента"),
    "before the patient's death": (STEROID.before(subject.death), "раньше смерти пациента"),
    "after 24 hours before the start of the stay": (
        STEROID.after(stay.start - hours(24)), "позже чем за 24 часа до начала госпитализации"),
    "from the start of the stay to 2 calendar days after the start of the stay, both included": (
        STEROID.between(stay.start, stay.start + days(2)),
        ("от начала госпитализации до момента через 2 календарных дня после начала "
        "госпитализации включительно")),
    "recorded as not done": (STEROID.not_done(), "со статусом «не сделано»"),
    "recorded as done or planned": (
        STEROID.status("planned", "done"), "со статусом «сделано» или «запланировано»"),
    "filed under this stay": (STEROID.of(stay), "с номером этой госпитализации"),
    "begun at or before now and not ended then": (
        STEROID.active_at(now), "с началом не позже текущего момента и ещё без окончания"),
    "or begun earlier and not ended when this period began": (
        STEROID.active_or_started_between(stay.start, now), "или с началом раньше"),
    "where value < 94 %": (STEROID.where(value("%") < 94), "где значение < 94 %"),
    "where rank = 1": (STEROID.where(row.rank == 1), "где ранг (1 — основной) = 1"),
    "movements into units of the kind “icu”": (
        movements(kind="icu"), "перемещения в отделения вида «icu»"),
    "movements into unit “A1”": (movements(unit="A1"), "перемещения в отделение «A1»"),
    "stays of the kind “inpatient”": (stays("inpatient"), "госпитализации вида «inpatient»"),
    "records of any code": (events(), "записи с любым кодом"),
}  # fmt: skip


@pytest.mark.parametrize("english", OPTIONS)
def test_every_option_of_a_frame_is_said(english):
    rows, russian = OPTIONS[english]
    assert english in explain(rows)
    assert russian in explain(rows, "ru")


def test_a_limit_that_may_be_missing_is_said():
    open_end = events("A//a")._bounded("upper", stay.end, closed=True, open_if_missing=True)
    assert "no limit while that time is unknown" in explain(open_end)
    assert "без ограничения, пока это время неизвестно" in explain(open_end, "ru")


SENTENCES = [
    (STEROID.exists(), "there is a record of “Steroid”", "есть хотя бы одна запись «Steroid»"),
    (~STEROID.exists(), "there is no record of “Steroid”", "нет ни одной записи «Steroid»"),
    (~movements(kind="icu").exists(),
     "there is no movement into units of the kind “icu”",
     "нет ни одного перемещения в отделения вида «icu»"),
    (STEROID.count() >= 2, "number of records of “Steroid” ≥ 2", "число записей «Steroid» ≥ 2"),
    (STEROID.nth(-2).value("mg/L"),
     "value (mg/L) of the 2nd-last record of “Steroid”",
     "значение (мг/л) 2-й с конца записи «Steroid»"),
    (stay.length() > 48,
     ("hours from the start of the stay to (the end of the stay, or, if that is unknown, now) "
     "> 48 hours"),
     ("часы от начала госпитализации до (конца госпитализации, а если это неизвестно — "
     "текущего момента) > 48 часов")),
    (subject.age_at(now) >= 21, "age now ≥ 21 years", "возраст на текущий момент ≥ 21 год"),
    (true_or_unknown(stay.outcome != "died"),
     "the outcome of the stay is not “died” (or this is unknown)",
     "исход госпитализации — не «died» (или это неизвестно)"),
    (first_known(stay.outcome == "died", False),
     "it is known that the outcome of the stay is “died”",
     "известно, что исход госпитализации — «died»"),
    (stay.end < at("2020-05-01T08:00+03:00"),
     "the end of the stay is before 2020-05-01 05:00 UTC",
     "конец госпитализации — раньше 2020-05-01 05:00 UTC"),
    (calendar_days(stay.start, now) >= 1,
     "midnights between the start of the stay and now ≥ 1 calendar day",
     "число полуночей от начала госпитализации до текущего момента ≥ 1 календарный день"),
    ((number_of(1) + number_of(2)) * 3 - number_of(1), "(1 + 2) × 3 − 1", "(1 + 2) × 3 − 1"),
    (number_of(1) / (number_of(2) / 3), "1 ÷ (2 ÷ 3)", "1 ÷ (2 ÷ 3)"),
    (exponential(-(number_of(0.5) + 1)), "e to the power of (−(0.5 + 1))",
     "e в степени: (−(0,5 + 1))"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "english", "russian"), SENTENCES, ids=lambda part: str(part)[:50])
def test_a_sentence(node, english, russian):
    assert (explain(node), explain(node, "ru")) == (english, russian)


def test_a_long_formula_is_never_run_together():
    part = case((STEROID.exists(), number_of(1)), (STEROID.within(hours(2)).exists(), number_of(2)),
                otherwise=number_of(0))  # fmt: skip
    assert explain(number_of(1) / (number_of(1) + part)).splitlines() == [
        "1 ÷ (2):",
        "- (2) 1 + (2):",
        "  - (2) by the first line that is true:",
        "    - 1 if there is a record of “Steroid”",
        "    - 2 if there is a record of “Steroid”, in the last 2 hours",
        "    - otherwise 0",
    ]


def test_a_question_for_each_day_is_said():
    asked = every(days(1), start=stay.start, end=now).each(
        STEROID.since(each.time).before(each.end_time).exists()
    )
    assert explain(asked.all()).splitlines() == [
        "all of the following fulfil the condition:",
        "- of: calendar days from the start of the stay to now",
        (
            "- condition for each: there is a record of “Steroid”, at or after time of that one, "
            "before time of the end of that one"
        ),
    ]
    assert "все следующие элементы отвечают условию" in explain(asked.all(), "ru")


# --------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (count(1, "h", "ru"), "1 час"),
        (count(3, "h", "ru"), "3 часа"),
        (count(11, "h", "ru"), "11 часов"),
        (count(112, "h", "ru"), "112 часов"),
        (count(0.5, "point", "ru"), "0,5 балла"),
        (count(22, "a", "ru"), "22 года"),
        (count(5, "code", "ru"), "5 кодов"),
        (count(21, "h", "ru", genitive=True), "21 часа"),
        (count(4, "h", "ru", genitive=True), "4 часов"),
        (amount(1 / 60, "hours", "ru"), "1 минуту"),
        (amount(10 / 60, "hours", "en"), "10 minutes"),
        (amount(24, "hours", "en"), "24 hours"),
        (amount(72, "hours", "ru"), "72 часа (3 × 24)"),
        (amount(1, "days", "en"), "1 calendar day"),
        (amount(2, "days", "ru"), "2 календарных дня"),
        (number(-0.5, "ru"), "−0,5"),
        (number(1e-7, "en"), "1e-07"),
    ],
)
def test_numbers_agree_with_what_is_counted(found, expected):
    assert found == expected


# -------------------------------------------------------------------- documents


def demo():
    need = events(codelist("oxygen", "CARE//oxygen", title="Oxygen")).during(stay).first().time
    given = DRUGS.after(stay.start - hours(24)).until(need + hours(24))
    return measure(
        "demo.steroid",
        version="1.2.0",
        title="Steroid on oxygen",
        title_ru="Стероид на кислороде",
        population=(stay.kind == "inpatient") & need.is_known(),
        exclusions=[
            named("palliative", events("CARE//palliative").during(stay).exists(), "palliative care")
        ],
        clock_start=need,
        clock_title="oxygen needed",
        due=hours(24),
        numerator=given.exists(),
        interval=given.first().time - need,
        stratifiers=[
            named(
                "age",
                bands(subject.age_at(stay.start), number_of(0), (50, 1), (70, 2)),
                "age group",
                "возраст",
            )
        ],
        evidence=("doi:10.1056/NEJMoa2021436",),
        notes=("A proposal.",),
        better="higher",
    )


def test_a_measure_is_said_section_by_section():
    document = demo()
    assert (
        explain(document).splitlines()
        == f"""\
Steroid on oxygen
demo.steroid, version 1.2.0, content {content_hash(document)[:12]}
A measure of quality; each stay counts once. Higher is better.

Population: stays for which all of these hold:
- the kind of stay is “inpatient”
- “oxygen needed” is known

Left out:
- palliative care: there is a record of “CARE//palliative”, during the stay

The clock starts:
- “oxygen needed”: time of the first record of “Oxygen” (during the stay)
Where that time is unknown, so is the answer.

Deadline:
- 24 hours after “oxygen needed”
While the deadline is unknown, the answer is pending.

Met if:
- there is a record of “Dexamethasone, methylprednisolone, prednisolone” [A]:
  - after 24 hours before the start of the stay
  - at or before the deadline
As soon as this holds, the answer is “met” and final. Until the deadline it is otherwise \
“pending”, after it “failed”.

Time shown beside:
- hours from “oxygen needed” to time of the first record of group A

Broken down by:
- age group: by age at the start of the stay:
  - ≥ 70 years: 2
  - ≥ 50 years: 1
  - otherwise 0

Where a time that limits a period is unknown, so is what is asked of that period.

Codelists:
- Dexamethasone, methylprednisolone, prednisolone (drugs, version 1.0.0): 1 code: ATC//H02AB02, \
with all codes below
- Oxygen (oxygen, version 1.0.0): 1 code: CARE//oxygen, with all codes below

Sources:
- doi:10.1056/NEJMoa2021436

Notes:
- A proposal.""".splitlines()
    )


def test_a_measure_is_said_in_russian():
    said = explain(demo(), "ru").splitlines()
    assert said[0] == "Стероид на кислороде"
    for line in (
        "Кто учитывается: госпитализации, для которых выполнено всё перечисленное:",
        "- известно: момент «oxygen needed»",
        "- через 24 часа после момента «oxygen needed»",
        "  - позже чем за 24 часа до начала госпитализации",
        "  - не позже срока",
        "- часы от момента «oxygen needed» до времени первой записи группы A",
        "- возраст: по значению — возраст на момент начала госпитализации:",
        "  - ≥ 70 лет: 2",
    ):
        assert line in said


def test_a_score_is_said_with_its_points():
    rate = events(codelist("rate", "LOINC//9279-1", title="Respiratory rate"))
    recent = rate.within(hours(24)).last().value("/min")
    document = score(
        "demo.score",
        version="1.0.0",
        lowest=0,
        highest=3,
        items=[
            named("rate", bands(recent, number_of(0), (20, 1), (30, 3)), "breathing", "дыхание")
        ],
    )
    assert explain(document).splitlines()[2:9] == [
        (
            "A score from 0 to 3: the points of the items add up. While an item is unknown, "
            "so is the total; the points known are given as “at least”."
        ),
        "",
        "Items:",
        (
            "- breathing: by value (per minute) of the last record of “Respiratory rate” "
            "(in the last 24 hours):"
        ),
        "  - ≥ 30 per minute: 3 points",
        "  - ≥ 20 per minute: 1 point",
        "  - otherwise 0 points",
    ]
    assert "  - ≥ 20 в минуту: 1 балл" in explain(document, "ru").splitlines()


def test_a_long_codelist_is_cut_and_counted():
    many = codelist("many", *(f"A//{n:02}" for n in range(12)), excluding=("A//03",))
    said = explain(feature("demo.x", events(many).exists(), version="1.0.0")).splitlines()
    assert said[-1] == (
        "- many (many, version 1.0.0): 12 codes: A//00, A//01, A//02, A//03, A//04, A//05, A//06, "
        "A//07 and 4 more, with all codes below; without A//03"
    )


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_programmes_read_well(name, language):
    document = DOCUMENTS[name]
    said = explain(document, language)
    lines = said.splitlines()
    assert document.version in lines[1]
    assert content_hash(document)[:12] in lines[1]
    body = [line for line in lines[3:] if not line.startswith("- ") or "//" not in line]
    assert max(len(line) for line in body) <= 3 * LONGEST
    assert not re.search(r"\{\d*\}|None|\(\(\(", said)
    for one in codelists_of(document):
        if not one.id.startswith("UNIT"):
            assert f"({one.id}, " in said
    for text in (*document.evidence, *document.notes):
        assert f"- {text}" in lines
    for title in ("exclusions", "stratifiers", "items", "components"):
        for one in getattr(document, title, ()):
            russian = one.title_ru or one.title
            assert ((russian if language == "ru" else one.title) or one.name) in said
    # Every number that is compared with stands in the words.
    numbers = {
        node.right.value
        for expression in document._expressions()
        for node in m.walk(expression)
        if isinstance(node, m.Compare) and isinstance(node.right, m.Number)
    }
    for one in numbers:
        assert number(one, language) in said


def test_other_languages_are_refused():
    with pytest.raises(UsageError, match="found 'de'; choose en or ru"):
        explain(all_of(True), "de")
