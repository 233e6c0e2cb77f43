"""What of drift is told to Prometheus: the device's own verdict, which needs no hub."""

from collections.abc import Iterable

from shoal_agent.drift_fallback import DriftFallbacks
from shoal_agent.metrics import Family, Sample
from shoal_agent.monitor import Monitor
from shoal_agent.serving import ModelServer


def drift_families(monitor: Monitor, server: ModelServer, fallbacks: DriftFallbacks) -> Iterable[Family]:
    """Return how many features of each version that serves have drifted, and what stands in for it."""
    samples = tuple(
        Sample(count, {"model": name, "version": str(version)})
        for (name, version), count in sorted(monitor.drifted_features().items())
        if (served := server.get(name)) is not None and served.version == version
    )
    if samples:
        text = "Features whose inputs have drifted, by this device's own evidence."
        yield Family("shoal_agent_drifted_features", "gauge", text, samples)
    standing_in = tuple(
        Sample(1, {"model": name, "version": str(version)}) for name, version in fallbacks.fallen().items()
    )
    if standing_in:
        text = "1 where this version answers, as the inputs of the one that serves have drifted."
        yield Family("shoal_agent_drift_fallback", "gauge", text, standing_in)
