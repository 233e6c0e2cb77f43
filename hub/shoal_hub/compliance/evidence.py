"""Gathers what the hub knows of a version: card, provenance, history, audit trail, monitoring, rollouts."""

from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session, col, func, select

from shoal_hub.approvals.policy import read_policy
from shoal_hub.audit.about import entries_about
from shoal_hub.audit.entry import Entry
from shoal_hub.monitoring.tables import DriftSignal, QuarantinedWindow, WindowRow
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.card import VersionCard
from shoal_hub.registry.records import Stated, read_card, read_statements
from shoal_hub.registry.stages import stage_history
from shoal_hub.registry.tables import StageChange, Version
from shoal_hub.rollouts.tables import Rollout

_ENTRIES: Final = 200
_LISTED: Final = 50


@dataclass(frozen=True)
class Watched:
    """What devices have told of a version, in numbers."""

    devices: int
    windows: int
    requests: int
    samples: int
    errors: int
    labelled: int
    correct: int
    quarantined: int


@dataclass(frozen=True)
class Evidence:
    """What is known of a version."""

    version: Version
    card: VersionCard
    statements: tuple[Stated, ...]
    history: tuple[StageChange, ...]
    entries: tuple[Entry, ...]
    """Of the audit trail about the model, the latest ones, oldest first."""
    watched: Watched
    signals: tuple[DriftSignal, ...]
    rollouts: tuple[Rollout, ...]
    approvals: dict[str, int]
    """How many the model's policy asks for, by what."""


def gather(session: Session, artifacts: ArtifactStore, version: Version) -> Evidence:
    """Gather what is known of a version. Nothing is changed; records are those that are kept already."""
    of_version = (version.model, version.number)
    signals = session.exec(
        select(DriftSignal)
        .where(DriftSignal.model == of_version[0], DriftSignal.version == of_version[1])
        .order_by(col(DriftSignal.raised_at).desc())
        .limit(_LISTED)
    )
    rollouts = session.exec(
        select(Rollout)
        .where(Rollout.model == of_version[0], Rollout.version == of_version[1])
        .order_by(col(Rollout.created_at).desc())
        .limit(_LISTED)
    )
    policy = read_policy(session, version.model)
    return Evidence(
        version=version,
        card=read_card(session, version),
        statements=tuple(read_statements(session, artifacts, version)),
        history=tuple(stage_history(session, version)),
        entries=tuple(entries_about(session, f"models/{version.model}", _ENTRIES)),
        watched=_watched(session, version),
        signals=tuple(signals),
        rollouts=tuple(rollouts),
        approvals={"production": policy.production, "rollout": policy.rollout},
    )


def _watched(session: Session, version: Version) -> Watched:
    of_version = (WindowRow.model == version.model, WindowRow.version == version.number)
    columns = (WindowRow.requests, WindowRow.samples, WindowRow.errors, WindowRow.labelled, WindowRow.correct)
    sums: list[Any] = [func.coalesce(func.sum(col(one)), 0) for one in columns]
    counted = func.count(func.distinct(col(WindowRow.device_id))), func.count(col(WindowRow.id))
    devices, windows, requests, samples, errors, labelled, correct = session.exec(
        select(*counted, *sums).where(*of_version)
    ).one()
    held = select(func.count(col(QuarantinedWindow.id))).where(
        QuarantinedWindow.model == version.model, QuarantinedWindow.version == version.number
    )
    return Watched(
        devices=devices,
        windows=windows,
        requests=int(requests),
        samples=int(samples),
        errors=int(errors),
        labelled=int(labelled),
        correct=int(correct),
        quarantined=session.exec(held).one(),
    )
