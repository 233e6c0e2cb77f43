"""The errors of compositions."""

from shoal_agent.errors import AgentError, HeldError


class CompositionError(AgentError):
    """Models can not be served as one as it is declared."""

    code = "composition"
    default_remedy = "correct its declaration, or roll out versions that fit each other"


class NotReadyError(HeldError):
    """A model that a composition is made of is not served. The composition is served as soon as it is."""

    code = "composition"
    default_remedy = "roll the model out to this device; the composition follows by itself"
