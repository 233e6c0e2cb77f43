"""What a real hub tells Prometheus: counts of all of its processes, which go on where one is killed."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.flows.conftest import MODEL, Fleet, running_fleet

WAIT_S = 30.0
Numbers = dict[tuple[str, ...], float]


@pytest.fixture
def address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def fleet(tmp_path: Path, address: str) -> Iterator[Fleet]:
    with running_fleet(tmp_path, SHOAL_METRICS_ADDRESS=address, SHOAL_METRICS_FRESH_S="0") as running:
        yield running


def scrape(address: str) -> Numbers:
    """Return the value of each series, by its name and the values of its labels."""
    text = httpx.get(f"http://{address}/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def wait_for(address: str, holds: Callable[[Numbers], bool]) -> Numbers:
    deadline_s = time.monotonic() + WAIT_S
    while not holds(seen := scrape(address)):
        assert time.monotonic() < deadline_s, seen
        time.sleep(0.1)
    return seen


@pytest.mark.slow
def test_counts_of_every_process_are_told_and_go_on_where_one_is_killed(
    fleet: Fleet, address: str, tmp_path: Path
) -> None:
    number = fleet.add_version(tmp_path / "one", seed=0)
    rollout = fleet.client.rollouts.start(MODEL, str(number))
    fleet.watch(rollout.id, "succeeded")
    told = scrape(address)
    assert told["shoal_devices", "online"] == 2
    assert told["shoal_rollouts", "succeeded"] == 1
    assert told["shoal_jobs", "compress", "succeeded"] == 1
    assert told["shoal_ingest_messages_total", "reported"] >= 2, "the ingest's"
    assert told["shoal_desired_states_published_total",] >= 2, "the controller's"
    assert told["shoal_events_total", "job_succeeded", "info"] == 1, "a job's"
    assert told["shoal_http_requests_total", "POST", "/api/v1/rollouts", "201"] == 1, "the API's"
    assert told["shoal_hub_process_up", "ingest"] == 1
    assert told["shoal_broker_connection_up", "hub-ingest-control"] == 1
    assert 0 < told["shoal_hub_process_resident_memory_bytes", "controller"] < 2**31

    ingest = int((fleet.hub.data / "run" / "ingest.ready").read_text())
    os.kill(ingest, signal.SIGKILL)
    gone = wait_for(address, lambda seen: seen["shoal_hub_process_up", "ingest"] == 0)
    assert ("shoal_broker_connection_up", "hub-ingest-control") not in gone, "it knows of none any more"
    assert gone["shoal_ingest_messages_total", "reported"] >= told["shoal_ingest_messages_total", "reported"]
    back = wait_for(address, lambda seen: seen["shoal_hub_process_up", "ingest"] == 1)
    assert back["shoal_broker_connection_up", "hub-ingest-control"] == 1
    before = back["shoal_ingest_messages_total", "reported"]
    assert before >= told["shoal_ingest_messages_total", "reported"], "a count never falls"
    fleet.client.devices.configure(fleet.device_ids[0], heartbeat_s=30)
    wait_for(address, lambda seen: seen["shoal_ingest_messages_total", "reported"] > before)
