"""Looks at the board now and then, and refuses requests while it is strained; the hub is told once an episode.

An episode begins when something is to be shed, and is over when nothing was for `quiet_s`: a device that stands in the
sun and wavers all day tells so a few times, not every minute. Readiness is not touched: what is not refused is served.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import to_thread

from shoal_agent.board import hottest_c, thermal_zones
from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import UNAVAILABLE
from shoal_agent.errors import DiskError
from shoal_agent.hardware import available_memory_bytes, memory_bytes
from shoal_agent.settings import SheddingSettings
from shoal_agent.shedding.choice import Limits, Reason, Strain, shed_models
from shoal_agent.shedding.levels import Level
from shoal_contract.telemetry import LoadShed

_log = getLogger(__name__)
_REMEDY = {
    "hot": "send fewer requests, or cool the device; models of a higher priority are still served",
    "memory": "free some memory on the device; models of a higher priority are still served",
}


class Look(NamedTuple):
    """What was seen of the board: °C of its hottest part, and memory that is free and all of it, in bytes."""

    celsius: float | None
    available_bytes: int | None
    total_bytes: int

    @property
    def taken_ratio(self) -> float | None:
        """The share of the memory that is taken, 0 to 1."""
        if self.available_bytes is None or not self.total_bytes:
            return None
        return 1 - self.available_bytes / self.total_bytes


class Guard:
    """An `Admission` that sheds. Belongs to the event loop.

    Args:
        root: Where the board's `sys` and `proc` are looked for.
        limits: Where shedding begins and ends.
        settings: How often it looks, and what it answers.
        served: Gives the names of the models that are served.
        tell: Queues an event for the hub; may raise DiskError.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        root: Path,
        limits: Limits,
        settings: SheddingSettings,
        served: Callable[[], Iterable[str]],
        tell: Callable[[LoadShed], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._limits = limits
        self._settings = settings
        self._served = served
        self._tell = tell
        self._monotonic = monotonic
        self._priorities = dict(settings.priorities)
        self._shed_s: float | None = None
        self.strain = Strain()
        self.shed: frozenset[str] = frozenset()
        self.episodes: Counter[Reason] = Counter()
        self.on_refused: Callable[[str, Reason], None] = lambda *_: None
        """Told of each request that was refused, by model and reason."""

    def admit(self, model: str) -> None:
        """See that a request to a model is worked on; see `Admission`.

        Raises:
            RequestError: It is not: 503, with the reason and when to try again.
        """
        if model in self.shed:
            reason = self.strain.reason
            self.on_refused(model, reason)
            what = "too hot" if reason == "hot" else "short of memory"
            message = f"the device is {what}: requests to {model!r} are refused before those of a higher priority"
            raise RequestError(message, UNAVAILABLE, _REMEDY[reason], retry_after_s=self._settings.retry_after_s)

    async def run(self) -> None:
        """Look at the board, for ever."""
        while True:
            self.update(await to_thread.run_sync(self._look))
            await anyio.sleep(self._settings.look_s)

    def update(self, look: Look) -> None:
        """Shed by what was seen from now on."""
        strain = self.strain.after(look.celsius, look.taken_ratio, self._limits)
        if strain.level != self.strain.level:
            _log.warning("load shedding: level %d by %s; %s", strain.level, strain.reason, _said(look))
        self.strain = strain
        priorities = {name: self._priorities.get(name, 0) for name in self._served()}
        self.shed = shed_models(strain.level, priorities)
        if strain.level == Level.NONE:
            return
        now_s, last_s = self._monotonic(), self._shed_s
        self._shed_s = now_s
        if last_s is None or now_s - last_s >= self._settings.quiet_s:
            self._begin(look)

    def _begin(self, look: Look) -> None:
        self.episodes[self.strain.reason] += 1
        event = LoadShed(
            reason=self.strain.reason,
            level=int(self.strain.level),
            temperature_c=look.celsius,
            available_memory_bytes=look.available_bytes,
            models=tuple(sorted(self.shed))[:64],
        )
        try:
            self._tell(event)
        except DiskError as error:  # what is refused says why all the same
            _log.error("the hub could not be told of load shedding: %s", error)

    def _look(self) -> Look:
        root = self._root
        zones = thermal_zones(root)  # and no more: other chips answer slowly, and a firmware by a program of its own
        return Look(hottest_c(zones), available_memory_bytes(root), memory_bytes(root))


def _said(look: Look) -> str:
    celsius = "no temperature" if look.celsius is None else f"{look.celsius:.1f} °C"
    free = "unknown" if look.available_bytes is None else f"{look.available_bytes} bytes"
    return f"{celsius}, {free} of memory free"
