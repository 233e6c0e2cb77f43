"""What can go wrong with a pipeline. Each is a problem of its section; what the agent serves does not depend on it."""

from shoal_agent.errors import AgentError


class FeaturesError(AgentError):
    """A pipeline can not run as it is defined, or not on this device."""

    code = "features"
    default_remedy = "correct the pipeline's definition at the hub; see docs/guides/features.md"


class UnreachableError(FeaturesError):
    """A source or a sink can not be reached for now. It is tried again."""

    default_remedy = "the agent tries again by itself; check the source or the sink if it lasts"
