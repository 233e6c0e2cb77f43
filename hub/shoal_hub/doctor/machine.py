"""The machine, the broker and the first token."""

import re
import shutil
import subprocess
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, func, select

from shoal_hub.audit.tables import AuditEntry
from shoal_hub.broker.config import device_acl
from shoal_hub.broker.errors import BrokerError
from shoal_hub.broker.process import written_digest
from shoal_hub.broker.program import find_mosquitto
from shoal_hub.devices.revocation import read_revoked
from shoal_hub.devices.tables import Device
from shoal_hub.doctor.check import Found, Patient, check, fail, ok, some, warn
from shoal_hub.events.tables import EventRow
from shoal_hub.operators.tables import OperatorToken

_LEAST_FREE_BYTES: Final = 2**30
_FEW_FREE_BYTES: Final = 5 * 2**30
_OLDEST_MOSQUITTO: Final = (2, 0, 11)
_VERSION_TIMEOUT_S: Final = 10.0
_CLOCK_SLACK: Final = timedelta(minutes=1)


@check("broker configuration")
def broker_configuration(patient: Patient) -> Found:
    """The broker's configuration, rules and certificates are the ones that the hub wrote."""
    folder = patient.settings.data / "broker"
    remedy = "find out who changed it, then restart the hub: it writes the files anew and restarts the broker"
    if patient.settings.broker_url:
        return ok("the broker runs elsewhere: give it the files of the broker folder as they are")
    try:
        is_same = written_digest(folder) == (folder / "config.sha256").read_text()
    except (OSError, ValueError) as error:
        return fail(f"it cannot be compared: {error}", "start the hub: shoal hub up")
    return ok("as the hub wrote it") if is_same else fail("it was changed by hand", remedy)


@check("revoked devices")
def device_access(patient: Patient) -> Found:
    """The broker's rules deny what the database has revoked, and every revoked device is off the broker."""
    path = patient.settings.data / "broker" / "devices.acl"
    remedy = "start the hub, whose controller writes the rules; a broker that runs elsewhere needs the files copied"
    with patient.database.session() as session:
        wanted = device_acl(read_revoked(session, patient.now).devices)
        still_on = session.exec(
            select(Device.id).where(col(Device.revoked_at).is_not(None), col(Device.cut_off_at).is_(None))
        ).all()
    try:
        is_same = path.read_text() == wanted
    except OSError as error:
        return fail(f"the devices' rules cannot be read: {error}", remedy)
    if not is_same:
        return fail(f"{path} is not what the database asks for", remedy)
    if still_on:
        return fail(f"not cut off from the broker yet: {some(list(still_on))}", remedy)
    return ok("refused by the broker, as the database has it")


@check("Mosquitto")
def mosquitto_version(patient: Patient) -> Found:
    """Mosquitto is one that the configuration works with."""
    remedy = "install a newer one: sudo apt-get install mosquitto"
    if patient.settings.broker_url:
        return ok(f"the broker runs elsewhere: {patient.settings.broker_url}")
    try:
        program = find_mosquitto(patient.settings.mosquitto)
    except BrokerError as error:
        return fail(error.message, error.remedy)
    asked = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False)
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", asked.stdout)
    if found is None:
        return warn(f"{program} does not tell its version", remedy)
    version = tuple(int(part) for part in found.groups())
    oldest = ".".join(str(part) for part in _OLDEST_MOSQUITTO)
    if version < _OLDEST_MOSQUITTO:
        return fail(f"{found[0]} of {program}; {oldest} is the oldest that takes the configuration", remedy)
    return ok(f"{found[0]} of {program}")


@check("disk space")
def disk_space(patient: Patient) -> Found:
    """There is room for artifacts, retained messages and the database."""
    free = shutil.disk_usage(patient.settings.data).free
    found = f"{free / 2**30:.1f} GiB free on the disk of {patient.settings.data}"
    remedy = "remove what is not needed, or move the data folder to a larger disk"
    if free < _LEAST_FREE_BYTES:
        return fail(found, remedy)
    return warn(found, remedy) if free < _FEW_FREE_BYTES else ok(found)


@check("clock")
def clock(patient: Patient) -> Found:
    """The clock is not behind what the hub has already written down."""
    with patient.database.session() as session:
        columns = (EventRow.received_at, AuditEntry.at)
        times: list[datetime | None] = [session.exec(select(func.max(col(column)))).one() for column in columns]
    newest = max((at for at in times if at is not None), default=None)
    if newest is not None and newest > patient.now + _CLOCK_SLACK:
        found = f"it says {patient.now:%Y-%m-%d %H:%M} UTC, but the hub has written {newest:%Y-%m-%d %H:%M} UTC before"
        return fail(found, "set the clock, and have it kept: sudo timedatectl set-ntp true")
    return ok(f"{patient.now:%Y-%m-%d %H:%M:%S} UTC, not behind anything that was recorded")


@check("first token")
def first_token(patient: Patient) -> Found:
    """The token that the first start made is no longer how people work, and does not lie in the data folder."""
    kept = patient.settings.data / "operator.json"
    endless = select(OperatorToken).where(
        col(OperatorToken.expires_at).is_(None), col(OperatorToken.revoked_at).is_(None)
    )
    with patient.database.session() as session:
        rows = session.exec(endless).all()
    if kept.exists():
        remedy = f"log in with another token, revoke the one in {kept}, and remove that file"
        return warn(f"a token lies in the data folder, for whoever copies it: {kept}", remedy)
    if not rows:
        return ok("the token of the first start is revoked")
    remedy = f"give each person a token of their own, and revoke {rows[0].id}"
    return warn(f"the token of the first start ({rows[0].id}, {rows[0].label}) is still taken", remedy)
