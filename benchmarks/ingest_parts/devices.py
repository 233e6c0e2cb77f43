"""Devices in processes of their own: what they say is built and signed by the contract's code before the clock runs."""

import asyncio
import base64
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ingest_parts.link import DeviceLink, Turn, publish_packet, tls_context

from shoal_agent.signer import DeviceSigner
from shoal_contract import topics
from shoal_contract.batch import pack
from shoal_contract.telemetry import (
    LATENCY_EDGES_MS,
    DriftEvidenceTold,
    Heartbeat,
    OutboxPosition,
    SketchCounts,
    TelemetryMessage,
    Window,
)
from shoal_hub.trust import files
from shoal_numerics import Histogram, HistogramEdges, pack_counts

STREAM = f"{1:016x}"
SKETCHES = 40
"""Different sketches of a device process; windows take turns with them, each at a time of its own."""
PATIENCE_S = 120.0


class Mix(NamedTuple):
    """What one turn of a device holds: a signed batch of windows, and heartbeats, each with a signature of its own."""

    name: str
    windows: int
    beats: int


@dataclass(frozen=True)
class Plan:
    """What a process of devices needs to know."""

    port: int
    authority: Path
    devices: Sequence[tuple[str, Path, Path]]
    edges: Sequence[Sequence[float]]
    confidence_bins: int
    model: str
    rows: int


class Sent(NamedTuple):
    """What devices have sent and the hub has acknowledged, and when the last word of it came, by the wall clock."""

    windows: int
    beats: int
    batches: int
    bytes: int
    began_s: float
    ended_s: float
    cpu_s: float


class DeviceProcess:
    """One process of devices, which does as it is told."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(plan, other), daemon=True)
        self._process.start()

    def prepare(self, mix: Mix, turns: int) -> None:
        """Have what is to be said built; `wait` returns once it is."""
        self._pipe.send(("prepare", (mix, turns)))

    def run(self, seconds: float) -> None:
        """Have the devices send for so long; `wait` returns what was sent once all of it is acknowledged."""
        self._pipe.send(("run", seconds))

    def wait(self) -> Sent | None:
        """Return the answer."""
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._pipe.send(("end", None))
        self._process.join()


def _serve(plan: Plan, pipe: Connection) -> None:
    turns: dict[str, list[Turn]] = {}
    while True:
        what, value = pipe.recv()
        try:
            if what == "end":
                return
            if what == "prepare":
                mix, count = value
                turns = {one[0]: list(_turns(plan, one, mix, count)) for one in plan.devices}
                pipe.send(None)
            else:
                pipe.send(asyncio.run(_run(plan, turns, value)))
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            pipe.send(error)


async def _run(plan: Plan, turns: dict[str, list[Turn]], seconds: float) -> Sent:
    loop = asyncio.get_running_loop()
    links: dict[str, DeviceLink] = {}
    for device_id, certificate, key in plan.devices:
        context = tls_context(plan.authority, certificate, key)
        _, links[device_id] = await loop.create_connection(
            partial(DeviceLink, topics.down_ack(device_id)), "127.0.0.1", plan.port, ssl=context
        )
    await asyncio.gather(*(link.ready for link in links.values()))
    began_s, cpu_s = time.time(), time.process_time()
    until_s = loop.time() + seconds
    for device_id, link in links.items():
        link.run(turns[device_id], until_s)
    await asyncio.wait_for(asyncio.gather(*(link.idle for link in links.values())), seconds + PATIENCE_S)
    ended_s, spent_s = time.time(), time.process_time() - cpu_s
    sent = [turn for link in links.values() for turn in link.sent]
    for link in links.values():
        link.close()
    await asyncio.sleep(0.1)  # what the goodbyes need to leave
    return Sent(
        sum(one.windows for one in sent),
        sum(one.beats for one in sent),
        sum(one.windows > 0 for one in sent),
        sum(len(one.packets) for one in sent),
        began_s,
        ended_s,
        spent_s,
    )


def _turns(plan: Plan, device: tuple[str, Path, Path], mix: Mix, count: int) -> Iterator[Turn]:
    device_id, _, key_file = device
    signer = DeviceSigner(files.read_ec_key(key_file))
    random = np.random.default_rng(int.from_bytes(device_id.encode()[-4:], "big"))
    sketches = list(_sketches(plan, random))
    now = datetime.now(timezone.utc)
    sequence = beats = packet_id = 0
    for _ in range(count):
        packets = []
        for _beat in range(mix.beats):
            beats += 1
            # A millisecond apart: the hub's clock goes on meanwhile, and takes no time that is far ahead of it.
            beat = Heartbeat(
                at=now + timedelta(milliseconds=beats),
                uptime_s=beats,
                memory_bytes=80_000_000,
                load=0.2,
                temperature_c=51.5,
                outbox_depth=mix.windows,
                connection=1,
                sequence=beats,
            )
            payload = TelemetryMessage(body=beat).to_bytes()
            packet_id = packet_id % 65_535 + 1
            sealed = signer.seal("telemetry", payload)
            packets.append(publish_packet(topics.up(device_id, "telemetry"), packet_id, sealed))
        windows = [
            _window(plan, sketches[(sequence + place) % SKETCHES], now, sequence + place)
            for place in range(mix.windows)
        ]
        first = OutboxPosition(stream=STREAM, sequence=sequence + 1, oldest=1)
        sealed = signer.seal_compact("windows", pack(first, "windows", windows))  # as to a hub that reads it
        packet_id = packet_id % 65_535 + 1
        packets.append(publish_packet(topics.up(device_id, "windows"), packet_id, sealed))
        sequence += mix.windows
        yield Turn(b"".join(packets), len(packets), sequence, mix.windows, mix.beats)


def _sketches(plan: Plan, random: np.random.Generator) -> Iterator[tuple[SketchCounts, SketchCounts, tuple[int, ...]]]:
    edges = HistogramEdges.from_lists(plan.edges)
    features, bins = edges.padded_shape
    for _ in range(SKETCHES):
        rows = random.normal(size=(plan.rows, features)).astype(np.float32)
        counted = Histogram.of(edges, rows)
        confidence = random.multinomial(plan.rows, [1 / plan.confidence_bins] * plan.confidence_bins).tolist()
        yield (
            _counts(features, bins, counted.padded().ravel()),
            _counts(features, 1, counted.missing),
            tuple(confidence),
        )


def _counts(rows: int, bins: int, counts: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> SketchCounts:
    return SketchCounts(rows=rows, bins=bins, data=base64.b64encode(pack_counts(counts)).decode())


def _window(
    plan: Plan, sketch: tuple[SketchCounts, SketchCounts, tuple[int, ...]], now: datetime, number: int
) -> bytes:
    features, missing, confidence = sketch
    at = now + timedelta(milliseconds=number)
    latency = (0, 0, 0, plan.rows, *(0,) * (len(LATENCY_EDGES_MS) - 3))
    window = Window(
        outbox=OutboxPosition(stream=STREAM, sequence=1, oldest=1),
        model=plan.model,
        version=1,
        manifest_sha256="0" * 64,
        started_at=at - timedelta(minutes=1),
        ended_at=at,
        requests=plan.rows,
        samples=plan.rows,
        errors=0,
        features=features,
        missing=missing,
        predictions=(plan.rows - plan.rows // 3, plan.rows // 3),
        confidence=confidence,
        latency=latency,
        evidence=DriftEvidenceTold(windows=number + 1),
    )
    return TelemetryMessage(body=window).to_bytes()
