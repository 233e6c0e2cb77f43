"""Reads what the decision on a rollout needs to know of devices, in few queries however many devices there are."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.desired import ArtifactRef, DesiredModel
from shoal_contract.reported import ModelReport, SectionReport, SlotReport
from shoal_hub.database import in_parts
from shoal_hub.devices.compose import PRIORITY
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.registry.costs import hardware_class
from shoal_hub.registry.tables import Version
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.views import Attempt, DeviceFacts, RolloutView

_INTENT: Final = tuple(getattr(Intent, name) for name in ("id", "device_id", "owner", "kind", "until", "created_at"))


def read_facts(
    session: Session, rollout: RolloutView, attempts: Sequence[Attempt], now: datetime
) -> dict[str, DeviceFacts]:
    """Return what is known of the devices of these attempts, by device id."""
    untold = {attempt.device_id for attempt in attempts if attempt.target == ""}
    standing = _Standing(session, rollout, [attempt.device_id for attempt in attempts], untold, now)
    names = ("id", "reported", "reported_connection", "reported_sequence", "revoked_at", "encryption_key")
    wanted: Any = select_columns(*(getattr(Device, name) for name in names))
    facts: dict[str, DeviceFacts] = {}
    for part in in_parts([attempt.device_id for attempt in attempts]):
        for device_id, reported, connection, sequence, revoked_at, key in session.exec(
            wanted.where(col(Device.id).in_(part))
        ):
            known = reported or {}
            section = known.get("sections", {}).get(rollout.section)
            slots = ModelReport.model_validate(known.get("models", {}).get(rollout.model, {}))
            facts[device_id] = DeviceFacts(
                targets=tuple(known.get("targets", ())),
                section=SectionReport.model_validate(section) if section is not None else None,
                active=slots.active,
                candidate=slots.candidate,
                current=standing.current(device_id, slots.active) if device_id in untold else None,
                is_ours=device_id in standing.ours,
                is_revoked=revoked_at is not None,
                is_pinned=device_id in standing.pinned,
                has_encryption_key=key is not None,
                hardware=hardware_class(known.get("hardware")) if rollout.costs is not None else "",
                memory_available_bytes=known.get("memory_available_bytes"),
                report=(connection, sequence),
            )
    return facts


class _Standing:
    """What rollouts and rollbacks want of the rollout's section on some devices now."""

    def __init__(
        self,
        session: Session,
        rollout: RolloutView,
        device_ids: Sequence[str],
        untold: Collection[str],
        now: datetime,
    ) -> None:
        self._session = session
        self._rollout = rollout
        self._bodies: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        self._refs: dict[int, ArtifactRef | None] = {}
        self.ours: set[str] = set()
        self.pinned: set[str] = set()
        owner = owner_of(rollout.id)
        of_section = col(Intent.section) == rollout.section
        wanted: Any = select_columns(*_INTENT).where(of_section)
        for part in in_parts(device_ids):
            for intent in session.connection().execute(wanted.where(col(Intent.device_id).in_(part))):
                if intent.owner == owner:
                    self.ours.add(intent.device_id)
                if intent.kind == "pin" and (intent.until is None or intent.until > now):
                    self.pinned.add(intent.device_id)
        bodies: Any = select_columns(*_INTENT, col(Intent.body)).where(
            of_section, col(Intent.kind).in_(("rollout", "rollback"))
        )
        for part in in_parts(untold):
            for intent in session.connection().execute(bodies.where(col(Intent.device_id).in_(part))):
                rank = (PRIORITY[intent.kind], intent.created_at, intent.id)
                former = self._bodies.get(intent.device_id)
                if former is None or rank > former[0]:
                    self._bodies[intent.device_id] = (rank, intent.body)

    def current(self, device_id: str, active: SlotReport | None) -> DesiredModel | None:
        """Return what to go back to: what stands, unless the device says that it serves something else."""
        found = self._bodies.get(device_id)
        standing = DesiredModel.model_validate(found[1]) if found is not None else None
        if active is None or active.state != "good" or (standing is not None and standing.version == active.version):
            return standing
        manifest = self._manifest_of(active.version)
        if manifest is None:
            return standing
        return DesiredModel(version=active.version, target=active.target, manifest=manifest, deployment="")

    def _manifest_of(self, number: int) -> ArtifactRef | None:
        """Return the manifest of a version that was rolled out, if it was."""
        if number not in self._refs:
            wanted = select(Version).where(Version.model == self._rollout.model, Version.number == number)
            found = self._session.exec(wanted).one_or_none()
            sha256, size_bytes = (found.manifest_sha256, found.manifest_size_bytes) if found else (None, None)
            self._refs[number] = (
                ArtifactRef(sha256=sha256, size_bytes=size_bytes) if sha256 is not None and size_bytes else None
            )
        return self._refs[number]
