"""What the API says of rollouts, and its routes of them as methods."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shoal_client.fleet import Problem, Value
from shoal_client.transport import Transport

_LOOK_S = 0.3
"""Between two looks at a rollout that is waited for."""


class Deployment(Value):
    """One device's attempt at a rollout."""

    id: str
    device_id: str
    device_name: str = ""
    wave: int
    target: str
    state: str
    step: str
    waits_for: str = ""
    """What its device waits for: its `window`, the time to `activate_at`, its owner's `veto`; empty for nothing."""
    tries: int = 1
    failure: str = ""
    """Of what it failed, by the kinds that thresholds name."""
    from_version: int | None
    fetched_bytes: int | None
    """What the model's file took to travel, by delta or whole; None until the device has told."""
    forecast_bytes: int | None = None
    """What was forecast of that at the start, at most; None where it was not known what the device can run."""
    whole_bytes: int | None
    """What the whole file would take."""
    problem: Problem | None
    assigned_at: datetime | None
    ended_at: datetime | None


class Rollout(Value):
    """A rollout; `counts` are its deployments by state, `wave_counts` the same for each wave."""

    id: str
    model: str
    version: int
    state: str
    waves: list[int]
    current_wave: int
    max_failures: int | None
    timeout_s: float
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    reason: str
    counts: dict[str, int]
    wave_counts: list[dict[str, int]] = Field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether no device is told of its version any more; of one that was aborted some may be on their way back."""
        return self.state in {"succeeded", "aborted", "rolled_back"}


class MeasuredThreshold(Value):
    """A bound on failures, and how far it is."""

    description: str
    failures: int
    executed: int
    is_crossed: bool


class GateSide(Value):
    """One side of a gate: devices with samples, samples, and the metric's value now and before."""

    devices: int
    samples: float
    value: float | None
    before: float | None


class GateLimit(Value):
    """What the hard limit says of a metric that could not be tested."""

    verdict: Literal["advance", "hold", "abort"]
    reason: str


class GateMetric(Value):
    """A metric at a gate; effect and interval are canaries less controls, None where nothing was tested."""

    name: str
    unit: str
    verdict: Literal["advance", "hold", "abort", "not_tested"]
    reason: str
    limit: GateLimit | None
    margin: float
    tolerance: float
    worse: str
    effect: float | None
    lower: float | None
    upper: float | None
    alpha: float
    canary: GateSide
    control: GateSide


class Gate(Value):
    """The last look at a wave's gate; `tested` is what the statistics alone say."""

    wave: int
    at: datetime
    verdict: Literal["advance", "hold", "abort"]
    tested: Literal["advance", "hold", "abort", "not_tested"]
    reason: str
    alpha_spent: float
    metrics: list[GateMetric]


class RolloutDetail(Rollout):
    """A rollout with its plan, how far it is, and its deployments, the first ones if there are many.

    Its bytes are those of all deployments whose devices have told what travelled.
    """

    plan: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    waits_for: Literal["start", "deltas", "soak", "gate", "approval"] | None = None
    """Why no device is told now."""
    soaks_until: datetime | None = None
    in_flight: int = 0
    returning: int = 0
    """Devices that were told to go back and have not said how that went."""
    thresholds: list[MeasuredThreshold] = Field(default_factory=list)
    gates: list[Gate] = Field(default_factory=list)
    why_no_last_gate: str = ""
    """Why the last wave has no gate, where the others have one."""
    is_waiting_for_deltas: bool
    fetched_bytes: int
    whole_bytes: int
    forecast_bytes: int = 0
    """What was forecast at the start for the devices that have told, at most."""
    forecast_total_bytes: int = 0
    """The same for all devices."""
    deployments: list[Deployment]


class PlannedDevice(Value):
    """What one device would get, and when."""

    device_id: str
    name: str
    wave: int | None
    """From 0; None for one that is held back."""
    is_held_back: bool
    target: str
    from_version: int | None
    sha256: str | None
    transfer: Literal["none", "cache", "delta", "delta_to_come", "broker", "https", "whole"]
    """How the file comes: it is there, from the site's cache, as a delta, or as a whole; an older hub does not say by
    which way that comes."""
    transfer_bytes: int
    """Manifest and file, without what the protocols add."""
    uplink_bytes: int | None = None
    """What the device's uplink carries for it, with what they add; None from an older hub."""
    budget_left_bytes: int | None = None
    """Of its byte budget of this month; None without one."""
    is_held_by_budget: bool = False
    held_until: datetime | None = None
    """When its budget lets it go; None if it is not held, or if no month has room for it."""
    disk_bytes: int | None
    latency_p50_ms: float | None
    memory_bytes: int | None
    """As these three, None where it was not measured."""
    measured_on: Literal["same_hardware", "compression", "nothing"] = "compression"
    """Where latency and memory were measured; an older hub knows compression alone."""
    measured_devices: int = 0
    """On how many devices of the same hardware."""
    memory_available_bytes: int | None = None
    """What the device last reported free."""
    opens_at: datetime | None
    """When its policy first lets it activate; None where its time zone is not known."""
    warning: Problem | None = None
    """Why it may fail, though it would be told."""
    problem: Problem | None
    """Why it would be refused."""


class PlannedVariant(Value):
    """A variant, and how many devices would get it."""

    target: str
    devices: int
    file_bytes: int
    accuracy: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    memory_bytes: int | None


class RolloutPreview(Value):
    """What a rollout would do."""

    model: str
    version: int
    seed: int
    """Given to the start, it makes the same choice."""
    waves: list[int]
    held_back: int
    misfits: int
    not_reported: int
    warnings: int = 0
    held_by_budget: int = 0
    """Devices that their month's byte budgets would hold back."""
    transfer_bytes: int
    whole_bytes: int
    uplink_bytes: int | None = None
    """On the air: what all uplinks carry; None from an older hub."""
    variants: list[PlannedVariant]
    devices: list[PlannedDevice]


class HistoryEntry(Value):
    """One thing that happened to a rollout: an audited action, or an event."""

    at: datetime
    source: Literal["audit", "event"]
    what: str
    by: str
    severity: Literal["info", "warning", "error"]
    message: str
    before: dict[str, Any]
    after: dict[str, Any]


class Rollouts:
    """Versions brought to the fleet."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(
        self,
        model: str,
        version: int | str,
        *,
        devices: Sequence[str] | None = None,
        waves: Sequence[int] | Sequence[str] = (),
        max_failures: int | None = None,
        timeout_s: float = 600.0,
        **plan: Any,  # noqa: ANN401 - fields of the API's RolloutRequest
    ) -> RolloutDetail:
        """Start a rollout.

        Args:
            model: Name of the model.
            version: Number, `latest`, stage or alias.
            devices: Ids in the order of the waves; None for all.
            waves: Devices in each wave, or cumulative shares like `5%`; the remainder joins the last.
            max_failures: How many devices may fail before it is aborted; None for none, or as thresholds say.
            timeout_s: How long one device may take.
            plan: Further fields of the API's `RolloutRequest`, like `max_in_flight`, `soak_s`, `thresholds`, `policy`.

        Raises:
            ApprovalPendingError: The model's policy wants approvals first; it starts with the last one.
        """
        body = _body(model, version, devices, waves=list(waves), max_failures=max_failures, timeout_s=timeout_s, **plan)
        return self._transport.propose("POST", "/rollouts", RolloutDetail, json=body)

    def plan(
        self,
        model: str,
        version: int | str,
        *,
        devices: Sequence[str] | None = None,
        **plan: Any,  # noqa: ANN401 - fields of the API's RolloutRequest
    ) -> RolloutPreview:
        """Return what a rollout would do; nothing of it is kept. It takes what `start` takes."""
        body = _body(model, version, devices, **plan)
        return self._transport.call("POST", "/rollouts/plan", RolloutPreview, json=body)

    def history(self, rollout_id: str, *, limit: int = 1000) -> list[HistoryEntry]:
        """Return the last things that happened to a rollout, in order."""
        path = f"/rollouts/{rollout_id}/history"
        return self._transport.call("GET", path, list[HistoryEntry], params={"limit": limit})

    def list(self, *, model: str = "", limit: int = 100) -> list[Rollout]:
        """List rollouts, newest first."""
        return self._transport.call("GET", "/rollouts", list[Rollout], params={"model": model, "limit": limit})

    def show(self, rollout_id: str, *, limit: int = 1000, order: Literal["wave", "concern"] = "wave") -> RolloutDetail:
        """Return one rollout with its first `limit` deployments; the counts are of all.

        Args:
            rollout_id: The rollout.
            limit: How many deployments.
            order: By wave; or by concern: first what has failed, then what is at it, then what has yet to begin.
        """
        params: dict[str, str | int] = {"limit": limit, "order": order}
        return self._transport.call("GET", f"/rollouts/{rollout_id}", RolloutDetail, params=params)

    def pause(self, rollout_id: str) -> RolloutDetail:
        """Let no further device begin."""
        return self._do(rollout_id, "pause")

    def resume(self, rollout_id: str) -> RolloutDetail:
        """Go on with a paused rollout."""
        return self._do(rollout_id, "resume")

    def approve(self, rollout_id: str) -> RolloutDetail:
        """Let the next wave start.

        Raises:
            ApprovalPendingError: The model's policy wants other people's approvals; it starts with the last one.
        """
        return self._transport.propose("POST", f"/rollouts/{rollout_id}/approve", RolloutDetail)

    def abort(self, rollout_id: str) -> RolloutDetail:
        """End it; its devices go back to what they had, unless its plan says otherwise."""
        return self._do(rollout_id, "abort")

    def roll_back(self, rollout_id: str) -> RolloutDetail:
        """Take every device back to what it had before the rollout."""
        return self._do(rollout_id, "rollback")

    def forward(self, rollout_id: str) -> RolloutDetail:
        """Undo a rollback or an abort: start a new rollout by the same plan.

        Raises:
            ApprovalPendingError: The model's policy wants approvals first; it starts with the last one.
        """
        return self._transport.propose("POST", f"/rollouts/{rollout_id}/forward", RolloutDetail)

    def watch(
        self, rollout_id: str, *, limit: int = 1000, order: Literal["wave", "concern"] = "wave"
    ) -> Iterator[RolloutDetail]:
        """Yield the rollout as it changes, until it has ended; `limit` and `order` are those of `show`."""
        last: RolloutDetail | None = None
        while last is None or not last.has_ended:
            now = self.show(rollout_id, limit=limit, order=order)
            if now != last:
                yield now
            last = now
            if not now.has_ended:
                time.sleep(_LOOK_S)

    def _do(self, rollout_id: str, verb: str) -> RolloutDetail:
        return self._transport.call("POST", f"/rollouts/{rollout_id}/{verb}", RolloutDetail)


def _body(model: str, version: int | str, devices: Sequence[str] | None, **plan: Any) -> dict[str, Any]:  # noqa: ANN401
    given = {name: value for name, value in plan.items() if value is not None}
    return {"model": model, "version": str(version), "devices": None if devices is None else list(devices)} | given
