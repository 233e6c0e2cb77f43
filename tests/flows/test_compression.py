"""One command takes a registered float version and yields, per target of the fleet, the variant that real agents chose.

A real hub, a real broker over mutual TLS and real agent processes; one of these is killed while it measures.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.hub.registry.bundles import wide_onnx, write_bundle
from typer.testing import CliRunner

from shoal_client import ShoalClient
from shoal_client.compression import CompressionDetail
from shoal_hub.cli import app

WAIT_S = 800.0
ARGUMENTS = ["compress", "run", MODEL, "--recipe", "float16", "--max-drop", "1", "--busy", "--json"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_command_yields_for_each_target_the_variant_that_devices_measured(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = fleet.client.models.register_bundle(write_bundle(tmp_path / "one", model_onnx=wide_onnx(0))).number
    monkeypatch.setattr("shoal_hub.cli.compress.connect", lambda: other_client(fleet))
    ended = CliRunner().invoke(app, ARGUMENTS)
    assert ended.exit_code == 0, ended.output
    run = CompressionDetail.model_validate_json(ended.stdout[ended.stdout.index("{") :])
    assert (run.state, run.refused) == ("succeeded", {})
    [choice] = run.choices
    assert choice.basis == "devices", "figures are of a device, not of the hub's machine"
    assert choice.target is not None
    assert choice.chosen in {"float16", "source"}
    [measured] = [one for one in run.devices if one.outcome == "done"]
    assert measured.device_id in fleet.device_ids
    assert measured.result is not None
    told = {one["name"]: one for one in measured.result["measured"]}
    assert set(told) == {"source", "float16"}
    assert all(one["latency_ms"]["runs"] == 50 and one["samples"] == 50 for one in told.values())
    assert all(one["operators_problem"] is None for one in told.values()), "their operators were told, too"
    version = fleet.client.models.version(MODEL, str(number))
    [variant] = version.variants
    assert (variant.target, variant.latency_p50_ms) == (choice.target, told[str(choice.chosen)]["latency_ms"]["p50"])
    report = fleet.client.compression.report(run.id, "float16")
    assert report["lineage"]["data_fingerprint"]

    fleet.watch(fleet.client.rollouts.start(MODEL, str(number)).id, "succeeded")
    status, body = fleet.agents[0].ask(f"/v2/models/{MODEL}")
    assert (status, body["versions"]) == (200, [str(number)]), "the chosen variant passes its self-test and serves"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_device_that_dies_amid_a_benchmark_gives_way_to_another_of_its_class(fleet: Fleet, tmp_path: Path) -> None:
    """What the first has measured by then is lost, and nothing of the run is registered before the second is done."""
    fleet.client.models.register_bundle(write_bundle(tmp_path / "one", model_onnx=wide_onnx(0)))
    run_id = fleet.client.compression.start(MODEL, recipes=["float16"], patience_s=300.0, max_load=None).id
    [first] = wait_for(lambda: fleet.client.compression.show(run_id).devices, lambda seen: len(seen) == 1)
    agent = next(one for one in fleet.agents if one.device_id == first.device_id)
    agent.kill()
    run = wait_for(lambda: fleet.client.compression.show(run_id), lambda seen: seen.ended_at is not None)
    assert run.state == "succeeded", run.reason
    assert [one.outcome for one in run.devices] in (["expired", "done"], ["gone", "done"])
    messages = [one.message for one in fleet.client.events(subject=f"compression/{run_id}")]
    assert any("another device of its class is asked" in one for one in messages)


def other_client(fleet: Fleet) -> ShoalClient:
    return fleet.hub.client()


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    deadline_s = time.monotonic() + WAIT_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, json.dumps(str(seen))[:2000]
        time.sleep(0.1)
    return seen
