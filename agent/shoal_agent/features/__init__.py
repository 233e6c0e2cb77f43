"""Features on the device: pipelines from a source through windows to an online store, a model and sinks.

What they are is declared by the hub as data (`shoal_contract.features`), what they compute is
`shoal_numerics.features`, and what they may reach is for the device's owner to say. A device without a pipeline
imports neither `running` nor `store`.
"""

from shoal_agent.features.api import feature_routes
from shoal_agent.features.entity import read_entity
from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_agent.features.pipelines import PREFIX, Pipelines
from shoal_agent.features.surround import surround

__all__ = [
    "PREFIX",
    "FeaturesError",
    "Pipelines",
    "UnreachableError",
    "feature_routes",
    "read_entity",
    "surround",
]
