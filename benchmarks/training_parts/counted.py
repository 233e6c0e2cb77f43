"""A network that notes each batch it learns from in a file, so that what a restart has done twice can be counted."""

import os
from pathlib import Path

import torch


class Counted(torch.nn.Module):
    """Dense layers that append a byte to `log` / RANK in each forward pass of training."""

    def __init__(self, inputs: int, outputs: int, log: str) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(inputs, 64), torch.nn.ReLU(), torch.nn.Linear(64, outputs)
        )
        self.log = Path(log) / os.environ.get("RANK", "0")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer, and note it."""
        if self.training:
            with self.log.open("ab") as file:
                file.write(b".")
        found: torch.Tensor = self.layers(x)
        return found


def build(shape: tuple[int, ...], outputs: int, log: str) -> torch.nn.Module:
    """See `shoal_training.frameworks.networks.Own`."""
    return Counted(shape[0] * shape[1] * shape[2], outputs, log)
