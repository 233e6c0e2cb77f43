"""A 5 MB model to 100, 1,000 and 5,000 simulated devices: the whole rollout against the broker alone.

Hub (`shoal hub up`), Mosquitto and devices (`shoal fleet simulate`'s) are on this machine, with mutual TLS. The rollout
is measured from its start to the last device on which the version is active. The peer is the same broker fanning the
same number of bytes out to the same connections: every device reads the retained chunks of a version of the same size,
as many at a time, and throws them away. No hub takes part in that. Rollouts are repeated, each of a version of its own,
between two fan-outs; their median counts. The hub's CPU is held against the broker's over the same time, and, as a line
of our own, until the hub has seen the rollout succeed, which is a few seconds later.

Run it as `python benchmarks/rollout_scale.py`; 5,000 devices with `--full`, which takes another ten minutes.
"""

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

import numpy as np  # noqa: E402 - the paths above come first
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tests.flows.conftest import MODEL, Fleet  # noqa: E402
from tests.hub.registry.bundles import WEIGHTS  # noqa: E402
from tests.simulators.hub_process import HubProcess  # noqa: E402

from shoal_agent.settings import FetchSettings  # noqa: E402
from shoal_client import ShoalClient  # noqa: E402
from shoal_contract.transfer import chunk_bytes_for  # noqa: E402
from shoal_hub.cli.simulation import Simulation, SimulationPlan, simulating  # noqa: E402

HIDDEN, WIDE = 1130, 4400
"""Of the layers; in int8 the file has 5.0 MB."""
MAX_RATIO = 1.5
MAX_HUB_SHARE = 0.2
WINDOW = FetchSettings().window
WAIT_S = 1500.0
FEW, MANY, MOST = 100, 1000, 5000
REPEATS = 3
"""Rollouts of each number of devices; of the largest there is one, which takes minutes."""
PARTS = ("supervisor", "api", "ingest", "controller")
_SCHEDULED = 2
"""Of Linux's process clocks, the one that the scheduler keeps: `clock_getcpuclockid(3)`."""


class Run(NamedTuple):
    """What one rollout, or one fan-out, took."""

    wall_s: float
    broker_cpu_s: float
    hub_cpu_s: float
    broker_cpu_to_end_s: float
    hub_cpu_to_end_s: float
    simulator_cpu_s: float
    received_bytes: int


def main() -> None:
    """Measure, and print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[FEW, MANY], help="numbers of devices")
    parser.add_argument("--full", action="store_true", help=f"{MOST} devices as well")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of the simulator (a core each)")
    options = parser.parse_args()
    counts = [*options.devices, *([MOST] if options.full else [])]
    with tempfile.TemporaryDirectory(prefix="shoal-scale-") as name:
        folder = Path(name)
        os.environ["SHOAL_PASSPHRASE_FILE"] = str(folder / "passphrase")
        hub = HubProcess(folder / "hub", SHOAL_ENROL_PER_MINUTE="1000000").start()
        try:
            with hub.client() as client:
                fleet = Fleet(hub, client, [])
                versions = [add_version(fleet, folder / f"version-{seed}", seed) for seed in range(REPEATS + 1)]
                for count in counts:
                    plan = SimulationPlan(hub.url, "", folder / "fleet", count, options.processes)
                    measure(hub, client, versions[: 1 if count == MOST else REPEATS], versions[REPEATS], plan)
        finally:
            hub.close()
    if MOST not in counts:
        print_null()


def measure(hub: HubProcess, client: ShoalClient, versions: list[int], other: int, plan: SimulationPlan) -> None:
    """Measure one number of devices: fan-out of `other`, rollouts of `versions`, fan-out; the peer is their mean."""
    token = client.tokens.create(uses=plan.devices).token
    with simulating(SimulationPlan(plan.hub_url, token, plan.data, plan.devices, plan.processes)) as simulation:
        wait_until(simulation, lambda: simulation.state().online == plan.devices)
        wait_until(simulation, lambda: known(client) >= plan.devices)
        before = fanned_out(hub, client, simulation, other)
        ours = []
        for version in versions:
            ours.append(rolled_out(hub, client, simulation, version))
            remove(client, simulation, version)
        after = fanned_out(hub, client, simulation, other)
        simulation.stop()
    print_figures(plan.devices, ours, [before, after])


def rolled_out(hub: HubProcess, client: ShoalClient, simulation: Simulation, version: int) -> Run:
    """Roll a version out in one wave."""
    done = {f"{MODEL}/{version}": simulation.plan.devices}
    before_cpu, state = cpu_of(hub), simulation.state()
    rollout = client.rollouts.start(MODEL, version, timeout_s=WAIT_S)
    wait_until(simulation, lambda: simulation.state().active == done)
    spent, now = cpu_since(before_cpu, hub), simulation.state()
    wait_until(simulation, lambda: read_one(hub, "SELECT state FROM rollouts WHERE id = ?", rollout.id) == "succeeded")
    spent_to_end = cpu_since(before_cpu, hub)
    (times,) = (one for one in now.versions if one.version == version)
    if times.last_active_at_s is None:
        sys.exit("no device has said when it became active")
    return Run(
        times.last_active_at_s - rollout.created_at.timestamp(),
        *spent,
        *spent_to_end,
        now.cpu_s - state.cpu_s,
        now.received_bytes - state.received_bytes,
    )


def fanned_out(hub: HubProcess, client: ShoalClient, simulation: Simulation, version: int) -> Run:
    """Have every device read the version's chunks, which a paused rollout keeps at the broker."""
    (variant,) = client.models.version(MODEL, version).variants
    canary = next(iter(client.devices.all())).id
    others = [device.id for device in client.devices.all() if device.id != canary]
    waves = [1, len(others)]  # the first may get it before the pause
    rollout = client.rollouts.start(MODEL, version, devices=[canary, *others], waves=waves, timeout_s=WAIT_S)
    client.rollouts.pause(rollout.id)
    wait_until(simulation, lambda: is_standing(hub, variant.sha256))
    before_cpu = cpu_of(hub)
    parts = simulation.fan_out(
        variant.sha256, -(-variant.size_bytes // chunk_bytes_for(variant.size_bytes)), WINDOW, WAIT_S
    )
    spent = cpu_since(before_cpu, hub)
    client.rollouts.abort(rollout.id)
    wait_until(simulation, lambda: f"{MODEL}/{version}" not in simulation.state().active)
    return Run(
        max(one.ended_at_s for one in parts) - min(one.started_at_s for one in parts),
        *spent,
        *spent,
        sum(one.cpu_s for one in parts),
        sum(one.received_bytes for one in parts),
    )


def remove(client: ShoalClient, simulation: Simulation, version: int) -> None:
    """Take the version from the devices again, so that the next rollout begins without it."""
    rollout_id = next(one.id for one in client.rollouts.list() if one.version == version)
    client.rollouts.roll_back(rollout_id)
    wait_until(simulation, lambda: simulation.state().active == {})
    wait_until(
        simulation, lambda: (rollout_id, "rolled_back") in ((one.id, one.state) for one in client.rollouts.list())
    )


def print_figures(devices: int, ours: list[Run], peers: list[Run]) -> None:
    """Print one line for the time and one for the hub's share of the CPU, each by the rollout in the middle."""
    peer_s = statistics.mean(one.wall_s for one in peers)
    by_time = sorted(ours, key=lambda one: one.wall_s)[len(ours) // 2]
    ratio = by_time.wall_s / peer_s
    line = {
        "name": f"rollout_scale_{devices}_devices", "unit": "s", "ours": round(by_time.wall_s, 2),
        "peer": round(peer_s, 2),
        "peer_name": "the broker fans the same chunks out to the same connections", "ratio": round(ratio, 3),
        "n": len(ours), "each": [round(one.wall_s, 2) for one in ours],
        "peers": [round(one.wall_s, 2) for one in peers],
        "received_mb": round(by_time.received_bytes / 1e6, 1),
        "peer_received_mb": round(peers[0].received_bytes / 1e6, 1),
        "simulator_cpu_s": round(by_time.simulator_cpu_s, 2),
        "peer_simulator_cpu_s": round(statistics.mean(one.simulator_cpu_s for one in peers), 2),
        "peer_broker_cpu_s": round(statistics.mean(one.broker_cpu_s for one in peers), 2),
        "goal": f"ratio at most {MAX_RATIO}", "holds": ratio <= MAX_RATIO,
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    print_share(f"rollout_hub_cpu_{devices}_devices", [(one.hub_cpu_s, one.broker_cpu_s) for one in ours])
    to_end = [(one.hub_cpu_to_end_s, one.broker_cpu_to_end_s) for one in ours]
    print_share(f"rollout_hub_cpu_to_its_end_{devices}_devices", to_end)


def print_share(name: str, spent: list[tuple[float, float]]) -> None:
    """Print a line for the hub's CPU and the broker's in some rollouts, by the one whose share is in the middle."""
    hub_s, broker_s = sorted(spent, key=lambda one: one[0] / one[1])[len(spent) // 2]
    line = {
        "name": name, "unit": "s", "ours": round(hub_s, 2), "peer": round(broker_s, 2),
        "peer_name": "the broker in the same rollout", "ratio": round(hub_s / broker_s, 3), "n": len(spent),
        "each": [round(one / other, 3) for one, other in spent],
        "goal": f"ratio at most {MAX_HUB_SHARE}", "holds": hub_s / broker_s <= MAX_HUB_SHARE,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def print_null() -> None:
    """Say that the largest fleet was not measured."""
    goal = f"ratio at most {MAX_RATIO}; run with --full"
    line = {"name": f"rollout_scale_{MOST}_devices", "unit": "s", "ours": None, "peer": None, "ratio": None, "n": 0}
    print(json.dumps(line | {"goal": goal, "holds": None}), flush=True)


def add_version(fleet: Fleet, folder: Path, seed: int) -> int:
    """Register a version whose int8 variant has 5 MB."""
    return fleet.add_version(folder, seed, large_onnx(seed))


def large_onnx(seed: int) -> bytes:
    """Return the flows' linear classifier as three layers whose product it is: large, and quick to run."""
    random = np.random.default_rng(seed)
    first = random.normal(size=(len(WEIGHTS), HIDDEN)).astype(np.float32)
    second = (random.normal(size=(HIDDEN, WIDE)) / HIDDEN).astype(np.float32)
    third = (np.linalg.pinv(first @ second) @ (WEIGHTS + seed)).astype(np.float32)
    layers = {"first": first, "second": second, "third": third}
    names = ["features", "a", "b", "scores"]
    nodes = [
        helper.make_node("MatMul", [before, layer], [after])
        for before, layer, after in zip(names, layers, names[1:], strict=False)
    ]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Softmax", ["scores"], ["probabilities"])],
        MODEL,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(WEIGHTS)])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, WEIGHTS.shape[1]])],
        [numpy_helper.from_array(weights, name) for name, weights in layers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def known(client: ShoalClient) -> int:
    """Return how many devices the hub has a report of."""
    return sum(bool(device.targets) and device.presence == "online" for device in client.devices.all())


def cpu_of(hub: HubProcess) -> dict[str, float]:
    """CPU seconds of each part of the hub, and of the broker, by the scheduler's own account (nanoseconds).

    It is read from the process's clock, not from its threads: those that have ended count as well.
    """
    return {part: time.clock_gettime(~hub.pid_of(part) << 3 | _SCHEDULED) for part in (*PARTS, "broker")}


def cpu_since(before: dict[str, float], hub: HubProcess) -> tuple[float, float]:
    """Return the CPU seconds of the broker and of the hub since then."""
    now = cpu_of(hub)
    return now["broker"] - before["broker"], sum(now[part] - before[part] for part in PARTS)


def is_standing(hub: HubProcess, sha256: str) -> bool:
    """Whether the hub has published all of an artifact."""
    return read_one(hub, "SELECT state FROM retained WHERE sha256 = ?", sha256) == "standing"


def read_one(hub: HubProcess, query: str, value: str) -> object:
    """Read a value from the hub's database, without asking the hub, whose CPU counts; None if there is no row."""
    with closing(sqlite3.connect(f"file:{hub.data / 'hub.sqlite'}?mode=ro", uri=True)) as database:
        row = database.execute(query, (value,)).fetchone()
    return row[0] if row is not None else None


def wait_until(simulation: Simulation, holds: Callable[[], bool]) -> None:
    """Wait, as long as the simulation runs."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > deadline_s:
            sys.exit(f"waited {WAIT_S} s in vain: {simulation.state()}")
        time.sleep(0.25)


if __name__ == "__main__":
    main()
