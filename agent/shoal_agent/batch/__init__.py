"""Batch inference: a version of the device's slots answers files, in a process of its own.

`job.run_job` is the way in; `shoal_agent.cli_batch` is what a person types. Knows nothing of the daemon but the
endpoint that it asks for its load.
"""

from shoal_agent.batch.errors import BatchError, StoppedError

__all__ = ["BatchError", "StoppedError"]
