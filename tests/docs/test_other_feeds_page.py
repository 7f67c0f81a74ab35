"""The page of folders, databases and FHIR servers: examples are read, every key stands there."""

import re
from pathlib import Path

import pytest
import typer

from neva.cli import app
from neva.feeds.doors.database import Database, Query, Url, read_database_mapping
from neva.feeds.doors.fhir_server import OAuth, ServerSettings, read_server_settings

PAGE = (Path(__file__).parents[2] / "docs" / "feeds-folder-sql-fhir.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_mapping_on_the_page_is_read(tmp_path):
    (tmp_path / "laboratory.yaml").write_text(EXAMPLES[0])
    _, mapping = read_database_mapping(tmp_path / "laboratory.yaml")
    assert set(mapping.database.queries) == {"results"}


def test_the_settings_on_the_page_are_read(tmp_path):
    (tmp_path / "ehr.yaml").write_text(EXAMPLES[1])
    assert read_server_settings(tmp_path / "ehr.yaml").name == "ehr"


@pytest.mark.parametrize("model", [Database, Query, Url, ServerSettings, OAuth])
def test_every_key_is_on_the_page(model):
    missing = [name for name in model.model_fields if not re.search(rf"`[^`]*\b{name}\b", PAGE)]
    assert missing == []


@pytest.mark.parametrize("name", ["folder", "sql", "fhir"])
def test_every_option_is_on_the_page(name):
    command = typer.main.get_command(app).commands["feed"].commands[name]
    options = {one for parameter in command.params for one in parameter.opts if one[:2] == "--"}
    assert {one for one in options - {"--json", "--help"} if one not in PAGE} == set()
