"""Fifty devices on one LAN, a 5 MB model: what comes from the broker where one of them is the site's cache.

The broker, its link, the cache and its neighbours are real, with mutual TLS everywhere; all are on this machine, the
devices in one process. The bytes are those of the devices' connections to the broker, counted by a relay in between.

Run it as `python benchmarks/site_cache.py`.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub"))]

import anyio  # noqa: E402 - the paths above come first
from tests.simulators.broker import Broker, listening, running_broker  # noqa: E402
from tests.simulators.lan import enrolled  # noqa: E402
from tests.simulators.tcp_proxy import TcpProxy, relaying  # noqa: E402

from shoal_agent.blobs import BlobStore  # noqa: E402
from shoal_agent.clock import Clock  # noqa: E402
from shoal_agent.fetch import Fetcher  # noqa: E402
from shoal_agent.identity import Identity, load_or_make_key  # noqa: E402
from shoal_agent.link import Link  # noqa: E402
from shoal_agent.pairs import Pairs  # noqa: E402
from shoal_agent.settings import FetchSettings, LinkSettings, SiteSettings  # noqa: E402
from shoal_agent.signer import DeviceSigner  # noqa: E402
from shoal_agent.site.client import SiteClient  # noqa: E402
from shoal_agent.site.server import SiteServer  # noqa: E402
from shoal_contract import topics  # noqa: E402
from shoal_contract.artifact_ref import ArtifactRef  # noqa: E402
from shoal_contract.desired import DesiredSite  # noqa: E402
from shoal_contract.ids import sha256_hex  # noqa: E402
from shoal_contract.transfer import chunk_bytes_for, describe, split  # noqa: E402

ARTIFACT_BYTES = 5 * 1000 * 1000
MOST_RATIO = 1.1


class Device(NamedTuple):
    """One device, connected to the broker."""

    identity: Identity
    blobs: BlobStore
    client: SiteClient
    fetcher: Fetcher


class Cost(NamedTuple):
    """What a site's devices took from the broker, and how long they took for it."""

    uplink_bytes: int
    wall_s: float


def main() -> None:
    """Measure, and print one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=50, help="devices, the cache among them (default 50)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-site-") as name, running_broker(Path(name) / "hub") as broker:
        ref = publish(broker, os.urandom(ARTIFACT_BYTES))
        with relaying(broker.device_port) as uplink:
            folders = [Path(name) / f"device-{index}" for index in range(options.devices)]
            alone, site = anyio.run(measure, broker, uplink, folders, ref)
    ratio = site.uplink_bytes / alone.uplink_bytes
    line = {
        "name": f"site_cache_uplink_{options.devices}_devices",
        "unit": "bytes",
        "ours": site.uplink_bytes,
        "peer": alone.uplink_bytes,
        "peer_name": "one device that fetches one copy from the broker",
        "ratio": round(ratio, 4),
        "n": 1,
        "wall_s": round(site.wall_s, 2),
        "goal": f"ratio at most {MOST_RATIO}",
        "holds": ratio <= MOST_RATIO,
    }
    print(json.dumps(line), flush=True)


def publish(broker: Broker, data: bytes) -> ArtifactRef:
    """Publish the artifact as the hub does."""
    manifest = describe(data, chunk_bytes_for(len(data)))
    with listening(broker.endpoint("hub-bench")) as hub:
        for index, chunk in enumerate(split(data, manifest.chunk_bytes)):
            topic = topics.artifact_chunk(manifest.sha256, index)
            hub.connection.publish(topic, chunk, qos=1, retain=True).result(30)
        topic = topics.artifact_manifest(manifest.sha256)
        hub.connection.publish(topic, manifest.to_bytes(), qos=1, retain=True).result(30)
    return ArtifactRef(sha256=sha256_hex(data), size_bytes=len(data))


async def measure(broker: Broker, uplink: TcpProxy, folders: list[Path], ref: ArtifactRef) -> tuple[Cost, Cost]:
    """Fetch one copy over the uplink, then as a site: the cache, and after it all others at once."""
    settings = SiteSettings(host="127.0.0.1", port=0)
    async with AsyncExitStack() as stack:
        devices = [
            await stack.enter_async_context(connected(broker, uplink.port, folder, settings)) for folder in folders
        ]
        cache, members = devices[0], devices[1:]
        alone = await fetched(uplink, [[members[0]]], ref)
        shutil.rmtree(members[0].blobs.path(ref.sha256).parent)
        members[0].blobs.path(ref.sha256).parent.mkdir()

        server = SiteServer(cache.identity, Clock(None), cache.blobs, settings)
        group = await stack.enter_async_context(anyio.create_task_group())
        await group.start(server.listen)
        ids = tuple(member.identity.device_id for member in members)
        site = DesiredSite(name="bench", cache=cache.identity.device_id, host="127.0.0.1", port=server.port)
        server.site = site.model_copy(update={"members": ids})
        for member in members:
            member.client.follow(site)
        together = await fetched(uplink, [[cache], members], ref)
        group.cancel_scope.cancel()
    return alone, together


async def fetched(uplink: TcpProxy, waves: list[list[Device]], ref: ArtifactRef) -> Cost:
    """Have each wave fetch the artifact at once, one wave after the other."""
    before_bytes, begun_s = uplink.down_bytes, time.perf_counter()
    for wave in waves:
        async with anyio.create_task_group() as group:
            for device in wave:
                group.start_soon(device.fetcher.fetch, ref)
    return Cost(uplink.down_bytes - before_bytes, time.perf_counter() - begun_s)


@asynccontextmanager
async def connected(broker: Broker, port: int, folder: Path, settings: SiteSettings) -> AsyncIterator[Device]:
    """Keep one device connected to the broker, by way of the uplink."""
    identity = enrolled(broker.devices, folder / "identity", broker_port=port)
    numbers = iter(range(int(time.time() * 1000), 2**62))
    signer = DeviceSigner(load_or_make_key(identity.folder))
    link = Link(identity, Pairs(identity.folder), signer, LinkSettings(), lambda: next(numbers), Clock(None))
    client = SiteClient(identity, Clock(None), settings, _must_not_fail)
    blobs = BlobStore(folder / "blobs")
    async with link.running():
        await link.wait_connected()
        yield Device(identity, blobs, client, Fetcher(link, blobs, _ask_again, FetchSettings(), client.visit))


def _must_not_fail(problem: Exception | None) -> None:
    if problem is not None:
        raise RuntimeError(str(problem))


async def _ask_again(_sha256: str, detail: str) -> None:
    raise RuntimeError(detail)


if __name__ == "__main__":
    main()
