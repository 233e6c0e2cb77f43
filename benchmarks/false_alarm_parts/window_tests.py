"""Alibi Detect and Evidently on one chunk of streams: a test of every window against the reference, as they come.

`window_tests.py TOOL STREAMS WINDOWS KIND REFERENCE_ROWS [SHIFT AT]`, by the Python of the tool's own environment.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from false_alarm_parts.streams import FEATURES, Floats, watch

HALF = 0.5


def alibi(reference: Floats) -> Callable[[Floats], bool]:
    """Return KSDrift with its default correction (Bonferroni over the features) at 0.05."""
    from alibi_detect.cd import KSDrift

    detector = KSDrift(reference, p_val=0.05)
    return lambda rows: bool(detector.predict(rows)["data"]["is_drift"])


def evidently(reference: Floats) -> Callable[[Floats], bool]:
    """Return the preset for data drift: half of the columns drifted, by the test that it chooses."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    names = [f"f{at}" for at in range(FEATURES)]
    before = pd.DataFrame(reference, columns=names)

    def is_drift(rows: Floats) -> bool:
        found = Report([DataDriftPreset()]).run(pd.DataFrame(rows, columns=names), before).dict()["metrics"][0]
        return bool(found["value"]["share"] >= HALF)

    return is_drift


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[2:], {"alibi": alibi, "evidently": evidently}[sys.argv[1]])))
