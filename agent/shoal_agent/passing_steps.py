"""Steps of a deployment that another one follows: those that wait to be sent travel in the next one. Pure.

A deployment over a fast network is then one event and not five, and says the same.
"""

from typing import Final

from shoal_contract.limits import MAX_PASSED_STEPS
from shoal_contract.telemetry import DeploymentEvent, DeploymentStep, PassedStep

PASSING: Final[frozenset[DeploymentStep]] = frozenset({"fetch", "verify", "stage", "activate", "probe"})
"""After them another one comes; how a deployment ended takes them along."""
_FIRST: Final[DeploymentStep] = "fetch"


def take_along(before: DeploymentEvent, body: DeploymentEvent) -> DeploymentEvent | None:
    """Return a step that says what the one before it says as well; None where each is to be told by itself.

    That is so after what is no step on the way, or is of another deployment, and for the first step of a try: its
    time begins anew, and what has travelled by `fetch` is not known yet.

    Args:
        before: What was to be told just before.
        body: What is to be told.
    """
    is_new_try = body.step == _FIRST or body.duration_s < before.duration_s
    is_next = before.step in PASSING and before.problem is None and not is_new_try
    if not is_next or before.deployment != body.deployment or len(before.passed) >= MAX_PASSED_STEPS:
        return None
    passed = (*before.passed, PassedStep(step=before.step, duration_s=before.duration_s))
    travelled = before.fetched_bytes if before.step != _FIRST else 0  # before it has ended nothing has
    fetched_bytes = max(body.fetched_bytes, travelled)
    return body.model_copy(update={"passed": passed, "fetched_bytes": fetched_bytes, "cost": body.cost or before.cost})
