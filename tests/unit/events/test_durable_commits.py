"""What a version of the hospital names is on disk before the version is."""

import os
from pathlib import Path

from tests.hospitals import event, take

from neva.events import hospital as hospital_module
from neva.events import tables


def test_files_and_commits_are_on_disk_before_the_manifest_names_them(
    hospital, tmp_path, monkeypatch
):
    synced, at_the_manifest = set(), []
    fsync, write = os.fsync, hospital_module.write_manifest

    def noted(descriptor):
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def manifest(*arguments):
        at_the_manifest.append(set(synced))
        write(*arguments)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(hospital_module, "write_manifest", manifest)
    take(hospital, tmp_path / "one", [event(row_id="1")])
    take(hospital, tmp_path / "two", [event(row_id="2"), event(row_id="1", value=2.0)])
    for number, known in enumerate(at_the_manifest, 1):
        named = hospital.manifest(number).tables
        for name, version in named.items():
            folder = hospital.path / "tables" / name
            assert {*tables.file_list(folder, version)} <= known
            assert str(folder / "_delta_log" / f"{version:020d}.json") in known
    assert len(at_the_manifest) == 2
