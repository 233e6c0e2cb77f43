"""Why a model that is on the disk is not loaded."""

from shoal_agent.errors import AgentError


class MemoryBudgetError(AgentError):
    """A version takes more memory than all models may together."""

    code = "memory_budget"
    default_remedy = "roll out a smaller version, or allow models more memory: shoal-agent run --memory-budget-mb"


class EvictedError(AgentError):
    """A model gave way to others, or found no room. It is loaded when it is asked, if there is room then."""

    code = "evicted"
    default_remedy = "ask for it, which loads it; shoal-agent memory shows what takes the room"


class UnloadedError(AgentError):
    """A model was told to unload. It stays so until it is told to load, or another version is rolled out."""

    code = "unloaded"
    default_remedy = "load it: POST /v2/repository/models/NAME/load"
