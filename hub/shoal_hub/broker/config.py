"""Mosquitto's configuration as text: two listeners with mutual TLS and an ACL each. Pure.

Devices connect to one listener and may act under their own topics only; the hub's processes connect to the other,
whose CA is another one. The text holds for Mosquitto 2.0.11 and later.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_contract import topics
from shoal_contract.limits import MAX_PACKET_BYTES
from shoal_hub.trust.ca import Identity

MAX_QUEUED_MESSAGES: Final = 100_000
"""Mosquitto's 1,000 lose messages of a burst that the hub has not committed yet."""
MAX_QUEUED_BYTES: Final = 64 * 2**20
"""Per client: a subscriber of `artifact/#` that stalls cannot make the broker hold the whole budget for it."""
MAX_INFLIGHT_MESSAGES: Final = 20
MEMORY_LIMIT_BYTES: Final = 2**30
AUTOSAVE_S: Final = 30

_UP: Final = "\n".join(
    f"pattern write {topics.ROOT}/device/%u/up/{tail}" for tail in (*topics.UP_CHANNELS, topics.BLOB_TAIL)
)
_DEVICE_ACL: Final = f"""\
# Written by the hub; changes are lost. %u is the common name of the device's certificate: its id.
{_UP}
pattern read {topics.ROOT}/device/%u/down/#
pattern read {topics.TRUST_FILTER}
pattern read {topics.ARTIFACT_FILTER}
"""
HUB_ACL: Final = f"""\
# Written by the hub; changes are lost. Only the hub's own certificates get to this listener.
pattern readwrite {topics.ROOT}/#
pattern read $SYS/#
"""


@dataclass(frozen=True)
class Listener:
    """One address with mutual TLS: clients need a certificate by `authority`."""

    host: str
    port: int
    authority: Path
    identity: Identity
    acl: Path
    crl: Path | None = None
    """Certificates that are revoked; the broker refuses everybody where the file is missing."""


@dataclass(frozen=True)
class BrokerConfig:
    """All that the configuration depends on.

    Attributes:
        user: The account to run as when started by root. Mosquitto's default is an account that cannot write into the
            hub's data folder, and then nothing that is retained outlives a restart.
    """

    folder: Path
    devices: Listener
    hub: Listener
    user: str

    @property
    def conf_path(self) -> Path:
        """Where the configuration is written."""
        return self.folder / "mosquitto.conf"

    @property
    def pid_path(self) -> Path:
        """Where Mosquitto writes its process id."""
        return self.folder / "mosquitto.pid"

    @property
    def log_path(self) -> Path:
        """Where Mosquitto logs."""
        return self.folder / "mosquitto.log"

    @property
    def database_dir(self) -> Path:
        """Where Mosquitto keeps retained messages."""
        return self.folder / "data"


def device_acl(denied: Iterable[str]) -> str:
    """Return the devices' ACL; `denied` may neither write nor read anything, whatever certificate they show.

    Mosquitto asks the rules of a user before the patterns, and among them those that deny first.
    """
    users = (f"\nuser {device_id}\ntopic deny #\n" for device_id in sorted(denied))
    return _DEVICE_ACL + "".join(users)


def render(config: BrokerConfig) -> str:
    """Return the text of `mosquitto.conf`."""
    # check_retain_source off: with listeners of their own settings, Mosquitto finds the publisher's ACL by the
    # listener's port, and would drop all that is retained when that port changes.
    return f"""\
# Written by the hub; changes are lost.
per_listener_settings true
user {config.user}
pid_file {config.pid_path}
log_dest file {config.log_path}
log_type error
log_type warning
log_type notice
connection_messages false
persistence true
persistence_location {config.database_dir}/
autosave_interval {AUTOSAVE_S}
check_retain_source false
max_queued_messages {MAX_QUEUED_MESSAGES}
max_queued_bytes {MAX_QUEUED_BYTES}
max_inflight_messages {MAX_INFLIGHT_MESSAGES}
max_packet_size {MAX_PACKET_BYTES}
memory_limit {MEMORY_LIMIT_BYTES}
set_tcp_nodelay true

{_render_listener(config.devices)}
{_render_listener(config.hub)}"""


def _render_listener(listener: Listener) -> str:
    crl = "" if listener.crl is None else f"crlfile {listener.crl}\n"
    return f"""\
listener {listener.port} {listener.host}
cafile {listener.authority}
certfile {listener.identity.certificate}
keyfile {listener.identity.key}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {listener.acl}
{crl}"""
