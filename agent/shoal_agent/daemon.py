"""The agent's one process: boots what it served last, links to the hub, and converges on the desired state.

Composition only: what each part decides is in its own module.
"""

import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TextIO

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from shoal_agent.blobs import BlobStore
from shoal_agent.desired_file import DesiredFile
from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError, DiskError, LinkError, TrustError
from shoal_agent.federated import Datasets, Participant
from shoal_agent.fetch import Fetcher
from shoal_agent.hardware import available_runtimes, detect, targets_for
from shoal_agent.identity import Identity, load_identity
from shoal_agent.link import Link
from shoal_agent.monitor import Monitor
from shoal_agent.outbox import Outbox
from shoal_agent.reporting import Reporter, heartbeat
from shoal_agent.sections import Sections
from shoal_agent.serving import ModelServer, create_app, serve
from shoal_agent.settings import AgentSettings
from shoal_agent.slots import SlotFile, known_models
from shoal_agent.updater import Profile, Updater
from shoal_agent.uplink import Uplink
from shoal_agent.uploads import Uploads
from shoal_contract import __version__, topics
from shoal_contract.desired import DesiredConfig, DesiredState
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import (
    DeploymentEvent,
    Event,
    EventBody,
    MissingArtifact,
    OutboxPosition,
    TelemetryMessage,
)

_log = getLogger(__name__)
_WINDOW_CHECK_S = 1.0
_UNPLACED = OutboxPosition(stream="0" * 16, sequence=1, oldest=1)
"""Stands in a queued message until it is sent; `uplink.with_position` puts the true place in."""


def utc_now() -> datetime:
    """Return the system clock's time."""
    return datetime.now(timezone.utc)


class Agent:
    """The daemon of one device.

    Args:
        settings: Where it keeps its data and serves, and its bounds.
        now: The clock.

    Raises:
        DiskError: The device is not enrolled or its data folder is damaged.
    """

    def __init__(self, settings: AgentSettings, now: Callable[[], datetime] = utc_now) -> None:
        data = settings.data_dir
        self._settings = settings
        self._now = now
        self._started_s = time.monotonic()
        self._config = DesiredConfig()
        self._identity: Identity = load_identity(data / "identity")
        self._outbox = Outbox(data / "outbox.sqlite", settings.outbox)
        self._link = Link(self._identity, settings.link, self._next_connection, now)
        self._blobs = BlobStore(data / "blobs")
        self._fetcher = Fetcher(self._link, self._blobs, self._ask_again, settings.fetch)
        self._uploads = Uploads(data / "uploads", self._outbox, self._tell)
        self._uplink = Uplink(self._link, self._outbox, self._uploads, self.device_id, settings.outbox)
        self._desired = DesiredFile(data / "trust" / "desired.dsse", self._identity.director_keys, self.device_id)
        self._datasets = Datasets(data / "datasets")
        self._server = ModelServer()
        self._monitor = Monitor(now)
        self._updaters: dict[str, Updater] = {}
        self._reporter = self._make_reporter()
        self._participant = self._make_participant()
        self._outbox.on_change = self._uplink.notify

    @property
    def device_id(self) -> str:
        """This device's id."""
        return self._identity.device_id

    async def run(self) -> None:
        """Serve and converge until SIGTERM or SIGINT.

        Raises:
            AgentError: The endpoint can not be opened, or the MQTT thread died.
        """
        with _only_one(self._settings.data_dir / "lock"):
            await self._boot()
            async with self._link.running(), anyio.create_task_group() as group:
                await self._start_serving(group)
                self._sections = Sections(
                    group, self._reporter, self._settings.fetch.retry_min_s, self._settings.fetch.retry_max_s
                )
                self._resume()
                self._start_tasks(group)
                await self._wait_for_stop()
                group.cancel_scope.cancel()
            await self._server.aclose()
            self._outbox.close()

    async def _boot(self) -> None:
        """Serve what was served before, with or without a hub."""
        for name in known_models(self._settings.data_dir / "models"):
            try:
                await self._updater(name).boot()
            except AgentError as error:
                _log.error("boot: %s", error)
                self._reporter.section(f"models/{name}", SectionReport(state="failed", problem=error.to_problem()))

    async def _start_serving(self, group: TaskGroup) -> None:
        app = create_app(self._server, self._monitor)
        port = await group.start(serve, app, self._settings.host, self._settings.port)
        endpoint = {"url": f"http://{self._settings.host}:{port}", "pid": os.getpid(), "device_id": self.device_id}
        replace_file(self._settings.data_dir / "run" / "endpoint.json", json.dumps(endpoint).encode(), 0o644)
        _log.info("device %s serves on %s", self.device_id, endpoint["url"])

    def _resume(self) -> None:
        """Go on with the desired state of before the start, and offer unfinished uploads again."""
        self._uploads.offer_again()
        try:
            state = self._desired.load()
        except TrustError as error:
            _log.error("the stored desired state was refused: %s", error)
            self._reporter.refused(error.to_problem())
        else:
            if state is not None:
                self._apply(state)

    def _start_tasks(self, group: TaskGroup) -> None:
        group.start_soon(self._link.watch)
        group.start_soon(self._follow_desired)
        group.start_soon(self._reporter.publish_changes, self._link, self.device_id)
        group.start_soon(self._uplink.take_acknowledgements)
        group.start_soon(self._uplink.notice_connections)
        group.start_soon(self._uplink.send)
        group.start_soon(self._uploads.send, self._link, self.device_id)
        group.start_soon(self._beat)
        group.start_soon(self._collect_windows)

    async def _wait_for_stop(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for received in signals:
                _log.info("stopping on %s", received.name)
                break
        try:
            with anyio.move_on_after(2):
                presence = topics.up(self.device_id, "presence")
                await self._link.publish(presence, self._link.presence("offline", "stopped"), retain=True)
        except LinkError as error:
            _log.info("stopping without a farewell: %s", error)

    async def _follow_desired(self) -> None:
        async with self._link.subscription(topics.down_desired(self.device_id)) as envelopes:
            async for envelope in envelopes:
                if not envelope:
                    continue  # the hub has cleared the topic; the state in force stays
                try:
                    state = self._desired.accept(envelope, self._now())
                except TrustError as error:
                    _log.warning("desired state refused: %s", error)
                    self._reporter.refused(error.to_problem())
                else:
                    self._apply(state)

    def _apply(self, state: DesiredState) -> None:
        """Set every section on its way."""
        self._config = state.config
        self._reporter.accepted(state.order)
        self._reporter.section("config", SectionReport(state="applied"))
        for name, model in state.models.items():
            step = partial(self._updater(name).converge, model, state.order, partial(self._on_step, name))
            self._sections.want(f"models/{name}", model, model.deployment, partial(self._then_collect, step))
        for run, wanted in state.federated.items():
            self._sections.want(f"federated/{run}", wanted, "", partial(self._participant.converge, wanted))
        self._drop_unwanted(state)

    def _drop_unwanted(self, state: DesiredState) -> None:
        held = {f"models/{name}" for name, updater in self._updaters.items() if updater.file.slots.active}
        for key in held | set(self._sections.keys("models/")):
            name = key.removeprefix("models/")
            if name not in state.models:
                self._sections.want(key, None, "", partial(self._then_collect, self._updater(name).remove))
        for key in self._sections.keys("federated/"):
            if key.removeprefix("federated/") not in state.federated:
                self._sections.want(key, None, "", anyio.lowlevel.checkpoint)

    async def _then_collect(self, converge: Callable[[], Awaitable[None]]) -> None:
        """Converge, then delete the artifacts that no role, section or transfer needs any more."""
        await converge()
        self._reporter.touch()
        if self._reporter.working("") <= 1:  # the section that has just converged still counts
            self._blobs.collect(self._needed())

    def _needed(self) -> set[str]:
        needed = {sha256 for updater in self._updaters.values() for sha256 in updater.file.slots.artifacts()}
        state = self._desired.state
        for wanted in state.federated.values() if state else ():
            needed |= self._participant.artifacts(wanted)
        return needed

    def _on_step(self, name: str, event: DeploymentEvent) -> None:
        self._tell(event)
        if event.step not in {"commit", "fail"}:
            report = SectionReport(state="working", step=event.step, deployment=event.deployment)
            self._reporter.section(f"models/{name}", report)

    def _tell(self, body: EventBody) -> None:
        """Queue an event for the hub."""
        event = Event(event_id=secrets.token_hex(16), outbox=_UNPLACED, at=self._now(), body=body)
        self._outbox.put("event", body.kind, event.to_bytes())

    async def _ask_again(self, sha256: str, detail: str) -> None:
        self._tell(MissingArtifact(sha256=sha256, detail=detail))

    async def _beat(self) -> None:
        topic = topics.up(self.device_id, "telemetry")
        while True:
            await self._link.wait_connected()
            message = heartbeat(self._started_s, self._outbox.depth(), self._now())
            try:
                await self._link.publish(topic, message.to_bytes())
            except LinkError as error:
                _log.debug("heartbeat lost: %s", error)
            await anyio.sleep(self._config.heartbeat_s)

    async def _collect_windows(self) -> None:
        while True:
            await anyio.sleep(_WINDOW_CHECK_S)
            for window in self._monitor.take_windows(self._now(), self._config):
                message = TelemetryMessage(body=window.to_message(_UNPLACED))
                self._outbox.put("telemetry", "window", message.to_bytes())

    def _next_connection(self) -> int:
        return self._outbox.next_connection(int(self._now().timestamp() * 1000))

    def _updater(self, name: str) -> Updater:
        if name not in self._updaters:
            self._updaters[name] = Updater(
                name,
                SlotFile(self._settings.data_dir / "models", name),
                self._blobs,
                self._fetcher,
                self._server,
                Profile(self._identity.director_keys, self._reporter.targets, self._reporter.runtimes),
                self._settings.boot_attempts,
            )
        return self._updaters[name]

    def _make_reporter(self) -> Reporter:
        hardware, runtimes = detect(), self._settings.runtimes or available_runtimes()
        reporter = Reporter(hardware, runtimes, targets_for(hardware, runtimes), __version__, self._now)
        reporter.models = lambda: {name: item.file.slots.to_report() for name, item in self._updaters.items()}
        reporter.datasets = self._datasets.sizes
        return reporter

    def _make_participant(self) -> Participant:
        return Participant(
            folder=self._settings.data_dir / "federated",
            blobs=self._blobs,
            fetcher=self._fetcher,
            datasets=self._datasets,
            uploads=self._uploads,
            settings=self._settings.training,
            now=self._now,
            tell=self._tell,
        )


@contextmanager
def _only_one(path: Path) -> Iterator[TextIO]:
    """Hold the data folder: two agents on one would corrupt it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"starting the agent: another one uses {path.parent}"
            raise DiskError(message, "stop it first, or give this one a folder of its own with --data") from error
        yield file
