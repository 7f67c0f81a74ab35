import polars as pl
import pytest

from neva.errors import BadInputError, NotFoundError
from neva.pathways import Activity, ActivityFile, read_activities

CODES = pl.DataFrame(
    {
        "code": ["ATC//J01CR02", "LOINC//1988-5", "LOINC//2708-6", "SEPSIS//ER Triage", "plain"],
        "description": [None, "CRP", None, None, None],
    }
)


def write(tmp_path, text):
    path = tmp_path / "activities.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def labels(activities):
    return activities.name_codes(CODES)["label"].to_list()


def test_without_a_file_every_code_is_an_activity_with_its_description_or_own_part():
    assert labels(ActivityFile()) == ["J01CR02", "CRP", "2708-6", "ER Triage", "plain"]


def test_labels_may_be_codes_always():
    assert labels(ActivityFile(labels="code"))[1] == "1988-5"


def test_codes_systems_and_beginnings(tmp_path):
    file = read_activities(
        write(
            tmp_path,
            """
name: Sepsis
case: stay
activities:
  - name: Saturation
    codes: [LOINC//2708-6]
  - name: Laboratory
    codes: ["LOINC//*"]
  - name: Antibiotics
    codes: ["ATC//J01*"]
""",
        )
    )
    # The first match in file order decides: 2708-6 is a LOINC code too.
    assert labels(file) == ["Antibiotics", "Laboratory", "Saturation", None, None]
    kept = file.model_copy(update={"others": "keep"})
    assert labels(kept)[3:] == ["ER Triage", "plain"]


def test_the_model_is_saved_and_read_back_equal_and_its_hash_follows_its_content():
    file = ActivityFile(activities=(Activity(name="a", codes=("X//*",)),), movements="unit")
    again = ActivityFile.model_validate_json(file.model_dump_json())
    assert again == file
    assert again.hash == file.hash != ActivityFile().hash


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("activities:\n  - name: A\n    codes: [A//*B]\n", 2, "one * at its end"),
        ("activities:\n  - name: A\n    code: [A//B]\n", 3, "no such setting"),
        ("name: x\ncase: visit\n", 2, "found 'visit'"),
        ("activities:\n  - name: A\n    codes: A//B\n", 3, "write [A//B]"),
        ("name: x\nactivites: []\n", 2, "the settings here are name, version, case"),
        (
            "name: x\nactivities:\n  - {name: A, codes: [a]}\n  - {name: A, codes: [b]}\n",
            1,
            "twice",
        ),
        (
            "activities:\n  - {name: A, codes: [a]}\n  - {name: B, codes: [a]}\n",
            1,
            "keep it in one",
        ),
        ("a: [\n", 2, "not YAML"),
        ("- a\n", 1, "found a list"),
    ],
)
def test_errors_name_file_line_and_remedy(tmp_path, text, line, says):
    with pytest.raises(BadInputError) as caught:
        read_activities(write(tmp_path, text))
    message = str(caught.value)
    assert f"activities.yaml: line {line}:" in message
    assert says in message


def test_an_absent_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="no such activity file"):
        read_activities(tmp_path / "none.yaml")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("name: Врач".encode("windows-1251"))
    with pytest.raises(BadInputError, match="save the activity file as UTF-8"):
        read_activities(path)
