"""What takes long to make is made by one process of the suite, and copied by all of them."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def built_once(folders: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A copy, the caller's own, of the folder that `build` makes.

    Processes of one run share the folder above their own; who comes while another one builds
    waits for it, and builds it instead where that one failed.
    """
    own = folders.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    made = shared / f"built-{name}"
    with (shared / f"built-{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists():
            half = shared / f"half-built-{name}"
            shutil.rmtree(half, ignore_errors=True)
            build(half)
            half.rename(made)
    copy = folders.mktemp(name) / "copy"
    shutil.copytree(made, copy)
    return copy
