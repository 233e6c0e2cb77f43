"""What of models' memory Prometheus is told."""

from collections.abc import Iterable

from shoal_agent.metrics.exposition import Family, Sample
from shoal_agent.residency import Residency


def memory_families(residency: Residency) -> Iterable[Family]:
    """Return what models take, who is loaded, and how often they gave way."""
    residents = residency.residents()
    resting = residency.resting()
    sizes = tuple(Sample(one.size_bytes, {"model": one.name}) for one in residents)
    yield Family("shoal_agent_model_memory_bytes", "gauge", "What a loaded model was measured to take.", sizes)
    loaded = {one.name: 1 for one in residents} | dict.fromkeys(resting, 0)
    samples = tuple(Sample(loaded[name], {"model": name}) for name in sorted(loaded))
    text = "Whether a model of this device is in its memory: 1, or 0 where it rests on the disk."
    yield Family("shoal_agent_model_loaded", "gauge", text, samples)
    gone = tuple(Sample(count, {"model": name}) for name, count in sorted(residency.evictions.items()))
    yield Family("shoal_agent_model_evictions_total", "counter", "How often a model gave way to others.", gone)
    if residency.settings.budget_bytes:
        budget = (Sample(residency.settings.budget_bytes),)
        yield Family("shoal_agent_memory_budget_bytes", "gauge", "What all models may take together.", budget)
