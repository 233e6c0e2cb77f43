"""What ends a batch job before its end; what was committed stays, and the same command goes on from there."""

from shoal_agent.errors import AgentError


class BatchError(AgentError):
    """A job can not be begun, or not go on."""

    code = "batch"
    default_remedy = "correct it and run the same command again: it goes on from where it was"


class StoppedError(BatchError):
    """Somebody asked the job to end; what it had answered is kept."""

    code = "batch_stopped"
    default_remedy = "run the same command again: it goes on from where it was"
