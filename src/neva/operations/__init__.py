"""The current state of the hospital: beds, bed requests, discharges, patients of concern."""

from neva.operations.bed_board import BedBoard, BoardSettings, bed_board

__all__ = ["BedBoard", "BoardSettings", "bed_board"]
