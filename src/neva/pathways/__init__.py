"""What happens to patients: maps, variants and times of their pathways."""

from neva.pathways.log import ActivityLog
from neva.pathways.map import ActivityMap, discover_map
from neva.pathways.variants import Variants, find_variants

__all__ = ["ActivityLog", "ActivityMap", "Variants", "discover_map", "find_variants"]
