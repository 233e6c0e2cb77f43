"""Why a sample was not kept, or can not be read."""

from shoal_agent.errors import AgentError


class CaptureError(AgentError):
    """A sample could not be kept, or a kept one can not be read; what serves does not feel it."""

    code = "capture"
    default_remedy = "see docs/guides/capture.md"
