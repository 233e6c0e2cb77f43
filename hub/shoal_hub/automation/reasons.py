"""Says why a step is taken, from what is known when it begins. Pure."""

from collections.abc import Sequence
from typing import Any

from shoal_hub.automation.machine import RunView, StepView
from shoal_hub.automation.policy import Policy


def why_step(policy: Policy, run: RunView, step: StepView, trigger: str, approvers: Sequence[str]) -> str:
    """Return why a step is taken now.

    Args:
        policy: As it was when the run began.
        run: The run.
        step: The step that begins.
        trigger: Why the run began.
        approvers: Who has approved the step.
    """
    approved = f"; approved by {', '.join(approvers)}" if approvers else ""
    again = f"; {step.why}" if step.attempt > 1 else ""
    return f"{_because(policy, run, step, trigger)}{approved}{again}"


def _because(policy: Policy, run: RunView, step: StepView, trigger: str) -> str:  # noqa: PLR0911 - one a kind
    match step.body.kind:
        case "capture":
            return f"more data is wanted, as {trigger}"
        case "federated" | "retrain":
            return f"version {run.champion} is to learn what it sees now, as {trigger}"
        case "recompress":
            return f"version {run.candidate} was made, and devices need variants of it"
        case "compare":
            return f"the policy lets nothing to devices that does not beat version {run.champion} on held-out samples"
        case "trial":
            return _after_verdict(run, "version {0} is to show on the devices what it does beside version {1}")
        case "roll_out":
            return _after_verdict(run, "version {0} is to take the place of version {1}")
        case "roll_back":
            return f"what was rolled out last is taken back, as {trigger}"
        case _:
            done = sum(one.state == "done" for one in run.steps)
            return f"people are to know, after {done} steps of {len(policy.plan())}"


def _after_verdict(run: RunView, text: str) -> str:
    verdicts: list[dict[str, Any]] = [one.result["verdict"] for one in run.steps if "verdict" in one.result]
    told = f", as {verdicts[-1]['reason']}" if verdicts else ""
    return text.format(run.candidate, run.champion) + told
