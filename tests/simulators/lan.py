"""Devices of one hub on one LAN: each with an identity, a store, a fetcher and its part in the site, over real TLS."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import RetainedTopics

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock
from shoal_agent.fetch import Fetcher
from shoal_agent.hardware import detect
from shoal_agent.identity import Identity, load_or_make_key, make_signing_request, save_identity
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_agent.settings import FetchSettings, SiteSettings
from shoal_agent.site import Site
from shoal_contract.desired import DesiredSite
from shoal_contract.enrolment import EnrolmentResponse
from shoal_contract.ids import new_device_id
from shoal_contract.reported import SectionReport
from shoal_hub.trust.ca import DeviceAuthority

QUICK = SiteSettings(
    host="127.0.0.1", port=0, connect_s=2.0, chunk_s=2.0, rest_s=60.0, handshake_s=0.5, idle_s=0.5, answer_s=1.0
)


def enrolled(authority: DeviceAuthority, folder: Path, device_id: str = "", *, broker_port: int = 1) -> Identity:
    """Give a device its identity, as an enrolment does."""
    device_id = device_id or new_device_id()
    csr = x509.load_pem_x509_csr(make_signing_request(load_or_make_key(folder)).encode())
    response = EnrolmentResponse(
        device_id=device_id,
        certificate_pem=authority.issue(csr, device_id).public_bytes(serialization.Encoding.PEM).decode(),
        ca_pem=authority.certificate_pem,
        broker_host="127.0.0.1",
        broker_port=broker_port,
        api_url="https://127.0.0.1:1",
        trust_root="{}",
    )
    return save_identity(folder, response)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that nobody tells of."""
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.005)


class Neighbour:
    """One device; `source` is what the broker has retained, and counts what it is asked for."""

    def __init__(self, identity: Identity, group: TaskGroup, settings: SiteSettings = QUICK) -> None:
        self.identity = identity
        self.blobs = BlobStore(identity.folder.parent / "blobs")
        self.source = RetainedTopics()
        self.reporter = Reporter(detect(), ("onnxruntime",), (), "0.1.0", lambda: datetime.now().astimezone())
        self.sections = Sections(group, self.reporter, 0.1, 0.2)
        self.site = Site(identity, Clock(None), self.blobs, settings, self.reporter.section)
        self.site.serve_in(group)
        self.fetcher = Fetcher(self.source, self.blobs, self._ask, FetchSettings(silence_s=0.2), self.site.visit)
        self.asked_again: list[str] = []

    @property
    def id(self) -> str:
        return self.identity.device_id

    @property
    def port(self) -> int:
        """Where it serves."""
        return self.site._server.port

    @property
    def connections(self) -> int:
        """How many it serves."""
        return self.site._server._connections

    @property
    def is_listening(self) -> bool:
        """Whether its address is open."""
        return self.site._server.is_listening

    async def _ask(self, sha256: str, _detail: str) -> None:
        self.asked_again.append(sha256)

    async def follow(self, wanted: DesiredSite | None, state: str = "applied") -> None:
        """Take up a section as the daemon does, and wait until it is reported."""
        self.site.follow(wanted, self.sections)
        await until(lambda: self.report is not None and self.report.state == state)

    @property
    def report(self) -> SectionReport | None:
        """What it reports of its site."""
        return self.reporter.snapshot(1).sections.get("site")

    async def fetch(self, data: bytes) -> bytes:
        """Have an artifact, of which the broker has the list and every chunk."""
        self.source.publish(data)
        return (await self.fetcher.fetch(ref_of(data))).read_bytes()

    @property
    def over_the_broker(self) -> int:
        """Chunks that the broker has delivered."""
        return sum(count for topic, count in self.source.delivered.items() if not topic.endswith("/manifest"))


class Lan:
    """A hub's authority, and devices that it has enrolled."""

    def __init__(self, folder: Path, group: TaskGroup) -> None:
        self.folder = folder
        self.group = group
        self.authority = DeviceAuthority.open(folder / "trust")

    def identity(self, name: str, **changes: Any) -> Identity:
        return enrolled(self.authority, self.folder / name / "identity", **changes)

    def device(self, name: str, settings: SiteSettings = QUICK) -> Neighbour:
        return Neighbour(self.identity(name), self.group, settings)

    async def cache_for(self, *members: Neighbour | str, settings: SiteSettings = QUICK) -> Neighbour:
        """Run a cache, and have the members among the neighbours ask it."""
        cache = self.device(f"cache-{new_device_id()}", settings)
        ids = tuple(one if isinstance(one, str) else one.id for one in members)
        await cache.follow(self.section(cache.id, 1, ids))
        for one in members:
            if isinstance(one, Neighbour):
                await one.follow(self.section(cache.id, cache.port))
        return cache

    def section(self, cache_id: str, port: int, members: tuple[str, ...] = ()) -> DesiredSite:
        return DesiredSite(name="lan", cache=cache_id, host="127.0.0.1", port=port, members=members)


@asynccontextmanager
async def running_lan(folder: Path) -> AsyncIterator[Lan]:
    """Keep a LAN's devices running for the length of the block."""
    async with anyio.create_task_group() as group:
        yield Lan(folder, group)
        group.cancel_scope.cancel()
