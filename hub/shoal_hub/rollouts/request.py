"""What to roll out, to whom and how: the request as people and programs make it, and the plan that is kept of it."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from shoal_contract.ids import DeviceId, Name
from shoal_contract.update_policy import MAX_PROGRESS_S, UpdatePolicy
from shoal_contract.wire import UtcTime
from shoal_hub.devices.listing import QueryText
from shoal_hub.gates.plan import GatePlan
from shoal_hub.requests import Line

MAX_DEVICES: Final = 100_000
MAX_WAVES: Final = 64
MAX_THRESHOLDS: Final = 16
MAX_TARGETS: Final = 64
_YEAR_S: Final = 365 * 86_400.0
_STEPS_PER_S: Final = 30.0
"""What devices that are at it together tell of their steps comes to about so many messages a second at most."""
_LEAST_PROGRESS_S: Final = 5.0
"""Below this a device waits as it is set."""
_PROGRESS_SHARE: Final = 0.25
"""Of the time that a device has; one that has told of no step has not answered yet."""

FailureCause = Literal[
    "fetch", "disk", "load", "self_test", "probe", "process", "expired", "misfit", "timed_out", "other"
]
"""Of what a deployment failed: the contract's kinds, and those that only the hub can tell."""
Percent = Annotated[str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?%$")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
LateJoiners = Literal["ignore", "last_wave"]
OnAbort = Literal["roll_back", "leave"]
OnLowMemory = Literal["warn", "refuse"]
Preference = Literal["device", "smallest", "fastest", "most_accurate"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExponentialRate(_Value):
    """Waves that grow: `first` devices, and each wave `factor` times as many as the one before it.

    As AWS IoT Jobs' exponential rate, counted by waves instead of minutes.
    """

    first: Count
    factor: float = Field(ge=1, le=100)


class Threshold(_Value):
    """A bound on failures over the whole rollout; one of `count` and `percent` is given."""

    count: int | None = Field(default=None, ge=1, le=1_000_000)
    """It is crossed by this many failures."""
    percent: float | None = Field(default=None, gt=0, le=100)
    """It is crossed by this share of the devices that have ended, well or not."""
    min_executed: int = Field(default=1, ge=1, le=1_000_000)
    """It is not looked at before this many devices have ended."""
    causes: tuple[FailureCause, ...] = Field(default=(), max_length=16)
    """Failures that count; none stands for all."""
    action: Literal["abort", "pause"] = "abort"

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.count is None) == (self.percent is None):
            msg = "a threshold has either a count or a percent"
            raise ValueError(msg)
        return self


class RolloutPlan(BaseModel):
    """How a rollout goes about it; all but the model, the version and the devices."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    group: Name | None = None
    """The devices of a group, instead of a list."""
    query: QueryText | None = None
    """The devices that match a query, instead of a list."""
    targets: list[Name] = Field(default=[], max_length=MAX_TARGETS)
    """Variants that may be given out; none: all that the version has."""
    prefer: Preference = "device"
    """Of several variants that a device can run: the one that stands first in the device's own list, which its hardware
    orders, or the one with the smallest file, the lowest measured latency or the highest measured accuracy."""
    late_joiners: LateJoiners = "ignore"
    """Of devices that come to be in the group, to match or to be enrolled while it runs: left alone, or added to the
    last wave, until that has ended or has run for `timeout_s`."""
    waves: list[Count] | list[Percent] = Field(default=[], max_length=MAX_WAVES)
    """Devices in each wave, or cumulative shares like `5%`; the remainder joins the last. None: one wave of all."""
    rate: ExponentialRate | None = None
    """Growing waves, instead of `waves`."""
    max_in_flight: Count | None = None
    """How many devices may be at it at once; none: a whole wave."""
    soak_s: float = Field(default=0.0, ge=0, le=_YEAR_S)
    """How long a wave is watched after its last device has ended, before the next one starts."""
    start_at: UtcTime | None = None
    """No device is told before this time."""
    wave_approval: bool = False
    """Each wave after the first waits until somebody approves it."""
    max_failures: int | None = Field(default=None, ge=0, le=1_000_000)
    """Failed devices beyond which it is aborted; left out, none where there are no thresholds, else any number."""
    thresholds: list[Threshold] = Field(default=[], max_length=MAX_THRESHOLDS)
    gate: GatePlan | None = None
    """What each wave has to show of the new version next to the old one, the last one where devices are held back;
    none: failures alone count."""
    on_low_memory: OnLowMemory = "warn"
    """What becomes of a device whose predicted memory exceeds what it reported free: it gets the version all the same,
    or is refused as a misfit."""
    on_abort: OnAbort = "roll_back"
    """What an abort does with devices that have the new version: takes them back, or leaves them."""
    holdback_percent: float = Field(default=0.0, ge=0, lt=100)
    """Share of the devices, chosen at random, that stay on what they have to the end, to compare with."""
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    """Of the random order and choice of devices; left out, one is drawn and kept."""
    is_shuffled: bool = False
    """Whether a list of devices is put into random order, too; other selections always are."""
    timeout_s: float = Field(default=600.0, gt=0, le=30 * 86_400.0)
    """How long one device may take, its waiting for a window or an owner's release not counted."""
    hold_timeout_s: float = Field(default=7 * 86_400.0, gt=0, le=_YEAR_S)
    """How long one device may wait for its window, for `activate_at` or for its owner's release."""
    offline_attempts: int = Field(default=1, ge=1, le=100)
    """How many times `timeout_s` a device gets that has not answered at all."""
    policy: UpdatePolicy = UpdatePolicy()
    """What is asked of each device: windows, times, retries, probes."""

    @property
    def failures_allowed(self) -> int | None:
        """How many devices may fail; None for any number, as thresholds decide."""
        return 0 if self.max_failures is None and not self.thresholds else self.max_failures

    def update_policy(self, at_once: int) -> UpdatePolicy | None:
        """Return the policy as devices are told it; None where it asks nothing.

        Args:
            at_once: How many devices are at it together. Of many, each tells of its steps later and of several in one
                message: the hub hears no more of a fleet on its way the larger it is.
        """
        policy, wait_s = self.policy, min(at_once / _STEPS_PER_S, MAX_PROGRESS_S, self.timeout_s * _PROGRESS_SHARE)
        if policy.progress_s is None and wait_s >= _LEAST_PROGRESS_S:
            policy = policy.model_copy(update={"progress_s": round(wait_s, 1)})
        return None if policy == UpdatePolicy() else policy


class RolloutRequest(RolloutPlan):
    """What to roll out, to whom and how."""

    model: Name
    version: Line
    """Number, `latest`, stage or alias."""
    devices: Annotated[list[DeviceId], Field(max_length=MAX_DEVICES)] | None = None
    """In the order of the waves; without list, group and query, all that are enrolled, those online first."""

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if sum(one is not None for one in (self.devices, self.group, self.query)) > 1:
            msg = "devices, group and query exclude each other"
            raise ValueError(msg)
        if self.gate is not None and self.policy.download_only:
            msg = "gate: what is only downloaded serves nobody, so there is nothing to compare"
            raise ValueError(msg)
        if self.waves and self.rate is not None:
            msg = "waves and rate exclude each other"
            raise ValueError(msg)
        if self.late_joiners == "last_wave" and self.devices is not None:
            msg = "a list of devices has no late joiners: give a group or a query, or leave it out for all"
            raise ValueError(msg)
        return self

    def plan(self) -> dict[str, Any]:
        """Return the plan as it is kept: without the devices, which the deployments name."""
        return self.model_dump(mode="json", include=set(RolloutPlan.model_fields))


class RolloutAgain(RolloutRequest):
    """A rollout that is started again, with its devices by name. The hub makes it; nobody asks for one."""

    late: list[DeviceId] = Field(default=[], max_length=MAX_DEVICES)
    """Devices that had joined it late: they come in the last wave, and no gate compares them."""
