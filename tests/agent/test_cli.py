"""The agent's command line as a person sees it: answers, and errors of two lines with what to do."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import anyio
import numpy as np
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.https_hub import Authority, HttpsHub, https_hub
from tests.fixtures import tiny
from tests.fixtures.tiny_trainer import write_examples
from tests.simulators.agent_process import AgentProcess

from shoal_agent.cli import main
from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.enrol import enrol
from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings

BATCH = tiny.GOLDEN


class Result(NamedTuple):
    """What a command printed, and its exit code."""

    exit_code: int
    output: str
    stderr: str


def call(*arguments: str | Path) -> Result:
    out, err = io.StringIO(), io.StringIO()
    command = ["shoal-agent", *(str(argument) for argument in arguments)]
    with (
        mock.patch.object(sys, "argv", command),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Result(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def refused(*arguments: str | Path) -> str:
    """Return the error of a command that must fail: exit code 1 and two lines, what and what to do."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    what, do = result.stderr.strip().splitlines()
    assert what.startswith("error: ")
    assert do.startswith("  do: ")
    return result.stderr


def run_agent(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal_agent", "run", "--data", str(data), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsHub]:
    with https_hub(tmp_path_factory.mktemp("hub"), Authority()) as serving:
        yield serving


@pytest.fixture(scope="module")
def running(hub: HttpsHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of an agent that runs and serves version 1; its broker does not answer."""
    data = tmp_path_factory.mktemp("running") / "data"
    enrol(data / "identity", hub.url, hub.authority.token)

    async def deploy() -> None:
        device = Device(data)
        await device.converge(device.publish(version(1), "dp-1"))
        await device.server.aclose()

    anyio.run(deploy)
    process = AgentProcess(data, is_quick=True).start()
    yield data
    assert process.stop() == 0


@pytest.fixture
def enrolled(hub: HttpsHub, tmp_path: Path) -> Path:
    enrol(tmp_path / "data" / "identity", hub.url, hub.authority.token)
    return tmp_path / "data"


def test_a_device_enrols_from_a_token_file(hub: HttpsHub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(hub.authority.token + "\n")
    enrolling = ("enrol", "--data", tmp_path / "data", "--hub", hub.url, "--token-file", tmp_path / "token")
    result = call(*enrolling)
    assert (result.exit_code, DEVICE in result.output, "shoal-agent run" in result.output) == (0, True, True)
    assert json.loads(call(*enrolling, "--json").output) == {"device_id": DEVICE, "broker": "127.0.0.1:8883"}


def test_a_device_enrols_by_a_variable_and_by_no_argument_that_every_process_could_read(
    hub: HttpsHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolling = ("enrol", "--data", tmp_path / "data", "--hub", hub.url)
    assert call(*enrolling, "--token", hub.authority.token).exit_code == 2
    monkeypatch.setenv("SHOAL_TOKEN", hub.authority.token)
    assert call(*enrolling).exit_code == 0


def test_a_refused_enrolment_says_what_to_do(hub: HttpsHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_TOKEN", "half a token")
    error = refused("enrol", "--data", tmp_path, "--hub", hub.url)
    assert "reading the token" in error
    assert "shoal tokens create" in error


def test_a_device_tells_its_keys_fingerprint_before_it_is_enrolled_and_enrols_by_it(
    hub: HttpsHub, tmp_path: Path
) -> None:
    first = call("key", "--data", tmp_path / "data").output.strip()
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert json.loads(call("key", "--data", tmp_path / "data", "--json").output) == {"key_sha256": first}
    pin = hub.authority.token.split(".")[1]
    hub.looks = 1
    result = call("enrol", "--data", tmp_path / "data", "--hub", hub.url, "--ca-sha256", pin)
    assert result.exit_code == 0, result.stderr
    assert first in result.stderr, "it shows what the operator has to compare"
    assert call("key", "--data", tmp_path / "data").output.strip() == first


def test_a_device_waits_for_an_operator_as_long_as_it_was_told(hub: HttpsHub, tmp_path: Path) -> None:
    hub.looks = 1000
    pin = hub.authority.token.split(".")[1]
    result = call("enrol", "--data", tmp_path, "--hub", hub.url, "--ca-sha256", pin, "--wait-s", "0.1")
    hub.looks = 0
    assert result.exit_code == 1
    assert "error: enrolling at" in result.stderr
    assert "no operator has accepted the key" in result.stderr


def test_the_identity_is_shown_for_people_and_for_programs(enrolled: Path) -> None:
    facts = json.loads(call("identity", "--data", enrolled, "--json").output)
    assert facts["device_id"] == DEVICE
    assert facts["key_sha256"] == call("key", "--data", enrolled).output.strip()
    assert datetime.fromisoformat(facts["expires_at"]) > datetime.now(timezone.utc)
    assert re.fullmatch("[0-9a-f]{64}", facts["encryption_key_sha256"])
    text = call("identity", "--data", enrolled).output
    assert all(str(value) in text for value in facts.values())
    assert "PRIVATE" not in text


def test_status_tells_what_runs_and_what_is_served(running: Path) -> None:
    text = call("status", "--data", running).output
    assert DEVICE in text
    assert "runs at http://127.0.0.1:" in text
    assert "tiny: version 1 (generic-onnx-float32)" in text
    answer = json.loads(call("status", "--data", running, "--json").output)
    assert answer["is_running"] is True
    assert answer["models"]["tiny"]["active"]["version"] == 1
    assert answer["setups"]["tiny"]["accelerator"] == "cpu"
    assert "runs in onnxruntime " in text


def test_status_of_an_agent_that_has_never_run_says_so(enrolled: Path) -> None:
    result = call("status", "--data", enrolled)
    assert result.exit_code == 0
    assert "does not run" in result.output
    assert json.loads(call("status", "--data", enrolled, "--json").output)["is_running"] is False


def test_status_tells_why_the_last_deployment_failed(enrolled: Path) -> None:
    async def fail() -> None:
        device = Device(enrolled)
        wanted = device.publish(version(2, lambda variant: variant.model_copy(update={"target": "other"})), "dp-2")
        with pytest.raises(Exception, match="this device has"):
            await device.converge(wanted)

    anyio.run(fail)
    text = call("status", "--data", enrolled).output
    assert "last failure: choosing a variant" in text
    assert "do: roll out a variant for this device's target" in text


def test_a_device_that_is_not_enrolled_is_told_how(tmp_path: Path) -> None:
    assert "shoal-agent enrol" in refused("status", "--data", tmp_path)
    assert "shoal-agent enrol" in refused("identity", "--data", tmp_path)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_predict_prints_a_label_for_each_row(running: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"batch{suffix}"
    if suffix == ".npy":
        np.save(path, BATCH)
    else:
        path.write_text(json.dumps(BATCH.tolist()))
    expected = tiny.probabilities(BATCH)
    lines = call("predict", "--data", running, "tiny", path).output.splitlines()
    assert lines == [f"probabilities: label {row.argmax()} with {row.max():.3f}" for row in expected]
    answer = json.loads(call("predict", "--data", running, "tiny", path, "--json").output)
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected.ravel(), atol=1e-5)


def test_predict_with_another_shape_says_which_is_expected(running: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((1, 9), dtype=np.float32))
    assert "shape" in refused("predict", "--data", running, "tiny", tmp_path / "wide.npy")


def test_predict_of_an_unknown_model_names_it(running: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "batch.npy", BATCH)
    assert "nosuch" in refused("predict", "--data", running, "nosuch", tmp_path / "batch.npy")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.npy", b""), ("a.npy", b"text"), ("a.json", b"{"), ("a.json", b'["x"]'), ("a.json", b"[[1],[2,3]]"),
     ("a.json", b'{"a": 1}'), ("a.json", b"3"), ("a.json", b"\xff\xfe")],
)  # fmt: skip
def test_predict_with_a_file_that_holds_no_numbers_says_so(
    running: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert "list of numbers" in refused("predict", "--data", running, "tiny", tmp_path / name)


def test_predict_without_a_running_agent_says_how_to_start_it(enrolled: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "batch.npy", BATCH)
    assert "start it: shoal-agent run" in refused("predict", "--data", enrolled, "tiny", tmp_path / "batch.npy")
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    (enrolled / "run").mkdir()
    (enrolled / "run" / "endpoint.json").write_text(json.dumps({"url": f"http://127.0.0.1:{free}"}))
    assert "start it: shoal-agent run" in refused("predict", "--data", enrolled, "tiny", tmp_path / "batch.npy")
    assert "does not run" in call("status", "--data", enrolled).output


def test_labelled_examples_are_added_and_listed(tmp_path: Path) -> None:
    assert "no datasets yet" in call("data", "list", "--data", tmp_path).output
    source = write_examples(tmp_path / "labelled.npz", 12)
    assert "12 labelled examples" in call("data", "add", "--data", tmp_path, "digits", source).output
    assert call("data", "list", "--data", tmp_path).output == "digits: 12 labelled examples\n"
    assert json.loads(call("data", "list", "--data", tmp_path, "--json").output) == {"digits": 12}


def test_examples_of_another_form_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"bad")
    assert "shoal-agent data add" in refused("data", "add", "--data", tmp_path, "digits", tmp_path / "bad.npz")


def test_a_second_agent_on_one_folder_is_refused(running: Path) -> None:
    second = run_agent(running, "--port", "0")
    assert second.returncode == 1
    assert "another one uses" in second.stderr
    assert "  do: stop it first" in second.stderr
    assert "Traceback" not in second.stderr
    assert "runs at" in call("status", "--data", running).output


def test_the_encryption_key_is_replaced_and_the_hub_will_be_told(enrolled: Path) -> None:
    before = load_or_make_encryption_key(enrolled / "identity").public_hex
    answer = json.loads(call("identity", "rotate-encryption-key", "--data", enrolled, "--json").output)
    after = load_or_make_encryption_key(enrolled / "identity").public_hex
    assert after != before
    assert answer == {"device_id": DEVICE, "encryption_key": after}
    with closing(Outbox(enrolled / "outbox.sqlite", OutboxSettings())) as outbox:
        (queued,) = outbox.after(0, 10)
    assert json.loads(queued.body)["body"] == {"kind": "encryption_key_replaced", "encryption_key": after}
    assert "start the agent" in call("identity", "rotate-encryption-key", "--data", enrolled).output


def test_the_encryption_key_is_not_replaced_under_a_running_agent_nor_before_enrolment(
    running: Path, tmp_path: Path
) -> None:
    before = (running / "identity" / "encryption.pem").read_bytes()
    assert "stop it first" in refused("identity", "rotate-encryption-key", "--data", running)
    assert (running / "identity" / "encryption.pem").read_bytes() == before
    assert "not enrolled" in refused("identity", "rotate-encryption-key", "--data", tmp_path)


def test_a_port_that_is_taken_is_said_so(enrolled: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refusal = run_agent(enrolled, "--port", str(taken.getsockname()[1]))
    assert refusal.returncode == 1
    assert "cannot be bound" in refusal.stderr
    assert "  do: choose a free port" in refusal.stderr
    assert "Traceback" not in refusal.stderr


@pytest.mark.parametrize(("options", "complaint"), [(("--runtime", "nosuch"), "choosing a runtime"), ((), "enrolled")])
def test_an_agent_that_can_not_start_says_why(tmp_path: Path, options: tuple[str, ...], complaint: str) -> None:
    assert complaint in refused("run", "--data", tmp_path, *options)
    assert "enrolled" in refused("run", "--data", tmp_path / "nowhere")
