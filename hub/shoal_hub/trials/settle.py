"""Ends trials whose time has come, or that have seen as much as they were to see."""

from datetime import datetime

from sqlmodel import Session, select

from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.trials.results import sides_of
from shoal_hub.trials.start import end_trial, find_trial
from shoal_hub.trials.tables import ShadowRow, Trial


def settle_trials(database: Database, now: datetime) -> None:
    """End each running trial whose stop rule is met; what ends by itself is audited as the controller's doing."""
    with database.session() as session:
        running = session.exec(select(Trial).where(Trial.state == "running")).all()
        over = [(trial.id, reason) for trial in running if (reason := _reason(session, trial, now))]
    for trial_id, reason in over:
        with database.transaction() as session:
            trial = find_trial(session, trial_id, is_locked=True)
            if trial.state == "running":
                end_trial(session, trial, reason, now)
                after = {"state": trial.state, "reason": reason}
                record(session, CONTROLLER, "trials.finish", f"trials/{trial_id}", {"state": "running"}, after)


def _reason(session: Session, trial: Trial, now: datetime) -> str:
    if now >= trial.ends_at:
        return "ended with its time"
    if trial.stop_after_samples is None:
        return ""
    seen = _samples(session, trial)
    return f"ended after {seen} samples on each side" if seen >= trial.stop_after_samples else ""


def _samples(session: Session, trial: Trial) -> int:
    """Return how many samples the side that has seen fewer has seen."""
    if trial.mode == "shadow":
        return sum(session.exec(select(ShadowRow.compared).where(ShadowRow.trial_id == trial.id)))
    return min(side.samples for side in sides_of(session, trial))
