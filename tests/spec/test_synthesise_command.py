"""``neva synthesise``: what it says and what it refuses."""

import json

import pytest
from tests.hospitals import event, new_hospital, take


def test_it_says_that_patients_are_invented(neva, tmp_path):
    said = neva("synthesise", tmp_path / "h", "--stays", 40, "--seed", 2, "--after-cut")
    assert said.code == 0, said.err
    assert said.out.startswith("synthetic data")
    assert "40 stays in 7 days, from 2020-02-29 21:00 to the data cut 2020-03-08 07:17" in said.out
    assert "known after the data cut" in said.out
    info = neva("info", tmp_path / "h")
    assert "synthetic data" in info.out
    assert json.loads(neva("info", tmp_path / "h", "--json").out)["synthetic"] is True
    again = neva("synthesise", tmp_path / "h", "--stays", 40, "--seed", 2)
    assert "made before (batch 1); nothing to do" in again.out


def test_real_hospitals_do_not_say_so(neva, tmp_path):
    hospital = new_hospital(tmp_path)
    take(hospital, tmp_path / "real.csv", [event()])
    assert "synthetic" not in neva("info", hospital.path).out
    refused = neva("synthesise", hospital.path, "--stays", 40)
    assert refused.code == 5
    assert "synthetic patients must not stand beside others" in refused.err


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--stays", 3], 2), (["--seed", -4], 2), (["--zone", "Mars/Base"], 2)],
)
def test_wrong_options_leave_nothing_behind(neva, tmp_path, options, code):
    assert neva("synthesise", tmp_path / "h", *options).code == code
    assert not (tmp_path / "h").exists()


def test_another_plan_is_refused(neva, tmp_path):
    assert neva("synthesise", tmp_path / "h", "--stays", 30).code == 0
    said = neva("synthesise", tmp_path / "h", "--stays", 31)
    assert said.code == 5
    assert "another synthetic hospital" in said.err
    (tmp_path / "file").write_text("x")
    assert neva("synthesise", tmp_path / "file").code == 2
