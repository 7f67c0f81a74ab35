"""What is installed is what is written down: locked with hashes, bounded, of known licences."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINNED = re.compile(r"^(?P<name>[\w.\[\]-]+)==(?P<version>\S+?)(?: ; (?P<marker>.*?))? \\$", re.M)
#: May be part of what we give away; a licence of a package that says it in another way.
PERMISSIVE = re.compile(
    r"Apache|MIT|BSD|MPL|Mozilla|PSF|Python Software Foundation|ISC|Zlib|Unlicense|0BSD|CC0|HPND"
)
#: Never inside the package: GPL and AGPL serve as oracles only, in their own environment.
COPYLEFT = re.compile(r"(?<![L])A?GPL|(?<!Lesser )General Public", re.I)


def locked(name):
    """Version and hashes of every package of a lock file, by name."""
    text = (ROOT / name).read_text()
    found = {}
    pins = list(PINNED.finditer(text))
    for pin, after in zip(pins, [*pins[1:], None], strict=True):
        body = text[pin.end() : after.start() if after else len(text)]
        key = canonicalize_name(re.sub(r"\[.*", "", pin["name"]))
        marker = pin["marker"]
        holds = marker is None or Requirement(f"x; {marker}").marker.evaluate()
        found.setdefault(key, []).append((pin["version"], body.count("--hash=sha256:"), holds))
    return found


LOCKS = {"requirements.lock": ["build"], "requirements-dev.lock": ["dev"]}


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_is_of_the_dependencies_as_they_are_written(lock):
    """A lock that is older than pyproject.toml installs something else: run `make lock`."""
    pins = locked(lock)
    wanted = [*PROJECT["dependencies"], *(r for extra in LOCKS[lock] for r in EXTRAS[extra])]
    assert len(pins) > 50
    for text in wanted:
        requirement = Requirement(text)
        versions = [version for version, _, _ in pins[canonicalize_name(requirement.name)]]
        assert any(version in requirement.specifier for version in versions), text
    without = [name for name, rows in pins.items() if any(not hashes for _, hashes, _ in rows)]
    assert without == []
    assert "://" not in (ROOT / lock).read_text()


def test_what_runs_is_a_part_of_what_is_tested():
    tools = locked("requirements-dev.lock")
    for name, rows in locked("requirements.lock").items():
        tested = tools[name]
        assert [row[:2] for row in rows] == [row[:2] for row in tested], name
        # A tool may need on every system what Neva needs on some.
        missing = [row for row, other in zip(rows, tested, strict=True) if row[2] and not other[2]]
        assert missing == [], name


def test_the_environment_is_the_locked_one():
    different = []
    for name, rows in locked("requirements-dev.lock").items():
        for version, _, holds in rows:
            if not holds:
                continue
            try:
                installed = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                installed = "none"
            if installed != version:
                different.append(f"{name}: locked {version}, installed {installed}")
    assert different == [], "run `make env`, or `make lock` after a change of dependencies"


def test_every_dependency_has_bounds():
    given = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]
    without = [
        text
        for text in given
        if not any(one.operator in ("<", "<=", "==") for one in Requirement(text).specifier)
    ]
    assert without == []


def closure():
    """Every package that Neva installs at run time."""
    found, left = set(), ["neva"]
    while left:
        name = canonicalize_name(left.pop())
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or marker.evaluate(default_environment() | {"extra": ""}):
                left.append(requirement.name)
                for extra in requirement.extras:
                    left += [
                        Requirement(one).name
                        for one in importlib.metadata.requires(requirement.name) or ()
                        if Requirement(one).marker is not None
                        and Requirement(one).marker.evaluate(
                            default_environment() | {"extra": extra}
                        )
                    ]
    return found - {"neva"}


def licence_of(name):
    about = importlib.metadata.metadata(name)
    said = [about.get("License-Expression") or "", about.get("License") or ""]
    said += [one for one in about.get_all("Classifier") or () if one.startswith("License ::")]
    for file in importlib.metadata.files(name) or ():
        # Some say only that a licence was approved; the text says which.
        if "dist-info" in str(file) and "LICENSE" in file.name.upper():
            said.append(file.locate().read_text(errors="replace")[:80].strip())
    return " | ".join(one[:200] for one in said if one)


def test_every_package_that_runs_has_a_licence_that_may_be_given_away():
    unknown = {}
    for name in sorted(closure()):
        licence = licence_of(name)
        if COPYLEFT.search(licence) or not PERMISSIVE.search(licence):
            unknown[name] = licence
    assert unknown == {}


def test_what_is_heavy_and_needed_by_few_is_not_installed_with_neva():
    """Pandas came with an extra of another package, and nothing of Neva used it."""
    assert not {"pandas", "pyspark", "statsforecast", "playwright"} & closure()


def test_measures_run_without_pandas(tmp_path):
    script = tmp_path / "without.py"
    script.write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'pandas':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from neva.cli import main\n"
        "main()\n"
    )

    def run(*words):
        said = subprocess.run(
            [sys.executable, str(script), *map(str, words)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        return said.stdout

    run("synthesise", tmp_path / "h", "--stays", "100", "--seed", "1")
    found = json.loads(
        run("quality", "measure", tmp_path / "h", "--programme", "covid19", "--json")
    )
    assert len(found["figures"]) > 5


def test_the_bill_of_materials_names_what_is_installed(tmp_path):
    out = tmp_path / "sbom.json"
    command = Path(sys.executable).with_name("cyclonedx-py")
    subprocess.run(
        [command, "environment", sys.executable, "--of", "JSON", "-o", out],
        check=True, capture_output=True,
    )  # fmt: skip
    bill = json.loads(out.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {canonicalize_name(one["name"]): one["version"] for one in bill["components"]}
    for name in closure():
        assert Version(named[name]) == Version(importlib.metadata.version(name))
