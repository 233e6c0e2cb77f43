"""Events from and results to a real broker on the device, which may go and come back."""

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.agent.features.conftest import Device, until
from tests.simulators.plain_broker import plain_broker

from shoal_agent.features.mqtt import LocalBroker
from shoal_contract.features import EventForm, MqttSink, MqttSource, Pipeline
from shoal_hub.broker.ports import free_port
from shoal_numerics.features.events import Arrival

pytestmark = pytest.mark.anyio


def declared(port: int, **source: Any) -> Pipeline:
    return Pipeline(
        source=MqttSource(port=port, topic="plant/+/x", qos=1, **source),
        form=EventForm(time_field="t"),
        definitions=("pairs",),
        sinks=(MqttSink(port=port, topic="results", qos=1),),
    )


@contextmanager
def connected(port: int, topic: str) -> Iterator[tuple[LocalBroker, "queue.SimpleQueue[bytes]"]]:
    """Another program on the device: it publishes, and gets what comes to `topic`."""
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    program = LocalBroker(("127.0.0.1", port), topic, 1, lambda _, payload: came.put(payload))
    program.start()
    try:
        assert program.wait_ready(10)
        yield program, came
    finally:
        program.stop()


def say(program: LocalBroker, topic: str, **event: float) -> None:
    program.publish(topic, json.dumps(event).encode(), 1, is_retained=False, timeout_s=10)


async def test_messages_become_results_and_the_topic_names_the_entity(device: Device, tmp_path: Path) -> None:
    with plain_broker(tmp_path) as port, connected(port, "results") as (program, came):
        async with device.running(declared(port, entity_level=1)) as running:
            await running.is_ready.wait()
            for pump, x in (("north", 1.0), ("south", 10.0), ("north", 3.0), ("south", 20.0)):
                say(program, f"plant/{pump}/x", t=x, x=x)
            await until(lambda: came.qsize() == 2)
            assert running.counts()["problems"] == {}
        found = [json.loads(came.get()) for _ in range(2)]
    assert {one["entity"]: one["features"]["mean"] for one in found} == {"north": 2.0, "south": 15.0}


async def test_a_level_that_the_topic_does_not_have_names_nobody(device: Device, tmp_path: Path) -> None:
    with plain_broker(tmp_path) as port, connected(port, "results") as (program, _):
        async with device.running(declared(port, entity_level=9)) as running:
            await running.is_ready.wait()
            say(program, "plant/north/x", t=1.0, x=1.0)
            await until(lambda: running.computation.reader.counts.malformed == 1)
    assert running.computation.reader.counts.events == 0


async def test_a_broker_that_comes_late_and_goes_meanwhile_costs_no_result(device: Device, tmp_path: Path) -> None:
    port = free_port()
    pipeline = declared(port).model_copy(update={"source": MqttSource(port=port, topic="other")})
    async with device.running(pipeline) as running:
        running.inbox.put([_pair(1.0)])
        await until(lambda: "mqtt sink 1" in running.counts()["problems"])
        with plain_broker(tmp_path, port), connected(port, "results") as (_, came):
            await until(came.qsize, 40)
            assert json.loads(came.get())["features"]["mean"] == 1.0
        running.inbox.put([_pair(2.0)])
        await until(lambda: "mqtt sink 1" in running.counts()["problems"])
        with plain_broker(tmp_path, port), connected(port, "results") as (_, came):
            await until(came.qsize, 40)
            assert json.loads(came.get())["features"]["mean"] == 2.0
            await until(lambda: "mqtt sink 1" not in running.counts()["problems"])


async def test_a_broker_beyond_the_lan_is_refused(device: Device) -> None:
    pipeline = declared(1883).model_copy(update={"source": MqttSource(host="8.8.8.8", topic="x")})
    async with device.running(pipeline) as running:
        await until(lambda: "source" in running.counts()["problems"])
        assert "beyond this device and its LAN" in running.counts()["problems"]["source"]


def _pair(x: float) -> Arrival:
    return Arrival(json.dumps([{"t": x, "x": x}] * 2).encode(), 5_000_000_000)
