"""The rule on the page is made, asked of patients, and shows what the page says."""

import re
from pathlib import Path
from typing import Any

import polars as pl
from tests.people import People, hour

from neva.decisions.replay import cards_of, replay
from neva.definitions.programme import load_programme, programme_names

PAGE = Path(__file__).parents[2] / "docs" / "bedside.md"


def test_the_rule_on_the_page_raises_cards():
    text = PAGE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # our own page
    rules = names["programme"]().rules
    people = People()
    for subject, potassium, reviewed in ((1, 6.4, None), (2, 5.9, None), (3, 6.0, 2.5)):
        people.admit(subject, covid=False)
        people.event(subject, 2, "LOINC//2823-3", potassium, "mmol/L")
        if reviewed is not None:
            people.event(subject, reviewed, "CARE//clinical-review")
    snapshot = people.snapshot(as_of=hour(8))
    found = replay(snapshot, rules)
    shown = found.alerts.filter(pl.col("shown"))
    # Raised at once, again after four quiet hours; cleared by the review.
    assert shown.select("subject_id", "now").rows() == [(1, hour(2)), (1, hour(6)), (3, hour(2))]
    cards = cards_of(snapshot, found)
    assert cards[0].summary == "Potassium 6.4 mmol/L: assess now"


def test_the_page_names_every_rule_that_comes_with_neva():
    text = PAGE.read_text(encoding="utf-8")
    rules = [rule for name in programme_names() for rule in load_programme(name).rules]
    assert len(rules) == 10
    assert [rule.id for rule in rules if rule.id not in text] == []
