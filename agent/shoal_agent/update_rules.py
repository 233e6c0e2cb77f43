"""When an update may begin and end on this device, and how often it is tried. Pure: time and veto are passed in.

What a policy asks is bounded further by the device: its owner's veto comes first.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoal_agent.engines import EngineError, GoldenMismatchError
from shoal_agent.errors import (
    AgentError,
    DiskError,
    EndedError,
    ExpiredError,
    FetchError,
    ProbeError,
    WaitingError,
)
from shoal_agent.hold import Hold
from shoal_contract.update_policy import WEEKDAYS, FailureKind, MaintenanceWindow, UpdatePolicy

_MAX_WAIT_S: Final = 86_400.0
_WEEK: Final = timedelta(days=7)
_KINDS: Final[tuple[tuple[type[AgentError], FailureKind], ...]] = (
    (FetchError, "fetch"),
    (DiskError, "disk"),
    (GoldenMismatchError, "self_test"),
    (EngineError, "load"),
    (ProbeError, "probe"),
    (EndedError, "process"),
)


@dataclass(frozen=True)
class Moment:
    """What an update's rules look at.

    Attributes:
        now: Trusted time, UTC.
        local: The same in the device's time zone.
        hold: The owner's veto, if one is in force.
        recheck_s: How long to wait, at most, before looking again.
    """

    now: datetime
    local: datetime
    hold: Hold | None = None
    recheck_s: float = 15.0

    def until(self, at: datetime) -> float:
        """Seconds to wait for `at`, at most `recheck_s`: clocks are set and windows are changed meanwhile."""
        return max(0.0, min(self.recheck_s, (at - self.now).total_seconds()))


def check_expiry(policy: UpdatePolicy, now: datetime, what: str) -> None:
    """Return if a deployment may go on.

    Raises:
        ExpiredError: It has not ended in its time.
    """
    if policy.expires_at is not None and now >= policy.expires_at:
        raise ExpiredError(f"{what}: it was to be done by {policy.expires_at:%Y-%m-%d %H:%M:%S} UTC and was not")


def seconds_left(policy: UpdatePolicy, now: datetime) -> float:
    """Seconds until a deployment expires; infinity if it does not."""
    return math.inf if policy.expires_at is None else max(0.0, (policy.expires_at - now).total_seconds())


def check_fetch(policy: UpdatePolicy, moment: Moment, what: str) -> None:
    """Return if the files may be fetched.

    Raises:
        WaitingError: Not outside of a window.
    """
    if policy.fetch_in_window:
        _check_window(policy, moment, f"{what}: fetching it")


def check_activation(policy: UpdatePolicy, moment: Moment, what: str, *, is_bad: bool) -> None:
    """Return if a staged version may serve now.

    Args:
        policy: What the rollout asks.
        moment: Time and veto.
        what: Names the version, in the error.
        is_bad: Whether what the owner holds cannot serve, so that the veto protects nothing.

    Raises:
        WaitingError: Not yet; its step says for what: `veto`, `activate_at` or `window`.
    """
    if not is_bad:
        check_hold(moment, what)
    if policy.activate_at is not None and moment.now < policy.activate_at:
        message = f"{what}: it may serve from {policy.activate_at:%Y-%m-%d %H:%M:%S} UTC on"
        raise WaitingError("activate_at", message, moment.until(policy.activate_at))
    _check_window(policy, moment, f"{what}: letting it serve")


def check_hold(moment: Moment, what: str) -> None:
    """Return if the device's owner lets what serves change.

    Raises:
        WaitingError: Not now; its step is `veto`.
    """
    if moment.hold is not None:
        message = f"{what}: the device's owner holds what serves{moment.hold.said()}"
        remedy = "wait, or ask the owner; on the device: shoal-agent release"
        raise WaitingError("veto", message, moment.recheck_s, remedy)


def open_s(policy: UpdatePolicy, moment: Moment) -> float | None:
    """How long fetching may go on before it expires or its window ends; None: as long as it takes."""
    bounds = [] if policy.expires_at is None else [seconds_left(policy, moment.now)]
    if policy.fetch_in_window and (left := open_for(policy, moment.local)) is not None:
        bounds.append(left.total_seconds())
    return max(0.0, min(bounds)) if bounds else None


def open_for(policy: UpdatePolicy, local: datetime) -> timedelta | None:
    """How long the windows stay open from a local time on; None: for a week at least, so always."""
    wall = local.replace(tzinfo=None)
    end = wall
    while (later := max((_end_of(window, end) for window in policy.windows), default=end)) > end:
        end = later
        if end - wall >= _WEEK:
            return None
    return end - wall if policy.windows else None


def kind_of(error: AgentError) -> FailureKind | None:
    """Of what an attempt has failed, as policies count it; None: of something that trying again does not change."""
    return next((kind for error_type, kind in _KINDS if isinstance(error, error_type)), None)


def wait_after(policy: UpdatePolicy, kind: FailureKind, failures: int) -> float | None:
    """How long to wait after so many failures of one kind before the next try; None: it has failed for good.

    Args:
        policy: Its `retries` say how often, and how long the first wait is; it doubles from there.
        kind: Has an entry there, or is tried once. What ends the agent itself is counted by its starts instead.
        failures: This one included, from 1.
    """
    retry = policy.retries.get(kind)
    if retry is None or kind == "process" or failures >= retry.attempts:
        return None
    return float(min(_MAX_WAIT_S, retry.wait_s * 2 ** min(failures - 1, 20)))


def starts_allowed(policy: UpdatePolicy | None, boot_attempts: int) -> int:
    """How many starts may find a version being tried: as the policy says, and never more than the device allows."""
    retry = policy.retries.get("process") if policy else None
    return min(boot_attempts, retry.attempts - 1) if retry else boot_attempts


def _check_window(policy: UpdatePolicy, moment: Moment, doing: str) -> None:
    if not policy.is_open(moment.local):
        said = ", ".join(f"{'/'.join(one.days)} {one.start} for {one.minutes} min" for one in policy.windows[:3])
        more = " and others" if len(policy.windows) > 3 else ""  # noqa: PLR2004 - what a person reads at a glance
        message = f"{doing} waits for a maintenance window ({said}{more}); its time zone is {moment.local:%Z}"
        raise WaitingError("window", message, moment.recheck_s)


def _end_of(window: MaintenanceWindow, wall: datetime) -> datetime:
    """When a window that holds a local time ends; the time itself where it does not."""
    hour, minute = map(int, window.start.split(":"))
    today = wall.replace(hour=hour, minute=minute, second=0, microsecond=0)
    begins = [at for at in (today, today - timedelta(days=1)) if WEEKDAYS[at.weekday()] in window.days]
    length = timedelta(minutes=window.minutes)
    return max((at + length for at in begins if at <= wall < at + length), default=wall)
