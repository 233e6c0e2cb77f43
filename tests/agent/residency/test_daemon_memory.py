"""Two large models and memory for one: the real agent measures them, unloads one, and loads it when it is asked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import FEATURES, GOLDEN, TinyVersion, answer

MEGABYTE = 1_000_000
LARGE_BYTES = 24 * MEGABYTE
CHUNK_BYTES = 512 * 1024
BODY = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [2, 4], "data": GOLDEN.ravel().tolist()}]}


def large(number: int, model: str) -> TinyVersion:
    """Return a version that answers as the tiny one does, and has weights of `LARGE_BYTES` besides."""
    made = onnx.load_model_from_string(TinyVersion(number).file)
    graph = made.graph
    weights = np.full((FEATURES, LARGE_BYTES // 4 // FEATURES), 0.25, dtype=np.float32)
    graph.initializer.append(numpy_helper.from_array(weights, "large"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    nodes = [
        helper.make_node("MatMul", ["image", "large"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["z", "nothing"], ["same"]),
    ]
    softmax = graph.node.pop()
    softmax.input[0] = "same"
    graph.node.extend([*nodes, softmax])
    return TinyVersion(number, model=model, file=made.SerializeToString())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "device", "--runtime", "onnxruntime", "--repository-control")
    hub.enrol(process.data / "identity")
    yield process.start()
    process.close()


def memory(agent: AgentProcess, *options: str) -> dict[str, Any]:
    """Return what the command line tells of memory."""
    command = [sys.executable, "-m", "shoal_agent", "memory", "--data", str(agent.data), "--json", *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def loaded(agent: AgentProcess) -> list[str]:
    return [model["name"] for model in memory(agent)["models"] if model["is_loaded"]]


@pytest.mark.slow
def test_the_real_agent_keeps_to_a_budget_of_measured_memory(hub: HubStandIn, agent: AgentProcess) -> None:
    versions = {name: large(number, name) for number, name in enumerate(("a", "b"), 1)}
    for version in versions.values():
        hub.publish_artifact(version.file, chunk_bytes=CHUNK_BYTES)
        hub.publish_manifest(version.manifest())
    wanted = {name: version.wanted(f"dp-{name}") for name, version in versions.items()}
    for name in wanted:
        hub.want({one: wanted[one] for one in wanted if one <= name})
        hub.wait_for_section(f"models/{name}", "applied")
    sizes = {model["name"]: model["size_bytes"] for model in memory(agent)["models"]}
    assert all(LARGE_BYTES * 0.8 < size < LARGE_BYTES * 6 for size in sizes.values()), sizes
    assert agent.ask("/v2/repository/models/a/unload", {})[0] == 200
    assert agent.stop() == 0
    agent.start()
    status, body = agent.ask("/v2/models/a/infer", BODY)
    assert (status, "told to unload" in body["error"], loaded(agent)) == (503, True, ["b"])
    assert agent.ask("/v2/repository/models/a/load", {})[0] == 200
    assert loaded(agent) == ["a", "b"]
    assert agent.stop() == 0

    budget_mb = (max(sizes.values()) + min(sizes.values()) // 2) // MEGABYTE
    limited = AgentProcess(agent.data, "--runtime", "onnxruntime", "--memory-budget-mb", str(budget_mb))
    try:
        limited.start()
        hub.wait_for_section("models/b", "applied")
        assert len(loaded(limited)) == 1
        for name in ("a", "b", "a"):
            status, body = limited.ask(f"/v2/models/{name}/infer", BODY)
            assert status == 200, body
            found = np.array(body["outputs"][0]["data"]).reshape(2, 2)
            np.testing.assert_allclose(found, answer(versions[name].weights, GOLDEN), atol=1e-5)
            assert loaded(limited) == [name]
            told = memory(limited, "--for", str(max(sizes.values())))
            assert (told["preview"]["evicted"], told["taken_bytes"] <= told["budget_bytes"]) == ([name], True)
        assert limited.ask("/v2/repository/models/a/unload", {})[0] == 403
        assert limited.stop() == 0
    finally:
        limited.close()
