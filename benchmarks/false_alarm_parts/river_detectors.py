"""River's detectors on one chunk of streams, run by the Python of their own environment.

`river_detectors.py DETECTOR STREAMS WINDOWS KIND REFERENCE_ROWS [SHIFT AT]` prints the first alarms as JSON. Each
feature has a detector of its own, fed the mean of each window: what a hub would get.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from false_alarm_parts.streams import FEATURES, Floats, watch
from river import drift


def tuned(features: int, windows: int) -> float:
    """Return the probability for which ADWIN is to be asked so that a stream alarms with 0.05 at most."""
    return 0.05 / features / windows


DETECTORS: dict[str, Callable[[], Any]] = {
    "ADWIN": drift.ADWIN,
    "ADWIN at every window, delta of Bonferroni": partial(drift.ADWIN, delta=tuned(FEATURES, 10_000), clock=1),
    "PageHinkley": drift.PageHinkley,
    "KSWIN": partial(drift.KSWIN, seed=1),
}


def make(_reference: Floats) -> Callable[[Floats], bool]:
    """Return what watches one stream; River's detectors know no reference."""
    detectors = [DETECTORS[sys.argv[1]]() for _ in range(FEATURES)]

    def is_drift(values: Floats) -> bool:
        for detector, mean in zip(detectors, values.mean(axis=0).tolist(), strict=True):
            detector.update(mean)
        return any(detector.drift_detected for detector in detectors)

    return is_drift


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[2:], make)))
