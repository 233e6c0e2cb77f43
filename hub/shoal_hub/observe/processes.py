"""The hub's processes as the kernel has them: whether they live, since when, and what they take (Linux `/proc`)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from shoal_hub.counts_folder import counts_folder, places
from shoal_hub.settings import Settings

NAMES: Final = ("api", "ingest", "controller")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_USER, _SYSTEM, _RESIDENT_PAGES = 11, 12, 21
"""Places in `/proc/<pid>/stat` after the command's name (proc(5): fields 14, 15 and 24)."""


def process_families(settings: Settings, proc: Path = Path("/proc")) -> Iterator[Metric]:
    """Yield how each process of the hub on this machine is, and how full its disk is.

    Args:
        settings: The hub's.
        proc: Where the kernel tells of processes.
    """
    text = "Whether a process of the hub that this machine is meant to run has said that it serves, and lives."
    up = GaugeMetricFamily("shoal_hub_process_up", text, labels=["process"])
    memory = GaugeMetricFamily("shoal_hub_process_resident_memory_bytes", "What it has in memory.", labels=["process"])
    text = "Processor time that it has used, in user and system mode."
    cpu = CounterMetricFamily("shoal_hub_process_cpu_seconds", text, labels=["process"])
    found = [place for place in places(counts_folder(settings.data)) if place.process in NAMES]
    for name in NAMES:
        if alike := [place.is_serving for place in found if place.process == name]:
            up.add_metric([name], int(any(alike)))
    for place in found:
        if place.pid is not None and (stat := _stat(place.pid, proc)) is not None:
            memory.add_metric([place.name], int(stat[_RESIDENT_PAGES]) * _PAGE_BYTES)
            cpu.add_metric([place.name], (int(stat[_USER]) + int(stat[_SYSTEM])) / _TICKS_PER_S)
    yield from (up, memory, cpu)
    yield from _disk(settings.data)


def _stat(pid: int, proc: Path) -> Sequence[str] | None:
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended just now
        return None


def _disk(folder: Path) -> Iterator[Metric]:
    try:
        disk = os.statvfs(folder)
    except OSError:  # that it is missing is what there is to tell
        return
    yield GaugeMetricFamily("shoal_hub_disk_bytes", "The disk with the hub's data.", disk.f_frsize * disk.f_blocks)
    text = "What is free for the hub on the disk with its data."
    yield GaugeMetricFamily("shoal_hub_disk_free_bytes", text, disk.f_frsize * disk.f_bavail)
