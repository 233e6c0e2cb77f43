"""What the decision on a rollout is made from and what it may have happen: values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem, SectionReport, SlotReport
from shoal_hub.registry.costs import Costs
from shoal_hub.rollouts.request import FailureCause, RolloutPlan
from shoal_hub.rollouts.tables import DeploymentState, RolloutState

NEVER_SEEN: Final = (-1, -1)


@dataclass(frozen=True)
class RolloutView:
    """A rollout as it stands; `targets` are those that it gives variants out for, with their ranks."""

    id: str
    model: str
    version: int
    manifest: ArtifactRef
    targets: Mapping[str, float]
    state: RolloutState
    wave_count: int
    current_wave: int
    max_failures: int | None
    timeout_s: float
    ended_at: datetime | None = None
    reason: str = ""
    is_encrypted: bool = False
    is_waiting_for_deltas: bool = False
    """No device is told yet: what it would fetch may soon be much smaller."""
    plan: RolloutPlan = field(default_factory=RolloutPlan)
    costs: Costs | None = None
    """What its variants cost, where devices without the memory are refused; None where nobody asks."""
    wave_ended_at: datetime | None = None
    approved_wave: int = 0
    gate_count: int = 0
    """Waves with a gate, from the first on: all, where devices are held back to compare the last one with."""
    gate_passed_wave: int = -1
    """The last wave whose gate was undecided for its time and let pass by a person."""
    fired: Mapping[int, int] = field(default_factory=dict)
    """Failures at which each threshold has paused it: it pauses again only for one more."""

    @property
    def section(self) -> str:
        """The section of the desired state that it changes."""
        return f"models/{self.model}"

    @property
    def has_begun(self) -> bool:
        """Whether it may still tell devices: it has not ended and is not on its way back."""
        return self.state in {"running", "paused"}

    @property
    def is_last_wave(self) -> bool:
        """Whether no wave follows the current one."""
        return self.current_wave + 1 >= self.wave_count

    @property
    def is_gated(self) -> bool:
        """Whether the current wave has a gate."""
        return self.current_wave < self.gate_count

    @property
    def is_gate_passed(self) -> bool:
        """Whether a person has let the current wave past its gate, which was undecided for its time."""
        return self.gate_passed_wave >= self.current_wave

    @property
    def why_no_last_gate(self) -> str:
        """Why the last wave has no gate, where the others have one; empty where it has, or where there are none."""
        if self.plan.gate is None or self.gate_count >= self.wave_count:
            return ""
        return "the last wave has no gate: no device is held back to compare it with"

    def soaks_until(self) -> datetime | None:
        """Return until when its current wave is watched, if it is over and another one or its gate follows."""
        if self.wave_ended_at is None or (self.is_last_wave and not self.is_gated):
            return None
        return self.wave_ended_at + timedelta(seconds=self.plan.soak_s)

    def gate_overdue_at(self) -> datetime | None:
        """Return from when on the plan's rule for undecided gates holds for the current wave; None without a gate."""
        soaks_until, gate = self.soaks_until(), self.plan.gate
        if soaks_until is None or gate is None or not self.is_gated:
            return None
        return soaks_until + timedelta(seconds=gate.max_hold_s)

    @property
    def is_next_wave_approved(self) -> bool:
        """Whether nobody has to approve the next wave any more."""
        return not self.plan.wave_approval or self.approved_wave > self.current_wave


class Attempt(NamedTuple):
    """One deployment as it stands. `target` is set once the device was told; `seen` is the report last looked at."""

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
    failure: FailureCause | Literal[""] = ""
    waits_for: str = ""
    tries: int = 1
    is_settled: bool = False
    seen: tuple[int, int] = NEVER_SEEN
    assigned_at: datetime | None = None
    ended_at: datetime | None = None


class DeviceFacts(NamedTuple):
    """What is known of one device, as far as it concerns one rollout.

    Attributes:
        targets: What the device can run, best first; empty until it has reported for the first time.
        section: Its report on the rollout's section.
        active: What it serves of the rollout's model.
        current: The section to go back to, if this rollout changes it now.
        is_ours: Whether the rollout's intent stands on the device; a later rollout takes it away.
        is_revoked: Whether the device is out: it can be told nothing, and nobody waits for it.
        is_pinned: Whether the device stays on a version by a pin, which no rollout changes: nobody waits for it.
        has_encryption_key: Whether keys of encrypted versions can be wrapped for it.
        candidate: What it has staged of the rollout's model, and does not serve.
        hardware: Its class of hardware, where the rollout has costs to go by; see `registry.costs.hardware_class`.
        memory_available_bytes: What it reported free; None where it has not.
        report: The connection and sequence of its last report.
    """

    targets: tuple[str, ...] = ()
    section: SectionReport | None = None
    active: SlotReport | None = None
    current: DesiredModel | None = None
    is_ours: bool = False
    is_revoked: bool = False
    is_pinned: bool = False
    has_encryption_key: bool = False
    candidate: SlotReport | None = None
    hardware: str = ""
    memory_available_bytes: int | None = None
    report: tuple[int, int] = NEVER_SEEN


Facts: TypeAlias = Mapping[str, DeviceFacts]


@dataclass(frozen=True)
class GateResult:
    """What the statistics of a gate say of the waves so far.

    Attributes:
        verdict: What follows of it.
        reason: Why, for a person.
        is_due: Whether it is to be looked at again first: until then nobody has let the wave pass, either.
    """

    verdict: Literal["advance", "hold", "abort"]
    reason: str
    is_due: bool = False


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


@dataclass(frozen=True)
class Advanced:
    """The rollout and its attempts after one step, and what has to follow in the same transaction."""

    rollout: RolloutView
    attempts: tuple[Attempt, ...]
    effects: tuple[Effect, ...]
