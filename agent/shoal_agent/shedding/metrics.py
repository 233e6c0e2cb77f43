"""What of load shedding Prometheus is told; the requests that were refused are among serving's."""

from collections.abc import Iterable
from typing import get_args

from shoal_agent.metrics import Family, Sample
from shoal_agent.shedding.choice import Reason
from shoal_agent.shedding.guard import Guard


def shedding_families(guard: Guard) -> Iterable[Family]:
    """Return how far requests are shed now, by what, and how often that has begun."""
    strain = guard.strain
    levels = (Sample(int(strain.heat), {"reason": "hot"}), Sample(int(strain.memory), {"reason": "memory"}))
    text = "How far requests are shed: 0 not at all, 1 of the lowest priority, 2 of all but the highest."
    yield Family("shoal_agent_shedding_level", "gauge", text, levels)
    episodes = tuple(Sample(guard.episodes[reason], {"reason": reason}) for reason in get_args(Reason))
    yield Family("shoal_agent_shedding_episodes_total", "counter", "How often shedding has begun.", episodes)
