"""The loop that trains a network: epochs of steps, a schedule, checkpoints, early stopping; whichever framework it is.

A training that was killed and is run again in the same folder ends with the same weights as one that was not: what is
drawn (order, dropout) follows from the seed and the place in the training, and the rest lies in the checkpoint.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

from shoal_training.errors import NetworkError
from shoal_training.frameworks.checkpoints import Standing, held_for_training, read_checkpoint, write_checkpoint
from shoal_training.frameworks.early_stopping import EarlyStopping, Watch
from shoal_training.frameworks.engine import Engine, LossSum
from shoal_training.frameworks.schedule import Schedule
from shoal_training.frameworks.trainer import TrainContext
from shoal_training.onnx_samples import Array

WATCHED: Final = "watched"
HELD_OUT: Final = "held_out"
_BEST: Final = "best."
_NOW: Final = "now."


@dataclass(frozen=True)
class Plan:
    """What the loop does.

    Attributes:
        training: Hash of what is trained, by what and on what: a checkpoint of another one is refused.
        epochs: At most.
        rows_a_step: Of one process.
        rate: The learning rate that the schedule multiplies.
        schedule: Of the rate.
        checkpoint_epochs: After so many epochs a checkpoint is written.
        checkpoint_steps: After so many steps within an epoch as well; None: only at its end.
        stopping: When it ends early; None: never.
        has_held_out: Whether there are rows to measure after each epoch.
    """

    training: str
    epochs: int
    rows_a_step: int
    rate: float
    schedule: Schedule
    checkpoint_epochs: int = 1
    checkpoint_steps: int | None = None
    stopping: EarlyStopping | None = None
    has_held_out: bool = False


@dataclass
class TrainingLoop:
    """One training."""

    engine: Engine
    plan: Plan
    context: TrainContext
    standing: Standing = field(init=False)
    best: dict[str, Array] | None = field(init=False, default=None)

    def run(self) -> dict[str, Any]:
        """Train, or go on; the engine has the final weights then.

        Returns:
            What came of it: epochs, the best one, why it ended.

        Raises:
            DataError: The folder holds the checkpoint of another training, or another process trains in it.
            NetworkError: The loss is no number any more.
        """
        if not self.engine.processes.is_first:
            return self._run()
        with held_for_training(self.context.folder):
            return self._run()

    def _run(self) -> dict[str, Any]:
        self._resume()
        while not self._is_over():
            self._epoch()
        if not self.standing.is_finished:
            self._finish()
        watch = self.standing.watch
        facts: dict[str, Any] = {"epochs": self.standing.epoch}
        if self.plan.stopping is not None:
            facts |= {"best_epoch": watch.best_at, f"best_{self.plan.stopping.metric}": watch.best}
            facts["stopped_early"] = self.standing.epoch < self.plan.epochs
        return facts

    def _resume(self) -> None:
        count = self.engine.processes.count
        found = read_checkpoint(self.context.folder, self.plan.training)
        self.engine.processes.wait()  # the first may replace the file from here on
        if found is None:
            self.standing = Standing(training=self.plan.training, processes=count)
            return
        self.standing = found.standing
        for name, points in self.standing.history.items():
            for epoch, value in points:
                self.context.metric(name, value, epoch)
        best = {name.removeprefix(_BEST): one for name, one in found.arrays.items() if name.startswith(_BEST)}
        self.best = best or None
        now = {name.removeprefix(_NOW): one for name, one in found.arrays.items() if name.startswith(_NOW)}
        if self.standing.is_finished:
            self.engine.set_weights(now)
            return
        self.engine.set_state(now)
        if self.standing.processes != count:  # others' parts of the order: the epoch begins anew
            self._note(step=0, loss_sum=0.0, loss_weight=0.0, processes=count)

    def _is_over(self) -> bool:
        stopping, standing = self.plan.stopping, self.standing
        is_waited = stopping is not None and standing.watch.waited >= stopping.patience
        return standing.is_finished or standing.epoch >= self.plan.epochs or is_waited

    def _epoch(self) -> None:
        """Do one epoch, or what is left of it."""
        epoch, plan = self.standing.epoch, self.plan
        order = self.engine.order(epoch)
        # A single row at the end goes with the step before: normalising over a batch needs two.
        steps = max(1, len(order) // plan.rows_a_step + (len(order) % plan.rows_a_step > 1))
        interval = plan.checkpoint_steps or steps
        for start in range(self.standing.step, steps, interval):
            end = min(steps, start + interval)
            self.engine.begin(epoch, start)
            self._steps(order, start, end, steps)
            loss = self.engine.loss()
            total, weight = self.standing.loss_sum + loss.total, self.standing.loss_weight + loss.weight
            self._note(step=end, loss_sum=total, loss_weight=weight)
            if end < steps:
                self._write()
                self.context.progress("train", epoch * steps + end, plan.epochs * steps)
        self._measure(epoch + 1)
        self._note(epoch=epoch + 1, step=0, loss_sum=0.0, loss_weight=0.0)
        if (epoch + 1) % plan.checkpoint_epochs == 0 and not self._is_over():
            self._write()
        self.context.progress("train", (epoch + 1) * steps, plan.epochs * steps)

    def _steps(self, order: Any, start: int, end: int, steps: int) -> None:  # noqa: ANN401 - the engine's
        plan, epoch, step = self.plan, self.standing.epoch, self.engine.step
        for at in range(start, end):
            first = at * plan.rows_a_step
            rows = order[first:] if at == steps - 1 else order[first : first + plan.rows_a_step]
            step(rows, plan.rate * plan.schedule.ratio(epoch + at / steps, plan.epochs))

    def _measure(self, epoch: int) -> None:
        """Measure at the end of an epoch, tell it, and keep the weights if they are the best."""
        standing, stopping = self.standing, self.plan.stopping
        loss = LossSum(*self.engine.processes.sums(standing.loss_sum, standing.loss_weight)).mean
        if not math.isfinite(loss):
            raise NetworkError(
                f"training: the loss is {loss} in epoch {epoch}, expected a number; lower the learning rate, set "
                "`clip_norm`, or turn mixed precision off"
            )
        found = {"train_loss": loss}
        for name, is_there in ((WATCHED, stopping is not None), (HELD_OUT, self.plan.has_held_out)):
            if is_there:
                found |= {f"{name}_{key}": value for key, value in self.engine.measured(name).items()}
        history = {name: [*standing.history.get(name, []), (epoch, value)] for name, value in found.items()}
        watch: Watch = standing.watch
        if stopping is not None:
            watch = watch.after(epoch, found[f"{WATCHED}_{stopping.metric}"], stopping)
            if watch.best_at == epoch:
                self.best = self.engine.weights()
        self._note(history=history, watch=watch)
        for name, value in found.items():
            self.context.metric(name, value, epoch)

    def _finish(self) -> None:
        if self.best is not None:
            self.engine.set_weights(self.best)
            self.best = None
        self._note(is_finished=True)
        if self.engine.processes.is_first:
            kept = {f"{_NOW}{name}": one for name, one in self.engine.weights().items()}
            write_checkpoint(self.context.folder, self.standing, kept)
        self.engine.processes.wait()

    def _write(self) -> None:
        if self.engine.processes.is_first:
            arrays = {f"{_NOW}{name}": one for name, one in self.engine.state().items()}
            arrays |= {f"{_BEST}{name}": one for name, one in (self.best or {}).items()}
            write_checkpoint(self.context.folder, self.standing, arrays)

    def _note(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the standing
        self.standing = self.standing.model_copy(update=changes)
