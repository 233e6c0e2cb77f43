"""Trains a network towards an objective within a budget, and keeps what is best so far."""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.trainable.batches import run_rows
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.objective import Objective
from shoal_compression.trainable.settings import Training
from shoal_numerics.tensors import Array

HELD_OUT: Final = 0.1
"""Share of the samples that only tells which epoch was best."""
FEWEST_HELD_OUT: Final = 32
MOST_HELD_OUT: Final = 2_000
_BATCH: Final = 256
Step = Callable[[float], None]
"""Told before each step which share (0..1) of the training is behind it."""
Extra = Callable[[Array], torch.Tensor]
"""Gives a further loss for the samples at these rows."""


def training_samples(data: Data, training: Training, seed: int) -> Samples:
    """Return what there is to train on: `train`, otherwise `calibration` without labels of its own use."""
    return (data.train or data.calibration).some(training.most_samples, seed)


def fit(
    network: Network,
    model: Model,
    objective: Objective,
    budget: Budget,
    progress: Progress,
    stage: str,
    *,
    before_step: Step | None = None,
    settled_at: float = 0.0,
    extra: Extra | None = None,
    parameters: list[torch.nn.Parameter] | None = None,
) -> None:
    """Train in place, by Adam with a learning rate that falls by a cosine.

    What it leaves is the best of the states after an epoch (and of the first, with `settled_at` 0) by the loss on
    samples held out from training.

    Args:
        network: Left with the best weights.
        model: As the network is called.
        objective: With the samples.
        budget: Ends training; what is best so far is kept.
        progress: Told after each epoch.
        stage: What progress calls it.
        before_step: Changes the network as training goes on, such as its masks.
        settled_at: The share of the training from which on states count.
        extra: A further loss.
        parameters: Trained beside the weights.
    """
    training, rng = objective.training, np.random.default_rng(budget.seed)
    kept, held = _parts(len(objective.samples), rng)
    trained = [*network.weights.values(), *(parameters or [])]
    optimizer = torch.optim.Adam(trained, training.learning_rate, weight_decay=training.weight_decay)
    steps = training.epochs * -(-len(kept) // training.batch)
    best = _Best(network, trained)
    if settled_at == 0 and steps:
        best.see(held_loss(network, model, objective, held))
    done = 0
    for epoch in range(training.epochs):
        progress(stage, epoch, training.epochs)
        for rows in np.array_split(rng.permutation(kept), -(-len(kept) // training.batch)):
            if budget.left_s <= 0:
                break
            _warm(optimizer, training.learning_rate, done, steps)
            if before_step is not None:
                before_step(done / steps)
            _step(network, model, objective, rows, optimizer, extra)
            done += 1
        share = done / max(1, steps)
        if before_step is not None:
            before_step(share)
        if share >= settled_at:
            best.see(held_loss(network, model, objective, held))
        if budget.left_s <= 0:
            break
    if before_step is not None:
        before_step(1.0)
    best.restore()
    progress(stage, training.epochs, training.epochs)


def held_loss(network: Network, model: Model, objective: Objective, rows: Array) -> float:
    """Return the mean loss on the samples at `rows`."""
    total = 0.0
    with torch.no_grad():
        for part in np.array_split(rows, -(-len(rows) // _BATCH)):
            answers = run_rows(network, model, objective.samples, part, [objective.head.tap])[objective.head.tap]
            total += float(objective.loss(answers, torch.from_numpy(part))) * len(part)
    return total / len(rows)


def _step(
    network: Network,
    model: Model,
    objective: Objective,
    rows: Array,
    optimizer: torch.optim.Optimizer,
    extra: Extra | None,
) -> None:
    optimizer.zero_grad(set_to_none=True)
    answers = run_rows(network, model, objective.samples, rows, [objective.head.tap])[objective.head.tap]
    loss = objective.loss(answers, torch.from_numpy(rows))
    if extra is not None:
        loss = loss + extra(rows)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


def _warm(optimizer: torch.optim.Optimizer, rate: float, done: int, steps: int) -> None:
    """Set the learning rate: up from nothing in the first twentieth of the steps, then down by a cosine."""
    rise = min(1.0, (done + 1) / max(1.0, steps / 20))
    for group in optimizer.param_groups:
        group["lr"] = rate * rise * 0.5 * (1 + float(np.cos(np.pi * done / steps)))


def _parts(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the rows to train on and those to choose the epoch by; of few samples all are both."""
    order = rng.permutation(count)
    size = min(MOST_HELD_OUT, int(count * HELD_OUT))
    if size < FEWEST_HELD_OUT:
        return order, order
    return order[size:], order[:size]


class _Best:
    """Remembers the state of the lowest loss."""

    def __init__(self, network: Network, trained: list[torch.nn.Parameter]) -> None:
        self._trained = trained
        self._loss = float("inf")
        self._state: list[torch.Tensor] | None = None

    def see(self, loss: float) -> None:
        """Take the state as it is, if the loss is lower (or the first)."""
        if self._state is None or loss < self._loss:
            self._loss = loss
            self._state = [one.detach().clone() for one in self._trained]

    def restore(self) -> None:
        """Put the best state back, if there is one."""
        if self._state is not None:
            with torch.no_grad():
                for one, kept in zip(self._trained, self._state, strict=True):
                    one.copy_(kept)
