"""What a version's manifest declares of its inputs and outputs, done: images, tables, labels, boxes.

Values in, values out, vectorised in numpy; knows neither HTTP nor files. Serving and batch both use it.
"""

from shoal_agent.processing.errors import MissingColumnError, ProcessingError, SampleError, missing_extra
from shoal_agent.processing.made import Placement, Prepared
from shoal_agent.processing.pipeline import MAX_PIXELS, Pipeline

__all__ = [
    "MAX_PIXELS",
    "MissingColumnError",
    "Pipeline",
    "Placement",
    "Prepared",
    "ProcessingError",
    "SampleError",
    "missing_extra",
]
