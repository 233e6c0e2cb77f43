"""Automation: policies, what looks at them came to, and runs with their history; the API's routes as methods."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from time import sleep
from typing import Any, Literal

from shoal_client.fleet import Value
from shoal_client.transport import Transport

RunState = Literal["running", "waiting", "succeeded", "rejected", "failed", "stopped"]
_LOOK_S = 0.5


class Verdict(Value):
    """Whether one condition or guard holds, and why."""

    name: str
    holds: bool
    reason: str
    facts: dict[str, Any]


class Decision(Value):
    """What one look came to."""

    fires: bool
    conditions: list[Verdict]
    guards: list[Verdict]


class PolicyDecision(Value):
    """What looks at a policy came to, from the first one to the last one in a row; `outcome` in a word."""

    at: datetime
    last_at: datetime
    revision: int
    outcome: Literal["fired", "held_back", "quiet"]
    decision: dict[str, Any]


class AutomationRun(Value):
    """A run of a policy; `step` is the one at work, waiting or where it ended."""

    id: str
    policy: str
    revision: int
    model: str
    state: RunState
    step: str | None
    champion: int | None
    candidate: int | None
    reason: str
    why: str
    created_at: datetime
    ended_at: datetime | None


class AutomationPolicy(Value):
    """A policy; `policy` is its body as `Automation.apply` takes it."""

    name: str
    model: str
    revision: int
    is_enabled: bool
    policy: dict[str, Any]
    set_by: str
    set_at: datetime
    decision: PolicyDecision | None
    last_run: AutomationRun | None


class AutomationPolicyDetail(AutomationPolicy):
    """A policy with what looks came to lately, and its runs, the newest first."""

    decisions: list[PolicyDecision]
    runs: list[AutomationRun]


class StepApproval(Value):
    """One person's approval of a step."""

    name: str
    comment: str
    at: datetime


class AutomationStep(Value):
    """One step: why it was taken, what it began (`links`), what it came to; `now` while it is at work."""

    position: int
    kind: str
    state: Literal["pending", "waiting", "working", "done", "rejected", "failed", "stopped"]
    attempt: int
    why: str
    links: dict[str, Any]
    result: dict[str, Any]
    now: str
    approvals_needed: int
    approvals: list[StepApproval]
    content_sha256: str
    waiting_since: datetime | None
    begun_at: datetime | None
    ended_at: datetime | None


class StoryLine(Value):
    """One sentence of a run's story."""

    at: datetime
    text: str
    links: dict[str, str]


class AutomationRunDetail(AutomationRun):
    """A run with its full history."""

    trigger: dict[str, Any]
    steps: list[AutomationStep]
    story: list[StoryLine]


class DryFire(Value):
    """A run that would have begun."""

    at: datetime
    reason: str


class DryHold(Value):
    """A stretch of looks at which guards held a run back."""

    since: datetime
    until: datetime
    looks: int
    guards: list[str]
    reason: str


class DryRun(Value):
    """What a policy would have done in a past period."""

    policy: str
    since: datetime
    until: datetime
    looks: int
    windows: int
    fired: list[DryFire]
    held_back: list[DryHold]
    last: Decision


class Automation:
    """Policies and their runs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def policies(self) -> list[AutomationPolicy]:
        """List policies by name."""
        return self._transport.call("GET", "/automation/policies", list[AutomationPolicy])

    def policy(self, name: str) -> AutomationPolicyDetail:
        """Return a policy with its history."""
        return self._transport.call("GET", f"/automation/policies/{name}", AutomationPolicyDetail)

    def apply(self, policy: Mapping[str, Any]) -> AutomationPolicyDetail:
        """Set a policy, in place of an earlier one of its name.

        Args:
            policy: `name`, `model`, `when`, `then` and `guards`, as the guide on automation has them.
        """
        name = str(policy.get("name", ""))
        return self._transport.call("PUT", f"/automation/policies/{name}", AutomationPolicyDetail, json=dict(policy))

    def remove(self, name: str) -> AutomationPolicyDetail:
        """Forget a policy; its runs stay."""
        return self._transport.call("DELETE", f"/automation/policies/{name}", AutomationPolicyDetail)

    def enable(self, name: str) -> AutomationPolicyDetail:
        """Have a policy look again."""
        return self._transport.call("POST", f"/automation/policies/{name}/enable", AutomationPolicyDetail)

    def disable(self, name: str) -> AutomationPolicyDetail:
        """Have a policy look no more; a run that goes on goes on."""
        return self._transport.call("POST", f"/automation/policies/{name}/disable", AutomationPolicyDetail)

    def dry_run(
        self, policy: Mapping[str, Any], since: datetime, *, until: datetime | None = None, every_s: float = 300.0
    ) -> DryRun:
        """Replay a past period: when the policy would have begun a run, and what would have held it back.

        Args:
            policy: As `apply` takes it; it need not be set.
            since: The first look; aware.
            until: The last one; None: now.
            every_s: Between two looks.
        """
        body = {
            "policy": dict(policy),
            "since": since.isoformat(),
            "until": until.isoformat() if until else None,
            "every_s": every_s,
        }
        return self._transport.call("POST", "/automation/dry-run", DryRun, json=body)

    def runs(self, *, policy: str = "", state: RunState | None = None, limit: int = 100) -> list[AutomationRun]:
        """List runs, the newest first."""
        params: dict[str, Any] = {"policy": policy, "limit": limit} | ({"state": state} if state else {})
        return self._transport.call("GET", "/automation/runs", list[AutomationRun], params=params)

    def run(self, run_id: str) -> AutomationRunDetail:
        """Return a run with its full history."""
        return self._transport.call("GET", f"/automation/runs/{run_id}", AutomationRunDetail)

    def watch(self, run_id: str) -> Iterator[AutomationRunDetail]:
        """Yield a run as it goes on, until it has ended."""
        while True:
            found = self.run(run_id)
            yield found
            if found.ended_at is not None:
                return
            sleep(_LOOK_S)

    def approve(self, run_id: str, content_sha256: str, comment: str = "") -> AutomationRunDetail:
        """Approve the step for which a run waits.

        Args:
            run_id: The run.
            content_sha256: Of what was looked at: the waiting step's.
            comment: Why it is good.
        """
        body = {"content_sha256": content_sha256, "comment": comment}
        return self._transport.call("POST", f"/automation/runs/{run_id}/approve", AutomationRunDetail, json=body)

    def stop(self, run_id: str) -> AutomationRunDetail:
        """Stop a run; what its step has begun is taken back."""
        return self._transport.call("POST", f"/automation/runs/{run_id}/stop", AutomationRunDetail)

    def retry(self, run_id: str) -> AutomationRunDetail:
        """Have the failed step of a run tried again."""
        return self._transport.call("POST", f"/automation/runs/{run_id}/retry", AutomationRunDetail)
