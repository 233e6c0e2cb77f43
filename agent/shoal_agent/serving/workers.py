"""Threads in which models run: whose turn is next, how many at a time, and what becomes of a run that does not end.

The event loop decides, threads only work: no lock is held anywhere. Requests that wait for the same model run together
where that pays; none is ever held back in the hope of company.
"""

import asyncio
import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Generic, NamedTuple, TypeVar

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import TOO_MANY, UNAVAILABLE

Item = TypeVar("Item")
Result = TypeVar("Result")
TIMED_OUT: Final = 504


@dataclass(frozen=True)
class Claim(Generic[Item, Result]):
    """What is to be run, and what it may take.

    Attributes:
        model: Whose job it is.
        run: Called in a thread with the items of one or more jobs; returns a result for each, in order.
        group: Jobs of the same group may run together.
        most_together: Jobs in one run; 1: each by itself.
        priority: Higher ones go first; of the same, the first come.
        most_at_once: Runs of this model at a time; 0: as many as there are threads.
        timeout_s: From being handed in to its result.
    """

    model: str
    run: Callable[[Sequence[Item]], Sequence[Result]]
    group: object = None
    most_together: int = 1
    priority: int = 0
    most_at_once: int = 0
    timeout_s: float = 60.0


class Load(NamedTuple):
    """Jobs by model: those that run, and those that wait for their turn."""

    running: Mapping[str, int] = {}
    waiting: Mapping[str, int] = {}


@dataclass(eq=False)
class _Job:
    claim: Claim[Any, Any]
    item: Any
    on_over: Callable[[], None]
    future: "asyncio.Future[Any]"
    rank: tuple[int, int]
    timer: asyncio.TimerHandle | None = None
    run: "_Run | None" = None
    """What it runs in, once it does."""

    def __lt__(self, other: "_Job") -> bool:
        return self.rank < other.rank


@dataclass(eq=False)
class _Run:
    """Jobs that run together."""

    jobs: list[_Job]
    is_given_up: bool = False


@dataclass(eq=False)
class Workers:
    """A bounded number of threads for the jobs of several models. Belongs to the event loop.

    A runtime can not be interrupted: a run that is over its time keeps its thread, and another thread stands in.

    Attributes:
        count: Runs at a time.
        most_waiting: Jobs that may wait; more are refused with 429.
        most_stuck: Runs over their time that other threads stand in for; with more, jobs wait for them.
    """

    count: int
    most_waiting: int
    most_stuck: int
    _waiting: list[_Job] = field(default_factory=list, init=False)
    _running: Counter[str] = field(default_factory=Counter, init=False)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count, init=False)
    _busy: int = field(default=0, init=False)
    _stuck: int = field(default=0, init=False)
    _threads: int = field(default=0, init=False)
    _runs: "SimpleQueue[_Run | None]" = field(default_factory=SimpleQueue, init=False)

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits."""
        return self._busy > 0 or bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        return len(self._waiting) >= self.most_waiting

    def load(self) -> Load:
        """Return what runs and what waits, by model."""
        return Load(+self._running, Counter(job.claim.model for job in self._waiting))

    def waiting(self) -> int:
        """Return how many jobs wait."""
        return len(self._waiting)

    def hand_in(self, claim: Claim[Item, Result], item: Item, on_over: Callable[[], None]) -> "asyncio.Future[Result]":
        """Have a thread work; cancelling the future takes a job back that has not begun.

        Args:
            claim: What to run, and what it may take.
            item: What the run is given.
            on_over: Called in the event loop once nothing of the job runs any more, whatever became of it.

        Returns:
            The result; or a RequestError, 504, when the time is over.

        Raises:
            RequestError: Too many jobs wait already: 429.
        """
        if self.is_full:
            on_over()
            found = f"{self._busy} requests run and {len(self._waiting)} wait"
            message = f"overloaded: {found}, so that one for {claim.model!r} is not taken"
            raise RequestError(message, TOO_MANY, "send fewer requests at a time, or try again later")
        loop = asyncio.get_running_loop()
        job = _Job(claim, item, on_over, loop.create_future(), (-claim.priority, next(self._numbers)))
        job.timer = loop.call_later(claim.timeout_s, self._time_out, job)
        job.future.add_done_callback(partial(self._left, job))
        heapq.heappush(self._waiting, job)
        self._dispatch()
        return job.future

    def close(self) -> None:
        """End the threads once they have nothing to do; what waits is refused."""
        for job in [one for one in self._waiting if not one.future.done()]:
            job.future.set_exception(RequestError("the agent stops", UNAVAILABLE, "try again later"))
        for _ in range(self._threads):
            self._runs.put(None)
        self._threads = 0

    def _dispatch(self) -> None:
        """Begin with what may run now, in order; models that are at their bound wait."""
        held_back = []
        while self._waiting and self._busy - self._stuck < self.count:
            job = heapq.heappop(self._waiting)
            if 0 < job.claim.most_at_once <= self._running[job.claim.model]:
                held_back.append(job)
                continue
            run = _Run([job, *self._company(job)])
            for one in run.jobs:
                one.run = run
            self._running[job.claim.model] += 1
            self._busy += 1
            if self._busy > self._threads:
                self._start_thread()
            self._runs.put(run)
        for job in held_back:
            heapq.heappush(self._waiting, job)

    def _company(self, first: _Job) -> list[_Job]:
        """Take the jobs out that wait and may run together with this one, first come first."""
        if first.claim.most_together <= 1 or first.claim.group is None:
            return []
        alike = [job for job in self._waiting if job.claim.group == first.claim.group]
        alike = sorted(alike)[: first.claim.most_together - 1]
        if alike:
            self._waiting = [job for job in self._waiting if job not in alike]
            heapq.heapify(self._waiting)
        return alike

    def _start_thread(self) -> None:
        self._threads += 1
        loop = asyncio.get_running_loop()
        # Daemon: a run that never ends must not keep the agent from ending.
        threading.Thread(target=self._work, args=(loop,), name=f"infer-{self._threads}", daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (run := self._runs.get()) is not None:
            results: Sequence[Any] = ()
            error: BaseException | None = None
            try:
                results = run.jobs[0].claim.run([job.item for job in run.jobs])
            except BaseException as raised:  # noqa: BLE001 - raised again by the futures
                error = raised
            try:
                loop.call_soon_threadsafe(self._over, run, results, error)
            except RuntimeError:  # the event loop has ended
                return
            del run, results, error

    def _over(self, run: _Run, results: Sequence[Any], error: BaseException | None) -> None:
        self._running[run.jobs[0].claim.model] -= 1
        self._busy -= 1
        self._stuck -= run.is_given_up
        for place, job in enumerate(run.jobs):
            if not job.future.done():
                if error is not None:
                    job.future.set_exception(error)
                else:
                    job.future.set_result(results[place])
            job.on_over()
        self._dispatch()

    def _left(self, job: _Job, _: object) -> None:
        """Nobody waits for a job any more: it is answered, given up or taken back."""
        if job.timer is not None:
            job.timer.cancel()
        if job.run is None:
            self._waiting.remove(job)
            heapq.heapify(self._waiting)
            job.on_over()

    def _time_out(self, job: _Job) -> None:
        if job.future.done():
            return
        doing = "ran" if job.run is not None else "waited for its turn"
        message = f"model {job.claim.model!r} did not answer within {job.claim.timeout_s:g} s: the request {doing}"
        remedy = "send smaller or fewer requests, or allow more time"
        job.future.set_exception(RequestError(message, TIMED_OUT, remedy))
        run = job.run
        if run is None or run.is_given_up or self._stuck >= self.most_stuck:
            return
        if all(one.future.done() for one in run.jobs):  # nobody waits for it: another thread stands in
            run.is_given_up = True
            self._stuck += 1
            self._dispatch()
