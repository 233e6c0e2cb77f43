"""Heartbeats: as often as they are asked for, but where the device has just said something else."""

import math
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.link import Link
from shoal_agent.monitor import Monitor
from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
from shoal_agent.telemetry import Telemetry, next_beat_s
from shoal_contract.desired import DesiredConfig
from shoal_contract.telemetry import Heartbeat, TelemetryMessage
from shoal_contract.wire import parse_message

EVERY_S = 60.0
SECONDS = st.integers(0, 10**6)


@given(SECONDS, st.one_of(SECONDS, st.sampled_from([-math.inf, math.inf])))
def test_a_device_says_something_in_each_interval_and_a_heartbeat_in_every_second_one(
    beat_s: float, spoken_s: float
) -> None:
    due_s = next_beat_s(beat_s, spoken_s, EVERY_S)
    assert beat_s + EVERY_S <= due_s <= beat_s + 2 * EVERY_S
    if beat_s <= spoken_s <= beat_s + EVERY_S:
        assert due_s == spoken_s + EVERY_S
    if spoken_s < beat_s:
        assert due_s == beat_s + EVERY_S
    if spoken_s == math.inf:
        assert due_s == beat_s + 2 * EVERY_S


def _now() -> datetime:
    return datetime(2026, 11, 29, tzinfo=timezone.utc)


class Wire:
    """A link that is always up; each heartbeat that leaves over it is waited for by `next`."""

    def __init__(self) -> None:
        self._send, self._take = self.streams = anyio.create_memory_object_stream[tuple[float, int]](10)

    async def wait_connected(self) -> int:
        return 7

    async def say(self, _channel: str, message: bytes) -> None:
        beat = parse_message(TelemetryMessage, message, 10_000).body
        assert isinstance(beat, Heartbeat)
        await self._send.send((time.monotonic(), beat.sequence))

    async def next(self) -> tuple[float, int]:
        with anyio.fail_after(10):
            return await self._take.receive()


@pytest.mark.anyio
async def test_a_report_puts_the_next_heartbeat_off_and_another_configuration_brings_it_at_once(tmp_path: Path) -> None:
    wire, spoken_s = Wire(), -math.inf
    send, take = wire.streams
    with send, take, closing(Outbox(tmp_path / "outbox.sqlite", OutboxSettings())) as outbox:
        telemetry = Telemetry(
            cast("Link", wire), outbox, Monitor(_now), _now, before_beat=lambda: None, spoken_s=lambda: spoken_s
        )
        telemetry.configure(DesiredConfig(heartbeat_s=1))
        async with anyio.create_task_group() as group:
            group.start_soon(telemetry.beat)
            began_s, first = await wire.next()
            spoken_s = began_s + 0.5
            put_off_s, second = await wire.next()
            usual_s, _ = await wire.next()
            telemetry.configure(DesiredConfig(heartbeat_s=3600))
            await wire.next()
            telemetry.configure(DesiredConfig(heartbeat_s=1800))
            await wire.next()
            group.cancel_scope.cancel()
    assert (first, second) == (0, 1)
    assert put_off_s - began_s >= 1.5
    assert usual_s - put_off_s >= 1.0


@pytest.mark.anyio
async def test_amid_an_update_only_every_second_heartbeat_waits_for_the_report_of_its_end(tmp_path: Path) -> None:
    wire = Wire()
    send, take = wire.streams
    with send, take, closing(Outbox(tmp_path / "outbox.sqlite", OutboxSettings())) as outbox:
        telemetry = Telemetry(
            cast("Link", wire), outbox, Monitor(_now), _now, before_beat=lambda: None, spoken_s=lambda: math.inf
        )
        telemetry.configure(DesiredConfig(heartbeat_s=2))
        async with anyio.create_task_group() as group:
            group.start_soon(telemetry.beat)
            (first_s, _), (second_s, _), (third_s, _) = [await wire.next() for _ in range(3)]
            group.cancel_scope.cancel()
    assert second_s - first_s >= 4.0
    assert third_s - second_s < 4.0
