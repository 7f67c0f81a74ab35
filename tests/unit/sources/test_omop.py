import gzip
import zipfile

import polars as pl
import pytest
from tests.shared_data import shared

from neva.errors import BadInputError, NotFoundError, UsageError
from neva.events.clock import to_utc
from neva.sources.omop.source import open_omop

PERSON = "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n"


def tables(path, **settings):
    found = {}
    for rows in open_omop(path, zone="America/New_York", **settings).rows:
        found.setdefault(rows.table, []).append(rows.frame)
    return {table: pl.concat(frames) for table, frames in found.items()}


def folder(tmp_path, **files):
    place = tmp_path / "cdm"
    place.mkdir()
    for name, content in {"person": PERSON, **files}.items():
        (place / f"{name}.csv").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    return place


def test_mimic_demo_has_its_movements_units_and_patients():
    found = tables(shared("data", "mimic-iv-demo-omop"))
    assert found["movements"].height == 905
    assert found["movements"]["unit"].drop_nulls().n_unique() == 31
    assert found["movements"]["unit"].null_count() == 80
    assert found["subjects"].height == 100
    assert found["subjects"]["death"].drop_nulls().len() == 15
    assert found["stays"].height == 852
    # Every clinical row is an event or in quarantine; 100 are years of birth.
    clinical = 16_441 + 18_229 + 18_447 + 3_855
    assert found["events"].height + found["quarantine"].height == clinical + 100
    assert set(found["quarantine"]["reason"]) == {"time-nonexistent"}


def test_mimic_movements_are_the_published_transfers():
    found = tables(shared("data", "mimic-iv-demo-omop"))["movements"]
    published = pl.read_csv(
        shared("data", "mimic-iv-demo-omop", "derived", "transfers.csv"), infer_schema=False
    )
    times = to_utc(published["intime"].str.to_datetime(), "America/New_York")
    expected = published.select(
        stay="visit_occurrence_id",
        unit=pl.col("careunit").fill_null("-"),
        start=times.struct.field("time"),
    )
    read = found.select("stay", pl.col("unit").fill_null("-"), "start")
    assert read.sort(read.columns).equals(expected.sort(expected.columns))


def test_zip_of_parquet_tables_is_read():
    found = tables(shared("data", "synthea27nj-omop", "Synthea27NjParquet_5.4.zip"))
    assert found["subjects"].height == 28
    assert found["stays"].height == 1791
    assert found["events"].height == 10_040 + 8_099 + 1_649 + 883 + 470 + 1
    assert set(found["events"]["precision"]) == {"day"}
    assert "quarantine" not in found


def test_ids_keep_every_digit(tmp_path):
    place = tmp_path / "cdm"
    place.mkdir()
    ids = [-(2**63), 2**63 - 1, 2**53 + 1]
    pl.DataFrame(
        {"person_id": ids, "gender_concept_id": [8507] * 3, "year_of_birth": [1950] * 3}
    ).write_parquet(place / "PERSON.parquet")
    assert tables(place)["subjects"]["subject"].to_list() == [str(each) for each in ids]


def test_ids_that_lost_digits_are_refused(tmp_path):
    place = tmp_path / "cdm"
    place.mkdir()
    pl.DataFrame(
        {"person_id": [float(2**60)], "gender_concept_id": [1], "year_of_birth": [1950]}
    ).write_parquet(place / "person.parquet")
    with pytest.raises(BadInputError, match="floating-point"):
        tables(place)


def test_whole_numbers_in_float_columns_are_ids(tmp_path):
    place = tmp_path / "cdm"
    place.mkdir()
    pl.DataFrame(
        {"person_id": [7.0], "gender_concept_id": [8507.0], "year_of_birth": [1950]}
    ).write_parquet(place / "person.parquet")
    found = tables(place)["subjects"].to_dicts()[0]
    assert (found["subject"], found["sex"]) == ("7", "male")


@pytest.mark.parametrize(
    ("movements", "expected"), [("auto", 2), ("all", 3), ("none", 0), (r"^a\|", 1)]
)
def test_movements_are_chosen_as_declared(tmp_path, movements, expected):
    place = folder(
        tmp_path,
        visit_detail=(
            "visit_detail_id,person_id,visit_detail_start_date,care_site_id,"
            "visit_detail_source_value,visit_occurrence_id\n"
            "1,1,2021-01-01,5,a|1,1\n2,1,2021-01-02,,b|2,1\n3,1,2021-01-02,,whole,1\n"
        ),
    )
    found = tables(place, movements=movements)
    assert (found["movements"].height if "movements" in found else 0) == expected


def test_bad_movements_pattern_is_named(tmp_path):
    with pytest.raises(UsageError, match="regular expression"):
        open_omop(folder(tmp_path), zone="UTC", movements="(")


def test_missing_person_is_told(tmp_path):
    (tmp_path / "visit_occurrence.csv").write_text("visit_occurrence_id\n1\n")
    with pytest.raises(BadInputError, match="person"):
        open_omop(tmp_path, zone="UTC")


def test_missing_folder_is_told(tmp_path):
    with pytest.raises(NotFoundError):
        open_omop(tmp_path / "none", zone="UTC")


DRUGS = "drug_exposure_id,person_id,drug_concept_id,drug_exposure_start_date,drug_source_value\n"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"person": b""}, "empty"),
        ({"person": "person_id,year_of_birth\nCANARY-1,1950\n"}, "gender_concept_id"),
        ({"drug_exposure": "drug_exposure_id,person_id\nCANARY-1,1\n"}, "drug_concept_id"),
        ({"drug_exposure": DRUGS.encode() + b"1,1,0,2021-01-01,CANARY\xff\xfe\n"}, "UTF-8"),
        (
            {
                "drug_exposure": gzip.compress(
                    (DRUGS + "1,1,0,2021-01-01,CANARY-1\n" * 9000).encode()
                )[:-30]
            },
            "cut short",
        ),
    ],
)
def test_unreadable_table_is_refused_without_quoting_it(tmp_path, files, words):
    with pytest.raises(BadInputError, match=words) as caught:
        tables(folder(tmp_path, **files))
    assert "CANARY" not in str(caught.value)


def test_damaged_archive_is_refused_and_leaves_nothing(tmp_path):
    path = tmp_path / "cdm.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("cdm/person.csv", PERSON)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInputError, match="damaged"):
        open_omop(path, zone="UTC")


def test_two_files_for_one_table_are_refused(tmp_path):
    place = folder(tmp_path)
    (place / "person.csv.gz").write_bytes(gzip.compress(PERSON.encode()))
    with pytest.raises(BadInputError, match="two files"):
        open_omop(place, zone="UTC")
