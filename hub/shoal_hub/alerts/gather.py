"""Writes down what each channel is to be told of alerts, and puts what belongs together into one delivery."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, delete, func, select

from shoal_hub.alerts.messages import ToldAlert, message_of
from shoal_hub.alerts.notify import channels_for, enqueue, key_of
from shoal_hub.alerts.rules import AlertRule
from shoal_hub.alerts.tables import AlertAcknowledgement, AlertChannel, AlertDelivery, AlertNotice, AlertRow
from shoal_hub.alerts.telling import Silence, Timing, Told, is_group_due, next_word, silenced_by
from shoal_hub.database import in_parts


@dataclass(frozen=True)
class Speaking:
    """What decides about what is told.

    Attributes:
        rules: By name.
        silences: That are at work now.
        timing: How it is gathered and repeated.
    """

    rules: Mapping[str, AlertRule]
    silences: Sequence[Silence]
    timing: Timing


def note_words(session: Session, alerts: Sequence[AlertRow], speaking: Speaking, now: datetime) -> int:
    """Add what each channel is to be told of these alerts now, and has not been; return how much.

    Args:
        session: An open transaction.
        alerts: Those that fire, and those that have just ended.
        speaking: What decides.
        now: The clock.
    """
    told = _told(session, [one.id for one in alerts])
    cared_for = _acknowledged(session, [one.id for one in alerts])
    count = 0
    for alert in alerts:
        is_quiet = bool(silenced_by(speaking.silences, alert.labels, now))
        for channel in _channels(session, alert, speaking, told[alert.id]):
            word = next_word(
                alert.state,
                told[alert.id].get(channel),
                speaking.timing,
                now,
                is_quiet=is_quiet,
                is_acknowledged=alert.id in cared_for,
            )
            if word is not None:
                notice = AlertNotice(
                    alert_id=alert.id, channel=channel, transition=word[0], number=word[1], created_at=now
                )
                session.add(notice)
                count += 1
    session.flush()
    return count


def _channels(session: Session, alert: AlertRow, speaking: Speaking, told: Mapping[str, Told]) -> list[str]:
    """Return who is told: of an end all who were told of the alert, whatever its rule says by now."""
    rule = speaking.rules.get(alert.rule)
    if alert.state == "resolved" or rule is None:
        return sorted(told)
    known = {row.name for row in session.exec(select(AlertChannel))}
    names = [name for name in rule.channels if name in known]
    if rule.channels and not names:
        return []
    return [row.name for row in channels_for(session, names, alert.severity)]


def _told(session: Session, alert_ids: Sequence[str]) -> defaultdict[str, dict[str, Told]]:
    found: defaultdict[str, dict[str, Told]] = defaultdict(dict)
    for part in in_parts(alert_ids):
        wanted = select(AlertNotice).where(col(AlertNotice.alert_id).in_(part), AlertNotice.transition != "resolved")
        for row in session.exec(wanted.order_by(col(AlertNotice.number))):
            found[row.alert_id][row.channel] = Told(row.transition, row.number, row.created_at)
    return found


def _acknowledged(session: Session, alert_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for part in in_parts(alert_ids):
        wanted = select(AlertAcknowledgement.alert_id).where(col(AlertAcknowledgement.alert_id).in_(part))
        found.update(session.exec(wanted))
    return found


def anything_waits(session: Session) -> bool:
    """Whether something waits to be told."""
    return (
        session.exec(select(AlertNotice.id).where(col(AlertNotice.delivery_id).is_(None)).limit(1)).first() is not None
    )


def send_groups(session: Session, speaking: Speaking, now: datetime) -> int:
    """Put what waits to be told, and has waited for long enough, into the outbox, by channel and rule; return how much.

    What a channel that is gone or off was to be told is dropped.
    """
    waiting = session.exec(
        select(AlertNotice, AlertRow)
        .join(AlertRow, col(AlertRow.id) == col(AlertNotice.alert_id))
        .where(col(AlertNotice.delivery_id).is_(None))
        .order_by(col(AlertNotice.id))
    ).all()
    groups: defaultdict[tuple[str, str], list[tuple[AlertNotice, AlertRow]]] = defaultdict(list)
    for notice, alert in waiting:
        groups[notice.channel, alert.rule].append((notice, alert))
    open_channels = {row.name for row in session.exec(select(AlertChannel)) if row.is_enabled}
    sent = 0
    for (channel, rule), group in groups.items():
        if channel not in open_channels:
            _drop(session, (notice for notice, _ in group))
        elif is_group_due(group[0][0].created_at, _last_sent_at(session, channel, rule), speaking.timing, now):
            _send(session, channel, rule, group, speaking, now)
            sent += 1
    return sent


def _last_sent_at(session: Session, channel: str, rule: str) -> datetime | None:
    wanted = select(func.max(AlertDelivery.created_at)).where(
        AlertDelivery.channel == channel, AlertDelivery.about == rule
    )
    return session.exec(wanted).one()


def _drop(session: Session, notices: Iterable[AlertNotice]) -> None:
    for part in in_parts([notice.id for notice in notices]):
        session.exec(delete(AlertNotice).where(col(AlertNotice.id).in_(part)))


def _send(
    session: Session,
    channel: str,
    rule: str,
    group: Sequence[tuple[AlertNotice, AlertRow]],
    speaking: Speaking,
    now: datetime,
) -> None:
    known = speaking.rules.get(rule)
    told = [_told_alert(notice, alert) for notice, alert in group]
    message = message_of(rule, known.summary if known else "", told, now)
    row = enqueue(session, channel, [one.key for one in told], message, now)
    for notice, _ in group:
        notice.delivery_id = row.id
        session.add(notice)


def _told_alert(notice: AlertNotice, alert: AlertRow) -> ToldAlert:
    return ToldAlert(
        id=alert.id,
        key=key_of("alert", alert.id, notice.transition, str(notice.number)),
        transition=notice.transition,
        rule=alert.rule,
        severity=alert.severity,
        labels=alert.labels,
        message=alert.message,
        value=alert.value,
        threshold=alert.threshold,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at if notice.transition == "resolved" else None,
    )
