"""`GET /metrics`: what the device serves and how it is, for Prometheus.

The text is written here, not by prometheus-client: that takes 0.65 MB of a device's disk, and at the start 31 further
modules, an HTTP server and client among them: 40 ms on a fast processor. It keeps a copy of each number under a lock of
its own, to write lines that a hundred of ours write. The numbers are those that the agent counts anyway, and are read
when somebody asks.
"""

from shoal_agent.metrics.device import DeviceSource, device_families, source_now
from shoal_agent.metrics.exposition import CONTENT_TYPE, Family, Sample, exposition
from shoal_agent.metrics.memory import memory_families
from shoal_agent.metrics.routes import metrics_routes
from shoal_agent.metrics.serving import serving_families

__all__ = [
    "CONTENT_TYPE",
    "DeviceSource",
    "Family",
    "Sample",
    "device_families",
    "exposition",
    "memory_families",
    "metrics_routes",
    "serving_families",
    "source_now",
]
