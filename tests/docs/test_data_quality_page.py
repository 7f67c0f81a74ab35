"""The page on data quality lists the checks as they are."""

import re
from pathlib import Path

from neva.events.check_catalogue import CATALOGUE
from neva.events.checks import read_thresholds

PAGE = (Path(__file__).parents[2] / "docs" / "data-quality.md").read_text(encoding="utf-8")


def test_every_check_is_listed_with_its_kind_and_threshold():
    shipped = read_thresholds()
    assert re.findall(r"^\| `.*\|$", PAGE, re.M) == [
        f"| `{c.id}` | {c.category} | {c.description} | {shipped[c.id]:g} |" for c in CATALOGUE
    ]


def test_the_thresholds_it_shows_can_be_read(tmp_path):
    shown = re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1]
    path = tmp_path / "thresholds.yaml"
    path.write_text(shown)
    assert read_thresholds(path) == {
        name: share
        for name, share in (read_thresholds() | {"recorded": 1.0, "midnight": 0.1}).items()
        if name != "long-stays"
    }
