"""Who may pass requests to a server: the devices of its site, for as long as the hub says so."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal_agent.errors import AgentError, HubError, HubUnreachableError
from shoal_agent.standalone.site import ServedSite, server_context
from shoal_hub.trust.ca import DeviceAuthority


@dataclass
class Registry:
    """What the hub says of a site, with the interface of the hub's registry."""

    ca: bytes
    devices: tuple[str, ...] = ("d-aaaaaaaaaaaaaaaa",)
    error: AgentError | None = None

    def devices_of(self, site: str) -> tuple[str, ...]:
        assert site == "lan"
        if self.error is not None:
            raise self.error
        return self.devices

    def device_ca(self) -> bytes:
        return self.ca


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(DeviceAuthority.open(tmp_path / "trust").certificate_pem.encode())


def test_the_certificate_is_made_once_and_stays(registry: Registry, tmp_path: Path) -> None:
    first, again = (ServedSite("lan", registry, tmp_path / "handover") for _ in range(2))
    first.begin()
    again.begin()
    assert first.certificate_sha256 == again.certificate_sha256 != ""
    assert (tmp_path / "handover" / "server.pem").stat().st_mode & 0o777 == 0o600
    server_context(tmp_path / "handover")


def test_devices_are_followed_stay_while_the_hub_is_away_and_may_not_ask_once_it_refuses(
    registry: Registry, tmp_path: Path
) -> None:
    site = ServedSite("lan", registry, tmp_path)
    site.begin()
    registry.devices = ("d-bbbbbbbbbbbbbbbb",)
    site.look()
    assert site.members == registry.devices
    registry.error = HubUnreachableError("no hub")
    site.look()
    assert site.members == registry.devices
    registry.error = HubError("the hub answered 404: no site lan")
    site.look()
    assert site.members == ()
    registry.error = None
    site.look()
    assert site.members == registry.devices


def test_without_a_site_the_hub_is_not_asked(tmp_path: Path) -> None:
    site = ServedSite("", Registry(b"", error=HubError("refused")), tmp_path / "none")
    site.begin()
    site.look()
    assert not (tmp_path / "none").exists()
