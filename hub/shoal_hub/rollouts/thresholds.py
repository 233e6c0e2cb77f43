"""Decides by hard bounds whether a rollout's failures end or pause it. Pure.

After AWS IoT Jobs' abort criteria: a share or a number of failures of named kinds, once enough devices have ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shoal_hub.rollouts.request import Threshold
from shoal_hub.rollouts.tally import Tally
from shoal_hub.words import counted

MAX_FAILURES = -1
"""The number of the bound that `max_failures` is."""


@dataclass(frozen=True)
class Measured:
    """A threshold with what the rollout has come to."""

    threshold: Threshold
    failures: int
    executed: int

    @property
    def is_looked_at(self) -> bool:
        """Whether enough devices have ended."""
        return self.executed >= self.threshold.min_executed

    @property
    def is_crossed(self) -> bool:
        """Whether its bound is reached."""
        if not self.is_looked_at or self.failures == 0:
            return False
        if self.threshold.count is not None:
            return self.failures >= self.threshold.count
        return 100.0 * self.failures >= (self.threshold.percent or 0.0) * self.executed


@dataclass(frozen=True)
class Breach:
    """A bound that was crossed: which, by how many failures, and what follows."""

    number: int
    failures: int
    action: Literal["abort", "pause"]
    reason: str


def measure(threshold: Threshold, tally: Tally) -> Measured:
    """Return a threshold with the failures that it counts."""
    return Measured(threshold, tally.failures(threshold.causes), tally.executed)


def find_breach(
    max_failures: int | None, thresholds: Sequence[Threshold], fired: Mapping[int, int], tally: Tally
) -> Breach | None:
    """Return the bound that is crossed, one that aborts before one that pauses.

    Args:
        max_failures: How many devices may fail in all; None for any number.
        thresholds: The other bounds.
        fired: Failures at which a threshold has paused the rollout, by its number: whoever resumed has accepted them.
        tally: The rollout's deployments.
    """
    failures = tally.failures()
    if max_failures is not None and failures > max_failures:
        reason = f"{failures} of {counted(tally.devices, 'device')} failed, {max_failures} allowed"
        return Breach(MAX_FAILURES, failures, "abort", reason)
    crossed = [
        Breach(number, one.failures, one.threshold.action, _reason(one))
        for number, one in enumerate(measure(threshold, tally) for threshold in thresholds)
        if one.is_crossed and one.failures > fired.get(number, 0)
    ]
    return min(crossed, key=lambda one: (one.action != "abort", one.number), default=None)


def describe(threshold: Threshold) -> str:
    """Return a threshold in words."""
    kinds = f" of {', '.join(threshold.causes)}" if threshold.causes else ""
    bound = counted(threshold.count, "failure") if threshold.count is not None else f"{threshold.percent:g}% failures"
    least = f" once {threshold.min_executed} have ended" if threshold.min_executed > 1 else ""
    return f"{threshold.action} at {bound}{kinds}{least}"


def _reason(one: Measured) -> str:
    have = "has" if one.executed == 1 else "have"
    among = f"{counted(one.failures, 'failure')} among {counted(one.executed, 'device')} that {have} ended"
    return f"{among}: {describe(one.threshold)}"
