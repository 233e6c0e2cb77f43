"""How runs end otherwise than well: what fails, is stopped, tried again, taken too long or not allowed."""

from datetime import timedelta

import pytest
from sqlmodel import select
from tests.hub.automation.loops import GOOD, MODEL, TARGET, Loop
from tests.hub.automation.policies import DRIFT, LEARN, TELL
from tests.simulators.rows import apply_reported, make_report

from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.alerts.channels import ChannelChange, put_channel
from shoal_hub.alerts.tables import AlertDelivery
from shoal_hub.alerts.targets import MqttTarget
from shoal_hub.automation.commands import retry_run, stop_run
from shoal_hub.automation.policies import switch_policy
from shoal_hub.captures.asking import Asked, ask_for
from shoal_hub.captures.tables import CaptureRequest
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError
from shoal_hub.operators.tables import User
from shoal_hub.rollouts.commands import abort
from shoal_hub.rollouts.start import find_rollout
from shoal_hub.rollouts.tables import Rollout

HOLD_UP = {"beat_champion": None, "cool_down_s": 3600}


@pytest.fixture
def loop(sqlite_loop: Loop) -> Loop:
    """On one engine: what these are about is the same on both."""
    return sqlite_loop


def test_without_drift_nothing_begins_and_the_reason_is_kept_once(loop: Loop) -> None:
    loop.set()
    for _ in range(20):
        loop.step(30)
    assert loop.runs() == []
    [decision] = loop.decisions()
    assert (decision.outcome, decision.last_at > decision.at) == ("quiet", True)
    assert "no drift signal" in decision.decision["reason"]


def test_a_step_that_fails_ends_the_run_with_the_reason_and_people_are_told(loop: Loop) -> None:
    with loop.hub.database.transaction() as session:
        way = ChannelChange(MqttTarget(), "info", is_enabled=True)
        put_channel(session, loop.hub.version_keys, "ops", way, by="ada", now=loop.now)
    loop.set()
    loop.drift()
    loop.step()
    loop.end_federated(state="failed", reason="too few devices trained")
    loop.step()
    [run] = loop.runs()
    assert (run.state, run.ended_at) == ("failed", loop.now)
    assert "too few devices trained" in run.reason
    with loop.hub.database.session() as session:
        [told] = session.exec(select(AlertDelivery)).all()
    assert told.payload["title"] == f"learn: the run {run.id} failed"


def test_what_can_not_begin_fails_and_leaves_nothing_behind(loop: Loop) -> None:
    loop.set(then=[{"kind": "federated", "min_devices": 9}, *LEARN[1:]])
    loop.drift()
    loop.step()
    [run] = loop.runs()
    assert run.state == "failed"
    assert "the run needs at least 9" in run.reason
    assert (loop.federated(), loop.jobs("federated")) == ([], [])


def test_a_failed_step_is_tried_again_from_where_it_failed(loop: Loop) -> None:
    loop.set()
    loop.drift()
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress", error="no room")
    loop.step()
    [run] = loop.runs()
    assert run.state == "failed"
    with loop.hub.database.transaction() as session:
        retry_run(session, run.id, by="ada", now=loop.now)
    loop.step()
    loop.end_job("compress")
    loop.step()
    assert [one.attempt for one in loop.steps()] == [1, 2, 1, 1, 1]
    assert loop.states()[1] == ("recompress", "done")
    assert len(loop.federated()) == 1, "what was done is not done again"


def test_a_person_stops_a_run_and_what_it_had_begun_is_taken_back(loop: Loop) -> None:
    loop.set()
    loop.drift()
    loop.step()
    [run] = loop.runs()
    with loop.hub.database.transaction() as session:
        stop_run(session, loop.hub, run.id, by="ada", now=loop.now)
    assert loop.federated()[0].state == "stopped"
    [run] = loop.runs()
    assert (run.state, run.reason) == ("stopped", "stopped by ada")
    with loop.hub.database.transaction() as session, pytest.raises(ConflictError, match="it has stopped"):
        stop_run(session, loop.hub, run.id, by="ada", now=loop.now)


def test_a_candidate_that_was_held_against_another_version_than_serves_by_now_is_not_rolled_out(loop: Loop) -> None:
    loop.set(guards=HOLD_UP)
    loop.drift()
    loop.step()
    loop.end_federated()
    loop.step()
    with loop.hub.database.transaction() as session:
        for row in session.exec(select(Device)).all():
            slot = SlotReport(version=2, target=TARGET, sha256="0" * 64, state="good")
            report = make_report(sequence=99, models={MODEL: ModelReport(active=slot)})
            assert apply_reported(session, row.id, report, loop.now)
    loop.end_job("compress")
    loop.step()
    [run] = loop.runs()
    assert run.state == "failed"
    assert "version 2 serves most devices by now" in run.reason
    with loop.hub.database.session() as session:
        assert session.exec(select(Rollout)).all() == []


def test_a_rollout_that_is_aborted_fails_the_run(loop: Loop) -> None:
    loop.set()
    loop.drift()
    until_rolled_out_but_aborted(loop)
    [run] = loop.runs()
    assert run.state == "failed"
    assert "aborted" in run.reason


def until_rolled_out_but_aborted(loop: Loop) -> None:
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress")
    loop.step()
    loop.end_job("evaluate", {"scores": GOOD})
    loop.step()
    with loop.hub.database.transaction() as session:
        rollout = session.exec(select(Rollout)).one()
        abort(session, find_rollout(session, rollout.id, is_locked=True), by="bob", now=loop.now)
    loop.step()


def test_what_nobody_approves_in_its_time_fails(loop: Loop) -> None:
    loop.set(then=[TELL], guards={"approval": ["notify"], "approval_wait_s": 60})
    loop.drift()
    loop.step()
    assert loop.runs()[0].state == "waiting"
    loop.step(61)
    [run] = loop.runs()
    assert (run.state, "nobody approved it" in run.reason) == ("failed", True)


def test_a_request_for_samples_that_a_person_made_stays(loop: Loop) -> None:
    with loop.hub.database.transaction() as session:
        ask_for(session, MODEL, Asked(None, (), 5, 10_000, 60.0), by="ada", now=loop.now)
    loop.set(then=[{"kind": "capture", "for_s": 60}, TELL])
    loop.drift()
    loop.step()
    loop.step(60)
    assert loop.runs()[0].state == "succeeded"
    with loop.hub.database.session() as session:
        assert session.get_one(CaptureRequest, MODEL).max_samples_per_day == 5


def test_a_policy_that_is_off_or_whose_author_is_gone_does_nothing(loop: Loop) -> None:
    loop.set(then=[TELL])
    loop.drift()
    with loop.hub.database.transaction() as session:
        switch_policy(session, "learn", on=False, by="ada", now=loop.now)
    loop.step()
    assert loop.runs() == []
    with loop.hub.database.transaction() as session:
        switch_policy(session, "learn", on=True, by="ada", now=loop.now)
        author = session.get_one(User, loop.author.id)
        author.disabled_at = loop.now
        session.add(author)
    loop.step()
    assert loop.runs() == []
    assert "may not do this any more" in loop.decisions()[-1].decision["reason"]


def test_a_run_keeps_to_the_revision_by_which_it_began(loop: Loop) -> None:
    loop.set()
    loop.drift()
    loop.step()
    loop.set(then=[TELL])
    loop.end_federated()
    loop.step()
    assert (loop.policy_row().revision, loop.runs()[0].revision) == (2, 1)
    assert [kind for kind, _ in loop.states()] == ["federated", "recompress", "compare", "roll_out", "notify"]


def test_a_step_that_takes_too_long_is_given_up(loop: Loop) -> None:
    loop.set(guards={"step_timeout_s": 600})
    loop.drift()
    loop.step()
    loop.step(601)
    [run] = loop.runs()
    assert (run.state, "longer than 600 s" in run.reason) == ("failed", True)
    assert loop.federated()[0].state == "stopped"


def test_a_schedule_begins_a_run_without_any_signal(loop: Loop) -> None:
    loop.set(when=[DRIFT, {"kind": "schedule", "every_s": 3600}], then=[TELL], guards={"cool_down_s": 0})
    loop.step(3000)
    assert loop.runs() == []
    loop.step(600)
    assert len(loop.runs()) == 1
    loop.step(3599)
    assert len(loop.runs()) == 1
    loop.step(61)
    assert len(loop.runs()) == 2
    assert loop.runs()[1].created_at - loop.runs()[0].created_at >= timedelta(hours=1)
