"""Replaces keys that a hub holds while it runs: done while it is stopped, and written into the audit trail."""

from pathlib import Path

from shoal_hub.audit.actor import COMMAND_LINE
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.settings import Settings
from shoal_hub.supervise.claim import claimed
from shoal_hub.trust.ca import HubAuthority
from shoal_hub.trust.passphrase_rotation import rotate_passphrase as put_under_new_passphrase


def rotate_hub_ca(settings: Settings) -> str:
    """Make the hub's own CA anew; return its fingerprint. The next start makes what it signs.

    Raises:
        SupervisorError: The hub runs.
        TrustError: There is no CA yet, or its key cannot be opened.
    """
    with claimed(settings.data, "replacing the hub's CA"):
        fingerprint = HubAuthority.rotate(settings.data / "trust").fingerprint
        _record(settings, "trust.rotate_hub_ca", "trust/hub-ca", fingerprint=fingerprint)
    return fingerprint


def rotate_passphrase(settings: Settings) -> tuple[Path, int]:
    """Put every encrypted key under a new passphrase; return where that lies, and how many keys there are.

    Raises:
        SupervisorError: The hub runs.
        TrustError: The passphrase cannot be replaced where it lies, or does not open a key.
    """
    with claimed(settings.data, "replacing the passphrase"):
        path, count = put_under_new_passphrase(settings.data / "trust")
        _record(settings, "trust.rotate_passphrase", "trust/passphrase", keys=count)
    return path, count


def _record(settings: Settings, action: str, subject: str, **after: str | int) -> None:
    database = Database(settings.database)
    try:
        with database.transaction() as session:
            record(session, COMMAND_LINE, action, subject, {}, after)
    finally:
        database.close()
