"""Counts of deployments and of bytes, as the API shows them; by SQL, so that a large fleet costs little more."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, select

from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.tables import Deployment, Rollout

WaveCounts = dict[int, dict[str, int]]
"""By wave, deployments by state."""


def count_by_wave(session: Session, rollout_ids: Collection[str]) -> dict[str, WaveCounts]:
    """Return, by rollout, its deployments by wave and state."""
    columns = (col(Deployment.rollout_id), col(Deployment.wave), col(Deployment.state))
    wanted: Any = select_columns(*columns, func.count()).where(col(Deployment.rollout_id).in_(rollout_ids))
    counts: dict[str, WaveCounts] = {rollout_id: {} for rollout_id in rollout_ids}
    for rollout_id, wave, state, count in session.exec(wanted.group_by(*columns)):
        counts[rollout_id].setdefault(wave, {})[state] = count
    return counts


def count_by_state(waves: WaveCounts) -> dict[str, int]:
    """Return deployments by state over all waves."""
    total: dict[str, int] = {}
    for of_wave in waves.values():
        for state, count in of_wave.items():
            total[state] = total.get(state, 0) + count
    return total


@dataclass(frozen=True)
class Travelled:
    """Bytes of a rollout's model files.

    Attributes:
        fetched_bytes: What has travelled to the devices that have told.
        whole_bytes: What the whole files would have been for them.
        forecast_bytes: What was forecast for them, at most.
        forecast_total_bytes: The same for all devices.
    """

    fetched_bytes: int
    whole_bytes: int
    forecast_bytes: int
    forecast_total_bytes: int


def travelled_bytes(session: Session, row: Rollout, whole: dict[str, int]) -> Travelled:
    """Return what has travelled, beside what was forecast and what the whole files would have been."""
    has_told = col(Deployment.fetched_bytes).is_not(None)
    sums = (func.sum(Deployment.fetched_bytes), func.sum(Deployment.forecast_bytes), func.count())
    wanted: Any = select_columns(has_told, col(Deployment.target), *sums).where(col(Deployment.rollout_id) == row.id)
    rows = session.connection().execute(wanted.group_by(has_told, col(Deployment.target))).all()
    told = [one for one in rows if one[0]]
    return Travelled(
        fetched_bytes=sum(int(fetched) for _, _, fetched, _, _ in told),
        whole_bytes=sum(whole.get(target, 0) * count for _, target, _, _, count in told),
        forecast_bytes=sum(int(forecast or 0) for _, _, _, forecast, _ in told),
        forecast_total_bytes=sum(int(forecast or 0) for _, _, _, forecast, _ in rows),
    )


def whole_bytes(session: Session, row: Rollout) -> dict[str, int]:
    """Return, by target, the bytes that travel of a variant of the rollout's version."""
    joined = select(VariantRow).join(Version, col(Version.id) == col(VariantRow.version_id))
    variants = session.exec(joined.where(Version.model == row.model, Version.number == row.version))
    return {one.target: one.travelling_bytes for one in variants}
