"""A network that notes each batch it learns from in a file, so that what a restart has done twice can be counted.

In one process it ends itself once, as a kill would, at a batch that it is told.
"""

import os
import signal
from pathlib import Path

import torch


class Counted(torch.nn.Module):
    """Dense layers that append a byte to `log` / RANK in each forward pass of training."""

    def __init__(self, inputs: int, outputs: int, log: str, dies_at: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(inputs, 64), torch.nn.ReLU(), torch.nn.Linear(64, outputs)
        )
        self.log, self.dies_at = Path(log), dies_at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer, and note it."""
        if self.training:
            rank = os.environ.get("RANK", "0")
            with (self.log / rank).open("ab") as file:
                file.write(b".")
                count = file.tell()
            if rank == "1" and count == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        found: torch.Tensor = self.layers(x)
        return found


def build(shape: tuple[int, ...], outputs: int, log: str, dies_at: int) -> torch.nn.Module:
    """See `shoal_training.frameworks.networks.Own`."""
    return Counted(shape[0] * shape[1] * shape[2], outputs, log, dies_at)
