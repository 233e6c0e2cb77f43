"""What a rollout would do, device by device: it is started in a session that keeps nothing, and looked at there."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.reported import ModelReport, Problem, SlotReport
from shoal_hub.devices.tables import Device
from shoal_hub.registry.encrypt import travels_as
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.delta_pairs import running_files
from shoal_hub.rollouts.facts import parts
from shoal_hub.rollouts.observe import no_encryption_key, no_variant
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.start import deployments_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.rollouts.variants import choose_target, rank_variants
from shoal_hub.rollouts.windows import find_zone, next_opening
from shoal_hub.transfer.tables import Delta

Transfer = Literal["none", "delta", "delta_to_come", "whole"]


class PlannedDevice(BaseModel):
    """What one device would get, and when."""

    device_id: str
    name: str
    wave: int | None
    """From 0; None for one that is held back."""
    is_held_back: bool
    target: str
    """Its variant; empty where there is none for it, or where it has not reported yet."""
    from_version: int | None
    sha256: str | None
    """Of what travels: the variant's file, or the delta's."""
    transfer: Transfer
    """`none`: it has the file. `delta_to_come`: a delta is made at the start; counted is the whole file."""
    transfer_bytes: int
    """Manifest and file, as the broker sends them; its own framing comes on top."""
    disk_bytes: int | None
    """What the file takes on the device, beside the version that serves."""
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    """As the variant was measured when it was made, on the hub's machine; None: not measured."""
    memory_bytes: int | None
    """None: not measured."""
    opens_at: datetime | None
    """When its policy first lets it activate; None where its time zone is not known."""
    problem: Problem | None
    """Why it would be refused."""


class PlannedVariant(BaseModel):
    """A variant, and how many devices would get it."""

    target: str
    devices: int
    file_bytes: int
    accuracy: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    memory_bytes: int | None


class RolloutPreview(BaseModel):
    """What a rollout would do."""

    model: str
    version: int
    seed: int
    """Given to the start, it makes the same choice."""
    waves: list[int]
    held_back: int
    misfits: int
    not_reported: int
    """Devices that have never reported: what they can run is not known yet."""
    transfer_bytes: int
    """On the air, over all devices: an upper bound while deltas are still to be made."""
    whole_bytes: int
    """The same without deltas."""
    variants: list[PlannedVariant]
    devices: list[PlannedDevice]


def preview(session: Session, rollout: Rollout, now: datetime) -> RolloutPreview:
    """Return what a rollout that was just started, in a session that is not kept, would do.

    Args:
        session: The session of the start.
        rollout: What it made.
        now: The clock.
    """
    deployments = deployments_of(session, rollout.id)
    known = _read_devices(session, [one.device_id for one in deployments])
    planner = _Planner(session, rollout, known, now)
    devices = [planner.plan(one) for one in deployments]
    taken = [one for one in devices if one.problem is None and one.target and not one.is_held_back]
    return RolloutPreview(
        model=rollout.model,
        version=rollout.version,
        seed=rollout.seed,
        waves=rollout.waves,
        held_back=sum(one.is_held_back for one in devices),
        misfits=sum(one.problem is not None for one in devices),
        not_reported=sum(not (one.target or one.problem or one.is_held_back) for one in devices),
        transfer_bytes=sum(one.transfer_bytes for one in devices),
        whole_bytes=sum(rollout.manifest_size_bytes + planner.variants[one.target].travelling_bytes for one in taken),
        variants=planner.summary(taken),
        devices=devices,
    )


class _Planner:
    """Plans devices one by one, by what was read once for all."""

    def __init__(
        self, session: Session, rollout: Rollout, devices: Mapping[str, Mapping[str, Any]], now: datetime
    ) -> None:
        self._rollout, self._devices, self._now = rollout, devices, now
        plan = RolloutPlan.model_validate(rollout.plan)
        self._policy = plan.policy
        wanted = select(Version).where(Version.model == rollout.model, Version.number == rollout.version)
        self._version = session.exec(wanted).one()
        rows = session.exec(select(VariantRow).where(VariantRow.version_id == self._version.id)).all()
        self._ranks = rank_variants(rows, plan)
        self.variants = {row.target: row for row in rows if row.target in self._ranks}
        self._running = running_files(session, rollout.model)
        results = [self._travels(row) for row in rows]
        found = session.exec(select(Delta).where(col(Delta.result_sha256).in_(results))).all()
        self._deltas = {(row.base_sha256, row.result_sha256): row for row in found}

    def plan(self, deployment: Deployment) -> PlannedDevice:
        """Return what a device would get."""
        device = self._devices[deployment.device_id]
        reported = device["reported"] or {}
        slots = ModelReport.model_validate(reported.get("models", {}).get(self._rollout.model, {}))
        targets = tuple(reported.get("targets", ()))
        target = choose_target(targets, self._ranks)
        problem = self._problem(device, targets, target)
        variant = self.variants.get(target) if problem is None else None
        is_held_back = deployment.state == "held_back"
        transfer, sha256, file_bytes = self._transfer(slots, variant)
        manifest_bytes = self._rollout.manifest_size_bytes
        zone = find_zone(reported.get("time_zone", "")) if self._policy.windows else UTC
        return PlannedDevice(
            device_id=deployment.device_id,
            name=device["name"],
            wave=None if is_held_back else deployment.wave,
            is_held_back=is_held_back,
            target="" if variant is None else target,
            from_version=slots.active.version if slots.active else None,
            sha256=sha256,
            transfer=transfer,
            transfer_bytes=0 if variant is None or is_held_back else manifest_bytes + file_bytes,
            disk_bytes=variant.size_bytes if variant else None,
            latency_p50_ms=variant.latency_p50_ms if variant else None,
            latency_p95_ms=variant.latency_p95_ms if variant else None,
            memory_bytes=memory_of(variant) if variant else None,
            opens_at=next_opening(self._policy, zone, self._now) if zone is not None else None,
            problem=problem,
        )

    def summary(self, taken: Sequence[PlannedDevice]) -> list[PlannedVariant]:
        """Return the variants with how many of these devices get each."""
        return [
            PlannedVariant(
                target=target,
                devices=sum(one.target == target for one in taken),
                file_bytes=row.size_bytes,
                accuracy=row.accuracy,
                latency_p50_ms=row.latency_p50_ms,
                latency_p95_ms=row.latency_p95_ms,
                memory_bytes=memory_of(row),
            )
            for target, row in sorted(self.variants.items())
        ]

    def _problem(self, device: Mapping[str, Any], targets: tuple[str, ...], target: str) -> Problem | None:
        if not targets:
            return None
        if not target:
            return no_variant(targets, self.variants)
        return no_encryption_key() if self._version.is_encrypted and device["encryption_key"] is None else None

    def _transfer(self, slots: ModelReport, variant: VariantRow | None) -> tuple[Transfer, str | None, int]:
        """Return how the variant's file would travel, the hash of what does, and its bytes."""
        if variant is None:
            return "none", None, 0
        held = (slots.active, slots.previous, slots.candidate)
        if any(slot is not None and slot.sha256 == variant.sha256 for slot in held):
            return "none", variant.sha256, 0
        result = self._travels(variant)
        delta = self._deltas.get((self._base(slots.active), result))
        if delta is not None and delta.ref is not None:
            size_bytes = delta.encrypted_size_bytes or delta.size_bytes or 0
            return "delta", delta.artifact_sha256, size_bytes
        is_to_come = delta is not None and delta.state == "making"
        return "delta_to_come" if is_to_come else "whole", result, variant.travelling_bytes

    def _base(self, active: SlotReport | None) -> str:
        if active is None or active.state != "good":
            return ""
        return self._running.get((active.version, active.target, active.sha256), "")

    def _travels(self, variant: VariantRow) -> str:
        is_encrypted = self._version.is_encrypted
        return travels_as(variant.sha256, variant.encrypted_sha256, is_encrypted=is_encrypted) or variant.sha256


def memory_of(variant: VariantRow) -> int | None:
    """Return the memory that a variant took when it was measured; None where it was not."""
    found = variant.report.get("memory_bytes")
    return found if isinstance(found, int) else None


def _read_devices(session: Session, device_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    columns = (col(Device.id), col(Device.name), col(Device.reported), col(Device.encryption_key))
    wanted: Any = select_columns(*columns)
    found: dict[str, Mapping[str, Any]] = {}
    for part in parts(device_ids):
        rows = session.connection().execute(wanted.where(col(Device.id).in_(part))).mappings()
        found |= {row["id"]: row for row in rows}
    return found
