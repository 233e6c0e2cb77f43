"""What an operator is told of a rollout and its deployments, in words. Pure."""

from shoal_hub.rollouts.revert import has_stayed
from shoal_hub.rollouts.views import Attempt, Record, RolloutView


def name_of(rollout: RolloutView) -> str:
    """Return a rollout as records name it."""
    return f"rollout {rollout.id} of {rollout.model} version {rollout.version}"


def describe_outcome(rollout: RolloutView, attempt: Attempt) -> Record:
    """Return the record of how an attempt has ended."""
    name, device_id = name_of(rollout), attempt.device_id
    if attempt.state == "succeeded":
        does = "waits staged" if rollout.plan.policy.download_only else "serves"
        return Record("deployment_succeeded", f"{name}: it {does} on {device_id}", "info", device_id)
    text = attempt.problem.message if attempt.problem else attempt.state
    if has_stayed(attempt):
        return Record("rollback_failed", f"{name}: {device_id} can not go back: {text}", "error", device_id)
    return Record("deployment_failed", f"{name}: {device_id}: {text}", "error", device_id)
