"""When a job works: in its windows and while the agent has little to do; the clock and the agent are stand-ins."""

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from shoal_agent.batch import StoppedError
from shoal_agent.batch.pace import AgentLoad, Pace, busy_seconds, parse_window
from shoal_agent.errors import AgentError

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


def statistics(*busy_ns: int) -> dict[str, Any]:
    """The agent's answer: each model has computed so long, in three equal parts."""
    parts = ("compute_input", "compute_infer", "compute_output")
    queue = {"queue": {"count": 1, "ns": 9**12}}
    stats = [{part: {"count": 1, "ns": ns // 3} for part in parts} | queue for ns in busy_ns]
    return {"model_stats": [{"inference_stats": one} for one in stats]}


def load_of(clock: Clock, *answers: Any) -> AgentLoad:
    """A load that sees these answers, one after the other; an exception is raised."""
    left = list(answers)

    def ask() -> Any:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return AgentLoad(ask, clock)


def pace_of(clock: Clock, local_now: Callable[[], datetime] = lambda: NOON, **fields: Any) -> Pace:
    return Pace(**{
        "stop": threading.Event(), "local_now": local_now, "clock_s": clock, "wait": clock.wait, **fields
    })  # fmt: skip


def test_the_load_is_what_all_models_compute_in_a_second() -> None:
    clock = Clock()
    load = load_of(clock, statistics(3_000_000_000, 0), statistics(3_300_000_000, 300_000_000))
    assert load.share() is None
    clock.now_s += 2.0
    assert load.share() == pytest.approx(0.3)


def test_an_agent_that_has_begun_anew_or_does_not_run_has_no_load() -> None:
    clock = Clock()
    gone = AgentError("does not run")
    load = load_of(clock, statistics(9_000_000_000), statistics(3_000_000), gone, statistics(6_000_000_000))
    shares = []
    for _ in range(4):
        shares.append(load.share())
        clock.now_s += 1.0
    assert shares == [None, 0.0, 0.0, None]


@pytest.mark.parametrize("answer", [{}, {"model_stats": [{}]}, {"model_stats": None}, [], {"model_stats": [1]}])
def test_an_answer_that_is_no_statistics_is_told(answer: Any) -> None:
    with pytest.raises(AgentError, match="reading the agent's statistics"):
        busy_seconds(answer)


def test_a_job_rests_until_the_agent_has_little_to_do() -> None:
    clock, said = Clock(), list[str]()
    busy = [statistics(second * 600_000_000) for second in range(4)]
    load = load_of(clock, *busy, statistics(3 * 600_000_000 + 30_000_000))
    pace = pace_of(clock, load=load, max_load=0.1)
    assert pace.why_not() == "looking how much the agent has to do"
    pace.rest(said.append)
    assert said == ["looking how much the agent has to do", "the agent is at 60% load, more than 10%"]
    assert pace.rested_s == 4.0
    assert pace.why_not() == ""


def test_a_load_at_the_bound_is_no_reason_to_rest() -> None:
    clock = Clock()
    pace = pace_of(clock, load=load_of(clock, statistics(0), statistics(300_000_000)), max_load=0.3)
    pace.why_not()
    clock.now_s += 1.0
    assert pace.why_not() == ""


def test_the_agent_is_asked_once_a_second_however_often_the_job_asks() -> None:
    clock, asked = Clock(), list[int]()

    def ask() -> Any:
        asked.append(1)
        return statistics(0)

    pace = pace_of(clock, load=AgentLoad(ask, clock))
    for _ in range(50):
        pace.why_not()
        clock.now_s += 0.1
    assert len(asked) == 5


def test_a_job_works_in_its_windows_alone() -> None:
    clock, hours = Clock(), iter([0, 0, 1, 5])
    pace = pace_of(clock, lambda: NOON.replace(hour=next(hours)), windows=[parse_window("01:00-05:00")])
    assert pace.why_not() == "outside of its windows"
    clock.now_s += 1.0
    pace.rest(lambda _: None)
    clock.now_s += 1.0
    assert pace.why_not() == "outside of its windows"


def test_a_job_that_is_stopped_rests_no_longer() -> None:
    stop, clock = threading.Event(), Clock()
    pace = pace_of(clock, windows=[parse_window("01:00-05:00")], stop=stop, wait=lambda _: stop.set())
    with pytest.raises(StoppedError):
        pace.rest(lambda _: None)


def test_waiting_ends_at_once_when_the_job_is_stopped() -> None:
    """With the real wait: it is the event that wakes it, long before its time."""
    stop = threading.Event()
    pace = Pace(stop=stop, local_now=lambda: NOON, windows=[parse_window("01:00-05:00")], check_s=3600.0)
    with pytest.raises(StoppedError):
        pace.rest(lambda _: stop.set())


@pytest.mark.parametrize(
    ("text", "start", "minutes"),
    [("01:00-05:00", "01:00", 240), ("22:30-01:15", "22:30", 165), ("00:00-00:00", "00:00", 1440)],
)
def test_a_window_is_read_also_over_midnight(text: str, start: str, minutes: int) -> None:
    found = parse_window(text)
    assert (found.start, found.minutes, len(found.days)) == (start, minutes, 7)


@pytest.mark.parametrize("text", ["", "01:00", "1:00-5:00", "25:00-26:00", "01:00-05:60", "01:00-", "01:00-5"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"window such as|pattern"):
        parse_window(text)
