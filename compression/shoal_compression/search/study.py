"""Optuna's study of one search, on disk: what was chosen, what it cost, and what a killed process had begun."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_compression.extras import says_extra
from shoal_compression.search.candidates import Objective
from shoal_compression.search.space import Choice

STUDY_FILE: Final = "study.journal"
_NAME: Final = "recipes"
_SECONDS: Final = "seconds"
_REASON: Final = "reason"
_WORST: Final = 1e12
"""What a recipe that failed costs, so that the sampler turns away from it."""


class Study:
    """A multi-objective study that several runs continue, one after the other."""

    def __init__(self, folder: Path, objectives: Sequence[Objective], seed: int) -> None:
        with says_extra("searching"):
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

        self._states = optuna.trial.TrialState
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._objectives = tuple(objectives)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(folder / STUDY_FILE))),
                study_name=_NAME,
                directions=["minimize"] * len(self._objectives),
                load_if_exists=True,
            )
            trials = self._study.get_trials(deepcopy=False)
            # A run that continues another has to choose anew, and not the same again.
            self._study.sampler = optuna.samplers.TPESampler(seed=seed + len(trials), n_startup_trials=8)
        for trial in trials:
            if trial.state == self._states.RUNNING:  # of a run that was killed: it is done anew
                self._study.tell(trial.number, state=self._states.FAIL)
                if trial.params:
                    self.enqueue(trial.params)

    @property
    def seconds(self) -> float:
        """That all runs which have ended have taken, and the trials of those that were killed."""
        noted = float(self._study.user_attrs.get(_SECONDS, 0.0))
        trials = sum(trial.user_attrs.get(_SECONDS, 0.0) for trial in self._study.get_trials(deepcopy=False))
        return max(noted, float(trials))

    def finished(self) -> Iterator[tuple[dict[str, Choice], str]]:
        """Yield what each finished trial chose, and why it came to nothing; an empty reason if it did not."""
        for trial in self._study.get_trials(deepcopy=False):
            if _REASON in trial.user_attrs and trial.params:
                yield dict(trial.params), str(trial.user_attrs[_REASON])

    def note_seconds(self, seconds: float) -> None:
        """Add what this run has taken."""
        self._study.set_user_attr(_SECONDS, float(self._study.user_attrs.get(_SECONDS, 0.0)) + seconds)

    def enqueue(self, choices: Mapping[str, Choice]) -> None:
        """Let a coming trial choose this, unless one has."""
        self._study.enqueue_trial(dict(choices), skip_if_exists=True)

    def ask(self) -> Any:  # noqa: ANN401 - Optuna's trial
        """Begin a trial."""
        return self._study.ask()

    def tell(self, trial: Any, costs: Sequence[float], seconds: float) -> None:  # noqa: ANN401 - as above
        """End a trial with what its file costs."""
        trial.set_user_attr(_SECONDS, seconds)
        trial.set_user_attr(_REASON, "")
        self._study.tell(trial, [min(cost, _WORST) if np.isfinite(cost) else _WORST for cost in costs])

    def tell_failed(self, trial: Any, reason: str, seconds: float) -> None:  # noqa: ANN401 - as above
        """End a trial that came to nothing."""
        trial.set_user_attr(_SECONDS, seconds)
        trial.set_user_attr(_REASON, reason)
        self._study.tell(trial, [_WORST] * len(self._objectives))

    def put_back(self, trial: Any) -> None:  # noqa: ANN401 - as above
        """End a trial for which there was no time; a run that continues this one does it."""
        self._study.tell(trial, state=self._states.FAIL)
        self._study.enqueue_trial(dict(trial.params))
