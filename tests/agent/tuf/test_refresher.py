"""When and over what the device refreshes its trust, and that no failure costs it what it trusted."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.https_hub import Authority
from tests.agent.simulators.retained import RetainedTopics
from tests.simulators.trust_server import trust_server
from tests.simulators.tuf_repository import TufRepository

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock
from shoal_agent.fetch import Fetcher
from shoal_agent.settings import FetchSettings, TrustSettings
from shoal_agent.tls import hub_context
from shoal_agent.tuf.ca_bundle import CaBundle
from shoal_agent.tuf.refresher import Refresher, UnlistedError
from shoal_contract import topics
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.trust import MAX_CA_BUNDLE_BYTES

pytestmark = pytest.mark.anyio
MANIFEST = b'{"a":"manifest"}'
REF = ref_of(MANIFEST)
QUICK = TrustSettings(
    first_wait_s=0.2, settle_s=0.01, retry_min_s=0.05, retry_max_s=0.2, silence_s=0.5, total_s=2.0, every_s=60.0
)


class TrustTopics(RetainedTopics):
    """A broker's retained topics in memory, with subscriptions to the two that a device follows."""

    inboxes: dict[str, MemoryObjectSendStream[bytes]]

    def stand(self, hub: TufRepository) -> None:
        """Let all of the hub's metadata stand, and tell of timestamp and index."""
        for name in hub.names:
            self.messages[f"{topics.ROOT}/trust/{name}"] = hub.files[name]
        self.tell(topics.TRUST_TIMESTAMP, hub.files["timestamp"])
        self.tell(topics.TRUST_INDEX, hub.index())

    def tell(self, topic: str, payload: bytes) -> None:
        self.messages[topic] = payload
        if topic in getattr(self, "inboxes", {}):
            self.inboxes[topic].send_nowait(payload)

    @asynccontextmanager
    async def subscription(self, topic: str) -> AsyncIterator[MemoryObjectReceiveStream[bytes]]:
        send, receive = anyio.create_memory_object_stream[bytes](64)
        self.inboxes = {**getattr(self, "inboxes", {}), topic: send}
        if topic in self.messages:
            send.send_nowait(self.messages[topic])
        with send, receive:
            yield receive


class World:
    """A hub, its broker's topics, and one device's refresher."""

    def __init__(self, folder: Path, settings: TrustSettings = QUICK, api_url: str = "") -> None:
        self.hub = TufRepository()
        self.hub.list_manifest("tiny", 1, MANIFEST)
        self.topics = TrustTopics()
        self.ca_path = folder / "ca.pem"
        self.ca_path.write_text(Authority("the one before").pem)
        self.changes = 0
        self.artifacts = Fetcher(self.topics, BlobStore(folder / "blobs"), self._ask, FetchSettings(silence_s=0.2))
        clock = Clock(folder / "clock.json")
        self.trust = Refresher(
            folder=folder / "metadata",
            root=self.hub.trust_root,
            api_url=api_url,
            make_context=lambda: hub_context(self.ca_path, clock),
            link=self.topics,
            artifacts=self.artifacts,
            ca_bundle=CaBundle(self.ca_path),
            clock=clock,
            settings=settings,
        )
        self._changed = anyio.Event()
        self.trust.on_change = self._count

    async def _ask(self, _sha256: str, _detail: str) -> None:
        await anyio.lowlevel.checkpoint()

    def _count(self) -> None:
        self.changes += 1
        self._changed.set()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not holds():
                self._changed = anyio.Event()
                await self._changed.wait()

    @property
    def code(self) -> str | None:
        problem = self.trust.report().problem
        return problem.code if problem else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.trust.run)
            yield
            group.cancel_scope.cancel()


async def test_it_refreshes_when_the_hub_renews_its_timestamp(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.trust.view is not None)
        world.hub.wait_for_another_ms()
        world.hub.add_director(2)
        world.topics.stand(world.hub)
        await world.wait_until(lambda: len(world.trust.directors) == 2)
    assert world.trust.report().epochs == (1, 2)


async def test_what_the_index_does_not_list_is_missing_at_once_and_asked_for_of_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, replace(QUICK, silence_s=30.0, total_s=30.0))
    world.topics.stand(world.hub)
    with anyio.fail_after(5):
        async with world.running():
            await world.wait_until(lambda: world.trust.view is not None)
    asked = Counter({topic.rsplit("/", 1)[-1].split(".")[-1]: n for topic, n in world.topics.delivered.items()})
    assert asked == {"snapshot": 1, "targets": 1}


async def test_an_index_that_is_none_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.trust.view is not None)
        world.topics.tell(topics.TRUST_INDEX, b"no index")
        world.hub.wait_for_another_ms()
        world.hub.add_director(2)
        world.topics.stand(world.hub)
        await world.wait_until(lambda: len(world.trust.directors) == 2)
    assert "reading TrustIndex" in caplog.text


async def test_a_failure_is_reported_and_leaves_what_was_trusted(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.trust.view is not None)
        view = world.trust.view
        world.topics.tell(topics.TRUST_TIMESTAMP, b"{}")
        await world.wait_until(lambda: world.code == "tuf_invalid")
        assert world.trust.view == view
        world.topics.stand(world.hub)
        await world.wait_until(lambda: world.code is None)


async def test_a_broker_without_metadata_is_passed_over_for_the_hubs_api(tmp_path: Path) -> None:
    api = Authority("api")
    hub = TufRepository()
    with trust_server(hub, api.server_context(tmp_path)) as https:
        world = World(tmp_path, api_url=https.url)
        https.repository = world.hub
        async with world.running():
            await world.wait_until(lambda: world.trust.view is not None)
        await world.trust.check_manifest("tiny", 1, REF)
    assert world.code is None


async def test_a_manifest_that_is_listed_just_now_is_found_by_a_refresh(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.trust.view is not None)
        await world.trust.check_manifest("tiny", 1, REF)
        with pytest.raises(UnlistedError, match="no trusted role lists models/tiny/2-"):
            await world.trust.check_manifest("tiny", 2, ref_of(b"upcoming"))
        world.hub.wait_for_another_ms()
        world.hub.list_manifest("tiny", 2, b"upcoming")
        world.topics.stand(world.hub)
        await anyio.sleep(0.06)
        await world.trust.check_manifest("tiny", 2, ref_of(b"upcoming"))


async def test_a_manifest_of_another_length_than_listed_is_not_taken(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.trust.view is not None)
        with pytest.raises(UnlistedError):
            await world.trust.check_manifest("tiny", 1, REF.model_copy(update={"size_bytes": REF.size_bytes + 1}))


async def test_a_bundle_of_ca_certificates_comes_over_mqtt_by_its_hash(tmp_path: Path) -> None:
    world, bundle = World(tmp_path), Authority("next").pem.encode()
    world.topics.publish(bundle)
    world.hub.set_ca_bundle(bundle)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.ca_path.read_bytes() == bundle)


async def test_a_bundle_without_a_certificate_leaves_the_ca_that_was_trusted(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = world.ca_path.read_bytes()
    world.topics.publish(b"no certificate")
    world.hub.set_ca_bundle(b"no certificate")
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.code == "tuf_invalid")
    assert world.ca_path.read_bytes() == before


async def test_a_bundle_larger_than_any_is_not_fetched(tmp_path: Path) -> None:
    world, bundle = World(tmp_path), Authority("next").pem.encode() + b"#" * MAX_CA_BUNDLE_BYTES
    sha256, before = world.topics.publish(bundle), world.ca_path.read_bytes()
    world.hub.set_ca_bundle(bundle)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.code == "tuf_invalid")
    assert world.ca_path.read_bytes() == before
    assert world.topics.delivered[topics.artifact_manifest(sha256)] == 0


async def test_a_bundle_that_is_swept_up_before_it_is_read_is_fetched_again(tmp_path: Path) -> None:
    """No slot needs it, so the sections' sweep of the store may come in between."""
    world, bundle = World(tmp_path), Authority("next").pem.encode()
    world.topics.publish(bundle)
    world.hub.set_ca_bundle(bundle)
    world.topics.stand(world.hub)
    real, swept = world.artifacts.fetch, list[Path]()

    async def fetch(ref: ArtifactRef, *, is_urgent: bool = False) -> Path:
        path = await real(ref, is_urgent=is_urgent)
        if not swept:
            path.unlink()
            swept.append(path)
        return path

    world.artifacts.fetch = fetch  # type: ignore[method-assign]
    async with world.running():
        await world.wait_until(lambda: world.ca_path.read_bytes() == bundle)
    assert swept


async def test_a_bundle_that_the_disk_has_damaged_is_fetched_again(tmp_path: Path) -> None:
    world, bundle = World(tmp_path), Authority("next").pem.encode()
    sha256 = world.topics.publish(bundle)
    (tmp_path / "blobs" / sha256).write_bytes(Authority("damaged").pem.encode())
    world.hub.set_ca_bundle(bundle)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.ca_path.read_bytes() == bundle)


async def test_a_start_without_anybody_trusts_what_is_on_disk(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.topics.stand(world.hub)
    async with world.running():
        await world.wait_until(lambda: world.trust.view is not None)
    again = World(tmp_path)
    again.trust._root = world.hub.trust_root
    async with again.running():
        await again.wait_until(lambda: again.code == "tuf_unavailable")
    assert again.trust.directors.keys() == {"director-1"}
