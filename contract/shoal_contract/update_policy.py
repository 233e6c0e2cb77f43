"""How a device goes about an update: when it may begin and end, how often it tries, and what has to be right after it.

Windows are in the device's own time zone: a fleet crosses many, and only the device knows when its shop is shut. Where
nothing is said, a device fetches and activates at once.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.ids import Name
from shoal_contract.wire import UtcTime, WireValue

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FailureKind = Literal["fetch", "disk", "load", "self_test", "probe", "process"]
"""Of what an attempt can fail: the transfer, the disk, loading the file, the golden inputs, a probe of the device's
owner, the agent's own end while the version was tried."""
MAX_WINDOWS: Final = 14
MAX_PROBES: Final = 8
MAX_ATTEMPTS: Final = 100
MAX_PRIORITY: Final = 100
MAX_PROGRESS_S: Final = 30.0
_DAY_MINUTES: Final = 24 * 60


class MaintenanceWindow(WireValue):
    """A stretch of local time that comes back each week; one that passes midnight belongs to the day it began on."""

    days: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1, max_length=7)
    start: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    """`HH:MM`, local time."""
    minutes: int = Field(ge=1, le=_DAY_MINUTES)
    """How long it lasts."""

    def holds(self, local: datetime) -> bool:
        """Whether a local time lies in the window; its end is no part of it.

        Args:
            local: The time at the device, with or without its offset; its wall clock counts.
        """
        hour, minute = map(int, self.start.split(":"))
        wall = local.replace(tzinfo=None)
        for back in (0, 1):
            day = wall - timedelta(days=back)
            begins = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
            if WEEKDAYS[day.weekday()] in self.days and begins <= wall < begins + timedelta(minutes=self.minutes):
                return True
        return False


class Retry(WireValue):
    """How often one kind of failure is tried again before the deployment has failed."""

    attempts: int = Field(default=1, ge=1, le=MAX_ATTEMPTS)
    """Tries in all."""
    wait_s: float = Field(default=30.0, ge=0, le=86_400)
    """Before the second try; it doubles from there."""


class UpdatePolicy(WireValue):
    """What a rollout asks of one device besides the version.

    A device takes none of it on trust: what it bounds, it bounds further by its own settings and its owner's veto.
    """

    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)
    """Of several models whose files wait, the one with the highest is fetched first."""
    download_only: bool = False
    """Fetch, verify and stage, and stop there: the version waits as `candidate`."""
    activate_at: UtcTime | None = None
    """It is fetched before, and serves not before this time."""
    windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=MAX_WINDOWS)
    """It is activated in one of these only; none stands for always."""
    fetch_in_window: bool = False
    """It is fetched in one of these only, too."""
    expires_at: UtcTime | None = None
    """A deployment that is not committed by then has failed; what serves stays."""
    retries: dict[FailureKind, Retry] = Field(default_factory=dict, max_length=8)
    """By kind of failure; `fetch` and `disk` without an entry are tried until it expires, the others once."""
    fetch_timeout_s: float | None = Field(default=None, gt=0, le=30 * 86_400)
    """How long one try to fetch may take; none: as long as bytes come."""
    activate_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """How long loading, self-test and probes may take together."""
    probes: tuple[Name, ...] = Field(default=(), max_length=MAX_PROBES)
    """Probes that have to pass before the version is committed, by the names that the device's owner gave them.

    What a probe runs stands on the device and never comes from the hub.
    """
    progress_s: float | None = Field(default=None, gt=0, le=MAX_PROGRESS_S)
    """How long a step on the way may wait, to be told together with those after it; none: as the device is set."""

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.fetch_in_window and not self.windows:
            msg = "fetch_in_window asks for windows, and there is none"
            raise ValueError(msg)
        if self.activate_at is not None and self.expires_at is not None and self.activate_at >= self.expires_at:
            msg = f"it expires at {self.expires_at} and may not serve before {self.activate_at}"
            raise ValueError(msg)
        return self

    def is_open(self, local: datetime) -> bool:
        """Whether a local time lies in one of the windows, or there is none."""
        return not self.windows or any(window.holds(local) for window in self.windows)
