"""Prepares a data folder for the start: keys, database, ports, and the broker's configuration."""

import getpass
import time
from typing import Final
from urllib.parse import urlsplit

from shoal_hub.addresses import Addresses, NotRunningError
from shoal_hub.audit.actor import SUPERVISOR
from shoal_hub.audit.key import AuditKey
from shoal_hub.broker.access import DeviceAccess
from shoal_hub.broker.config import BrokerConfig, Listener
from shoal_hub.broker.ports import free_port, is_free
from shoal_hub.broker.process import running_pid
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.revocation import read_revoked
from shoal_hub.errors import SettingsError
from shoal_hub.ingest.group import read_shared_group
from shoal_hub.settings import Settings
from shoal_hub.trust.ca import DeviceAuthority, HubAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.renewal_record import recorded
from shoal_hub.trust.status import read_status

_API_PORT_TIMEOUT_S: Final = 6.0
"""An API that was left by a hub that was killed needs a moment to end and to give its port back."""
_ANY: Final = "0.0.0.0"  # noqa: S104 - a broker elsewhere is reached over the network
_LOOPBACK: Final = {"": "127.0.0.1", _ANY: "127.0.0.1", "::": "::1"}


def prepare_data(settings: Settings) -> list[str]:
    """Make what is not there yet: keys, secrets, the database at this version's schema, and the first metadata.

    Returns:
        What somebody should look at, in words.
    """
    trust = settings.data / "trust"
    Director.open(trust)
    DeviceAuthority.open(trust).issue_server(server_names(settings))
    HubAuthority.open(trust)
    AuditKey.open(trust)
    read_shared_group(settings.data)
    database = Database(settings.database)
    database.upgrade()
    hub_trust = HubTrust.open(settings)
    with database.transaction() as session:
        with recorded(hub_trust.reading(session), "trust.begin", SUPERVISOR):
            hub_trust.writing(session)
        warnings = read_status(session, hub_trust, utc_now()).warnings
    database.close()
    return warnings


def server_names(settings: Settings) -> list[str]:
    """Return the names and addresses that the hub's servers are reached by, for their certificate."""
    return list(dict.fromkeys([settings.public_host, "localhost", "127.0.0.1", device_listener_host(settings)]))


def device_listener_host(settings: Settings) -> str:
    """Return where the hub itself reaches the devices' listener."""
    return settings.public_host if settings.broker_url else _LOOPBACK.get(settings.broker_host, settings.broker_host)


def choose_addresses(settings: Settings) -> Addresses:
    """Return where everything will be; a port left to the system stays the same from start to start if it can."""
    before = _read_before(settings)
    host, port = _hub_listener(settings)
    is_running = before is not None and running_pid(broker_config(settings, before)) is not None
    api_port = settings.api_port or _keep_api_port(before.api_port if before else 0, settings.api_host)
    broker_port = settings.broker_port or _keep(before.broker_port if before else 0, is_running=is_running)
    hub_port = port or _keep(before.hub_listener_port if before else 0, is_running=is_running)
    return Addresses(
        api_url=f"https://{settings.public_host}:{api_port}",
        api_port=api_port,
        broker_host=settings.public_host,
        broker_port=broker_port,
        hub_listener_host=host,
        hub_listener_port=hub_port,
    )


def broker_config(settings: Settings, addresses: Addresses) -> BrokerConfig:
    """Return the configuration of Mosquitto for these addresses."""
    trust, folder = settings.data / "trust", settings.data / "broker"
    devices, hub = DeviceAuthority.open(trust), HubAuthority.open(trust)
    return BrokerConfig(
        folder=folder,
        devices=Listener(
            host=settings.broker_host,
            port=addresses.broker_port,
            authority=devices.certificate_path,
            identity=devices.issue_server(server_names(settings)),
            acl=folder / "devices.acl",
            crl=folder / "devices.crl",
        ),
        hub=Listener(
            host=_ANY if settings.broker_url else "127.0.0.1",
            port=addresses.hub_listener_port,
            authority=hub.certificate_path,
            identity=hub.issue_server(list(dict.fromkeys([addresses.hub_listener_host, "127.0.0.1"])), "hub-listener"),
            acl=folder / "hub.acl",
        ),
        user=getpass.getuser(),
    )


def device_access(settings: Settings, addresses: Addresses) -> DeviceAccess:
    """Return the files that say which devices the broker lets in."""
    return DeviceAccess(broker_config(settings, addresses), DeviceAuthority.open(settings.data / "trust"))


def write_device_access(settings: Settings, addresses: Addresses) -> None:
    """Write those files from the database: a broker does not start without them, nor may it start with older ones."""
    database = Database(settings.database)
    try:
        with database.session() as session:
            revoked = read_revoked(session, utc_now())
    finally:
        database.close()
    device_access(settings, addresses).write(revoked, utc_now())


def _hub_listener(settings: Settings) -> tuple[str, int]:
    """Return host and port of the hub's listener; port 0 where any will do.

    Raises:
        SettingsError: The broker's URL is none.
    """
    if not settings.broker_url:
        return "127.0.0.1", settings.hub_listener_port
    url = urlsplit(settings.broker_url)
    if url.scheme != "mqtts" or url.hostname is None or url.port is None:
        raise SettingsError(
            f"reading the settings: SHOAL_BROKER_URL={settings.broker_url!r} is no broker's URL",
            "set it to mqtts://host:port of the broker's listener for the hub, or unset it",
        )
    return url.hostname, url.port


def _read_before(settings: Settings) -> Addresses | None:
    try:
        return Addresses.read(settings)
    except NotRunningError:
        return None


def _keep(port: int, *, is_running: bool) -> int:
    return port if port and (is_running or is_free(port)) else free_port()


def _keep_api_port(port: int, host: str) -> int:
    deadline = time.monotonic() + _API_PORT_TIMEOUT_S
    while port and time.monotonic() < deadline:
        if is_free(port, host):
            return port
        time.sleep(0.05)
    return free_port(host)
