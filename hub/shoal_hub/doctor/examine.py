"""Runs every check. One that cannot look is a failure of its own, and holds up no other."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shoal_hub.database import Database, utc_now
from shoal_hub.doctor import expiry, files, machine, secrets, trail
from shoal_hub.doctor.check import Check, Finding, Patient
from shoal_hub.errors import HubError, SettingsError
from shoal_hub.settings import Settings

CHECKS: Final[Sequence[Check]] = (
    files.file_modes,
    files.file_owner,
    files.keys_at_rest,
    secrets.secrets_in_logs,
    secrets.secrets_in_database,
    secrets.secrets_in_arguments,
    expiry.certificates,
    expiry.metadata,
    trail.audit_trail,
    trail.append_only,
    machine.broker_configuration,
    machine.device_access,
    machine.mosquitto_version,
    machine.disk_space,
    machine.clock,
    machine.first_token,
)


def examine_hub(settings: Settings, now: datetime | None = None) -> list[Finding]:
    """Look at the hub of these settings, running or not; nothing is changed.

    Raises:
        SettingsError: There is no hub in the data folder.
    """
    if not (settings.data / "trust").is_dir():
        raise SettingsError(f"there is no hub in {settings.data}", "set SHOAL_DATA to the data folder of the hub")
    database = Database(settings.database)
    patient = Patient(settings, database, now or utc_now())
    try:
        return [_run(check, patient) for check in CHECKS]
    finally:
        database.close()


def _run(check: Check, patient: Patient) -> Finding:
    try:
        return check(patient)
    except HubError as error:
        return Finding(name=check.name, verdict="fail", found=error.message, remedy=error.remedy or "see the message")
    except (OSError, SQLAlchemyError, ValueError) as error:
        remedy = "see that the hub's account runs this, and that the hub was started once by this version"
        found = f"it could not be looked at: {type(error).__name__}: {error}"[:500]
        return Finding(name=check.name, verdict="fail", found=found, remedy=remedy)
