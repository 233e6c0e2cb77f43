"""This machine: parts are answered in this process, or in several others that are started for the run."""

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import Field

from shoal_training.batch_inference.engines.engine import Answer, Engine, EngineContext, Work, answered
from shoal_training.batch_inference.parts import Part
from shoal_training.errors import InferenceError

if TYPE_CHECKING:
    import pyarrow as pa

_LOOK_S: Final = 0.5
"""Between two looks at whether the run is cancelled, while a part is waited for."""

_PRELOADED: Final = ("shoal_training.batch_inference.engines.local", "pyarrow.parquet", "onnxruntime")
"""Loaded once, for all workers."""

_Waiting = deque[tuple[Part, "Future[Answer]"]]


class LocalEngine(Engine):
    """Processes of this machine."""

    kind: ClassVar[str] = "local"

    workers: int = Field(default=1, ge=1, le=1024)
    """Processes; 1: this one."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Of the CPU, for each; all without, shared between the workers."""

    @property
    def ahead(self) -> int:
        """See `Engine`: one more than there are workers, so that none waits."""
        return 1 if self.workers == 1 else self.workers + 1

    @property
    def threads_each(self) -> int | None:
        """See `Engine`."""
        if self.threads is not None or self.workers == 1:
            return self.threads
        return max(1, len(os.sched_getaffinity(0)) // self.workers)

    def answers(self, work: Work, parts: Sequence[Part], context: EngineContext) -> Iterator[tuple[Part, Answer]]:
        """See `Engine`."""
        if self.workers > 1:
            yield from _Pool(self, work, context).answers(parts)
            return
        for part in parts:
            context.check_cancelled()
            yield part, answered(work, part, context.table(part))


class _Pool:
    """Processes that are started anew where one of them is lost."""

    def __init__(self, engine: LocalEngine, work: Work, context: EngineContext) -> None:
        self._engine, self._work, self._context = engine, work, context
        self._pool = self._started()
        self._lost: dict[int, int] = {}

    def answers(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Answer]]:
        """Yield answers in the order of parts."""
        waiting, running = deque(parts), _Waiting()
        try:
            while waiting or running:
                self._context.check_cancelled()
                try:
                    self._begin(waiting, running)
                    answer = running[0][1].result(timeout=_LOOK_S)
                except NotYetError:
                    continue
                except BrokenProcessPool as error:  # also of a process that was lost while an answer was written
                    lost = [part for part, _ in running]
                    self._note_lost(lost, error)
                    waiting.extendleft(reversed(lost))
                    running.clear()
                    self._pool.shutdown(wait=True)
                    self._pool = self._started()
                    continue
                yield running.popleft()[0], answer
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, waiting: "deque[Part]", running: _Waiting) -> None:
        """Send what may be sent; what can not be stays where it is."""
        while waiting and self._may_begin(waiting[0], running):
            part = waiting[0]
            running.append((part, self._pool.submit(_answer, part, self._context.table(part))))
            waiting.popleft()

    def _may_begin(self, part: Part, running: _Waiting) -> bool:
        """Whether a part may be sent: parts that were under way at a loss go alone, so that it is known whose it is."""
        if any(one.number in self._lost for one in (part, *(one for one, _ in running))):
            return not running
        return len(running) < self._engine.ahead

    def _note_lost(self, parts: Sequence[Part], error: Exception) -> None:
        if not parts:
            return  # nobody's: nothing was under way
        for part in parts:
            self._lost[part.number] = self._lost.get(part.number, 0) + 1
        most = max(self._lost[part.number] for part in parts)
        if most > self._engine.retries:
            which = str(parts[0]) if len(parts) == 1 else f"{parts[0]} or one of {len(parts) - 1} behind it"
            raise InferenceError(
                f"answering {which}: its process was lost {most} times; it may need more memory than there is: make "
                "`part_rows` or `workers` smaller"
            ) from error

    def _started(self) -> ProcessPoolExecutor:
        # Forked by a process without threads: one that was forked amid those of a runtime may never answer.
        context = get_context("forkserver")
        context.set_forkserver_preload(list(_PRELOADED))
        return ProcessPoolExecutor(self._engine.workers, context, initializer=_begin, initargs=(self._work,))


class _Held:
    """What a process answers with, once it has begun."""

    work: Work | None = None


def _begin(work: Work) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Held.work = work


def _end_with_parent() -> None:
    """End once the process that asks is gone: it is the only one that could tell, and it may have been killed."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _answer(part: Part, table: "pa.Table") -> Answer:
    if _Held.work is None:
        raise InferenceError(f"answering {part}: the process has no work; run again")
    return answered(_Held.work, part, table)
