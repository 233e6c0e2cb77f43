"""Reads what the decision on a rollout needs to know of devices, in few queries however many devices there are."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import String, and_, bindparam, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import ModelReport, SectionReport, SlotReport
from shoal_hub.bulk import Query
from shoal_hub.database import as_texts, is_among, is_one_of
from shoal_hub.devices.compose import PRIORITY
from shoal_hub.devices.tables import PIN, Device, Intent
from shoal_hub.registry.costs import hardware_class
from shoal_hub.registry.tables import Version
from shoal_hub.rollouts.attempts import is_returning
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.rollouts.views import Attempt, DeviceFacts, RolloutView

_OF_SECTION: Final = (
    is_among(col(Intent.device_id), bindparam("ids", type_=String())),
    col(Intent.section) == bindparam("of_section"),
)
_HOLDS: Final = or_(col(Intent.until).is_(None), col(Intent.until) > bindparam("at"))
_HOLDERS: Final = Query(
    select_columns(col(Intent.device_id), col(Intent.owner)).where(
        *_OF_SECTION, or_(col(Intent.owner) == bindparam("by_owner"), and_(col(Intent.kind) == PIN, _HOLDS))
    )
)
_INTENT: Final[list[Any]] = [getattr(Intent, name) for name in ("id", "device_id", "kind", "created_at", "body")]
_BODIES: Final = Query(
    select_columns(*_INTENT).where(*_OF_SECTION, is_one_of(col(Intent.kind), ("rollout", "rollback")))
)
_RETURNING: Final = Query(
    select_columns(col(Deployment.device_id))
    .join(Rollout, col(Rollout.id) == col(Deployment.rollout_id))
    .where(
        is_among(col(Deployment.device_id), bindparam("ids", type_=String())),
        col(Rollout.model) == bindparam("of_model"),
        is_returning(),
    )
)
_NO_SLOTS: Final = ModelReport()


class DeviceRow(NamedTuple):
    """The columns of a device that a decision is made by."""

    reported: Mapping[str, Any] | None
    reported_connection: int
    reported_sequence: int
    revoked_at: datetime | None
    encryption_key: str | None


DEVICE_COLUMNS: Final = tuple(getattr(Device, name) for name in DeviceRow._fields)


def read_facts(
    session: Session,
    rollout: RolloutView,
    attempts: Sequence[Attempt],
    devices: Mapping[str, DeviceRow],
    now: datetime,
) -> dict[str, DeviceFacts]:
    """Return what is known of the devices of these attempts, by device id.

    Args:
        session: An open session.
        rollout: The rollout.
        attempts: The attempts at hand.
        devices: Their devices, as they were found with them.
        now: The clock.
    """
    untold = {attempt.device_id for attempt in attempts if attempt.target == ""}
    standing = _Standing(session, rollout, devices.keys(), untold, now)
    return {
        device_id: _facts_of(rollout, device_id, row, standing, is_untold=device_id in untold)
        for device_id, row in devices.items()
    }


def _facts_of(
    rollout: RolloutView, device_id: str, row: DeviceRow, standing: "_Standing", *, is_untold: bool
) -> DeviceFacts:
    known = row.reported or {}
    section, slots = known.get("sections", {}).get(rollout.section), known.get("models", {}).get(rollout.model)
    model = ModelReport.model_validate(slots) if slots else _NO_SLOTS
    return DeviceFacts(
        targets=tuple(known.get("targets", ())),
        section=SectionReport.model_validate(section) if section is not None else None,
        active=model.active,
        candidate=model.candidate,
        current=standing.current(device_id, model.active) if is_untold else None,
        is_ours=device_id in standing.ours,
        is_revoked=row.revoked_at is not None,
        is_pinned=device_id in standing.pinned,
        has_encryption_key=row.encryption_key is not None,
        hardware=hardware_class(known.get("hardware")) if rollout.costs is not None else "",
        memory_available_bytes=known.get("memory_available_bytes"),
        report=(row.reported_connection, row.reported_sequence),
    )


class _Standing:
    """What rollouts and rollbacks want of the rollout's section on some devices now."""

    def __init__(
        self,
        session: Session,
        rollout: RolloutView,
        device_ids: Collection[str],
        untold: Collection[str],
        now: datetime,
    ) -> None:
        self._session = session
        self._rollout = rollout
        self._bodies: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        self._returning: set[str] = set()
        self._refs: dict[int, ArtifactRef | None] = {}
        self.ours: set[str] = set()
        self.pinned: set[str] = set()
        self._read_holders(device_ids, now)
        if untold:
            self._read_bodies(untold)

    def _read_holders(self, device_ids: Collection[str], now: datetime) -> None:
        owner, section, ids = owner_of(self._rollout.id), self._rollout.section, as_texts(device_ids)
        for device_id, held_by in _HOLDERS.rows(self._session, ids=ids, of_section=section, by_owner=owner, at=now):
            (self.ours if held_by == owner else self.pinned).add(device_id)

    def _read_bodies(self, device_ids: Collection[str]) -> None:
        ids, model = as_texts(device_ids), self._rollout.model
        found = _BODIES.rows(self._session, ids=ids, of_section=self._rollout.section)
        for intent_id, device_id, kind, created_at, body in found:
            rank = (PRIORITY[kind], created_at, intent_id)
            former = self._bodies.get(device_id)
            if former is None or rank > former[0]:
                self._bodies[device_id] = (rank, body)
        self._returning = {device_id for (device_id,) in _RETURNING.rows(self._session, ids=ids, of_model=model)}

    def current(self, device_id: str, active: SlotReport | None) -> DesiredModel | None:
        """Return what to go back to: what stands, unless the device says that it serves something else.

        What a device serves that has been told to go back, and has not said that it did, is nothing to come back to.
        """
        found = self._bodies.get(device_id)
        standing = DesiredModel.model_validate(found[1]) if found is not None else None
        if active is None or active.state != "good" or (standing is not None and standing.version == active.version):
            return standing
        if device_id in self._returning:
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
