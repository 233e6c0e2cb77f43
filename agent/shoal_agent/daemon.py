"""The agent's one process: boots what it served last, links to the hub, and converges on the desired state.

Composition only: what each part decides is in its own module.
"""

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from shoal_agent.blobs import BlobStore
from shoal_agent.board import Board
from shoal_agent.capture import CaptureSender, open_capture
from shoal_agent.clock import Clock, system_clock
from shoal_agent.compositions import Compositions
from shoal_agent.conditions import Conditions
from shoal_agent.desired_feed import take_each
from shoal_agent.desired_file import DesiredFile
from shoal_agent.device_metrics import device_families
from shoal_agent.drift_fallback import Wiring, make_fallbacks
from shoal_agent.encryption_key import EncryptionKey, new_encryption_key
from shoal_agent.endpoint import Route
from shoal_agent.engines import CostMeter, Instruments, Machine, Runtimes
from shoal_agent.errors import DiskError, HeldError, LinkError, TrustError, cause_of
from shoal_agent.features import Pipelines, feature_routes, read_entity, surround
from shoal_agent.federated import Datasets, Participant
from shoal_agent.fetch import Fetcher
from shoal_agent.fetch_limits import FetchLimits
from shoal_agent.folder_lock import only_one
from shoal_agent.handover import Neighbours
from shoal_agent.hardware import detect
from shoal_agent.hold import HoldFile
from shoal_agent.hub_ranges import HubRanges
from shoal_agent.identity import Identity, load_identity, load_or_make_key
from shoal_agent.idle_work import IdleWork
from shoal_agent.interpreter import put_answers_first
from shoal_agent.key_rotation import take_up_encryption_key
from shoal_agent.label_api import label_routes
from shoal_agent.ledger import Ledger, LedgerReports, LinkMeter
from shoal_agent.link import Link
from shoal_agent.local_api import hold_routes
from shoal_agent.local_serving import Opening, open_places
from shoal_agent.metrics import metrics_routes, source_now
from shoal_agent.models import Models, section_of
from shoal_agent.monitor import Monitor
from shoal_agent.outbox import Outbox
from shoal_agent.pairs import Pairs
from shoal_agent.prediction_stream import PredictionStream, stream_routes
from shoal_agent.renewal import Renewal
from shoal_agent.reporting import make_reporter
from shoal_agent.residency import DeviceRepository, Residency, ResidencyNotes, memory_routes
from shoal_agent.sections import Sections
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_agent.settings import AgentSettings
from shoal_agent.shedding import Guard, limits_for
from shoal_agent.signer import DeviceSigner
from shoal_agent.site import Site
from shoal_agent.slots import open_slot_file
from shoal_agent.telemetry import Telemetry, resident_bytes
from shoal_agent.traces import open_traces
from shoal_agent.trials import Arms, Shadow, Trials
from shoal_agent.tuf.refresher import Refresher
from shoal_agent.updater import Profile, Updater
from shoal_agent.uplink import Uplink
from shoal_agent.uploads import Uploads
from shoal_contract import topics
from shoal_contract.desired import DesiredState
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import EncryptionKeyReplaced, EventBody, MissingArtifact

_log = getLogger(__name__)
TRIALS = "trials/"


class Agent:
    """The daemon of one device.

    Args:
        settings: Where it keeps its data and serves, and its bounds.
        system: The system clock; what the agent goes by is trusted time.

    Raises:
        DiskError: The device is not enrolled or its data folder is damaged.
    """

    _inference: Inference | None = None
    _held: bytes | None = None

    def __init__(self, settings: AgentSettings, system: Callable[[], datetime] = system_clock) -> None:
        data = settings.data_dir
        self._settings = settings
        self._now = Clock(data / "trust" / "clock.json", system)
        self._identity: Identity = load_identity(data / "identity")
        self._outbox = Outbox(data / "outbox.sqlite", settings.outbox, self._now_ns)
        signer = DeviceSigner(load_or_make_key(data / "identity"))
        pairs = Pairs(self._identity.folder)
        self._link = Link(self._identity, pairs, signer, settings.link, self._next_connection, self._now)
        self._renewal = Renewal(self._identity, pairs, settings.renewal, self._now, random.random)
        self._ledger = Ledger(data / "ledger.json", settings.ledger, lambda: self._now.floor, self._next_connection)
        self._blobs = BlobStore(data / "blobs")
        count_nearby = partial(self._ledger.count, "artifacts_cache")
        self._site = Site(self._identity, self._now, self._blobs, settings.site, self._report, count_nearby)
        self._limits = FetchLimits(self._ledger)
        self._ranges = HubRanges(self._identity, pairs, self._now, partial(self._ledger.count, "artifacts_https"))
        self._fetcher = Fetcher(
            self._link, self._blobs, self._ask_again, settings.fetch, self._site.visit, self._limits, self._ranges
        )
        self._uploads = Uploads(data / "uploads", self._outbox, self._tell)
        self._link.on_passage = LinkMeter(self._ledger, self._uploads.category).count
        self._traces = open_traces(settings.otlp_endpoint, self.device_id)
        self._uplink = Uplink(self._link, self._outbox, self._uploads, self.device_id, settings.outbox, self._traces)
        self._trust = Refresher.of(data / "trust", self._identity, self._link, self._fetcher, self._now, settings.trust)
        self._desired = DesiredFile(data / "trust" / "desired.json", lambda: self._trust.directors, self.device_id)
        self._datasets = Datasets(data / "datasets")
        self._board, self._server = Board(), ModelServer()
        self._monitor = Monitor(self._now, settings=settings.monitor, folder=data / "drift")
        self._arms = Arms(self._server)
        self._stream = PredictionStream(self._monitor, settings.streams, self._now)
        self._shadow = Shadow(self._stream, self._arms, self._now, may_send=settings.send_examples)
        machine = Machine(detect(), instruments=Instruments(resident_bytes=resident_bytes))
        self._runtimes = Runtimes(settings.engines, data, machine)
        self._capture = open_capture(
            settings.capture_file, self._shadow, data / "capture", lambda: self._encryption_key, self._now
        )
        self._reporter = make_reporter(settings, self._runtimes, self._now)
        self._reporter.datasets, self._reporter.trust = self._datasets.sizes, self._trust.report
        self._reporter.carry, self._reporter.carried = self._uplink.carry, lambda: self._uplink.carried
        limits = limits_for(settings.shedding, self._reporter.hardware)
        self._guard = Guard(self._board.root, limits, settings.shedding, self._server.names, self._tell)
        notes, priorities = ResidencyNotes(data / "residency.json"), dict(settings.shedding.priorities)
        self._residency = Residency(self._server, settings.memory, priorities, notes)
        self._hold = HoldFile(data, self._now)
        self._conditions = Conditions.of(settings, self._blobs, self._needed, self._hold, self._now)
        self._reporter.time_zone = lambda: self._conditions.zone.name(self._now())
        self._models = Models(data / "models", self._make_updater, self._reporter, self._tell)
        self._residency.load = self._models.load_again
        self._trials = self._make_trials()
        self._telemetry = Telemetry(
            self._link,
            self._outbox,
            self._monitor,
            self._now,
            self._reporter.notice_datasets,
            self._reporter.spoken_s,
            shadow=self._shadow,
            ledger=LedgerReports(self._ledger, settings.ledger),
        )
        self._fallbacks = make_fallbacks(
            Wiring(self._arms, self._monitor, self._models, self._residency, self._reporter, self._telemetry), self._now
        )
        self._participant = Participant(
            folder=data / "federated",
            fetcher=self._fetcher,
            datasets=self._datasets,
            uploads=self._uploads,
            settings=settings.training,
            now=self._now,
            tell=self._tell,
        )
        self._pipelines = Pipelines(
            partial(surround, data, self._server, self._shadow, settings.features, self._now_ns, self._residency),
            self._report,
        )
        self._compositions = Compositions(self._server, self._shadow, self._report)
        self._idle = IdleWork(
            settings, (self._fetcher, self._uploads, self._board), self._report, self._tell, self._now
        )

    @property
    def device_id(self) -> str:
        """This device's id."""
        return self._identity.device_id

    async def run(self) -> None:
        """Serve and converge until SIGTERM or SIGINT.

        Raises:
            AgentError: The endpoint can not be opened, or the MQTT thread died.
        """
        loop = asyncio.get_running_loop()
        self._outbox.on_change = lambda linger_s: loop.call_soon_threadsafe(partial(self._uplink.notify, linger_s))
        self._conditions.on_failing = lambda name: loop.call_soon_threadsafe(partial(self._check_model, name))
        try:
            await self._boot()
            await self._serve_and_converge()
        except Exception as error:
            cause = cause_of(error)
            if cause is error:
                raise
            raise cause from error
        finally:
            with anyio.CancelScope(shield=True):
                await self._pipelines.aclose()
                if self._inference is not None:
                    self._inference.close()
                await self._trials.aclose()
                self._compositions.close()
                await self._server.aclose()
            self._monitor.save_evidence(is_last=True)
            self._traces.stop()
            for part in (self._outbox, self._ranges, self._ledger):
                part.close()
            self._now.save()

    async def _serve_and_converge(self) -> None:
        retry = self._settings.fetch
        async with self._link.running(), anyio.create_task_group() as group:
            put_answers_first()
            await self._start_serving(group)
            self._sections = Sections(group, self._reporter, retry.retry_min_s, retry.retry_max_s, self._collect)
            self._hold.on_change = self._sections.retry_now
            self._site.serve_in(group)
            self._pipelines.run_in(group)
            self._resume()
            self._start_tasks(group)
            await self._wait_for_stop()
            group.cancel_scope.cancel()

    async def _boot(self) -> None:
        """Serve what was served before, with or without a hub."""
        self._encryption_key = await anyio.to_thread.run_sync(self._take_up_encryption_key)
        await self._models.boot()
        await self._trials.boot()

    def _take_up_encryption_key(self) -> EncryptionKey:
        try:
            return take_up_encryption_key(self._settings.data_dir, self.device_id, self._tell_encryption_key)
        except DiskError as error:  # what is not encrypted serves all the same
            _log.error("%s; %s. Until then a key in memory stands in, and the hub wraps for that", error, error.remedy)
            self._capture = None  # what is kept under a key that ends with the process could be read by nobody
            return new_encryption_key(self.device_id)

    def _tell_encryption_key(self, public_hex: str) -> None:
        try:
            self._tell(EncryptionKeyReplaced(encryption_key=public_hex))
        except DiskError as error:  # told again when a state comes with a key for another one
            _log.error("the hub could not be told of the encryption key: %s", error)

    def _note_foreign_keys(self, state: DesiredState) -> None:
        """Tell the hub which encryption key this device has, if it was sent a version's key for another one."""
        models = [*state.models.values(), *(trial.candidate for trial in state.trials.values())]
        keys = [model.key for model in models if model.key is not None]
        if any(self._encryption_key.is_for_another(key) for key in keys):
            self._tell_encryption_key(self._encryption_key.public_hex)

    async def _start_serving(self, group: TaskGroup) -> None:
        settings = self._settings
        self._capture_sender = CaptureSender(
            self._capture,
            settings.data_dir / "capture",
            self._uploads,
            lambda: self._encryption_key,
            self._limits.has_room,
            self._report,
            self._now,
            settings.send_captures,
        )
        if self._capture is not None:
            self._shadow.on_different, self._capture.has_drifted = self._capture.disagree, self._fallbacks.has_drifted
            self._capture.on_kept = self._capture_sender.notice
        observer = self._capture or self._shadow
        self._compositions.show(observer)
        choose, guard, residency = self._arms.choose, self._guard, self._residency
        inference = self._inference = Inference(self._server, observer, settings.serving, choose, guard, residency)
        inference.observe_composed = self._monitor.observe_composed
        self._guard.on_refused = inference.statistics.note_refused
        neighbours = Neighbours(inference, self._identity, self._now, settings.handover)
        self._site.hand_over = neighbours.converge
        listeners = [one.note_labels for one in (self._shadow, self._capture) if one is not None]
        routes = [*hold_routes(self._hold), *label_routes(self._monitor, *listeners), *memory_routes(self._residency)]
        routes += self._metrics(inference, neighbours)
        routes += [*feature_routes(self._pipelines), *stream_routes(self._stream, self._server)]
        opening = Opening(settings.places, settings.endpoint, settings.data_dir, self.device_id)
        repository = DeviceRepository(self._server, self._residency) if settings.memory.may_control else None
        entity = partial(read_entity, self._pipelines)
        router = create_router(inference, routes, repository, entity, neighbours.pass_on)
        url = await open_places(group, opening, router, inference, repository)
        self._conditions.probes.facts["SHOAL_ENDPOINT"] = url

    def _metrics(self, inference: Inference, neighbours: Neighbours) -> list[Route]:
        """Return the route at which Prometheus is told of this device."""
        source = source_now(
            self.device_id, self._settings.data_dir, lambda: self._link.is_connected, self._outbox.depth, self._board
        )

        watched = (self._monitor, self._server, self._fallbacks)
        more = partial(device_families, self._guard, self._capture, self._residency, neighbours, watched)
        return metrics_routes(inference.statistics, source, more)

    def _resume(self) -> None:
        """Go on with the desired state of before the start, and offer unfinished uploads again."""
        self._uploads.offer_again()
        try:
            state = self._desired.load()
        except (TrustError, DiskError) as error:
            _log.error("the stored desired state was refused: %s", error)
            self._reporter.refused(error.to_problem())
        else:
            if state is not None:
                self._apply(state)

    def _start_tasks(self, group: TaskGroup) -> None:
        group.start_soon(self._link.watch)
        group.start_soon(self._renewal.run, self._link)
        self._trust.on_change, self._link.on_refused = self._on_trust, self._trust.request
        group.start_soon(self._trust.run)
        group.start_soon(self._keep_time)
        group.start_soon(self._follow_desired)
        group.start_soon(self._reporter.publish_changes, self._link)
        group.start_soon(self._uplink.take_acknowledgements)
        group.start_soon(self._uplink.notice_connections)
        group.start_soon(self._uplink.send)
        group.start_soon(self._uploads.send, self._link, self.device_id)
        group.start_soon(self._shadow.run)
        if self._capture is not None:
            group.start_soon(self._capture.run)
            group.start_soon(self._capture_sender.run)
        group.start_soon(self._trials.run)
        group.start_soon(self._guard.run)
        group.start_soon(self._fallbacks.run)
        group.start_soon(self._telemetry.beat)
        group.start_soon(self._telemetry.collect_windows)

    async def _wait_for_stop(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for received in signals:
                _log.info("stopping on %s", received.name)
                break
        try:
            with anyio.move_on_after(2):
                await self._link.say("presence", self._link.presence("offline", "stopped"), retain=True)
        except LinkError as error:
            _log.info("stopping without a farewell: %s", error)

    async def _follow_desired(self) -> None:
        async with self._link.subscription(topics.down_desired(self.device_id)) as envelopes:
            retry = self._settings.fetch
            await take_each(envelopes, self._take_desired, retry_min_s=retry.retry_min_s, retry_max_s=retry.retry_max_s)

    def _take_desired(self, envelope: bytes) -> bool:
        """Return whether there is nothing left to do for it: false if the disk has failed."""
        self._held = None
        try:
            state = self._desired.accept(envelope, self._now())
        except HeldError as error:
            _log.info("desired state held: %s", error)
            self._held = envelope
            self._reporter.refused(error.to_problem())
            self._trust.request()
        except (TrustError, DiskError) as error:
            _log.warning("desired state refused: %s", error)
            self._reporter.refused(error.to_problem())
            if isinstance(error, DiskError):
                self._held = envelope  # what came by a change of trust has no feed that would take it again
                return False
        else:
            self._traces.follow(state, envelope)
            self._apply(state)
        return True

    def _on_trust(self) -> None:
        """Check again what was held, now that the device trusts something else."""
        self._reporter.trust_changed()
        self._sections.retry_now()
        if self._held is not None:
            self._take_desired(self._held)

    def _check_model(self, name: str) -> None:
        """Test a model's version again, whose requests keep failing."""
        self._sections.intervene(section_of(name), self._models.check(name))

    async def _keep_time(self) -> None:
        while True:
            await anyio.sleep(self._settings.trust.save_clock_s)
            await anyio.to_thread.run_sync(self._now.save)

    def _apply(self, state: DesiredState) -> None:
        """Set every section on its way."""
        self._telemetry.configure(state.config)
        self._fallbacks.configure(state.config)
        if self._limits.configure(state.config):
            self._sections.retry_now()  # what the budget held back may fit
        self._link.reconnect_jitter_s = state.config.reconnect_jitter_s
        self._reporter.accepted(state.order)
        self._note_foreign_keys(state)
        self._reporter.section("config", SectionReport(state="applied"))
        for name, model in state.models.items():
            converge = self._models.convergence(name, model, state.order)
            self._sections.want(section_of(name), model, model.deployment, converge)
        for run, wanted in state.federated.items():
            self._sections.want(f"federated/{run}", wanted, "", partial(self._participant.converge, wanted))
        for name, trial in state.trials.items():
            self._sections.want(f"{TRIALS}{name}", trial, trial.id, self._trials.convergence(name, trial, state.order))
        self._site.follow(state.site, self._sections)
        self._pipelines.follow(state.features, self._sections)
        self._compositions.follow(state.compositions, self._sections)
        self._capture_sender.follow(state.captures, self._sections)
        self._idle.follow(state, self._sections)
        self._drop_unwanted(state)

    def _drop_unwanted(self, state: DesiredState) -> None:
        asked = {key.removeprefix("models/") for key in self._sections.keys("models/")}
        for name in (self._models.held() | asked) - state.models.keys():
            self._sections.want(section_of(name), None, "", self._models.removal(name))
        tried = {key.removeprefix(TRIALS) for key in self._sections.keys(TRIALS)}
        for name in (self._trials.held() | tried) - state.trials.keys():
            self._sections.want(f"{TRIALS}{name}", None, "", self._trials.removal(name))
        for key in self._sections.keys("federated/"):
            if key.removeprefix("federated/") not in state.federated:
                self._sections.want(key, None, "", anyio.lowlevel.checkpoint)

    def _collect(self) -> None:
        """Delete the artifacts that nothing needs any more. Only when all is settled: who fetches has needs unknown."""
        try:
            gone = self._blobs.collect(self._needed())
        except OSError as error:
            _log.error("deleting artifacts that nothing needs: %s; check the data folder's disk", error)
        else:
            _log.debug("deleted artifacts: %s", gone)

    def _needed(self) -> set[str]:
        state = self._desired.state
        needed = self._models.artifacts() | self._trials.artifacts() | self._idle.artifacts(state)
        for wanted in state.federated.values() if state else ():
            needed |= self._participant.artifacts(wanted)
        return needed

    def _report(self, section: str, report: SectionReport) -> None:
        self._reporter.section(section, report)

    def _tell(self, body: EventBody) -> None:
        """Queue an event for the hub."""
        self._traces.note(self._outbox.put_event(body, self._now(), self._desired.progress_s(body)), body)

    async def _ask_again(self, sha256: str, detail: str) -> None:
        self._tell(MissingArtifact(sha256=sha256, detail=detail))

    def _now_ns(self) -> int:
        return int(self._now().timestamp() * 1_000_000_000)

    def _next_connection(self) -> int:
        return self._outbox.next_connection(int(self._now().timestamp() * 1000))

    def _make_updater(self, name: str) -> Updater:
        updater = self._updater_in(self._settings.data_dir / "models", name, self._server, self._conditions)
        return replace(updater, cost_meter=CostMeter(resident_bytes), residency=self._residency)

    def _make_trials(self) -> Trials:
        folder, conditions = self._settings.data_dir / "trials", self._conditions.for_trials()

        def make_updater(name: str) -> Updater:
            updater = self._updater_in(folder, name, self._arms.candidates, conditions)
            return replace(updater, serving_bases=partial(self._models.bases, name))

        return Trials(
            folder,
            make_updater,
            self._arms,
            self._shadow,
            memory=CostMeter(resident_bytes),
            now=self._now,
            most_starts=self._settings.boot_attempts,
        )

    def _updater_in(self, folder: Path, name: str, server: ModelServer, conditions: Conditions) -> Updater:
        return Updater(
            name,
            open_slot_file(folder, name),
            self._blobs,
            self._fetcher,
            server,
            Profile(self._reporter.targets, self._reporter.runtimes),
            self._trust,
            self._settings.boot_attempts,
            self._encryption_key,
            conditions,
            self._runtimes.load,
            claimant=f"{folder.name}/{name}",
        )


def run_agent(settings: AgentSettings, system: Callable[[], datetime] = system_clock) -> None:
    """Run the agent of a data folder until SIGTERM or SIGINT; nothing is opened before the folder is held.

    Raises:
        AgentError: Another one holds it, the device is not enrolled, or see `Agent.run`.
    """
    with only_one(settings.data_dir):
        anyio.run(Agent(settings, system).run, backend_options={"use_uvloop": find_spec("uvloop") is not None})
