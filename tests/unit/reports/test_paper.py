"""Sheets of paper: what every page carries, who is named, and what is kept for downtime."""

import re
import stat
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.hospitals import NOW as IMPORTED

from neva.errors import UsageError
from neva.events.hospital import create_hospital
from neva.languages.english import ENGLISH
from neva.languages.language import Language
from neva.operations.bed_board import bed_board
from neva.operations.ward_sheets import ward_sheet
from neva.reports.paper import reviews as paper_reviews
from neva.reports.paper.beds import bed_meeting_sheet, discharge_sheet, long_stay_sheet
from neva.reports.paper.reviews import deaths_of, mortality_sheet
from neva.reports.paper.sheet import Column, Paper, Part, Person, Sheet
from neva.reports.paper.wards import downtime_sheet, handover_sheet, write_downtime
from neva.synthesis import Plan, synthesise


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    plan = Plan(stays=250, seed=5, operations=True)
    made = create_hospital(tmp_path_factory.mktemp("paper") / "h", zone=plan.zone, now=IMPORTED)
    synthesise(made, plan, now=IMPORTED)
    return made


@pytest.fixture(scope="module")
def board(hospital):
    snapshot = hospital.snapshot()
    return bed_board(snapshot, at=snapshot.now)


def sheets(board, paper):
    made = board.now + timedelta(minutes=3)
    ward = ward_sheet(board)
    return {
        "meeting": bed_meeting_sheet(board, paper=paper, made=made),
        "discharges": discharge_sheet(board, paper=paper, made=made),
        "long": long_stay_sheet(board, paper=paper, made=made),
        "handover": handover_sheet(ward, board, paper=paper, made=made),
        "downtime": downtime_sheet(board, paper=paper, made=made),
    }


def test_every_page_says_its_number_time_data_and_that_patients_are_invented(board):
    for sheet in sheets(board, Paper(zone=board.zone)).values():
        html = sheet.to_html()
        boxes = html[html.index("@page") : html.index("* { box-sizing")]
        assert "counter(page)" in boxes
        assert "counter(pages)" in boxes
        assert "SYNTHETIC DATA" in boxes
        assert board.identity.split("@")[0] in boxes
        assert "Created 2020-" in boxes
        assert "<script" not in html
        assert " style=" not in html
        assert 'src="' not in html


def test_without_names_pseudonyms_stand_there_and_with_them_no_pseudonym(board):
    subjects = board.patients["subject_id"].to_list()
    bare = sheets(board, Paper(zone=board.zone))["downtime"].to_html()
    assert all(str(subject) in bare for subject in subjects)
    assert "by pseudonym" in bare
    names = {subject: Person(f"Name-{k}", f"R-{k}") for k, subject in enumerate(subjects)}
    named = sheets(board, Paper(zone=board.zone, names=names))
    for sheet in named.values():
        assert not any(str(subject) in sheet.to_html() for subject in subjects)
    assert all(f"Name-{k}\nR-{k}" in named["downtime"].to_html() for k in range(len(subjects)))
    assert "Personal data" in named["downtime"].to_html()


def test_everybody_present_is_on_the_census_once(board):
    sheet = sheets(board, Paper(zone=board.zone))["downtime"]
    rows = [row for part in sheet.parts for row in part.rows]
    assert len(rows) == board.patients.height == len({row[1] for row in rows})


def test_every_text_passes_through_words(board):
    """A translation that answers with a mark leaves no English sentence behind."""

    class Marked(Language):
        def __call__(self, text, /, **values):
            marked = re.sub(r"%\(\w+\)s", "¤", text).replace("%%", "%") if values else text
            return "¤" + marked

    paper = Paper(zone=board.zone, words=Marked("en", board.zone))
    for name, sheet in sheets(board, paper).items():
        assert sheet.title.startswith("¤"), name
        for part in sheet.parts:
            assert part.title.startswith("¤"), (name, part.title)
            assert all(one.title.startswith("¤") or not one.title for one in part.columns)
            texts = (*part.texts, *part.notes, *([part.empty] if part.empty else []))
            assert all("¤" in text for text in texts), (name, texts)


def test_numbers_of_a_russian_sheet_are_written_in_russian(board):
    """They were written as in English: 15,214 for 15 214, 12.3 for 12,3."""
    russian = sheets(board, Paper(zone=board.zone, words=Language("ru", board.zone)))
    cells = [
        cell for one in russian.values() for part in one.parts for row in part.rows for cell in row
    ]
    assert any(re.search(r"\d,\d", cell) for cell in cells), cells
    assert not any(re.fullmatch(r"\d+\.\d", cell) for cell in cells)


def test_texts_are_escaped_everywhere():
    nasty = 'a"b</style><script>\\x'
    sheet = Sheet(
        title=nasty, lead=(nasty,), warnings=(nasty,), made=IMPORTED, of=IMPORTED,
        parts=(Part(nasty, (nasty,), (Column(nasty),), ((nasty,),), notes=(nasty,)),),
        identity=nasty, definitions=nasty, synthetic=True, paper=Paper(zone="UTC"),
    )  # fmt: skip
    html = sheet.to_html(nonce="n1")
    assert "<script" not in html
    assert html.count("</style>") == 1
    assert '<style nonce="n1">' in html


def test_rows_are_as_wide_as_their_columns():
    with pytest.raises(ValueError, match="cells under"):
        Part("t", columns=(Column("a"),), rows=(("1", "2"),))


def test_times_are_the_hospitals():
    assert Paper(zone="Europe/Moscow").time(datetime(2024, 3, 5, 22, tzinfo=UTC)) == (
        "06.03.\u00a001:00"
    )
    assert ENGLISH("%(n)s %%", n=3) == "3 %"


def test_downtime_sheets_are_the_owners_and_the_oldest_go(hospital, tmp_path):
    now = hospital.snapshot().now
    folder = tmp_path / "downtime"
    folder.mkdir(mode=0o755)
    (folder / "notes.txt").write_text("stays")
    paths = [write_downtime(hospital, folder, now - timedelta(hours=k), kept=3)
             for k in (4, 3, 2, 1)]  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in paths[1:])
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([*(path.name for path in paths[1:]), "notes.txt"])
    late = write_downtime(hospital, folder, now - timedelta(days=2), kept=3)
    assert late.exists()
    assert write_downtime(hospital, folder, now - timedelta(hours=1), kept=3) == paths[3]


def test_deaths_of_a_period_close_and_open_where_they_should(hospital):
    snapshot = hospital.snapshot()
    stays = snapshot.stays().filter(pl.col("outcome") == "died").collect().sort("end")
    assert stays.height >= 2
    first, last = stays["end"][0], stays["end"][-1]
    assert deaths_of(snapshot, first, last).height == stays.height - stays["end"].eq(last).sum()
    everyone = deaths_of(snapshot, first, last + timedelta(microseconds=1))
    assert everyone["stay_id"].to_list() == stays["stay_id"].to_list()


def test_a_mortality_pack_has_a_page_for_each_death_and_its_denominator(hospital, monkeypatch):
    snapshot = hospital.snapshot()
    first, last = snapshot.now - timedelta(days=60), snapshot.now
    deaths = deaths_of(snapshot, first, last)
    cards = pl.DataFrame({"stay_id": [deaths["stay_id"][0]], "time": [last], "title": ["Card"]},
                         schema_overrides={"time": pl.Datetime("us", "UTC")})  # fmt: skip
    sheet = mortality_sheet(snapshot, first, last, paper=Paper(zone="UTC"), made=last, cards=cards)
    assert len(sheet.parts) == deaths.height
    ended = snapshot.stays().filter(pl.col("end").is_between(first, last, closed="left"))
    assert sheet.lead[0].endswith(
        f"{deaths.height} deaths in hospital of {ended.collect().height} stays that ended in the "
        "period."
    )
    told = [dict(part.rows)["cards raised"] for part in sheet.parts]
    assert told[0].endswith("Card")
    assert set(told[1:]) == {"none"}
    monkeypatch.setattr(paper_reviews, "MOST_DEATHS", 1)
    with pytest.raises(UsageError, match="too many deaths"):
        mortality_sheet(snapshot, first, last, paper=Paper(zone="UTC"), made=last)


def test_an_empty_period_says_so(hospital):
    at = datetime(2010, 1, 1, tzinfo=UTC)
    sheet = mortality_sheet(
        hospital.snapshot(), at, at + timedelta(days=1), paper=Paper(zone="UTC"), made=at
    )
    assert "None in this period." in sheet.to_html()


def test_old_data_stand_first(hospital):
    snapshot = hospital.snapshot()
    late = bed_board(snapshot, at=snapshot.now + timedelta(hours=3))
    sheet = bed_meeting_sheet(late, paper=Paper(zone=late.zone), made=late.at)
    assert "The data are stale: nothing has been recorded for 3.0 hours." in sheet.warnings[0]
