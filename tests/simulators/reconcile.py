"""The controller's pass over rollouts, for tests that call it themselves."""

from datetime import datetime

from shoal_hub.database import Database
from shoal_hub.rollouts.reconcile import pass_rollouts


def reconcile_rollouts(database: Database, now: datetime) -> bool:
    """Take one step in each rollout that is not over, and one look; return whether another pass may find more to do."""
    left = pass_rollouts(database, now)
    return left.has_more or left.has_looks
