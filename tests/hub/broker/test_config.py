"""The configuration that Mosquitto gets, word for word, and what finds the program."""

import resource
from pathlib import Path

import pytest

from shoal_hub.broker.config import BrokerConfig, Listener, render
from shoal_hub.broker.errors import BrokerError
from shoal_hub.broker.program import find_mosquitto, raise_file_limit
from shoal_hub.trust.ca import Identity

GOLDEN = Path(__file__).parent / "mosquitto.conf"


def _listener(name: str, host: str, port: int) -> Listener:
    trust = Path("/data/trust")
    identity = Identity(certificate=trust / f"{name}-server.pem", key=trust / f"{name}-server.key")
    crl = Path("/data/broker/devices.crl") if name == "devices" else None
    return Listener(host, port, trust / f"{name}-ca.pem", identity, Path(f"/data/broker/{name}.acl"), crl)


def test_the_configuration_is_the_golden_file() -> None:
    config = BrokerConfig(
        folder=Path("/data/broker"),
        devices=_listener("devices", "0.0.0.0", 8883),  # noqa: S104 - devices come from everywhere
        hub=_listener("hub", "127.0.0.1", 8884),
        user="shoal",
    )
    assert render(config) == GOLDEN.read_text()


def test_a_program_in_the_cache_folder_comes_before_the_path(tmp_path: Path) -> None:
    program = tmp_path / ".cache" / "bin" / "mosquitto"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_mosquitto(folder=tmp_path) == program


def test_a_program_outside_the_path_is_found_among_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sbin" / "mosquitto"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mosquitto(folder=tmp_path, system=str(program.parent)) == program


def test_a_missing_program_is_named_with_the_remedy() -> None:
    with pytest.raises(BrokerError, match=r"/nowhere/mosquitto.*apt-get install mosquitto"):
        find_mosquitto("/nowhere/mosquitto")


def test_the_file_limit_is_reported_as_it_really_is() -> None:
    assert raise_file_limit(64) >= 64
    assert raise_file_limit() == min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
