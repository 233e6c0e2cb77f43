"""The nine steps. Each does its part through the product's own interfaces and returns its figures."""

import json
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from examples.first_light.fleet import Fleet
from examples.first_light.report import Figures
from examples.first_light.watching import bars, follow_lines, rolled_out
from rich.console import Console
from rich.table import Table

from shoal_client import ShoalClient
from shoal_client.registry import Job
from shoal_client.rollouts import RolloutDetail
from shoal_training.digits import DigitsShift, DigitsSplits, FederatedDefaults, digits_splits, shift

MODEL: Final = "digits"
AGENTS: Final = (("kitchen", "litert"), ("workshop", "onnxruntime"), ("garden", "litert"))
WAVES: Final = (1, 2)
WINDOW_S: Final = 2.0
DRIFT_WAIT_S: Final = 60.0
SHIFT_SEED: Final = 100


class Demo:
    """What the steps share."""

    def __init__(self, console: Console, fleet: Fleet, seed: int) -> None:
        self.console = console
        self.fleet = fleet
        self.seed = seed
        self.client: ShoalClient
        self.splits: DigitsSplits = digits_splits(seed)
        self.test_shifted = shift(self.splits.test.x, seed + SHIFT_SEED, DigitsShift())
        self.rollout = ""

    def job(self, title: str, job_id: str) -> Job:
        """Wait for a job with a progress bar."""
        with bars(self.console) as progress:
            task = progress.add_task(title, total=1.0)
            job = self.client.wait_for_job(
                job_id, lambda now: progress.update(task, completed=now.progress, description=now.message or title)
            )
            progress.update(task, completed=1.0, description=title)
        return job

    def roll_out(self, version: int) -> RolloutDetail:
        """Roll a version out in two waves and watch it."""
        devices = [one.device_id for one in self.fleet.agents]
        rollout = rolled_out(self.console, self.client, MODEL, version, devices, WAVES)
        self.rollout = rollout.id
        return rollout

    def accuracies(self, x: np.ndarray[Any, Any]) -> dict[str, float]:
        """Return each device's accuracy on the held-out digits `x`, asked at its own endpoint."""
        return {one.name: float((one.predict(x)[0] == self.splits.test.y).mean()) for one in self.fleet.agents}


def start_the_hub(demo: Demo) -> Figures:
    """Start API, console, database, CA and broker."""
    demo.client = demo.fleet.start_hub()
    health = demo.client.health()
    place = json.loads((demo.fleet.folder / "hub" / "hub.json").read_text())
    demo.console.print(f"hub {health.version} answers; broker with mutual TLS at port {place['broker_port']}")
    return {"headline": f"hub {health.version}, mutual TLS", "broker_port": place["broker_port"]}


def train(demo: Demo) -> Figures:
    """Train on real digits and register version 1."""
    bundle = demo.fleet.folder / "bundle"
    lines = demo.fleet.follow("shoal_training.digits", "--out", str(bundle), "--seed", str(demo.seed))
    follow_lines(demo.console, "starting TensorFlow", lines)
    demo.fleet.shoal("models", "register", str(bundle))
    version = demo.client.models.version(MODEL, "latest")
    accuracy = version.metrics["accuracy"]
    demo.console.print(f"{MODEL} version {version.number}: {version.algorithm}, held-out accuracy {accuracy:.3f}")
    return {
        "headline": f"version {version.number}, accuracy {accuracy:.3f}",
        "version": version.number,
        "accuracy": accuracy,
        "algorithm": version.algorithm,
        "author": version.author,
        "parameters": version.parameters,
        "tags": version.tags,
        "inputs": [one.model_dump() for one in version.inputs],
        "outputs": [one.model_dump() for one in version.outputs],
    }


def compress(demo: Demo) -> Figures:
    """Make two int8 variants and hold them against float32."""
    return _compress(demo, 1)


def enrol(demo: Demo) -> Figures:
    """Enrol three agents, each by a one-time token and a CSR."""
    url = json.loads((demo.fleet.folder / "hub" / "hub.json").read_text())["api_url"]
    for name, runtime in AGENTS:
        token = demo.client.tokens.create(label=name).token
        agent = demo.fleet.add_agent(name, runtime, token, url)
        demo.console.print(f"{name} is {agent.device_id} ({runtime})")
    demo.fleet.wait_for_agents()
    demo.fleet.wait_for_reports(demo.client)
    for agent in demo.fleet.agents:
        demo.client.devices.configure(agent.device_id, heartbeat_s=5, window_s=WINDOW_S)
    devices = {one.name: one.targets[:2] for one in demo.client.devices.list()}
    return {"headline": f"{len(devices)} devices enrolled", "devices": devices}


def roll_out(demo: Demo) -> Figures:
    """Roll version 1 out over MQTT: one device first, then two."""
    rollout = demo.roll_out(1)
    targets = {one.device_id: one.target for one in rollout.deployments}
    names = {one.device_id: one.name for one in demo.fleet.agents}
    for deployment in rollout.deployments:
        demo.console.print(f"wave {deployment.wave + 1}: {names[deployment.device_id]} runs {deployment.target}")
    return {
        "headline": f"{rollout.state}, waves {list(rollout.waves)}",
        "rollout": rollout.id,
        "waves": list(rollout.waves),
        "targets": {names[key]: value for key, value in targets.items()},
    }


def serve(demo: Demo) -> Figures:
    """Send held-out digits to each agent's own endpoint."""
    table = Table("device", "target", "accuracy", "p50 ms", "p95 ms")
    figures: Figures = {}
    for agent in demo.fleet.agents:
        labels, latencies = agent.predict(demo.splits.test.x)
        accuracy = float((labels == demo.splits.test.y).mean())
        p50, p95 = np.percentile(latencies, [50, 95])
        table.add_row(agent.name, agent.runtime, f"{accuracy:.3f}", f"{p50:.2f}", f"{p95:.2f}")
        figures[agent.name] = {"accuracy": accuracy, "p50_ms": round(p50, 3), "p95_ms": round(p95, 3)}
    demo.console.print(table)
    lowest = min(one["accuracy"] for one in figures.values())
    return {"headline": f"accuracy at least {lowest:.3f}", "requests": len(demo.splits.test.x), "devices": figures}


def see_drift(demo: Demo) -> Figures:
    """Send turned and noisy digits; the hub raises a signal from the devices' sketches alone."""
    before = demo.client.drift.list(model=MODEL, state="active")
    started_s = time.perf_counter()
    accuracies = demo.accuracies(demo.test_shifted)
    deadline_s = time.monotonic() + DRIFT_WAIT_S
    wanted = {one.device_id for one in demo.fleet.agents}
    while True:
        signals = demo.client.drift.list(model=MODEL, state="active")
        if signals and set(signals[0].devices) >= wanted:
            break
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"no drift signal of all devices within {DRIFT_WAIT_S:.0f} s: {signals}")
        time.sleep(0.2)
    signal = signals[0]
    leading = [f"{one.name} (PSI {one.psi:.2f})" for one in signal.features[:3] if one.psi is not None]
    mean = float(np.mean(list(accuracies.values())))
    demo.console.print(
        f"accuracy fell to {mean:.3f}; drift on {len(signal.devices)} devices, led by {', '.join(leading)}"
    )
    return {
        "headline": f"drift on {len(signal.devices)} devices, accuracy {mean:.3f}",
        "signals_before": len(before),
        "signal": signal.model_dump(mode="json"),
        "accuracy_shifted": accuracies,
        "seconds_to_signal": round(time.perf_counter() - started_s, 2),
    }


def train_on_the_devices(demo: Demo) -> Figures:
    """Run three federated rounds on data that stays on the devices, register version 2, compress it, roll it out."""
    plain_before, shifted_before = demo.accuracies(demo.splits.test.x), demo.accuracies(demo.test_shifted)
    for index, agent in enumerate(demo.fleet.agents):
        part = demo.splits.device.part(index, len(demo.fleet.agents))
        demo.console.print(demo.fleet.add_data(agent, MODEL, shift(part.x, demo.seed + index, DigitsShift()), part.y))
    demo.fleet.wait_for_reports(demo.client, MODEL)
    run = _federate(demo)
    version = run["version"]
    compressed = _compress(demo, version)
    rollout = demo.roll_out(version)
    plain, shifted = demo.accuracies(demo.splits.test.x), demo.accuracies(demo.test_shifted)
    table = Table("device", "plain v1", "plain v2", "shifted v1", "shifted v2")
    for one in demo.fleet.agents:
        values = (plain_before, plain, shifted_before, shifted)
        table.add_row(one.name, *(f"{column[one.name]:.3f}" for column in values))
    demo.console.print(table)
    gain = _mean(shifted) - _mean(shifted_before)
    return {
        "headline": f"version {version}: shifted {_mean(shifted_before):.3f} → {_mean(shifted):.3f}",
        **run,
        "gain_shifted": gain,
        "change_plain": _mean(plain) - _mean(plain_before),
        "plain": {"version_1": plain_before, f"version_{version}": plain},
        "shifted": {"version_1": shifted_before, f"version_{version}": shifted},
        "variants": compressed["variants"],
        "rollout": rollout.id,
    }


def roll_back(demo: Demo) -> Figures:
    """Go back to version 1 with one command."""
    started_s = time.perf_counter()
    demo.fleet.shoal("rollouts", "rollback", demo.rollout, "--json")
    for rollout in demo.client.rollouts.watch(demo.rollout):
        if rollout.state == "rolled_back":
            break
    seconds = time.perf_counter() - started_s
    serving = {one.name: int(one.ask(f"/v2/models/{MODEL}")["versions"][0]) for one in demo.fleet.agents}
    if set(serving.values()) != {1}:
        raise RuntimeError(f"after the rollback the devices serve {serving}, expected version 1")
    demo.console.print(f"every device serves version 1 again, {seconds:.1f} s after the command")
    return {"headline": f"version 1 everywhere in {seconds:.1f} s", "serving": serving}


STEPS: Final[tuple[tuple[str, Callable[[Demo], Figures]], ...]] = (
    ("start the hub", start_the_hub),
    ("train and register", train),
    ("compress", compress),
    ("enrol three agents", enrol),
    ("roll out in two waves", roll_out),
    ("serve held-out digits", serve),
    ("see drift", see_drift),
    ("train on the devices", train_on_the_devices),
    ("roll back", roll_back),
)


def _compress(demo: Demo, number: int) -> Figures:
    job = demo.client.models.compress(MODEL, number, ())
    done = demo.job("compressing", job.id)
    version = demo.client.models.version(MODEL, str(number))
    original = done.result or {}
    table = Table("variant", "KB", "accuracy", "p50 ms")
    float32 = {
        "size_bytes": original["original_bytes"],
        "accuracy": original["original_accuracy"],
        "latency_p50_ms": original["original_latency_p50_ms"],
    }
    row = (f"{float32['size_bytes'] / 1000:.0f}", f"{float32['accuracy']:.3f}", f"{float32['latency_p50_ms']:.3f}")
    table.add_row("float32 original", *row)
    figures: Figures = {}
    for one in version.variants:
        table.add_row(one.target, f"{one.size_bytes / 1000:.0f}", f"{one.accuracy:.3f}", f"{one.latency_p50_ms:.3f}")
        figures[one.target] = one.model_dump(
            mode="json", include={"size_bytes", "accuracy", "latency_p50_ms", "latency_p95_ms"}
        )
    demo.console.print(table)
    sizes = ", ".join(f"{one.target} {one.accuracy:.3f}" for one in version.variants)
    return {"headline": sizes, "float32": float32, "variants": figures}


def _federate(demo: Demo) -> Figures:
    settings = FederatedDefaults()
    run = demo.client.federated.start(
        MODEL,
        version=1,
        rounds=settings.rounds,
        min_devices=len(demo.fleet.agents),
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        parent_share=settings.parent_share,
    )
    with bars(demo.console) as progress:
        task = progress.add_task("federated rounds", total=run.rounds)
        for now in demo.client.federated.watch(run.id):
            progress.update(task, completed=now.current_round, description=f"{now.state}, {len(now.answers)} answers")
    if now.state != "succeeded" or now.result_version is None:
        raise RuntimeError(f"federated run {run.id} ended {now.state}: {now.reason}")
    for entry in now.history:
        demo.console.print(
            f"round {entry['round']}: {entry['trained']} devices, {entry['examples']} examples, "
            f"loss {entry['loss_before']:.3f} → {entry['loss_after']:.3f}, {entry['bytes_up'] / 1000:.0f} KB up"
        )
    version = demo.client.models.version(MODEL, str(now.result_version))
    return {
        "run": run.id,
        "version": now.result_version,
        "rounds": now.history,
        "provenance": version.provenance.model_dump(),
        "peak_memory_mb": round(max(one.peak_memory_bytes for one in now.answers) / 1e6),
    }


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))
