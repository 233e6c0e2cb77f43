"""Which deltas a rollout is for: from what its devices run to what they are to run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlmodel import Session

from shoal_contract.limits import MAX_ARTIFACT_BYTES, MAX_DELTAS
from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.registry.encrypt import travels_as
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.rollouts.variants import choose_target, rank_variants
from shoal_hub.transfer.deltas import Pair, has_deltas_to_come, running_files


class Reporting(Protocol):
    """A device, of which only its report counts here."""

    @property
    def reported(self) -> Mapping[str, Any] | None:
        """Its reported state, as JSON; None where it has not reported."""


def delta_pairs(
    session: Session,
    version: Version,
    variants: Sequence[VariantRow],
    plan: RolloutPlan,
    devices: Sequence[Reporting],
    min_bytes: int,
) -> set[Pair]:
    """Return the pairs of files between which these devices would go, the most frequent ones to each file.

    What a device runs counts if it says that it is good, and the registry knows it; also in an archived version, which
    is what the version before a new one in production is.

    Args:
        session: An open transaction.
        version: What is rolled out.
        variants: Its variants.
        plan: The rollout's plan.
        devices: The rollout's devices.
        min_bytes: The smallest file worth a delta.
    """
    large = {one.target: one for one in variants if min_bytes <= one.travelling_bytes <= MAX_ARTIFACT_BYTES}
    if not large:
        return set()
    ranks = rank_variants(variants, plan)
    moves: Counter[tuple[SlotReport, str]] = Counter()
    for device in devices:
        target = choose_target((device.reported or {}).get("targets", ()), ranks)
        active = _active(device, version.model) if target in large else None
        if active is not None and active.state == "good":
            moves[active, target] += 1
    running = running_files(session, version.model)
    pairs: Counter[Pair] = Counter()
    for (active, target), count in moves.items():
        base = running.get((active.version, active.target, active.sha256))
        result = travels_as(large[target].sha256, large[target].encrypted_sha256, is_encrypted=version.is_encrypted)
        if base is not None and result is not None and base != result:
            pairs[base, result] += count
    return most_frequent(pairs)


def is_waiting_for_deltas(session: Session, rollout: Rollout, now: datetime) -> bool:
    """Whether a rollout's devices are not told yet, so that they find its deltas when they are."""
    until = rollout.deltas_until
    return until is not None and now < until and has_deltas_to_come(session, owner_of(rollout.id))


def most_frequent(pairs: Counter[Pair]) -> set[Pair]:
    """Return the pairs without, for each result, the rarest beyond what a transfer manifest names."""
    taken: set[Pair] = set()
    room: Counter[str] = Counter()
    for (base, result), _ in pairs.most_common():
        if room[result] < MAX_DELTAS:
            room[result] += 1
            taken.add((base, result))
    return taken


def _active(device: Reporting, model: str) -> SlotReport | None:
    report = (device.reported or {}).get("models", {}).get(model)
    return ModelReport.model_validate(report).active if report is not None else None
