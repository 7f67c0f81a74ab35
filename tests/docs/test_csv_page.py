"""The manual of the CSV mapping is true: its examples run, its lists are complete."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from tests.csv_tables import assert_shows, imported

from neva.events.schema import REASONS
from neva.sources.csv import mapping as csv_mapping
from neva.sources.csv.source import ready_mappings

DOCS = Path(__file__).parents[2] / "docs" / "sources"
PAGE = (DOCS / "csv.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(yaml|csv|text) ([a-z-]+)(?:/([\w.-]+))?\n(.*?)^```$", re.M | re.S)


def examples():
    found = defaultdict(lambda: {"yaml": "", "csv": {}, "text": {}})
    for kind, name, part, content in FENCE.findall(PAGE):
        if kind == "yaml":
            found[name]["yaml"] = content
        else:
            found[name][kind][part] = content
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_becomes_what_the_page_shows(tmp_path, name):
    example = EXAMPLES[name]
    assert example["text"], "an example shows its result"
    hospital = imported(tmp_path, example["yaml"], example["csv"])
    for table, expected in example["text"].items():
        assert_shows(hospital, table, expected)


def test_every_key_is_explained():
    parts = [part for part in vars(csv_mapping).values() if isinstance(part, type)]
    models = [part for part in parts if issubclass(part, csv_mapping._Part)]
    keys = {field.alias or name for part in models for name, field in part.model_fields.items()}
    assert sorted(key for key in keys if f"`{key}`" not in PAGE) == []


def test_every_ready_mapping_is_listed():
    assert sorted(name for name in ready_mappings() if f"`{name}`" not in PAGE) == []


def test_every_reason_of_the_quarantine_is_listed_with_its_meaning():
    assert [f"| `{r}` | {means} |" for r, means in REASONS.items()] == re.findall(
        r"^\| `[a-z-]+` \| [^|]+ \|$", PAGE.partition("## Quarantine")[2].partition("## ")[0], re.M
    )


def test_the_json_schema_is_up_to_date():
    made = subprocess.run(
        [sys.executable, "-m", "neva.sources.csv.mapping"],
        capture_output=True, text=True, check=True, encoding="utf-8",
    ).stdout  # fmt: skip
    assert (DOCS / "csv-mapping.schema.json").read_text(encoding="utf-8") == made
