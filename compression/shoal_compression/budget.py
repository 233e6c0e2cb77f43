"""What a step may take: time, threads, and a seed that makes it repeat."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from shoal_compression.errors import TechniqueError

Accelerator = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Budget:
    """Bounds of one run of a recipe. A step that trains stops in time and keeps what is best so far."""

    seconds: float = 3_600.0
    """For the whole run, from when this was made."""
    seed: int = 0
    threads: int = 1
    accelerator: Accelerator = "cpu"
    """Where training and calibration run; a device with `cuda` is used where `best_accelerator` finds one."""
    clock: Callable[[], float] = time.monotonic
    began_s: float = field(default=-1.0)
    was_cut: bool = field(default=False, init=False, compare=False)
    """Whether somebody has asked for the seconds that are left when there were none, and so has stopped early."""

    def __post_init__(self) -> None:
        """Begin now, unless another beginning was given."""
        if self.began_s < 0:
            object.__setattr__(self, "began_s", self.clock())

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least 0."""
        left_s = max(0.0, self.began_s + self.seconds - self.clock())
        if left_s <= 0:
            object.__setattr__(self, "was_cut", True)
        return left_s


def check_accelerator(accelerator: Accelerator) -> None:
    """See that a GPU is there where one is asked for.

    Raises:
        TechniqueError: It is not.
    """
    if accelerator == "cuda" and best_accelerator() == "cpu":
        raise TechniqueError("training with cuda: PyTorch finds no GPU; take --accelerator cpu")


def best_accelerator() -> Accelerator:
    """Return `cuda` where PyTorch is installed and finds a GPU, otherwise `cpu`."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"
