"""What drifts, is offline, stuck or silent: the things in breach alone, as the database finds them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, literal
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, or_, select

from shoal_hub.alerts.conditions import DriftCondition, NoDataCondition, OfflineCondition, RolloutCondition
from shoal_hub.alerts.metrics import Labels
from shoal_hub.database import in_parts, is_among
from shoal_hub.devices.compose import MODELS
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.tables import Rollout

Breach = tuple[Labels, str, float | None, float | None]
"""Labels, a message, the number that was compared and what with."""
_FAILED: Final = ("aborted", "rolling_back", "rolled_back")
_NAMED: Final = 5


@dataclass
class _Drifted:
    """What has drifted under the same labels."""

    devices: set[str] = field(default_factory=set)
    most: int = 0
    """Devices at most: a feature may have drifted on fewer than its signal names."""
    leading: set[str] = field(default_factory=set)


def drifts(session: Session, condition: DriftCondition) -> Iterator[Breach]:
    """Yield versions whose inputs have drifted, by device group or feature where that is asked for."""
    wanted = (
        select(DriftSignal).where(DriftSignal.state == "active").order_by(DriftSignal.model, col(DriftSignal.version))
    )
    if condition.model is not None:
        wanted = wanted.where(DriftSignal.model == condition.model)
    if condition.rule is not None:
        wanted = wanted.where(DriftSignal.rule == condition.rule)
    found: dict[Labels, _Drifted] = {}
    for signal in session.exec(wanted):
        features: list[dict[str, Any]] = signal.features if "feature" in condition.group_by else [{}]
        for group, devices in _by_group(session, signal.devices, is_asked="group" in condition.group_by):
            for one in features:
                feature = str(one.get("name", ""))
                known = {"model": signal.model, "version": str(signal.version), "group": group, "feature": feature}
                drifted = found.setdefault(tuple((str(name), known[name]) for name in condition.group_by), _Drifted())
                drifted.devices.update(devices)
                drifted.most += min(len(devices), one.get("devices") or len(devices))
                drifted.leading.update([feature] if feature else [str(named["name"]) for named in signal.features])
    for labels, drifted in sorted(found.items(), key=lambda one: one[0]):
        count = min(len(drifted.devices), drifted.most)
        if count >= condition.min_devices:
            told = ", ".join(sorted(drifted.leading)[:_NAMED])
            message = f"inputs have drifted on {count} devices, led by {told or 'no single feature'}"
            yield labels, message, float(count), float(condition.min_devices)


def _by_group(session: Session, device_ids: list[str], *, is_asked: bool) -> list[tuple[str, list[str]]]:
    if not is_asked:
        return [("", device_ids)]
    found: dict[str, list[str]] = {}
    for part in in_parts(device_ids):
        wanted = select(Device.group, Device.id).where(is_among(col(Device.id), part))
        for group, device_id in session.exec(wanted):
            found.setdefault(group, []).append(device_id)
    return sorted(found.items())


def offline_devices(session: Session, condition: OfflineCondition, now: datetime) -> Iterator[Breach]:
    """Yield all devices, or device groups, of which too many are offline."""
    away = and_(
        col(Device.presence) == "offline", col(Device.presence_since) <= now - timedelta(seconds=condition.offline_s)
    )
    columns: list[Any] = [func.count(), func.count().filter(away)]
    is_by_group = "group" in condition.group_by
    wanted: Any = select_columns(*columns, *([col(Device.group)] if is_by_group else []))
    wanted = wanted.where(col(Device.revoked_at).is_(None), col(Device.presence) != "never")
    if condition.group is not None:
        wanted = wanted.where(col(Device.group) == condition.group)
    if is_by_group:
        wanted = wanted.group_by(col(Device.group)).order_by(col(Device.group))
    for known, offline, *group in session.connection().execute(wanted):
        share = offline / known if known else 0.0
        message = f"{offline} of {known} devices are offline"
        named = group[0] if group else condition.group
        labels: Labels = () if named is None else (("group", named),)
        is_large = condition.min_share is not None and known >= condition.min_devices and share >= condition.min_share
        if is_large:
            yield labels, message, share, condition.min_share
        elif condition.min_count is not None and offline >= condition.min_count:
            yield labels, message, float(offline), float(condition.min_count)


def stuck_rollouts(session: Session, condition: RolloutCondition, now: datetime) -> Iterator[Breach]:
    """Yield models whose newest rollout is paused, or has ended without success a while ago at most."""
    begun = now - timedelta(seconds=condition.recent_s)
    is_failed = and_(
        col(Rollout.state).in_(_FAILED), or_(col(Rollout.ended_at).is_(None), col(Rollout.ended_at) >= begun)
    )
    looked_for = [col(Rollout.state) == "paused"] if "paused" in condition.states else []
    looked_for += [is_failed] if "failed" in condition.states else []
    wanted = select(Rollout).where(or_(*looked_for))
    if condition.model is not None:
        wanted = wanted.where(Rollout.model == condition.model)
    newest: dict[str, Rollout] = {}
    for row in session.exec(wanted.order_by(col(Rollout.created_at), Rollout.id)):
        newest[row.model] = row
    for model, row in sorted(newest.items()):
        later = select(Rollout.id).where(Rollout.model == model, col(Rollout.created_at) > row.created_at).limit(1)
        if session.exec(later).first() is None:
            word = row.state.replace("_", " ")
            message = f"rollout {row.id} of version {row.version} is {word}: {row.reason or 'no reason is told'}"
            yield (("model", model),), message, None, None


def models_without_data(session: Session, condition: NoDataCondition, now: datetime) -> Iterator[Breach]:
    """Yield models that devices are meant to serve since long enough ago, and of which no window has come since.

    A model of which every rollout was undone or followed by another is retired: no device is to serve it.
    """
    since = now - timedelta(seconds=condition.after_s)
    wanted = (
        select(Rollout.model)
        .where(col(Rollout.state).not_in(_FAILED), col(Rollout.created_at) < since, _is_wanted(now))
        .distinct()
        .order_by(Rollout.model)
    )
    if condition.model is not None:
        wanted = wanted.where(Rollout.model == condition.model)
    for model in session.exec(wanted).all():
        came = exists().where(
            col(WindowRow.received_at) > since, col(WindowRow.received_at) <= now, col(WindowRow.model) == model
        )
        if not session.connection().execute(select_columns(came)).scalar_one():
            message = f"no window has come for {condition.after_s:g} s"
            yield (("model", model),), message, None, condition.after_s


def _is_wanted(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a rollout wants its model of some device."""
    return exists().where(
        col(Intent.owner) == literal(owner_of("")) + col(Rollout.id),
        col(Intent.section) == literal(MODELS) + col(Rollout.model),
        or_(col(Intent.until).is_(None), col(Intent.until) > now),
        col(Device.id) == col(Intent.device_id),
        col(Device.revoked_at).is_(None),
    )
