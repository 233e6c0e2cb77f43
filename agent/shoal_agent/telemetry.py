"""What the device sends of itself as often as its configuration says: heartbeats, and finished windows of telemetry."""

import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from logging import getLogger
from pathlib import Path

import anyio
from anyio import to_thread

from shoal_agent.errors import DiskError, LinkError
from shoal_agent.ledger import LedgerReports
from shoal_agent.link import Link
from shoal_agent.monitor import Monitor
from shoal_agent.monitor.window import FinishedWindow
from shoal_agent.outbox import UNPLACED, Outbox
from shoal_agent.trials import Shadow
from shoal_contract.desired import DesiredConfig
from shoal_contract.ledger import LedgerTotals
from shoal_contract.telemetry import Heartbeat, TelemetryMessage

_log = getLogger(__name__)
_WINDOW_CHECK_S = 1.0


class Telemetry:
    """The two senders.

    Args:
        link: Heartbeats go out on it at once, and may be lost.
        outbox: Windows wait in it until the hub has them.
        monitor: Has the windows.
        now: Trusted time.
        before_beat: Called before each heartbeat.
        spoken_s: When the last reported state left, by the monotonic clock; infinity while one is about to.
        shadow: Has the windows of trials in shadow; None where there are no trials.
        ledger: Goes along with a heartbeat now and then; None where nobody counts.
    """

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        monitor: Monitor,
        now: Callable[[], datetime],
        before_beat: Callable[[], None],
        spoken_s: Callable[[], float],
        *,
        shadow: Shadow | None = None,
        ledger: LedgerReports | None = None,
    ) -> None:
        self._link = link
        self._outbox = outbox
        self._monitor = monitor
        self._shadow = shadow
        self._now = now
        self._before_beat = before_beat
        self._spoken_s = spoken_s
        self._waits_for_report = False
        self._ledger = ledger
        self._started_s = time.monotonic()
        self._config = DesiredConfig()
        self._config_changed = anyio.Event()
        self.on_windows: Callable[[], None] = lambda: None
        """Called when windows have ended."""

    def configure(self, config: DesiredConfig) -> None:
        """Go by this configuration from now on; a longer wait for the next heartbeat is cut short."""
        if config != self._config:
            self._config = config
            self._config_changed.set()

    async def beat(self) -> None:
        """Send heartbeats, for ever."""
        place = (0, 0)
        while True:
            connection = await self._link.wait_connected()
            place = (connection, place[1] + 1 if connection == place[0] else 0)
            self._before_beat()
            totals = await to_thread.run_sync(self._ledger.due, connection) if self._ledger else None
            message = heartbeat(self._started_s, self._outbox.depth(), self._now(), place, totals)
            try:
                await self._link.say("telemetry", message.to_bytes())
            except LinkError as error:
                _log.debug("heartbeat lost: %s", error)
            else:
                if self._ledger:
                    self._ledger.told(connection, totals)
            await self._wait(time.monotonic())

    async def _wait(self, beat_s: float) -> None:
        """Wait for the time of the next heartbeat, or for another configuration."""
        self._config_changed = anyio.Event()
        if await self._has_changed_by(beat_s + self._config.heartbeat_s):
            return
        spoken_s = self._spoken_s()
        self._waits_for_report = spoken_s == math.inf and not self._waits_for_report  # not twice: it may be far off
        if spoken_s < math.inf or self._waits_for_report:
            await self._has_changed_by(next_beat_s(beat_s, spoken_s, self._config.heartbeat_s))

    async def _has_changed_by(self, due_s: float) -> bool:
        with anyio.move_on_after(due_s - time.monotonic()):
            await self._config_changed.wait()
        return self._config_changed.is_set()

    async def collect_windows(self) -> None:
        """Queue windows as they end, for ever."""
        while True:
            await anyio.sleep(_WINDOW_CHECK_S)
            windows = await to_thread.run_sync(self._monitor.take_windows, self._now(), self._config)
            try:
                await to_thread.run_sync(self._queue, windows)
            except DiskError as error:
                _log.error("a window of telemetry is lost: %s", error)
            if windows:  # the device acts on them, whether or not its disk takes any
                self.on_windows()

    def _queue(self, windows: Sequence[FinishedWindow]) -> None:
        """Pack and queue what is finished; in a thread, as it takes an fsync a window."""
        self._monitor.save_evidence()
        for window in windows:
            message = TelemetryMessage(body=window.to_message(UNPLACED))
            self._outbox.put_window("window", message)
        for compared in self._shadow.take_windows(self._now(), self._config) if self._shadow else ():
            self._outbox.put_window("shadow", TelemetryMessage(body=compared))


def next_beat_s(beat_s: float, spoken_s: float, every_s: float) -> float:
    """Return when the next heartbeat is due: a reported state says as well that the device is there, but once in a row.

    Times are seconds of the monotonic clock.

    Args:
        beat_s: When the last heartbeat left.
        spoken_s: When the last reported state did; infinity where one is about to.
        every_s: How far apart heartbeats are.
    """
    return max(beat_s, min(spoken_s, beat_s + every_s)) + every_s


def heartbeat(
    started_s: float,
    outbox_depth: int,
    now: datetime,
    place: tuple[int, int],
    ledger: LedgerTotals | None = None,
    root: Path = Path("/"),
) -> TelemetryMessage:
    """Return the vital signs of this process and its board.

    Args:
        started_s: `time.monotonic()` at the agent's start.
        outbox_depth: Messages that wait for the hub.
        now: The clock.
        place: The connection, and how many heartbeats it has carried.
        ledger: Totals of the byte ledger, if the hub is to be told them now.
        root: The root under which /proc and /sys are read.
    """
    body = Heartbeat(
        at=now,
        uptime_s=time.monotonic() - started_s,
        memory_bytes=resident_bytes(root),
        load=os.getloadavg()[0],
        temperature_c=_temperature_c(root),
        outbox_depth=outbox_depth,
        connection=place[0],
        sequence=place[1],
        ledger=ledger,
    )
    return TelemetryMessage(body=body)


def resident_bytes(root: Path = Path("/")) -> int:
    """Return what this process has in memory."""
    pages = (root / "proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _temperature_c(root: Path) -> float | None:
    path = root / "sys/class/thermal/thermal_zone0/temp"
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None  # most machines have no such sensor
