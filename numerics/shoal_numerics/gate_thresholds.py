"""Hard limits: what decides where there is too little evidence for a test, or on top of one.

They say nothing of how sure a verdict is: where devices differ, small fleets pass them by accident, in both ways.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shoal_numerics.errors import GateError
from shoal_numerics.gate_evidence import Evidence
from shoal_numerics.gate_metrics import Verdict, Worse


@dataclass(frozen=True)
class ThresholdResult:
    """What a hard limit says.

    Attributes:
        verdict: `abort`, `advance` or `hold`, never `not_tested`.
        reason: why, in a sentence.
        found: what was compared with the limit: failures, or a difference in the metric's unit; NaN if nothing was.
    """

    verdict: Verdict
    reason: str
    found: float


@dataclass(frozen=True)
class FailureLimit:
    """How many deployments of a wave may fail. At least one of the two limits is set.

    Attributes:
        max_failures: that many failures abort, at once; None for no such limit.
        max_failure_ratio: that share of the executed ones aborts, once `min_executed` are; 0 to 1, or None.
        min_executed: deployments that must have ended, well or not, before the share counts and the wave advances.
    """

    max_failures: int | None = None
    max_failure_ratio: float | None = None
    min_executed: int = 1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            GateError: a limit out of range, or none.
        """
        count, ratio = self.max_failures, self.max_failure_ratio
        is_wrong = (count is not None and count < 1) or (ratio is not None and not 0 < ratio <= 1)
        if is_wrong or self.min_executed < 1 or (count is None and ratio is None):
            message = (
                f"Setting a failure limit: found {self}; expected max_failures of at least 1 or max_failure_ratio "
                "above 0 and at most 1, and min_executed of at least 1."
            )
            raise GateError(message)

    def check(self, failed: int, executed: int) -> ThresholdResult:
        """Return the verdict on a wave so far.

        Args:
            failed: deployments that failed or were rolled back.
            executed: deployments that have ended, these included.

        Raises:
            GateError: counts that cannot be.
        """
        if not 0 <= failed <= executed:
            message = f"Checking a failure limit: {failed} of {executed} failed, expected 0 <= failed <= executed."
            raise GateError(message)
        told = f"{failed} of {executed} failed"
        if self.max_failures is not None and failed >= self.max_failures:
            return ThresholdResult("abort", f"{told}, the limit is {self.max_failures}", failed)
        if executed < self.min_executed:
            return ThresholdResult("hold", f"{told}, at least {self.min_executed} must have ended", failed)
        if self.max_failure_ratio is not None and failed >= self.max_failure_ratio * executed:
            return ThresholdResult("abort", f"{told}, the limit is {self.max_failure_ratio:.3g} of them", failed)
        return ThresholdResult("advance", f"{told}, within the limit", failed)


@dataclass(frozen=True)
class DifferenceLimit:
    """How far canaries may lie from controls, all samples together.

    Attributes:
        max_difference: a larger harm than this aborts, in the metric's unit, at least 0.
        worse: which way harm lies.
        min_samples: weight that each arm needs before the limit is checked, above 0.
    """

    max_difference: float
    worse: Worse = "higher"
    min_samples: float = 100.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            GateError: a setting out of range.
        """
        if not (math.isfinite(self.max_difference) and self.max_difference >= 0 and self.min_samples > 0):
            message = f"Setting a difference limit: found {self}; expected a difference from 0 and min_samples above 0."
            raise GateError(message)

    def check(self, evidence: Evidence) -> ThresholdResult:
        """Return the verdict on the totals after, of (devices,) each; those before are not looked at.

        Raises:
            GateError: totals of another shape.
        """
        after, arms = evidence.after, (evidence.is_canary, ~evidence.is_canary)
        if after.weight.ndim != 1:
            message = f"Checking a difference limit: totals are {after.weight.shape}, expected (devices,)."
            raise GateError(message)
        least = min(float(after.weight[arm].sum()) for arm in arms)
        if least < self.min_samples:
            reason = f"an arm has {least:g} samples, the limit is checked from {self.min_samples:g} on"
            return ThresholdResult("hold", reason, float("nan"))
        canary, control = (float(after.numerator[arm].sum() / after.weight[arm].sum()) for arm in arms)
        difference = canary - control
        harm = {"higher": difference, "lower": -difference, "either": float(np.abs(difference))}[self.worse]
        told = f"canaries differ by {difference:.4g}, the limit is {self.max_difference:g} ({self.worse} is worse)"
        return ThresholdResult("abort" if harm > self.max_difference else "advance", told, difference)
