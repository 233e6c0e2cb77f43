"""The devices as the database has them: how many there are of each kind. No label names a device.

What they report takes a pass through all rows, which is why answers are kept for a while.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import and_, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func

from shoal_hub.devices.admission_tables import PendingEnrolment
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.tables import DesiredRow, Device

OTHER: Final = "other"
"""What stands in a label for all that has no series of its own."""
_MOST_AGENTS: Final = 20
"""Versions of the agent that are told one by one, those of the most devices: a device can make up any."""
_MOST_CHARS: Final = 64
_IS_IN: Final = col(Device.revoked_at).is_(None)
_VERSION: Final = col(Device.reported)["agent_version"].as_string()
_BEHIND: Final = or_(
    col(Device.reported_epoch) < col(DesiredRow.epoch),
    and_(
        col(Device.reported_epoch) == col(DesiredRow.epoch),
        col(Device.reported_generation) < col(DesiredRow.generation),
    ),
)


def device_families(session: Session) -> Iterator[Metric]:
    """Yield how many devices there are, by state, and how many wait."""
    states: Counter[str] = Counter()
    of_each: Any = select_columns(col(Device.presence), _IS_IN, func.count()).group_by(col(Device.presence), _IS_IN)
    for presence, is_in, count in session.connection().execute(of_each):
        states[presence if is_in else "revoked"] += count
    family = GaugeMetricFamily(
        "shoal_devices", "Enrolled devices, by presence; one that was revoked counts as that alone.", labels=["state"]
    )
    for state in ("online", "offline", "never", "revoked"):
        family.add_metric([state], states[state])
    yield family
    yield GaugeMetricFamily(
        "shoal_desired_states_stale",
        "Devices whose desired state is yet to be composed again.",
        _one(session, select_columns(func.count()).select_from(StaleDesired)),
    )
    waiting = select_columns(func.count()).where(col(PendingEnrolment.state) == "waiting")
    yield GaugeMetricFamily(
        "shoal_enrolments_waiting", "Devices that wait for an operator to accept them.", _one(session, waiting)
    )


def report_families(session: Session) -> Iterator[Metric]:
    """Yield what devices report: by the agent's version, and how many are behind. It goes through all rows."""
    family = GaugeMetricFamily(
        "shoal_devices_by_agent",
        "Devices, by the agent's version that they report; the rarest versions together.",
        labels=["version"],
    )
    versions: Counter[str] = Counter()
    of_each: Any = select_columns(_VERSION, func.count()).where(_IS_IN).group_by(_VERSION)
    for version, count in session.connection().execute(of_each):
        if version:
            versions[str(version)[:_MOST_CHARS]] += count
    told = sorted(versions.items(), key=lambda one: (-one[1], one[0]))
    for version, count in told[:_MOST_AGENTS]:
        family.add_metric([version], count)
    rest = sum(count for _, count in told[_MOST_AGENTS:])
    if rest:
        family.add_metric([OTHER], rest)
    yield family
    behind = select_columns(func.count()).select_from(Device).join(DesiredRow, _SAME).where(_IS_IN, _ONLINE, _BEHIND)
    yield GaugeMetricFamily(
        "shoal_devices_behind",
        "Devices that are online and do not report the desired state that stands.",
        _one(session, behind),
    )


_SAME: Final = col(DesiredRow.device_id) == col(Device.id)
_ONLINE: Final = col(Device.presence) == "online"


def _one(session: Session, wanted: Any) -> int:  # noqa: ANN401 - a statement of one number
    return int(session.connection().execute(wanted).scalar_one())
