"""A hub with models in two versions each, and a fleet: where a matrix happens."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TextIO

from tests.hub.registry.bundles import keras_archive, record, wide_onnx, write_bundle
from tests.simulators.hub_process import HubProcess
from tests.simulators.kills.agent_fleet import AgentFleet
from tests.simulators.kills.hub_parts import HubParts
from tests.simulators.kills.matrix import Matrix
from tests.simulators.kills.simulated_fleet import SimulatedFleet

from shoal_client import ShoalClient

_TECHNIQUE: Final = "int8-qdq-onnx"
_SETTINGS: Final = {
    "SHOAL_ENROL_PER_MINUTE": "100000",
    "SHOAL_DELTA_MIN_BYTES": str(2**30),  # whole files travel: more chunks to be killed at
    "SHOAL_TICK_S": "1",
    "SHOAL_MAX_JOBS": "4",
}


def add_versions(client: ShoalClient, folder: Path, models: Sequence[str]) -> None:
    """Register two versions of each model; every other model's files travel in several chunks."""
    jobs = []
    for number, model in enumerate(models):
        for seed in (2 * number, 2 * number + 1):
            bundle = write_bundle(
                folder / f"{model}-{seed}", seed=seed, model_onnx=wide_onnx(seed) if number % 2 else None, name=model
            )
            (bundle / "model.keras").write_bytes(keras_archive())
            description = json.loads((bundle / "bundle.json").read_text())
            description["files"]["model.keras"] = record(bundle / "model.keras")
            (bundle / "bundle.json").write_text(json.dumps(description))
            version = client.models.register_bundle(bundle).number
            jobs.append(client.models.compress(model, version, [_TECHNIQUE]).id)
    for job in jobs:
        client.wait_for_job(job)


@contextmanager
def simulated_matrix(folder: Path, *, models: int, devices: int, processes: int, out: TextIO) -> Iterator[Matrix]:
    """Have a hub and simulated devices."""
    with _hub_with_models(folder, models) as (hub, names), ExitStack() as stack:
        with hub.client() as client:
            token = client.tokens.create(uses=devices).token
        fleet = SimulatedFleet(hub.url, token, folder / "fleet", devices, processes)
        stack.callback(fleet.close)
        yield Matrix(HubParts(hub), fleet, names, out)


@contextmanager
def agent_matrix(folder: Path, *, models: int, devices: int, out: TextIO) -> Iterator[Matrix]:
    """Have a hub and real agents, each a process of its own."""
    with _hub_with_models(folder, models) as (hub, names), ExitStack() as stack:
        with hub.client() as client:
            tokens = [client.tokens.create().token for _ in range(devices)]
        fleet = AgentFleet(hub.url, tokens, folder / "agents")
        stack.callback(fleet.close)
        yield Matrix(HubParts(hub), fleet, names, out)


@contextmanager
def _hub_with_models(folder: Path, models: int) -> Iterator[tuple[HubProcess, list[str]]]:
    hub, names = HubProcess(folder / "hub", **_SETTINGS), [f"model-{number}" for number in range(models)]
    try:
        with hub.start().client() as client:
            add_versions(client, folder / "bundles", names)
        yield hub, names
    finally:
        hub.close()
