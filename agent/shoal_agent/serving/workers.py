"""Threads in which models run: whose turn is next, how many at a time, and what becomes of a run that does not end.

The event loop decides, threads only work: no lock is held anywhere.
"""

import asyncio
import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import TOO_MANY, UNAVAILABLE

Result = TypeVar("Result")
TIMED_OUT = 504


@dataclass(frozen=True)
class Claim:
    """What a job may take.

    Attributes:
        model: Whose job it is.
        priority: Higher ones go first; of the same, the first come.
        most_at_once: Jobs of this model that run at a time; 0: as many as there are threads.
        timeout_s: From being handed in to its result.
    """

    model: str
    priority: int = 0
    most_at_once: int = 0
    timeout_s: float = 60.0


class Load(NamedTuple):
    """Jobs by model: those that run, and those that wait for their turn."""

    running: Mapping[str, int] = {}
    waiting: Mapping[str, int] = {}


@dataclass(order=True)
class _Job(Generic[Result]):
    rank: tuple[int, int]
    claim: Claim = field(compare=False)
    work: Callable[[], Result] = field(compare=False)
    on_over: Callable[[], None] = field(compare=False)
    future: "asyncio.Future[Result]" = field(compare=False)
    timer: asyncio.TimerHandle | None = field(default=None, compare=False)
    is_running: bool = field(default=False, compare=False)
    is_given_up: bool = field(default=False, compare=False)


class Workers:
    """A bounded number of threads for jobs of several models. Belongs to the event loop.

    A runtime can not be interrupted: a run that is over its time keeps its thread, and another thread stands in.

    Args:
        count: Jobs that run at a time.
        most_waiting: Jobs that may wait; more are refused with 429.
        most_stuck: Runs over their time that other threads stand in for; with more, jobs wait for them.
    """

    def __init__(self, count: int, most_waiting: int, most_stuck: int) -> None:
        self._count = count
        self._most_waiting = most_waiting
        self._most_stuck = most_stuck
        self._ranks = itertools.count()
        self._waiting: list[_Job[Any]] = []
        self._running: Counter[str] = Counter()
        self._threads = 0
        self._stuck = 0
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()

    @property
    def busy(self) -> int:
        """Jobs that run or wait."""
        return self._running.total() + len(self._waiting)

    def load(self) -> Load:
        """Return what runs and what waits, by model."""
        return Load(+self._running, Counter(job.claim.model for job in self._waiting))

    def hand_in(
        self, claim: Claim, work: Callable[[], Result], on_over: Callable[[], None]
    ) -> "asyncio.Future[Result]":
        """Have a thread work; cancelling the future takes a job back that has not begun.

        Args:
            claim: What it may take.
            work: Called in the thread.
            on_over: Called in the event loop once nothing of the job runs any more, whatever became of it.

        Raises:
            RequestError: Too many jobs wait already: 429. The future raises one, 504, when the time is over.
        """
        if len(self._waiting) >= self._most_waiting:
            on_over()
            found = f"{self._running.total()} requests run and {len(self._waiting)} wait"
            message = f"overloaded: {found}, so that one for {claim.model!r} is not taken"
            raise RequestError(message, TOO_MANY, "send fewer requests at a time, or try again later")
        loop = asyncio.get_running_loop()
        job = _Job((-claim.priority, next(self._ranks)), claim, work, on_over, loop.create_future())
        job.timer = loop.call_later(claim.timeout_s, self._give_up, job)
        job.future.add_done_callback(partial(self._left, job))
        heapq.heappush(self._waiting, job)
        self._dispatch()
        return job.future

    def close(self) -> None:
        """End the threads once they have nothing to do; what waits is refused."""
        for job in self._waiting:
            if not job.future.done():
                job.future.set_exception(RequestError("the agent stops", UNAVAILABLE, "try again later"))
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _dispatch(self) -> None:
        """Begin with what may run now, in order; models that are at their bound wait."""
        held_back = []
        while self._waiting and self._running.total() - self._stuck < self._count:
            job = heapq.heappop(self._waiting)
            if 0 < job.claim.most_at_once <= self._running[job.claim.model]:
                held_back.append(job)
                continue
            job.is_running = True
            self._running[job.claim.model] += 1
            if self._running.total() > self._threads:
                self._start_thread()
            self._jobs.put(job)
        for job in held_back:
            heapq.heappush(self._waiting, job)

    def _start_thread(self) -> None:
        self._threads += 1
        loop = asyncio.get_running_loop()
        # Daemon: a run that never ends must not keep the agent from ending.
        threading.Thread(target=self._work, args=(loop,), name=f"infer-{self._threads}", daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                outcome, error = job.work(), None
            except BaseException as raised:  # noqa: BLE001 - raised again by the future
                outcome, error = None, raised
            try:
                loop.call_soon_threadsafe(self._over, job, outcome, error)
            except RuntimeError:  # the event loop has ended
                return
            del job, outcome, error

    def _over(self, job: _Job[Any], outcome: Any, error: BaseException | None) -> None:  # noqa: ANN401 - of any type
        self._running[job.claim.model] -= 1
        self._stuck -= job.is_given_up
        if not job.future.done():
            if error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(outcome)
        job.on_over()
        self._dispatch()

    def _left(self, job: _Job[Any], _: object) -> None:
        """Nobody waits for a job any more: it is answered, given up or taken back."""
        if job.timer is not None:
            job.timer.cancel()
        if not job.is_running:
            self._waiting.remove(job)
            heapq.heapify(self._waiting)
            job.on_over()

    def _give_up(self, job: _Job[Any]) -> None:
        if job.future.done():
            return
        doing = "ran" if job.is_running else "waited for its turn"
        message = f"model {job.claim.model!r} did not answer within {job.claim.timeout_s:g} s: the request {doing}"
        if job.is_running and self._stuck < self._most_stuck:
            job.is_given_up = True
            self._stuck += 1
        remedy = "send smaller or fewer requests, or allow more time"
        job.future.set_exception(RequestError(message, TIMED_OUT, remedy))
        self._dispatch()
