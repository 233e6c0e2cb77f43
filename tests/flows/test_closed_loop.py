"""The closed loop, with real agents: a shift is seen, learnt on the devices, proved, rolled out, and explained."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.flows.conftest import Fleet
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub_process import HubProcess

from shoal_agent.enrol import enrol
from shoal_client.automation import AutomationRunDetail
from shoal_client.fleet import DriftSignal
from shoal_training.digits import DigitsSplits, DigitsTraining, digits_splits, train_digits

MODEL = "digits"
SEED = 7
WAIT_S = 60.0
RUN_S = 240.0
HUB = {"SHOAL_AUTOMATION_EVERY_S": "1", "SHOAL_ALERTS_EVERY_S": "1", "SHOAL_TICK_S": "1"}
POLICY: dict[str, Any] = {
    "name": "learn-drift",
    "model": MODEL,
    "when": {"kind": "drift", "rule": "plain", "min_devices": 1, "min_share": 0.3},
    "then": [
        {"kind": "capture", "for_s": 60, "until_labelled": 27, "after_s": 2},
        {"kind": "federated", "rounds": 3, "min_devices": 3, "epochs": 5, "learning_rate": 0.05},
        {"kind": "recompress"},
        {"kind": "trial", "share": 1.0, "duration_s": 120, "max_cpu_share": 4.0},
        {"kind": "roll_out", "waves": [1, 2]},
        {"kind": "notify", "text": "digits have learnt what drifted"},
    ],
    "guards": {
        "cool_down_s": 3600,
        "budget": {"runs": 1, "rounds": 3},
        "beat_champion": {
            "held_out": {"margin": 0.02, "max_loss": 0.03, "min_samples": 24},
            "shadow": {"margin": 0.02, "min_samples": 150, "min_samples_each": 50},
        },
    },
}


def backlit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Digits before a bright window: less contrast, and black is grey."""
    return np.clip(x * 0.5 + 0.4, 0.0, 1.0).astype(np.float32)


@dataclass
class Traffic:
    """Asks one agent about digits for ever, and tells it the true label of each answer."""

    agent: AgentProcess
    splits: DigitsSplits
    shifted: bool = False
    answers: list[tuple[int, bool, bool]] = field(default_factory=list)
    """Version, whether the digit was shifted, whether the answer was right."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            at, is_shifted = number % len(self.splits.test), self.shifted
            image = self.splits.test.x[at : at + 1]
            x = backlit(image) if is_shifted else image
            tensor = {"name": "image", "datatype": "FP32", "shape": [1, 8, 8, 1], "data": x.ravel().tolist()}
            body = {"inputs": [tensor], "id": f"{self.agent.device_id}-{number}"}
            status, answer = self.agent.ask(f"/v2/models/{MODEL}/infer", body)
            number += 1
            if status != 200:
                continue
            label, chosen = int(self.splits.test.y[at]), int(np.argmax(answer["outputs"][0]["data"]))
            self.agent.ask("/feedback", {"request_id": body["id"], "label": label})
            self.answers.append((int(answer["model_version"]), is_shifted, chosen == label))

    def stop(self) -> None:
        self._stop.set()

    def accuracy(self, version: int, *, shifted: bool) -> float:
        right = [ok for number, was_shifted, ok in self.answers if (number, was_shifted) == (version, shifted)]
        return float(np.mean(right))


class Loop:
    """A fleet of three with a policy and a rule of alerts, under traffic."""

    def __init__(self, fleet: Fleet, splits: DigitsSplits, traffic: list[Traffic]) -> None:
        self.fleet, self.splits, self.traffic = fleet, splits, traffic

    def signals(self, version: int | None = None) -> list[DriftSignal]:
        found = [one for one in self.fleet.client.drift.list(model=MODEL) if one.rule == "plain"]
        return [one for one in found if version is None or one.version == version]

    def ended_run(self) -> AutomationRunDetail:
        runs = until(self.fleet.client.automation.runs, bool, self.tell)
        return until(
            lambda: self.fleet.client.automation.run(runs[0].id), lambda one: one.ended_at is not None, self.tell, RUN_S
        )

    def tell(self) -> object:
        policies = self.fleet.client.automation.policies()
        return [one.decision for one in policies], self.fleet.client.automation.runs(), self.fleet.hub.log()[-3000:]


def until(
    look: Callable[[], Any], holds: Callable[[Any], bool], tell: Callable[[], object], wait_s: float = WAIT_S
) -> Any:
    tick, deadline_s = threading.Event(), time.monotonic() + wait_s
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, (seen, tell())
        tick.wait(0.3)
    return seen


@contextmanager
def running(folder: Path) -> Iterator[Fleet]:
    """A hub and three agents that let captured samples out, each with labelled digits of its own."""
    hub = HubProcess(folder / "hub", **HUB).start()
    rules = folder / "capture.toml"
    rules.write_text(f"[models.{MODEL}]\nshare = 0.02\n")
    agents: list[AgentProcess] = []
    try:
        with hub.client() as client:
            for name in ("yard", "gate", "dock"):
                options = ("--capture", "--capture-rules", str(rules), "--send-captures")
                agent = AgentProcess(folder / name, "--runtime", "onnxruntime", *options)
                agent.device_id = enrol(agent.data / "identity", hub.url, client.tokens.create().token, name).device_id
                agents.append(agent)
            fleet = Fleet(hub, client, agents)
            yield fleet
    finally:
        for agent in agents:
            agent.close()
        hub.close()


def add_data(agent: AgentProcess, x: NDArray[np.float32], y: NDArray[np.int32]) -> None:
    file = agent.data / "more.npz"
    np.savez(file, x=x, y=y)
    command = [sys.executable, "-m", "shoal_agent", "data", "add", "--data", str(agent.data), MODEL, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """Version 1 of the digits on all three, watched and under plain traffic, with a policy that has seen nothing."""
    splits = digits_splits(SEED)
    train_digits(tmp_path / "bundle", SEED, settings=DigitsTraining(epochs=8))
    with running(tmp_path) as fleet:
        for index, agent in enumerate(fleet.agents):
            part = splits.device.part(index, 3)
            add_data(agent, backlit(part.x) if index == 0 else part.x, part.y)
            agent.start()
        fleet.client.models.register_bundle(tmp_path / "bundle")
        fleet.client.wait_for_job(fleet.client.models.compress(MODEL, 1, ["int8-qdq-onnx"]).id)
        until(fleet.client.devices.list, lambda seen: all(one.targets for one in seen), lambda: "no report")
        fleet.watch(fleet.client.rollouts.start(MODEL, 1).id, "succeeded")
        for device_id in fleet.device_ids:
            fleet.client.devices.configure(device_id, heartbeat_s=5, window_s=2, window_requests=1000)
        rule = {"when": {"kind": "drift", "rule": "plain", "model": MODEL}, "for_s": 0, "resolve_s": 3}
        fleet.client.alerts.set_rule("digits-drift", rule)
        fleet.client.automation.apply(POLICY)
        traffic = [Traffic(agent, splits) for agent in fleet.agents]
        threads = [threading.Thread(target=one.run) for one in traffic]
        for thread in threads:
            thread.start()
        try:
            yield Loop(fleet, splits, traffic)
        finally:
            for one in traffic:
                one.stop()
            for thread in threads:
                thread.join()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_shift_on_a_third_of_the_fleet_is_seen_learnt_on_devices_proved_rolled_out_and_explained(loop: Loop) -> None:
    client, yard = loop.fleet.client, loop.fleet.agents[0].device_id
    until(lambda: client.drift.windows(model=MODEL), lambda seen: len(seen) >= 12, loop.tell)
    assert (loop.signals(), client.automation.runs()) == ([], []), "without a shift nothing begins"

    loop.traffic[0].shifted = True
    [signal] = until(loop.signals, bool, loop.tell)
    assert signal.devices == [yard], "the signal names the third of the fleet that has drifted"
    assert all(one.name.startswith("image") for one in signal.features)
    assert len(signal.features) >= 3
    until(
        lambda: client.alerts.list(rule="digits-drift"),
        lambda seen: [one.state for one in seen] == ["firing"],
        loop.tell,
    )

    [begun] = until(client.automation.runs, bool, loop.tell)
    until(lambda: client.automation.run(begun.id).step, lambda step: step == "federated", loop.tell)
    until(client.federated.list, bool, loop.tell)
    loop.fleet.hub.kill("controller")

    run = loop.ended_run()
    assert run.state == "succeeded", [(one.kind, one.state, one.result) for one in run.steps]
    steps = {one.kind: one for one in run.steps}
    kinds = ["capture", "federated", "recompress", "compare", "trial", "roll_out", "notify"]
    assert [one.kind for one in run.steps] == kinds, "the guard adds the comparison before a device is touched"
    assert [one.state for one in run.steps] == ["done"] * len(kinds)
    assert run.trigger["conditions"][0]["facts"]["devices"] == [yard]
    assert run.trigger["conditions"][0]["facts"]["signals"] == [signal.id]

    assert len(client.federated.list()) == 1, "the controller was killed meanwhile, and nothing is done twice"
    federated = client.federated.show(steps["federated"].links["federated_run"])
    assert (federated.state, len(federated.history), federated.created_by) == ("succeeded", 3, "automation/learn-drift")
    assert [entry["trained"] for entry in federated.history] == [3, 3, 3]
    assert (run.champion, run.candidate) == (1, federated.result_version) == (1, 2)

    for kind in ("compare", "trial"):
        assert steps[kind].result["verdict"]["holds"], "the new version beats the champion"
    shadow = client.trials.show(steps["trial"].links["trial"]).shadow
    assert shadow is not None
    assert shadow.accuracy is not None
    assert shadow.against_accuracy is not None
    assert shadow.labelled >= 100
    assert shadow.accuracy > shadow.against_accuracy + 0.02

    rollout = client.rollouts.show(steps["roll_out"].links["rollout"])
    assert (rollout.state, rollout.version, rollout.created_by) == ("succeeded", 2, "automation/learn-drift")
    assert rollout.waves == [1, 2]
    ends = [one.ended_at for one in rollout.deployments if one.wave == 0 and one.ended_at]
    starts = [one.assigned_at for one in rollout.deployments if one.wave == 1 and one.assigned_at]
    assert max(ends) <= min(starts), "the second wave begins when the first has ended"
    assert [agent.serves(MODEL) for agent in loop.fleet.agents] == [2, 2, 2]

    check_resolved(loop, signal)
    check_story(run, yard)
    assert len(client.automation.runs()) == 1
    gained = loop.traffic[0].accuracy(2, shifted=True) - loop.traffic[0].accuracy(1, shifted=True)
    assert gained > 0.1, "the shifted third is right more often than before"


def check_resolved(loop: Loop, signal: DriftSignal) -> None:
    """The alert ends by itself, and none begins of the version that knows the shift."""
    client = loop.fleet.client
    before = len(loop.traffic[0].answers)
    [alert] = until(
        lambda: client.alerts.list(rule="digits-drift", states=["firing", "pending", "resolved"]),
        lambda seen: [one.state for one in seen] == ["resolved"],
        loop.tell,
    )
    assert alert.labels["version"] == "1"
    [known] = loop.signals(1)
    assert (known.id, known.state) == (signal.id, "cleared")
    until(lambda: len(loop.traffic[0].answers) - before, lambda more: more > 200, loop.tell)
    assert loop.signals(2) == [], "what the new version has learnt is no drift of its inputs"


def check_story(run: AutomationRunDetail, device_id: str) -> None:
    """Each step is told with why it was taken and what it came to, in the order of time."""
    texts = [line.text for line in run.story]
    assert [line.at for line in run.story] == sorted(line.at for line in run.story)
    assert "have drifted on 1 of 3 devices" in texts[0]
    assert device_id in texts[0]
    for step in run.steps:
        assert step.why, step
        assert any(step.why in text for text in texts), step
        assert any(f"({step.kind})" in text for text in texts), step
    assert "every step is done" in texts[-1]
    assert json.loads(run.model_dump_json())["story"]
