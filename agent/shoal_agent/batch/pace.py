"""When a job may work: in its windows of local time, and while the agent has little to do.

The load is what the running agent says of itself: the share of the time, since the last look, that it spent on
requests. An agent that does not run has none.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shoal_agent.batch.errors import StoppedError
from shoal_agent.errors import AgentError
from shoal_contract.update_policy import MaintenanceWindow

_PARTS: Final = ("compute_input", "compute_infer", "compute_output")
_DAY_MINUTES: Final = 24 * 60


class AgentLoad:
    """How busy the agent on this device is.

    Args:
        statistics: Returns its answer to `GET /v2/models/stats`, or raises an AgentError where it does not run.
        clock_s: Seconds that never go back.
    """

    def __init__(self, statistics: Callable[[], Any], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._statistics = statistics
        self._clock_s = clock_s
        self._before: tuple[float, float] | None = None

    def share(self) -> float | None:
        """Return the seconds of computing for each second since the last call; 0 without an agent.

        None stands for a first look, which says nothing yet.
        """
        try:
            busy_s = busy_seconds(self._statistics())
        except AgentError:
            self._before = None
            return 0.0
        now_s, before = self._clock_s(), self._before
        self._before = (now_s, busy_s)
        if before is None or now_s <= before[0]:
            return None
        return max(0.0, busy_s - before[1]) / (now_s - before[0])  # less: another version serves, and counts anew


def busy_seconds(answer: Any) -> float:  # noqa: ANN401 - JSON
    """Return what all models of an answer to `GET /v2/models/stats` have computed, in seconds.

    Raises:
        AgentError: It is no such answer.
    """
    try:
        stats = [one["inference_stats"] for one in answer["model_stats"]]
        return float(sum(one[part]["ns"] for one in stats for part in _PARTS)) / 1e9
    except (KeyError, TypeError, ValueError) as error:
        raise AgentError(f"reading the agent's statistics: {error!r}") from error


@dataclass
class Pace:
    """Lets a job work, or rest.

    Attributes:
        stop: Set when the job has to end.
        local_now: The device's local time.
        windows: When it may work; none stands for always.
        load: The agent's; None: nobody asks.
        max_load: It works while the load is at most this.
        check_s: How often that is looked at.
        clock_s: Seconds that never go back.
        wait: Waits so many seconds at most, less where `stop` is set meanwhile.
        rested_s: How long it has rested in all.
    """

    stop: threading.Event
    local_now: Callable[[], datetime]
    windows: Sequence[MaintenanceWindow] = ()
    load: AgentLoad | None = None
    max_load: float = 0.1
    check_s: float = 1.0
    clock_s: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] | None = None
    rested_s: float = 0.0
    _looked_s: float | None = None
    _reason: str = ""

    def why_not(self) -> str:
        """Return why the job has to rest now; empty if it may work. Looks at most once each `check_s`.

        Raises:
            StoppedError: It has to end.
        """
        if self.stop.is_set():
            raise StoppedError("the batch job was asked to end")
        now_s = self.clock_s()
        if self._looked_s is None or now_s - self._looked_s >= self.check_s:
            self._looked_s = now_s
            self._reason = self._look()
        return self._reason

    def rest(self, tell: Callable[[str], None]) -> None:
        """Return once the job may work.

        Args:
            tell: Told each reason that is another one than before.

        Raises:
            StoppedError: It has to end.
        """
        told, began_s = "", self.clock_s()
        while reason := self.why_not():
            if reason != told:
                tell(reason)
                told = reason
            (self.wait or self.stop.wait)(self.check_s)
        self.rested_s += self.clock_s() - began_s

    def _look(self) -> str:
        if self.windows and not any(window.holds(self.local_now()) for window in self.windows):
            return "outside of its windows"
        if self.load is None:
            return ""
        share = self.load.share()
        if share is None:
            return "looking how much the agent has to do"
        return f"the agent is at {share:.0%} load, more than {self.max_load:.0%}" if share > self.max_load else ""


def parse_window(text: str) -> MaintenanceWindow:
    """Read a daily window such as `01:00-05:00`; one that ends before it begins passes midnight.

    Raises:
        ValueError: It is none.
    """
    start, is_parted, end = text.partition("-")
    if not is_parted:
        message = f"{text!r} found, a window such as 01:00-05:00 expected"
        raise ValueError(message)
    minutes = (_minutes(end) - _minutes(start)) % _DAY_MINUTES or _DAY_MINUTES
    return MaintenanceWindow(start=start, minutes=minutes)


def _minutes(text: str) -> int:
    checked = MaintenanceWindow(start=text, minutes=1).start
    hours, minutes = checked.split(":")
    return int(hours) * 60 + int(minutes)
