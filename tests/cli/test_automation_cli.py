"""`shoal automation` against a real hub."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.cli.conftest import Shoal
from tests.hub.automation.loops import MODEL, Loop
from tests.hub.automation.policies import TELL, body
from tests.hub.served import ServedHub

POLICY = """
name: learn
model: colours
when: {kind: drift, rule: plain}
then:
  - {kind: capture, for_s: 60}
  - {kind: notify, text: look at this}
guards:
  approval: [notify]
"""


@pytest.fixture(scope="module")
def loop(served: ServedHub, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return Loop(served.hub, tmp_path_factory.mktemp("loop"))


@pytest.mark.usefixtures("loop")
def test_a_policy_is_applied_shown_tried_switched_and_forgotten_by_commands(shoal: Shoal, tmp_path: Path) -> None:
    assert "No policy" in shoal("automation", "policies").out
    file = tmp_path / "learn.yaml"
    file.write_text(POLICY)
    tried = shoal("automation", "dry-run", str(file), "--last", "6h")
    assert "it would have begun 0 runs" in tried.out, tried.err
    assert "no drift signal" in tried.out
    assert "revision 1" in shoal("automation", "apply", str(file)).out
    assert "not looked at yet" in shoal("automation", "policies").out
    assert json.loads(shoal("automation", "disable", "learn", "--json").out)["is_enabled"] is False
    assert "is on" in shoal("automation", "enable", "learn").out
    shown = shoal("automation", "show", "learn").out
    assert all(word in shown for word in ("capture: for_s 60", "drift: rule plain", "cool down s"))
    again = json.loads(shoal("automation", "show", "learn", "--json").out)["policy"]
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(again | {"name": "copy"}))
    assert shoal("automation", "apply", str(copy)).status == 0
    assert "is forgotten" in shoal("automation", "remove", "copy").out


def test_a_run_is_explained_approved_and_stopped_by_commands(shoal: Shoal, loop: Loop) -> None:
    loop.set(name="story", then=[{"kind": "capture", "for_s": 60}, TELL], guards={"approval": ["notify"]})
    loop.drift(loop.devices[1])
    loop.step()
    [run] = [one for one in loop.runs() if one.policy == "story"]
    assert run.id in shoal("automation", "runs", "--policy", "story").out
    told = shoal("automation", "explain", run.id).out
    assert "story (revision 1) began, as inputs of version 1 have drifted on 1 of 3 devices" in told
    assert "now: capture: 0 samples came" in told
    assert "to come: notify" in told
    assert "no step of it waits" in shoal("automation", "approve", run.id).err
    loop.step(60)
    told = shoal("automation", "explain", run.id).out
    assert "notify waits for approval, 0 of 1 given" in told
    content = next(step.content_sha256 for step in loop.steps(run.id) if step.state == "waiting")
    assert "was looked at" in shoal("automation", "approve", run.id, "--content", "0" * 64).err
    given = json.loads(shoal("automation", "approve", run.id, "--content", content, "--json").out)
    assert len(given["steps"][1]["approvals"]) == 1
    loop.step()
    assert "The run succeeded: every step is done." in shoal("automation", "explain", run.id, "--follow").out
    assert "it has succeeded" in shoal("automation", "stop", run.id).err
    assert "can be retried" in shoal("automation", "retry", run.id).err


@pytest.mark.usefixtures("loop")
def test_a_dry_run_of_a_schedule_shows_what_would_begin_and_what_holds_it_back(shoal: Shoal, tmp_path: Path) -> None:
    policy = body(model=MODEL, when={"kind": "schedule", "every_s": 3600}, then=[TELL])
    file = tmp_path / "hourly.json"
    file.write_text(json.dumps(policy))
    until = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S")
    shown = shoal("automation", "dry-run", str(file), "--last", "6h", "--until", until, "--every", "600")
    assert "it would have begun 2 runs" in shown.out, shown.err
    assert "would begin" in shown.out
    assert "budget" in shown.out


def test_files_that_are_none_are_refused_with_what_to_do(shoal: Shoal, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("when: [")
    assert "give a file of YAML" in shoal("automation", "apply", str(broken)).err
    broken.write_text("model: digits")
    assert "has no name" in shoal("automation", "apply", str(broken)).err
    broken.write_text("- one")
    assert "expected an object" in shoal("automation", "apply", str(broken)).err
    assert "no length of time" in shoal("automation", "dry-run", "learn", "--last", "week").err
    assert "list them: shoal automation policies" in shoal("automation", "show", "unknown").err
