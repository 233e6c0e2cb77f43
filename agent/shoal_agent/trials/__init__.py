"""Trials: another version beside the one that serves, in shadow or for a share of the request keys.

The candidate is brought, verified, loaded and tested by an updater of its own, into arms that are no part of what
serves: a trial that fails, or ends, changes nothing about the version that the device is to serve.
"""

from shoal_agent.trials.arms import Arms
from shoal_agent.trials.shadow import Shadow
from shoal_agent.trials.trials import Trials

__all__ = ["Arms", "Shadow", "Trials"]
