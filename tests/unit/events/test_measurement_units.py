"""Units of measurement, against published conversion factors."""

import polars as pl
import pytest
from tests.hospitals import event, take

from neva.events.measurement_units import EVERYDAY_UNITS, conversion, ucum_of


@pytest.mark.parametrize(
    ("unit", "canonical", "molar_mass", "factor", "offset"),
    [
        # SI conversion factors of the AMA Manual of Style (11th edition, table 17.5-1).
        ("mg/dL", "umol/L", 113.12, 88.4, 0),  # creatinine
        ("umol/L", "mg/dL", 113.12, 1 / 88.4, 0),
        ("mmol/L", "mg/dL", 180.156, 18.016, 0),  # glucose
        ("mg/dL", "umol/L", 584.66, 17.104, 0),  # bilirubin
        ("[degF]", "Cel", None, 5 / 9, -160 / 9),
        ("Cel", "[degF]", None, 1.8, 32),
        ("mm[Hg]", "kPa", None, 0.133322, 0),
        ("10*3/uL", "10*9/L", None, 1, 0),
        ("{beats}/min", "/min", None, 1, 0),
        ("{score}", "1", None, 1, 0),
    ],
)
def test_conversions_are_the_published_ones(unit, canonical, molar_mass, factor, offset):
    found = conversion(unit, canonical, molar_mass)
    assert found == (pytest.approx(factor, rel=2e-4), pytest.approx(offset, rel=1e-4))


@pytest.mark.parametrize(
    ("unit", "canonical"), [("meq/L", "mmol/L"), ("mmol/L", "ueq/L"), ("[IU]/L", "U/L")]
)
def test_what_needs_more_than_dimensions_is_not_converted(unit, canonical):
    # 5 meq/L of calcium are 2.5 mmol/L, of potassium 5.
    assert conversion(unit, canonical, 40.078) is None


@pytest.mark.parametrize("text", ["", " ", "N/A", "NA", "furlong", "x" * 400, "-", "mg//dL"])
def test_what_is_no_unit_is_unknown(text):
    assert ucum_of(text) is None


def test_a_value_is_kept_in_its_codes_unit_and_as_it_was_written(hospital, tmp_path):
    codes = [{"code": "T//crea", "value_unit": "umol/L", "molar_mass": 113.12}]
    rows = [
        event(code="T//crea", value=1.0, value_unit="mg/dl"),
        event(code="T//crea", value=88.0, value_unit="umol/L", row=2),
        event(code="T//crea", value=1.0, value_unit="mmol", row=3),
    ]
    done = take(hospital, tmp_path / "a", rows, codes=codes)
    assert done.refusals == {}
    assert done.warnings == {"events: unit-not-convertible": 1}
    seen = (
        hospital.snapshot().events().filter(pl.col("value").is_not_null()).sort("value").collect()
    )
    assert seen["value"].to_list() == [88.0, pytest.approx(88.4, rel=1e-4)]
    assert seen["value_unit"].to_list() == ["umol/L", "umol/L"]
    assert seen["attributes"].to_list() == [
        None,
        [{"key": "original_value", "value": "1.0"}, {"key": "original_unit", "value": "mg/dl"}],
    ]


def test_every_everyday_unit_converts_or_does_not_and_never_fails():
    """Was: pH beside any other unit ended as "a bug in Neva"."""
    for unit in EVERYDAY_UNITS:
        for other in ("mmol/L", "1", "mm[Hg]", "[pH]", "{INR}"):
            found = conversion(unit, other)
            assert unit != other or found == (1.0, 0.0)
            assert (found is None) == (conversion(other, unit) is None)
