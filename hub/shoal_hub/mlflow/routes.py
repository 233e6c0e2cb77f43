"""Every route of MLflow's API, under the addresses that its client calls.

They stand in no description of the hub's own API: their description is MLflow's.
"""

from typing import Final

from fastapi import APIRouter

from shoal_hub.mlflow import (
    alias_calls,
    artifact_calls,
    experiment_calls,
    logged_model_calls,
    logging_calls,
    model_calls,
    multipart_calls,
    run_calls,
    server_calls,
    version_calls,
)

PREFIXES: Final = ("/api/2.0", "/api/3.0")
_TRACKING: Final = (
    experiment_calls,
    logging_calls,
    run_calls,
    logged_model_calls,
    alias_calls,
    model_calls,
    version_calls,
)


def mlflow_router() -> APIRouter:
    """Return the routes, what answers calls that are none last."""
    router = APIRouter(include_in_schema=False)
    for module in _TRACKING:
        router.include_router(module.router, prefix="/api/2.0/mlflow")
    router.include_router(artifact_calls.listing_router, prefix="/api/2.0/mlflow")
    for module in (artifact_calls, multipart_calls):
        router.include_router(module.router, prefix="/api/2.0/mlflow-artifacts")
    router.include_router(server_calls.router, prefix="/api/3.0")
    for prefix in PREFIXES:
        router.include_router(server_calls.last_router, prefix=prefix)
    return router
