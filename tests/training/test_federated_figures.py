"""The figures that the constants of the digits task are chosen for, with plain federated averaging."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter

from shoal_training.bundle import TRAINER_FILE, WEIGHTS_FILE
from shoal_training.digits import FederatedDefaults, Split, digits_splits, shift, train_digits
from shoal_training.new_version import bundle_from_weights
from shoal_training.weights import Weights, read_weights, weight_key

DEVICES = 3
SETTINGS = FederatedDefaults()


def _train(trainer: Interpreter, weights: Weights, local: Split, seed: tuple[int, ...]) -> Weights:
    trainer.get_signature_runner("set_weights")(**{weight_key(i): w for i, w in enumerate(weights)})
    step, random, size = trainer.get_signature_runner("train"), np.random.default_rng(seed), SETTINGS.batch_size
    for _ in range(SETTINGS.epochs):
        order = random.permutation(len(local))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            x, y = np.zeros((size, 8, 8, 1), np.float32), np.full(size, -1, np.int32)
            x[: len(chosen)], y[: len(chosen)] = local.x[chosen], local.y[chosen]
            step(x=x, y=y, lr=np.float32(SETTINGS.learning_rate))
    return [value for _, value in sorted(trainer.get_signature_runner("get_weights")().items())]


def _accuracy(folder: Path, x: npt.NDArray[np.float32], y: npt.NDArray[np.int32]) -> float:
    infer: Any = Interpreter(str(folder / TRAINER_FILE)).get_signature_runner("infer")
    return float((infer(x=x)["probabilities"].argmax(axis=1) == y).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_version_two_reads_shifted_digits_better_and_plain_ones_as_well(tmp_path: Path, seed: int) -> None:
    train_digits(tmp_path / "v1", seed)
    splits, trainer = digits_splits(seed), Interpreter(str(tmp_path / "v1" / TRAINER_FILE))
    parts = [splits.device.part(index, DEVICES) for index in range(DEVICES)]
    locals_ = [Split(shift(part.x, 100 + index), part.y) for index, part in enumerate(parts)]
    weights = read_weights(tmp_path / "v1" / WEIGHTS_FILE)
    for number in range(SETTINGS.rounds):
        answers = [_train(trainer, weights, local, (seed, number, i)) for i, local in enumerate(locals_)]
        shares = [len(local) / len(splits.device) for local in locals_]
        weights = [
            np.sum([s * w for s, w in zip(shares, layer, strict=True)], axis=0, dtype=np.float32)
            for layer in zip(*answers, strict=True)
        ]
    bundle_from_weights(tmp_path / "v1", weights, tmp_path / "v2", author="fleet", parent_share=SETTINGS.parent_share)
    shifted, plain, truth = shift(splits.test.x, 99), splits.test.x, splits.test.y
    before, after = tmp_path / "v1", tmp_path / "v2"
    assert _accuracy(before, plain, truth) >= 0.96
    assert _accuracy(after, shifted, truth) >= _accuracy(before, shifted, truth) + 0.05
    assert _accuracy(after, plain, truth) >= _accuracy(before, plain, truth) - 0.01
