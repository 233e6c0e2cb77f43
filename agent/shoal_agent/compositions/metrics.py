"""What of compositions is told to Prometheus: how often they were right, where the truth came back."""

from collections.abc import Iterable

from shoal_agent.metrics import Family, Sample
from shoal_agent.monitor import Monitor


def composition_families(monitor: Monitor) -> Iterable[Family]:
    """Return how many samples of compositions have a label, and how many were right; nothing before the first."""
    counts = monitor.composed_counts()
    for which, text in (
        ("labelled", "Samples that a composition answered and whose true label came back."),
        ("correct", "Those of them that it answered right."),
    ):
        samples = tuple(
            Sample(count, {"model": name, "version": str(version)})
            for (name, version, kind), count in sorted(counts.items())
            if kind == which
        )
        if samples:
            yield Family(f"shoal_agent_composition_{which}_total", "counter", text, samples)
