"""Which devices the broker lets in and what it lets them do: two files, written to agree with the database.

`devices.acl` denies revoked devices everything, `devices.crl` makes the broker refuse their certificates. With a broker
that runs elsewhere, its operator copies both and has it read them again.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from shoal_hub.broker.config import BrokerConfig, device_acl
from shoal_hub.broker.process import reload
from shoal_hub.trust import files
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.revocation_lists import revocation_lists


@dataclass(frozen=True)
class Revoked:
    """What the files have to say.

    Attributes:
        devices: Ids that may do nothing.
        serials: Certificates that are refused, with the time of their revocation.
    """

    devices: AbstractSet[str] = field(default_factory=frozenset)
    serials: Mapping[int, datetime] = field(default_factory=dict)


class DeviceAccess:
    """The two files of one broker.

    Args:
        config: Where they are.
        authorities: Every authority whose certificates the devices' listener takes.
    """

    def __init__(self, config: BrokerConfig, authorities: Sequence[DeviceAuthority]) -> None:
        if config.devices.crl is None:
            raise ValueError("writing the devices' access: the devices' listener has no revocation list")
        self._config = config
        self._authorities = authorities
        self.acl_path = config.devices.acl
        self.crl_path = config.devices.crl

    def write(self, revoked: Revoked, now: datetime) -> bool:
        """Make the files say what they should, each in one step; return whether they said anything else before."""
        before = _read(self.crl_path)
        crl = revocation_lists(self._authorities, revoked.serials, before, now)
        acl = device_acl(revoked.devices).encode()
        changes = [(self.crl_path, crl)] if crl != before else []
        changes += [(self.acl_path, acl)] if acl != _read(self.acl_path) else []
        self._config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, data in changes:
            files.write_private(path, data)
        return bool(changes)

    def reload(self) -> bool:
        """Have the broker read the files; return whether it is one that this hub runs."""
        return reload(self._config)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
