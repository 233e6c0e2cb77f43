"""Reads what the decision on a rollout needs from the database, device by device and only when asked."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from sqlmodel import Session, select

from shoal_contract.desired import ArtifactRef, DesiredModel
from shoal_contract.reported import ModelReport, SectionReport, SlotReport
from shoal_hub.devices.compose import PRIORITY, Wanted
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.registry.tables import Version
from shoal_hub.rollouts.views import Attempt, DeviceFacts, RolloutView


def owner_of(rollout_id: str) -> str:
    """Return the name under which a rollout owns intents and leases."""
    return f"rollout/{rollout_id}"


class StoredFacts(Mapping[str, DeviceFacts]):
    """`DeviceFacts` by device id, read when they are first asked for."""

    def __init__(self, session: Session, rollout: RolloutView, attempts: Sequence[Attempt]) -> None:
        self._session = session
        self._rollout = rollout
        self._devices = [attempt.device_id for attempt in attempts]
        # Only who has not been told yet is asked what it had before: that takes a query each.
        self._untold = {attempt.device_id for attempt in attempts if attempt.target == ""}
        self._known: dict[str, DeviceFacts] = {}

    def __getitem__(self, device_id: str) -> DeviceFacts:
        """Return what is known of one device."""
        if device_id not in self._known:
            self._known[device_id] = self._read(self._session.get_one(Device, device_id))
        return self._known[device_id]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the rollout's devices."""
        return iter(self._devices)

    def __len__(self) -> int:
        """Return the number of the rollout's devices."""
        return len(self._devices)

    @cached_property
    def _ours(self) -> set[str]:
        wanted = select(Intent.device_id).where(Intent.owner == owner_of(self._rollout.id))
        return set(self._session.exec(wanted).all())

    def _read(self, device: Device) -> DeviceFacts:
        reported = device.reported or {}
        section = reported.get("sections", {}).get(self._rollout.section)
        slots = ModelReport.model_validate(reported.get("models", {}).get(self._rollout.model, {}))
        return DeviceFacts(
            targets=tuple(reported.get("targets", ())),
            section=SectionReport.model_validate(section) if section is not None else None,
            active=slots.active,
            current=self._current(device.id, slots.active) if device.id in self._untold else None,
            is_ours=device.id in self._ours,
            is_revoked=device.revoked_at is not None,
        )

    def _current(self, device_id: str, active: SlotReport | None) -> DesiredModel | None:
        """Return what to go back to: what stands, unless the device says that it serves something else."""
        standing = _standing(intents_of(self._session, device_id, self._rollout.section))
        if active is None or active.state != "good" or (standing is not None and standing.version == active.version):
            return standing
        wanted = select(Version).where(Version.model == self._rollout.model, Version.number == active.version)
        version = self._session.exec(wanted).one_or_none()
        if version is None or version.manifest_sha256 is None or version.manifest_size_bytes is None:
            return standing
        manifest = ArtifactRef(sha256=version.manifest_sha256, size_bytes=version.manifest_size_bytes)
        return DesiredModel(version=active.version, target=active.target, manifest=manifest, deployment="")


def _standing(intents: list[Wanted]) -> DesiredModel | None:
    """Return the body that rollouts and rollbacks want of a section now."""
    ours = [one for one in intents if one.kind in {"rollout", "rollback"}]
    if not ours:
        return None
    return DesiredModel.model_validate(max(ours, key=lambda one: (PRIORITY[one.kind], one.created_at, one.id)).body)
