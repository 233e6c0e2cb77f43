"""How the routes of automation are driven, see `drivers`."""

from collections.abc import Callable
from typing import Any

from tests.hub.audit.site import Site
from tests.hub.automation.loops import principal
from tests.hub.automation.policies import TELL, body

from shoal_hub.automation.chore import move_run
from shoal_hub.automation.decide import Decision
from shoal_hub.automation.policies import set_policy
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.runs import begin_run
from shoal_hub.automation.tables import AutomationRun, AutomationStep
from shoal_hub.database import utc_now

_POLICY = body(then=[TELL], guards={"approval": ["notify"], "approval_wait_s": 3600})
Prepare = Callable[[Site], Callable[[], Any]]


def _policy(method: str, path: str) -> Prepare:
    def prepare(site: Site) -> Callable[[], Any]:
        if method == "PUT":
            return lambda: site.send("PUT", f"/automation/{path}", json=_POLICY)
        site.send("PUT", "/automation/policies/learn", json=_POLICY)
        if path.endswith("/enable"):
            site.send("POST", "/automation/policies/learn/disable")
        return lambda: site.send(method, f"/automation/{path}")

    return prepare


def _run(command: str) -> Prepare:
    def prepare(site: Site) -> Callable[[], Any]:
        run_id, content = _waiting_run(site, has_failed=command == "retry")
        asked = {"json": {"content_sha256": content, "comment": "good"}} if command == "approve" else {}
        return lambda: site.send("POST", f"/automation/runs/{run_id}/{command}", **asked)

    return prepare


def _waiting_run(site: Site, *, has_failed: bool) -> tuple[str, str]:
    """Have a run wait for approval, of a policy that somebody else has set, or fail."""
    now = utc_now()
    with site.hub.database.transaction() as session:
        policy = Policy.model_validate(_POLICY)
        row = set_policy(session, policy, by=principal(session, "bob"), now=now)
        session.flush()
        run = begin_run(session, row, policy, Decision(fires=True, conditions=(), guards=()), 1, now)
        run_id = run.id
    return _moved(site, run_id, has_failed=has_failed)


def _moved(site: Site, run_id: str, *, has_failed: bool) -> tuple[str, str]:
    move_run(site.hub, run_id, utc_now())
    with site.hub.database.transaction() as session:
        step = session.get_one(AutomationStep, (run_id, 0))
        if has_failed:
            run = session.get_one(AutomationRun, run_id)
            run.state, step.state, run.ended_at = "failed", "failed", utc_now()
            session.add(run)
            session.add(step)
        return run_id, step.content_sha256


AUTOMATION: dict[tuple[str, str], tuple[Prepare, str, str]] = {
    ("PUT", "/api/v1/automation/policies/{name}"): (
        _policy("PUT", "policies/learn"),
        "automation.apply_policy",
        "automation/policies/learn",
    ),
    ("DELETE", "/api/v1/automation/policies/{name}"): (
        _policy("DELETE", "policies/learn"),
        "automation.delete_policy",
        "automation/policies/learn",
    ),
    ("POST", "/api/v1/automation/policies/{name}/enable"): (
        _policy("POST", "policies/learn/enable"),
        "automation.enable_policy",
        "automation/policies/learn",
    ),
    ("POST", "/api/v1/automation/policies/{name}/disable"): (
        _policy("POST", "policies/learn/disable"),
        "automation.disable_policy",
        "automation/policies/learn",
    ),
    ("POST", "/api/v1/automation/runs/{run_id}/approve"): (
        _run("approve"),
        "automation.approve_run",
        "automation/runs/au-",
    ),
    ("POST", "/api/v1/automation/runs/{run_id}/stop"): (
        _run("stop"),
        "automation.stop_automation_run",
        "automation/runs/au-",
    ),
    ("POST", "/api/v1/automation/runs/{run_id}/retry"): (
        _run("retry"),
        "automation.retry_automation_run",
        "automation/runs/au-",
    ),
}
