"""Counts of a rollout's deployments by how they stand: all that a decision needs of most of them. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from shoal_hub.rollouts.revert import has_stayed, is_waiting_to_return
from shoal_hub.rollouts.tables import DeploymentState
from shoal_hub.rollouts.views import Attempt

OPEN: Final = frozenset({"pending", "assigned", "working"})
FAILED: Final = frozenset({"failed", "timed_out"})
_EXECUTED: Final = FAILED | {"succeeded", "rolled_back"}


class Standing(NamedTuple):
    """Where one deployment stands, as far as it is counted.

    Attributes:
        wave: Its wave, from 0.
        state: Its state.
        failure: Of what it failed, if it did.
        is_begun: Whether the device was turned to: its time runs or has run.
        is_returning: Whether the device was told to go back and has not said how that went.
        is_away: Whether it ran out of time and the device may yet come for the artifacts.
        has_stayed: Whether the device could not go back.
    """

    wave: int
    state: DeploymentState
    failure: str = ""
    is_begun: bool = False
    is_returning: bool = False
    is_away: bool = False
    has_stayed: bool = False

    @classmethod
    def of(cls, attempt: Attempt) -> "Standing":
        """Return how an attempt stands."""
        return cls(
            attempt.wave,
            attempt.state,
            attempt.failure,
            attempt.assigned_at is not None,
            is_waiting_to_return(attempt),
            is_away(attempt),
            has_stayed(attempt),
        )


def is_at_it(attempt: Attempt) -> bool:
    """Whether a device has begun and not ended, on its way there or back."""
    return (attempt.state in OPEN and attempt.assigned_at is not None) or is_waiting_to_return(attempt)


def is_away(attempt: Attempt) -> bool:
    """Whether a device was told, ran out of time, and has not been heard of since: it may come back."""
    is_told = attempt.state == "timed_out" and attempt.target != ""
    return is_told and attempt.rollback_id is None and not attempt.is_settled


class Tally:
    """Counts that follow while a step changes attempts."""

    def __init__(self, counts: Counter[Standing]) -> None:
        self._counts = Counter(counts)

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> "Tally":
        """Count attempts."""
        return cls(Counter(Standing.of(attempt) for attempt in attempts))

    def copy(self) -> "Tally":
        """Return counts that follow on their own."""
        return Tally(self._counts)

    def move(self, before: Attempt, after: Attempt) -> None:
        """Count an attempt as it is after a change."""
        was, is_now = Standing.of(before), Standing.of(after)
        if was != is_now:
            self._counts[was] -= 1
            self._counts[is_now] += 1

    @property
    def devices(self) -> int:
        """Deployments in waves: all but those held back."""
        return sum(count for one, count in self._counts.items() if one.state != "held_back")

    def has_any(self, states: Collection[DeploymentState]) -> bool:
        """Whether any deployment is in one of these states; in any at all, where none is named."""
        return any(count and (not states or one.state in states) for one, count in self._counts.items())

    @property
    def in_flight(self) -> int:
        """Devices that are at it: begun, and not ended."""
        return sum(count for one, count in self._counts.items() if one.state in OPEN and one.is_begun)

    @property
    def succeeded(self) -> int:
        """Devices that serve the version."""
        return sum(count for one, count in self._counts.items() if one.state == "succeeded")

    @property
    def executed(self) -> int:
        """Devices that have ended, well or not."""
        return sum(count for one, count in self._counts.items() if one.state in _EXECUTED)

    @property
    def returning(self) -> int:
        """Devices that are on their way back."""
        return sum(count for one, count in self._counts.items() if one.is_returning)

    @property
    def away(self) -> int:
        """Devices that ran out of time and may come back for the artifacts."""
        return sum(count for one, count in self._counts.items() if one.is_away)

    @property
    def stayed(self) -> int:
        """Devices that could not go back."""
        return sum(count for one, count in self._counts.items() if one.has_stayed)

    def failures(self, causes: Collection[str] = ()) -> int:
        """Return how many devices have failed, of these causes if any are named."""
        failed = [(one, count) for one, count in self._counts.items() if one.state in FAILED]
        return sum(count for one, count in failed if not causes or one.failure in causes)

    def open_until(self, wave: int) -> int:
        """Return how many deployments of the waves up to this one have not ended."""
        return sum(count for one, count in self._counts.items() if one.state in OPEN and one.wave <= wave)
