"""What the decision on a rollout is made from and what it may have happen: values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from shoal_contract.desired import ArtifactRef, DesiredModel
from shoal_contract.reported import Problem, SectionReport, SlotReport
from shoal_hub.rollouts.tables import DeploymentState, RolloutState


@dataclass(frozen=True)
class RolloutView:
    """A rollout as it stands; `targets` are those that the version has a variant for."""

    id: str
    model: str
    version: int
    manifest: ArtifactRef
    targets: frozenset[str]
    state: RolloutState
    wave_count: int
    current_wave: int
    max_failures: int
    timeout_s: float
    ended_at: datetime | None = None
    reason: str = ""
    is_encrypted: bool = False
    is_waiting_for_deltas: bool = False
    """No device is told yet: what it would fetch may soon be much smaller."""

    @property
    def section(self) -> str:
        """The section of the desired state that it changes."""
        return f"models/{self.model}"


@dataclass(frozen=True)
class Attempt:
    """One deployment as it stands. `target` is set once the device was told."""

    id: str
    device_id: str
    wave: int
    state: DeploymentState = "pending"
    target: str = ""
    step: str = ""
    from_version: int | None = None
    from_body: DesiredModel | None = None
    rollback_id: str | None = None
    problem: Problem | None = None
    assigned_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of one device, as far as it concerns one rollout.

    Attributes:
        targets: What the device can run, best first; empty until it has reported for the first time.
        section: Its report on the rollout's section.
        active: What it serves of the rollout's model.
        current: The section to go back to, if this rollout changes it now.
        is_ours: Whether the rollout's intent stands on the device; a later rollout takes it away.
        is_revoked: Whether the device is out: it can be told nothing, and nobody waits for it.
        has_encryption_key: Whether keys of encrypted versions can be wrapped for it.
    """

    targets: tuple[str, ...] = ()
    section: SectionReport | None = None
    active: SlotReport | None = None
    current: DesiredModel | None = None
    is_ours: bool = False
    is_revoked: bool = False
    has_encryption_key: bool = False


@dataclass(frozen=True)
class SetIntent:
    """Have the device want `body`, in place of every earlier rollout's wish."""

    device_id: str
    kind: Literal["rollout", "rollback"]
    body: DesiredModel


@dataclass(frozen=True)
class DropIntent:
    """Take the rollout's intent from the device."""

    device_id: str


@dataclass(frozen=True)
class TakeLease:
    """Keep what a device needs for `body` at the broker."""

    body: DesiredModel


@dataclass(frozen=True)
class DropLeases:
    """Nobody needs the rollout's artifacts any more."""


@dataclass(frozen=True)
class Record:
    """Tell the operator."""

    kind: str
    message: str
    severity: Literal["info", "warning", "error"] = "info"
    device_id: str | None = None


Effect: TypeAlias = SetIntent | DropIntent | TakeLease | DropLeases | Record
Facts: TypeAlias = Mapping[str, DeviceFacts]


@dataclass(frozen=True)
class Advanced:
    """The rollout and its attempts after one step, and what has to follow in the same transaction."""

    rollout: RolloutView
    attempts: tuple[Attempt, ...]
    effects: tuple[Effect, ...]
