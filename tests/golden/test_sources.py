"""Every folder ``sources/<kind>/<case>`` is an input and the rows that it gives.

Rewrite what is expected with ``NEVA_REWRITE_GOLDEN=1 pytest tests/golden`` and
review the difference.
"""

import importlib
import json
import os
from datetime import date, datetime
from pathlib import Path

import pytest

from neva.events.schema import ATTRIBUTES, ROWS

_SOURCES = Path(__file__).parent / "sources"
CASES = sorted(folder for folder in _SOURCES.glob("*/*") if folder.is_dir())


def _plain(value):
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return value


def _row(table, row):
    shown = {}
    for name, value in row.items():
        if value is None:
            continue
        if ROWS[table][name] == ATTRIBUTES:
            assert value, "an empty map is a missing one"
            shown[name] = {pair["key"]: pair["value"] for pair in value}
        else:
            shown[name] = _plain(value)
    return shown


def _input(folder):
    found = [path for path in folder.iterdir() if path.stem.split(".")[0] == "input"]
    assert len(found) == 1, (
        f"{folder} needs one input: a file input.* or a folder input; found "
        f"{[path.name for path in found]}"
    )
    return found[0]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_source_gives_the_expected_rows(folder):
    kind = folder.parent.name
    settings = {"zone": "Europe/Berlin"}
    if (folder / "settings.json").exists():
        settings |= json.loads((folder / "settings.json").read_text())
    if "received" in settings:
        settings["received"] = datetime.fromisoformat(settings["received"])
    opener = getattr(importlib.import_module(f"neva.sources.{kind}"), f"open_{kind}")
    delivery = opener(_input(folder), **settings)
    found: dict[str, list] = {}
    for rows in delivery.rows:
        assert dict(rows.frame.schema) == {
            name: (dtype() if isinstance(dtype, type) else dtype)
            for name, dtype in ROWS[rows.table].items()
        }
        found.setdefault(rows.table, []).extend(
            {"origin": rows.origin, **_row(rows.table, row)}
            for row in rows.frame.iter_rows(named=True)
        )
    text = json.dumps(
        {"order": delivery.order, "rows": {table: found[table] for table in sorted(found)}},
        indent=1,
        ensure_ascii=False,
    )
    expected = folder / "expected.json"
    if os.environ.get("NEVA_REWRITE_GOLDEN") == "1":
        expected.write_text(text + "\n", encoding="utf-8")
    why = folder / "README.md"
    assert why.exists(), f"{why} is missing; say there in a line why the case exists"
    assert why.read_text().strip(), f"{why} is empty; say there in a line why the case exists"
    assert expected.exists(), f"{expected} is missing; write it with make golden and read it"
    assert expected.read_text(encoding="utf-8") == text + "\n"
