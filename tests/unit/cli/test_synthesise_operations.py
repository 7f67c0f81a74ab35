"""``neva synthesise --operations``: the same hospital, and what wards write."""

from tests.command_line import CommandLine

from neva.census.current_entries import current_entries
from neva.events.hospital import open_hospital


def test_a_hospital_is_made_with_operations(tmp_path, capsys, monkeypatch):
    neva = CommandLine(capsys, monkeypatch)
    said = neva("synthesise", tmp_path / "h", "--stays", 120, "--operations", "--json")
    assert said.code == 0
    assert said.json()["synthetic"] is True
    assert current_entries(open_hospital(tmp_path / "h").snapshot()).height
    assert neva("synthesise", tmp_path / "h", "--stays", 120, "--operations").code == 0
    assert neva("synthesise", tmp_path / "h", "--stays", 120).code == 5
