"""The synthetic hospital: synthetic patients with a known truth."""

from neva.events.synthetic import is_synthetic
from neva.synthesis.hospital import (
    Synthesis,
    deterioration,
    plan_of,
    prepare,
    synthesise,
    truth,
)
from neva.synthesis.measures import STATUSES
from neva.synthesis.plan import Plan

__all__ = [
    "STATUSES",
    "Plan",
    "Synthesis",
    "deterioration",
    "is_synthetic",
    "plan_of",
    "prepare",
    "synthesise",
    "truth",
]
