"""The hospital of this hour: beds, who waits, who leaves, who needs review first."""

from neva.operations.bed_board import BedBoard, BoardSettings, bed_board

__all__ = ["BedBoard", "BoardSettings", "bed_board"]
