"""Optuna's study of one search: begun, gone on with after a kill, shared by the processes that work on it."""

import fcntl
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from shoal_compression.errors import MissingLibraryError
from shoal_training.errors import DataError
from shoal_training.tuning.settings import Tuning

STUDY_FILE: Final = "study.db"
REASON: Final = "reason"
"""Why a trial failed; one that was killed has none, and is begun anew."""
_TURN: Final = ".turn"
_WAIT_S: Final = 60.0
"""For another process to end its writing."""


class Study:
    """A study.

    Args:
        folder: Of the search; its processes take turns by a file in there.
        name: Of the study within its storage.
        tuning: The search.
        is_rising: Whether more of the metric is better.
        worker: Number of this process; each chooses by a seed of its own.

    Raises:
        MissingLibraryError: Optuna is not installed.
        DataError: The storage can not be reached.
    """

    def __init__(self, folder: Path, name: str, tuning: Tuning, *, is_rising: bool, worker: int = 0) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MissingLibraryError(f"tuning: {error}; install shoal[train]") from error
        self._optuna, self._folder, self._tuning = optuna, folder, tuning
        self.is_rising = is_rising
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is experimental in Optuna is no news to whoever tunes
            self.study = self._opened(name)
            trials = self.study.get_trials(deepcopy=False)
            seed = tuning.seed + len(trials) + 7919 * worker  # one that goes on chooses anew, and not the same again
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=tuning.workers > 1)
            self.study.pruner = self._pruner()

    def put_back(self) -> None:
        """End the trials of processes that are gone, and have what they had chosen tried anew; nobody else may work."""
        states = self._optuna.trial.TrialState
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == states.RUNNING:
                self.study.tell(trial.number, state=states.FAIL)
                if trial.params:
                    self.study.enqueue_trial(trial.params)

    def ended(self) -> int:
        """Return how many trials have come to an end, whichever."""
        states = self._optuna.trial.TrialState
        over = (states.COMPLETE, states.PRUNED)
        trials = self.study.get_trials(deepcopy=False)
        return sum(one.state in over or REASON in one.user_attrs for one in trials)

    def ask(self) -> Any | None:  # noqa: ANN401 - Optuna's trial
        """Begin a trial; None: as many as are asked for have ended or are under way."""
        states = self._optuna.trial.TrialState
        with self._turn():
            running = sum(one.state == states.RUNNING for one in self.study.get_trials(deepcopy=False))
            if self.ended() + running >= self._tuning.trials:
                return None
            return self.study.ask()

    def tell(self, trial: Any, value: float) -> None:  # noqa: ANN401 - as above
        """End a trial with its value."""
        self.study.tell(trial, value)

    def tell_pruned(self, trial: Any) -> None:  # noqa: ANN401 - as above
        """End a trial that fares worse than others did."""
        self.study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)

    def tell_failed(self, trial: Any, reason: str) -> None:  # noqa: ANN401 - as above
        """End a trial that came to nothing."""
        trial.set_user_attr(REASON, reason[:2000])
        self.study.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def close(self) -> None:
        """Let go of the storage."""
        self._storage.engine.dispose()

    def _opened(self, name: str) -> Any:  # noqa: ANN401 - Optuna's study
        url = storage_url(self._tuning.storage, self._folder)
        arguments = {"connect_args": {"timeout": _WAIT_S}} if url.startswith("sqlite") else {"pool_pre_ping": True}
        try:
            self._storage = self._optuna.storages.RDBStorage(url, engine_kwargs=arguments)
            directions = self._optuna.study.StudyDirection
            direction = directions.MAXIMIZE if self.is_rising else directions.MINIMIZE
            return self._optuna.create_study(
                storage=self._storage, study_name=name, direction=direction, load_if_exists=True
            )
        except Exception as error:  # noqa: BLE001 - the drivers' errors share no base class, and may show a password
            shown = re.sub(r"//[^@/]*@", "//…@", str(error))[:300]
            raise DataError(
                f"opening the study of a search: {shown}; look at `model_training.tuning.storage`"
            ) from None

    def _pruner(self) -> Any:  # noqa: ANN401 - Optuna's pruner
        pruners = self._optuna.pruners
        match self._tuning.pruner:
            case "median":
                return pruners.MedianPruner()
            case "hyperband":
                return pruners.HyperbandPruner()
            case "successive_halving":
                return pruners.SuccessiveHalvingPruner()
            case "none":
                return pruners.NopPruner()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with (self._folder / _TURN).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def storage_url(given: str, folder: Path) -> str:
    """Return the URL of a study's storage.

    Raises:
        DataError: It names a variable of the environment that is not set.
    """
    if not given:
        return f"sqlite:///{folder.absolute() / STUDY_FILE}"
    missing = [name for name in re.findall(r"\$\{?(\w+)", given) if name not in os.environ]
    if missing:
        raise DataError(
            f"opening the study of a search: its storage names {', '.join(missing)}, which the environment does not "
            "have; set it"
        )
    return os.path.expandvars(given)
