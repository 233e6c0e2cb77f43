"""Runs over the real parts of the hub: each step begins once, what it comes to decides, and all of it is told."""

from datetime import timedelta

import pytest
from sqlmodel import select
from tests.hub.audit.trail import read
from tests.hub.automation.loops import BAD, GOOD, MODEL, Loop, principal, with_trainer
from tests.hub.automation.policies import LEARN, TELL
from tests.hub.captures.samples import add_capture
from tests.hub.registry.bundles import register_bundle

from shoal_hub.approvals.policy import set_policy as set_approval_policy
from shoal_hub.automation.commands import approve_step
from shoal_hub.automation.model_facts import past_runs
from shoal_hub.automation.runs import find_run
from shoal_hub.automation.story import tell
from shoal_hub.captures.tables import CaptureRequest
from shoal_hub.errors import ConflictError, RefusedError
from shoal_hub.federation.tables import RoundAnswer
from shoal_hub.operators.roles import Role
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.trials.tables import ShadowRow, Trial

HOLD_UP = {"beat_champion": None, "cool_down_s": 3600}


def until_rolled_out(loop: Loop) -> None:
    """Play the whole loop: the devices train, the jobs compress and compare, the devices take the version."""
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress")
    loop.step()
    loop.end_job("evaluate", {"scores": GOOD})
    loop.step()
    loop.roll_on(2)
    loop.step()


def test_drift_begins_a_run_that_trains_compares_rolls_out_by_waves_and_tells(loop: Loop) -> None:
    loop.set()
    signal = loop.drift(loop.devices[1])
    until_rolled_out(loop)
    [run] = loop.runs()
    assert (run.state, run.champion, run.candidate) == ("succeeded", 1, 2)
    kinds = ["federated", "recompress", "compare", "roll_out", "notify"]
    assert loop.states() == [(kind, "done") for kind in kinds]
    assert run.trigger["conditions"][0]["facts"]["signals"] == [signal]
    steps = {one.kind: one for one in loop.steps()}
    assert loop.federated()[0].created_by == "automation/learn"
    assert loop.jobs("compress")[0].params["techniques"] == ["int8-qdq-onnx"], "as the champion's variants were made"
    with loop.hub.database.session() as session:
        rollout = session.get_one(Rollout, steps["roll_out"].links["rollout"])
        assert (rollout.version, rollout.waves, rollout.created_by) == (2, [1, 2], "automation/learn")
    assert all(one.why for one in steps.values())
    assert loop.devices[1] in tell(run, loop.steps(), [])[0].text
    actions = [(one.actor_name, one.action) for one in read(loop.hub.database) if one.actor_name == "automation/learn"]
    assert actions[0] == ("automation/learn", "automation.begin")
    assert len(actions) == 1 + 2 * len(kinds), "each step's beginning and its end"


def test_a_candidate_that_does_not_beat_the_champion_goes_to_no_device(loop: Loop) -> None:
    loop.set()
    loop.drift()
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress")
    loop.step()
    loop.end_job("evaluate", {"scores": BAD})
    loop.step()
    [run] = loop.runs()
    assert run.state == "rejected"
    assert "does not beat the champion: accuracy 0.950 → 0.750" in run.reason
    assert loop.states()[-2:] == [("roll_out", "pending"), ("notify", "pending")]
    with loop.hub.database.session() as session:
        assert session.exec(select(Rollout)).all() == []


def test_nothing_begins_twice_while_a_run_goes_on_nor_in_its_cool_down_nor_beyond_the_budget(loop: Loop) -> None:
    loop.set(then=[TELL])
    loop.drift()
    for _ in range(5):
        loop.step(600)
    assert len(loop.runs()) == 1, "the cool-down lasts an hour"
    loop.step(1800)
    assert len(loop.runs()) == 2
    loop.step(2 * 86_400)
    assert len(loop.runs()) == 2, "two runs a week"
    assert [one.outcome for one in loop.decisions()] == ["fired", "held_back", "fired", "held_back"]
    assert "held back: the budget is spent" in loop.decisions()[-1].decision["reason"]
    loop.step(7 * 86_400)
    assert len(loop.runs()) == 3


def test_retraining_at_the_hub_makes_the_candidate(loop: Loop) -> None:
    loop.set(then=[{"kind": "retrain", "min_labelled": 10}, *LEARN[1:]], when={"kind": "data_volume", "min_samples": 1})
    with loop.hub.database.transaction() as session:
        add_capture(
            session,
            loop.hub.artifacts,
            loop.devices[0],
            model=MODEL,
            at=loop.now,
            received_at=loop.now + timedelta(seconds=1),
        )
    loop.step()
    [job] = loop.jobs("train")
    assert (job.params["version"], job.created_by) == (1, "automation/learn")
    assert job.params["captured_since"] == (loop.now - timedelta(days=7)).isoformat()
    register_bundle(loop.hub, with_trainer(loop.folder / "trained", seed=3))
    loop.end_job("train", {"model": MODEL, "version": 2, "samples": 40, "captured": 40})
    loop.step()
    assert loop.runs()[0].candidate == 2
    assert loop.states() == [("retrain", "done"), ("recompress", "working")]
    assert "trained on 40 samples, 40 of them captured: version 2" in loop.steps()[0].result["reason"]


def test_rounds_and_the_minutes_that_devices_trained_count_against_the_budget(loop: Loop) -> None:
    guards = HOLD_UP | {"cool_down_s": 0, "budget": {"device_minutes": 5}}
    policy = loop.set(then=LEARN[:1], guards=guards)
    loop.drift()
    loop.step()
    [federated] = loop.federated()
    with loop.hub.database.transaction() as session:
        for number, device_id in enumerate(loop.devices, 1):
            answer = {"outcome": "trained", "duration_s": 120.0, "received_at": loop.now}
            session.add(RoundAnswer(run=federated.id, round=number, device_id=device_id, **answer))
    loop.end_federated()
    loop.step()
    with loop.hub.database.session() as session:
        [past] = past_runs(session, policy, loop.now)
    assert (past.rounds, past.device_minutes) == (2, 6.0)
    loop.step(600)
    assert len(loop.runs()) == 1
    assert "6.0 device-minutes of 5" in loop.decisions()[-1].decision["reason"]


def test_a_step_waits_for_a_person_who_has_not_set_the_policy(loop: Loop) -> None:
    loop.set(guards=HOLD_UP | {"approval": ["roll_out"]})
    loop.drift()
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress")
    loop.step()
    [run] = loop.runs()
    assert (run.state, loop.states()[2]) == ("waiting", ("roll_out", "waiting"))
    loop.step(60)
    content = loop.steps()[2].content_sha256
    with loop.hub.database.transaction() as session:
        eve = principal(session, "eve", Role.APPROVER)
        row = find_run(session, run.id, is_locked=True)
        with pytest.raises(RefusedError, match="may be who has set the policy"):
            approve_step(session, row, content, by=loop.author, comment="", now=loop.now)
        with pytest.raises(ConflictError, match="was looked at"):
            approve_step(session, row, "0" * 64, by=eve, comment="", now=loop.now)
        approve_step(session, row, content, by=eve, comment="good", now=loop.now)
    loop.step()
    assert loop.states()[2] == ("roll_out", "working")
    assert "approved by eve" in loop.steps()[2].why


def test_the_models_own_policy_asks_for_its_people_too(loop: Loop) -> None:
    with loop.hub.database.transaction() as session:
        set_approval_policy(session, MODEL, production=0, rollout=2, by="ada")
    loop.set(guards=HOLD_UP)
    loop.drift()
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress")
    loop.step()
    [run] = loop.runs()
    for name in ("eve", "fay"):
        assert loop.states()[2] == ("roll_out", "waiting")
        with loop.hub.database.transaction() as session:
            person = principal(session, name, Role.APPROVER)
            row = find_run(session, run.id, is_locked=True)
            approve_step(session, row, loop.steps()[2].content_sha256, by=person, comment="", now=loop.now)
        loop.step()
    assert loop.states()[2] == ("roll_out", "working")


def test_samples_are_asked_for_a_time_and_then_no_more(loop: Loop) -> None:
    loop.set(then=[{"kind": "capture", "for_s": 120}, TELL])
    loop.drift()
    loop.step()
    with loop.hub.database.session() as session:
        assert session.get_one(CaptureRequest, MODEL).set_by == "automation/learn"
    loop.step(60)
    assert loop.states()[0] == ("capture", "working")
    loop.step(60)
    assert loop.states() == [("capture", "done"), ("notify", "done")]
    with loop.hub.database.session() as session:
        assert session.get(CaptureRequest, MODEL) is None


@pytest.mark.parametrize(("correct", "state"), [(90, "working"), (70, "rejected")])
def test_in_shadow_the_candidate_has_to_be_right_more_often_on_the_same_labels(
    loop: Loop, correct: int, state: str
) -> None:
    guards = {"beat_champion": {"held_out": None, "shadow": {"min_samples": 300, "margin": 0.1}}}
    loop.set(then=[*LEARN, {"kind": "trial", "share": 1.0}, {"kind": "roll_out"}], guards=guards)
    loop.drift()
    loop.step()
    loop.end_federated()
    loop.step()
    loop.end_job("compress")
    loop.step()
    with loop.hub.database.session() as session:
        trial = session.exec(select(Trial)).one()
    assert (trial.mode, trial.version, trial.against, trial.created_by) == ("shadow", 2, 1, "automation/learn")
    for place, device_id in enumerate(loop.devices):
        with loop.hub.database.transaction() as session:
            counts = {"compared": 150, "disagreed": 30, "errors": 0, "skipped": 0, "latency": [0] * 14}
            labels = {"labelled": 150, "correct": correct * 3 // 2, "against_correct": 90}
            times = {"started_at": loop.now, "ended_at": loop.now}
            session.add(ShadowRow(trial_id=trial.id, device_id=device_id, **counts, **labels, **times))
        loop.step()
        if place < 2:
            assert loop.states()[2] == ("trial", "working"), "a device has not told anything yet"
    with loop.hub.database.session() as session:
        assert session.get_one(Trial, trial.id).state == "ended", "it has seen what the guard asks for"
    assert loop.states()[3 if state == "working" else 2][1] == state


def test_a_rollback_takes_back_what_was_rolled_out_last_also_while_it_runs(loop: Loop) -> None:
    loop.set()
    loop.drift()
    until_rolled_out(loop)
    loop.calm()
    loop.set(name="undo", when={"kind": "drift", "rule": "any"}, then=[{"kind": "roll_back"}, TELL])
    loop.drift(version=2)
    loop.step()
    [_, undo] = loop.runs()
    assert (undo.policy, loop.states()[0]) == ("undo", ("roll_back", "working"))
    with loop.hub.database.session() as session:
        assert session.exec(select(Rollout)).one().state == "rolling_back"
