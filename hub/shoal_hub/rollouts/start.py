"""Starts a rollout, and takes an operator's commands on one."""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, select

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_hub.context import HubContext
from shoal_hub.database import announce, utc_now
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.encrypt import encrypt_variants, travelling_size, travels_as
from shoal_hub.registry.publish import publish_manifest, rehearse_manifest
from shoal_hub.registry.tables import Model, VariantRow, Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.rollouts.delta_pairs import delta_pairs
from shoal_hub.rollouts.expect import expected_bytes
from shoal_hub.rollouts.gate import begin_wave
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.request import RolloutPlan, RolloutRequest
from shoal_hub.rollouts.selection import Candidate, Selection, add_deployments, choose_devices
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.rollouts.variants import check_targets, choose_target, rank_variants
from shoal_hub.tracing.remembered import remember
from shoal_hub.transfer.deltas import Pair, want_deltas
from shoal_hub.transfer.leases import has_room, make_room, take_leases
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys
from shoal_hub.words import counted

_SEEDS: Final = 2**31


@dataclass(frozen=True)
class Starter:
    """What a start needs besides the database: store, keys for manifest and ciphertexts, and the settings' bounds."""

    artifacts: ArtifactStore
    trust: HubTrust
    director: Director
    version_keys: VersionKeys
    retained_budget_bytes: int
    delta_min_bytes: int
    delta_wait_s: float
    max_artifact_bytes: int = MAX_ARTIFACT_BYTES
    window_retention_s: float = math.inf
    """How long the windows are kept that a gate compares with."""
    is_rehearsal: bool = False
    """Whether the session is not kept: nothing is written beside it."""
    is_fairness_required: bool = False
    """Whether production is for versions alone whose model card tells of fairness."""


def starter_of(hub: HubContext, *, is_rehearsal: bool = False) -> Starter:
    """Return what a start needs of an open hub.

    Args:
        hub: The hub.
        is_rehearsal: Whether the start is only tried, in a session that is not kept.
    """
    settings = hub.settings
    return Starter(
        hub.artifacts,
        hub.trust,
        hub.director,
        hub.version_keys,
        settings.retained_budget_bytes,
        settings.delta_min_bytes,
        settings.delta_wait_s,
        settings.max_artifact_bytes,
        settings.window_retention_s,
        is_rehearsal,
        settings.require_fairness,
    )


def start_rollout(session: Session, starter: Starter, *, model: str, version: str, by: str, **plan: Any) -> Rollout:  # noqa: ANN401 - the fields of `RolloutRequest`
    """Start a rollout by the fields of a `RolloutRequest`; see `start_request`."""
    return start_request(session, starter, RolloutRequest(model=model, version=version, **plan), by=by)


def start_request(session: Session, starter: Starter, request: RolloutRequest, *, by: str) -> Rollout:
    """Plan a rollout and have it begin when the transaction has been committed.

    Args:
        session: An open transaction.
        starter: See `Starter`.
        request: What to roll out, to whom and how.
        by: Who starts it.

    Raises:
        NotFoundError: No such model, version or device.
        ConflictError: The version has no variants or one that is too large, another rollout of the model is running,
            or the model's versions no longer fit the metadata.
        InvalidInputError: The waves make no sense, or the gate compares with windows that are gone.
    """
    _check_before(request, starter.window_retention_s)
    found = find_version(session, request.model, request.version)
    _check_none_running(session, request.model)
    now = utc_now()
    seed = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
    chosen = choose_devices(session, request, seed, now)
    if not starter.is_rehearsal:
        encrypt_variants(session, starter.artifacts, starter.version_keys, found, now)
    variants = find_variants(session, found)
    check_targets(variants, request)
    check_sizes(found, variants, starter.max_artifact_bytes)
    manifest = _manifest(session, starter, found)
    artifacts = [manifest.sha256, *_used_artifacts(found, variants, request, chosen.told)]
    make_room(session, artifacts, starter.retained_budget_bytes)
    rollout = _add_rollout(session, request, found, manifest, chosen, seed=seed, by=by, now=now)
    take_leases(session, owner_of(rollout.id), artifacts, now)
    pairs = delta_pairs(session, found, variants, request, chosen.told, starter.delta_min_bytes)
    _take_deltas(session, starter, rollout, pairs, now)
    add_deployments(session, rollout, chosen, _expected(session, starter, found, request, chosen))
    begin_wave(session, rollout, now)
    remember(session, owner_of(rollout.id))
    record_event(session, "rollout_started", _started(rollout, chosen), subject=owner_of(rollout.id), at=now)
    announce(session, "rollouts")
    return rollout


def _expected(
    session: Session, starter: Starter, version: Version, plan: RolloutPlan, chosen: Selection
) -> Mapping[str, int]:
    """Return what devices are expected to fetch; nothing at a rehearsal, which forecasts it by itself."""
    if starter.is_rehearsal:
        return {}
    budget_bytes = starter.retained_budget_bytes
    return expected_bytes(session, version, plan, chosen.placed(), retained_budget_bytes=budget_bytes)


def _add_rollout(
    session: Session,
    request: RolloutRequest,
    version: Version,
    manifest: ArtifactRef,
    chosen: Selection,
    *,
    seed: int,
    by: str,
    now: datetime,
) -> Rollout:
    rollout = Rollout(
        id=new_id("r"),
        model=request.model,
        version=version.number,
        manifest_sha256=manifest.sha256,
        manifest_size_bytes=manifest.size_bytes,
        waves=chosen.waves,
        max_failures=request.failures_allowed,
        timeout_s=request.timeout_s,
        plan=request.plan(),
        seed=seed,
        gate_count=_gate_count(request, chosen),
        joined_at=now,
        created_by=by,
        created_at=now,
    )
    session.add(rollout)
    session.flush()
    return rollout


def _check_before(request: RolloutRequest, retention_s: float) -> None:
    if request.gate is not None and request.gate.before_s > retention_s:
        raise InvalidInputError(
            f"planning a rollout: its gate compares with {request.gate.before_s:g} s before it, and windows are kept "
            f"for {retention_s:g} s",
            "set the gate's before_s to that or less, or keep windows longer: SHOAL_WINDOW_RETENTION_S",
        )


def _gate_count(request: RolloutRequest, chosen: Selection) -> int:
    """Return how many waves have a gate: after the last one nobody is left to compare with but those held back."""
    if request.gate is None:
        return 0
    return len(chosen.waves) - (0 if chosen.held_back else 1)


def _manifest(session: Session, starter: Starter, version: Version) -> ArtifactRef:
    if starter.is_rehearsal:
        return rehearse_manifest(session, starter.trust, version)
    return publish_manifest(session, starter.artifacts, starter.trust, starter.director, version)


def _started(rollout: Rollout, chosen: Selection) -> str:
    held_back = f", {len(chosen.held_back)} held back" if chosen.held_back else ""
    held_back += f", {chosen.pinned} left out as they are pinned" if chosen.pinned else ""
    return (
        f"rollout {rollout.id} of {rollout.model} version {rollout.version} to {counted(len(chosen.told), 'device')} "
        f"in waves of {rollout.waves}{held_back} by {rollout.created_by}"
    )


def _take_deltas(session: Session, starter: Starter, rollout: Rollout, pairs: set[Pair], now: datetime) -> None:
    """Have the rollout's deltas made, and lease what there is of them, if there is room for it beside the files."""
    if not pairs:
        return
    rollout.deltas_until = now + timedelta(seconds=starter.delta_wait_s)
    session.add(rollout)
    subject = f"models/{rollout.model}/{rollout.version}"
    made = want_deltas(session, pairs, subject=subject, by=rollout.created_by)
    if has_room(session, made, starter.retained_budget_bytes):
        take_leases(session, owner_of(rollout.id), made, now)


def _check_none_running(session: Session, model: str) -> None:
    session.get_one(Model, model, with_for_update=True)  # two starts at once come one after the other
    wanted = select(Rollout).where(Rollout.model == model, col(Rollout.state).in_(("running", "paused")))
    other = session.exec(wanted).first()
    if other is not None:
        raise ConflictError(
            f"starting a rollout of {model}: rollout {other.id} of version {other.version} is {other.state}",
            f"wait for it, or end it: shoal rollouts abort {other.id}",
        )


def _used_artifacts(
    version: Version, variants: Sequence[VariantRow], plan: RolloutPlan, devices: Sequence[Candidate]
) -> set[str]:
    """Return the variants that these devices would take, as far as they have said what they can run."""
    files = {
        one.target: travels_as(one.sha256, one.encrypted_sha256, is_encrypted=version.is_encrypted) for one in variants
    }
    ranks = rank_variants(variants, plan)
    runs = {tuple((device.reported or {}).get("targets", ())) for device in devices}
    chosen = {choose_target(one, ranks) for one in runs}
    return {sha256 for target in chosen if (sha256 := files.get(target)) is not None}


def check_sizes(version: Version, variants: Sequence[VariantRow], max_bytes: int) -> None:
    """Check that every variant may travel.

    Raises:
        ConflictError: One is larger than `max_bytes`.
    """
    for variant in variants:
        size_bytes = travelling_size(variant, is_encrypted=version.is_encrypted)
        if size_bytes > max_bytes:
            raise ConflictError(
                f"bringing a version to devices: the variant for {variant.target} has {size_bytes} bytes, "
                f"{max_bytes} is the most that travels",
                "compress the version further, or raise SHOAL_MAX_ARTIFACT_BYTES",
            )


def find_rollout(session: Session, rollout_id: str, *, is_locked: bool = False) -> Rollout:
    """Return a rollout; locked, nobody else takes a step in it before this transaction has ended.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = session.get(Rollout, rollout_id, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no rollout {rollout_id}", "list them: shoal rollouts list")
    return row


def deployments_of(session: Session, rollout_id: str, *, limit: int | None = None) -> list[Deployment]:
    """Return a rollout's deployments, by wave; the first `limit` of them, if it is given."""
    wanted = select(Deployment).where(Deployment.rollout_id == rollout_id)
    return list(session.exec(wanted.order_by(col(Deployment.wave), col(Deployment.device_id)).limit(limit)))
