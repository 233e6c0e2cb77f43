"""Streams of windows that do not move, or move where it is said; NumPy alone, so that each peer makes the same ones.

A stream is one device: windows of `VALUES` values of `FEATURES` standard normal features, and a reference of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEATURES, VALUES = 30, 32
CHUNK = 50
"""Streams that are made together."""
MEMORY = 0.9
"""Correlation of neighbouring values of the autoregressive streams."""
WITHIN = 0.12
"""Shift of the mean, in standard deviations, that is within the tolerance: a distance of 0.048."""
DAY = 480
"""Windows of a daily cycle."""
MOVED = 3
"""Features that a shift moves."""

Floats = NDArray[np.float32]


class Shift(NamedTuple):
    """What happens to the first `MOVED` features: `by` standard deviations from window `at` on."""

    kind: str
    at: int
    by: float = 1.0

    def now(self, window: int) -> float:
        """Return the shift in a window: at once, over 200 windows, or on and off for 50 in turn."""
        since = window - self.at
        if since < 0:
            return 0.0
        if self.kind == "gradual":
            return self.by * min(1.0, since / 200)
        return self.by if self.kind == "abrupt" or (since // 50) % 2 == 0 else 0.0


class Streams:
    """One chunk of streams.

    Args:
        kind: "independent", "autoregressive", "daily" or "offset".
        reference_rows: of each stream.
        chunk: which one; the same number gives the same streams.
        shift: what moves.
    """

    def __init__(self, kind: str, reference_rows: int, chunk: int, shift: Shift | None = None) -> None:
        self.kind, self.shift = kind, shift
        self.random = np.random.default_rng([chunk, reference_rows])
        self.reference: Floats = self.random.standard_normal((reference_rows, CHUNK, FEATURES), dtype=np.float32)
        self.offset = np.float32(WITHIN) * self.random.choice(np.array([-1, 1], dtype=np.float32), (CHUNK, FEATURES, 1))

    def windows(self, count: int) -> Iterator[Floats]:
        """Yield each window's values, (CHUNK, FEATURES, VALUES) float32."""
        shape = (CHUNK, FEATURES, VALUES)
        last = self.random.standard_normal(shape[:2], dtype=np.float32)
        for window in range(count):
            values = self.random.standard_normal(shape, dtype=np.float32)
            if self.kind == "autoregressive":
                values *= np.float32(np.sqrt(1 - MEMORY**2))
                for place in range(VALUES):
                    values[:, :, place] += np.float32(MEMORY) * last
                    last = values[:, :, place]
            elif self.kind == "daily":
                values *= np.float32(np.sqrt(1 - WITHIN**2 / 2))
                values += np.float32(WITHIN * np.sin(2 * np.pi * window / DAY))
            elif self.kind == "offset":
                values += self.offset
            if self.shift is not None:
                values[:, :MOVED] += np.float32(self.shift.now(window))
            yield values


def watch(arguments: Sequence[str], make: Callable[[Floats], Callable[[Floats], bool]]) -> list[int]:
    """Return the first alarms of a peer on the first streams of a chunk, as `ours.first_alarms` gives them.

    Args:
        arguments: STREAMS WINDOWS KIND REFERENCE_ROWS [SHIFT AT].
        make: makes what watches one stream of its reference, (rows, FEATURES) float32; it is then given each window's
            values, (VALUES, FEATURES) float32, and says whether there is drift.
    """
    count, length, kind, rows, *moved = arguments
    streams = Streams(kind, int(rows), 0, Shift(moved[0], int(moved[1])) if moved else None)
    detectors = [make(streams.reference[:, stream]) for stream in range(int(count))]
    found = [-1] * len(detectors)
    since = streams.shift.at if streams.shift else 0
    for window, values in enumerate(streams.windows(int(length))):
        for stream in [at for at, alarm in enumerate(found) if alarm == -1]:
            if detectors[stream](values[stream].T):
                found[stream] = window if window >= since else -2
        if -1 not in found:
            break
    return found
