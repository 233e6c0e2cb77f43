"""The web API under /api/v1, with its OpenAPI description at /api/docs."""

import sys
from collections.abc import Awaitable, Callable
from functools import cache

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel
from starlette.routing import BaseRoute

from shoal_contract import __version__
from shoal_hub.alerts import channel_routes as alert_channel_routes
from shoal_hub.alerts import routes as alert_routes
from shoal_hub.approvals import routes as approval_routes
from shoal_hub.audit import routes as audit_routes
from shoal_hub.audit.requests import AuditedRequests, watch_request
from shoal_hub.automation import routes as automation_routes
from shoal_hub.batch_inference import routes as inference_routes
from shoal_hub.batches import routes as batch_routes
from shoal_hub.captures import routes as capture_routes
from shoal_hub.compliance import routes as compliance_routes
from shoal_hub.compositions import routes as composition_routes
from shoal_hub.compression import routes as compression_routes
from shoal_hub.console.routes import console_routers, install_console
from shoal_hub.context import HubContext
from shoal_hub.dependencies import address_of, check_uploader
from shoal_hub.devices import enrolment_routes, group_routes, keyless_routes
from shoal_hub.devices import routes as device_routes
from shoal_hub.drift_history import routes as drift_history_routes
from shoal_hub.error_response import install_error_handlers, refusal
from shoal_hub.errors import HubError
from shoal_hub.events import routes as event_routes
from shoal_hub.features import routes as feature_routes
from shoal_hub.federation import routes as federation_routes
from shoal_hub.jobs import routes as job_routes
from shoal_hub.mlflow.route import failure
from shoal_hub.mlflow.routes import PREFIXES, mlflow_router
from shoal_hub.monitoring import routes as monitoring_routes
from shoal_hub.observe import routes as observe_routes
from shoal_hub.observe.requests import MeasuredRequests, templates_of
from shoal_hub.online_features import routes as online_feature_routes
from shoal_hub.operators import routes as operator_routes
from shoal_hub.performance import routes as performance_routes
from shoal_hub.pins import routes as pin_routes
from shoal_hub.registry import lifecycle_routes, record_routes
from shoal_hub.registry import routes as registry_routes
from shoal_hub.requests import BodyLimit, RateLimit, network_of
from shoal_hub.rollouts import routes as rollout_routes
from shoal_hub.sites import routes as site_routes
from shoal_hub.tracing.requests import TracedRequests
from shoal_hub.tracking import routes as tracking_routes
from shoal_hub.traffic import routes as traffic_routes
from shoal_hub.training import routes as training_routes
from shoal_hub.transfer import device_routes as device_fetch_routes
from shoal_hub.trials import routes as trial_routes
from shoal_hub.trust import ca_routes
from shoal_hub.trust import routes as trust_routes

API = "/api/v1"
_UPLOAD = "/versions"
_FILES = f"{PREFIXES[0]}/mlflow-artifacts/"


class Health(BaseModel):
    """That the API answers, and which version it is."""

    status: str
    version: str


def create_app(hub: HubContext) -> FastAPI:
    """Build the application around an open hub."""
    app = FastAPI(
        title="Shoal",
        version=__version__,
        description="Registry, rollouts and the fleet of one Shoal hub.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.hub = hub
    app.state.enrolment_limit = RateLimit(hub.settings.enrol_per_minute, "enrolments", "SHOAL_ENROL_PER_MINUTE")
    install_error_handlers(app)
    app.router.routes.extend(_routes())
    install_console(app, hub.settings)
    app.add_middleware(BodyLimit, limit_of=_limit_of(hub), refuse=_refuse)
    app.add_middleware(AuditedRequests)
    app.add_middleware(TracedRequests, templates=_templates())
    app.add_middleware(MeasuredRequests, templates=_templates())
    hub.database.on_begin = watch_request
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Return every route of the API and the console, the same ones for each application of this process.

    FastAPI works a route's parameters and models out when it is first asked for, 0.3 s of CPU for all of these. What
    they need of a hub they find by `request.app.state`, so that applications can share them.
    """
    every = APIRouter()
    every.include_router(_api(), prefix=API)
    every.include_router(mlflow_router())
    every.include_router(observe_routes.router)
    for router in console_routers:
        every.include_router(router)
    return every.routes


@cache
def _templates() -> dict[object, str]:
    return templates_of(_routes())


async def _limit_enrolment(request: Request) -> None:  # a thread for this would cost more than it does
    if request.url.path == f"{API}/enrol":
        limit: RateLimit = request.app.state.enrolment_limit
        limit.take(network_of(address_of(request)), f"address {address_of(request)}")


def _api() -> APIRouter:
    api = APIRouter()
    api.add_api_route("/health", _health, tags=["hub"], summary="Whether the API answers")
    api.include_router(enrolment_routes.router, dependencies=[Depends(_limit_enrolment)])
    api.include_router(keyless_routes.router)
    api.include_router(device_routes.router)
    api.include_router(pin_routes.router)
    api.include_router(group_routes.router)
    api.include_router(site_routes.router)
    api.include_router(feature_routes.router)
    api.include_router(online_feature_routes.router)
    api.include_router(composition_routes.router)
    api.include_router(capture_routes.router)
    api.include_router(batch_routes.router)
    api.include_router(inference_routes.router)
    api.include_router(traffic_routes.router)
    api.include_router(device_fetch_routes.router)
    api.include_router(ca_routes.router)
    for module in (
        registry_routes,
        lifecycle_routes,
        record_routes,
        compliance_routes,
        rollout_routes,
        trial_routes,
        federation_routes,
        monitoring_routes,
        performance_routes,
        drift_history_routes,
        alert_channel_routes,  # before the routes that take an alert's id where these have a word
        alert_routes,
        automation_routes,
        compression_routes,
        tracking_routes,
        training_routes,
    ):
        api.include_router(module.router)
    for module in (approval_routes, job_routes, event_routes, operator_routes, audit_routes, trust_routes):
        api.include_router(module.router)
    return api


def _health() -> Health:
    return Health(status="ok", version=__version__)


def _refuse(request: Request, error: HubError) -> Response:
    is_mlflow = request.scope["path"].startswith(PREFIXES)
    return failure(request, error) if is_mlflow else refusal(error)


def _limit_of(hub: HubContext) -> Callable[[Request], Awaitable[int]]:
    async def limit_of(request: Request) -> int:
        path = request.scope["path"]
        if request.method == "POST" and path.startswith(f"{API}/models/") and path.endswith(_UPLOAD):
            await check_uploader(request, hub)  # FastAPI reads a form before it asks who sends it
            return hub.settings.max_upload_bytes
        if request.method == "POST" and path == f"{API}/trainings":
            await check_uploader(request, hub)  # likewise of JSON
            return hub.settings.max_body_bytes + 2 * hub.settings.training_sent_bytes  # in base64, 4 for 3
        if request.method == "PUT" and path.startswith(_FILES):
            return sys.maxsize  # the route bounds what it takes while it arrives, once it knows who sends it
        return hub.settings.max_body_bytes

    return limit_of
