"""What the training benchmarks learn: made images of ten classes, alike for every arm."""

import numpy as np

from shoal_training.frameworks.trainer import Samples

CLASSES = 10


def images(rows: int, size: int = 28, channels: int = 1, seed: int = 0) -> Samples:
    """Return images, (rows, size, size, channels) float32, each a pattern of its class with noise."""
    random = np.random.default_rng(seed)
    y = random.integers(CLASSES, size=rows)
    patterns = random.normal(size=(CLASSES, size, size, channels)).astype(np.float32)
    x = patterns[y] + random.normal(size=(rows, size, size, channels)).astype(np.float32)
    return Samples(x.astype(np.float32), y.astype(np.int64))
