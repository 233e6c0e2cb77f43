"""Features on the device: pipelines from a source through windows to an online store, a model and sinks.

What they are is declared by the hub as data (`shoal_contract.features`), what they compute is
`shoal_numerics.features`, and what they may reach is for the device's owner to say.
"""

from shoal_agent.features.api import feature_routes
from shoal_agent.features.entity import read_entity
from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_agent.features.pipelines import PREFIX, Pipelines
from shoal_agent.features.running import RunningPipeline, Surroundings
from shoal_agent.features.store import FeatureStore, FeatureValue

__all__ = [
    "PREFIX",
    "FeatureStore",
    "FeatureValue",
    "FeaturesError",
    "Pipelines",
    "RunningPipeline",
    "Surroundings",
    "UnreachableError",
    "feature_routes",
    "read_entity",
]
