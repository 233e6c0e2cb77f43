"""`shoal-agent tuf` as a conformance suite drives it: a program of its own, files and requests that can be counted.

Order and exit codes are those of the client-under-test protocol of github.com/theupdateframework/tuf-conformance.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.trust_server import TrustServer, trust_server
from tests.simulators.tuf_repository import TufRepository
from tuf.api.metadata import Metadata

from shoal_contract.trust import CA_BUNDLE_TARGET, METADATA_PATH, TARGETS_PATH

PEM = b"-----BEGIN CERTIFICATE-----\n"


@pytest.fixture
def hub() -> Iterator[TrustServer]:
    with trust_server(TufRepository(), None) as serving:
        yield serving


class Client:
    """One client under test."""

    def __init__(self, hub: TrustServer, folder: Path) -> None:
        self.hub = hub
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self._root = folder / "initial_root.json"
        self._root.write_bytes(hub.repository.trust_root)
        assert self.run("init", self._root) == 0
        assert hub.requests == [], "nobody is asked before the first refresh"

    def run(self, *arguments: str | Path) -> int:
        command = [sys.executable, "-m", "shoal_agent", "tuf", "--metadata-dir", self.metadata, *arguments]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([*map(str, command)], env=environ, check=False, capture_output=True, text=True)
        self.said = done.stdout + done.stderr
        assert "Traceback" not in self.said
        return done.returncode

    def refresh(self) -> int:
        return self.run("--metadata-url", self.hub.url + METADATA_PATH.rstrip("/"), "refresh")

    def download(self, *names: str) -> int:
        wanted = [part for name in names for part in ("--target-name", name)]
        url, targets = self.hub.url + METADATA_PATH.rstrip("/"), self.hub.url + TARGETS_PATH.rstrip("/")
        places = ("--target-dir", self.targets, "--target-base-url", targets)
        return self.run("--metadata-url", url, *wanted, *places, "download")

    def version(self, role: str) -> int:
        return int(Metadata.from_file(str(self.metadata / f"{role}.json")).signed.version)

    def asked(self) -> list[str]:
        """Return the names that it has asked for since the last time."""
        names = [path.rsplit("/", 1)[-1] for path, _ in self.hub.requests]
        self.hub.requests.clear()
        return names


@pytest.fixture
def client(hub: TrustServer, tmp_path: Path) -> Client:
    return Client(hub, tmp_path)


def test_a_refresh_asks_in_the_order_of_the_specification_and_keeps_unversioned_names(client: Client) -> None:
    assert client.refresh() == 0
    snapshot, targets = client.version("snapshot"), client.version("targets")
    assert client.asked() == ["2.root.json", "timestamp.json", f"{snapshot}.snapshot.json", f"{targets}.targets.json"]
    assert client.refresh() == 0
    assert client.asked() == ["2.root.json", "timestamp.json"]


def test_every_root_is_stepped_through(client: Client) -> None:
    client.hub.repository.rotate_root()
    client.hub.repository.rotate_root()
    assert client.refresh() == 0
    assert client.asked()[:3] == ["2.root.json", "3.root.json", "4.root.json"]
    assert client.version("root") == 3


def test_a_target_is_downloaded_once_and_again_when_it_has_changed(client: Client) -> None:
    client.hub.repository.set_ca_bundle(PEM)
    assert client.download(CA_BUNDLE_TARGET) == 0
    assert sum(name.endswith("ca.pem") for name in client.asked()) == 1
    assert client.download(CA_BUNDLE_TARGET) == 0
    assert not [name for name in client.asked() if name.endswith("ca.pem")]

    client.hub.repository.wait_for_another_ms()
    client.hub.repository.set_ca_bundle(PEM + b"another")
    assert client.download(CA_BUNDLE_TARGET) == 0

    assert [path.read_bytes() for path in client.targets.iterdir()] == [PEM + b"another"]


def test_the_first_target_that_fails_ends_the_command_with_1(client: Client) -> None:
    client.hub.repository.set_ca_bundle(PEM)
    assert client.download("no/such/target", CA_BUNDLE_TARGET) == 1
    assert "no role lists it" in client.said
    assert not list(client.targets.glob("*"))


def test_a_refused_refresh_exits_with_1_says_what_to_do_and_leaves_what_was_trusted(client: Client) -> None:
    assert client.refresh() == 0
    version = client.version("timestamp")
    client.hub.repository.files["timestamp"] = b"{}"
    assert client.refresh() == 1
    assert "do: what was trusted before still is" in client.said
    assert client.version("timestamp") == version


def test_a_repository_that_is_away_exits_with_1(client: Client) -> None:
    assert client.run("--metadata-url", "http://127.0.0.1:1", "refresh") == 1
    assert "Connection refused" in client.said


@pytest.mark.parametrize("verb", ["refresh", "download"])
def test_what_is_missing_on_the_command_line_is_said(client: Client, verb: str) -> None:
    assert client.run(verb) == 2
    assert "give --" in client.said
