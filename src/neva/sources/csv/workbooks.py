"""Excel workbooks of unknown origin, read by a process of its own.

A workbook is a compressed archive: a small one can hold what fills a machine.
It is therefore opened where time, memory and room to write are limited.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

import polars as pl

import neva
from neva.errors import BadInputError
from neva.files.limits import limit_resources

__all__ = ["main", "read_workbook", "write_as_csv"]

Form = Literal["csv", "ipc"]

_SECONDS: Final = 60
_MEMORY: Final = 2 * 2**30
_OUTPUT: Final = 500_000_000
_NO_WORKBOOK: Final = 3
_START: Final = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
    "from neva.sources.csv.workbooks import main; main(*sys.argv[2:])"
)


def main(path: str, form: Form) -> None:
    """Write the first sheet to standard output; in the process of its own."""
    limit_resources(seconds=_SECONDS, memory=_MEMORY, output=_OUTPUT)
    try:
        frame = pl.read_excel(Path(path))
    except MemoryError:
        raise
    # Whatever the reader of a foreign format raises means: not such a file.
    except Exception:
        sys.exit(_NO_WORKBOOK)
    if form == "csv":
        frame.write_csv(sys.stdout.buffer, datetime_format="%Y-%m-%d %H:%M:%S%.3f")
    else:
        frame.write_ipc(sys.stdout.buffer)


def read_workbook(workbook: Path) -> pl.DataFrame:
    """Read the first sheet of a workbook; its columns keep their types.

    Parameters
    ----------
    workbook : Path
        ``.xlsx`` or ``.xls``, with the header in the first line.

    Raises
    ------
    BadInputError
        As in :func:`write_as_csv`.
    """
    with tempfile.TemporaryDirectory(prefix="neva-") as folder:
        target = Path(folder) / "sheet.arrow"
        _write(workbook, target, "ipc")
        return pl.read_ipc(target)


def write_as_csv(workbook: Path, target: Path) -> None:
    """Write the first sheet of a workbook as CSV: UTF-8, commas, times as in ISO 8601.

    Parameters
    ----------
    workbook : Path
        ``.xlsx`` or ``.xls``, with the header in the first line.
    target : Path
        A new file, readable by its owner only.

    Raises
    ------
    BadInputError
        It is none, or larger than the limits: a minute of computing, 2 GB of
        memory, 500 MB of text.
    """
    _write(workbook, target, "csv")


def _write(workbook: Path, target: Path, form: Form) -> None:
    root = str(Path(neva.__file__).resolve().parents[1])
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as output, tempfile.TemporaryDirectory() as empty:
        try:
            code = subprocess.run(
                [sys.executable, "-I", "-c", _START, root, str(workbook.resolve()), form],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=empty,
                env={"POLARS_MAX_THREADS": "1"},
                timeout=3 * _SECONDS,
                check=False,
                start_new_session=True,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code == 0:
        return
    target.unlink(missing_ok=True)
    if code == _NO_WORKBOOK:
        message = (
            f"{workbook.name}: no Excel workbook; found another or a damaged file; save it as "
            ".xlsx or .csv"
        )
    else:
        message = (
            f"{workbook.name}: too large for a workbook; found no end within the limits of time, "
            "memory and size; save the sheet as CSV"
        )
    raise BadInputError(message)
