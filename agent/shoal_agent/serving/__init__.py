"""Local serving: models by name behind the Open Inference Protocol v2 over HTTP.

What is served is decided by the updater, which swaps models in and out of `ModelServer`.
"""

from shoal_agent.serving.admission import Admission
from shoal_agent.serving.app import create_router
from shoal_agent.serving.infer import Inference
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.on_demand import OnDemand
from shoal_agent.serving.statistics import Statistics
from shoal_agent.settings import ServingSettings

__all__ = [
    "Admission",
    "Inference",
    "ModelServer",
    "Observer",
    "OnDemand",
    "ServedModel",
    "ServingSettings",
    "Statistics",
    "create_router",
]
