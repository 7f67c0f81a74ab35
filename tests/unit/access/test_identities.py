"""Who patients are: the names of synthetic ones."""

from datetime import UTC, datetime

from neva.access import identities
from neva.access.identities import Identities
from neva.access.viewer import Viewer
from neva.events.hospital import create_hospital
from neva.state import open_state, state_of
from neva.synthesis import Plan, synthesise

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLINICIAN = Viewer("test", "", "clinician", None, "", "")


def test_names_of_synthetic_patients_fit_their_recorded_sex(tmp_path):
    hospital = create_hospital(tmp_path / "h", zone="UTC", now=NOW)
    synthesise(hospital, Plan(stays=150, seed=5, zone="UTC"), now=NOW)
    sexes = hospital.snapshot().subjects().select("subject_id", "sex").collect()
    assert set(sexes["sex"]) >= {"female", "male"}
    with open_state(state_of(hospital.path)) as state:
        people = Identities(hospital, state).of(
            sexes["subject_id"].to_list(), CLINICIAN, why="a test", at=NOW
        )
    for subject, sex in sexes.iter_rows():
        family, given = people[subject].name.split(", ")
        assert family.startswith("Test-")
        assert given in identities._GIVEN.get(sex, identities._GIVEN_TO_ANYBODY)
        assert people[subject].invented


def test_each_given_name_is_in_one_list():
    names = [*identities._GIVEN["female"], *identities._GIVEN["male"]]
    names += identities._GIVEN_TO_ANYBODY
    assert len(names) == len(set(names))
    assert identities._invented(5, None) == identities._invented(5, "unknown")
