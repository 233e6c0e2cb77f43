"""An attempt is what its device's report shows, and a version that went back by itself is no success."""

from datetime import timedelta
from typing import Any

import pytest
from tests.simulators.rows import NOON

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.reported import Problem, SectionReport, SlotReport
from shoal_hub.rollouts.observe import observe, relapse
from shoal_hub.rollouts.views import Attempt, DeviceFacts, RolloutView

VIEW = RolloutView(
    id="r-1",
    model="digits",
    version=2,
    manifest=ArtifactRef(sha256="0" * 64, size_bytes=1),
    targets={"pi": 0.0},
    state="running",
    wave_count=1,
    current_wave=0,
    max_failures=0,
    timeout_s=600,
)
PROBLEM = Problem(code="probe", message="probe 'camera' did not pass", remedy="see what the probe checks")
ATTEMPT = Attempt(id="dp-2", device_id="d-1", wave=0, state="working", target="pi", assigned_at=NOON)


def facts(active: int, slot_state: Any = "good", deployment: str = "dp-2", **report: Any) -> DeviceFacts:
    """Return what is known of a device that serves a version and reports on its section."""
    slot = SlotReport(version=active, target="pi", sha256="0" * 64, state=slot_state)
    return DeviceFacts(active=slot, section=SectionReport(deployment=deployment, **report))


def seen(known: DeviceFacts, attempt: Attempt = ATTEMPT) -> Attempt:
    now = NOON + timedelta(seconds=1)
    if attempt.state == "succeeded":
        return relapse(attempt, known, now)
    return observe(attempt, known, VIEW, now, is_timed=True)


def test_a_version_that_serves_and_is_proved_is_a_success() -> None:
    assert seen(facts(2, state="applied")).state == "succeeded"


@pytest.mark.parametrize("slot", ["unproven", "bad"])
def test_a_version_that_serves_and_is_not_proved_is_none(slot: str) -> None:
    assert seen(facts(2, slot, state="applied")).state == "working"


def test_a_version_that_went_back_amid_its_probes_has_failed_with_its_problem() -> None:
    failed = seen(facts(1, state="failed", step="roll_back", problem=PROBLEM))
    assert (failed.state, failed.step, failed.problem) == ("failed", "roll_back", PROBLEM)


def test_a_success_that_went_back_by_itself_afterwards_is_one_no_more() -> None:
    succeeded = seen(facts(2, state="applied"))
    assert seen(facts(2, state="applied"), succeeded) == succeeded
    failed = seen(facts(1, state="failed", step="roll_back", problem=PROBLEM), succeeded)
    assert (failed.state, failed.step, failed.problem) == ("failed", "roll_back", PROBLEM)


def test_a_success_stays_one_whatever_another_deployment_does() -> None:
    succeeded = seen(facts(2, state="applied"))
    later = facts(1, deployment="dp-9", state="failed", step="roll_back", problem=PROBLEM)
    assert seen(later, succeeded) == succeeded
    assert seen(facts(2, state="working", step="fetch"), succeeded) == succeeded
