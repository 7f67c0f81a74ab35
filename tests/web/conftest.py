"""A served hospital without patients: everything comes with the call."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bedside_patients import NOW
from tests.bedsides import Served, served

from neva.events.hospital import Hospital


@pytest.fixture
def bedside(hospital: Hospital, tmp_path: Path) -> Iterator[Served]:
    with served(hospital.path, tmp_path, NOW) as made:
        yield made
