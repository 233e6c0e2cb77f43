"""What the store knows of an entity, for a prediction that names it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import NOT_FOUND, UNAVAILABLE
from shoal_agent.features.pipelines import Pipelines
from shoal_contract.features import MAX_ENTITY_CHARS

if TYPE_CHECKING:
    from shoal_agent.features.store import FeatureValue


def read_entity(pipelines: Pipelines, entity: str) -> Mapping[str, FeatureValue]:
    """Return an entity's features as `<definition>/<feature>`; for a worker thread.

    Raises:
        RequestError: No pipeline runs, or there are no features of this entity.
        DiskError: The store can not be read.
    """
    doing = f"reading the features of entity {entity[:MAX_ENTITY_CHARS]!r}"
    store = pipelines.store
    if store is None:
        message = f"{doing}: no pipeline runs on this device"
        raise RequestError(message, UNAVAILABLE, "have the hub want one, or send the features themselves")
    if len(entity) > MAX_ENTITY_CHARS or not store.knows(entity):
        remedy = "send its events to a pipeline first, or send the features themselves"
        raise RequestError(f"{doing}: there are none", NOT_FOUND, remedy)
    return store.read(entity)
