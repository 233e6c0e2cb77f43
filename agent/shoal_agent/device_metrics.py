"""All that a device tells Prometheus besides what its endpoint counts: the families of each part."""

from collections.abc import Iterable

from shoal_agent.capture import Capture, capture_families
from shoal_agent.compositions import composition_families
from shoal_agent.drift_fallback import DriftFallbacks
from shoal_agent.drift_metrics import drift_families
from shoal_agent.handover import Neighbours
from shoal_agent.metrics import Family, memory_families
from shoal_agent.monitor import Monitor
from shoal_agent.residency import Residency
from shoal_agent.serving import ModelServer
from shoal_agent.shedding import Guard, shedding_families


def device_families(
    guard: Guard,
    capture: Capture | None,
    residency: Residency,
    neighbours: Neighbours,
    watched: tuple[Monitor, ModelServer, DriftFallbacks],
) -> Iterable[Family]:
    """Return what each part says now; `watched` is what drift is told of."""
    yield from shedding_families(guard)
    yield from capture_families(capture)
    yield from memory_families(residency)
    yield from composition_families(watched[0])
    yield from drift_families(*watched)
    yield from neighbours.families()
