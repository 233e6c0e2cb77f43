"""Whose turn is next, how many run, what is answered together, and what becomes of a run that does not end."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from shoal_agent.endpoint import RequestError
from shoal_agent.serving.workers import Claim, Workers

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Bench:
    """Workers, and what ran in them."""

    workers: Workers
    runs: list[list[str]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def hand_in(self, item: str, **claim: object) -> "asyncio.Future[str]":
        return self.workers.hand_in(
            Claim(**({"model": "m", "run": self.run} | claim)),  # type: ignore[arg-type]
            item,
            lambda: self.over.append(item),
        )

    def run(self, items: Sequence[str]) -> list[str]:
        self.begun += items
        self.entered.release()
        assert self.gate.wait(20)
        self.runs.append(list(items))
        if "broken" in items:
            raise ZeroDivisionError
        return [item.upper() for item in items]

    async def wait_entered(self) -> None:
        with anyio.fail_after(10):
            await anyio.to_thread.run_sync(self.entered.acquire)


async def finish(*futures: "asyncio.Future[str]") -> list[object]:
    with anyio.fail_after(10):
        return list(await asyncio.gather(*futures, return_exceptions=True))


async def test_higher_priorities_go_first_and_of_the_same_who_came_first() -> None:
    bench = Bench(Workers(count=1, most_waiting=10, most_stuck=0))
    first = bench.hand_in("first")
    await bench.wait_entered()
    later = [bench.hand_in(name, priority=rank) for name, rank in (("a", 0), ("b", 5), ("c", 0), ("d", 5))]
    bench.gate.set()
    assert await finish(first, *later) == ["FIRST", "A", "B", "C", "D"]
    assert bench.runs == [["first"], ["b"], ["d"], ["a"], ["c"]]
    assert sorted(bench.over) == ["a", "b", "c", "d", "first"]
    assert not bench.workers.is_busy


async def test_a_model_at_its_bound_leaves_threads_to_others() -> None:
    bench = Bench(Workers(count=2, most_waiting=10, most_stuck=0))
    futures = [bench.hand_in(f"slow-{n}", model="slow", most_at_once=1, priority=9) for n in range(3)]
    futures.append(bench.hand_in("other", model="other"))
    await bench.wait_entered()
    await bench.wait_entered()
    assert sorted(bench.begun) == ["other", "slow-0"]
    bench.gate.set()
    assert await finish(*futures) == ["SLOW-0", "SLOW-1", "SLOW-2", "OTHER"]


async def test_what_waits_for_the_same_model_runs_together_up_to_the_bound() -> None:
    bench = Bench(Workers(count=1, most_waiting=20, most_stuck=0))
    futures = [bench.hand_in("first")]
    await bench.wait_entered()
    futures += [bench.hand_in(f"a{n}", group="a", most_together=3) for n in range(5)]
    futures.append(bench.hand_in("b", group="b", most_together=3))
    bench.gate.set()
    assert await finish(*futures) == ["FIRST", "A0", "A1", "A2", "A3", "A4", "B"]
    assert bench.runs == [["first"], ["a0", "a1", "a2"], ["a3", "a4"], ["b"]]


async def test_more_than_may_wait_are_refused_at_once_and_hold_nothing() -> None:
    bench = Bench(Workers(count=1, most_waiting=1, most_stuck=0))
    first = bench.hand_in("first")
    await bench.wait_entered()
    second = bench.hand_in("second")
    with pytest.raises(RequestError, match="1 requests run and 1 wait") as refused:
        bench.hand_in("third")
    assert (refused.value.status, bench.over) == (429, ["third"])
    bench.gate.set()
    assert await finish(first, second) == ["FIRST", "SECOND"]


async def test_a_job_that_nobody_waits_for_any_more_is_taken_back_unless_it_runs() -> None:
    bench = Bench(Workers(count=1, most_waiting=10, most_stuck=0))
    running, waiting = bench.hand_in("running"), bench.hand_in("waiting")
    await bench.wait_entered()
    waiting.cancel()
    running.cancel()
    await asyncio.sleep(0)
    assert bench.over == ["waiting"], "what runs still uses its model"
    last = bench.hand_in("last")
    bench.gate.set()
    await finish(last)
    assert bench.runs == [["running"], ["last"]]
    assert bench.over == ["waiting", "running", "last"]


async def test_a_run_over_its_time_is_answered_504_and_another_thread_stands_in() -> None:
    bench, other = Bench(Workers(count=1, most_waiting=10, most_stuck=1)), threading.Event()
    over = anyio.Event()

    def note() -> None:
        bench.over.append("stuck")
        over.set()

    stuck = bench.workers.hand_in(Claim("m", bench.run, timeout_s=0.05), "stuck", note)
    waiting = bench.workers.hand_in(Claim("m", lambda items: [other.is_set(), *items][:1]), "x", lambda: None)
    [error] = await finish(stuck)
    assert isinstance(error, RequestError)
    assert (error.status, "did not answer within 0.05 s: the request ran" in str(error)) == (504, True)
    assert await finish(waiting) == [False]
    assert bench.over == []
    bench.gate.set()
    with anyio.fail_after(10):
        await over.wait()
    assert bench.over == ["stuck"]
    assert not bench.workers.is_busy


async def test_a_request_that_waits_too_long_is_answered_504_and_never_runs() -> None:
    bench = Bench(Workers(count=1, most_waiting=10, most_stuck=0))
    first = bench.hand_in("first")
    [error] = await finish(bench.hand_in("late", timeout_s=0.05))
    assert isinstance(error, RequestError)
    assert "waited for its turn" in str(error)
    bench.gate.set()
    await finish(first)
    assert bench.runs == [["first"]]


async def test_a_defect_reaches_all_who_ran_together_and_the_thread_goes_on() -> None:
    bench = Bench(Workers(count=1, most_waiting=10, most_stuck=0))
    first = bench.hand_in("first")
    await bench.wait_entered()
    together = [bench.hand_in(name, group="g", most_together=2) for name in ("broken", "innocent")]
    after = bench.hand_in("after")
    bench.gate.set()
    results = await finish(first, *together, after)
    assert [type(one) for one in results] == [str, ZeroDivisionError, ZeroDivisionError, str]


async def test_a_stop_refuses_what_waits() -> None:
    bench = Bench(Workers(count=1, most_waiting=10, most_stuck=0))
    first, waiting = bench.hand_in("first"), bench.hand_in("waiting")
    await bench.wait_entered()
    bench.workers.close()
    bench.gate.set()
    done, refused = await finish(first, waiting)
    assert done == "FIRST"
    assert isinstance(refused, RequestError)
    assert bench.over == ["waiting", "first"]
