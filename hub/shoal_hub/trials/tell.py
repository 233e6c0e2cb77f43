"""Tells the devices of a trial of it: at its start, or once the deltas are there that spare them the whole file."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel, DesiredTrial
from shoal_hub.database import Database
from shoal_hub.devices.compose import TRIALS
from shoal_hub.devices.intents import replace_intents
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.transfer.deltas import has_deltas_to_come
from shoal_hub.trials.owner import owner_of
from shoal_hub.trials.running import running_trials
from shoal_hub.trials.tables import Trial, TrialDevice


def tell_trials(database: Database, now: datetime, delta_wait: timedelta) -> None:
    """Tell the devices of each running trial that waits for deltas no longer."""
    with database.session() as session:
        due = [
            one.id
            for one in running_trials(session)
            if not (is_told(session, one) or _is_waiting(session, one, now, delta_wait))
        ]
    for trial_id in due:
        with database.transaction() as session:
            trial = session.get_one(Trial, trial_id, with_for_update=True)
            if trial.state == "running":
                tell_trial(session, trial, now, delta_wait)


def tell_trial(session: Session, trial: Trial, now: datetime, delta_wait: timedelta) -> None:
    """Tell the devices of a trial of it, unless it waits for deltas.

    Args:
        session: An open transaction.
        trial: A trial that runs.
        now: The clock.
        delta_wait: How long its devices may wait for deltas; half of the trial's own time at most.
    """
    session.flush()
    if _is_waiting(session, trial, now, delta_wait):
        return
    targets = _targets(session, trial)
    bodies = bodies_of(trial, set(targets.values()))
    wanted = {device_id: bodies[target] for device_id, target in targets.items()}
    section, owner = f"{TRIALS}{trial.model}", owner_of(trial.id)
    replace_intents(session, section, kind="ab", owner=owner, bodies=wanted, replaces=(), now=now, until=trial.ends_at)


def is_told(session: Session, trial: Trial) -> bool:
    """Whether the devices of a trial have been told of it, or there are none left to tell."""
    standing = select(Intent.id).where(Intent.owner == owner_of(trial.id)).limit(1)
    return session.exec(standing).first() is not None or not _targets(session, trial)


def bodies_of(trial: Trial, targets: Collection[str]) -> dict[str, DesiredTrial]:
    """Return the section by the target of the candidate's variant."""
    is_by_device = trial.mode == "ab" and trial.split == "device"
    manifest = ArtifactRef(sha256=trial.manifest_sha256, size_bytes=trial.manifest_size_bytes)
    return {
        target: DesiredTrial(
            id=trial.id,
            mode=trial.mode,
            candidate=DesiredModel(version=trial.version, target=target, manifest=manifest, deployment=trial.id),
            against=trial.against,
            share=1.0 if is_by_device else trial.share,
            salt=trial.salt,
            ends_at=trial.ends_at,
            max_cpu_share=trial.max_cpu_share,
            max_memory_bytes=trial.max_memory_bytes,
            tolerance=trial.tolerance,
            hard_examples=trial.hard_examples,
        )
        for target in targets
    }


def _is_waiting(session: Session, trial: Trial, now: datetime, delta_wait: timedelta) -> bool:
    at_most = min(delta_wait, (trial.ends_at - trial.created_at) / 2)
    return now < trial.created_at + at_most and has_deltas_to_come(session, owner_of(trial.id))


def _targets(session: Session, trial: Trial) -> dict[str, str]:
    """Return the targets of the devices that get the candidate."""
    wanted = (
        select(TrialDevice.device_id, TrialDevice.target)
        .join(Device, col(Device.id) == col(TrialDevice.device_id))
        .where(TrialDevice.trial_id == trial.id, TrialDevice.target != "", col(Device.revoked_at).is_(None))
    )
    return dict(session.exec(wanted).all())
