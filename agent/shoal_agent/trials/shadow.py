"""The shadow: what the serving version has answered, shown to the candidate behind it. No request ever waits for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Final

import numpy as np
from anyio import to_thread

from shoal_agent.engines import Array
from shoal_agent.from_threads import FromThreads
from shoal_agent.serving.models import Observer, ServedModel
from shoal_agent.trials.arms import Arms
from shoal_agent.trials.comparison import Comparison, OnDifferent, Seen
from shoal_contract.desired import DesiredConfig, DesiredTrial
from shoal_contract.telemetry import Misfit, ShadowWindow

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = getLogger(__name__)
MAX_WAITING: Final = 16
"""Requests that may wait for the candidate; more are skipped, and counted."""


class Shadow:
    """An observer between serving and the monitor, and the task that runs candidates.

    Args:
        watched: Is shown everything as it comes.
        arms: The trials that run.
        now: Trusted time.
        may_send: Whether the device's owner lets inputs out, as hard examples.
        chance: 0 to 1, evenly.
    """

    def __init__(
        self,
        watched: Observer,
        arms: Arms,
        now: Callable[[], datetime],
        *,
        may_send: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._watched = watched
        self._arms = arms
        self._now = now
        self._may_send = may_send
        self._chance = chance
        self._comparisons: dict[str, Comparison] = {}
        self._waiting: FromThreads[tuple[Comparison, Seen]] = FromThreads(MAX_WAITING)
        self.on_different: OnDifferent = lambda *_: None
        """Told of samples on which a candidate disagrees, see `Comparison`."""

    def begin(self, name: str, wanted: DesiredTrial) -> None:
        """Compare from now on; a trial that goes on keeps its counts."""
        known = self._comparisons.get(name)
        if wanted.mode == "shadow" and (known is None or known.wanted != wanted):
            self._comparisons[name] = Comparison(
                name, wanted, may_send=self._may_send, now=self._now, on_different=self._tell_different
            )

    def end(self, name: str) -> None:
        """Compare no more; counts that nobody has taken are lost with the trial."""
        self._comparisons.pop(name, None)

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        """Show one answered request to the monitor, and a share of them to the candidate as well."""
        self._watched.observe(served, inputs, outputs, latency_ms, answer_id)
        comparison = self._comparisons.get(served.name)
        if comparison is None or served.version != comparison.wanted.against:
            return
        if self._chance() >= comparison.wanted.share:
            return
        seen = Seen(served, inputs, outputs, answer_id)
        if not comparison.has_budget() or not self._waiting.put((comparison, seen)):
            comparison.skip()

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        """Show the monitor a request that got an error; there is no answer to compare."""
        self._watched.observe_error(served, misfit)

    def note_labels(self, model: str, answer_id: str, labels: Sequence[int]) -> None:
        """Count true labels that came back for both versions of a trial in shadow."""
        comparison = self._comparisons.get(model)
        if comparison is not None:
            comparison.label(answer_id, labels)

    async def run(self) -> None:
        """Run candidates on what waits, one request at a time, for ever."""
        await self._waiting.each(self._run_one)

    def take_windows(self, now: datetime, config: DesiredConfig) -> list[ShadowWindow]:
        """Return the windows that are full (`window_requests`) or old enough (`window_s`), and have seen anything."""
        finished = []
        for comparison in list(self._comparisons.values()):
            age_s = (now - comparison.started_at).total_seconds()
            is_full = comparison.requests >= config.window_requests
            if comparison.has_news and (is_full or age_s >= config.window_s):
                finished.append(comparison.finish())
        return finished

    def _tell_different(self, seen: Seen, differing: NDArray[np.int64]) -> None:
        self.on_different(seen, differing)

    async def _run_one(self, waiting: tuple[Comparison, Seen]) -> None:
        comparison, seen = waiting
        if self._arms.running(seen.served.name) != comparison.wanted:
            return
        with self._arms.candidates.borrow(seen.served.name) as candidate:
            if candidate is None:
                return
            try:
                await to_thread.run_sync(partial(comparison.run, candidate, seen))
            except Exception:  # noqa: BLE001 - logged with its traceback; what serves must not feel it
                _log.exception("comparing %s in shadow: a defect of the agent", seen.served.name)
