"""Which samples of an answered request a rule picks, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_agent.capture.rules import CaptureRule
from shoal_contract.captures import CaptureReason
from shoal_contract.manifest import Baseline

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reason = CaptureReason


@dataclass(frozen=True)
class Range:
    """Where a baseline's features lie: (features,) float32 each; what is beyond lies in an open outer bin."""

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]

    @classmethod
    def of(cls, baseline: Baseline) -> Range:
        """Take a baseline's first and last edges."""
        edges = [feature.edges for feature in baseline.features]
        return cls(
            np.array([one[0] for one in edges], dtype=np.float32),
            np.array([one[-1] for one in edges], dtype=np.float32),
        )

    def outside(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return how many features of each row lie beyond: (n,) int64 for (n, features); NaN lies nowhere."""
        is_beyond: NDArray[np.bool_] = (rows < self.lowest) | (rows > self.highest)
        found: NDArray[np.int64] = is_beyond.sum(axis=1, dtype=np.int64)
        return found


def pick(
    rule: CaptureRule,
    rows: NDArray[np.float32],
    scores: NDArray[np.float32],
    within: Range,
    chance: Callable[[], float],
    *,
    has_drifted: bool = False,
) -> dict[int, tuple[Reason, ...]]:
    """Return the picked samples by their place in the request, with all reasons.

    Args:
        rule: What to pick.
        rows: (n, features) float32.
        scores: (n, classes) float32; (0, 1) where the model chooses no label.
        within: The baseline's range.
        chance: 0 to 1, evenly; asked for each sample where a share is picked.
        has_drifted: Whether the device's own evidence says that the version's inputs have drifted.
    """
    picked: dict[int, list[Reason]] = {}

    def add(reason: Reason, which: NDArray[np.bool_]) -> None:
        for index in np.flatnonzero(which).tolist():
            picked.setdefault(index, []).append(reason)

    if rule.share:
        add("random", np.array([chance() < rule.share for _ in rows], dtype=bool))
    if len(scores) and rule.confidence_below:
        add("low_confidence", scores.max(axis=1) < rule.confidence_below)
    if len(scores) and rule.classes:
        add("class", np.isin(scores.argmax(axis=1), rule.classes))
    if rule.features_outside:
        add("outside_baseline", within.outside(rows) >= rule.features_outside)
    if rule.share_of_drifted and has_drifted:
        add("drifted", np.array([chance() < rule.share_of_drifted for _ in rows], dtype=bool))
    return {index: tuple(reasons) for index, reasons in sorted(picked.items())}
