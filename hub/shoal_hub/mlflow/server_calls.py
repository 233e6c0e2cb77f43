"""What the hub says of itself to MLflow's client, and of calls that it does not answer."""

from fastapi import APIRouter, Request

from shoal_hub.mlflow.callers import Caller, Reader
from shoal_hub.mlflow.route import EndpointError, MlflowRoute
from shoal_hub.mlflow.wire import Json

router = APIRouter(route_class=MlflowRoute, include_in_schema=False)
last_router = APIRouter(route_class=MlflowRoute, include_in_schema=False)


@router.get("/mlflow/server-info")
def read_server_info(_reader: Reader) -> Json:
    """Say what clients need not try.

    Whole files are streamed at constant memory, so that nobody needs parts; who asks for them all the same, by
    MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD, gets them.
    """
    return {
        "store_type": "shoal",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
    }


@last_router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def refuse_unknown_call(path: str, request: Request, _caller: Caller) -> Json:
    """Tell a client that this hub does not answer a call."""
    raise EndpointError(
        f"{request.method} {path[:200]}: of MLflow's calls this hub answers those for tracking, models and artifacts",
        "see the guide to MLflow in the hub's documentation",
    )
