"""Files that people send: looked at, tried, imported, refused; nothing of them is left."""

import re
import stat
import zipfile

import polars as pl
import pytest
from tests.doors import NOW, csrf_of, doors
from tests.hospitals import new_hospital
from tests.shared_data import shared

from neva.events.hospital import open_hospital
from neva.jobs.kept_uploads import MOST_WAITING, Uploads
from neva.jobs.worker import work_forever

WARD = (
    "Patient;Date;What;Result;Unit\n"
    + "".join(
        f"{7 + day % 2:03};2024-05-{day:02} 08:00;{what};{day / 10};mmol/L\n"
        for day in range(1, 21)
        for what in ("lactate", "glucose")
    )
    + "008;no time;glucose;9;mmol/L\n"
)
EVIL = "<script>alert(7)</script>"
CANARY = "canary7531"


@pytest.fixture
def made(tmp_path):
    hospital = new_hospital(tmp_path)
    with doors(hospital.path, {}, tmp_path / "state.sqlite") as found:
        yield found


@pytest.fixture
def analyst(made):
    return made.signed_in("analyst", headers={"accept": "text/html"})


def send(client, content, name="ward.csv", **fields):
    data = {"csrf": csrf_of(client)} | fields
    body = content.encode() if isinstance(content, str) else content
    return client.post("/data/upload", data=data, files={"file": (name, body)})


def sent(client, content, name="ward.csv"):
    answer = send(client, content, name)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def try_it(client, where, mapping=None, **fields):
    if mapping is None:
        mapping = client.get(f"{where}.json").json()["data"]["mapping"]
    data = {"csrf": csrf_of(client), "mapping": mapping, "action": "preview"} | fields
    answer = client.post(where, data=data)
    assert answer.status_code == 303, answer.text
    return client.get(f"{where}.json").json()


def import_it(made, client, where, on_change="refuse"):
    data = client.get(f"{where}.json").json()["data"]
    form = {"csrf": csrf_of(client), "hash": data["hash"], "on_change": on_change}
    answer = client.post(f"{where}/import", data=form)
    assert answer.status_code == 303, answer.text
    work_forever(made.settings, most=1)
    return client.get(f"{where}.json").json()


def folders(made):
    place = Uploads(made.settings, made.state).folder
    return [one for one in place.glob("*") if one.is_dir()] if place.exists() else []


def rows_of(page, table):
    return page["tables"][table]


def test_from_a_file_to_the_record(made, analyst):
    where = sent(analyst, WARD)
    page = analyst.get(f"{where}.json").json()
    looks = {row["name"]: row["looks"] for row in rows_of(page, "columns")}
    assert looks["Patient"] == "patient id"
    assert looks["What"] == "code"
    page = try_it(analyst, where)
    assert page["data"]["preview"] == {
        "problem": None, "patients": 2, "rows": 41, "refused": 1, "taken": 40,
    }  # fmt: skip
    assert [row["reason"] for row in rows_of(page, "refusals")] == ["time-unreadable"]
    assert rows_of(page, "refusals")[0]["rows"] == "41"
    hospital = open_hospital(made.settings.hospital)
    # Until somebody says so, nothing is written.
    assert hospital.manifest().version == 0
    done = import_it(made, analyst, where)["data"]["done"]
    assert done["counts"]["events"]["added"] == 40
    events = hospital.snapshot().stored("events").collect()
    assert events.height == 40
    assert hospital.snapshot().quarantine().collect()["row"].to_list() == [41]
    last = list(made.state.audit.rows())[-1]
    assert (last.actor, last.action) == ("analyst", "imported")
    assert [one.name for one in folders(made)[0].iterdir()] == sorted(
        one.name for one in folders(made)[0].iterdir() if one.name.endswith(".json")
    ), "the file and all values out of it are deleted"
    assert "imported" in analyst.get("/data/upload").text


def test_the_sepsis_log_of_a_real_hospital(made, analyst):
    content = shared("data", "sepsis-eventlog", "sepsis.csv").read_bytes()
    where = sent(analyst, content, "sepsis.csv")
    try_it(analyst, where)
    done = import_it(made, analyst, where)["data"]["done"]
    counts = {name: count for name, count in done["counts"]["events"].items() if count}
    assert counts == {"read": 15_214, "added": 15_214}
    cases = open_hospital(made.settings.hospital).snapshot().stored("events").collect()
    assert cases["subject_id"].n_unique() == 1_050


def test_the_same_file_again_adds_nothing_and_another_of_its_name_is_asked_about(made, analyst):
    first = sent(analyst, WARD)
    try_it(analyst, first)
    mapping = analyst.get(f"{first}.json").json()["data"]["mapping"]
    import_it(made, analyst, first)
    again = sent(analyst, WARD)
    try_it(analyst, again, mapping)
    assert import_it(made, analyst, again)["data"]["done"]["already_imported"]
    more = sent(analyst, WARD + "009;2024-05-02 10:00;lactate;3;mmol/L\n")
    try_it(analyst, more, mapping)
    page = import_it(made, analyst, more)
    assert not page["data"]["done"]
    assert "differs from what was imported under this name" in page["data"]["error"]
    done = import_it(made, analyst, more, on_change="extend")["data"]["done"]
    assert (done["counts"]["events"]["added"], done["counts"]["events"]["known"]) == (1, 40)


def test_the_mapping_of_an_earlier_import_can_be_taken(made, analyst):
    first = sent(analyst, WARD)
    try_it(analyst, first)
    import_it(made, analyst, first)
    second = sent(analyst, WARD.replace("2024-05", "2024-06"), "june.csv")
    assert analyst.get(f"{second}.json").json()["data"]["earlier"] == ["ward"]
    page = try_it(analyst, second, "", action="use", source="ward")
    assert page["data"]["preview"]["taken"] == 40
    assert "name: ward" in page["data"]["mapping"]
    import_it(made, analyst, second)
    stored = open_hospital(made.settings.hospital).snapshot().stored("events").collect()
    assert stored.height == 80
    assert stored["subject_id"].n_unique() == 2, "the same patients, by the same assigner"


def test_only_what_was_tried_is_imported(made, analyst):
    where = sent(analyst, WARD)
    form = {"csrf": csrf_of(analyst), "on_change": "refuse"}
    assert analyst.post(f"{where}/import", data=form | {"hash": ""}).status_code == 409
    old = try_it(analyst, where)["data"]["hash"]
    try_it(analyst, where, "neva: 1\nname: x\n")
    for given in (old, analyst.get(f"{where}.json").json()["data"]["hash"]):
        assert analyst.post(f"{where}/import", data=form | {"hash": given}).status_code == 409
    page = analyst.get(where).text
    assert "a key is missing" in page
    bad = form | {"hash": old, "on_change": "burn"}
    assert analyst.post(f"{where}/import", data=bad).status_code == 400
    assert open_hospital(made.settings.hospital).manifest().version == 0


def test_somebody_elses_file_is_not_there(made, analyst):
    where = sent(analyst, WARD)
    other = made.signed_in("administrator")
    token = csrf_of(other)
    for path in (where, f"{where}.json", f"{where}.csv"):
        assert other.get(path).status_code == 404
    for path in (where, f"{where}/import"):
        assert other.post(path, data={"csrf": token, "action": "delete"}).status_code == 404
    assert rows_of(other.get("/data/upload.json").json(), "uploads") == []
    for path in ("/data/upload/..%2f..%2fstate", "/data/upload/" + "0" * 32, "/data/upload/%00"):
        assert analyst.get(path).status_code == 404


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x1f\x8b\x08\x00" + b"\0" * 100, "gzip data"),
        (b"PK\x03\x04" + b"x" * 100, "a workbook whose name does not end in .xlsx"),
        (b"PAR1" + b"x" * 100, "Parquet"),
        (b"a;b\n1;\0\n", "binary data"),
        (b"a;b\n" + b"x" * 1_100_000, "a line of more than"),
        ("a;b\n1;2\n".encode("utf-16"), "UTF-16"),
        (b"", "an empty file"),
        (b"a;b\n", "no rows"),
        (b"a" + b",a" * 1_500 + b"\n" + b"1" + b",1" * 1_500 + b"\n", "too wide"),
    ],
)
def test_what_is_no_table_is_refused_and_nothing_stays(made, analyst, content, says):
    answer = send(analyst, content)
    assert answer.status_code == 400
    assert says in answer.text
    assert folders(made) == []


def workbook(path, rows, cell="lactate"):
    """The least that Excel calls a workbook, written by hand."""
    spaces = "http://schemas.openxmlformats.org"
    rels = f'<Relationships xmlns="{spaces}/package/2006/relationships">'
    office = f"{spaces}/officeDocument/2006/relationships"
    main = f"{spaces}/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    header = "".join(
        f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in ("Patient", "What", "Result")
    )
    row = f'<row><c><v>7</v></c><c t="inlineStr"><is><t>{cell}</t></is></c><c><v>1.5</v></c></row>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("[Content_Types].xml", (
            f'<Types xmlns="{spaces}/package/2006/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/a.xml" ContentType="{kind}.worksheet+xml"/>'
            "</Types>"
        ))  # fmt: skip
        made.writestr("_rels/.rels", (
            f'{rels}<Relationship Id="r1" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>'
        ))  # fmt: skip
        made.writestr("xl/workbook.xml", (
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>'
        ))  # fmt: skip
        made.writestr("xl/_rels/workbook.xml.rels", (
            f'{rels}<Relationship Id="r1" Type="{office}/worksheet" '
            'Target="worksheets/a.xml"/></Relationships>'
        ))  # fmt: skip
        with made.open("xl/worksheets/a.xml", "w", force_zip64=True) as sheet:
            begin = f'<worksheet xmlns="{main}"><sheetData><row>{header}</row>'
            sheet.write(begin.encode())
            for _ in range(rows // 1000):
                sheet.write(row.encode() * 1000)
            sheet.write(b"</sheetData></worksheet>")
    return path


def test_the_first_sheet_of_a_workbook(made, analyst):
    path = shared("data", "tongji-covid", "time_series_375_prerpocess_en.xlsx")
    where = sent(analyst, path.read_bytes(), "Tongji.xlsx")
    page = analyst.get(f"{where}.json").json()
    looks = {row["name"]: row["looks"] for row in rows_of(page, "columns")}
    assert (looks["PATIENT_ID"], looks["Admission time"], looks["hemoglobin"]) == (
        "patient id", "time of admission", "measurement (a column for each)",
    )  # fmt: skip
    found = try_it(analyst, where)["data"]["preview"]
    assert found["problem"] is None
    assert found["taken"] > 5_000
    assert not list(folders(made)[0].rglob("*.xlsx"))


def test_a_workbook_that_would_fill_the_machine_is_refused(made, analyst, tmp_path):
    bomb = workbook(tmp_path / "bomb.xlsx", 5_000_000, "a" * 500)
    assert bomb.stat().st_size < 40_000_000
    answer = send(analyst, bomb.read_bytes(), "bomb.xlsx")
    assert answer.status_code == 400
    assert "too large for a workbook" in answer.text
    small = workbook(tmp_path / "small.xlsx", 1_000).read_bytes()
    assert sent(analyst, small, "small.xlsx")
    for broken in (small[:500], b"PK\x03\x04" + b"x" * 100):
        answer = send(analyst, broken, "broken.xlsx")
        assert answer.status_code == 400
        assert "no Excel workbook" in answer.text
    assert len(folders(made)) == 1


def test_a_bomb_is_refused_before_it_is_read(made, analyst):
    object.__setattr__(made.settings, "upload_bytes", 10_000)
    assert send(analyst, b"a;b\n" + b"1;2\n" * 100_000).status_code == 413
    token = csrf_of(analyst)

    def chunks():
        yield b"--x\r\n"

    kind = {"content-type": "multipart/form-data; boundary=x", "x-csrf": token}
    assert analyst.post("/data/upload", content=chunks(), headers=kind).status_code == 411
    assert folders(made) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x\r\nContent-Disposition: form-data; name=csrf\r\n\r\nTOKEN\r\n--x--\r\n",
        b"--x\r\n\r\n\r\n" * 30 + b"--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=csrf\r\n\r\nTOKEN\r\n"
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + b"y" * 20_000 + b"\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=csrf\r\n\r\nTOKEN\r\n"
        + b"--x\r\nContent-Disposition: form-data; name=f; filename=a.csv\r\n\r\na;b\r\n" * 2
        + b"--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=f; filename=a.csv\r\n\r\na;b\r\n--x--\r\n",
    ],
)
def test_broken_forms_are_refused_and_nothing_stays(made, analyst, body):
    content = body.replace(b"TOKEN", csrf_of(analyst).encode())
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = analyst.post("/data/upload", content=content, headers=kind)
    assert answer.status_code in {400, 403}
    assert folders(made) == []


@pytest.mark.parametrize(
    "name",
    ["../../../etc/cron.d/x", "..\\..\\x.csv", "/etc/passwd", ".", "..", "\0.csv", "a" * 500],
)
def test_a_name_is_only_a_name(made, analyst, name):
    where = sent(analyst, WARD, name)
    held = list(folders(made)[0].glob("file/*"))
    assert len(held) == 1
    assert held[0].resolve().is_relative_to(folders(made)[0].resolve())
    assert re.fullmatch(r"/data/upload/[0-9a-f]{32}", where)


def test_only_the_service_reads_a_file(made, analyst):
    sent(analyst, WARD)
    folder = folders(made)[0]
    for one in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(one.stat().st_mode) & 0o077 == 0, one.name


def test_texts_of_a_file_are_texts(made, analyst):
    content = WARD.replace("What", EVIL).replace("lactate", EVIL).replace("Patient", "Patient id")
    where = sent(analyst, content, f"{EVIL}.csv")
    try_it(analyst, where)
    text = try_it(analyst, where)["data"]["mapping"]
    try_it(analyst, where, text.replace("events:", f"ev{EVIL}: 1\n    events:"))
    for path in (where, "/data/upload", "/data"):
        page = analyst.get(path).text
        assert EVIL not in page, path
    table = analyst.get(f"{where}.csv", params={"table": "columns"}).text
    assert EVIL in table


def test_nothing_of_a_file_is_in_a_job_or_log(made, analyst, caplog):
    content = WARD.replace("008", CANARY).replace("glucose", CANARY)
    where = sent(analyst, content)
    try_it(analyst, where)
    import_it(made, analyst, where)
    held = [
        str(made.state.jobs.newest()),
        *(str(made.state.jobs.log(one.id)) for one in made.state.jobs.newest()),
        str(list(made.state.audit.rows())),
        caplog.text,
    ]
    assert not any(CANARY in one for one in held)
    results = made.settings.hospital / "results"
    assert not any(CANARY in one.read_text() for one in results.glob("*.json"))


def test_so_many_files_wait_and_no_more(made, analyst):
    for _ in range(MOST_WAITING):
        sent(analyst, WARD)
    answer = send(analyst, WARD)
    assert answer.status_code == 409
    assert len(folders(made)) == MOST_WAITING
    where = rows_of(analyst.get("/data/upload.json").json(), "uploads")
    assert len(where) == MOST_WAITING


def test_a_file_is_deleted_on_demand_and_after_a_day(made, analyst):
    where = sent(analyst, WARD)
    form = {"csrf": csrf_of(analyst), "action": "delete"}
    assert analyst.post(where, data=form).headers["location"] == "/data/upload"
    assert folders(made) == []
    sent(analyst, WARD)
    uploads = Uploads(made.settings, made.state)
    assert uploads.sweep() == 0
    made.later(hours=25)
    assert uploads.sweep() == 1
    assert folders(made) == []


def test_a_cancelled_import_writes_nothing_and_can_be_tried_again(made, analyst, monkeypatch):
    where = sent(analyst, WARD)
    try_it(analyst, where)
    from neva.jobs import worker

    told = worker.WorkContext.progress

    def cancelled(self, done, of, words):
        self.state.jobs.cancel(self.job.id, actor="analyst", at=NOW)
        self._last_report = 0.0
        told(self, done, of + 1, words)

    monkeypatch.setattr(worker.WorkContext, "progress", cancelled)
    page = import_it(made, analyst, where)
    monkeypatch.undo()
    assert page["data"]["done"] == {}
    assert made.state.jobs.newest()[0].state == "cancelled"
    hospital = open_hospital(made.settings.hospital)
    assert hospital.manifest().version == 0
    assert import_it(made, analyst, where)["data"]["done"]["counts"]["events"]["added"] == 40


def test_a_worker_lost_after_the_commit_imports_nothing_twice(made, analyst, monkeypatch):
    where = sent(analyst, WARD)
    try_it(analyst, where)
    from neva.jobs.kept_uploads import Upload

    def lost(self, done):
        raise KeyboardInterrupt

    monkeypatch.setattr(Upload, "finish", lost)
    with pytest.raises(KeyboardInterrupt):
        import_it(made, analyst, where)
    monkeypatch.undo()
    made.later(minutes=5)
    work_forever(made.settings, most=1)
    done = analyst.get(f"{where}.json").json()["data"]["done"]
    assert done["already_imported"]
    stored = open_hospital(made.settings.hospital).snapshot().stored("events")
    assert stored.select(pl.len()).collect().item() == 40
