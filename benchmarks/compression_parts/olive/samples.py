"""The calibration samples as Olive asks for them; loaded by Olive, in its own environment."""

from typing import Any

import numpy as np
from olive.data.registry import Registry


class _Samples:
    def __init__(self, path: str) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {name: archive[name] for name in archive.files}

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, place: int) -> tuple[dict[str, Any], int]:
        return {name: array[place] for name, array in self.arrays.items()}, 0


@Registry.register_dataset("calibration_samples")  # type: ignore[untyped-decorator]
def calibration_samples(path: str, **_options: object) -> _Samples:
    """Return the samples in a file."""
    return _Samples(path)
