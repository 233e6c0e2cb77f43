"""What a broker that is not to be trusted makes of deltas, against a real agent over a real broker.

Whatever it offers, the agent stays within its memory, gets the version that was signed, and serves it.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.tiny_model import TinyVersion

from shoal_contract import topics
from shoal_contract.desired import DesiredConfig
from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import DeltaRef, describe
from shoal_numerics.compressed import zstd
from shoal_numerics.delta import encode_delta

CHUNK, HEADER_BYTES = 16 * 1024, 88
PADDING_BYTES = 20 * CHUNK
BOMB_BYTES = 2**30
ROOM_BYTES = 32 * 2**20
"""What an agent may grow by: the file, which is a hundredth of this, and what serving it takes anyway."""
NUMBERS = itertools.count(2)


class Updated(NamedTuple):
    """A device, its hub, and the version that it serves."""

    hub: HubStandIn
    agent: AgentProcess
    serving: list[TinyVersion]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    """A device that lives through all attacks: each test brings it to its next version."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker, hub_of_one(broker) as hub:
        agent = AgentProcess(tmp_path_factory.mktemp("device") / "data", is_quick=True)
        hub.enrol(agent.data / "identity")
        agent.start()
        try:
            first = TinyVersion(1, padding_bytes=PADDING_BYTES)
            hub.publish_artifact(first.file, chunk_bytes=CHUNK)
            hub.publish_manifest(first.manifest())
            hub.want({"tiny": first.wanted("dp-1")}, config=DesiredConfig(reconnect_jitter_s=0))
            hub.wait_for_section("models/tiny", "applied", "dp-1")
            yield Updated(hub, agent, [first])
        finally:
            agent.close()


def next_version() -> TinyVersion:
    return TinyVersion(next(NUMBERS), padding_bytes=PADDING_BYTES)


def offer(device: Updated, new: TinyVersion, delta: DeltaRef) -> None:
    """Publish a version whose file's transfer manifest names a delta from the one that serves."""
    base = sha256_hex(device.serving[-1].file)
    device.hub.publish_artifact(new.file, chunk_bytes=CHUNK)
    manifest = describe(new.file, CHUNK).model_copy(update={"deltas": {base: delta}})
    device.hub.publish(topics.artifact_manifest(manifest.sha256), manifest.to_bytes())
    device.hub.publish_manifest(new.manifest())


def publish_delta(device: Updated, patch: bytes) -> DeltaRef:
    device.hub.publish_artifact(patch, chunk_bytes=CHUNK)
    return DeltaRef(sha256=sha256_hex(patch), size_bytes=len(patch))


def converge(device: Updated, new: TinyVersion) -> int:
    """Have the device take a version; return the bytes that it says have travelled."""
    deployment = f"dp-{new.number}"
    device.hub.want({"tiny": new.wanted(deployment)})
    device.hub.wait_for_section("models/tiny", "applied", deployment)
    told: list[int] = []

    def has_committed(hub: HubStandIn) -> bool:
        bodies = [event.body for event in hub.events if event.body.kind == "deployment"]
        told[:] = [one.fetched_bytes for one in bodies if one.deployment == deployment and one.step == "commit"]
        return bool(told)

    device.hub.wait_until(has_committed)
    assert device.agent.serves("tiny") == new.number
    device.serving.append(new)
    return told[0]


def peak_bytes(agent: AgentProcess) -> int:
    """Return the most memory that the agent has had since it began."""
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def header(device: Updated, new: TinyVersion, *, mode: int, width: int, result_bytes: int) -> bytes:
    """Return a delta's header that names the right base, and the result that was signed."""
    genuine = bytearray(encode_delta(device.serving[-1].file, new.file, 1)[:HEADER_BYTES])
    genuine[4:6] = bytes([mode, width])
    genuine[16:24] = result_bytes.to_bytes(8, "little")
    return bytes(genuine)


def bomb_frame(*, names_its_size: bool) -> bytes:
    """Return a frame of some kilobytes that unpacks to a gigabyte."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.compression_level: 1})
    if names_its_size:
        compressor.set_pledged_input_size(BOMB_BYTES)
    block = bytes(2**20)
    parts = [compressor.compress(block) for _ in range(BOMB_BYTES // len(block))]
    return b"".join(parts) + compressor.flush()


def _bomb(device: Updated, new: TinyVersion) -> bytes:
    start = header(device, new, mode=1, width=1, result_bytes=len(new.file))
    return start + bomb_frame(names_its_size=False)


def _bomb_whose_frame_names_its_size(device: Updated, new: TinyVersion) -> bytes:
    return header(device, new, mode=2, width=1, result_bytes=len(new.file)) + bomb_frame(names_its_size=True)


def _bomb_whose_header_names_its_size(device: Updated, new: TinyVersion) -> bytes:
    return header(device, new, mode=2, width=1, result_bytes=BOMB_BYTES) + bomb_frame(names_its_size=True)


def _of_another_base(_device: Updated, new: TinyVersion) -> bytes:
    return encode_delta(TinyVersion(999, padding_bytes=PADDING_BYTES).file, new.file, 1)


def _of_another_result(device: Updated, _new: TinyVersion) -> bytes:
    return encode_delta(device.serving[-1].file, TinyVersion(998, padding_bytes=PADDING_BYTES).file, 1)


def _of_another_result_than_it_names(device: Updated, new: TinyVersion) -> bytes:
    patch = _of_another_result(device, new)
    start = header(device, new, mode=patch[4], width=patch[5], result_bytes=len(new.file))
    return start + patch[HEADER_BYTES:]


PATCHES = [
    _bomb,
    _bomb_whose_frame_names_its_size,
    _bomb_whose_header_names_its_size,
    _of_another_base,
    _of_another_result,
    _of_another_result_than_it_names,
]


@pytest.mark.parametrize("make", PATCHES, ids=[one.__name__.strip("_") for one in PATCHES])
def test_a_delta_that_is_an_attack_costs_its_bytes_and_the_signed_file_comes_whole(
    device: Updated, make: Callable[[Updated, TinyVersion], bytes]
) -> None:
    new = next_version()
    patch = make(device, new)
    assert len(patch) < len(new.file), "else it would not even be fetched"
    offer(device, new, publish_delta(device, patch))
    before = peak_bytes(device.agent)
    assert converge(device, new) == len(patch) + len(new.file)
    assert peak_bytes(device.agent) - before < ROOM_BYTES
    assert "the whole file then" in device.agent.log()


def _larger_than_the_file(device: Updated, new: TinyVersion) -> DeltaRef:
    return publish_delta(device, bytes(len(new.file)))


def _larger_than_it_is_named(device: Updated, new: TinyVersion) -> DeltaRef:
    return publish_delta(device, bytes(10 * len(new.file))).model_copy(update={"size_bytes": 100})


def _silent(_device: Updated, _new: TinyVersion) -> DeltaRef:
    return DeltaRef(sha256="5" * 64, size_bytes=100)


def _the_file_that_serves(device: Updated, _new: TinyVersion) -> DeltaRef:
    manifest = device.serving[-1].manifest().to_bytes()
    return DeltaRef(sha256=sha256_hex(manifest), size_bytes=len(manifest))


OFFERS = [_larger_than_the_file, _larger_than_it_is_named, _silent, _the_file_that_serves]


@pytest.mark.parametrize("lie", OFFERS, ids=[one.__name__.strip("_") for one in OFFERS])
def test_a_transfer_manifest_that_lies_about_a_delta_costs_the_whole_file_and_loses_nothing(
    device: Updated, lie: Callable[[Updated, TinyVersion], DeltaRef]
) -> None:
    new = next_version()
    offer(device, new, lie(device, new))
    assert converge(device, new) == len(new.file)
    assert device.agent.stop() == 0
    device.agent.start()
    assert device.agent.serves("tiny") == new.number
    kept = {path.name for path in (device.agent.data / "blobs").iterdir()}
    held = {sha256_hex(data) for one in device.serving[-2:] for data in (one.file, one.manifest().to_bytes())}
    assert held <= kept


def test_a_genuine_delta_is_taken_after_all_of_this(device: Updated) -> None:
    new = next_version()
    patch = encode_delta(device.serving[-1].file, new.file, 1)
    offer(device, new, publish_delta(device, patch))
    assert converge(device, new) == len(patch) < len(new.file)
    assert "Traceback" not in device.agent.log()
