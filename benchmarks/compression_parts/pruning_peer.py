"""Torch-Pruning on the same network, trained and taught the same way; run as a program in a process of its own.

`python pruning_peer.py IN.npz OUT.onnx`: takes weights, samples, labels and the teacher's answers; writes what is left.
The library is found on PYTHONPATH.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import nn


class Network(nn.Module):
    """The network of the benchmark, channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2)
        self.hidden = nn.Linear(32 * 14 * 14, 64)
        self.out = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 10) of images (n, 28, 28, 1)."""
        x = torch.relu(self.conv1(image.reshape(-1, 1, 28, 28)))
        x = torch.relu(self.conv2(F.pad(x, (0, 1, 0, 1))))  # as TensorFlow pads for strides
        logits: torch.Tensor = self.out(torch.relu(self.hidden(torch.flatten(x, 1))))
        return logits


class Probabilities(nn.Module):
    """A network that answers with probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return probabilities (n, 10)."""
        return torch.softmax(self.network(image), dim=-1)


def main() -> None:
    """Prune, train and write."""
    given = np.load(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = _loaded(given)
    x, y, logits = (torch.from_numpy(given[name]) for name in ("x", "y", "logits"))
    _prune(network, x, y, float(given["operations"]))
    _train(network, x, y, logits, int(given["epochs"]), int(given["batch"]), float(given["rate"]))
    _write(network, Path(sys.argv[2]))


def _loaded(given: Any) -> Network:  # noqa: ANN401 - an npz archive
    network = Network()
    with torch.no_grad():
        for name in ("conv1", "conv2", "out"):
            layer = getattr(network, name)
            weight = given[f"{name}.weight"]
            layer.weight.copy_(torch.from_numpy(weight.T if name == "out" else weight))
            layer.bias.copy_(torch.from_numpy(given[f"{name}.bias"]))
        channels_last = given["hidden.weight"].reshape(14, 14, 32, 64)
        network.hidden.weight.copy_(torch.from_numpy(channels_last.transpose(3, 2, 0, 1).reshape(64, -1).copy()))
        network.hidden.bias.copy_(torch.from_numpy(given["hidden.bias"]))
    return network


def _prune(network: Network, x: torch.Tensor, y: torch.Tensor, operations: float) -> None:
    """Take channels away in small steps, by Taylor importance, until so large a share of the operations is left."""
    import torch_pruning as tp

    first, _ = tp.utils.count_ops_and_params(network, x[:1])
    pruner = tp.pruner.BasePruner(
        network,
        x[:1],
        importance=tp.importance.TaylorImportance(),
        global_pruning=False,
        pruning_ratio=0.95,
        iterative_steps=40,
        ignored_layers=[network.out],
    )
    for _ in range(40):
        network.zero_grad()
        F.cross_entropy(network(x[:512]), y[:512]).backward()  # type: ignore[no-untyped-call]
        pruner.step()
        left, _ = tp.utils.count_ops_and_params(network, x[:1])
        if left <= operations * first:
            break


def _train(
    network: Network, x: torch.Tensor, y: torch.Tensor, logits: torch.Tensor, epochs: int, batch: int, rate: float
) -> None:
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - batch + 1, batch):
            rows = order[start : start + batch]
            said = network(x[rows])
            soft = F.kl_div(
                F.log_softmax(said / 3, -1), F.log_softmax(logits[rows] / 3, -1), reduction="batchmean", log_target=True
            )
            loss = 0.7 * 9 * soft + 0.3 * F.cross_entropy(said, y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _write(network: Network, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Probabilities(network).eval(),
            (torch.zeros(2, 28, 28, 1),),
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)


if __name__ == "__main__":
    main()
