"""How the device is: who it is, its link, memory, disk, temperatures, throttling, power."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from shoal_agent.board import Board, Readings, hottest_c
from shoal_agent.hardware import available_memory_bytes, memory_bytes
from shoal_agent.metrics.exposition import Family, Sample, gauge
from shoal_agent.telemetry import resident_bytes
from shoal_contract import __version__


@dataclass(frozen=True)
class DeviceSource:
    """Where the numbers come from.

    Attributes:
        device_id: This device.
        data_dir: The agent's folder, whose disk is told of.
        is_linked: Whether the link to the broker stands.
        waiting: How many messages wait in the outbox.
        board: The board.
        started_at_s: When the agent started, seconds since 1970.
    """

    device_id: str
    data_dir: Path
    is_linked: Callable[[], bool]
    waiting: Callable[[], int]
    board: Board
    started_at_s: float


def source_now(
    device_id: str, data_dir: Path, is_linked: Callable[[], bool], waiting: Callable[[], int], board: Board
) -> DeviceSource:
    """Return the source of an agent that starts now."""
    return DeviceSource(device_id, data_dir, is_linked, waiting, board, time.time())


def device_families(source: DeviceSource) -> list[Family]:
    """Return all that is known of the device; reads files, and may take some milliseconds."""
    return [*_agent(source), *_memory(source.board.root), *_disk(source.data_dir), *_board(source.board.read())]


def _agent(source: DeviceSource) -> Iterable[Family]:
    labels = {"version": __version__, "device_id": source.device_id}
    yield Family("shoal_agent_info", "gauge", "The agent's version and the device's id.", (Sample(1, labels),))
    yield gauge("shoal_agent_start_time_seconds", "When the agent started, since 1970.", source.started_at_s)
    yield gauge("shoal_agent_link_up", "Whether the link to the hub's broker stands.", int(source.is_linked()))
    yield gauge("shoal_agent_outbox_messages", "Messages that wait for the hub.", source.waiting())


def _memory(root: Path) -> Iterable[Family]:
    yield gauge("shoal_agent_resident_memory_bytes", "What the agent has in memory.", resident_bytes(root))
    yield gauge("shoal_board_memory_bytes", "The board's memory.", memory_bytes(root) or None)
    text = "What programs could still take without swapping, by the kernel's estimate."
    yield gauge("shoal_board_memory_available_bytes", text, available_memory_bytes(root))


def _disk(folder: Path) -> Iterable[Family]:
    try:
        disk = os.statvfs(folder)
    except OSError:  # the disk has gone; that it is missing here is what there is to tell
        return
    yield gauge("shoal_agent_disk_bytes", "The disk that holds the agent's data.", disk.f_frsize * disk.f_blocks)
    text = "What is free for the agent on the disk that holds its data."
    yield gauge("shoal_agent_disk_free_bytes", text, disk.f_frsize * disk.f_bavail)


def _board(readings: Readings) -> Iterable[Family]:
    text = "Temperature of one thermal zone."
    zones = tuple(Sample(zone.celsius, {"zone": str(zone.number), "name": zone.name}) for zone in readings.zones)
    yield Family("shoal_board_temperature_celsius", "gauge", text, zones)
    text = "Temperature of the processor's hottest part, which load shedding goes by."
    yield gauge("shoal_board_hottest_celsius", text, hottest_c(readings.zones))
    text = "Whether the board slows itself down for this reason now."
    now = tuple(Sample(int(one.is_active), {"reason": one.reason}) for one in readings.throttles)
    yield Family("shoal_board_throttled", "gauge", text, now)
    since = [(one.has_been_active, one.reason) for one in readings.throttles if one.has_been_active is not None]
    text = "Whether the board has slowed itself down for this reason since it started."
    samples = tuple(Sample(int(was_active), {"reason": reason}) for was_active, reason in since)
    yield Family("shoal_board_throttled_since_boot", "gauge", text, samples)
    rails = tuple(Sample(rail.watts, {"chip": rail.chip, "rail": rail.name}) for rail in readings.rails)
    yield Family("shoal_board_power_watts", "gauge", "What one supply gives.", rails)
