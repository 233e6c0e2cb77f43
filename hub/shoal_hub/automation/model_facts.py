"""Reads what is known of a model: who serves what, what drifts, what labels say, what has come since."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, or_, select

from shoal_hub.alerts.tallies import WindowTallies
from shoal_hub.automation.conditions import AccuracyWhen, DriftWhen, LabelsWhen, VolumeWhen
from shoal_hub.automation.decide import DriftFact, Facts, PastRun
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.tables import AutomationRun, AutomationStep, PolicyRow
from shoal_hub.captures.tables import CaptureRow
from shoal_hub.devices.tables import Device
from shoal_hub.federation.tables import FederatedRun, RoundAnswer
from shoal_hub.jobs.tables import Job
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tables import User
from shoal_hub.registry.tables import Version
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.trials.tables import Trial

_MOVES_MODEL: Final[frozenset[str]] = frozenset({"federated", "retrain", "trial", "roll_out"})
"""Steps that would meet other rollouts, trials and runs of the model."""
_S_PER_MIN: Final = 60.0


def read_facts(
    session: Session, row: PolicyRow, policy: Policy, tallies: WindowTallies, history: Sequence[PastRun], now: datetime
) -> Facts:
    """Return what is known now, as far as the policy asks for it."""
    versions = served_versions(session, policy.model)
    champion = max(versions, key=lambda one: (versions[one], one), default=None)
    labelled: dict[float, int] = {}
    correct: dict[float, int] = {}
    for over_s in {one.over_s for one in policy.when if isinstance(one, AccuracyWhen)}:
        labelled[over_s], correct[over_s] = _labels(session, policy.model, champion, tallies, over_s, now)
    since = _since(session, policy.model, history)
    return Facts(
        champion=champion,
        serving=sum(versions.values()),
        drift=_drift(session, policy, champion),
        labelled=labelled,
        correct=correct,
        reference_accuracy=reference_accuracy(session, policy.model, champion),
        captured=captured_since(session, policy.model, since, now) if _asks(policy, VolumeWhen) else 0,
        labels_since=labels_since(session, policy.model, since, now) if _asks(policy, LabelsWhen) else 0,
        author_may=_may(session.get(User, row.set_by_id)),
        busy=_busy(session, policy),
    )


def served_versions(session: Session, model: str) -> dict[int, int]:
    """Return how many devices say that they serve each version of a model well."""
    number = _of(model, "version").as_integer()
    wanted: Any = (
        select_columns(number, func.count())
        .where(col(Device.revoked_at).is_(None), _of(model, "state").as_string() == "good", number.is_not(None))
        .group_by(number)
    )
    return {int(version): int(count) for version, count in session.connection().execute(wanted)}


def _of(model: str, name: str) -> Any:  # noqa: ANN401 - an expression of JSON
    return col(Device.reported)[("models", model, "active", name)]


def reference_accuracy(session: Session, model: str, version: int | None) -> float | None:
    """Return the accuracy that a version had on its held-out samples."""
    if version is None:
        return None
    wanted = select(Version.metrics).where(Version.model == model, Version.number == version)
    accuracy = (session.exec(wanted).first() or {}).get("accuracy")
    return float(accuracy) if isinstance(accuracy, int | float) else None


def captured_since(session: Session, model: str, since: datetime, until: datetime) -> int:
    """Return how many samples have come."""
    wanted = select(func.count()).where(
        CaptureRow.model == model, col(CaptureRow.received_at) > since, col(CaptureRow.received_at) <= until
    )
    return int(session.exec(wanted).one())


def labels_since(session: Session, model: str, since: datetime, until: datetime) -> int:
    """Return how many labels have come back."""
    wanted = select(func.coalesce(func.sum(WindowRow.labelled), 0)).where(
        WindowRow.model == model, col(WindowRow.received_at) > since, col(WindowRow.received_at) <= until
    )
    return int(session.exec(wanted).one())


def past_runs(session: Session, policy: Policy, now: datetime) -> list[PastRun]:
    """Return the runs of a policy to which its guards look back, and its last one."""
    guards = policy.guards
    back = now - timedelta(seconds=max(guards.budget.per_s, guards.cool_down_s))
    mine = select(AutomationRun).where(AutomationRun.policy == policy.name)
    recent = mine.where(
        or_(
            col(AutomationRun.created_at) > back,
            col(AutomationRun.ended_at) > back,
            col(AutomationRun.ended_at).is_(None),
        )
    )
    last = session.exec(mine.order_by(col(AutomationRun.created_at).desc()).limit(1)).all()
    found = {run.id: run for run in (*session.exec(recent).all(), *last)}
    spent = _spent(session, found)
    return [PastRun(run.created_at, run.ended_at, *spent[run.id]) for run in found.values()]


def _spent(session: Session, run_ids: Iterable[str]) -> dict[str, tuple[int, float]]:
    """Return the federated rounds of each run, and the minutes that devices trained in them."""
    spent: dict[str, tuple[int, float]] = dict.fromkeys(run_ids, (0, 0.0))
    steps = select(AutomationStep).where(
        col(AutomationStep.run_id).in_(list(spent)), AutomationStep.kind == "federated"
    )
    for step in session.exec(steps).all():
        for federated_id in step.links.get("federated_runs", []):
            run = session.get(FederatedRun, federated_id)
            took = select(func.coalesce(func.sum(RoundAnswer.duration_s), 0.0)).where(RoundAnswer.run == federated_id)
            rounds, minutes = spent[step.run_id]
            more = len(run.history) if run is not None else 0
            spent[step.run_id] = (rounds + more, minutes + float(session.exec(took).one()) / _S_PER_MIN)
    return spent


def _labels(
    session: Session, model: str, champion: int | None, tallies: WindowTallies, over_s: float, now: datetime
) -> tuple[int, int]:
    found = tallies.over(session, now - timedelta(seconds=over_s), now)
    mine = [counts for place, counts in found.items() if (place.model, place.version) == (model, champion)]
    return sum(one.labelled for one in mine), sum(one.correct for one in mine)


def since_when(created: Sequence[datetime], history: Sequence[PastRun], otherwise: datetime) -> datetime:
    """Return from when on data counts as new: since the newest version, or the policy's last run."""
    return max([*created, *(run.began_at for run in history)], default=otherwise)


def _since(session: Session, model: str, history: Sequence[PastRun]) -> datetime:
    wanted = select(Version.created_at).where(Version.model == model).order_by(col(Version.number).desc()).limit(1)
    created = session.exec(wanted).all()
    return since_when(created, history, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))


def _asks(policy: Policy, kind: type) -> bool:
    return any(isinstance(one, kind) for one in policy.when)


def _drift(session: Session, policy: Policy, champion: int | None) -> tuple[DriftFact, ...]:
    if champion is None or not _asks(policy, DriftWhen):
        return ()
    wanted = select(DriftSignal).where(
        DriftSignal.model == policy.model, DriftSignal.version == champion, DriftSignal.state == "active"
    )
    return tuple(
        DriftFact(
            signal=row.id,
            rule=row.rule,
            version=row.version,
            devices=frozenset(row.devices),
            features=tuple(str(one["name"]) for one in row.features),
            raised_at=row.raised_at,
        )
        for row in session.exec(wanted.order_by(col(DriftSignal.raised_at)))
    )


def _may(author: User | None) -> bool:
    return author is not None and author.disabled_at is None and Role(author.role).includes(Role.OPERATOR)


def _busy(session: Session, policy: Policy) -> str:
    """Return what else goes on with the model; nothing where the policy would not meet it."""
    if not _MOVES_MODEL & {step.kind for step in policy.then}:
        return ""
    model = policy.model
    others = select(AutomationRun).where(
        AutomationRun.model == model, AutomationRun.policy != policy.name, col(AutomationRun.ended_at).is_(None)
    )
    if (other := session.exec(others).first()) is not None:
        return f"the run {other.id} of the policy {other.policy} goes on with the model"
    rollouts = select(Rollout.id).where(Rollout.model == model, col(Rollout.state).in_(("running", "paused")))
    if (rollout := session.exec(rollouts).first()) is not None:
        return f"the rollout {rollout} of the model goes on"
    trials = select(Trial.id).where(Trial.model == model, Trial.state == "running")
    if (trial := session.exec(trials).first()) is not None:
        return f"the trial {trial} of the model goes on"
    runs = (
        select(FederatedRun.id)
        .join(Job, col(Job.id) == FederatedRun.job_id)
        .where(FederatedRun.model == model, FederatedRun.state == "running")
        .where(col(Job.state).in_(("queued", "running")))
    )
    if (run := session.exec(runs).first()) is not None:
        return f"the federated run {run} of the model goes on"
    return ""
