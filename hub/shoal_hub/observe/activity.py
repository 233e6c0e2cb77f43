"""What goes on at the hub as the database has it: rollouts, jobs, alerts, drift, what waits, by a few short statements.

States that a thing ends in are counted as well: what has been deleted since is not.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func

from shoal_hub.alerts.tables import AlertDelivery, AlertRow, AlertSeverity, DeliveryState
from shoal_hub.approvals.tables import ApprovalRequest
from shoal_hub.database import is_among
from shoal_hub.jobs.kinds import KINDS
from shoal_hub.jobs.tables import Job, JobState
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.rollouts.tables import Deployment, DeploymentState, Rollout, RolloutState
from shoal_hub.transfer.tables import Retained
from shoal_hub.trials.tables import Trial

_OPEN_ALERTS: Final = ("pending", "firing")


def activity_families(session: Session, now: datetime, most: int) -> Iterator[Metric]:
    """Yield all of them.

    Args:
        session: An open session.
        now: The clock.
        most: Rollouts, and versions with drift, that have series of their own: the latest.
    """
    states = _count(session, col(Rollout.state))
    yield _by("shoal_rollouts", "Rollouts, by state.", "state", states, get_args(RolloutState))
    yield _deployments(session, most)
    yield from _jobs(session, now)
    yield from _alerts(session)
    yield from _drift(session, most)
    pending = select_columns(func.count()).where(col(ApprovalRequest.state) == "pending")
    yield GaugeMetricFamily(
        "shoal_approvals_pending", "Things that wait for people to approve them.", _number(session, pending)
    )
    running = select_columns(func.count()).where(col(Trial.ended_at).is_(None))
    yield GaugeMetricFamily("shoal_trials_running", "Trials that are not over.", _number(session, running))
    retained = select_columns(func.coalesce(func.sum(Retained.size_bytes), 0))
    yield GaugeMetricFamily(
        "shoal_artifacts_retained_bytes",
        "Artifacts that stand retained at the broker, or are about to.",
        _number(session, retained),
    )


def _deployments(session: Session, most: int) -> Metric:
    """Count the deployments of open rollouts alone: those of all that have ever been are millions."""
    family = GaugeMetricFamily(
        "shoal_rollout_deployments",
        "Devices of the rollouts that are not over, by the state of their deployment.",
        labels=["rollout", "model", "version", "state"],
    )
    latest: Any = (
        select_columns(col(Rollout.id), col(Rollout.model), col(Rollout.version))
        .where(col(Rollout.ended_at).is_(None))
        .order_by(col(Rollout.created_at).desc(), col(Rollout.id))
        .limit(most)
    )
    rollouts = {row[0]: (row[1], str(row[2])) for row in session.connection().execute(latest)}
    counted: Any = (
        select_columns(col(Deployment.rollout_id), col(Deployment.state), func.count())
        .where(is_among(col(Deployment.rollout_id), rollouts))
        .group_by(col(Deployment.rollout_id), col(Deployment.state))
    )
    counts: dict[tuple[str, str], int] = {(row[0], row[1]): row[2] for row in session.connection().execute(counted)}
    for rollout, (model, version) in sorted(rollouts.items()):
        for state in get_args(DeploymentState):
            family.add_metric([rollout, model, version, state], counts.get((rollout, state), 0))
    return family


def _jobs(session: Session, now: datetime) -> Iterator[Metric]:
    counts = Counter({(row[0], row[1]): row[2] for row in _grouped(session, [col(Job.kind), col(Job.state)])})
    family = GaugeMetricFamily("shoal_jobs", "Jobs, by kind and state.", labels=["kind", "state"])
    for kind in sorted({*KINDS, *(kind for kind, _ in counts)}):
        for state in get_args(JobState):
            family.add_metric([kind, state], counts[kind, state])
    yield family
    oldest = select_columns(func.min(Job.created_at)).where(col(Job.state) == "queued")
    since: datetime | None = session.connection().execute(oldest).scalar_one()
    yield GaugeMetricFamily(
        "shoal_jobs_oldest_queued_seconds",
        "For how long the oldest job has waited for its turn; 0 where none waits.",
        max(0.0, (now - since).total_seconds()) if since is not None else 0.0,
    )


def _alerts(session: Session) -> Iterator[Metric]:
    columns = [col(AlertRow.severity), col(AlertRow.state)]
    is_open = col(AlertRow.state).in_(_OPEN_ALERTS)
    counts = Counter({(row[0], row[1]): row[2] for row in _grouped(session, columns, is_open)})
    family = GaugeMetricFamily("shoal_alerts", "Alerts that are not over.", labels=["severity", "state"])
    for severity in get_args(AlertSeverity):
        for state in _OPEN_ALERTS:
            family.add_metric([severity, state], counts[severity, state])
    yield family
    text = "Messages of alerts to channels, by what came of them."
    states = _count(session, col(AlertDelivery.state))
    yield _by("shoal_alert_deliveries", text, "state", states, get_args(DeliveryState))


def _drift(session: Session, most: int) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "shoal_drift_signals_active",
        "Signals that a version's inputs have drifted and that have not cleared.",
        labels=["model", "version", "rule"],
    )
    devices = GaugeMetricFamily(
        "shoal_drift_signal_devices",
        "Devices on which a version's inputs have drifted.",
        labels=["model", "version", "rule"],
    )
    wanted: Any = (
        select_columns(
            col(DriftSignal.model),
            col(DriftSignal.version),
            col(DriftSignal.rule),
            func.count(),
            func.max(func.json_array_length(DriftSignal.devices)),
        )
        .where(col(DriftSignal.state) == "active")
        .group_by(col(DriftSignal.model), col(DriftSignal.version), col(DriftSignal.rule))
        .order_by(func.max(DriftSignal.updated_at).desc())
        .limit(most)
    )
    for model, version, rule, count, on in session.connection().execute(wanted):
        active.add_metric([model, str(version), rule], count)
        devices.add_metric([model, str(version), rule], on or 0)
    yield active
    yield devices


def _by(name: str, text: str, label: str, counts: Counter[str], values: Sequence[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value in values:
        family.add_metric([value], counts[value])
    return family


def _count(session: Session, column: Any) -> Counter[str]:  # noqa: ANN401 - a column
    return Counter({row[0]: row[1] for row in _grouped(session, [column])})


def _grouped(session: Session, columns: list[Any], *conditions: Any) -> list[Any]:  # noqa: ANN401 - SQLAlchemy's own
    wanted: Any = select_columns(*columns, func.count()).where(*conditions).group_by(*columns)
    return list(session.connection().execute(wanted))


def _number(session: Session, wanted: Any) -> int:  # noqa: ANN401 - a statement of one number
    return int(session.connection().execute(wanted).scalar_one())
