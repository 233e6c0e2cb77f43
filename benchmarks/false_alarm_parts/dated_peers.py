"""Peers on real, dated rows, each by the Python of its own environment.

`dated_peers.py TOOL ROWS STREAMS` prints each stream's first alarm as JSON, see `first_alarm`; ROWS is what
`Dated.save` wrote. Alibi Detect and River's detectors get the windows that ours gets, NannyML chunks of 1,000 rows.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from false_alarm_parts.dated import WINDOW, Dated, Floats, Stream, first_alarm

TUNED = "ADWIN at every window, delta of Bonferroni"
CHUNK = 1000
"""Rows of a chunk of NannyML's: with 32 its fixed thresholds are always passed."""


def river(name: str) -> Callable[[Stream, Dated], Callable[[Floats], bool]]:
    """Return one of River's detectors for each feature, fed the mean of each window, those of the reference first."""

    def make(stream: Stream, _dated: Dated) -> Callable[[Floats], bool]:
        from false_alarm_parts.river_detectors import DETECTORS, tuned
        from river import drift

        features = stream.rows.shape[1]
        windows = len(stream.rows) // WINDOW
        own: Callable[[], Any] = partial(drift.ADWIN, delta=tuned(features, windows), clock=1)
        detectors = [(own if name == TUNED else DETECTORS[name])() for _ in range(features)]

        def is_drift(rows: Floats) -> bool:
            for detector, mean in zip(detectors, rows.mean(axis=0).tolist(), strict=True):
                detector.update(mean)
            return any(detector.drift_detected for detector in detectors)

        for start in range(0, len(stream.reference) - WINDOW + 1, WINDOW):
            is_drift(stream.reference[start : start + WINDOW])
        return is_drift

    return make


def alibi(stream: Stream, dated: Dated) -> Callable[[Floats], bool]:
    """Return Alibi Detect's test for mixed data: KS and chi-squared, Bonferroni over the features, at 0.05."""
    from alibi_detect.cd import TabularDrift

    detector = TabularDrift(
        stream.reference, p_val=0.05, categories_per_feature=dict.fromkeys(dated.categorical.tolist())
    )
    return lambda rows: bool(detector.predict(rows)["data"]["is_drift"])


def nannyml(stream: Stream, dated: Dated) -> Callable[[Floats], bool]:
    """Return NannyML's univariate drift (Jensen-Shannon, its own thresholds): any feature alerts."""
    import nannyml as nml
    import pandas as pd

    names = [f"f{at}" for at in range(stream.rows.shape[1])]
    categorical = [names[at] for at in dated.categorical]

    def frame(rows: Floats) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(categorical, "category"))

    calculator = nml.UnivariateDriftCalculator(
        column_names=names, treat_as_categorical=categorical, chunk_size=CHUNK
    ).fit(frame(stream.reference))

    def is_drift(rows: Floats) -> bool:
        found = calculator.calculate(frame(rows)).filter(period="analysis").to_df()
        return bool(found.loc[:, found.columns.get_level_values(2) == "alert"].to_numpy().any())

    return is_drift


def main() -> None:
    """Watch each stream."""
    tool, path, count = sys.argv[1:]
    dated = Dated.read(Path(path))
    rows = np.where(np.isnan(dated.rows), np.nanmedian(dated.rows, axis=0), dated.rows)  # peers take no missing values
    filled = dated._replace(rows=rows)
    make = {"alibi": alibi, "nannyml": nannyml}.get(tool) or river(tool)
    found = []
    for seed in range(int(count)):
        stream = filled.stream(seed)
        found.append(first_alarm(stream, make(stream, filled), CHUNK if tool == "nannyml" else WINDOW))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
