"""Local serving: models by name behind the Open Inference Protocol v2 over HTTP.

What is served is decided by the updater, which swaps models in and out of `ModelServer`.
"""

from shoal_agent.serving.app import create_app
from shoal_agent.serving.http import ServingError, serve
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.settings import ServingSettings

__all__ = ["ModelServer", "Observer", "ServedModel", "ServingError", "ServingSettings", "create_app", "serve"]
