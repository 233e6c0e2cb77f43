"""A network of its user's: notes each batch it learns from, so that a test can count."""

import os
from pathlib import Path

import torch


class Counted(torch.nn.Module):
    """Dense layers."""

    def __init__(self, inputs: int, outputs: int, log: str) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(inputs, 16), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(16, outputs)
        )
        self.log = Path(log) / os.environ.get("RANK", "alone")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            with self.log.open("ab") as file:
                file.write(b".")
        return self.layers(x)


def build(shape: tuple[int, ...], outputs: int, log: str) -> torch.nn.Module:
    return Counted(shape[0], outputs, log)
