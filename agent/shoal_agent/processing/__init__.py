"""What a version's manifest declares of its inputs and outputs, done on this device; serving and batch both use it."""

from shoal_agent.processing.errors import MissingColumnError, ProcessingError, missing_extra
from shoal_agent.processing.pipeline import Pipeline
from shoal_numerics.processing.made import Placement, Prepared
from shoal_numerics.processing.pipeline import MAX_PIXELS

__all__ = [
    "MAX_PIXELS",
    "MissingColumnError",
    "Pipeline",
    "Placement",
    "Prepared",
    "ProcessingError",
    "missing_extra",
]
