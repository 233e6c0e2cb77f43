"""Gives the audit trail its next key, and says so in the trail."""

from shoal_hub.audit.actor import COMMAND_LINE
from shoal_hub.audit.chain import key_id
from shoal_hub.audit.key import AuditKey
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.settings import Settings


def rotate(settings: Settings) -> str:
    """Make the next key; return its name.

    Raises:
        TrustError: A key file is damaged or open to others.
    """
    name = key_id(AuditKey.rotate(settings.data / "trust").number)
    database = Database(settings.database)
    try:
        with database.transaction() as session:
            record(session, COMMAND_LINE, "audit.rotate_key", f"audit/{name}", {}, {"key": name})
    finally:
        database.close()
    return name
