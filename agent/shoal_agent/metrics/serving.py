"""What became of requests, by model and version, from the statistics that serving keeps.

A counter is of what is loaded now: a version that comes back begins at 0 again, which Prometheus takes for a restart.
"""

from collections.abc import Callable, Mapping
from typing import Final

from shoal_agent.metrics.exposition import Family, Sample, histogram_samples
from shoal_agent.serving.statistics import LATENCY_EDGES_S, Statistics, VersionStatistics

_NS: Final = 1e9
_SUMS: Final[tuple[tuple[str, str, Callable[[VersionStatistics], float]], ...]] = (
    ("requests_total", "Requests that got an answer or an error.", lambda one: one.success.count + one.fail.count),
    ("request_errors_total", "Requests that got an error instead of an answer.", lambda one: one.fail.count),
    ("samples_total", "Samples in the requests that were answered.", lambda one: one.samples),
    ("queue_seconds_total", "Time that answered requests waited for their turn.", lambda one: one.queue.ns / _NS),
    ("inference_seconds_total", "Time in which the runtime worked.", lambda one: one.compute_infer.ns / _NS),
    ("cache_hits_total", "Requests that were answered from the cache.", lambda one: one.cache_hit.count),
    ("cache_misses_total", "Requests that the cache was asked for in vain.", lambda one: one.cache_miss.count),
)


def serving_families(statistics: Statistics) -> list[Family]:
    """Return all that is known of requests; called in the event loop, where the workers' queue belongs."""
    versions = [
        ({"model": model, "version": str(version)}, counted) for (model, version), counted in statistics.all().items()
    ]
    families = [
        Family(
            f"shoal_agent_{name}", "counter", text, tuple(Sample(of(counted), labels) for labels, counted in versions)
        )
        for name, text, of in _SUMS
    ]
    durations = tuple(
        sample
        for labels, counted in versions
        for sample in histogram_samples(labels, LATENCY_EDGES_S, counted.latency, counted.success.ns / _NS)
    )
    text = "From the last byte of a request that was answered to its answer."
    return [
        *families,
        Family("shoal_agent_request_duration_seconds", "histogram", text, durations),
        _refused(statistics),
        *_queues(statistics, {labels["model"] for labels, _ in versions}),
    ]


def _refused(statistics: Statistics) -> Family:
    refused = sorted(statistics.refused.items())
    samples = tuple(Sample(count, {"model": model, "reason": reason}) for (model, reason), count in refused)
    text = "Requests that were not worked on, or not in time."
    return Family("shoal_agent_requests_refused_total", "counter", text, samples)


def _queues(statistics: Statistics, models: set[str]) -> list[Family]:
    load = statistics.load()
    known = sorted(models | load.running.keys() | load.waiting.keys())

    def by_model(counts: Mapping[str, int]) -> tuple[Sample, ...]:
        return tuple(Sample(counts.get(model, 0), {"model": model}) for model in known)

    return [
        Family("shoal_agent_requests_in_flight", "gauge", "Requests that are worked on.", by_model(load.running)),
        Family("shoal_agent_requests_waiting", "gauge", "Requests that wait for their turn.", by_model(load.waiting)),
    ]
