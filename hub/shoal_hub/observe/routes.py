"""`GET /metrics` at the API, for Prometheus: who asks shows a token that is for it, as for all else there."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.responses import Response

from shoal_hub.dependencies import Caller, Hub, check_right
from shoal_hub.error_response import documented
from shoal_hub.operators.roles import Principal, Role, Scope

router = APIRouter(tags=["hub"])


def _scraper(caller: Caller) -> Principal:
    """Let pass who may read everything, or metrics alone."""
    if not caller.may(Role.VIEWER, Scope.READ):
        check_right(caller, Role.VIEWER, Scope.METRICS)
    return caller


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(401, 403, 422)},
)
def read_metrics(
    hub: Hub, _scraper: Annotated[Principal, Depends(_scraper)], accept: Annotated[str, Header()] = ""
) -> Response:
    """Return the metrics of the fleet and of the hub in Prometheus' text form, or OpenMetrics where that is asked for.

    What the database says is up to `SHOAL_METRICS_FRESH_S` old.
    """
    answer = hub.metrics.answer(accept)
    return Response(answer.content, media_type=answer.content_type)
