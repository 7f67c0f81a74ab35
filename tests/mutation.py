"""Do the tests notice a fault? `make mutation` puts faults into evaluators and suppression.

Cosmic Ray changes one operator, number or condition of a file at a time, in a copy of the
checkout, and runs the tests that are meant to notice. Of each file a sample is drawn with a
fixed seed. What is printed: how many of the faults were noticed, and where the others are.
"""

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from neva.statistics.intervals import proportion_interval

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutation"
COSMIC_RAY = "cosmic-ray>=8.4,<9"
#: Faults that change what is computed; others mostly change annotations or raise at import.
OPERATORS = re.compile(
    r"core/(AddNot|NumberReplacer|Replace(AndWithOr|OrWithAnd|TrueWithFalse|FalseWithTrue"
    r"|ContinueWithBreak|BreakWithContinue|UnaryOperator_Delete_Not)|ZeroIterationForLoop"
    r"|ReplaceComparisonOperator_(Eq|NotEq|Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE)"
    r"|ReplaceComparisonOperator_(Is_IsNot|IsNot_Is)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_FloorDiv|FloorDiv_Div))$"
)
EVALUATOR_TESTS = (
    "tests/unit/definitions/test_engine_cases.py",
    "tests/spec/test_definitions.py",
    "tests/property/test_engines_agree.py",
)


@dataclass(frozen=True)
class Target:
    """A file, the tests that are meant to notice its faults, and how many faults are tried."""

    file: str
    tests: tuple[str, ...]
    most: int


TARGETS = (
    Target(
        "src/neva/decisions/suppression.py",
        ("tests/property/test_suppression.py", "src/neva/decisions/suppression.py"),
        60,
    ),
    Target("src/neva/definitions/reference/engine.py", EVALUATOR_TESTS, 40),
    Target("src/neva/definitions/columnar/_scalars.py", EVALUATOR_TESTS, 25),
    Target("src/neva/definitions/relational/scalars.py", EVALUATOR_TESTS, 25),
)


def copy_of_checkout(name: str) -> Path:
    """Copy what git tracks into a folder of its own."""
    folder = BUILD / name / "checkout"
    shutil.rmtree(BUILD / name, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for one in filter(None, listed.split("\0")):
        target = folder / one
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / one, target)
    return folder


def sampled(session: Path, most: int) -> int:
    """Keep a sample of the faults of a session; return how many there were to choose from."""
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "SELECT operator_name, start_pos_row, start_pos_col, occurrence, job_id"
            " FROM mutation_specs ORDER BY 1, 2, 3, 4"
        ).fetchall()
        wanted = [row[-1] for row in rows if OPERATORS.match(row[0])]
        kept = set(random.Random(1).sample(wanted, min(most, len(wanted))))
        for *_, job in rows:
            if job not in kept:
                database.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
                database.execute("DELETE FROM work_items WHERE job_id = ?", (job,))
    return len(wanted)


def judged(target: Target) -> tuple[int, int, str]:
    """Try the faults of a file: how many were noticed, how many were tried, and a report."""
    folder = copy_of_checkout(Path(target.file).parent.name + "-" + Path(target.file).stem)
    session, settings = folder.parent / "session.sqlite", folder.parent / "settings.toml"
    tests = " ".join(target.tests)
    settings.write_text(
        f"""[cosmic-ray]
module-path = ["{target.file}"]
timeout = 240.0
excluded-modules = []
test-command = "{sys.executable} -m pytest -q -x -p no:randomly -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
""",
        encoding="utf-8",
    )
    shared = os.environ.get("NEVA_SHARED", str(ROOT.parent / "shared"))
    environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}:{folder}", "NEVA_SHARED": shared}
    command = [str(BUILD / "env" / "bin" / "cosmic-ray")]

    def run(*words: str) -> None:
        subprocess.run(
            [*command, *words], cwd=folder, env=environment, check=True, capture_output=True
        )

    run("baseline", str(settings))
    run("init", str(settings), str(session))
    possible = sampled(session, target.most)
    run("exec", str(settings), str(session))
    with sqlite3.connect(session) as database:
        results = database.execute(
            "SELECT test_outcome, operator_name, start_pos_row FROM work_results"
            " JOIN mutation_specs USING (job_id)"
        ).fetchall()
    survived = [(row, name) for outcome, name, row in results if "survived" in str(outcome).lower()]
    tried, noticed = len(results), len(results) - len(survived)
    interval = proportion_interval([noticed], [tried])
    score = (
        f"{target.file}: {noticed} of {tried} faults noticed "
        f"({noticed / tried:.0%}; 95 % interval {interval.lower[0]:.0%} to "
        f"{interval.upper[0]:.0%}; drawn from {possible})"
    )
    lines = [
        score,
        *(f"  not noticed: line {row}, {name.removeprefix('core/')}" for row, name in survived),
    ]
    return noticed, tried, "\n".join(lines)


def make_environment() -> None:
    """Install Cosmic Ray beside, not among, what the tests run with."""
    if not (BUILD / "env" / "bin" / "cosmic-ray").exists():
        venv.create(BUILD / "env", with_pip=True)
        python = str(BUILD / "env" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", COSMIC_RAY], check=True)


def main() -> None:
    """Try all files, two at a time."""
    make_environment()
    noticed = tried = 0
    with ThreadPoolExecutor(2) as pool:
        for good, all_, report in pool.map(judged, TARGETS):
            noticed, tried = noticed + good, tried + all_
            print(report, flush=True)
    print(f"mutation score: {noticed} of {tried} ({noticed / tried:.0%})")


if __name__ == "__main__":
    main()
