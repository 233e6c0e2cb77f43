"""Every key of TUF that a fleet's trust begins with in AWS KMS: no private half of them is on any disk."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.aws_kms.service import AwsKms, install
from tests.simulators.hub_process import HubProcess

from shoal_agent.enrol import enrol

WAIT_S = 30.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the packages come over the network


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aws")
    install(folder)
    return folder


@pytest.fixture
def kms(packages: Path) -> Iterator[AwsKms]:
    service = AwsKms(packages)
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def hub(kms: AwsKms, tmp_path: Path) -> Iterator[HubProcess]:
    hub = HubProcess(tmp_path / "hub", **kms.environment).start()
    try:
        yield hub
    finally:
        hub.close()


@pytest.fixture
def agent(hub: HubProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    """A device that enrolled while every key was a file on the hub."""
    agent = AgentProcess(tmp_path / "kitchen", is_quick=True)
    with hub.client() as client:
        enrol(agent.data / "identity", hub.url, client.tokens.create().token, "kitchen")
    try:
        yield agent.start()
    finally:
        agent.close()


def run(hub: HubProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal_hub", "trust", *arguments]
    return subprocess.run(command, env=hub.environment, capture_output=True, text=True, timeout=60, check=False)


def shoal_trust(hub: HubProcess, *arguments: str) -> Any:
    done = run(hub, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def keys(hub: HubProcess, role: str) -> list[dict[str, str]]:
    return next(one["keys"] for one in shoal_trust(hub, "status")["roles"] if one["role"] == role)


def trusted(agent: AgentProcess, role: str) -> dict[str, Any]:
    """Return the metadata of a role that the agent's TUF client has verified."""
    return json.loads((agent.data / "trust" / "metadata" / f"{role}.json").read_bytes())


def wait_until(holds: Callable[[], bool], what: str, agent: AgentProcess) -> None:
    tick, deadline_s = threading.Event(), time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}: {agent.log()[-3000:]}"
        tick.wait(0.1)


def signers(metadata: dict[str, Any]) -> set[str]:
    return {one["keyid"] for one in metadata["signatures"] if one["sig"]}


def test_root_targets_and_code_sign_in_kms_and_devices_go_along(
    kms: AwsKms, hub: HubProcess, agent: AgentProcess, tmp_path: Path
) -> None:
    root, targets, code, next_root = (kms.make_key() for _ in range(4))
    timestamp = kms.make_key("alias/shoal-timestamp")
    ceremony = tmp_path / "ceremony"
    named = [f"--signer=root={root}", f"--signer=targets={targets}", f"--signer=code={code}"]
    made = shoal_trust(hub, "init", "--out", str(ceremony), "--root-keys", "1", "--root-threshold", "1", *named)
    assert made["keys"] == [root, targets, code]
    assert sorted(path.name for path in ceremony.rglob("*")) == ["root.json", "targets.json"], "no key is made"

    shoal_trust(hub, "rotate", "offline", "--from", str(ceremony))
    status = shoal_trust(hub, "sign", "--yes", "--signer", root, "--signer", targets, "--signer", code)
    assert status["staged"] == []
    (key,) = keys(hub, "root")
    assert key["place"] == "", "the hub knows its public half alone"
    wait_until(lambda: key["key_id"] in signers(trusted(agent, "root")), "the device trusts the root in KMS", agent)

    shoal_trust(hub, "rotate", "timestamp", "--signer", timestamp)
    shoal_trust(hub, "sign", "--yes", "--signer", root)
    (online,) = keys(hub, "timestamp")
    assert online["place"] == timestamp
    wait_until(lambda: signers(trusted(agent, "timestamp")) == {online["key_id"]}, "KMS signs the timestamp", agent)

    again = tmp_path / "again"
    named[0] = f"--signer=root={next_root}"
    shoal_trust(hub, "init", "--out", str(again), "--root-keys", "1", "--root-threshold", "1", *named)
    shoal_trust(hub, "rotate", "root", "--from", str(again))
    shoal_trust(hub, "sign", "--yes", "--signer", root, "--signer", next_root)
    (key,) = keys(hub, "root")
    wait_until(lambda: key["key_id"] in signers(trusted(agent, "root")), "the device trusts the next root", agent)
    assert list((hub.data / "trust" / "offline").iterdir()) == [], "the hub has erased its own offline keys"
    assert not (hub.data / "trust" / "online" / f"{online['key_id']}.key").exists()


def test_what_kms_does_not_sign_is_not_published_and_the_error_says_what_to_check(kms: AwsKms, hub: HubProcess) -> None:
    gone = run(hub, "rotate", "timestamp", "--signer", "awskms:alias/nowhere")
    assert gone.returncode != 0
    assert "opening the signer awskms:alias/nowhere: NotFoundException" in gone.stderr
    assert "kms:GetPublicKey and kms:Sign" in gone.stderr

    shoal_trust(hub, "rotate", "timestamp", "--signer", kms.make_key())
    before = shoal_trust(hub, "status")["roles"]
    kms.stop()
    refused = run(hub, "rotate", "snapshot")
    assert refused.returncode != 0
    assert "devices could not verify timestamp afterwards: signing the metadata" in refused.stderr
    assert "see that the token or service is there" in refused.stderr
    assert shoal_trust(hub, "status")["roles"] == before


def test_a_hub_without_aws_s_client_says_which_package_is_missing(tmp_path: Path) -> None:
    (tmp_path / "boto3.py").write_text("raise ImportError('as where it is not installed')")
    (tmp_path / "passphrase").write_text("several words are easy to keep")
    hub = HubProcess(tmp_path / "hub", PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    one_key = ["--root-keys", "1", "--root-threshold", "1", "--signer", "root=awskms:alias/root"]
    files = ["--out", str(tmp_path / "ceremony"), "--passphrase-file", str(tmp_path / "passphrase")]
    refused = run(hub, "init", *one_key, *files)
    assert refused.returncode != 0
    assert "pip install 'shoal[aws]'" in refused.stderr
    assert not (tmp_path / "ceremony").exists(), "nothing is left half made"
