"""Which loaded version answers a request: the one that serves, a trial's candidate, or what stands in for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shoal_agent.serving.models import ModelServer, ServedModel
from shoal_contract.desired import DesiredTrial
from shoal_contract.split import falls_within


@dataclass(frozen=True)
class RunningTrial:
    """A trial whose candidate is loaded; `until_s` is when it ends, by `time.monotonic()`."""

    wanted: DesiredTrial
    until_s: float


class Arms:
    """The candidates that run, by model, beside what serves. Belongs to the event loop, as `ModelServer` does.

    Args:
        serving: What serves.
        monotonic: Seconds that only rise.
    """

    def __init__(self, serving: ModelServer, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.serving = serving
        self.candidates = ModelServer()
        self.standing_in = ModelServer()
        """Versions that answer instead of `instead_of`, whatever trial runs; see `drift_fallback`."""
        self.instead_of: dict[str, int] = {}
        self._monotonic = monotonic
        self._running: dict[str, RunningTrial] = {}

    def start(self, name: str, wanted: DesiredTrial, now: datetime) -> None:
        """Have a trial run from now on, until its end by trusted time."""
        left_s = (wanted.ends_at - now).total_seconds()
        self._running[name] = RunningTrial(wanted, self._monotonic() + left_s)

    def stop(self, name: str) -> None:
        """Have a model's trial run no more; its candidate stays loaded until it is swapped out."""
        self._running.pop(name, None)

    def running(self, name: str) -> DesiredTrial | None:
        """Return a model's trial, if it runs and the version that it is held against serves."""
        trial = self._running.get(name)
        if trial is None or self._monotonic() >= trial.until_s:
            return None
        served, candidate = self.serving.get(name), self.candidates.get(name)
        is_meant = served is not None and served.version == trial.wanted.against
        is_loaded = candidate is not None and candidate.version == trial.wanted.candidate.version
        return trial.wanted if is_meant and is_loaded else None

    def stand_in(self, name: str) -> ServedModel | None:
        """Return what answers instead of the version that serves; None where that one is not what it stands in for."""
        served, standing_in = self.serving.get(name), self.standing_in.get(name)
        is_meant = served is not None and served.version == self.instead_of.get(name)
        return standing_in if is_meant else None

    def choose(self, name: str, version: str | None, key: str) -> ModelServer:
        """Return where the model for a request is borrowed from.

        Args:
            name: The model.
            version: The version that the path asks for, if it does: the candidate can be asked by its own.
            key: What the split sticks to; empty where the request names none, and then what serves answers.
        """
        if version is None and self.stand_in(name) is not None:
            return self.standing_in
        trial = self.running(name)
        if trial is None:
            return self.serving
        if version is not None:
            return self.candidates if version == str(trial.candidate.version) else self.serving
        is_within = trial.mode == "ab" and key != "" and falls_within(trial.share, trial.salt, key)
        return self.candidates if is_within or (trial.mode == "ab" and trial.share >= 1) else self.serving
