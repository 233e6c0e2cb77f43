"""The stock tritonclient works with the endpoint: JSON and binary data both ways, all datatypes, all extensions."""

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from tests.agent.serving.conftest import running, served_tiny
from tests.agent.serving.echo import NAMES, EchoEngine, served_echo
from tests.environments import environment
from tests.fixtures import tiny

REQUIREMENTS = ("tritonclient[grpc,http]==2.73.0", "numpy<3")
SCRIPT = Path(__file__).with_name("triton_client.py")
ROWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the client found at an endpoint with `tiny` and the echoes."""
    python = environment("tritonclient", *REQUIREMENTS)

    async def visit() -> bytes:
        async with running() as endpoint:
            await endpoint.server.swap("tiny", served_tiny())
            for kind, datatype in NAMES.items():
                await endpoint.server.swap(f"echo-{kind}", served_echo(f"echo-{kind}", EchoEngine(datatype)))
            command = [str(python), str(SCRIPT), f"127.0.0.1:{endpoint.port}"]
            ran = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
            assert ran.returncode == 0, ran.stderr.decode()
            return ran.stdout

    answer: dict[str, Any] = json.loads(anyio.run(visit))
    return answer


def test_health_and_metadata(found: dict[str, Any]) -> None:
    assert (found["live"], found["ready"]) == (True, True)
    assert found["model_ready"] == [True, True, False]
    assert found["server"]["name"] == "shoal-agent"
    assert found["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize("kind", NAMES)
def test_every_datatype_comes_back_as_it_went_by_json_and_as_binary_data(found: dict[str, Any], kind: str) -> None:
    assert found["echo"][kind] == [True] * (2 if kind == "float16" else 4)


def test_predictions_are_the_models_own_also_in_the_background_and_compressed(found: dict[str, Any]) -> None:
    for answer in (found["tiny"], found["async"], *found["compressed"]):
        np.testing.assert_allclose(answer, tiny.probabilities(ROWS), atol=1e-6)


def test_the_repository_is_listed_and_stays_as_the_hub_wants_it(found: dict[str, Any]) -> None:
    assert {"name": "tiny", "version": "1", "state": "READY", "reason": ""} in found["index"]
    for verb in ("load", "unload"):
        assert found[verb].startswith("403: ")
        assert "what this device serves is decided by its hub" in found[verb]


def test_a_misfit_is_told_in_the_servers_words(found: dict[str, Any]) -> None:
    assert found["misfit"].startswith("400: input 'x' has shape [1, 5], expected [-1, 4]")


def test_statistics_count_what_was_asked(found: dict[str, Any]) -> None:
    [statistics] = found["statistics"]["model_stats"]
    assert (statistics["name"], statistics["version"]) == ("tiny", "1")
    assert (statistics["inference_count"], statistics["execution_count"]) == (4 * len(ROWS), 4)
    times = statistics["inference_stats"]
    assert (times["success"]["count"], times["fail"]["count"]) == (4, 1)
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert sum(times[part]["ns"] for part in parts) == pytest.approx(times["success"]["ns"], abs=40)
