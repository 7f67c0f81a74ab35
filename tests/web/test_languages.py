"""Every text of the pages is there in Russian, with the same places for values."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po

from neva.events.operational_codes import (
    CEILINGS,
    DELAY_REASONS,
    ISOLATION_KINDS,
    KINDS,
    PRIORITIES,
)
from neva.events.schema import REASONS
from neva.flow.simulation.compare import WHOLE
from neva.flow.simulation.simulation_run import FIGURES
from neva.languages.language import Language, preferred
from neva.reports.charts.quality_words import TEXTS
from neva.sources.guess.columns import LOOKS, WHYS
from neva.sources.hl7v2.reasons import DOUBTS as MESSAGE_DOUBTS
from neva.sources.hl7v2.reasons import REASONS as MESSAGE_REASONS
from neva.state import ROLES
from neva.web.views.jobs import TOLD
from neva.web.views.patient import PURPOSES

SOURCE = Path(__file__).parents[2] / "src" / "neva"
KEYWORDS = {"_": None, "words": None, "gettext": None, "several": (1, 2)}
PLACES = re.compile(r"%\((\w+)\)s")

#: Texts that are looked up by a name, not as a literal.
BY_NAME = {
    *(one.title for one in KINDS.values()),
    *(title for _, title in DELAY_REASONS.values()),
    *(title for _, title in CEILINGS.values()),
    *ISOLATION_KINDS.values(),
    *PRIORITIES,
    *PURPOSES,
    *ROLES,
    *REASONS.values(),
    *MESSAGE_REASONS.values(),
    *MESSAGE_DOUBTS.values(),
    *LOOKS.values(),
    *WHYS.values(),
    *TOLD,
    *FIGURES.values(),
    *TEXTS.values(),
    *(one for one in WHOLE.values()),
}


def catalogue():
    with (SOURCE / "languages" / "locale" / "ru.po").open("rb") as file:
        return read_po(file, locale="ru")


def files():
    for room in ("web", "jobs", "languages", "notifications"):
        for path in sorted((SOURCE / room).rglob("*")):
            if path.suffix in (".py", ".html"):
                yield path
    yield from sorted((SOURCE / "reports" / "paper").glob("*.py"))
    yield SOURCE / "pathways" / "drawing.py"


def texts():
    for path in files():
        keywords = KEYWORDS | ({"self": None} if path.name == "language.py" else {})
        method = "python" if path.suffix == ".py" else "jinja2"
        with path.open("rb") as file:
            for line, message, _, _ in extract(method, file, keywords=keywords):
                yield message, f"{path.relative_to(SOURCE)}:{line}"
    for text in sorted(BY_NAME):
        yield text, "by name"


def test_every_text_is_translated():
    known = catalogue()
    missing = []
    for message, where in texts():
        name = message[0] if isinstance(message, tuple) else message
        found = known.get(name)
        if (
            found is None
            or not found.string
            or (isinstance(message, tuple) and not all(found.string))
        ):
            missing.append(f"{where}: {name}")
    assert missing == [], "add msgid and msgstr to src/neva/languages/locale/ru.po"


def test_translations_have_the_places_of_their_texts():
    for message in catalogue():
        if not message.id:
            continue
        name = message.id[0] if isinstance(message.id, tuple) else message.id
        forms = message.string if isinstance(message.string, tuple) else (message.string,)
        for form in forms:
            assert set(PLACES.findall(form)) == set(PLACES.findall(name)), name


def test_no_translation_is_left_over():
    used = {message[0] if isinstance(message, tuple) else message for message, _ in texts()}
    charts = set(
        re.findall(
            r'"title": "([^"]+)"',
            "".join(
                path.read_text("utf-8")
                for room in ("pathways", "web")
                for path in (SOURCE / room).rglob("*.py")
            ),
        )
    ) | {
        "another status (planned, not done, cancelled)",
        "the map shows units entered, not events",
        "first to last event",
    }
    held = {one.id[0] if isinstance(one.id, tuple) else one.id for one in catalogue() if one.id}
    assert held - used - charts == set()


@pytest.mark.parametrize(
    ("n", "said"),
    [(1, "1 случай"), (2, "2 случая"), (5, "5 случаев"), (11, "11 случаев"), (21, "21 случай"),
     (22, "22 случая"), (112, "112 случаев")],
)  # fmt: skip
def test_russian_has_three_forms(n, said):
    assert Language("ru", "Europe/Moscow").several("%(n)s case", "%(n)s cases", n) == said


def test_the_chosen_language_goes_before_the_browser():
    assert preferred("en", "ru") == "en"
    assert preferred(None, "ru-RU,ru;q=0.9") == "ru"
    assert preferred("de", None) == "en"
