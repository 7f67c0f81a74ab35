"""Where patients are and will be: trajectories, forecasts, simulation."""

from neva.flow.agreement import Agreement, hospital_agreement
from neva.flow.arrivals import (
    ArrivalModel,
    Arrivals,
    DailyArrivals,
    arrivals_of,
    fit_arrivals,
    holidays_of,
)
from neva.flow.bed_board import BedBoard, BoardSettings, bed_board
from neva.flow.bed_report import BedReport, bed_report
from neva.flow.beds import beds_at
from neva.flow.calibration import Calibrated, calibrate
from neva.flow.compare import (
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
from neva.flow.count_files import read_counts
from neva.flow.evaluation import Evaluation
from neva.flow.forecast import FlowModel, OccupancyForecast, fit_flow, forecast_flow
from neva.flow.forecast_document import forecast_document, read_forecast_document
from neva.flow.hospital_fit import FittedHospital, fit_hospital
from neva.flow.hospital_model import HospitalModel
from neva.flow.lengths import LengthModel, fit_lengths
from neva.flow.moves_ahead import MovesAhead, hospital_moves_ahead, moves_ahead
from neva.flow.operations import current_entries, open_stays
from neva.flow.outlook import forecast_hospital
from neva.flow.rolling import evaluate_arrivals, evaluate_flow
from neva.flow.scenarios import Scenario, apply_scenario, read_scenario
from neva.flow.simulate import HalfWidth, simulate
from neva.flow.simulated_log import SimulatedLog, event_log, write_hospital
from neva.flow.simulation_run import SimulationRun
from neva.flow.sojourns import Sojourns, known_sojourns, sojourns_of
from neva.flow.trajectories import Trajectories, trajectories
from neva.flow.widening import Widening, learn_widening, widened

__all__ = [
    "BASE",
    "Agreement",
    "ArrivalModel",
    "Arrivals",
    "BedBoard",
    "BedReport",
    "BoardSettings",
    "Calibrated",
    "Comparison",
    "DailyArrivals",
    "Evaluation",
    "FittedHospital",
    "FlowModel",
    "HalfWidth",
    "HospitalModel",
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
    "bed_board",
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
