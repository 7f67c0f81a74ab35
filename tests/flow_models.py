"""Hospitals to simulate, made by hand, for tests."""

from datetime import UTC, datetime

from neva.flow.simulation.hospital_model import (
    Beds,
    Exit,
    HospitalModel,
    Incoming,
    Next,
    PatientClass,
    Route,
    Unit,
)
from neva.flow.stays.stay_length import StayLength

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday


def one_ward(
    beds: int | None,
    per_hour: float,
    stay: StayLength,
    *,
    when_full: str = "wait",
    dispersion: float = 0.0,
) -> HospitalModel:
    """One class, one ward, one way out."""
    return HospitalModel(
        units=(Unit("ward", None if beds is None else Beds.always(beds), when_full=when_full),),
        exits=(Exit("discharged"),),
        classes=(
            PatientClass("all", (("ward", 1.0),), arrivals=Incoming((per_hour,), (), dispersion)),
        ),
        routes=(Route("all", "ward", (Next("discharged", 1.0, stay),)),),
    )


def five_units(*, scale: float = 1.0, deadlock: str = "swap") -> HospitalModel:
    """Emergency department, two wards, intensive care, step-down; nobody comes back."""
    out = StayLength.exponential
    return HospitalModel(
        units=(
            Unit("ed", Beds.always(12), kind="ed"),
            Unit("medical", Beds.always(30)),
            Unit("surgical", Beds.always(18)),
            Unit("icu", Beds.always(6), kind="icu"),
            Unit("step-down", Beds.always(8)),
        ),
        exits=(Exit("discharged"), Exit("died")),
        classes=(
            PatientClass("emergency", (("ed", 1.0),), arrivals=Incoming((1.1 * scale,))),
            PatientClass("surgery", (("surgical", 1.0),), arrivals=Incoming((0.1 * scale,))),
        ),
        routes=(
            Route(
                "emergency",
                "ed",
                (
                    Next("discharged", 0.62, out(5)),
                    Next("medical", 0.26, out(6)),
                    Next("surgical", 0.07, out(6)),
                    Next("icu", 0.05, out(4)),
                ),
            ),
            *(
                Route(
                    each,
                    "medical",
                    (Next("discharged", 0.95, out(90)), Next("died", 0.05, out(90))),
                )
                for each in ("emergency", "surgery")
            ),
            *(
                Route(
                    each,
                    "surgical",
                    (Next("discharged", 0.9, out(70)), Next("icu", 0.1, out(20))),
                )
                for each in ("emergency", "surgery")
            ),
            *(
                Route(
                    each,
                    "icu",
                    (Next("step-down", 0.85, out(60)), Next("died", 0.15, out(40))),
                )
                for each in ("emergency", "surgery")
            ),
            *(
                Route(
                    each,
                    "step-down",
                    (Next("medical", 0.7, out(40)), Next("discharged", 0.3, out(50))),
                )
                for each in ("emergency", "surgery")
            ),
        ),
        deadlock=deadlock,
    )
