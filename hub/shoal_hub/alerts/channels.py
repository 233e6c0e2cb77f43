"""Channels as they are set, sealed and opened. What is secret of one leaves the database only to be used."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.alerts.tables import AlertChannel, AlertRuleRow, AlertSeverity
from shoal_hub.alerts.targets import Target, from_bytes, to_bytes
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.trust.version_keys import VersionKeys

MAX_CHANNELS: Final = 100


@dataclass(frozen=True)
class ChannelChange:
    """What a channel is to be.

    Attributes:
        target: Where it leads; None: where it has led until now.
        least_severity: What is less is not told to it.
        is_enabled: Whether anything is told to it.
    """

    target: Target | None
    least_severity: AlertSeverity
    is_enabled: bool


def put_channel(
    session: Session, keys: VersionKeys, name: str, change: ChannelChange, *, by: str, now: datetime
) -> AlertChannel:
    """Make a channel, or change it.

    Raises:
        NotFoundError: It is told to lead where it leads already, and there is none of this name.
        ConflictError: There are as many as there may be.
    """
    row = session.get(AlertChannel, name)
    if row is None:
        if change.target is None:
            raise NotFoundError(f"there is no alert channel {name}", "say where it leads: target")
        if len(list_channels(session)) >= MAX_CHANNELS:
            raise ConflictError(
                f"making the alert channel {name}: there are {MAX_CHANNELS}, which is the most",
                "remove others: shoal alerts channels remove",
            )
    target = change.target
    if target is not None:
        sealed = keys.seal(to_bytes(target), _sealed_as(name))
        row = row or AlertChannel(
            name=name,
            kind=target.kind,
            address=target.address,
            sealed=sealed,
            least_severity=change.least_severity,
            is_enabled=change.is_enabled,
            set_by=by,
            set_at=now,
        )
        row.kind, row.address, row.sealed = target.kind, target.address, sealed
    if row is None:
        raise NotFoundError(f"there is no alert channel {name}", "say where it leads: target")
    row.least_severity, row.is_enabled, row.set_by, row.set_at = change.least_severity, change.is_enabled, by, now
    session.add(row)
    announce(session, "alerts")
    return row


def list_channels(session: Session) -> list[AlertChannel]:
    """Return the channels by name."""
    return list(session.exec(select(AlertChannel).order_by(col(AlertChannel.name))))


def find_channel(session: Session, name: str) -> AlertChannel:
    """Return a channel.

    Raises:
        NotFoundError: There is none of this name.
    """
    row = session.get(AlertChannel, name)
    if row is None:
        raise NotFoundError(f"there is no alert channel {name}", "list them: shoal alerts channels list")
    return row


def remove_channel(session: Session, name: str) -> AlertChannel:
    """Forget a channel with its secrets; what waits to be sent by it is not sent.

    Raises:
        NotFoundError: There is none of this name.
        ConflictError: A rule names it.
    """
    row = find_channel(session, name)
    naming = [rule.name for rule in session.exec(select(AlertRuleRow)) if name in rule.body.get("channels", ())]
    if naming:
        raise ConflictError(
            f"removing the alert channel {name}: the rule {naming[0]} names it", "change the rule first"
        )
    session.delete(row)
    announce(session, "alerts")
    return row


def open_target(keys: VersionKeys, row: AlertChannel) -> Target:
    """Return where a channel leads, with its secrets.

    Raises:
        TrustError: The key that sealed it is not in the trust folder.
    """
    return from_bytes(keys.unseal(row.sealed, _sealed_as(row.name)))


def reseal_channels(session: Session, keys: VersionKeys) -> int:
    """Seal every channel's target by the newest key of the trust folder; return how many there are."""
    rows = list_channels(session)
    for row in rows:
        row.sealed = keys.seal(keys.unseal(row.sealed, _sealed_as(row.name)), _sealed_as(row.name))
        session.add(row)
    return len(rows)


def _sealed_as(name: str) -> str:
    return f"alert channel {name}"
