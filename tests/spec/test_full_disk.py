"""A full disk is told as one, whatever was written, and leaves nothing half-written."""

import errno
import resource
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from neva.errors import BadInputError, ConflictError
from neva.events.hospital import create_hospital
from neva.files.whole import disk_problem, whole_file, write_whole
from neva.state import open_state
from neva.synthesis import Plan, synthesise

#: What writes a file or a folder, `{out}`.
WRITING = (
    "export meds {hospital} {out}",
    "export xes {hospital} {out}",
    "export csv {hospital} {out}",
    "export fhir {hospital} {out}",
    "flow forecast {hospital} --hours 24 --look-back 0 --out {out}.html",
    "quality measure {hospital} --programme covid19 --out {out}.csv",
    "quality measure {hospital} --programme covid19 --fhir {out}",
    "decide replay {hospital} --rule covid19.steroid-on-oxygen --every 24 --out {out}.html",
    "pathways map {hospital} --svg {out}.svg",
    "report {hospital} --out {out}.html",
    "audit head {hospital} --out {out}.txt",
    "audit export {hospital} --out {out}.ndjson",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "hospital"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    hospital = create_hospital(folder, zone="Europe/Moscow", now=now)
    synthesise(hospital, Plan(stays=300, seed=1), now=now)
    return folder


@contextmanager
def room(size):
    """No file may grow beyond so many bytes: as on a disk that fills."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("words", WRITING)
def test_a_disk_that_fills_is_told_and_leaves_nothing(neva, made, tmp_path, words):
    """Was: "this is a bug in Neva", and a half-written draft beside."""
    hospital = tmp_path / "hospital"
    shutil.copytree(made, hospital)
    open_state(hospital / "state.sqlite").close()
    # Whatever is kept for later readings is kept already.
    assert neva("check", hospital).code == 0
    folder = tmp_path / "out"
    folder.mkdir()
    command = words.format(hospital=hospital, out=folder / "it").split()
    free = neva(*command)
    assert free.code == 0, free.err
    largest = max(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    shutil.rmtree(folder)
    folder.mkdir()
    with room(max(0, largest - 1)):
        said = neva(*command)
    if words.startswith("audit"):  # the state has no room either
        assert said.code in (3, 5), said.err
        assert "the disk is full" in said.err or "an error of the disk" in said.err
    else:
        assert said.code == 3, said.err
        assert "the disk is full" in said.err
    assert "bug" not in said.err
    assert not list(folder.rglob("*"))


def test_what_was_there_stays_where_there_is_no_room(tmp_path):
    path = tmp_path / "page.html"
    write_whole(path, "before")
    with room(100), pytest.raises(BadInputError, match="the disk is full"):
        write_whole(path, "after" * 100)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_readable_by_its_owner_only(tmp_path):
    write_whole(tmp_path / "names", "a", private=True)
    assert (tmp_path / "names").stat().st_mode & 0o777 == 0o600


def test_a_writer_that_fails_leaves_the_file_and_no_draft(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"before")

    def fail():
        with whole_file(path) as draft:
            draft.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), BadInputError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), BadInputError),
        (RuntimeError("External: Generic error: os error 28"), BadInputError),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), ConflictError),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), ConflictError),
    ],
)
def test_every_library_s_words_for_a_full_disk_are_understood(error, kind):
    assert isinstance(disk_problem(error), kind)
    assert "/elsewhere" in str(disk_problem(error, "/elsewhere"))


def test_other_errors_are_no_problem_of_the_disk():
    assert disk_problem(ValueError("No spaces")) is None
    assert disk_problem(OSError(errno.ENOENT, "No such file")) is None
