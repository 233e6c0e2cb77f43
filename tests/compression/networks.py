"""Small networks of several kinds as ONNX, and data that they can learn, for the tests of what trains them."""

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from tests.compression.zoo import Case, spec
from torch import nn

from shoal_compression.data import Data, Samples
from shoal_compression.model import Model
from shoal_compression.trainable.network import repeatable

CLASSES = 4
SIZE = 12


class Residual(nn.Module):
    """Residual, depthwise and joined convolutions with batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Hardswish())
        self.side = nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU6())
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(24 * (SIZE // 2) ** 2, 32)
        self.out = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.begin(x)
        x = torch.relu(x + self.inner(x))
        x = self.pool(torch.cat([self.depthwise(x), self.side(x)], dim=1))
        return self.out(torch.relu(self.hidden(torch.flatten(x, 1))))


class Gated(nn.Module):
    """Channels that are weighed by what they say on average, and a mean in place of a flat layer."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.Hardsigmoid())
        self.end = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.SiLU())
        self.out = nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.begin(x)
        x = x * self.squeeze(x.mean(dim=(2, 3), keepdim=True))
        return torch.softmax(self.out(self.end(x).mean(dim=(2, 3))), dim=-1)


class Attending(nn.Module):
    """A transformer's encoder over the rows of a picture."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.begin = nn.Linear(SIZE, width)
        self.place = nn.Parameter(torch.randn(1, SIZE, width) * 0.1)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.out = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.begin(x.squeeze(1)) + self.place
        q, k, v = self.mixed(self.first(x)).chunk(3, dim=-1)
        q, k, v = (one.reshape(-1, SIZE, self.heads, self.width // self.heads).transpose(1, 2) for one in (q, k, v))
        seen = torch.softmax(q @ k.transpose(-1, -2) / (self.width // self.heads) ** 0.5, dim=-1) @ v
        x = x + self.joined(seen.transpose(1, 2).reshape(-1, SIZE, self.width))
        x = x + self.narrow(nn.functional.gelu(self.wide(self.second(x))))
        return self.out(x.mean(dim=1))


KINDS = {"residual": Residual, "gated": Gated, "attending": Attending}


def pictures(count: int, seed: int) -> Samples:
    """Return bars of four directions in noise, (n, 1, SIZE, SIZE) float32, and which direction it is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    x = rng.normal(0, 0.5, (count, 1, SIZE, SIZE)).astype(np.float32)
    for picture, label in zip(x[:, 0], labels, strict=True):
        at = int(rng.integers(2, SIZE - 2))
        if label == 0:
            picture[at] += 1.5
        elif label == 1:
            picture[:, at] += 1.5
        elif label == 2:
            picture[:] += 1.5 * np.eye(SIZE, k=at - SIZE // 2, dtype=np.float32)
        else:
            picture[:] += 1.5 * np.eye(SIZE, k=at - SIZE // 2, dtype=np.float32)[::-1]
    return Samples({"x": x}, labels)


@cache
def network(kind: str, epochs: int = 3) -> Case:
    """Return a network that was trained for a few epochs, and its data."""
    train, test = pictures(1_500, 1), pictures(600, 2)
    with repeatable(5, 1):
        module = KINDS[kind]()
        _train(module, train, epochs, is_probability=kind == "gated")
    model = exported(module.eval(), (1, SIZE, SIZE), (CLASSES,))
    return Case(model, Data(train.first(200), test, train, (model,)))


def exported(module: Any, shape: tuple[int, ...], answers: tuple[int, ...]) -> Model:
    """Return a module as ONNX: `x` (batch, *shape) to `y` (batch, *answers)."""
    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(held)
    return Model("onnx", held.getvalue(), (spec("x", -1, *shape),), (spec("y", -1, *answers),))


def _train(module: Any, samples: Samples, epochs: int, *, is_probability: bool) -> None:
    assert samples.labels is not None
    x, labels = torch.from_numpy(samples.inputs["x"]), torch.from_numpy(samples.labels)
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.chunk(torch.randperm(len(x)), len(x) // 50):
            said = module(x[rows])
            loss = nn.functional.cross_entropy(torch.log(said + 1e-7) if is_probability else said, labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
