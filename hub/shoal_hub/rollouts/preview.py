"""What a rollout would do, device by device: it is started in a session that keeps nothing, and looked at there."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.reported import ModelReport, Problem
from shoal_hub.database import in_parts
from shoal_hub.devices.tables import Device
from shoal_hub.registry.costs import Basis, Prediction, hardware_class, memory_of, read_costs
from shoal_hub.registry.encrypt import travelling_size
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_variants
from shoal_hub.rollouts.memory import no_memory
from shoal_hub.rollouts.observe import no_encryption_key, no_variant
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.start import deployments_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.rollouts.variants import choose_target, rank_variants
from shoal_hub.rollouts.windows import find_zone, next_opening
from shoal_hub.traffic.forecast import Budget, Forecast, Receiver, Way, budgets_of, forecast_bytes


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
    transfer: Way
    """How the file comes. `none`: it has it. `cache`: from its site's cache. `delta_to_come`: a delta is made at the
    start; counted is the whole file. `broker`, `https`: as a whole."""
    transfer_bytes: int
    """Manifest and file, from wherever they come, without what the protocols add."""
    uplink_bytes: int
    """What the device's uplink carries for it in both directions, with what MQTT, TLS, TCP and IP add."""
    budget_left_bytes: int | None
    """Of its byte budget of this month, by what it has told; None without one."""
    is_held_by_budget: bool
    held_until: datetime | None
    """When its budget lets it go; None if it is not held, or if no month has room for it."""
    disk_bytes: int | None
    """What the file takes on the device, beside the version that serves."""
    latency_p50_ms: float | None
    """Of a request with one sample; None: not measured."""
    memory_bytes: int | None
    """What the agent's process grows by; None: not measured."""
    measured_on: Basis
    """Where both were measured: on devices of the `same_hardware`, or where the variant was made."""
    measured_devices: int
    """On how many devices of the same hardware; both are the median."""
    memory_available_bytes: int | None
    """What the device last reported free."""
    opens_at: datetime | None
    """When its policy first lets it activate; None where its time zone is not known."""
    warning: Problem | None
    """Why it may fail, though it would be told."""
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
    warnings: int
    """Devices that would be told though they may fail."""
    held_by_budget: int
    """Devices that their month's byte budgets would hold back."""
    transfer_bytes: int
    """Over all devices: an upper bound while deltas are still to be made."""
    whole_bytes: int
    """The same without deltas."""
    uplink_bytes: int
    """On the air: what all uplinks carry."""
    variants: list[PlannedVariant]
    devices: list[PlannedDevice]


def preview(session: Session, rollout: Rollout, now: datetime, retained_budget_bytes: int) -> RolloutPreview:
    """Return what a rollout that was just started, in a session that is not kept, would do.

    Args:
        session: The session of the start.
        rollout: What it made.
        now: The clock.
        retained_budget_bytes: What may stand at the broker.
    """
    deployments = deployments_of(session, rollout.id)
    known = _read_devices(session, [one.device_id for one in deployments])
    planner = _Planner(session, rollout, known, now)
    devices = planner.plan(session, deployments, retained_budget_bytes)
    taken = [one for one in devices if one.problem is None and one.target and not one.is_held_back]
    return RolloutPreview(
        model=rollout.model,
        version=rollout.version,
        seed=rollout.seed,
        waves=rollout.waves,
        held_back=sum(one.is_held_back for one in devices),
        misfits=sum(one.problem is not None for one in devices),
        not_reported=sum(not (one.target or one.problem or one.is_held_back) for one in devices),
        warnings=sum(one.warning is not None for one in devices),
        held_by_budget=sum(one.is_held_by_budget for one in devices),
        transfer_bytes=sum(one.transfer_bytes for one in devices),
        whole_bytes=sum(rollout.manifest_size_bytes + planner.file_bytes(one.target) for one in taken),
        uplink_bytes=sum(one.uplink_bytes for one in devices),
        variants=planner.summary(taken),
        devices=devices,
    )


class _Chosen(NamedTuple):
    """What a device would get, before it is known what of that travels."""

    target: str
    predicted: Prediction
    warning: Problem | None
    problem: Problem | None


class _Planner:
    """Plans devices one by one, by what was read once for all."""

    def __init__(
        self, session: Session, rollout: Rollout, devices: Mapping[str, Mapping[str, Any]], now: datetime
    ) -> None:
        self._rollout, self._devices, self._now = rollout, devices, now
        self._plan = RolloutPlan.model_validate(rollout.plan)
        wanted = select(Version).where(Version.model == rollout.model, Version.number == rollout.version)
        self._version = session.exec(wanted).one()
        rows = find_variants(session, self._version)
        self._ranks = rank_variants(rows, self._plan)
        self._variants = {row.target: row for row in rows if row.target in self._ranks}
        self._costs = read_costs(session, rows)

    def plan(
        self, session: Session, deployments: Sequence[Deployment], retained_budget_bytes: int
    ) -> list[PlannedDevice]:
        """Return what devices would get."""
        chosen = {one.device_id: self._choose(one) for one in deployments}
        receivers = [self._receiver(one, chosen[one.device_id]) for one in deployments]
        forecasts = forecast_bytes(session, self._version, receivers, retained_budget_bytes=retained_budget_bytes)
        homes = {device_id: one["group"] for device_id, one in self._devices.items()}
        budgets = budgets_of(session, homes, self._now)
        return [
            self._planned(one, chosen[one.device_id], forecast, budgets.get(one.device_id))
            for one, forecast in zip(deployments, forecasts, strict=True)
        ]

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
                memory_bytes=memory_of(row.report),
            )
            for target, row in sorted(self._variants.items())
        ]

    def file_bytes(self, target: str) -> int:
        """Return what travels of a variant's whole file."""
        return travelling_size(self._variants[target], is_encrypted=self._version.is_encrypted)

    def _choose(self, deployment: Deployment) -> _Chosen:
        device = self._devices[deployment.device_id]
        if device["reported"] is None:
            return _Chosen("", Prediction(), None, None)
        targets = tuple(device["reported"].get("targets", ()))
        target = choose_target(targets, self._ranks)
        predicted = self._costs.predict(target, hardware_class(device["reported"].get("hardware")))
        if not target:
            return _Chosen("", predicted, None, no_variant(targets, self._ranks))
        if self._version.is_encrypted and device["encryption_key"] is None:
            return _Chosen("", predicted, None, no_encryption_key())
        active = _slots(device["reported"], self._rollout.model).active
        is_loaded = active is not None and (active.version, active.target) == (self._rollout.version, target)
        lacking = None if is_loaded else no_memory(predicted, device["reported"].get("memory_available_bytes"))
        if lacking is not None and self._plan.on_low_memory == "refuse":
            return _Chosen("", predicted, None, lacking)
        return _Chosen(target, predicted, lacking, None)

    def _receiver(self, deployment: Deployment, chosen: _Chosen) -> Receiver:
        reported = self._devices[deployment.device_id]["reported"] or {}
        target = "" if deployment.state == "held_back" else chosen.target
        return Receiver(deployment.device_id, target, reported, deployment.wave)

    def _planned(
        self, deployment: Deployment, chosen: _Chosen, forecast: Forecast, budget: Budget | None
    ) -> PlannedDevice:
        device = self._devices[deployment.device_id]
        reported = device["reported"] or {}
        active = _slots(reported, self._rollout.model).active
        is_held_back = deployment.state == "held_back"
        variant = self._variants.get(chosen.target)
        is_told = variant is not None and not is_held_back
        is_over = budget is not None and budget.holds(forecast.uplink_bytes)
        windows = self._plan.policy.windows
        zone = find_zone(reported.get("time_zone", "")) if windows else UTC
        return PlannedDevice(
            device_id=deployment.device_id,
            name=device["name"],
            wave=None if is_held_back else deployment.wave,
            is_held_back=is_held_back,
            target=chosen.target,
            from_version=active.version if active else None,
            sha256=forecast.sha256,
            transfer=forecast.way,
            transfer_bytes=self._rollout.manifest_size_bytes + forecast.file_bytes if is_told else 0,
            uplink_bytes=forecast.uplink_bytes,
            budget_left_bytes=budget.left_bytes if budget else None,
            is_held_by_budget=is_over,
            held_until=budget.until(forecast.uplink_bytes, self._now) if budget and is_over else None,
            disk_bytes=variant.size_bytes if variant else None,
            latency_p50_ms=chosen.predicted.latency_p50_ms,
            memory_bytes=chosen.predicted.memory_bytes,
            measured_on=chosen.predicted.basis,
            measured_devices=chosen.predicted.devices,
            memory_available_bytes=reported.get("memory_available_bytes"),
            opens_at=next_opening(self._plan.policy, zone, self._now) if zone is not None else None,
            warning=None if is_held_back else chosen.warning,
            problem=chosen.problem,
        )


def _slots(reported: Mapping[str, Any], model: str) -> ModelReport:
    return ModelReport.model_validate(reported.get("models", {}).get(model, {}))


def _read_devices(session: Session, device_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    columns = (col(Device.id), col(Device.name), col(Device.group), col(Device.reported), col(Device.encryption_key))
    wanted: Any = select_columns(*columns)
    found: dict[str, Mapping[str, Any]] = {}
    for part in in_parts(device_ids):
        rows = session.connection().execute(wanted.where(col(Device.id).in_(part))).mappings()
        found |= {row["id"]: row for row in rows}
    return found
