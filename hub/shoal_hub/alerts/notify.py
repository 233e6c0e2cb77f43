"""Has the hub tell something: the one door to the outbox, for alerts, tests of channels and other features alike."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.tables import AlertChannel, AlertDelivery, AlertSeverity
from shoal_hub.alerts.telling import is_severe_enough
from shoal_hub.database import announce, utc_now
from shoal_hub.errors import NotFoundError
from shoal_hub.ids import new_ids

_MAX_CHARS: Final = 4000
_KEY_DIGITS: Final = 40


def notify(
    session: Session,
    *,
    key: str,
    subject: str,
    title: str,
    text: str = "",
    severity: AlertSeverity = "info",
    labels: dict[str, str] | None = None,
    channels: Sequence[str] = (),
    now: datetime | None = None,
) -> list[str]:
    """Have people told something, once this transaction commits; with the same key again, nothing more is told.

    Silences do not keep it back: whoever calls this has decided that it is to be said.

    Args:
        session: An open transaction: what is told is told if, and only if, what it tells of is kept.
        key: What this is, like `automation/p-abcdefgh/step-3`: one message a key and channel, for ever.
        subject: What it is about, like `automation/p-abcdefgh`; messages of one subject go in order.
        title: One line.
        text: More lines.
        severity: Channels that take only what is more severe are left out.
        labels: For programs.
        channels: Which ones; none: every channel that is enabled.
        now: The clock, if not this moment.

    Returns:
        The ids of the deliveries, also of those that were there already.

    Raises:
        NotFoundError: One of the channels is not there.
    """
    now = now or utc_now()
    message = AlertMessage(
        about=subject,
        status="told",
        severity=severity,
        title=title[:_MAX_CHARS],
        text=text[:_MAX_CHARS],
        labels=labels or {},
        at=now,
    )
    named = [row.name for row in channels_for(session, channels, severity)]
    return [enqueue(session, channel, ("notify", key), message, now).id for channel in named]


def channels_for(session: Session, names: Sequence[str], severity: AlertSeverity) -> list[AlertChannel]:
    """Return the channels among those named, or among all, that take what is so severe.

    Raises:
        NotFoundError: One of those named is not there.
    """
    known = {row.name: row for row in session.exec(select(AlertChannel).order_by(col(AlertChannel.name)))}
    missing = sorted(set(names) - known.keys())
    if missing:
        raise NotFoundError(f"there is no alert channel {missing[0]}", "list them: shoal alerts channels list")
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
    return [row for row in chosen if row.is_enabled and is_severe_enough(severity, row.least_severity)]


def enqueue(
    session: Session, channel: str, identity: Iterable[str], message: AlertMessage, now: datetime
) -> AlertDelivery:
    """Put a message into the outbox, unless one of the same identity is there for this channel.

    Args:
        session: An open transaction.
        channel: Which one.
        identity: What it tells, in parts; its key is made of them.
        message: What is said.
        now: The clock.
    """
    key = key_of(channel, *identity)
    there = select(AlertDelivery).where(AlertDelivery.key == key)
    known = session.exec(there).first()
    if known is not None:
        return known
    [new] = new_ids("dv", 1)
    row = AlertDelivery(
        id=new,
        key=key,
        channel=channel,
        about=message.about,
        payload=message.model_dump(mode="json"),
        next_at=now,
        created_at=now,
    )
    session.add(row)
    session.flush()
    announce(session, "alerts")
    return row


def key_of(channel: str, *parts: str) -> str:
    """Return the idempotency key of what has these parts: fit for a header, a Message-ID and a property of MQTT."""
    text = "\0".join(f"{len(part)}:{part}" for part in (channel, *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
