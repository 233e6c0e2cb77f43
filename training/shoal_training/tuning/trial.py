"""One trial of a search: a trainer with the settings that it chose, trained and measured on rows kept from it."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from shoal_training.errors import TrainingError
from shoal_training.evaluation.metric import Metric
from shoal_training.frameworks.trainer import Samples, TrainContext, Trainer
from shoal_training.tuning.settings import Tuning, with_settings
from shoal_training.tuning.study import Study

_FALLING: Final = ("loss", "error")


@dataclass(frozen=True)
class Trials:
    """What all trials of a search have in common.

    Attributes:
        tuning: The search.
        trainer: Whose settings are searched for.
        train: What trials learn from.
        kept: What they are measured on.
        metric: That decides.
        context: What goes with training; each trial has a folder of its own below its folder.
    """

    tuning: Tuning
    trainer: Trainer
    train: Samples
    kept: Samples
    metric: Metric
    context: TrainContext

    def run(self, study: Study, until: float, ended: Callable[[], None]) -> None:
        """Do trials until there are enough, or there is no time.

        Args:
            study: Chooses, and keeps what they came to.
            until: Of the monotonic clock, after which none is begun.
            ended: Called after each.
        """
        while time.monotonic() < until:
            trial = study.ask()
            if trial is None:
                return
            self._try(study, trial)
            ended()

    def _try(self, study: Study, trial: Any) -> None:  # noqa: ANN401 - Optuna's
        from optuna.exceptions import TrialPruned

        folder = self.context.folder / f"trial-{trial.number}"
        try:
            value = self._measured(study, trial, folder)
        except TrialPruned:
            study.tell_pruned(trial)
        except (TrainingError, ValueError) as error:
            study.tell_failed(trial, str(error))
        else:
            if math.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell_failed(trial, f"{self.metric.name} is {value}, expected a number")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measured(self, study: Study, trial: Any, folder: Path) -> float:  # noqa: ANN401 - Optuna's
        chosen = {name: one.suggest(trial, name) for name, one in self.tuning.space.items()}
        trainer = with_settings(self.trainer, chosen)
        folder.mkdir(parents=True, exist_ok=True)
        watch = _Watch(trial, self.tuning, is_rising=study.is_rising)
        context = replace(self.context, folder=folder, metric=watch)
        fitted = trainer.fit(self.train, self.kept, context)
        assert self.kept.y is not None  # noqa: S101 - seen by whoever made the trials
        return self.metric.value(self.kept.y, fitted.scores(self.kept.x))


class _Watch:
    """Hands on what a trainer tells, and ends a trial that is not worth going on with."""

    def __init__(self, trial: Any, tuning: Tuning, *, is_rising: bool) -> None:  # noqa: ANN401 - Optuna's
        self._trial, self._name = trial, tuning.pruned_by
        falls = any(self._name.endswith(word) for word in _FALLING)
        self._sign = 1.0 if falls != is_rising else -1.0  # a pruner compares in the study's direction

    def __call__(self, name: str, value: float, step: int) -> None:
        if name != self._name or not math.isfinite(value):
            return
        self._trial.report(self._sign * value, step)
        if self._trial.should_prune():
            from optuna.exceptions import TrialPruned

            raise TrialPruned
