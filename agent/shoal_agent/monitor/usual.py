"""The usual request, one sample of float32, taken as bytes: what rows.py does for others costs more than to count."""

import weakref
from collections.abc import Mapping

import numpy as np

from shoal_agent.engines import Array
from shoal_agent.monitor.answers import StreamKey
from shoal_agent.monitor.parts import Shown, WindowParts
from shoal_agent.monitor.sketch import WindowSketch
from shoal_agent.serving.models import ServedModel


class UsualRequest:
    """How the usual request to a version looks, and where it is counted. Keeps no version in memory.

    Args:
        served: The version.
        key: Its name in the monitor.
        sketch: Its window.
        parts: What the window tells beside.
    """

    def __init__(self, served: ServedModel, key: StreamKey, sketch: WindowSketch, parts: WindowParts) -> None:
        manifest, baseline = served.manifest, served.manifest.baseline
        watched = baseline.inputs or tuple(spec.name for spec in manifest.inputs)
        is_plain = len(watched) == 1 and baseline.features_of is None
        self.key = key
        self.served = weakref.ref(served)
        self._features, self._answers = sketch.features, sketch.answers
        self.parts = parts if parts.see_samples else None
        """What the samples are to be shown to, by `show`."""
        self._float32 = np.dtype(np.float32)
        self._input = watched[0]
        self._row_bytes = sketch.features.row_bytes if is_plain else -1
        self._output = manifest.outputs[0].name if sketch.kind != "other" else None
        self._is_scored = sketch.kind == "classes"
        self._has_slices = bool(baseline.slices)

    def count(
        self,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        answer_id: str,
        latency_ms: float,
        now_s: float,
    ) -> bool:
        """Count a request as `WindowSketch.add` would, unless it is another than the usual one.

        Args:
            inputs: The request's arrays by name.
            outputs: The answer's arrays by name.
            answer_id: What the answer is called.
            latency_ms: The time that the request took.
            now_s: The monotonic clock.

        Returns:
            Whether it was counted.
        """
        features = inputs[self._input]
        if features.nbytes != self._row_bytes or features.dtype is not self._float32:
            return False
        scored = b""
        if self._output is not None:
            scores = outputs[self._output]
            # Scores of another width than before are not the usual, nor are the first.
            if scores.nbytes != self._answers.score_bytes or scores.dtype is not self._float32:
                return False
            scored = scores.tobytes()
        self._features.add_one(features, now_s)
        row = features.reshape(1, -1) if self._has_slices else None
        self._answers.add_one(answer_id, scored, latency_ms, now_s, row)
        return True

    def show(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], shown: Shown) -> None:
        """Show a sample that was counted to the parts of the window, as far as was granted; by any thread."""
        served = self.served()
        if served is not None and self.parts is not None:
            row = inputs[self._input].reshape(1, -1)
            asked = self._output if self._is_scored else None
            scores = outputs[asked].reshape(1, -1) if asked is not None else np.empty((0, 1), np.float32)
            self.parts.observe(served, inputs, outputs, row, scores, shown)
