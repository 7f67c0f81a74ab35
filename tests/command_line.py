"""Runs the command line in this process, and watches what it says."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from neva.cli import main

#: Stands in patients' rows of these tests and must never be said.
CANARY = "CANARY7731"


@dataclass
class Said:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *words: object) -> Said:
        self._monkeypatch.setattr(sys, "argv", ["neva", *map(str, words)])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        said = self._capsys.readouterr()
        # No value of a patient's row in anything that is printed.
        assert CANARY not in said.out + said.err
        return Said(code, said.out, said.err)
