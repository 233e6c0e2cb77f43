"""What pipelines have around them, made for the first one: until then a device holds none of what they need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shoal_agent.features.running import Surroundings
    from shoal_agent.serving import ModelServer, Observer, OnDemand
    from shoal_agent.settings import FeatureSettings


def surround(
    data: Path,
    server: ModelServer,
    observer: Observer,
    settings: FeatureSettings,
    clock_ns: Callable[[], int],
    on_demand: OnDemand,
) -> Surroundings:
    """Open the store; for a thread, as modules and numpy are imported, too.

    Raises:
        DiskError: The store can not be opened.
    """
    from shoal_agent.features.running import Surroundings
    from shoal_agent.features.store import FeatureStore

    settings = replace(settings, folders=settings.folders or (data / "streams",))
    store = FeatureStore(data / "features.sqlite", settings, clock_ns)
    return Surroundings(store, server, observer, settings, clock_ns, on_demand)
