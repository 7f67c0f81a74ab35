"""Fixtures and settings of the whole suite."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from neva.events.hospital import Hospital
from tests.command_line import CommandLine
from tests.hospitals import new_hospital

settings.register_profile(
    "ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("NEVA_HYPOTHESIS", "ci"))


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """An empty hospital in Moscow time."""
    return new_hospital(tmp_path)


@pytest.fixture
def neva(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line; every call also checks that no patient's value is printed."""
    return CommandLine(capsys, monkeypatch)
