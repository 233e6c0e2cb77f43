"""What can be wrong with a benchmark on this device."""

from shoal_agent.errors import AgentError


class BenchmarkError(AgentError):
    """A benchmark, or one of its candidates, can not be measured here; the hub is told why."""

    code = "benchmark"
    default_remedy = "leave the candidate out, or measure on another device"
