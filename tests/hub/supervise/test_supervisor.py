"""`shoal hub up` as people run it: ready when it serves, whole again after any kill, gone when it is told to go."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.simulators.device import SimulatedDevice, enrol
from tests.simulators.rows import add_version
from tests.simulators.service import Service

from shoal_client.profile import read_profile
from shoal_contract.ids import new_device_id
from shoal_hub.broker.ports import free_port
from shoal_hub.database import Database
from shoal_hub.errors import SettingsError
from shoal_hub.processes.api import _Server
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.rollouts.start import Starter, deployments_of, find_rollout, start_rollout
from shoal_hub.settings import Settings
from shoal_hub.supervise.children import Child
from shoal_hub.supervise.prepare import server_names
from shoal_hub.supervisor import Supervisor
from shoal_hub.trust import ca, certificates
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys

TARGET = "generic-onnx-int8"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    service.start()
    try:
        yield service
    finally:
        service.clean_up()


def test_a_rollout_comes_through_the_kill_of_every_process_and_of_the_broker(service: Service, tmp_path: Path) -> None:
    service.wait_ready()
    database = Database(service.settings.database)
    devices = [_add_device(service, database, tmp_path) for _ in range(2)]
    rollout_id = _roll_out(service, database)
    for device in devices[:1]:
        device.start()
    killed = {name: service.kill(name) for name in ("controller", "ingest", "api")}
    service.wait(lambda: all(service.pid_of(name) not in {None, pid} for name, pid in killed.items()))
    service.wait(lambda: _count(database, rollout_id, "succeeded") == 1)
    broker_pid = service.broker_pid
    assert broker_pid is not None
    os.kill(broker_pid, signal.SIGKILL)
    service.wait(lambda: service.broker_pid not in {None, broker_pid} and devices[1].finds_broker())
    devices[1].start()
    service.wait(lambda: _state(database, rollout_id) == "succeeded")
    assert [device.serves() for device in devices] == [1, 1]
    for device in devices:
        device.stop()
    database.close()
    assert service.end() == 0
    assert service.broker_pid is None


@pytest.mark.slow
def test_after_a_kill_the_next_start_adopts_the_broker_and_a_stop_ends_everything(service: Service) -> None:
    service.wait_ready()
    _ask_who_i_am(service)
    before, broker_pid = service.addresses, service.broker_pid
    pids = [service.pid_of(name) for name in ("api", "ingest", "controller")]
    second = Service(service.settings.data.parent)
    second.start()
    assert second.process is not None
    assert second.process.wait(30) != 0
    assert "a hub (pid" in service.output
    service.end(signal.SIGKILL)
    service.wait(lambda: not any(service.pid_of(name) in pids for name in ("api", "ingest", "controller")))
    assert service.broker_pid == broker_pid
    service.start()
    service.wait_ready()
    assert (service.addresses, service.broker_pid) == (before, broker_pid)
    assert "broker adopted" in service.output
    _ask_who_i_am(service)
    assert service.end() == 0
    assert [service.pid_of(name) for name in ("api", "ingest", "controller")] == [None] * 3
    assert service.broker_pid is None


@pytest.mark.slow
def test_a_process_that_cannot_start_ends_the_hub_with_its_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = Service(tmp_path, api_port=taken.getsockname()[1])
        service.start()
        try:
            assert service.process is not None
            assert service.process.wait(60) != 0
            assert "starting the hub's process api" in service.output
            assert "address already in use" in service.output.lower()
            assert service.broker_pid is None
        finally:
            service.clean_up()


def test_settings_that_no_process_could_start_with_end_the_hub_before_it_starts_any(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", artifacts_url="nonsense://nowhere")
    with pytest.raises(SettingsError, match=r"Protocol not known.*SHOAL_ARTIFACTS_URL"):
        Supervisor(settings, lambda _line: None).run()
    assert not (tmp_path / "data" / "hub.json").exists()
    assert not (tmp_path / "data" / "broker").exists()


def test_it_is_told_of_the_end_of_a_process_and_of_its_own_and_looks_seldom_while_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.supervisor._REST_S", 15.0)
    supervisor = Supervisor(Settings(data_dir=tmp_path), lambda _line: None)
    supervisor._is_ready, began_s = True, time.monotonic()
    with kept_handlers(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        supervisor.heed_signals()
        with subprocess.Popen(["sleep", "0.2"]):
            assert supervisor._rest()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while supervisor._rest():  # a child of somebody else may end as well
            assert time.monotonic() - began_s < 10.0
    assert time.monotonic() - began_s < 10.0


def test_a_process_that_is_to_start_again_is_not_left_waiting_for_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.supervisor._REST_S", 15.0)
    settings = Settings(data_dir=tmp_path)
    supervisor = Supervisor(settings, lambda _line: None)
    supervisor._is_ready, supervisor._children, began_s = True, [Child("api", settings, 0)], time.monotonic()
    assert supervisor._rest()
    assert time.monotonic() - began_s < 10.0


@contextmanager
def kept_handlers(*numbers: signal.Signals) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_hub_that_runs_on_and_on_shows_new_certificates_before_the_old_ones_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "data", api_port=free_port(), broker_port=free_port())
    supervisor = Supervisor(settings, lambda _line: None)
    addresses = supervisor._prepare()
    supervisor._start_broker(addresses)
    try:
        shown = [_certificate_at(addresses.broker_port), _certificate_at(addresses.hub_listener_port)]
        supervisor._next_look_s = 0.0
        supervisor._tend(addresses, tmp_path / "ready")
        assert shown == [_certificate_at(addresses.broker_port), _certificate_at(addresses.hub_listener_port)]
        monkeypatch.setattr(ca, "_RENEW_BEFORE", certificates.LEAF_LIFE)  # as if all were near their end
        supervisor._next_look_s = 0.0
        supervisor._tend(addresses, tmp_path / "ready")
        now = [_certificate_at(addresses.broker_port), _certificate_at(addresses.hub_listener_port)]
        assert not set(now) & set(shown)
    finally:
        supervisor._stop_all()


def test_the_api_shows_a_new_certificate_before_the_old_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    authority = DeviceAuthority.open(settings.data / "trust")
    identity = authority.issue_server(server_names(settings))
    config = uvicorn.Config(_no_app, ws="none", ssl_certfile=str(identity.certificate), ssl_keyfile=str(identity.key))
    config.load()
    server = _Server(config, settings, authority)
    loaded: list[bytes] = []
    assert config.ssl is not None
    monkeypatch.setattr(
        config.ssl, "load_cert_chain", lambda certificate, _key: loaded.append(certificate.read_bytes())
    )
    before = identity.certificate.read_bytes()
    monkeypatch.setattr(ca, "_RENEW_BEFORE", certificates.LEAF_LIFE)
    asyncio.run(server.on_tick(0))
    assert not loaded, "it looks once an hour"
    server._next_look_s = 0.0
    asyncio.run(server.on_tick(0))
    assert loaded == [identity.certificate.read_bytes()] != [before]


async def _no_app(_scope: object, _receive: object, _send: object) -> None:
    """Answer nothing."""


def _certificate_at(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def _ask_who_i_am(service: Service) -> None:
    """Use the API with the profile that the start has written."""
    profile = read_profile(service.profile)
    assert profile.ca_path is not None
    context = ssl.create_default_context(cafile=str(profile.ca_path))
    headers = {"Authorization": f"Bearer {profile.token.get_secret_value()}"}
    with httpx.Client(verify=context, headers=headers, base_url=profile.url) as client:
        assert client.get("/api/v1/rollouts").json() == []


def _add_device(service: Service, database: Database, folder: Path) -> SimulatedDevice:
    trust, device_id = service.settings.data / "trust", new_device_id()
    authority, director = DeviceAuthority.open(trust), Director.open(trust)
    with database.transaction() as session:
        identity = enrol(session, authority, device_id, folder / "devices")
    return SimulatedDevice(
        device_id,
        identity,
        port=service.addresses.broker_port,
        authority=authority.certificate_path,
        director=(director.key_id, director.public_key_hex),
    )


def _roll_out(service: Service, database: Database) -> str:
    store = ArtifactStore(service.settings.artifacts)
    trust = service.settings.data / "trust"
    keys = (HubTrust.open(service.settings), Director.open(trust), VersionKeys.open(trust))
    starter = Starter(store, *keys, 2**30, 2**30, 0)
    with database.transaction() as session:
        add_version(session, store, 1, {TARGET: b"1" * 300_000})
        return start_rollout(session, starter, model="digits", version="1", by="test").id


def _state(database: Database, rollout_id: str) -> str:
    with database.session() as session:
        return find_rollout(session, rollout_id).state


def _count(database: Database, rollout_id: str, state: str) -> int:
    with database.session() as session:
        return sum(one.state == state for one in deployments_of(session, rollout_id))
