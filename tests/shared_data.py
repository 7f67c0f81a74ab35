"""Where the shared data sets stand; tests on them are skipped where they are absent."""

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[1]


def shared(*parts: str) -> Path:
    """Path inside the folder of shared data sets.

    The folder is ``NEVA_SHARED`` or ``../shared`` beside the repository. Absent
    data skips the test, except where ``CI=true``: there it fails.
    """
    folder = Path(os.environ.get("NEVA_SHARED", _REPOSITORY.parent / "shared"))
    path = folder.joinpath(*parts)
    if not path.exists():
        why = (
            f"shared data are absent: {'/'.join(parts)}; looked in {folder}; set NEVA_SHARED to "
            "the folder, or leave out CI=true to skip what needs it"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return path
