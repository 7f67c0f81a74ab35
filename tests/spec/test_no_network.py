"""Nothing asks the network: a hospital's machine often has none."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.shared_data import shared

from neva.sources.csv.source import ready_mappings

GOLDEN = Path(__file__).parents[1] / "golden" / "sources"

#: Kind, source and settings of one delivery of every kind.
DELIVERIES = {
    "xes": GOLDEN / "xes" / "lifecycle" / "input.xes",
    "omop": GOLDEN / "omop" / "cdm-5.3-csv" / "input",
    "fhir": GOLDEN / "fhir" / "bundle" / "input.json",
    "meds": GOLDEN / "meds" / "dataset" / "input",
}


def whole_job(neva, folder):
    """Run every kind of command but the demonstration; return the reports."""
    reports = []
    for kind, source in DELIVERIES.items():
        hospital = folder / kind
        said = neva("import", kind, source, "--into", hospital, "--zone", "Europe/Berlin")
        assert said.code == 0, said.err
        reports.append(folder / f"{kind}.html")
        said = neva("report", hospital, "--out", reports[-1])
        assert said.code == 0, said.err
        for words in (("check", hospital), ("info", hospital), ("pathways", "map", hospital)):
            assert neva(*words).code == 0
        for out in ("meds", "xes", "csv", "fhir"):
            assert neva("export", out, hospital, folder / f"{kind}-{out}").code == 0
    return reports


def outside(html):
    """What a page could ask of the network, or run."""
    # Namespaces of XML are names, never fetched.
    html = re.sub(r"""xmlns(:\w+)?=["'][^"']*["']""", "", html)
    asked = re.findall(r"https?://[^\s\"'<)]*", html)
    links = re.findall(r"""\b(?:src|href|srcset|action|data)\s*=\s*["']([^"']*)""", html)
    asked += [link for link in links if not link.startswith(("#", "data:"))]
    asked += re.findall(r"(?i)<(?:script|iframe|object|embed|link|base)\b[^>]*>", html)
    asked += re.findall(r"(?i)@import[^;]*;|url\((?!['\"]?(?:data:|#))[^)]*\)", html)
    return asked + re.findall(r"(?i)\son\w+\s*=\s*[\"']", html)


def forbidden(monkeypatch):
    """Forbid connections; return the list of those that are tried."""
    tried = []

    def refused(*words, **_):
        tried.append(words)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refused)
    return tried


def test_the_whole_job_opens_no_connection(neva, tmp_path, monkeypatch):
    tried = forbidden(monkeypatch)
    for report in whole_job(neva, tmp_path):
        assert outside(report.read_text(encoding="utf-8")) == []
    assert tried == []


@pytest.mark.nightly
def test_the_demonstration_opens_no_connection(neva, tmp_path, monkeypatch):
    tried = forbidden(monkeypatch)
    assert neva("demo", tmp_path / "demo").code == 0
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert (outside(page), tried) == ([], [])


def test_outside_finds_what_it_should():
    assert outside('<svg xmlns="http://www.w3.org/2000/svg"><a href="#map"/></svg>') == []
    for html in (
        '<img src="https://example.org/x.png">',
        "<script>alert(1)</script>",
        '<link rel="stylesheet" href="style.css">',
        "<style>@import 'x.css';</style>",
        '<p onclick="x()">',
        '<p style="background: url(//example.org/x)">',
    ):
        assert outside(html), html


def test_the_whole_job_runs_on_a_machine_without_network(tmp_path):
    """Native libraries too: the process has no network device at all."""
    unshare = shutil.which("unshare")
    cannot = unshare is None or subprocess.run(
        [unshare, "-rn", "true"], capture_output=True, check=False
    ).returncode  # fmt: skip
    if cannot and os.environ.get("CI") != "true":
        pytest.skip("unshare -n is not permitted here")
    neva = [unshare, "-rn", sys.executable, "-m", "neva.cli"]

    def run(*words):
        environment = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"}
        return subprocess.run(
            [*neva, *map(str, words)], capture_output=True, text=True, check=False, env=environment
        )

    said = run("demo", tmp_path / "demo")
    assert said.returncode == 0, said.stderr
    said = run(
        "import", "fhir", DELIVERIES["fhir"], "--into", tmp_path / "h", "--zone", "Europe/Berlin"
    )
    assert said.returncode == 0, said.stderr
    assert run("export", "meds", tmp_path / "h", tmp_path / "meds").returncode == 0
    assert run("check", tmp_path / "h").returncode == 0


def test_a_ready_mapping_runs_without_network(neva, tmp_path, monkeypatch):
    assert "sepsis" in ready_mappings()
    monkeypatch.setattr(socket.socket, "connect", None)
    said = neva(
        "import", "csv", shared("data", "sepsis-eventlog", "sepsis.csv"), "--mapping", "sepsis",
        "--into", tmp_path / "h", "--zone", "Europe/Amsterdam",
    )  # fmt: skip
    assert said.code == 0, said.err
