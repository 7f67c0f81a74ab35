"""The page on charts of quality: its code runs, and what it names exists."""

import importlib
import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "quality-charts.md").read_text()


def test_the_code_of_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "quality-charts.md", "exec"), names)
    assert names["svg"].startswith("<svg")
    assert capsys.readouterr().out == "improvement-high hit-or-miss\n"


def test_modules_of_the_page_exist():
    named = set(re.findall(r"`((?:quality|statistics)\.[a-z_.]+)`", PAGE))
    assert len(named) >= 7
    for name in named:
        importlib.import_module(f"neva.{name}")
