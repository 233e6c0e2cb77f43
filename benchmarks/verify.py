"""What it costs a device to believe a 10 MB model: its CPU beside one bare SHA-256 of the same bytes, and the passes.

Everything is the agent's own code: chunks and the whole file's hash, TUF at python-tuf's hands, the desired state's
envelope, the manifest. Run as `python benchmarks/verify.py`; prints one JSON line a figure.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent"))]

import anyio  # noqa: E402 - the paths above come first
from tests.agent.simulators.device import Device  # noqa: E402
from tests.agent.simulators.director import DEVICE, KEYS, NOW, ref_of, sign_state, state_of  # noqa: E402
from tests.agent.simulators.repository_fetcher import MemoryFetcher  # noqa: E402
from tests.simulators.tiny_model import TARGET, TinyVersion  # noqa: E402
from tests.simulators.tuf_repository import TufRepository  # noqa: E402

from shoal_agent.blobs import BlobStore  # noqa: E402
from shoal_agent.clock import Clock  # noqa: E402
from shoal_agent.settings import TrustSettings  # noqa: E402
from shoal_agent.trust import read_manifest, verify_desired  # noqa: E402
from shoal_agent.tuf.client import TufClient  # noqa: E402
from shoal_contract.ids import sha256_hex  # noqa: E402
from shoal_contract.transfer import describe, split  # noqa: E402
from shoal_contract.trust import manifest_target  # noqa: E402

ARTIFACT_BYTES = 10 * 1000 * 1000
CHUNK_BYTES = 512 * 1024
MOST_CPU = 2.5
MOST_PASSES = 1.0
PEER = "one bare SHA-256 of the same bytes"


class Cost(NamedTuple):
    """CPU milliseconds of one version."""

    hashes_ms: float
    tuf_ms: float
    envelope_ms: float
    bare_ms: float

    @property
    def all_ms(self) -> float:
        """What the device spends in all."""
        return self.hashes_ms + self.tuf_ms + self.envelope_ms


def main() -> None:
    """Measure, and print one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21, help="versions; medians are printed (default 21)")
    memory = "/dev/shm"  # noqa: S108 - a folder of its own is made there
    parser.add_argument("--folder", default=memory, help="where files lie; in memory unless said (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-verify-", dir=options.folder) as name:
        print(json.dumps(cpu_line(measure_cpu(Path(name) / "cpu", options.runs))), flush=True)
        print(json.dumps(passes_line(anyio.run(count_passes, Path(name) / "passes"))), flush=True)


def measure_cpu(folder: Path, runs: int) -> list[Cost]:
    """Let devices that serve version 1 verify version 2; the first one warms up and is not counted."""
    return [cost_of_an_update(folder / str(run)) for run in range(runs + 1)][1:]


def cost_of_an_update(folder: Path) -> Cost:
    """Return what version 2 costs a device that has followed its hub to version 1."""
    hub, settings = TufRepository(), TrustSettings()
    client = TufClient(folder / "metadata", "https://hub/", hub.trust_root, Clock(None), settings)
    fetcher = MemoryFetcher(hub, settings)
    data, versions = os.urandom(ARTIFACT_BYTES), (TinyVersion(1), TinyVersion(2))
    manifests = [version.manifest().to_bytes() for version in versions]
    paths = [manifest_target("tiny", n, sha256_hex(manifest)) for n, manifest in enumerate(manifests, 1)]
    hub.list_manifest("tiny", 1, manifests[0])
    client.refresh(fetcher)
    client.find(paths[0], fetcher)
    hub.wait_for_another_ms()
    hub.list_manifest("tiny", 2, manifests[1])
    wanted = versions[1].wanted()
    envelope = sign_state(state_of(2, models={"tiny": wanted}))

    def believe() -> None:
        verify_desired(envelope, keys=KEYS, device_id=DEVICE, current=(1, 1), now=NOW)
        read_manifest(manifests[1], name="tiny", wanted=wanted)

    return Cost(
        hashes_ms=hashes_ms(folder, data),
        tuf_ms=cpu_ms(lambda: (client.refresh(fetcher), client.find(paths[1], fetcher))),
        envelope_ms=cpu_ms(believe),
        bare_ms=cpu_ms(lambda: hashlib.sha256(data).digest()),
    )


def hashes_ms(folder: Path, data: bytes) -> float:
    """Return the CPU of an artifact's way into the store; the disk takes everything and keeps nothing meanwhile."""
    manifest, chunks = describe(data, CHUNK_BYTES), list(split(data, CHUNK_BYTES))
    blobs, ref = BlobStore(folder / "blobs"), ref_of(data)

    def checked() -> None:
        partial = blobs.open_partial(manifest)
        for index, chunk in enumerate(chunks):
            partial.write(index, chunk)
        partial.find_wrong()
        blobs.finish(partial, ref)
        blobs.check(ref.sha256)

    with ExitStack() as disk:
        for call in ("os.pwrite", "os.fsync", "os.ftruncate"):  # a bare function: a Mock takes more CPU than the call
            disk.enter_context(mock.patch(call, _take))
        return cpu_ms(checked)


def _take(*_: object) -> None:
    """Stand in for the disk."""


async def count_passes(folder: Path) -> float:
    """Return how often the bytes of a model are hashed on their way from the broker to what serves."""
    device = Device(folder, targets=(TARGET,))
    version = TinyVersion(1, padding_bytes=ARTIFACT_BYTES)
    manifest = version.manifest().to_bytes()
    device.source.listed.add(sha256_hex(manifest))
    for data in (manifest, version.file):
        device.source.publish(data)
    wanted = version.wanted()
    with counted_sha256() as hashed:
        await device.converge(wanted)
    await device.server.aclose()
    return (hashed[0] - 2 * len(manifest)) / len(version.file)


@contextmanager
def counted_sha256() -> Iterator[list[int]]:
    """Count the bytes that go through SHA-256 within the block."""
    real, hashed = hashlib.sha256, [0]

    class Counting:
        def __init__(self, data: bytes = b"", **options: Any) -> None:  # noqa: ANN401 - hashlib's own
            hashed[0] += len(data)
            self._digest = real(data, **options)

        def update(self, data: bytes) -> None:
            hashed[0] += len(data)
            self._digest.update(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._digest, name)

    with mock.patch("hashlib.sha256", Counting):
        yield hashed


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the CPU milliseconds, of the system's calls too, that some work takes this process."""
    started_s = time.process_time()
    work()
    return (time.process_time() - started_s) * 1000


def cpu_line(costs: list[Cost]) -> dict[str, object]:
    """Return the figure of the CPU; the ratio is the median of the runs' ratios."""
    ratio = median(cost.all_ms / cost.bare_ms for cost in costs)
    return {
        "name": "verify_cpu_10_mb",
        "unit": "ms",
        "ours": round(median(cost.all_ms for cost in costs), 3),
        "peer": round(median(cost.bare_ms for cost in costs), 3),
        "peer_name": PEER,
        "ratio": round(ratio, 3),
        "n": len(costs),
        "goal": f"ratio at most {MOST_CPU}",
        "holds": ratio <= MOST_CPU,
        "hashes": round(median(cost.hashes_ms for cost in costs), 3),
        "tuf": round(median(cost.tuf_ms for cost in costs), 3),
        "envelope_and_manifest": round(median(cost.envelope_ms for cost in costs), 3),
    }


def passes_line(passes: float) -> dict[str, object]:
    """Return the figure of the passes; the chunks' own hashes cost one more where the whole does not come out right."""
    return {
        "name": "verify_passes_10_mb",
        "unit": "passes of SHA-256",
        "ours": round(passes, 3),
        "peer": 1.0,
        "peer_name": PEER,
        "ratio": round(passes, 3),
        "n": 1,
        "goal": f"at most {MOST_PASSES:g}: the whole, as its chunks come; none that repeats another",
        "holds": passes <= MOST_PASSES + 0.001,
    }


if __name__ == "__main__":
    main()
