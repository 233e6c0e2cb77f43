"""How many threads a model runs in, and whether it keeps an arena: measured on its golden input, in a bounded time.

Others need the cores as well: more threads are taken only where each step saves time that is worth telling, and where
all of them together take little more of the processors than one thread does.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from shoal_agent.engines.cost import release_free_memory
from shoal_agent.engines.engine import Engine, EngineSetup
from shoal_agent.engines.joining import best_together, can_join
from shoal_numerics.tensors import Array

_MAX_RUNS: Final = 16
"""Of one setting. The first makes what later ones use."""


class Timing(NamedTuple):
    """What one setting came to: the least of several runs, which others are longer than by what else the board does."""

    run_s: float
    """Seconds of a run."""
    cpu_s: float
    """Seconds of all processors that a run took."""
    grown_bytes: int = 0
    """What the process has grown by, from before it was opened."""


@dataclass(frozen=True)
class WarmupBounds:
    """The rule by which a setting is chosen, and the time it may take.

    Attributes:
        warmup_s: No further setting is begun after this; 0: nothing is measured.
        most_threads: Threads of one run, at most.
        least_gain_ratio: Of a run's time, which a setting has to save over the one before it.
        most_cpu_ratio: CPU time of a run that is allowed, in that of one thread.
        arena_bytes: What the process may grow by with an arena, more than without.
    """

    warmup_s: float
    most_threads: int
    least_gain_ratio: float
    most_cpu_ratio: float
    arena_bytes: int


@dataclass(frozen=True)
class Instruments:
    """What a warm-up reads; a test gives its own."""

    clock_s: Callable[[], float] = time.perf_counter
    cpu_s: Callable[[], float] = time.process_time
    """Of all threads of this process, whatever else it does meanwhile."""
    resident_bytes: Callable[[], int] = lambda: 0
    release: Callable[[], None] = release_free_memory


Opens = Callable[[EngineSetup], Engine]


class Warmup:
    """Measures settings of one model, one after the other; only one of them is loaded at a time.

    Args:
        opens: Loads the model with a setting.
        golden: The golden input.
        bounds: Rule and time.
        instruments: What is read.
    """

    def __init__(
        self,
        opens: Opens,
        golden: Mapping[str, Array],
        bounds: WarmupBounds,
        instruments: Instruments | None = None,
    ) -> None:
        self._opens = opens
        self._golden = golden
        self._bounds = bounds
        self._read = instruments or Instruments()

    def choose(self, one_thread: EngineSetup, *, can_have_arena: bool, is_batched: bool = True) -> EngineSetup:
        """Return the setting to run with, and the time of its run.

        Args:
            one_thread: Begins: one thread and no arena.
            can_have_arena: Whether the runtime has an arena at all.
            is_batched: Whether samples lie along the first axis, so that requests could be answered together.

        Raises:
            EngineError: The model does not load, or fails on its golden input.
        """
        bounds = self._bounds
        if bounds.warmup_s <= 0:
            return one_thread
        first = self._measure(one_thread)
        began_s, best, best_timing = self._read.clock_s(), one_thread, first
        for threads in thread_counts(bounds.most_threads):
            if self._read.clock_s() - began_s >= bounds.warmup_s:
                break
            setup = replace(one_thread, threads=threads)
            timing = self._measure(setup)
            if is_worth_it(timing, best_timing, first, bounds):
                best, best_timing = setup, timing
        if can_have_arena and self._read.clock_s() - began_s < bounds.warmup_s:
            setup = replace(best, has_arena=True)
            timing = self._measure(setup)
            takes_bytes = timing.grown_bytes - best_timing.grown_bytes
            if is_worth_it(timing, best_timing, first, bounds) and takes_bytes <= bounds.arena_bytes:
                best, best_timing = setup, timing
        has_time = self._read.clock_s() - began_s < bounds.warmup_s
        together = self._together(best) if is_batched and has_time else 1
        return replace(best, run_ms=best_timing.run_s * 1000, together=together)

    def _together(self, setup: EngineSetup) -> int:
        """Return how many samples are best answered together."""
        engine = self._opens(setup)
        try:
            if not can_join(engine):
                return 1
            sample = {name: array[:1] for name, array in self._golden.items()}
            return best_together(engine, sample, clock_s=self._read.clock_s)
        finally:
            engine.close()

    def _measure(self, setup: EngineSetup) -> Timing:
        """Load, time and close one setting."""
        read, most_s = self._read, self._bounds.warmup_s / (len(thread_counts(self._bounds.most_threads)) + 2)
        read.release()
        before_bytes = read.resident_bytes()
        engine = self._opens(setup)
        try:
            times_s: list[float] = []
            cpu_s: list[float] = []
            while not times_s or (len(times_s) < _MAX_RUNS and sum(times_s) < most_s):
                started_s, cpu_started_s = read.clock_s(), read.cpu_s()
                engine.infer(self._golden)
                times_s.append(max(0.0, read.clock_s() - started_s))
                cpu_s.append(max(0.0, read.cpu_s() - cpu_started_s))
            read.release()
            grown_bytes = read.resident_bytes() - before_bytes
        finally:
            engine.close()
        return Timing(min(times_s), min(cpu_s), grown_bytes)


def is_worth_it(timing: Timing, best: Timing, one_thread: Timing, bounds: WarmupBounds) -> bool:
    """Whether a setting is fast enough to be taken instead of the best so far, and not too costly for the others."""
    is_faster = timing.run_s <= best.run_s * (1 - bounds.least_gain_ratio)
    return is_faster and timing.cpu_s <= one_thread.cpu_s * bounds.most_cpu_ratio


def thread_counts(most: int) -> tuple[int, ...]:
    """Return the numbers of threads to measure beside one: powers of two, and all of them."""
    powers = [1 << exponent for exponent in range(1, most.bit_length())]
    return tuple(sorted({*(power for power in powers if power <= most), *([most] if most > 1 else [])}))
