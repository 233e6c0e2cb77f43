"""Batch inference: a version of the device's slots answers files, in a process of its own.

`run_job` is the way in; `shoal_agent.cli_batch` is what a person types. Knows nothing of the daemon but the endpoint
that it asks for its load.
"""

from shoal_agent.batch.errors import BatchError, StoppedError
from shoal_agent.batch.job import Job, Watcher, run_job
from shoal_agent.batch.pace import Pace

__all__ = ["BatchError", "Job", "Pace", "StoppedError", "Watcher", "run_job"]
