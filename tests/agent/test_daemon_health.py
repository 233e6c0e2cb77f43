"""A real agent tells Prometheus how it is, and keeps samples where its owner allows it."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.test_daemon import infer, roll_out
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import GOLDEN, TinyVersion

from shoal_agent.capture import CaptureStore
from shoal_agent.capture.archive import from_npz
from shoal_agent.clock import system_clock
from shoal_agent.encryption_key import load_or_make_encryption_key


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    rules = tmp_path / "capture.toml"
    rules.write_text("[models.tiny]\nshare = 1\n")
    rules.chmod(0o600)
    options = ("--runtime", "onnxruntime", "--capture", "--capture-rules", str(rules), "--priority", "tiny=3")
    process = AgentProcess(tmp_path / "device", *options)
    hub.enrol(process.data / "identity")
    yield process.start()
    process.close()


def metrics(agent: AgentProcess) -> dict[str, float]:
    """Return all samples by name and labels; no two are the same."""
    url = urlsplit(json.loads((agent.data / "run" / "endpoint.json").read_text())["url"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {f"{one.name} {sorted(one.labels.items())}": one.value for one in samples}
    assert len(found) == len(samples)
    return found


def test_a_running_agent_tells_prometheus_who_it_is_what_it_has_served_and_that_it_is_linked(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    roll_out(hub, TinyVersion(1), "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    infer(agent, GOLDEN)
    found = metrics(agent)
    assert found["shoal_agent_requests_total [('model', 'tiny'), ('version', '1')]"] == 1
    assert found["shoal_agent_link_up []"] == 1
    assert found["shoal_agent_resident_memory_bytes []"] > 1_000_000
    assert abs(found["shoal_agent_start_time_seconds []"] - time.time()) < 600
    assert found["shoal_agent_shedding_level [('reason', 'hot')]"] in {0, 1, 2}
    assert any(name.startswith("shoal_agent_info") and "device_id" in name for name in found)


def test_a_running_agent_keeps_samples_by_the_owner_s_rules(hub: HubStandIn, agent: AgentProcess) -> None:
    roll_out(hub, TinyVersion(1), "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    infer(agent, GOLDEN[:1])
    agent.wait_for_log("samples of tiny are captured")
    store = CaptureStore(agent.data / "capture", system_clock)
    deadline_s = time.monotonic() + 20
    while not store.kept():
        assert time.monotonic() < deadline_s, agent.log()[-2000:]
        time.sleep(0.05)
    key = load_or_make_encryption_key(agent.data / "identity", store.header(store.kept()[0].name).device_id)
    captured = store.open(store.kept()[0].name, key)
    assert (captured.about.model, captured.about.reasons) == ("tiny", ("random",))
    np.testing.assert_array_equal(from_npz(captured.sample, 1_000_000)["image"].ravel(), GOLDEN[0].ravel())


def test_an_agent_whose_encryption_key_is_damaged_keeps_no_samples_that_nobody_could_read(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.kill()
    (agent.data / "identity" / "encryption.pem").write_bytes(b"damaged")
    agent.start()
    roll_out(hub, TinyVersion(1), "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    infer(agent, GOLDEN)
    assert not any(name.startswith("shoal_agent_captured_samples_total") for name in metrics(agent))
    assert agent.stop() == 0
    assert not (agent.data / "capture").exists()
