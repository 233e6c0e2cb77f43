"""One life of a simulated device, from boot to power cut: the daemon's parts, on a mounted disk and a driven client.

It leaves out what a fleet's load does not depend on: the local endpoint (requests are made beside it), certificates'
renewal, the site's cache and federated training. docs/adr/0018 lists it.
"""

from collections.abc import Callable
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import TaskGroup

from shoal_agent.desired_feed import take_each
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.errors import ArtifactError, DiskError, HeldError, LinkError, TrustError
from shoal_agent.fetch import Fetcher
from shoal_agent.fetch_limits import FetchLimits
from shoal_agent.identity import Identity, load_or_make_key
from shoal_agent.ledger import LedgerReports, LinkMeter
from shoal_agent.link import Link
from shoal_agent.models import Models, section_of
from shoal_agent.monitor import Monitor
from shoal_agent.outbox import Outbox
from shoal_agent.pairs import Pairs
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_agent.serving import ModelServer
from shoal_agent.signer import DeviceSigner
from shoal_agent.simulated.disk import Mount
from shoal_agent.simulated.kept import stores_on
from shoal_agent.simulated.network import LoopClient
from shoal_agent.simulated.shared_engines import DeviceEngines
from shoal_agent.simulated.shared_trust import FOLLOWED
from shoal_agent.simulated.traffic import Traffic
from shoal_agent.simulated.world import World
from shoal_agent.telemetry import Telemetry
from shoal_agent.updater import Profile, Updater
from shoal_agent.uplink import Uplink
from shoal_agent.uploads import Uploads
from shoal_contract import __version__, topics
from shoal_contract.desired import DesiredModel, DesiredState
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import EventBody, MissingArtifact

if TYPE_CHECKING:
    from shoal_agent.engines import LoadEngine

_log = getLogger(__name__)


class Witness(Protocol):
    """Sees what a device is asked for and what becomes of it."""

    def wished(self, name: str, wanted: DesiredModel) -> None:
        """The device has been asked for a version."""

    def became_active(self, name: str, wanted: DesiredModel) -> None:
        """It serves that version."""


class Life:
    """A device while its power is on.

    Args:
        identity: Who it is.
        encryption_key: For encrypted versions.
        mount: Its disk.
        world: What it shares with the others.
        fails_model: Whether a variant, by its file's hash, can not run on it.
        bytes_per_s: What its line carries down; None has no limit.
        witness: Told of each deployment that it is asked for, and of each that has become active.
        traffic: Makes its requests.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        encryption_key: EncryptionKey,
        mount: Mount,
        world: World,
        fails_model: Callable[[str], bool],
        bytes_per_s: float | None,
        witness: Witness,
        traffic: Traffic,
    ) -> None:
        settings, outbox = world.settings, mount.disk.outbox
        self._identity, self._encryption_key = identity, encryption_key
        self._mount, self._world, self._witness, self._traffic = mount, world, witness, traffic
        self._load_engine: LoadEngine = DeviceEngines(world.engines, fails_model).load
        self.clients: list[LoopClient] = []
        self._bytes_per_s = bytes_per_s
        begin = partial(_next_connection, outbox, world)
        self.link = Link(
            identity,
            Pairs(identity.folder),
            DeviceSigner(load_or_make_key(identity.folder)),
            settings.link,
            begin,
            world.clock,
            client=self._make_client,
        )
        self._stores = stores_on(mount)
        self._ledger = self._stores.ledger(settings.ledger, lambda: world.clock.floor, begin)
        self.link.on_passage = LinkMeter(self._ledger).count
        self._limits = FetchLimits(self._ledger)
        self._blobs = self._stores.blobs()
        self._fetcher = Fetcher(self.link, self._blobs, self._ask_again, settings.fetch, limits=self._limits)
        uploads = Uploads(Path(world.blobs.folder / "uploads"), outbox, self._tell)
        self._uplink = Uplink(self.link, outbox, uploads, identity.device_id, settings.outbox)
        self._desired = self._stores.desired(lambda: world.trust.directors, identity.device_id)
        self._held: bytes | None = None
        self._server = ModelServer()
        self.reporter = Reporter(
            world.hardware,
            world.runtimes,
            world.targets,
            __version__,
            world.clock,
            pause_s=settings.link.report_pause_s,
            linger_s=settings.link.report_linger_s,
            progress_s=settings.link.report_progress_s,
            trust_s=settings.link.report_trust_s,
        )
        self.reporter.carry = self._uplink.carry
        self._models = Models(
            Path("models"), self._make_updater, self.reporter, self._tell, lambda _: self._stores.models()
        )
        self.reporter.models, self.reporter.trust = self._models.reports, world.trust.report
        self._monitor = Monitor(world.clock)
        self._telemetry = Telemetry(
            self.link,
            outbox,
            self._monitor,
            world.clock,
            self.reporter.notice_datasets,
            self.reporter.spoken_s,
            ledger=LedgerReports(self._ledger, settings.ledger),
        )

    @property
    def client(self) -> LoopClient:
        """The client that speaks MQTT for it now."""
        return self.clients[-1]

    @property
    def serves(self) -> dict[str, int]:
        """The versions that serve, by model."""
        found = ((name, self._server.get(name)) for name in self._server.names())
        return {name: served.version for name, served in found if served is not None}

    async def run(self) -> None:
        """Boot, and converge until cancelled."""
        outbox, call = self._mount.disk.outbox, self._world.network.call
        outbox.on_change = lambda linger_s: call(self._uplink.notify, linger_s)
        try:
            await self._models.boot()
            async with self.link.running(), anyio.create_task_group() as group:
                retry = self._world.settings.fetch
                self._sections = Sections(group, self.reporter, retry.retry_min_s, retry.retry_max_s, self._collect)
                self._resume()
                self._start_tasks(group)
                self._world.trust.listen(self._on_trust)
                self._world.trust.topics.links.add(self.link)
        finally:
            outbox.on_change = lambda _: None
            self._world.trust.leave(self._on_trust)
            self._world.trust.topics.links.discard(self.link)
            with anyio.CancelScope(shield=True):
                await self._server.aclose()

    async def say_farewell(self) -> None:
        """Tell the hub that the device stops; without a connection the broker does."""
        try:
            await self.link.say("presence", self.link.presence("offline", "stopped"), retain=True)
        except LinkError as error:
            _log.info("%s: stopping without a farewell: %s", self._identity.device_id, error)

    def _start_tasks(self, group: TaskGroup) -> None:
        group.start_soon(self.link.watch)
        for topic in FOLLOWED:
            group.start_soon(self._follow_trust, topic)
        group.start_soon(self._follow_desired)
        group.start_soon(self.reporter.publish_changes, self.link)
        group.start_soon(self._uplink.take_acknowledgements)
        group.start_soon(self._uplink.notice_connections)
        group.start_soon(self._uplink.send)
        group.start_soon(self._telemetry.beat)
        if self._traffic.is_any:
            group.start_soon(self._telemetry.collect_windows)
            group.start_soon(self._traffic.run, self._server, self._monitor)

    def _resume(self) -> None:
        """Go on with the desired state of before the boot."""
        try:
            state = self._desired.load()
        except (TrustError, DiskError) as error:
            _log.error("%s: the stored desired state was refused: %s", self._identity.device_id, error)
            self.reporter.refused(error.to_problem())
        else:
            if state is not None:
                self._apply(state)

    async def _follow_trust(self, topic: str) -> None:
        async with self.link.subscription(topic) as messages:
            async for payload in messages:
                self._world.trust.topics.pass_on(topic, payload)

    async def _follow_desired(self) -> None:
        async with self.link.subscription(topics.down_desired(self._identity.device_id)) as envelopes:
            retry = self._world.settings.fetch
            await take_each(envelopes, self._take_desired, retry_min_s=retry.retry_min_s, retry_max_s=retry.retry_max_s)

    def _take_desired(self, envelope: bytes) -> bool:
        self._held = None
        try:
            state = self._desired.accept(envelope, self._world.clock())
        except HeldError as error:
            self._held = envelope
            self.reporter.refused(error.to_problem())
            self._world.trust.request()
        except (TrustError, DiskError) as error:
            _log.warning("%s: desired state refused: %s", self._identity.device_id, error)
            self.reporter.refused(error.to_problem())
            if isinstance(error, DiskError):
                self._held = envelope  # what came by a change of trust has no feed that would take it again
                return False
        else:
            self._apply(state)
        return True

    def _on_trust(self) -> None:
        """Check again what was held, now that something else is trusted."""
        self.reporter.trust_changed()
        self._sections.retry_now()
        if self._held is not None:
            self._take_desired(self._held)

    def _apply(self, state: DesiredState) -> None:
        """Set every section on its way."""
        self._telemetry.configure(state.config)
        if self._limits.configure(state.config):
            self._sections.retry_now()  # what the budget held back may fit
        self.link.reconnect_jitter_s = state.config.reconnect_jitter_s
        self.reporter.accepted(state.order)
        self.reporter.section("config", SectionReport(state="applied"))
        for name, model in state.models.items():
            self._witness.wished(name, model)
            converge = partial(self._converge, name, model, state.order)
            self._sections.want(section_of(name), model, model.deployment, converge)
        for run, wanted in state.federated.items():
            self._sections.want(f"federated/{run}", wanted, "", _does_not_train)
        asked = {key.removeprefix("models/") for key in self._sections.keys("models/")}
        for name in (self._models.held() | asked) - state.models.keys():
            self._sections.want(section_of(name), None, "", self._models.removal(name))

    async def _converge(self, name: str, wanted: DesiredModel, order: tuple[int, int]) -> str | None:
        step = await self._models.convergence(name, wanted, order)()
        if step is None:  # else it waits as a candidate
            self._witness.became_active(name, wanted)
        return step

    def _collect(self) -> None:
        """Delete the artifacts that no role needs any more."""
        try:
            self._blobs.collect(self._models.artifacts())
        except DiskError as error:
            _log.info("%s: deleting artifacts: %s", self._identity.device_id, error)

    def _tell(self, body: EventBody) -> None:
        """Queue an event for the hub."""
        self._mount.write("an event")
        self._mount.disk.outbox.put_event(body, self._world.clock(), self._desired.progress_s(body))

    async def _ask_again(self, sha256: str, detail: str) -> None:
        self._tell(MissingArtifact(sha256=sha256, detail=detail))

    def _make_client(self, *arguments: object, **options: object) -> LoopClient:
        self.clients.append(LoopClient(self._world.network, self._bytes_per_s, *arguments, **options))
        return self.clients[-1]

    def _make_updater(self, name: str) -> Updater:
        return Updater(
            name=name,
            file=self._stores.slots(name),
            blobs=self._blobs,
            fetcher=self._fetcher,
            server=self._server,
            profile=Profile(self._world.targets, self._world.runtimes),
            trust=self._world.trust,
            boot_attempts=self._world.settings.boot_attempts,
            encryption_key=self._encryption_key,
            load_engine=self._load_engine,
        )


def _next_connection(outbox: Outbox, world: World) -> int:
    return outbox.next_connection(int(world.clock().timestamp() * 1000))


async def _does_not_train() -> None:
    raise ArtifactError("joining a federated round: simulated devices do not train", "run the round on real devices")
