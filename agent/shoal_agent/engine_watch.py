"""Watches a version's engine for a while after it was committed: a runtime that fails again and again is told of."""

import threading
import time
from collections.abc import Callable, Mapping

from shoal_agent.engines import Array, Engine, EngineSetup
from shoal_contract.manifest import TensorSpec


class WatchedEngine:
    """An engine that counts the requests in a row which its runtime fails on.

    Args:
        engine: The engine; what it answers and raises passes through.
        watch_s: For how long it is watched, from now on.
        failures: How many in a row are told.
        on_failing: Called once for each such row, in the thread of the last request; must be quick.
    """

    def __init__(self, engine: Engine, watch_s: float, failures: int, on_failing: Callable[[], object]) -> None:
        self._engine = engine
        self._limit = failures
        self._on_failing = on_failing
        self._until_s = time.monotonic() + watch_s
        self._in_a_row = 0
        self._lock = threading.Lock()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, as the manifest names them."""
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, as the manifest names them."""
        return self._engine.outputs

    @property
    def is_in_use(self) -> bool:
        """Whether another thread runs it."""
        return self._engine.is_in_use

    @property
    def setup(self) -> EngineSetup:
        """How it runs here."""
        return self._engine.setup

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once; see `Engine.infer`."""
        try:
            outputs = self._engine.infer(inputs)
        except Exception:
            self._note_failure()
            raise
        self._in_a_row = 0
        return outputs

    def close(self) -> None:
        """Free the model's memory."""
        self._engine.close()

    def _note_failure(self) -> None:
        with self._lock:
            self._in_a_row += 1
            is_told = self._in_a_row >= self._limit and time.monotonic() <= self._until_s
            if is_told:
                self._in_a_row = 0
        if is_told:
            self._on_failing()
