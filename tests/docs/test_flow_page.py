"""The scenario on the page of simulation can be read, and each change of it is told."""

import re
from pathlib import Path

from neva.flow.simulation.scenarios import Change, Scenario, read_scenario

PAGE = Path("docs/flow-simulation.md")


def test_the_scenario_on_the_page_is_one(tmp_path):
    text = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    read = read_scenario(file)
    assert read.name == "winter plan"
    assert Scenario.from_json(read.to_json()) == read


def test_every_kind_of_change_is_on_the_page():
    page = PAGE.read_text()
    for name in Change.model_fields:
        assert f"- {name}: {{" in page, name
        assert f"`{name}`" in page, name
