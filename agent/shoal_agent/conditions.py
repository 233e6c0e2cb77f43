"""What the updaters of one device share: its clock and time zone, its owner's veto and probes, its disk."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from logging import getLogger
from typing import TypeAlias

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock, system_clock
from shoal_agent.hold import Hold, HoldFile
from shoal_agent.probes import Probes
from shoal_agent.room import Room
from shoal_agent.settings import AgentSettings, UpdateSettings
from shoal_agent.time_zone import TimeZone, find_time_zone
from shoal_agent.turns import Turns
from shoal_agent.update_rules import Moment

_log = getLogger(__name__)
OnFailing: TypeAlias = Callable[[str], object]
"""Told the name of a model whose engine fails again and again, in any thread."""


@dataclass
class Conditions:
    """The device around its updaters; what is not given bounds nothing.

    Attributes:
        now: Trusted time, UTC.
        zone: The device's time zone, in which maintenance windows are.
        hold: Gives the owner's veto, if one is in force.
        probes: What the owner has defined.
        room: The disk; None: not looked at before something is written.
        turns: Who fetches first.
        settings: Bounds.
        on_failing: Told of a committed version that keeps failing.
    """

    now: Callable[[], datetime] = system_clock
    zone: TimeZone = field(default_factory=lambda: TimeZone(timezone.utc, "UTC"))
    hold: Callable[[], Hold | None] = lambda: None
    probes: Probes = field(default_factory=Probes)
    room: Room | None = None
    turns: Turns = field(default_factory=Turns)
    settings: UpdateSettings = field(default_factory=UpdateSettings)
    on_failing: OnFailing = lambda _: None

    @classmethod
    def of(
        cls,
        settings: AgentSettings,
        blobs: BlobStore,
        needed: Callable[[], Collection[str]],
        hold: HoldFile,
        now: Clock,
    ) -> "Conditions":
        """Make the conditions of a device as its settings have them.

        Args:
            settings: The agent's.
            blobs: The store.
            needed: Gives the hashes that must stay in it.
            hold: The owner's veto.
            now: Trusted time.

        Raises:
            AgentError: The time zone that the settings name is not known.
        """
        return cls(
            now=now,
            zone=find_time_zone(settings.time_zone),
            hold=hold.read,
            probes=Probes(settings.probes_file),
            room=Room(blobs, settings.update, needed),
            settings=settings.update,
        )

    def for_trials(self) -> "Conditions":
        """Return the same for candidates that are tried: one that keeps failing has no version that serves tested.

        The trial's own windows show its errors.
        """
        return replace(self, on_failing=_log_failing_candidate)

    def moment(self) -> Moment:
        """Return what the rules look at, as it is now."""
        now = self.now()
        return Moment(now, self.zone.to_local(now), self.hold(), self.settings.recheck_s)


def _log_failing_candidate(name: str) -> None:
    _log.warning("trial of %s: the candidate's runtime fails again and again", name)
