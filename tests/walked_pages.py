"""Walks a page of the documentation as its reader does, and compares what the page states.

A block ``console`` holds commands (``$ neva …``) with what they print; ``...``
stands for anything, and runs of blanks are equal; where an error is stated
(``neva: …``), the command fails with it. A block with a name behind
its language (``python kidney.py``) is a file that the reader writes. A block
``python`` without one is run; where a block ``text`` follows at once, it is
what the code prints.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import CommandLine

__all__ = ["Hospitals", "Walk", "assert_prints", "blocks_of", "commands_of"]

_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$(\n\n)?(?=(```text\n)?)", re.M | re.S)
_LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    language: str
    file: str | None
    text: str
    prints: str | None


def blocks_of(page: str) -> list[Block]:
    """Read the blocks of a page, in order."""
    found = []
    for block in _BLOCK.finditer(page):
        language, file, text = block[1], block[2], block[3]
        after = _BLOCK.match(page, block.end()) if block[5] else None
        found.append(Block(language, file, text, after[3] if after else None))
    return found


def commands_of(text: str) -> list[tuple[str, str]]:
    """Split a console into commands and what each prints."""
    parts = re.split(r"^\$ ", text, flags=re.M)
    assert not parts[0].strip(), "a console begins with a command"
    found = []
    for part in parts[1:]:
        command, _, printed = part.replace("\\\n", " ").partition("\n")
        found.append((command, printed))
    return found


def assert_prints(stated: str, printed: str) -> None:
    """Compare what a page states with what was printed."""
    if stated.strip() and not doctest.OutputChecker().check_output(stated, printed, _LIKE):
        pytest.fail(f"the page states\n{stated}\nbut this was printed\n{printed}")


@dataclass
class Hospitals:
    """Synthetic hospitals by the options of their command, with what it printed.

    The same command makes the same hospital, so that it is made once and copied.
    """

    folder: Path
    made: dict[tuple[str, ...], tuple[Path, str]] = field(default_factory=dict)


@dataclass
class Walk:
    """A reader in an empty folder.

    Attributes
    ----------
    folder : Path
        The folder, which is the working directory.
    neva : callable
        The command line.
    hospitals : Hospitals
        Synthetic hospitals that were made before.
    """

    folder: Path
    neva: CommandLine
    monkeypatch: pytest.MonkeyPatch
    hospitals: Hospitals
    names: dict[str, Any] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)

    def page(self, path: Path) -> None:
        """Do what the page says, block by block."""
        self.monkeypatch.chdir(self.folder)
        programs: dict[str, Callable[[list[str], bool], str]] = {
            "neva": self._neva,
            "python": self._python,
        }
        blocks = blocks_of(path.read_text(encoding="utf-8"))
        assert any(block.language in ("console", "python") for block in blocks)
        for block in blocks:
            if block.file is not None:
                place = self.folder / block.file
                place.parent.mkdir(exist_ok=True)
                place.write_text(block.text, encoding="utf-8")
            elif block.language == "console":
                for command, stated in commands_of(block.text):
                    program, *words = shlex.split(command)
                    fails = stated.startswith("neva: ")
                    self.printed.append(programs[program](words, fails))
                    assert_prints(stated, self.printed[-1])
            elif block.language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(compile(block.text, path.name, "exec"), self.names)
                self.printed.append(out.getvalue())
                assert_prints(block.prints or "", self.printed[-1])

    def _neva(self, words: list[str], fails: bool) -> str:
        if words[0] == "synthesise":
            return self._synthesised(Path(words[1]), tuple(words[2:]))
        done = self.neva(*words)
        assert (done.code != 0) == fails, done.err
        return done.err if fails else done.out

    def _synthesised(self, place: Path, options: tuple[str, ...]) -> str:
        made = self.hospitals.made
        if options not in made:
            kept = self.hospitals.folder / str(len(made))
            done = self.neva("synthesise", kept, *options)
            assert done.code == 0, done.err
            made[options] = kept, done.out
        kept, printed = made[options]
        shutil.copytree(kept, self.folder / place)
        return printed

    def _python(self, words: list[str], fails: bool) -> str:
        """Install a distribution beside the environment, not into it."""
        assert words[:3] == ["-m", "pip", "install"]
        site = self.folder / "site"
        done = subprocess.run(
            [sys.executable, *words, "--no-index", "--target", site],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr
        self.monkeypatch.syspath_prepend(site)
        return ""
