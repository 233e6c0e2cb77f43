"""Batch jobs that the hub hands out, done by `shoal-agent batch` in a child process when the device is idle."""

from shoal_agent.batch_jobs.jobs import BatchJobs

__all__ = ["BatchJobs"]
