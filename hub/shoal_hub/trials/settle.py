"""Ends trials whose time has come, or that have seen as much as they were to see."""

import logging
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, select

from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.trials.effects import effects_of, shows_harm
from shoal_hub.trials.public import TrialResults
from shoal_hub.trials.results import read_results, sides_of
from shoal_hub.trials.running import running_trials
from shoal_hub.trials.start import end_trial, find_trial
from shoal_hub.trials.tables import ShadowRow, Trial
from shoal_numerics import NumericsError

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(minutes=1)


def settle_trials(database: Database, now: datetime) -> None:
    """End each running trial whose stop rule is met; what ends by itself is audited as the controller's doing."""
    with database.session() as session:
        due = [trial for trial in running_trials(session) if now >= trial.ends_at or _is_due(trial, now)]
        looked = [(trial.id, *_outcome(session, trial, now)) for trial in due]
    for trial_id, reason, results in looked:
        with database.transaction() as session:
            trial = find_trial(session, trial_id, is_locked=True)
            trial.looked_at = now
            session.add(trial)
            if reason and trial.state == "running":
                end_trial(session, trial, reason, results, now)
                after = {"state": trial.state, "reason": reason}
                record(session, CONTROLLER, "trials.finish", f"trials/{trial_id}", {"state": "running"}, after)


def _is_due(trial: Trial, now: datetime) -> bool:
    """Whether a trial that ends by what it has seen is to be looked at again: that reads all of its windows."""
    ends_by_itself = trial.stop_on_harm or trial.stop_after_samples is not None
    return ends_by_itself and (trial.looked_at is None or abs(now - trial.looked_at) >= LOOK_EVERY)


def _outcome(session: Session, trial: Trial, now: datetime) -> tuple[str, TrialResults]:
    """Return why a trial ends, empty if it goes on, and what it has come to by then."""
    reason = _reason(session, trial, now)
    return reason, read_results(session, trial) if reason else TrialResults()


def _reason(session: Session, trial: Trial, now: datetime) -> str:
    if now >= trial.ends_at:
        return "ended with its time"
    try:
        harm = shows_harm(effects_of(session, trial)) if trial.stop_on_harm and trial.mode == "ab" else ""
    except NumericsError:  # nothing follows of what can not be compared, and other trials go on
        log.exception("looking at trial %s", trial.id)
        harm = ""
    if harm:
        return f"ended as the candidate is worse: {harm}"
    if trial.stop_after_samples is None:
        return ""
    seen = _samples(session, trial)
    return f"ended after {seen} samples on each side" if seen >= trial.stop_after_samples else ""


def _samples(session: Session, trial: Trial) -> int:
    """Return how many samples the side that has seen fewer has seen."""
    if trial.mode == "shadow":
        return sum(session.exec(select(ShadowRow.compared).where(ShadowRow.trial_id == trial.id)))
    return min(side.samples for side in sides_of(session, trial))
