"""Served hospitals: without patients, where everything comes with the call, and invented ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from tests.bedside_patients import NOW
from tests.bedsides import Served, served
from tests.computed_pages import computed

from neva.events.hospital import Hospital


@pytest.fixture
def bedside(hospital: Hospital, tmp_path: Path) -> Iterator[Served]:
    with served(hospital.path, tmp_path, NOW) as made:
        yield made


@pytest.fixture(scope="session")
def computed_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, Any]]:
    """The application, and a clinician's client; tests change nothing that another one reads."""
    with computed(tmp_path_factory.mktemp("pages")) as made:
        yield made
