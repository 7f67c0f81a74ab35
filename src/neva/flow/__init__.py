"""Where patients are and will be: trajectories, forecasts, simulation."""

from neva.flow.arrivals import (
    ArrivalModel,
    Arrivals,
    DailyArrivals,
    arrivals_of,
    fit_arrivals,
    holidays_of,
)
from neva.flow.bed_report import BedReport, bed_report
from neva.flow.beds import beds_at, units_above
from neva.flow.count_files import read_counts
from neva.flow.evaluation import Evaluation
from neva.flow.forecast import FlowModel, OccupancyForecast, fit_flow, forecast_flow
from neva.flow.lengths import LengthModel, fit_lengths
from neva.flow.outlook import forecast_hospital
from neva.flow.rolling import evaluate_arrivals, evaluate_flow
from neva.flow.sojourns import Sojourns, known_sojourns, sojourns_of
from neva.flow.widening import Widening, learn_widening, widened

__all__ = [
    "ArrivalModel",
    "Arrivals",
    "BedReport",
    "DailyArrivals",
    "Evaluation",
    "FlowModel",
    "LengthModel",
    "OccupancyForecast",
    "Sojourns",
    "Widening",
    "arrivals_of",
    "bed_report",
    "beds_at",
    "evaluate_arrivals",
    "evaluate_flow",
    "fit_arrivals",
    "fit_flow",
    "fit_lengths",
    "forecast_flow",
    "forecast_hospital",
    "holidays_of",
    "known_sojourns",
    "learn_widening",
    "read_counts",
    "sojourns_of",
    "units_above",
    "widened",
]
