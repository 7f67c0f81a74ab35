"""What happens to patients: maps, variants and times of their pathways."""

from neva.pathways.activities import Activity, ActivityFile, read_activities
from neva.pathways.activity_times import activity_times
from neva.pathways.compare import MapComparison, compare_maps
from neva.pathways.drawing import draw_map
from neva.pathways.encoding import activity_log, default_activities, log_from_frame
from neva.pathways.filters import (
    Filter,
    cases_in,
    contained,
    contains,
    follows,
    intersecting,
    keep_activities,
    keep_cases,
    keep_most_common_activities,
    keep_readable_activities,
    outcome_is,
    readable_share,
    started_in,
    touches_unit,
    variant_share,
    variant_top,
)
from neva.pathways.log import ActivityLog
from neva.pathways.map import ActivityMap, discover_map
from neva.pathways.rework import Rework, find_rework
from neva.pathways.times import Durations, throughput, time_between
from neva.pathways.variants import Variants, find_variants

__all__ = [
    "Activity",
    "ActivityFile",
    "ActivityLog",
    "ActivityMap",
    "Durations",
    "Filter",
    "MapComparison",
    "Rework",
    "Variants",
    "activity_log",
    "activity_times",
    "cases_in",
    "compare_maps",
    "contained",
    "contains",
    "default_activities",
    "discover_map",
    "draw_map",
    "find_rework",
    "find_variants",
    "follows",
    "intersecting",
    "keep_activities",
    "keep_cases",
    "keep_most_common_activities",
    "keep_readable_activities",
    "log_from_frame",
    "outcome_is",
    "read_activities",
    "readable_share",
    "started_in",
    "throughput",
    "time_between",
    "touches_unit",
    "variant_share",
    "variant_top",
]
