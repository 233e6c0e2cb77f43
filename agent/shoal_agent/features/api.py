"""What programs on this device ask of features: the latest values, how pipelines are, and to take events.

`GET /shoal/v1/features/{entity}`, `GET /shoal/v1/pipelines` and `POST /shoal/v1/events/{pipeline}`, on the loopback
endpoint alone; `local_caller` says who may.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from shoal_agent.endpoint import Request, RequestError, Response, Route, json_response
from shoal_agent.endpoint.message import NOT_FOUND, UNAVAILABLE
from shoal_agent.features.pipelines import Pipelines
from shoal_agent.local_caller import check_local
from shoal_contract.features import MAX_ENTITY_CHARS

if TYPE_CHECKING:
    from shoal_agent.features.store import FeatureStore, FeatureValue

_MAX_BODY_BYTES: Final = 1024 * 1024
_ACCEPTED: Final = 202
_CONFLICT: Final = 409


def feature_routes(pipelines: Pipelines) -> list[Route]:
    """Return the routes by which programs on this device read features and send events."""

    def read(request: Request) -> Awaitable[Response]:
        check_local(request)
        entity = request.params["entity"]
        if len(entity) > MAX_ENTITY_CHARS:
            raise RequestError(f"reading features: an entity of {len(entity)} characters, at most {MAX_ENTITY_CHARS}")
        if pipelines.store is None:
            message = "reading features: no pipeline runs on this device"
            raise RequestError(message, UNAVAILABLE, "have the hub want one; see docs/guides/features.md")
        names = request.query("definitions")
        return _read(pipelines.store, entity, names.split(",") if names else None)

    def show(request: Request) -> Response:
        check_local(request)
        return json_response({name: one.counts() for name, one in pipelines.running().items()})

    def push(request: Request) -> Response:
        check_local(request)
        return _push(pipelines, request)

    return [
        Route("/shoal/v1/features/{entity}", {"GET": read}),
        Route("/shoal/v1/pipelines", {"GET": show}),
        Route("/shoal/v1/events/{pipeline}", {"POST": push}, _MAX_BODY_BYTES),
    ]


async def _read(store: FeatureStore, entity: str, names: list[str] | None) -> Response:
    found = await anyio.to_thread.run_sync(store.read, entity, names)
    if names is not None and (unknown := set(names) - set(store.defined())):
        message = f"reading features: there is no definition {', '.join(sorted(unknown))[:200]}"
        raise RequestError(message, NOT_FOUND, f"ask for some of: {', '.join(store.defined()) or 'none'}")
    is_known = await anyio.to_thread.run_sync(store.knows, entity)
    features = {name: _shown(value) for name, value in found.items()}
    return json_response({"entity": entity, "is_known": is_known, "features": features})


def _shown(value: FeatureValue) -> dict[str, Any]:
    at = None if value.at_ns is None else datetime.fromtimestamp(value.at_ns / 1e9, timezone.utc).isoformat()
    return {
        "value": value.value,
        "at": at,
        "age_s": value.age_s,
        "is_fresh": value.is_fresh,
        "is_fallback": value.is_fallback,
    }


def _push(pipelines: Pipelines, request: Request) -> Response:
    """Let events wait for a pipeline; what was dropped for them is said."""
    name = request.params["pipeline"]
    running = pipelines.find(name)
    if running is None:
        known = ", ".join(pipelines.running()) or "none"
        message = f"sending events: no pipeline {name[:64]!r} runs on this device, which has {known}"
        raise RequestError(message, NOT_FOUND, "name one of them, or have the hub want it")
    if not running.takes_pushes:
        message = f"sending events: the pipeline {name!r} has another source"
        raise RequestError(message, _CONFLICT, "declare its source as http, or send where it listens")
    if not len(request.body):
        raise RequestError("sending events: the body is empty", remedy="send lines of JSON, one event each")
    from shoal_numerics.features.events import Arrival  # which the pipeline that was found has imported

    dropped = running.inbox.put([Arrival(bytes(request.body), running.now_ns())])
    return json_response({"waiting": len(running.inbox), "dropped_messages": dropped}, _ACCEPTED)
