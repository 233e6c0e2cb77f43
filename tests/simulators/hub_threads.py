"""A hub for tests: ingest and controller as threads of the test, over a real broker and a real database."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlmodel import Session
from tests.simulators.broker import Broker
from tests.simulators.device import Behaviour, SimulatedDevice, enrol
from tests.simulators.rows import add_version

from shoal_contract.ids import new_device_id
from shoal_hub.addresses import Addresses
from shoal_hub.controller.loop import Controller
from shoal_hub.database import Database, announce
from shoal_hub.devices.desired_tables import ENROLLED
from shoal_hub.devices.tables import Device
from shoal_hub.ingest.worker import IngestWorker
from shoal_hub.processes.controller import build_controller
from shoal_hub.processes.ingest import build_ingest
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.rollouts.start import Starter, find_rollout, start_rollout
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.settings import Settings
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys

TARGET = "generic-onnx-int8"
WAIT_S = 20.0


class Running:
    """A worker in a thread."""

    def __init__(self, worker: Controller | IngestWorker, database: Database) -> None:
        self.worker = worker
        self._database = database
        self._ready = threading.Event()
        self._thread = threading.Thread(target=worker.run, args=(self._ready.set,))
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the worker does not get ready"

    def stop(self) -> None:
        self.worker.stop()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self._database.close()


class Hub:
    """The parts of one hub, and the devices that belong to it."""

    def __init__(self, folder: Path, broker: Broker, **settings: object) -> None:
        self.folder = folder
        self.broker = broker
        usual: dict[str, object] = {
            "data_dir": folder,
            "tick_s": 0.5,
            "longest_sweep_rest_s": 0.5,
            "presence_grace_s": 1.0,
            "withdraw_grace_s": 0.2,
            "artifacts_url": str(folder / "artifacts"),
            "delta_min_bytes": 2**20,  # none, unless a test asks for them: each takes a process
        }
        self.settings = Settings.model_validate(usual | settings)
        self.database = Database(self.settings.database)
        self.database.upgrade()
        self.store = ArtifactStore(self.settings.artifacts)
        self.director = Director.open(folder / "trust")
        self.version_keys = VersionKeys.open(folder / "trust")
        self.trust = HubTrust.open(self.settings)
        self.addresses = Addresses(
            api_url="https://localhost:1",
            api_port=1,
            broker_host="127.0.0.1",
            broker_port=broker.device_port,
            hub_listener_host="127.0.0.1",
            hub_listener_port=broker.config.hub.port,
        )
        self.devices: list[SimulatedDevice] = []
        self.start_ingest()
        self.start_controller()

    def start_ingest(self) -> None:
        database = Database(self.settings.database)
        self.ingest = Running(build_ingest(self.settings, database, self.addresses), database)

    def start_controller(self) -> None:
        database = Database(self.settings.database)
        controller = build_controller(self.settings, database, self.addresses, lambda _signed: None)
        self.database.on_commit = controller.wake
        self.controller = Running(controller, database)

    def add_device(
        self, behaviour: Behaviour | None = None, *, is_started: bool = True, encryption_key: str | None = None
    ) -> SimulatedDevice:
        """Enrol a device, and start it."""
        device_id = new_device_id()
        with self.database.transaction() as session:
            folder = self.folder / "devices"
            identity = enrol(session, self.broker.devices, device_id, folder, encryption_key=encryption_key)
            announce(session, ENROLLED)
        device = SimulatedDevice(
            device_id,
            identity,
            port=self.broker.device_port,
            authority=self.broker.devices.certificate_path,
            director=(self.director.key_id, self.director.public_key_hex),
            behaviour=behaviour,
        )
        self.devices.append(device)
        if is_started:
            device.start()
            self.wait(lambda session: session.get_one(Device, device_id).reported is not None)
        return device

    def add_version(self, number: int, size_bytes: int = 300_000, *, is_encrypted: bool = False) -> None:
        """Register a version with one variant, of several chunks."""
        with self.database.transaction() as session:
            add_version(session, self.store, number, {TARGET: bytes([number]) * size_bytes}, is_encrypted=is_encrypted)

    def roll_out(
        self, version: int, waves: tuple[int, ...] = (), max_failures: int = 0, timeout_s: float = 60.0
    ) -> str:
        """Start a rollout to all devices, in their order."""
        bounds = self.settings.retained_budget_bytes, self.settings.delta_min_bytes, self.settings.delta_wait_s
        starter = Starter(self.store, self.trust, self.director, self.version_keys, *bounds)
        with self.database.transaction() as session:
            return start_rollout(
                session,
                starter,
                model="digits",
                version=str(version),
                devices=[device.device_id for device in self.devices],
                waves=waves,
                max_failures=max_failures,
                timeout_s=timeout_s,
                by="test",
            ).id

    def wait(self, holds: Callable[[Session], bool], timeout_s: float = WAIT_S) -> None:
        """Wait until something holds in the database."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self.database.session() as session:
                if holds(session):
                    return
            assert time.monotonic() < deadline, "it does not come to hold"
            time.sleep(0.02)

    def wait_for_state(self, rollout_id: str, state: str) -> Rollout:
        """Wait until a rollout is in a state."""
        self.wait(lambda session: find_rollout(session, rollout_id).state == state)
        with self.database.session() as session:
            return find_rollout(session, rollout_id)

    def stop(self) -> None:
        for device in self.devices:
            if hasattr(device, "_workers") and not device._stopping.is_set():
                device.stop()
        self.database.on_commit = None
        self.controller.stop()
        self.ingest.stop()
        self.database.close()


@contextmanager
def running_hub(folder: Path, broker: Broker, **settings: object) -> Iterator[Hub]:
    """Run a hub for the length of the block, with one test's settings."""
    hub = Hub(folder, broker, **settings)
    try:
        yield hub
    finally:
        hub.stop()
