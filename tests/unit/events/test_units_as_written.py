"""Units as people write them: understood, or kept as text and counted; never misread."""

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.hospitals import event, take

from neva.errors import BadInputError
from neva.events.checks import check_hospital
from neva.events.measurement_units import (
    conversion,
    convert,
    converted,
    exact_conversion,
    ucum_of,
)

AS_WRITTEN = {
    "lb": "[lb_av]", "lbs": "[lb_av]", "degF": "[degF]", "deg C": "Cel", "mcg": "ug", "µg": "ug",
    "beats/min": "/min", "breaths/min": "/min", "mL/hr": "mL/h", "units": "U", "INR": "{INR}",
    "ratio": "{ratio}", "Kg": "kg", "gm/dL": "g/dL", "K/UL": "10*3/uL", "x10E3/uL": "10*3/uL",
    "mOsm/kg": "mosm/kg", "мм рт. ст.": "mm[Hg]", "ммоль/л": "mmol/L", "уд/мин": "/min",
    "score": "{score}", "tablet": "{tablet}",
    "г/л": "g/L", "Г/л": "10*9/L", "Ед/л": "U/L", "МЕ/л": "[IU]/L", "мкмоль/л": "umol/L",
    "тыс/мкл": "10*3/uL", "×10⁹/л": "10*9/L", "х10^12/л": "10*12/L", "°С": "Cel", "мм/ч": "mm/h",
    "мл/мин/1,73 м²": "mL/min/{1.73_m2}", "мкг/кг/мин": "ug/kg/min", "МНО": "{INR}",
    "Tsd/µl": "10*3/uL", "Gpt/l": "10*9/L", "mval/l": "meq/L", "IE/l": "[IU]/L", "Std.": "h",
    "UI/L": "[IU]/L", "comprimés": "{tablet}", "battements/min": "/min", "gouttes": "[drp]",
    "G/L": "10*9/L", "T/L": "10*12/L", "g/L": "g/L", "F": "[degF]", "C": "Cel", "pH": "[pH]",
    "MG/DL": "mg/dL", "MG": "mg", "mM": "mmol/L", "MM": "mm", "K": "K", "U/l": "U/L",
}  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), AS_WRITTEN.items())
def test_what_people_write_is_understood(written, meant):
    assert ucum_of(written) == meant


@pytest.mark.parametrize(
    "written", ["G", "T", "S", "H", "B", "MU", "Mmol/L", "mg/24h", "98.6 F", "furlongs", "-", "н/д"]
)
def test_what_could_mean_two_amounts_or_nothing_is_not_understood(written):
    assert ucum_of(written) is None


def test_a_value_in_a_unit_that_nobody_knows_is_kept_as_text_and_counted(hospital, tmp_path):
    rows = [
        event(value=12.5, value_unit="furlongs", comparator="<"),
        event(value=3.0, value_unit="mmol/L", row=2),
        event(value=7.0, value_unit="furlongs", text="haemolysed", row=3),
    ]
    done = take(hospital, tmp_path / "a", rows, most_refused=0.0)
    assert (done.refusals, done.warnings) == ({}, {"events: unit-unknown": 2})
    seen = hospital.snapshot().events().collect().sort("sequence", "text")
    kept = {text: (value, unit) for text, value, unit in
            seen.select("text", "value", "value_unit").iter_rows()}  # fmt: skip
    assert kept == {
        "<12.5 furlongs": (None, None), None: (3.0, "mmol/L"), "haemolysed": (None, None),
    }  # fmt: skip
    counted = check_hospital(hospital.snapshot()).frame.filter(pl.col("check") == "unit-understood")
    assert counted.select("numerator", "denominator").row(0) == (2, 3)
    assert hospital.snapshot().warnings().select("row", "field").collect().rows() == [
        (1, "value_unit"), (3, "value_unit"),
    ]  # fmt: skip


def test_a_unit_of_another_kind_than_the_codes_is_never_converted(hospital, tmp_path):
    codes = [{"code": "TEST//a", "value_unit": "mg/dL"}]
    rows = [event(value=1.0, value_unit="mmol/L")]
    done = take(hospital, tmp_path / "a", rows, codes=codes)
    assert done.warnings == {"events: unit-not-convertible": 1}
    assert hospital.snapshot().events().collect().select("value", "text").rows() == [
        (None, "1 mmol/L")
    ]


def test_a_hospital_adds_spellings_of_its_own(hospital, tmp_path):
    (hospital.path / "units.yaml").write_text("Ferlong: mg/dL\nF: fL\n", encoding="utf-8")
    rows = [event(value=1.0, value_unit="Ferlong"), event(value=9.0, value_unit="F", row=2)]
    assert take(hospital, tmp_path / "a", rows).warnings == {}
    assert sorted(hospital.snapshot().events().collect()["value_unit"]) == ["fL", "mg/dL"]


@pytest.mark.parametrize("text", ["- a", "x: furlong", "x: 3", "{"])
def test_a_table_of_own_spellings_that_is_wrong_is_told(hospital, tmp_path, text):
    (hospital.path / "units.yaml").write_text(text)
    with pytest.raises(BadInputError, match=r"units\.yaml"):
        take(hospital, tmp_path / "a", [event(value=1.0, value_unit="mg")])


PAIRS = [
    ("[degF]", "Cel", None), ("Cel", "[degF]", None), ("mg/dL", "mmol/L", 180.156),
    ("umol/L", "mg/dL", 113.12), ("[lb_av]", "kg", None), ("kPa", "mm[Hg]", None),
    ("g/L", "mg/dL", None), ("[in_i]", "cm", None), ("K", "Cel", None), ("pg/mL", "g/L", None),
]  # fmt: skip


@given(
    st.sampled_from(PAIRS),
    st.decimals(min_value=-9999, max_value=9999, places=4, allow_nan=False),
)
def test_converted_values_equal_decimal_arithmetic(pair, written):
    factor, offset = exact_conversion(*pair)
    exact = Fraction(written) * factor + offset
    value = float(written)
    # Near zero a sum of two large terms has fewer digits than decimal arithmetic shows.
    assume(exact == 0 or abs(exact) > abs(offset) / 1000)
    made = convert(value, *conversion(*pair))
    assert made == pytest.approx(float(exact), rel=1e-9, abs=1e-30)
    if Fraction(f"{float(exact):.9g}") == exact:
        assert made == float(exact)
    frame = pl.DataFrame({"value": [value]})
    factors = [pl.lit(one) for one in conversion(*pair)]
    assert frame.select(converted(pl.col("value"), *factors)).item() == made


def test_98_6_fahrenheit_is_37_celsius_and_reaches_a_limit_of_37(hospital, tmp_path):
    codes = [{"code": "TEST//a", "value_unit": "Cel"}]
    values = [98.6, 100.4, 95.9, 104.9]
    rows = [event(value=v, value_unit="F", row=n) for n, v in enumerate(values)]
    take(hospital, tmp_path / "a", rows, codes=codes)
    assert hospital.snapshot().events().collect().sort("value")["value"].to_list() == [
        35.5, 37.0, 38.0, 40.5,
    ]  # fmt: skip
