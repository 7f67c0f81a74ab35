"""The report of the embedded cohort says what is true, and asks nothing of anybody."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from neva.events.hospital import open_hospital
from neva.reports import make_report
from neva.reports.example import run_example

MADE = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    report, summary, path = run_example(folder, now=MADE)
    return folder, report, summary, path.read_text(encoding="utf-8")


def test_it_says_what_was_loaded_and_how_patients_fared(example):
    _, report, summary, html = example
    assert summary.total("refused") == 0
    sentences = " ".join(report.findings)
    for said in (
        "2,675 patients",
        "200 (7.2 %) died",
        "311 (11.2 %) still open",
        "moderate → discharged",
        "From 30 April 2020 on follow-up ends",
    ):
        assert said in sentences
        assert said in html


def test_every_part_is_there(example):
    html = example[3]
    parts = re.findall(r'<h2 id="(\w+)"', html)
    assert parts == ["short", "loaded", "quality", "map", "paths", "census", "stays"]
    assert html.count("<svg") == 3
    assert "follow-up ends" in html
    assert "patients, not beds" in html


def test_it_names_its_data_and_its_definitions(example):
    _, report, _, html = example
    assert report.snapshot.identity in html
    assert report.activities.hash[:12] in html
    assert "version 1" in html
    assert "2020-05-05" in html  # the data cut


class Outside(HTMLParser):
    """Collects whatever would make a browser ask another host, or run something."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "link", "iframe", "object", "embed", "img", "base", "form"):
            self.found.append(tag)
        for name, value in attributes:
            if name.startswith("on") or (name in ("src", "href") and not value.startswith("#")):
                self.found.append((tag, name))
            if name == "style" and "url(" in (value or ""):
                self.found.append((tag, name))


def test_it_is_self_contained(example):
    parser = Outside()
    parser.feed(example[3])
    assert parser.found == []
    assert "@import" not in example[3]


def test_a_second_run_adds_nothing_and_says_the_same(example):
    folder, _, _, html = example
    again, summary, path = run_example(folder, now=MADE)
    assert summary.already_imported
    assert again.snapshot.version == 1
    assert path.read_text(encoding="utf-8") == html


def test_it_can_be_made_again_from_an_old_version(example, tmp_path):
    folder, report, _, _ = example
    hospital = open_hospital(folder / "hospital")
    old = make_report(
        hospital.snapshot(version=1),
        made=MADE,
        title=report.title,
        activities=report.activities,
        by="state",
        states=("COVID-STATE//moderate", "COVID-STATE//severe"),
        notes=report.notes,
    )
    assert old.to_html() == report.to_html()


def test_no_local_id_is_in_it(tmp_path, neva):
    from tests.command_line import CANARY

    (tmp_path / "m.yaml").write_text(
        "neva: 1\nname: m\ntables:\n  - subject: id\n    stay: id\n"
        "    recorded: {after: time}\n    events:\n"
        "      - {code: {system: T, column: act}, time: time, text: note}\n"
    )
    (tmp_path / "f.csv").write_text(
        f"id,act,time,note\n{CANARY},a,2020-01-01 10:00,{CANARY}\n{CANARY},b,2020-01-02 10:00,\n"
    )
    folder, out = tmp_path / "h", tmp_path / "r.html"
    neva("import", "csv", tmp_path / "f.csv", "--mapping", tmp_path / "m.yaml", "--into", folder,
         "--zone", "UTC")  # fmt: skip
    assert neva("report", folder, "--out", out).code == 0
    assert CANARY not in out.read_text()


def test_names_from_files_cannot_become_markup(tmp_path, neva):
    """A code is text, whatever it holds."""
    evil = "<script>alert(1)</script>"
    (tmp_path / "m.yaml").write_text(
        "neva: 1\nname: m\ntables:\n  - subject: id\n    recorded: {after: time}\n    events:\n"
        "      - {code: {system: T, column: act}, time: time}\n"
    )
    (tmp_path / "f.csv").write_text(
        f"id,act,time\n1,{evil},2020-01-01 10:00\n1,b,2020-01-02 10:00\n"
    )
    folder, out = tmp_path / "h", tmp_path / "r.html"
    neva("import", "csv", tmp_path / "f.csv", "--mapping", tmp_path / "m.yaml", "--into", folder,
         "--zone", "UTC")  # fmt: skip
    assert neva("report", folder, "--out", out, "--title", evil).code == 0
    assert "<script" not in out.read_text()
