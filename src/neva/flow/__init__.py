"""Where patients are and will be: trajectories, forecasts, simulation.

``stays`` measures how long patients stay and where they go, ``forecast`` says how
many there will be, ``simulation`` what would be if. The bed board, which stood
here once, is in :mod:`neva.operations`.
"""

from importlib import import_module
from typing import Any

from neva.census.current_entries import current_entries, open_stays
from neva.flow.forecast.arrivals import (
    ArrivalModel,
    Arrivals,
    DailyArrivals,
    arrivals_of,
    fit_arrivals,
    holidays_of,
)
from neva.flow.forecast.bed_report import BedReport, bed_report
from neva.flow.forecast.count_files import read_counts
from neva.flow.forecast.document import forecast_document, read_forecast_document
from neva.flow.forecast.evaluation import Evaluation
from neva.flow.forecast.forecast import FlowModel, OccupancyForecast, fit_flow, forecast_flow
from neva.flow.forecast.moves_ahead import MovesAhead, hospital_moves_ahead, moves_ahead
from neva.flow.forecast.outlook import forecast_hospital
from neva.flow.forecast.rolling import evaluate_arrivals, evaluate_flow
from neva.flow.forecast.widening import Widening, learn_widening, widened
from neva.flow.simulation.agreement import Agreement, hospital_agreement
from neva.flow.simulation.beds import beds_at
from neva.flow.simulation.calibration import Calibrated, calibrate
from neva.flow.simulation.compare import (
    BASE,
    Comparison,
    ServiceSearch,
    beds_for_service,
    compare,
    erlang_loss,
    highest_occupancy,
    refusal_by_beds,
    refusal_by_pool,
)
from neva.flow.simulation.hospital_fit import FittedHospital, fit_hospital
from neva.flow.simulation.hospital_model import HospitalModel
from neva.flow.simulation.scenarios import Scenario, apply_scenario, read_scenario
from neva.flow.simulation.simulate import HalfWidth, simulate
from neva.flow.simulation.simulated_log import SimulatedLog, event_log, write_hospital
from neva.flow.simulation.simulation_run import SimulationRun
from neva.flow.stays.landmark import Landmark, landmark
from neva.flow.stays.lengths import LengthModel, fit_lengths
from neva.flow.stays.sojourns import Sojourns, known_sojourns, sojourns_of
from neva.flow.stays.trajectories import Trajectories, trajectories

__all__ = [
    "BASE",
    "Agreement",
    "ArrivalModel",
    "Arrivals",
    "BedReport",
    "Calibrated",
    "Comparison",
    "DailyArrivals",
    "Evaluation",
    "FittedHospital",
    "FlowModel",
    "HalfWidth",
    "HospitalModel",
    "Landmark",
    "LengthModel",
    "MovesAhead",
    "OccupancyForecast",
    "Scenario",
    "ServiceSearch",
    "SimulatedLog",
    "SimulationRun",
    "Sojourns",
    "Trajectories",
    "Widening",
    "apply_scenario",
    "arrivals_of",
    "bed_report",
    "beds_at",
    "beds_for_service",
    "calibrate",
    "compare",
    "current_entries",
    "erlang_loss",
    "evaluate_arrivals",
    "evaluate_flow",
    "event_log",
    "fit_arrivals",
    "fit_flow",
    "fit_hospital",
    "fit_lengths",
    "forecast_document",
    "forecast_flow",
    "forecast_hospital",
    "highest_occupancy",
    "holidays_of",
    "hospital_agreement",
    "hospital_moves_ahead",
    "known_sojourns",
    "landmark",
    "learn_widening",
    "moves_ahead",
    "open_stays",
    "read_counts",
    "read_forecast_document",
    "read_scenario",
    "refusal_by_beds",
    "refusal_by_pool",
    "simulate",
    "sojourns_of",
    "trajectories",
    "widened",
    "write_hospital",
]

#: Names that stood here and live in the room above now.
_MOVED = ("BedBoard", "BoardSettings", "bed_board")


def __getattr__(name: str) -> Any:
    """Find what has moved to :mod:`neva.operations`."""
    if name in _MOVED:
        return getattr(import_module("neva.operations"), name)
    message = f"module 'neva.flow' has no attribute {name!r}"
    raise AttributeError(message)
